"""Ranges with bounds that isl cannot follow, made into ranges with bounds that it can.

In: a LoopProgram.  Out: one that computes the same, whose bounds are affine in the indices further out.
Invariant: every value is stored where and when it was; elements that the original leaves alone are stored as they are.

An index whose lower bound is a product of an index and a size counts from there, so that the extent is what remains:

    S(i) +=! A(j) where j in i * N:(i + 1) * N       S(i) +=! A(i * N + j) where j in 0:N

If the extent is no affine function either, the index runs as far as it ever does, under a guard:

    S(i) +=! A(j) where j in 0:i * i                 S(i) +=! j < i * i ? A(j) : 0 where j in 0:(N - 1) * (N - 1)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from comprehension.errors import ComprehensionError, shorten
from comprehension.lang.bounds import greatest
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.limits import MAX_INT
from comprehension.lang.linear import Linear, largest, number, to_expr, variable
from comprehension.lang.loops import Index, LoopProgram, LoopStatement, Role
from comprehension.lang.ranges import zero_fill
from comprehension.lang.requirements import at_least_zero
from comprehension.lang.scalars import identity
from comprehension.lang.tree import (
    Access,
    Binary,
    Cast,
    Expr,
    Let,
    Name,
    Number,
    Select,
    children,
    names_in,
    rebuild,
    walk,
)
from comprehension.lang.types import ScalarType
from comprehension.poly.parameters import is_affine_operation

INT32, BOOL = ScalarType.INT32, ScalarType.BOOL
Guard = tuple[str, Expr]  # the index that runs further than its range, what holds within the range


def straighten(program: LoopProgram) -> LoopProgram:
    """The program with affine bounds.

    Raises ComprehensionError for a range whose extent cannot be bounded.
    """
    outside = {name: variable(name) for name in program.sizes}
    outside |= {s.name: variable(s.name, size=False) for s in program.scalars}
    statements: list[LoopStatement] = []
    for statement in program.statements:
        moved, guards = _moved(statement, outside)
        start = _start(moved, guards, program.tensor(statement.target).dtype)
        if guards and (statement.reduction is None or start) and _is_unwritten(statement, program, statements):
            statements.append(_zeros_before(statement, program))
        if start is not None:
            statements.append(start)
            moved = replace(moved, initialise=False)
        holds = [guard for _, guard in guards]
        statements.append(_guarded(moved, holds, program.tensor(statement.target).dtype) if guards else moved)
    return replace(program, statements=tuple(statements))


def _is_unwritten(statement: LoopStatement, program: LoopProgram, before: Sequence[LoopStatement]) -> bool:
    """Whether the target's elements are nothing yet; a caller's array, and a fresh one in its place, has some."""
    temporary = program.tensor(statement.target).role is Role.TEMPORARY
    return temporary and all(earlier.target != statement.target for earlier in before)


def _zeros_before(statement: LoopStatement, program: LoopProgram) -> LoopStatement:
    tensor = program.tensor(statement.target)
    taken = {t.name for t in program.tensors} | {s.name for s in program.scalars} | {*program.sizes}
    fill = zero_fill(tensor.name, tensor.dtype, tensor.shape, statement, taken)
    return replace(fill, name=f"{statement.name}_zeros")


def _moved(statement: LoopStatement, outside: Mapping[str, Linear]) -> tuple[LoopStatement, list[Guard]]:
    """The statement with bounds that isl can compute, and what must hold for a point to be one of its own."""
    names = {index.name for index in statement.indices}
    if all(_is_followed(bound, names) for index in statement.indices for bound in (index.lower, index.upper)):
        return statement, []
    work = _Work(Environment({**outside, **{n: variable(n, size=False) for n in names}}, {}), names)
    indices = tuple(work.index(index) for index in statement.indices)
    moved = replace(
        statement,
        indices=indices,
        subscripts=tuple(work.moved(s) for s in statement.subscripts),
        value=work.moved(statement.value),
        lets=tuple(replace(let, value=work.moved(let.value)) for let in statement.lets),
    )
    return moved, work.guards


def _is_followed(bound: Expr, indices: set[str]) -> bool:
    """Whether isl can compute a bound: it is affine in indices and in parts without any, which are parameters."""
    if indices.isdisjoint(names_in(bound)):
        return True
    return is_affine_operation(bound) and all(_is_followed(part, indices) for part in children(bound))


@dataclass(slots=True)
class _Work:
    """One statement's indices taken one by one: what stands for those moved, ranges so far, guards."""

    where: Environment
    names: set[str]
    offsets: dict[str, Expr] = field(default_factory=dict)
    ranges: dict[str, tuple[Linear, Linear]] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)

    def index(self, index: Index) -> Index:
        lower, upper = self.form(index.lower), self.form(index.upper)
        if not _is_followed(to_expr(lower), self.names):
            self.offsets[index.name] = to_expr(lower)
            lower, upper = number(0), upper - lower
        if not _is_followed(to_expr(upper), self.names):
            furthest = greatest(upper, self.ranges)
            if furthest.value is not None and furthest.value > MAX_INT:
                raise ComprehensionError(
                    f"the range of '{shorten(index.name)}' is too involved to compile: "
                    f"nothing is known of its end {shorten(str(upper))}"
                )
            self.guards.append((index.name, at_least_zero(upper - 1 - variable(index.name, size=False))))
            upper = largest((furthest, lower))
        self.ranges[index.name] = lower, upper
        return replace(index, lower=to_expr(lower), upper=to_expr(upper))

    def form(self, bound: Expr) -> Linear:
        form = from_expr(self.moved(bound), self.where)
        assert form is not None, "bounds read no tensor"
        return form

    def moved(self, expr: Expr) -> Expr:
        """The expression with `offset + index` for each index that was moved."""
        if isinstance(expr, Name) and expr.id in self.offsets:
            return Binary("+", self.offsets[expr.id], expr, dtype=INT32)
        return rebuild(expr, tuple(self.moved(part) for part in children(expr)))


