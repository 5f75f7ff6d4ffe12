"""Choices that are the same for all points of a tile: which become branches, which stay values, and the way back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import texts

from comprehension.kernel import ir
from comprehension.kernel.choice import Choice, chosen, join_choices, negated, uniform_choice
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType as T, Spec

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
    return uniform_choice((ir.Store("Y", (ir.Var("j"),), value),), ["j"], {})


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


# --- branches as one again ------------------------------------------------------------------------------------


def test_branches_of_a_padded_convolution_are_one_for_the_proof() -> None:
    program, arrays, _ = texts.program_of("filters")
    _, kernel = texts.kernel_of(program)
    joined = join_choices(kernel)
    assert any(nodes_of(kernel.stages, ir.If)) and not any(nodes_of(kernel.stages, ir.SelectValue))
    assert any(nodes_of(joined.stages, ir.SelectValue)) and not any(nodes_of(joined.stages, ir.If))
    np.testing.assert_array_equal(interpret(joined, arrays)["O"], interpret(kernel, arrays)["O"])


INSIDE = ir.Compare("<", ir.Var("i"), ir.Int(5))
CHOICE = Choice(below("i"), INSIDE)
STORE = ir.Store("Y", (ir.Var("i"), ir.Var("j")), ir.SelectValue(CHOICE.value, X, ir.Const(0.0, F32), F32))


def branches(then: ir.Store, otherwise: ir.Store, condition: ir.Condition = INSIDE) -> ir.Kernel:
    """Two branches with opposite conditions, in a loop over i, of a tile over j."""
    tiles = [ir.Tile(None, ir.Axis("j", ir.Int(0), 8), (store,)) for store in (then, otherwise)]
    sides = ir.If(condition, (tiles[0],)), ir.If(negated(condition), (tiles[1],))
    return ir.Kernel("f", (), (), (), (ir.Stage("s", (ir.Loop("i", ir.Int(0), ir.Int(9), sides),)),))


THEN, OTHERWISE = (chosen((STORE,), CHOICE, outcome=outcome)[0] for outcome in (True, False))
AT_DATA = ir.Compare("<", ir.FromValue(ir.Load("Y", (ir.Int(0), ir.Int(0)), T.INT32)), ir.Int(5))


def test_the_choice_stands_where_the_branches_differ() -> None:
    assert isinstance(THEN, ir.Store) and isinstance(OTHERWISE, ir.Store)
    (tile,) = nodes_of(join_choices(branches(THEN, OTHERWISE)).stages, ir.Tile)
    condition = ir.BinaryOp("<", ir.IndexValue(ir.Var("i")), ir.IndexValue(ir.Int(5)), T.BOOL)
    assert tile.body == (replace(THEN, value=ir.SelectValue(condition, X, ir.Const(0.0, F32), F32)),)


def test_what_is_asked_for_ahead_is_no_difference() -> None:
    asking = [replace(X, ahead=32, ahead_lanes=lanes) for lanes in (None, (0, 16), (16, 32))]
    stores = [replace(STORE, value=load) for load in (X, *asking)]
    for then, otherwise in itertools.permutations(stores, 2):
        (tile,) = nodes_of(join_choices(branches(then, otherwise)).stages, ir.Tile)
        assert tile.body == (stores[0],)


def rows(count: int, conditions: str = "i == {k}") -> str:
    """Each of so many rows from a tensor of its own, as the gradient of rows taken one by one is summed up."""
    inputs = ", ".join(f"float(N, 32) x{k}" for k in range(count))
    terms = " + ".join(f"({conditions.format(k=k)} ? x{k}(j, l) : 0.0)" for k in range(count))
    return f"def f({inputs}, float(M) S) -> (O) {{ O(i, j, l) = {terms} where i in 0:M, j in 0:N, l in 0:32 }}"


@pytest.mark.parametrize(("count", "condition", "most"), [(12, "i == {k}", 13), (12, "i * 3 + j * 5 < {k}", 17)])
def test_branches_are_no_more_than_outcomes_and_than_a_few(count: int, condition: str, most: int) -> None:
    """Twelve choices are 4096 branches where none is settled by another."""
    inputs = {f"x{k}": np.full((3, 32), k, np.float32) for k in range(count)} | {"S": np.zeros(count, np.float32)}
    program = infer(load(rows(count, condition))["f"], [Spec(x.shape, T.FLOAT32) for x in inputs.values()], "static")
    _, kernel = texts.kernel_of(program)
    assert 2 <= len([*nodes_of(kernel.stages, ir.Tile)]) <= most
    i, j = np.indices((count, 3))
    meant = np.zeros((count, 3), np.float32)
    for k in range(count):
        meant += np.where(i == k if "==" in condition else i * 3 + j * 5 < k, np.float32(k), np.float32(0))
    np.testing.assert_array_equal(interpret(kernel, inputs)["O"], np.repeat(meant[:, :, None], 32, axis=2))


def test_a_choice_that_another_one_settles_stands_by_itself() -> None:
    """Where i is 1 it is not 0: the branch of the one has no choice by the other."""
    at = {k: ir.Compare("==", ir.Var("i"), ir.Int(k)) for k in (0, 1)}
    loads = {k: ir.Load(f"X{k}", (ir.Var("j"),), F32) for k in (0, 1)}
    zero = ir.Const(0.0, F32)

    def tile(first: ir.Value, second: ir.Value) -> ir.Tile:
        store = ir.Store("Y", (ir.Var("i"), ir.Var("j")), ir.BinaryOp("+", first, second, F32))
        return ir.Tile(None, ir.Axis("j", ir.Int(0), 8), (store,))

    inner = ir.If(at[0], (tile(zero, loads[0]),)), ir.If(negated(at[0]), (tile(zero, zero),))
    nodes = ir.If(at[1], (tile(loads[1], zero),)), ir.If(negated(at[1]), inner)
    kernel = ir.Kernel("f", (), (), (), (ir.Stage("s", (ir.Loop("i", ir.Int(0), ir.Int(9), nodes),)),))
    (joined,) = nodes_of(join_choices(kernel).stages, ir.Tile)
    values = [ir.BinaryOp("==", ir.IndexValue(ir.Var("i")), ir.IndexValue(ir.Int(k)), T.BOOL) for k in (0, 1)]
    assert joined == tile(*[ir.SelectValue(values[k], loads[k], zero, F32) for k in (1, 0)])


@pytest.mark.parametrize(("at", "settled"), [(1, True), (2**31, False)])
def test_a_choice_by_a_value_that_may_wrap_is_settled_by_nothing(at: int, settled: bool) -> None:
    """As an int32, 2^31 is below zero: the branch must not be taken for the other one."""
    condition = ir.Compare("==", ir.Var("i"), ir.Int(at))
    below_zero = ir.BinaryOp("<", ir.IndexValue(ir.Var("i"), T.INT32), ir.Const(0, T.INT32), T.BOOL)
    zero = ir.Const(0.0, F32)
    select = ir.SelectValue(below_zero, X, zero, F32)
    for first, second in ((condition, (zero, select)), (negated(condition), (select, zero))):
        stores = [replace(STORE, value=value) for value in second]
        (tile,) = nodes_of(join_choices(branches(*stores, first)).stages, ir.Tile)
        assert (tile.body == (replace(STORE, value=select),)) == settled


DIFFERENT = [
    branches(THEN, replace(OTHERWISE, subscripts=(ir.Var("j"), ir.Var("i")))),
    branches(THEN, replace(OTHERWISE, role=ir.StoreRole.COPY)),
    branches(THEN, replace(OTHERWISE, value=ir.Const(0, T.INT32))),
    branches(THEN, OTHERWISE, AT_DATA),
    branches(THEN, OTHERWISE, ir.Compare("<", ir.Var("j"), ir.Int(5))),
]


@pytest.mark.parametrize(
    "kernel",
    DIFFERENT,
    ids=["element", "role", "type", "decided by what is written", "hidden by a lane"],
)
def test_branches_that_differ_in_more_than_values_stay(kernel: ir.Kernel) -> None:
    assert join_choices(kernel) == kernel
