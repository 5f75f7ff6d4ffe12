"""What the proof knows of products and quotients of sizes: true of all numbers, and enough for small ones."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, strategies as st

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.parameter_facts import FACTS, with_facts


def quotient(a: int, b: int) -> int:
    return a // b if b else 0


def remainder(a: int, b: int) -> int:
    return a % b if b else 0


OPERATIONS = {"*": operator.mul, "/": quotient, "%": remainder}
NUMBERS = st.integers(-40, 40) | st.integers(-(2**31), 2**31)


def holds(op: str, x: int, a: int, b: int) -> bool:
    return not isl.Set(f"{{ [{x}, {a}, {b}] }}").intersect(isl.Set(FACTS[op])).is_empty()


@pytest.mark.parametrize("op", FACTS)
@given(a=NUMBERS, b=NUMBERS)
def test_facts_are_true(op: str, a: int, b: int) -> None:
    assert holds(op, OPERATIONS[op](a, b), a, b)


@pytest.mark.parametrize("op", FACTS)
def test_facts_say_all_where_an_operand_is_small(op: str) -> None:
    few = [(a, b) for a in range(-5, 6) for b in (-1, 0, 1)]
    smaller = [(sign * a, sign * b) for b in range(2, 6) for a in range(b) for sign in (-1, 1)]
    for a, b in few + (smaller if op != "*" else []):
        values = [x for x in range(-30, 31) if holds(op, x, a, b)]
        assert values == [OPERATIONS[op](a, b)], (a, b)


@pytest.mark.parametrize(
    ("op", "x", "a", "b"),
    [
        ("*", 9, 4, 4),  # at least 12
        ("*", -9, 4, -4),
        ("*", 9, -4, -4),
        ("/", 0, 7, 3),
        ("/", 4, 7, 3),
        ("/", 0, -1, 3),
        ("/", 0, 1, -3),
        ("/", 4, -7, -3),
        ("/", -8, 7, -3),
        ("%", 3, 7, 3),
        ("%", -1, 7, 3),
        ("%", 5, 7, 6),
        ("%", 1, 7, -3),
        ("%", -5, -7, -6),
    ],
)
def test_what_facts_exclude(op: str, x: int, a: int, b: int) -> None:
    assert not holds(op, x, a, b)


def test_facts_are_of_the_parameters_that_stand_for_them() -> None:
    context = isl.Set("[N, M, s, P, Q, R] -> { : N >= 0 and M >= 0 and s >= 1 }")
    n, m, s = ir.Var("N"), ir.Var("M"), ir.Var("s")
    parameters = {"P": ir.IntOp("*", m, n), "Q": ir.IntOp("/", n, s), "R": ir.IntOp("%", n, s)}
    known = with_facts(context, parameters)
    assert known.is_subset(context)
    for values, is_possible in {
        (3, 4, 2, 12, 1, 1): True,
        (3, 0, 2, 1, 1, 1): False,  # 3 * 0 is not 1
        (3, 4, 2, 5, 1, 1): False,
        (3, 4, 4, 12, 1, 3): False,  # 3 / 4 is not 1
        (3, 4, 4, 12, 0, 2): False,
        (3, 4, 4, 12, 0, 3): True,
    }.items():
        point = isl.at_sizes(known, dict(zip(("N", "M", "s", "P", "Q", "R"), values, strict=True)))
        assert point.is_empty() != is_possible, values