def _start(statement: LoopStatement, guards: Sequence[Guard], dtype: ScalarType) -> LoopStatement | None:
    """The first half of an initialised reduction whose elements themselves are guarded: what they start from."""
    indices = statement.indices[: statement.left]
    holds = [guard for name, guard in guards if any(name == index.name for index in indices)]
    if not statement.initialise or not holds:
        return None
    assert statement.reduction is not None, "only reductions initialise"
    start = replace(
        statement,
        name=f"{statement.name}_start",
        value=_constant(identity(statement.reduction, dtype), dtype),
        indices=indices,
        reduction=None,
        initialise=False,
        lets=(),
    )
    return _guarded(start, holds, dtype)


def _guarded(statement: LoopStatement, guards: Sequence[Expr], dtype: ScalarType) -> LoopStatement:
    """Beyond the range nothing is read, and what is stored changes nothing."""
    holds = functools.reduce(lambda a, b: Binary("&&", a, b, dtype=BOOL), guards)

    def where_it_holds(expr: Expr, otherwise: Expr) -> Expr:
        return Select(holds, expr, otherwise, dtype=expr.dtype)

    def harmless(expr: Expr) -> Expr:
        assert expr.dtype is not None, "the tree is typed"
        reads = any(isinstance(part, Access) for part in walk(expr))
        return where_it_holds(expr, _constant(0, expr.dtype)) if reads else expr

    lets = tuple(Let(let.name, harmless(let.value), span=let.span) for let in statement.lets)
    subscripts = tuple(harmless(s) for s in statement.subscripts)
    if statement.reduction is None:
        unchanged: Expr = Access(statement.target, subscripts, dtype=dtype)
    elif statement.reduction == "+" and dtype.is_float:
        unchanged = _constant(-0.0, dtype)  # 0.0 would turn a sum of -0.0 into 0.0
    else:
        unchanged = _constant(identity(statement.reduction, dtype), dtype)
    return replace(statement, lets=lets, subscripts=subscripts, value=where_it_holds(statement.value, unchanged))


def _constant(value: int | float | bool, dtype: ScalarType) -> Expr:
    if dtype is BOOL:
        return Cast(BOOL, Number(int(value), dtype=INT32), dtype=BOOL)
    return Number(float(value) if dtype.is_float else int(value), dtype=dtype)
