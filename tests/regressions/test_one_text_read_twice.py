"""Where one text stands twice in a statement, each is a read of its own, and both give the same integer.

Found in a histogram whose weight is looked up by the same subscript as its bin: the certificate took the second read
for something else, and refused every schedule.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

import comprehension as tc


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_a_weighted_histogram(sizes: Literal["static", "symbolic"]) -> None:
    text = "def f(int32(P, Q) I, float(N) a) -> (h) { h(n) = 0 * a(n)  h(I(p, q)) += a(I(p, q)) * a(I(p, q)) }"
    histogram = tc.define(text, sizes=sizes).f
    places = np.random.default_rng(0).integers(0, 9, (4, 3)).astype(np.int32)
    weights = np.arange(9, dtype=np.float32)
    expected = np.bincount(places.ravel(), weights[places.ravel()] ** 2, minlength=9)
    np.testing.assert_array_equal(histogram(places, weights), expected)  # integers below 2**24: exact
    np.testing.assert_array_equal(histogram.reference(places, weights), expected)
