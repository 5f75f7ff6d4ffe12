"""Found by drawn texts: a local buffer was placed by a loop that isl does not make, and the compiler gave up.

isl makes no loop where the schedule above decides an index, or where what is known of sizes leaves it one value.
"""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

FEW_TIMES = """
def f(float(N) A) -> (T2) {
    T0(i, j, k) *=! 2.0 where i in 0:3, j in 0:1, k in 0:3, r in 0:i
    T1(i) +=! 1.0 where i in 0:2, r in 0:i
    T2(i, j) +=! A(r) where i in 0:3, j in 0:3, r in i:3
}"""


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("fusion", ["min", "max", "preserve"])
def test_an_update_that_runs_at_few_points_of_its_start(sizes: str, fusion: str) -> None:
    f, a = tc.define(FEW_TIMES, sizes=sizes).f, np.ones(3, np.float32)
    kernel = f.compile(a, options=tc.MappingOptions(tile=(1,), vectorize=False, parallel=False, fusion=fusion))
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(a), f.reference(a))


@pytest.mark.parametrize("tile", [None, (4,)])
def test_a_size_that_can_have_one_value_only(tile: tuple[int, ...] | None) -> None:
    text = """
    def g(float(N) X) -> (Y) { Y(i) = X(i) where i in 0:3 }
    def f(float(3) A, float(N) B, float(N) C) -> (T) {
        T = g(A)
        u(i) = B(i) where exists C(i)
        v(i) = u(i) + T(i) where i in 0:N
    }"""
    f = tc.define(text, sizes="symbolic").f
    a, b = np.ones(3, np.float32), np.arange(3, dtype=np.float32)
    kernel = f.compile(a, b, b, options=tc.MappingOptions(tile=tile, vectorize=4, fusion="min"))
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(a, b, b), f.reference(a, b, b))
