"""Choices that are the same for all points of a tile: which become branches, and which stay values."""

from __future__ import annotations

import pytest

from comprehension.kernel import ir
from comprehension.kernel.choice import Choice, uniform_choice
from comprehension.lang.types import ScalarType as T

F32 = T.FLOAT32
X = ir.Load("X", (ir.Var("j"),), F32)
POSITIVE = ir.BinaryOp("<", ir.Const(0.0, F32), X, T.BOOL)


def below(index: str) -> ir.Value:
    """index < 5, as a value."""
    return ir.BinaryOp("<", ir.IndexValue(ir.Var(index), T.INT32), ir.Const(5, T.INT32), T.BOOL)


def found(op: str, left: ir.Value, right: ir.Value) -> Choice | None:
    """The choice of Y(j) = left op right ? X(j) : 0, in a tile along j."""
    condition = ir.BinaryOp(op, left, right, T.BOOL)  # type: ignore[arg-type]
    value = ir.SelectValue(condition, X, ir.Const(0.0, F32), F32)
    return uniform_choice((ir.Store("Y", (ir.Var("j"),), value),), ["j"])


@pytest.mark.parametrize(("op", "meaning"), [("&&", "and"), ("||", "or")])
def test_a_choice_by_outer_indices_becomes_a_branch(op: str, meaning: str) -> None:
    choice = found(op, below("i"), below("k"))
    five = ir.Int(5)
    expected = [ir.Compare("<", ir.Var(index), five) for index in "ik"]
    assert choice is not None and choice.condition == ir.BoolOp(meaning, *expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("op", ["&&", "||"])
@pytest.mark.parametrize("other", [POSITIVE, below("j")], ids=["memory", "lane"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_choice_that_one_side_leaves_to_the_points_stays_a_value(op: str, other: ir.Value, turned: bool) -> None:
    sides = (other, below("i")) if turned else (below("i"), other)
    assert found(op, *sides) is None
