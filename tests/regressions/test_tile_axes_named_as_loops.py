"""Found by drawn texts: where an axis of tiles and a loop had one name, the loop's number was taken for the lanes'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

TEXT = """
def f(float(N, 2) A, float(N, M) B) -> (U) {
    T(0, j) = A(j, j % 2) where j in 0:N
    T(i, j) = T(i - 1, j) + B(j, j * j) where i in 1:N, j in 0:N
    U(j) = T(N - 1, j) where j in 0:N
}"""


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("fusion", ["min", "preserve", "max"])
def test_a_scan_after_a_gathered_first_row(sizes: Any, fusion: Any) -> None:
    f = tc.define(TEXT, sizes=sizes).f
    for extent in (3, 9):
        a = np.arange(2 * extent, dtype=np.float32).reshape(extent, 2)
        b = np.arange(extent * extent**2, dtype=np.float32).reshape(extent, extent**2)
        kernel = f.compile(a, b, options=tc.MappingOptions(vectorize=4, fusion=fusion), math="strict")
        np.testing.assert_array_equal(kernel(a, b), f.reference(a, b))
