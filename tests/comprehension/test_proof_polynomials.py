"""Integers of statements and kernels in one form: multiples of a divisor leave quotients, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from comprehension.poly import isl
from comprehension.poly.proof.polynomials import (
    Polynomial,
    _atom,
    _both,
    _combined,
    _comparison,
    _indivisible,
    _number,
    _plain_sum,
)

X = _atom("x")


def times(factor: int, of: Polynomial) -> Polynomial:
    return _combined("*", _number(factor), of)


def plus(left: Polynomial, right: Polynomial) -> Polynomial:
    return _combined("+", left, right)


@given(st.integers(-9, 9), st.integers(1, 9), st.integers(-30, 30), st.integers(-9, 9))
def test_whole_multiples_leave_a_quotient_and_a_remainder(whole: int, divisor: int, rest: int, part: int) -> None:
    inner = plus(times(part, X), _number(rest))
    value = plus(times(whole * divisor, _atom("y")), inner)
    for op, taken_out in (("/", times(whole, _atom("y"))), ("%", _number(0))):
        assert _indivisible(op, value, _number(divisor)) == plus(taken_out, _indivisible(op, inner, _number(divisor)))


@pytest.mark.parametrize("more", [1, 2, 3])
def test_what_is_no_multiple_stays_within(more: int) -> None:
    """(3 x) / 2 is no x + (3 x) / 2, nor x + x / 2 although both are what it is for even x."""
    three_halves = _indivisible("/", times(3, X), _number(2))
    assert three_halves == _atom(("/", times(3, X), _number(2)))
    assert _indivisible("/", times(3 + 2 * more, X), _number(2)) != plus(times(more, X), three_halves)


def test_constants_come_out_as_they_are() -> None:
    for value in range(-7, 8):
        for divisor in (-3, -1, 1, 2, 5):
            assert _indivisible("/", _number(value), _number(divisor)) == _number(value // divisor)
            assert _indivisible("%", _number(value), _number(divisor)) == _number(value % divisor)


@given(st.integers(-9, 9), st.integers(-9, 9))
def test_what_is_a_number_apart_is_compared(first: int, second: int) -> None:
    left, right = plus(X, _number(first)), plus(X, _number(second))
    outcomes = {"<": first < second, "<=": first <= second, "==": first == second, "!=": first != second}
    assert {op: _comparison(op, left, right) for op in outcomes} == outcomes
    assert _indivisible("min", left, right) == (left if first <= second else right)
    assert _indivisible("max", left, right) == (left if first >= second else right)


@pytest.mark.parametrize("other", [times(2, X), _atom("y")])
def test_what_is_not_stays_a_comparison(other: Polynomial) -> None:
    assert _comparison("<", X, other) == ("<", X, other)
    assert _indivisible("min", X, other) == _atom(("min", frozenset((X, other))))


def test_conditions_that_are_known_leave_the_others() -> None:
    for known in (False, True):
        for both in (_both("and", known, "open"), _both("and", "open", known)):
            assert both == ("open" if known else False)
        for either in (_both("or", known, "open"), _both("or", "open", known)):
            assert either == (True if known else "open")
    assert _both("and", "one", "two") == ("and", "one", "two")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("[N] -> { [i, j] -> [2 * i + N - 3] : 0 <= i < N }", {"N": 1, 0: 2, "": -3}),
        ("[N] -> { [i, j] -> [floor(j / 2)] : 0 <= j < 2 }", {}),
        ("[N] -> { [i, j] -> [max(i, 2 * i)] : 0 <= i < N }", {0: 2}),
        ("[N] -> { [i, j] -> [i + j] : 0 <= i < N and j = 1 }", {0: 1, "": 1}),
        ("[N] -> { [i, j] -> [floor(j / 2)] : 0 <= j < 3 }", None),
        ("[N] -> { [i, j] -> [max(i, 3)] : 0 <= i < N }", None),
        ("[N] -> { [i, j] -> [i % 2] : 0 <= i < N }", None),
    ],
)
def test_functions_that_are_sums_at_their_points_are_these_sums(function: str, expected: Any) -> None:
    found = _plain_sum(isl.Map.read_from_str(isl.new_context(), function))
    if expected is None:
        assert found is None
    else:
        terms = {(("variable", name),) if name != "" else (): times for name, times in expected.items()}
        assert dict(found or ()) == terms
