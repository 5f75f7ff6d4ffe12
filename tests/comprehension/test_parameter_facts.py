"""What the proof knows of products and quotients of sizes: true of all numbers, and enough for small ones."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import comprehension as tc
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


TEXTS = {
    "a read where products are at least so much": (
        "O(i, j) = A(i % N, j % M) where i in 0:N*M, j in 0:N\n"
        "P(i, j) = i < N*M && j - 2*i >= 0 ? O(i, j - 2*i) : 1.0 where i in 0:N, j in 0:N"
    ),
    "an index that is a value": "O(i, j) = i != j ? A(min(j, N - 1), 0) : 2.0 where i in 0:N*M, j in 0:M",
    "one of two conditions": "O(i, j) = i <= 3 || i <= j ? A(min(j, N - 1), 0) : 2.0 where i in 0:N*M, j in 0:M",
    "a quotient by a scalar": "O(i) = B(i)\nP(i) = i < N ? O(i) : 1.0 where i in 0:N / s",
    "a remainder": "O(i) = B(i)\nP(i) = i < N % s ? O(i) : 1.0 where i in 0:min(N, s)",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("body", TEXTS.values(), ids=TEXTS)
def test_texts_whose_proof_needs_facts(body: str, sizes: Any) -> None:
    outputs = "O, P" if "P(" in body else "O"
    f = tc.define(f"def f(float(N,M) A, float(N) B, int32 s) -> ({outputs}) {{ {body} }}", sizes=sizes).f
    for n, m, s in ((3, 4, 2), (1, 1, 1), (2, 3, 5)):
        a, b = np.arange(n * m, dtype=np.float32).reshape(n, m), np.arange(n, dtype=np.float32)
        kernel = f.compile(a, b, s)
        assert kernel.certificate
        found, wanted = kernel(a, b, s), f.reference(a, b, s)
        for left, right in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, wanted)), strict=True):
            np.testing.assert_array_equal(left, right)
