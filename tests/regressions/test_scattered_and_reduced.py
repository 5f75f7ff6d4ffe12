"""Tensors that are written through another one, and reduced: found by drawn texts.

Their sums were kept in register tiles, or in accumulators side by side.  The proof follows each copy back to its last
write, and cannot where one is indirect: every schedule but plain loops was given up.
"""

from __future__ import annotations

import numpy as np
import pytest
from alike import assert_all_equal

import comprehension as tc

A = np.random.default_rng(5).integers(-3, 4, (40, 64)).astype(np.float32)
V = np.random.default_rng(6).integers(-3, 4, (64, 48)).astype(np.float32)
I = np.arange(40, dtype=np.int32)[::-1].copy()
TEXTS = {
    "summed, then scattered": ("(T, B)", "T(i) +=! A(i, k)  T(I(p)) += A(p, 0)  B(i) = T(i) + 1.0 where i in 0:M"),
    "scattered, then an operand": ("(B)", "T(i) = A(i, 0)  T(I(p)) += A(p, 0)  B(i) +=! T(i) * A(i, k)"),
    "scattered, then summed on": ("(T)", "T(i) = 0.0 where i in 0:M  T(I(p)) += A(p, 0)  T(i) += A(i, k) * V(k, 0)"),
    "rows scattered, then a product": (
        "(T)",
        "T(i, j) = 0.0 where i in 0:M, j in 0:N  T(I(p), j) += V(p, j) where p in 0:M  T(i, j) += A(i, k) * V(k, j)",
    ),
    "a factor that was scattered": ("(C)", "T(i, k) = A(i, k)  T(I(p), k) += A(p, k)  C(i, j) +=! T(i, k) * V(k, j)"),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", TEXTS)
def test_they_are_proved_as_they_are_planned(name: str, sizes: str) -> None:
    outputs, body = TEXTS[name]
    text = f"def f(float(M,K) A, float(K,N) V, int32(M) I) -> {outputs} {{ {body} }}"
    f = tc.define(text, sizes=sizes).f  # type: ignore[arg-type]
    for options in (tc.MappingOptions(), tc.MappingOptions(fusion="max")):
        kernel = f.compile(A, V, I, options=options)
        assert kernel.certificate and not kernel.report.fallbacks
        assert_all_equal(kernel(A, V, I), f.reference(A, V, I))
