"""Choices that are the same for all points of a tile become branches around it.

    tile: c[r, l] += (0 <= y + p < H ? x[..] : 0) * w[..]

    if 0 <= y + p < H:  tile: c[r, l] += x[..] * w[..]
    else:               tile: c[r, l] += 0 * w[..]

In: statements of a tile.  Out: a condition over integers, and the statements for either outcome.
Invariant: each point runs each statement exactly once, with the value that the choice has there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import varies_with

Statements = tuple[ir.Define | ir.Store, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The condition of a select, as the value that it is and as a condition over integers."""

    value: ir.Value
    condition: ir.Condition


def uniform_choice(body: Statements, axes: Sequence[str]) -> Choice | None:
    """The first choice of the statements whose condition no tile axis changes."""
    for select in nodes_of(body, ir.SelectValue):
        condition = condition_of_value(select.condition)
        if condition is not None and not any(varies_with(condition, axis) for axis in axes):
            return Choice(select.condition, condition)
    return None


def chosen(body: Statements, choice: Choice, *, outcome: bool) -> Statements:
    """The statements where the condition is known."""
    return tuple(_resolved(part, choice, outcome) for part in body)


def _resolved(node: Any, choice: Choice, outcome: bool) -> Any:
    """A value, a statement or a tuple of them without the choice: of one type with `node`."""
    if isinstance(node, ir.SelectValue) and node.condition == choice.value:
        return _resolved(node.then if outcome else node.otherwise, choice, outcome)
    if isinstance(node, tuple):
        return tuple(_resolved(part, choice, outcome) for part in node)
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{f.name: _resolved(getattr(node, f.name), choice, outcome) for f in fields(node)})
    return node


def condition_of_value(value: ir.Value) -> ir.Condition | None:
    """A truth value that depends on integers alone, as a condition; None for any other."""
    match value:
        case ir.BinaryOp(op="&&" | "||" as op, left=left, right=right):
            first, second = condition_of_value(left), condition_of_value(right)
            if first is None or second is None:
                return None
            return ir.BoolOp("and" if op == "&&" else "or", first, second)
        case ir.BinaryOp(op="<" | "<=" | ">" | ">=" | "==" | "!=" as op, left=left, right=right):
            a, b = _integer(left), _integer(right)
            if a is None or b is None:
                return None
            match op:
                case ">" | ">=":
                    return ir.Compare("<" if op == ">" else "<=", b, a)
                case "<" | "<=" | "==" | "!=":
                    return ir.Compare(op, a, b)
        case _:
            return None


def _integer(value: ir.Value) -> ir.IntExpr | None:
    match value:
        case ir.IndexValue(index=index):
            return index
        case ir.Const(value=int(constant)) if value.dtype.is_integer:
            return ir.Int(constant)
        case ir.BinaryOp(op="/" | "%" as op, left=left, right=ir.Const(value=int(divisor))) if divisor > 0:
            dividend = _integer(left)
            return None if dividend is None else ir.IntOp(op, dividend, ir.Int(divisor))
        case _:
            return None


def negated(condition: ir.Condition) -> ir.Condition:
    match condition:
        case ir.Compare(op="<", left=left, right=right):
            return ir.Compare("<=", right, left)
        case ir.Compare(op="<=", left=left, right=right):
            return ir.Compare("<", right, left)
        case ir.Compare(op=op, left=left, right=right):
            return ir.Compare("!=" if op == "==" else "==", left, right)
        case ir.BoolOp(op=op, left=first, right=second):
            return ir.BoolOp("or" if op == "and" else "and", negated(first), negated(second))
