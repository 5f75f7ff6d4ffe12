"""Integers of statements and kernels in one form: multiples of a divisor leave quotients, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comprehension.poly.proof.polynomials import Polynomial, _atom, _combined, _indivisible, _number

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
