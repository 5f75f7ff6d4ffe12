"""Subscripts and guards that compute floats, or call builtins, from sizes and scalars alone.

Found by a drawn text: a launch was asked for what only the kernel can compute, sizes were left as names where they are
numbers, and `int32(float(N) * 0.25)` was computed with integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(8, dtype=np.int8)
DRAW = "int32(philox(N, 0, 1, 2, 3, 4) % uint32(3))"
DRAWN = int(tc.define("def f(float(N) A) -> (B) { B(i) = " + DRAW + " where i in 0:1 }").f.reference(A.astype("f4"))[0])


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize(
    ("value", "scalars", "expected"),
    [
        ("A(i + int32(float(N) * 0.25))", (), A[2:4]),
        ("A(i + int32(s))", (2.5,), A[2:4]),
        (f"A(i + {DRAW})", (), A[DRAWN : DRAWN + 2]),
        (f"i >= 1 && {DRAW} + i == {DRAWN + 1} ? A(i + 4) : A(i)", (), [0, 5]),
        (f"{DRAW} == {DRAWN} ? A(i + 3) : A(i)", (), [3, 4]),
    ],
)
def test_they_mean_what_they_say(value: str, scalars: tuple[float, ...], expected: Any, sizes: Any) -> None:
    parameters = "int8(N) A, float s" if scalars else "int8(N) A"
    f = tc.define(f"def f({parameters}) -> (B) {{ B(i) = {value} where i in 0:2 }}", sizes=sizes).f
    np.testing.assert_array_equal(f.reference(A, *scalars), expected)
    np.testing.assert_array_equal(f(A, *scalars), expected)


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_they_are_checked(sizes: Any) -> None:
    f = tc.define("def f(int8(N) A, float s) -> (B) { B(i) = A(i + int32(s)) where i in 0:2 }", sizes=sizes).f
    for outside in (-1.0, 7.0):
        with pytest.raises(tc.ComprehensionError, match="out of bounds|out of range"):
            f(A, outside)
