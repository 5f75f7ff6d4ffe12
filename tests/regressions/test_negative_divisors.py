"""Quotients and remainders of indices by negative constants: kernels were malformed, and reads found out of bounds."""

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
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", TEXTS)
def test_they_compile(name: str, sizes: Any) -> None:
    f = tc.define(f"def f(float(N) A) -> (B) {{ {TEXTS[name]} }}", sizes=sizes).f
    np.testing.assert_array_equal(f(A), f.reference(A))


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
