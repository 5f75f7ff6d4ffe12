"""Subscripts and bounds are exact, and computed in 64 bits: what does not fit there on the way is refused at the call.

It was another element, or memory that nobody had written: kernels wrapped where the reference did not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(300, dtype=np.float32)
QUOTIENT = "def f(float(N) A, int64 s, int64 t) -> (B) { B(i) = A(s * s / t) where i in 0:3 }"
WIDE = "def f(float(N) A, uint64 s) -> (B) {{ B(i) = {} }}"
REFUSED = {
    "a quotient": (QUOTIENT, (2**32, 2**62)),
    "a remainder": (WIDE.format("A(s % 7) where i in 0:3"), (2**63,)),
    "a minimum": (WIDE.format("A(min(s, 5)) where i in 0:3"), (2**63,)),
    "a bound": (WIDE.format("A(i) where i in 0:min(s, 5)"), (2**63,)),
    "a let": (WIDE.format("A(k) where k = s % 7, i in 0:3"), (2**63 + 5,)),
    "a choice": (WIDE.format("A((i > 0 ? s : uint64(0)) / 4) where i in 0:3"), (2**63,)),
    "a let that chooses": (WIDE.format("A(k / 4) where k = i > 0 ? s : uint64(0), i in 0:3"), (2**63,)),
    "a condition": (WIDE.format("A(s > 5 ? i : i + 1) where i in 0:3"), (2**63,)),
    "a range": ("def f(float(N) A, int64 s) -> (B) { B +=! A(i - s) where i in s:s + 3 }", (2**40,)),
    "a range of int32": ("def f(float(N) A, int32 s) -> (B) { B +=! A(i - 2 * s) where i in 2*s:2*s+3 }", (2**30,)),
}  # fmt: skip
TAKEN = {
    "a quotient": (QUOTIENT, (2**10, 2**12), [256] * 3),
    "a product that comes back": (WIDE.format("A(i + s - 2 * s + s) where i in 0:3"), (2**64 - 1,), [0, 1, 2]),
    "a bound": (WIDE.format("A(i) where i in 0:min(s, 5)"), (2**63 - 1,), [0, 1, 2, 3, 4]),
    "a choice": (WIDE.format("A((i > 0 ? s : uint64(0)) / 4) where i in 0:3"), (8,), [0, 2, 2]),
    "a value": (WIDE.format("s / uint64(2) > uint64(5) ? A(i) : 0.0 where i in 0:3"), (2**64 - 1,), [0, 1, 2]),
    "a let that is a value": (WIDE.format("float(k) where k = s % uint64(8), i in 0:3"), (2**64 - 1,), [7, 7, 7]),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str, sizes: Any) -> None:
    text, scalars = REFUSED[name]
    f = tc.define(text, sizes=sizes).f
    for call in (f, f.reference):
        with pytest.raises(tc.ComprehensionError, match="beyond 64 bits|beyond int32"):
            call(A, *scalars)


@pytest.mark.parametrize("name", TAKEN)
def test_what_fits_is_taken(name: str) -> None:
    text, scalars, expected = TAKEN[name]
    f = tc.define(text).f
    np.testing.assert_array_equal(f.reference(A, *scalars), expected)
    np.testing.assert_array_equal(f(A, *scalars), expected)
