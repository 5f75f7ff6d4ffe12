"""Quotients and remainders of indices and scalars by constants that are not positive.

By negative ones kernels were malformed, and reads found out of bounds.  By 0, which gives 0, `A(i / 0)` was an internal
error, and where `s / 0 != 1` guarded a read, the proof took it for unknown and refused the read.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import numpy as np
import pytest

import comprehension as tc
from comprehension.kernel import ir
from comprehension.kernel.simplify import simplify
from comprehension.lang import linear
from comprehension.lang.linear import floor_div, modulo, variable

OPERATORS: tuple[Literal["/", "%"], ...] = ("/", "%")
A = np.arange(40, dtype=np.float32)
TEXTS = {
    "a quotient": "B(i) = A((i - 20) / (0 - 3) + 7) where i in 0:40",
    "a remainder": "B(i) = A(0 - (i - 20) % (0 - 7)) where i in 0:40",
    "of what was computed": "T(i) = 2 * A(i)  B(i) = T(0 - (i - 20) % (0 - 7)) where i in 0:40",
    "on the left": "B(0 - i / (0 - 2), i % 2) = A(i) where i in 0:40",
    "a bound": "B(i) = A(i) where i in 0:20 - N / (0 - 2)",
    "a guard": "B(i) = (i - 20) / (0 - 3) >= 0 ? A(i) : 0.0 where i in 0:40",
    "0: a quotient": "B(i) = A(i / 0) where i in 0:N",
    "0: a remainder": "B(i) = A(i % 0 + i) where i in 0:N",
    "0: a let": "B(i) = A(k) where k = i / 0 + i, i in 0:N",
    "0: by a difference": "B(i) = A(i / (N - N) + i % (i - i)) where i in 0:N",
    "0: of what was computed": "T(i) = 2 * A(i)  B(i) = T(i / 0) where i in 0:N",
    "0: a bound": "B(i) = A(i) where i in 0:N % 0 + 3",
    "0: a value": "B(i) = A(i) + float(i / 0) + float(i % 0) where i in 0:N",
    "0: a guard": "B(i) = i % 0 == 0 ? A(i) : A(i + 100) where i in 0:N",
    "0: a guard of a scalar": "B(i) = s / 0 != 1 ? A(i) : A(i + 100) where i in 0:N",
    "0: a guard of a scalar's remainder": "B = s % 0 >= 0 ? 7.0 : A(100)",
    "0: a guard that never holds": "B(i) = s / 0 > 0 ? A(i + 100) : 2.0 where i in 0:N",
    "0: a scalar": "B(i) = A(min(max(i / s, 0), N - 1)) where i in 0:N",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", TEXTS)
def test_they_compile(name: str, sizes: Any) -> None:
    f = tc.define(f"def f(float(N) A, int32 s) -> (B) {{ {TEXTS[name]} }}", sizes=sizes).f
    for s in (0, 2):
        np.testing.assert_array_equal(f(A, s), f.reference(A, s))


def test_they_mean_what_floors_mean() -> None:
    for divisor, start in product((-7, -3, -2, -1, 2), (-9, 0, 5)):
        dividend = variable("i") * 2 + start
        forms = [operation(dividend, linear.number(divisor)) for operation in (linear.quotient, linear.remainder)]
        shifted = ir.IntOp("+", ir.IntOp("*", ir.Int(2), ir.Var("i")), ir.Int(start))
        trees = [simplify(ir.IntOp(op, shifted, ir.Int(divisor))) for op in OPERATORS]
        for i in range(-8, 9):
            expected = [floor_div(2 * i + start, divisor), modulo(2 * i + start, divisor)]
            assert [value_of(str(form), i) for form in forms] == expected
            assert [number(tree, i) for tree in trees] == expected


def value_of(text: str, i: int) -> int:
    return int(eval(text.replace("/", "//"), {"i": i}))  # divisors are positive


def number(expr: ir.IntExpr, i: int) -> int:
    match expr:
        case ir.Int(value=value):
            return value
        case ir.Var():
            return i
        case ir.IntOp(op=op, left=left, right=right):
            a, b = number(left, i), number(right, i)
            return {"+": a + b, "-": a - b, "*": a * b, "/": floor_div(a, b), "%": modulo(a, b)}[op]
    raise AssertionError(expr)
