"""Integer expressions as text: Python makes of the text what the expression says, with no parenthesis too few."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from comprehension.codegen.function import Expr
from comprehension.codegen.index_text import condition_text, index_text
from comprehension.kernel import ir

PRINTER: Any = SimpleNamespace(variable=Expr, function=SimpleNamespace(use=lambda name: name))
NAMES = {"floor_div": operator.floordiv, "floor_mod": operator.mod, "min": min, "max": max, "i": 5, "j": -3}
OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv, "%": operator.mod, "min": min,
    "max": max,
}  # fmt: skip
COMPARED: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def value_of(e: ir.IntExpr) -> int:
    match e:
        case ir.Int(value):
            return value
        case ir.Var(name):
            return int(NAMES[name])  # type: ignore[call-overload]
        case ir.IntOp(op, left, right):
            return OPERATORS[op](value_of(left), value_of(right))
        case ir.IntSelect(condition, then, otherwise):
            return value_of(then) if holds(condition) else value_of(otherwise)
    raise AssertionError(e)


def holds(condition: ir.Condition) -> bool:
    match condition:
        case ir.Compare(op, left, right):
            return COMPARED[op](value_of(left), value_of(right))
        case ir.BoolOp("and", left, right):
            return holds(left) and holds(right)
        case ir.BoolOp("or", left, right):
            return holds(left) or holds(right)
    raise AssertionError(condition)


def deeper(parts: st.SearchStrategy[ir.IntExpr]) -> st.SearchStrategy[ir.IntExpr]:
    compared = st.builds(ir.Compare, st.sampled_from(sorted(COMPARED)), parts, parts)
    conditions = compared | st.builds(ir.BoolOp, st.sampled_from(["and", "or"]), compared, compared)
    return st.builds(ir.IntOp, st.sampled_from(sorted(OPERATORS)), parts, parts) | st.builds(
        ir.IntSelect, conditions, parts, parts
    )


leaves = st.integers(-4, 4).map(ir.Int) | st.sampled_from("ij").map(ir.Var)


@given(st.recursive(leaves, deeper, max_leaves=8))
def test_the_text_means_the_expression(e: ir.IntExpr) -> None:
    text = index_text(PRINTER, e).text
    try:
        wanted = value_of(e)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            eval(text, dict(NAMES))
    else:
        assert eval(text, dict(NAMES)) == wanted


@pytest.mark.parametrize("outer", ["+", "-", "*", "/", "%"])
@pytest.mark.parametrize("inner", ["+", "-", "*", "/", "%"])
def test_operators_within_operators(outer: str, inner: str) -> None:
    """Every pair on either side, at numbers that tell all groupings apart."""
    for numbers in ((97, 7, 3), (50, 6, 4), (11, 5, 2)):
        a, b, c = map(ir.Int, numbers)
        for e in (ir.IntOp(outer, ir.IntOp(inner, a, b), c), ir.IntOp(outer, a, ir.IntOp(inner, b, c))):
            assert eval(index_text(PRINTER, e).text, dict(NAMES)) == value_of(e)


@pytest.mark.parametrize("op", sorted(COMPARED))
def test_the_text_of_a_comparison(op: str) -> None:
    for left in (ir.Int(-3), ir.Int(5), ir.Int(0)):
        condition = ir.Compare(op, left, ir.Var("j"))
        assert eval(condition_text(PRINTER, condition).text, dict(NAMES)) is holds(condition)
