"""A kernel's integers and conditions as isl's functions and sets: values at every point, and what is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from comprehension.kernel import ir
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.grid import contains, values
from comprehension.poly.proof.integers import IntegerSpace

I32, I64, I8, F32, BOOL = (
    ScalarType.INT32,
    ScalarType.INT64,
    ScalarType.INT8,
    ScalarType.FLOAT32,
    ScalarType.BOOL,
)
I, J = np.meshgrid(np.arange(-5, 6), np.arange(-4, 5), indexing="ij")
SIZES = {"N": 3, "s": 2}
Wanted = Callable[[], np.ndarray] | None


def space(locals_: Mapping[str, ir.Value] | None = None) -> IntegerSpace:
    """Points i and j of the grid, parameters N and s."""
    context = isl.new_context()
    points = isl.Set.read_from_str(context, "[N, s] -> { P[i, j] : -5 <= i <= 5 and -4 <= j <= 4 and N = 3 and s = 2 }")
    named = isl.named_set_space(context, ["N", "s"], "P", ["i", "j"])
    return IntegerSpace.of(named, {"i": 0, "j": 1}, locals_ or {}).at(points)


def op(symbol: str, left: ir.IntExpr, right: ir.IntExpr) -> ir.IntOp:
    return ir.IntOp(symbol, left, right)  # type: ignore[arg-type]


def index(expr: ir.IntExpr, dtype: ScalarType = I32) -> ir.IndexValue:
    return ir.IndexValue(expr, dtype)


def value(symbol: str, left: ir.Value, right: ir.Value, dtype: ScalarType = I32) -> ir.BinaryOp:
    return ir.BinaryOp(symbol, left, right, dtype)  # type: ignore[arg-type]


i, j, n = ir.Var("i"), ir.Var("j"), ir.Var("N")
LOAD = ir.Load("A", (i,), I32, 1)
HOLDS = ir.Compare("<", i, j)

FUNCTIONS: list[tuple[ir.IntExpr, Wanted]] = [
    (ir.Int(7), lambda: np.full(I.shape, 7)),
    (n, lambda: np.full(I.shape, 3)),
    (op("+", i, op("*", ir.Int(3), j)), lambda: I + 3 * J),
    (op("-", n, i), lambda: 3 - I),
    (op("/", i, ir.Int(2)), lambda: I // 2),
    (op("%", i, ir.Int(3)), lambda: I % 3),
    (op("min", i, j), lambda: np.minimum(I, J)),
    (op("max", i, n), lambda: np.maximum(I, 3)),
    (ir.IntSelect(HOLDS, i, n), lambda: np.where(I < J, I, 3)),
    (ir.FromValue(index(op("+", i, j))), lambda: I + J),
    (op("*", i, j), None),
    (op("/", i, n), None),
    (ir.Var("unknown"), None),
    (ir.FromValue(LOAD), None),
    (op("+", i, ir.FromValue(LOAD)), None),
    (ir.FromValue(value("*", index(i), ir.Const(1 << 30, I32))), None),  # it wraps
    (ir.IntSelect(ir.Compare("<", op("*", i, j), j), i, n), None),
]


@pytest.mark.parametrize(("expr", "wanted"), FUNCTIONS)
def test_integers_are_functions(expr: ir.IntExpr, wanted: Wanted) -> None:
    found = space().function(expr)
    assert (found is None) is (wanted is None)
    if found is not None and wanted is not None:
        np.testing.assert_array_equal(values(found, SIZES, (I, J)), wanted())


def test_only_what_is_visible_has_a_value() -> None:
    inside = space().only(["j", "N"])
    assert inside.function(j) is not None and inside.function(n) is not None
    assert inside.function(i) is None and inside.function(op("+", i, j)) is None


CONDITIONS: list[tuple[ir.Condition, Wanted]] = [
    (HOLDS, lambda: I < J),
    (ir.Compare("<=", i, n), lambda: I <= 3),
    (ir.Compare("==", i, j), lambda: I == J),
    (ir.Compare("!=", i, j), lambda: I != J),
    (ir.BoolOp("and", HOLDS, ir.Compare("<", ir.Int(0), i)), lambda: (I < J) & (I > 0)),
    (ir.BoolOp("or", HOLDS, ir.Compare("<", ir.Int(0), i)), lambda: (I < J) | (I > 0)),
    (ir.Compare("<", op("*", i, j), n), None),
    (ir.BoolOp("and", HOLDS, ir.Compare("<", op("*", i, j), n)), None),
    (ir.BoolOp("or", ir.Compare("<", op("*", i, j), n), HOLDS), None),
]


@pytest.mark.parametrize(("condition", "wanted"), CONDITIONS)
def test_conditions_are_sets(condition: ir.Condition, wanted: Wanted) -> None:
    found = space().condition(condition)
    assert (found is None) is (wanted is None)
    if found is not None and wanted is not None:
        np.testing.assert_array_equal(contains(found, SIZES, (I, J)), wanted())


TWO = ir.Const(2, I32)
LOCALS: dict[str, ir.Value] = {
    "t": value("+", index(i), TWO),
    "u": value("*", ir.Local("t", I32), TWO),
    "h": value("<", index(i), index(j), BOOL),
    "g": value("<", LOAD, TWO, BOOL),
    "wraps": value("*", index(i), ir.Const(1 << 30, I32)),
}
NUMBERS: list[tuple[ir.Value, Wanted, bool]] = [  # and whether they fit their type
    (TWO, lambda: np.full(I.shape, 2), True),
    (ir.ScalarArg("s", I32), lambda: np.full(I.shape, 2), True),
    (ir.ScalarArg("s", F32), None, False),
    (ir.ScalarArg("other", I32), None, False),
    (ir.Const(2.0, F32), None, False),
    (index(i), lambda: I, True),
    (index(op("*", ir.Int(100), i), I8), lambda: 100 * I, False),
    (index(op("*", ir.Int(25), i), I8), lambda: 25 * I, True),
    (index(op("*", ir.Int(26), i), I8), lambda: 26 * I, False),  # up to 130
    (ir.UnaryOp("-", index(i), I32), lambda: -I, True),
    (ir.UnaryOp("-", LOAD, I32), None, False),
    (value("+", index(i), index(j)), lambda: I + J, True),
    (value("-", index(i), TWO), lambda: I - 2, True),
    (value("*", index(i), TWO), lambda: 2 * I, True),
    (value("*", index(i), ir.Const(1 << 30, I32)), lambda: I * (1 << 30), False),
    (value("*", index(i), ir.Const(1 << 30, I64), I64), lambda: I * (1 << 30), True),
    (value("/", index(i), TWO), lambda: I // 2, True),
    (value("%", index(i), TWO), lambda: I % 2, True),
    (value("min", index(i), TWO), lambda: np.minimum(I, 2), True),
    (value("max", index(i), TWO), lambda: np.maximum(I, 2), True),
    (value("/", ir.Local("wraps", I32), TWO), None, False),  # what wraps is divided
    (value("min", ir.Local("wraps", I32), TWO), None, False),
    (value("+", ir.Local("wraps", I32), TWO), lambda: I * (1 << 30) + 2, False),
    (ir.Local("t", I32), lambda: I + 2, True),
    (ir.Local("u", I32), lambda: 2 * (I + 2), True),
    (ir.Local("t", F32), None, False),
    (ir.Local("other", I32), None, False),
    (ir.Convert(index(i), I64), lambda: I, True),
    (ir.Convert(index(i), F32), None, False),
    (ir.Convert(ir.Const(1.0, F32), I32), None, False),
    (ir.Convert(ir.Local("wraps", I32), I64), None, False),
    (value("+", LOAD, TWO), None, False),
    (LOAD, None, False),
]


@pytest.mark.parametrize(("number", "wanted", "fits"), NUMBERS)
def test_values_are_functions_before_they_wrap(number: ir.Value, wanted: Wanted, fits: bool) -> None:
    where = space(LOCALS)
    for _ in range(2):  # what locals are is remembered
        found = where.number(number)
        assert (found is None) is (wanted is None)
        if found is not None and wanted is not None:
            np.testing.assert_array_equal(values(found, SIZES, (I, J)), wanted())
        assert (where.fitting(number) is not None) is fits


POSITIVE = value(">", index(i), ir.Const(0, I32), BOOL)
LESS = value("<", index(i), index(j), BOOL)
UNKNOWN = value("<", LOAD, TWO, BOOL)
TRUTHS: list[tuple[ir.Value, Wanted]] = [
    (LESS, lambda: I < J),
    (value(">=", index(i), TWO, BOOL), lambda: I >= 2),
    (value("&&", LESS, POSITIVE, BOOL), lambda: (I < J) & (I > 0)),
    (value("||", LESS, POSITIVE, BOOL), lambda: (I < J) | (I > 0)),
    (ir.UnaryOp("!", LESS, BOOL), lambda: I >= J),
    (ir.Local("h", BOOL), lambda: I < J),
    (UNKNOWN, None),
    (ir.Local("g", BOOL), None),
    (ir.Local("other", BOOL), None),
    (value("&&", LESS, UNKNOWN, BOOL), None),
    (value("||", UNKNOWN, LESS, BOOL), None),
    (ir.UnaryOp("!", UNKNOWN, BOOL), None),
    (value("<", ir.Local("wraps", I32), TWO, BOOL), None),
    (ir.Const(True, BOOL), None),
]


@pytest.mark.parametrize(("truth", "wanted"), TRUTHS)
def test_truths_are_sets(truth: ir.Value, wanted: Wanted) -> None:
    where = space(LOCALS)
    for _ in range(2):
        found = where.truth(truth)
        assert (found is None) is (wanted is None)
        if found is not None and wanted is not None:
            np.testing.assert_array_equal(contains(found, SIZES, (I, J)), wanted())


EITHER = np.ones(I.shape, bool)
POSSIBLE: list[tuple[ir.Value, np.ndarray, np.ndarray]] = [  # where it may be true, and where false
    (LESS, I < J, I >= J),
    (UNKNOWN, EITHER, EITHER),
    (ir.Local("h", BOOL), I < J, I >= J),
    (ir.Local("g", BOOL), EITHER, EITHER),
    (value("&&", LESS, UNKNOWN, BOOL), I < J, EITHER),
    (value("||", LESS, UNKNOWN, BOOL), EITHER, I >= J),
    (value("&&", LESS, POSITIVE, BOOL), (I < J) & (I > 0), (I >= J) | (I <= 0)),
    (value("||", LESS, POSITIVE, BOOL), (I < J) | (I > 0), (I >= J) & (I <= 0)),
    (ir.UnaryOp("!", value("&&", LESS, UNKNOWN, BOOL), BOOL), EITHER, I < J),
    (value("&&", ir.Local("g", BOOL), ir.Local("h", BOOL), BOOL), I < J, EITHER),
]


@pytest.mark.parametrize(("truth", "yes", "no"), POSSIBLE)
def test_branches_are_where_a_condition_may_go_their_way(truth: ir.Value, yes: np.ndarray, no: np.ndarray) -> None:
    where = space(LOCALS)
    everywhere = isl.Set.universe(where.space)
    for _ in range(2):
        for wanted, expected in ((True, yes), (False, no)):
            found = where.where_it_may_be(wanted, truth, everywhere)
            np.testing.assert_array_equal(contains(found, SIZES, (I, J)), expected)
