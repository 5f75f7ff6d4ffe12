"""Sums and products of float16 run in float32, and are rounded once: NumPy does so, and so does the hardware.

    r0(i) +=! x0(i, k) * x1(k)     =>     r0_sum(i) +=! float(x0(i, k)) * float(x1(k))
                                          r0(i) = float16(r0_sum(i))

In: the def of an operation with float16 operands.  Out: the same def, or one with such statements in it.
Invariant: whatever is read as float16 was rounded to it before; only what is added up stays wide.  Reductions that go
on from what stands there (`+=`) keep their type: their target is read and written by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comprehension.lang.tree import Access, Binary, Cast, Def, Expr, Name, Program, Statement, Unary
from comprehension.lang.types import ScalarType

HALF, SINGLE = ScalarType.FLOAT16, ScalarType.FLOAT32


def accumulate_in_float32(definition: Def) -> Def:
    """The def with its initialised float16 sums and products accumulated in float32."""
    from comprehension.lang.check import check  # a tenth of the time to import minitensor, for float16 alone

    typed = check(Program((definition,)))[definition.name].statements
    written = [statement.target for statement in definition.statements]
    statements: list[Statement] = []
    for statement, known in zip(definition.statements, typed, strict=True):
        value = known.node.value
        adds = statement.reduction in ("+", "*") and statement.initialise and written.count(statement.target) == 1
        statements += _widened(statement, value) if adds and value.dtype is HALF else [statement]
    return replace(definition, statements=tuple(statements))


def _widened(statement: Statement, value: Expr) -> Iterator[Statement]:
    wide = f"{statement.target}_sum"
    yield replace(statement, target=wide, value=_single(value))
    total = Access(wide, statement.subscripts) if statement.subscripts else Name(wide)
    yield Statement(statement.target, statement.subscripts, Cast(HALF, total))


def _single(value: Expr) -> Expr:
    """A typed float16 expression in float32: its sums, differences and products too, which are not rounded between."""
    match value:
        case Binary(op="+" | "-" | "*", left=left, right=right) if value.dtype is HALF:
            return Binary(value.op, _single(left), _single(right))
        case Unary(op="-", operand=operand) if value.dtype is HALF:
            return Unary("-", _single(operand))
        case _:
            return Cast(SINGLE, value)
