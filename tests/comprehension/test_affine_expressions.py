"""Expressions of a statement as isl's functions and sets, against their values at every point; and which have none."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from enumerated import known

from comprehension.lang import tree
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.affine import AffineSpace, fitting, function_of, set_of, truth_of, value_of, where_it_may_be
from comprehension.poly.grid import UNDEFINED, contains, values
from comprehension.poly.scop import ScopStatement, build_scop

I32 = ScalarType.INT32
POINTS = list(product(range(9), range(7)))
COLUMNS = tuple(np.array(column) for column in zip(*POINTS, strict=True))


def statement_of(value: str, lets: str = "") -> tuple[ScopStatement, AffineSpace]:
    """The statement O(i, j) = value, and what is known in it."""
    text = (
        "def f(float(400) A, float(9) X, int32(9) I, bool(9) P, int32 s) -> (O)"
        f" {{ O(i, j) = {value} where i in 0:9, j in 0:7{lets} }}"
    )
    specs = [Spec((400,), "float32"), Spec((9,), "float32"), Spec((9,), "int32"), Spec((9,), "bool"), Spec((), "int32")]
    scop = build_scop(infer(load(text)["f"], specs))
    (statement,) = scop.statements
    return statement, scop.affine_space(statement)


def at_points(expr: tree.Expr, statement: ScopStatement) -> list[Any]:
    found = []
    for i, j in POINTS:
        names: dict[str, Any] = {"i": i, "j": j, "s": None}
        for let in statement.source.lets:
            names[let.name] = known(let.value, names)
        found.append(known(expr, names))
    return found


SUBSCRIPTS = [
    ("i", ""),
    ("2 * i + 3 * j + 1", ""),
    ("-i + 20", ""),
    ("-(i - 9)", ""),
    ("i / 2 + j % 3", ""),
    ("(20 - i) / 3", ""),
    ("min(i, j)", ""),
    ("max(i, 3) * 2", ""),
    ("i < j ? i : j + 10", ""),
    ("i < 4 && j > 2 || i == j ? i : j", ""),
    ("!(i < 4) ? i : j", ""),
    ("int64(i) * int64(2)", ""),
    ("int32(int64(i)) + j", ""),
    ("t + j", ", t = 2 * i + 1"),
    ("u + j", ", t = 2 * i + 1, u = t * 3"),
    ("h ? i : j", ", h = i > 3"),
    ("g ? i : j", ", h = i > 3, g = h && j < 4 || !h"),
    ("int8(i) + 200 + j", ""),  # it fits
    ("min(max(t, 0), 399)", ", t = int16(i * 40)"),
]
NO_FUNCTIONS = [
    ("i * j", ""),
    ("I(i) + j", ""),
    ("i / (j + 1) + 10", ""),
    ("X(i) > 0.0 ? i : j", ""),
    ("h ? i : j", ", h = X(i) > 0.0"),
    ("t + j", ", t = I(i)"),
    ("s * i", ""),
    ("int8(i * 40) + 200", ""),  # it wraps
]


@pytest.mark.parametrize(("subscript", "lets"), SUBSCRIPTS)
def test_subscripts_are_functions(subscript: str, lets: str) -> None:
    statement, where = statement_of(f"A({subscript})", lets)
    expr = statement.source.value
    assert isinstance(expr, tree.Access)
    (inner,) = expr.subscripts
    found = function_of(inner, where)
    assert found is not None
    np.testing.assert_array_equal(values(found, {"s": 0}, COLUMNS), at_points(inner, statement))
    assert all(value != UNDEFINED for value in values(found, {"s": 0}, COLUMNS))


@pytest.mark.parametrize(("subscript", "lets"), NO_FUNCTIONS)
def test_what_is_no_affine_function_is_none(subscript: str, lets: str) -> None:
    statement, where = statement_of(f"A({subscript})", lets)
    expr = statement.source.value
    assert isinstance(expr, tree.Access)
    assert function_of(expr.subscripts[0], where) is None


BIG = 2**31
VALUES = [
    ("i", "", True),
    ("-i", "", True),
    ("i * 3 - j", "", True),
    ("i / 2 + j % 3", "", True),
    ("min(i, j) + max(i, 3)", "", True),
    ("i < j ? i : j", "", True),
    ("h ? i : j", ", h = i * 2 > j", True),
    ("i * 268435455", "", True),  # 8 * 268435455 is 2 ** 31 - 8
    ("i * 268435456", "", False),  # 8 * 268435456 is 2 ** 31
    ("i + 2147483639", "", True),
    ("i + 2147483640", "", False),
    ("-i * 268435456", "", True),  # down to -(2 ** 31)
    ("t + 1", ", t = i * 2", True),
    ("t - 2147483647", ", t = i + 2147483647", None),  # a let that may wrap has no value
]


@pytest.mark.parametrize(("value", "lets", "fits"), VALUES)
def test_values_are_functions_unless_they_wrap(value: str, lets: str, fits: bool | None) -> None:
    statement, where = statement_of(f"float({value})", lets)
    cast = statement.source.value
    assert isinstance(cast, tree.Cast)
    exact = value_of(cast.operand, where)
    assert (exact is None) is (fits is None)
    if exact is not None:
        np.testing.assert_array_equal(values(exact, {"s": 0}, COLUMNS), at_points(cast.operand, statement))
        largest = max(abs(number) for number in at_points(cast.operand, statement))
        assert largest < BIG or not fits or min(at_points(cast.operand, statement)) == -BIG
    assert (fitting(cast.operand, where) is not None) is bool(fits)


def test_quotients_of_what_wraps_have_no_value() -> None:
    for value in ("(i + 2147483647) / 2", "(i + 2147483647) % 3", "min(i + 2147483647, 5)", "int64(i + 2147483647)"):
        statement, where = statement_of(f"float({value})")
        cast = statement.source.value
        assert isinstance(cast, tree.Cast)
        assert value_of(cast.operand, where) is None
    statement, where = statement_of("float(X(i))")
    assert fitting(statement.source.value, where) is None  # no integer


CHOICES = [
    ("i < j", "", True),
    ("i <= 4 && j > 2", "", True),
    ("i == j || !(j >= 3)", "", True),
    ("i != 2 * j", "", True),
    ("h", ", h = i > 3", True),
    ("!h || g", ", h = i > 3, g = j < 2 && h", True),
    ("i + 2147483647 > 0", "", False),  # exactly it always holds, in int32 it does not
    ("X(i) > 0.0", "", None),
    ("h && i > 2", ", h = X(i) > 0.0", None),
    ("P(i)", "", None),
]


@pytest.mark.parametrize(("condition", "lets", "told"), CHOICES)
def test_conditions_are_sets(condition: str, lets: str, told: bool | None) -> None:
    statement, where = statement_of(f"{condition} ? 1.0 : 2.0", lets)
    choice = statement.source.value
    assert isinstance(choice, tree.Select)
    exact, truth = set_of(choice.condition, where), truth_of(choice.condition, where)
    assert (exact is not None) is (told is not None)
    assert (truth is not None) is bool(told)
    for found in (exact, truth):
        if found is not None:
            expected = [bool(v) for v in at_points(choice.condition, statement)]
            np.testing.assert_array_equal(contains(found, {"s": 0}, COLUMNS), expected)


MAYBE = [
    ("i > 1 && X(i) > 0.0", ""),
    ("i > 1 || X(i) > 0.0", ""),
    ("!(i > 1 && X(i) > 0.0)", ""),
    ("h && i > 1", ", h = X(i) > 0.0"),
    ("h || i > 1", ", h = X(i) > 0.0 && j > 2"),
    ("!h", ", h = X(i) > 0.0 && j > 2"),
    ("!h && i > 1", ", h = X(i) > 0.0 || j > 2"),
    ("g", ", h = X(i) > 0.0 || j > 2, g = h && i < 5"),
    ("h", ", h = i > 3"),
    ("P(i) && i > 1", ""),
]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(("condition", "lets"), MAYBE)
def test_conditions_may_hold_where_memory_decides(condition: str, lets: str, wanted: bool) -> None:
    statement, where = statement_of(f"{condition} ? 1.0 : 2.0", lets)
    choice = statement.source.value
    assert isinstance(choice, tree.Select)
    found = where_it_may_be(wanted, choice.condition, statement.domain, where)
    expected = [value in (wanted, None) for value in at_points(choice.condition, statement)]
    np.testing.assert_array_equal(contains(found, {"s": 0}, COLUMNS), expected)


def test_subscripts_are_exact_where_values_wrap() -> None:
    """Also through casts to types of 32 bits and more; narrower ones make values of them."""
    _, where = statement_of("1.0")
    large = tree.Binary("*", tree.Name("i", dtype=I32), tree.Number(1 << 30, dtype=I32), dtype=I32)
    for to, is_exact in ((I32, True), (ScalarType.INT64, True), (ScalarType.UINT8, False), (ScalarType.FLOAT32, False)):
        cast = tree.Cast(to, large, dtype=to)
        found = function_of(cast, where)
        assert (found is not None) is is_exact
        if found is not None:
            np.testing.assert_array_equal(values(found, {"s": 0}, COLUMNS), COLUMNS[0] * (1 << 30))
        assert value_of(cast, where) is None  # what is converted wraps
    unread = tree.Cast(ScalarType.INT64, tree.Number(1.0, dtype=ScalarType.FLOAT32), dtype=ScalarType.INT64)
    assert function_of(unread, where) is None
