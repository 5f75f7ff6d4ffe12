"""Choices that are the same for all points of a tile become branches around it.

    tile: c[r, l] += (0 <= y + p < H ? x[..] : 0) * w[..]

    if 0 <= y + p < H:  tile: c[r, l] += x[..] * w[..]
    else:               tile: c[r, l] += 0 * w[..]

In: statements of a tile.  Out: a condition over integers, and the statements for either outcome.
Invariant: each point runs each statement exactly once, with the value that the choice has there.  Values that wrap
around in their type are no integers of a condition.

And back, for the proof: branches that differ in values alone become one, with the choice inside.  To isl the outside of
a picture is a union of half spaces, and every instance would be compared with those of either branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import NO_RANGES, Ranges, bounds_of, linear, narrowed, truth, varies_with
from comprehension.lang.types import ScalarType

Statements = tuple[ir.Define | ir.Store, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The condition of a select, as the value that it is and as a condition over integers."""

    value: ir.Value
    condition: ir.Condition


def uniform_choice(body: Statements, axes: Sequence[str], ranges: Ranges) -> Choice | None:
    """The first choice of the statements whose condition no tile axis changes."""
    for select in nodes_of(body, ir.SelectValue):
        condition = condition_of_value(select.condition, ranges)
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


def condition_of_value(value: ir.Value, ranges: Ranges) -> ir.Condition | None:
    """A truth value that depends on integers alone, as a condition; None for any other."""
    match value:
        case ir.BinaryOp(op="&&" | "||" as op, left=left, right=right):
            first, second = condition_of_value(left, ranges), condition_of_value(right, ranges)
            if first is None or second is None:
                return None
            return ir.BoolOp("and" if op == "&&" else "or", first, second)
        case ir.BinaryOp(op="<" | "<=" | ">" | ">=" | "==" | "!=" as op, left=left, right=right):
            a, b = _integer(left, ranges), _integer(right, ranges)
            if a is None or b is None:
                return None
            match op:
                case ">" | ">=":
                    return ir.Compare("<" if op == ">" else "<=", b, a)
                case "<" | "<=" | "==" | "!=":
                    return ir.Compare(op, a, b)
        case _:
            return None


def _integer(value: ir.Value, ranges: Ranges) -> ir.IntExpr | None:
    match value:
        case ir.IndexValue(index=index):
            return None if _is_seen_to_wrap(index, value.dtype, ranges) else index
        case ir.Const(value=int(constant)) if value.dtype.is_integer:
            return ir.Int(constant)
        case ir.BinaryOp(op="/" | "%" as op, left=left, right=ir.Const(value=int(divisor))) if divisor > 0:
            dividend = _integer(left, ranges)
            return None if dividend is None else ir.IntOp(op, dividend, ir.Int(divisor))
        case _:
            return None


def _is_seen_to_wrap(index: ir.IntExpr, dtype: ScalarType, ranges: Ranges) -> bool:
    """Whether an index may leave its type; of variables without known bounds nothing is seen (the proof has to)."""
    lowest, highest = dtype.limits
    low, high = bounds_of(linear(index, ranges), ranges)
    return (low is not None and low < lowest) or (high is not None and high > highest)


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


# --- branches as one again --------------------------------------------------------------------------------------


def join_choices(kernel: ir.Kernel) -> ir.Kernel:
    """The kernel with one body for each pair of branches, one of which runs, that differ in values alone."""
    stages = tuple(replace(stage, body=_joined(stage.body)) for stage in kernel.stages)
    return replace(kernel, stages=stages)


def _joined(nodes: Sequence[ir.Node]) -> tuple[ir.Node, ...]:
    found: list[ir.Node] = []
    for node in nodes:
        if isinstance(node, ir.Loop | ir.If):
            node = replace(node, body=_joined(node.body))
        last = found[-1] if found else None
        both = _either(last, node) if isinstance(last, ir.If) and isinstance(node, ir.If) else None
        if both is None:
            found.append(node)
        else:
            found[-1:] = both
    return tuple(found)


def _either(first: ir.If, second: ir.If) -> tuple[ir.Node, ...] | None:
    """What two branches with opposite conditions do; None where that is not the same but for values."""
    condition = first.condition
    if negated(condition) != second.condition or any(nodes_of(condition, ir.FromValue)):
        return None  # what the first branch writes must not decide whether the second one runs
    bound = {loop.variable for loop in nodes_of(first.body, ir.Loop)}
    bound |= {axis.variable for axis in nodes_of(first.body, ir.Axis)}
    if bound & {variable.name for variable in nodes_of(condition, ir.Var)}:
        return None
    joined: tuple[ir.Node, ...] | None = _merged(first.body, second.body, condition)
    return joined


def _merged(then: Any, otherwise: Any, condition: ir.Condition) -> Any:
    """One tree for two: choices stand as far inside as they can; None where the trees differ in more than values."""
    if then == otherwise:
        return then
    if isinstance(then, ir.Load) and isinstance(otherwise, ir.Load) and _unhurried(then) == _unhurried(otherwise):
        return _unhurried(then)
    if isinstance(then, tuple) and isinstance(otherwise, tuple) and len(then) == len(otherwise):
        parts = tuple(_merged(a, b, condition) for a, b in zip(then, otherwise, strict=True))
        return None if any(part is None for part in parts) else parts
    merged = None
    if type(then) is type(otherwise) and is_dataclass(then) and not isinstance(then, type):
        changed = [f.name for f in fields(then) if getattr(then, f.name) != getattr(otherwise, f.name)]
        parts = tuple(_merged(getattr(then, name), getattr(otherwise, name), condition) for name in changed)
        if all(part is not None for part in parts):
            merged = replace(then, **dict(zip(changed, parts, strict=True)))
    if merged is None and isinstance(then, ir.Value) and isinstance(otherwise, ir.Value):
        if isinstance(otherwise, ir.SelectValue) and then == _known(otherwise, condition):
            return otherwise
        if isinstance(then, ir.SelectValue) and otherwise == _known(then, negated(condition)):
            return then
        value = _value_of(condition)
        return ir.SelectValue(value, then, otherwise, then.dtype) if then.dtype is otherwise.dtype else None
    return merged


def _known(select: ir.SelectValue, condition: ir.Condition) -> ir.Value | None:
    """What a choice comes to wherever the condition holds, if that settles it; None where a value in it may wrap."""
    ranges = narrowed(NO_RANGES, condition)
    choice = condition_of_value(select.condition, ranges)
    if choice is None or not all(_fits(value, ranges) for value in nodes_of(select.condition, ir.IndexValue)):
        return None
    outcome = truth(choice, ranges)
    return None if outcome is None else select.then if outcome else select.otherwise


def _fits(value: ir.IndexValue, ranges: Ranges) -> bool:
    """Whether an index is known to stay within its type."""
    low, high = bounds_of(linear(value.index, ranges), ranges)
    lowest, highest = value.dtype.limits
    return low is not None and high is not None and lowest <= low and high <= highest


def _unhurried(load: ir.Load) -> ir.Load:
    """The load as one that asks for nothing ahead: what is asked for changes no value."""
    return replace(load, ahead=0, ahead_lanes=None)


def _value_of(condition: ir.Condition) -> ir.Value:
    match condition:
        case ir.Compare(op=op, left=left, right=right):
            return ir.BinaryOp(op, ir.IndexValue(left), ir.IndexValue(right), ScalarType.BOOL)
        case ir.BoolOp(op=op, left=first, right=second):
            sides = _value_of(first), _value_of(second)
            return ir.BinaryOp("&&" if op == "and" else "||", *sides, ScalarType.BOOL)
