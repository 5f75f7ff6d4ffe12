"""Quotients and remainders of indices and scalars by the constant 0 are 0: kernels were malformed, guards not proved.

`A(i / 0)` was an internal error; where `s / 0 != 1` guarded a read, the proof took it for unknown and refused the read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(8, dtype=np.float32)
READS = {
    "a quotient": "B(i) = A(i / 0) where i in 0:N",
    "a remainder": "B(i) = A(i % 0 + i) where i in 0:N",
    "a let": "B(i) = A(k) where k = i / 0 + i, i in 0:N",
    "by a difference": "B(i) = A(i / (N - N) + i % (i - i)) where i in 0:N",
    "of what was computed": "T(i) = 2 * A(i)  B(i) = T(i / 0) where i in 0:N",
    "a bound": "B(i) = A(i) where i in 0:N % 0 + 3",
    "a value": "B(i) = A(i) + float(i / 0) + float(i % 0) where i in 0:N",
    "a guard": "B(i) = i % 0 == 0 ? A(i) : A(i + 100) where i in 0:N",
    "a guard of a scalar": "B(i) = s / 0 != 1 ? A(i) : A(i + 100) where i in 0:N",
    "a guard of a scalar's remainder": "B = s % 0 >= 0 ? 7.0 : A(100)",
    "a guard that never holds": "B(i) = s / 0 > 0 ? A(i + 100) : 2.0 where i in 0:N",
    "a scalar": "B(i) = A(min(max(i / s, 0), N - 1)) where i in 0:N",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", READS)
def test_they_compile(name: str, sizes: Any) -> None:
    f = tc.define(f"def f(float(N) A, int32 s) -> (B) {{ {READS[name]} }}", sizes=sizes).f
    for s in (0, 2):
        np.testing.assert_array_equal(f(A, s), f.reference(A, s))
