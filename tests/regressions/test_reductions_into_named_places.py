"""`T(J(i)) op= x` with a reduction beside it: once planned with accumulators that could not be proved."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

PLACES = np.int32([0, 1, 3, 3, 1])
TEXTS = {
    "over a row": "H(J(i)) += A(i, j)",
    "the largest of a row": "H(J(i)) max= A(i, j)",
    "over what does not depend on the place": "H(J(i)) += A(0, j) where i in 0:5",
    "one place": "H(J(2)) += A(i, j)",
}


@pytest.mark.parametrize("name", TEXTS)
def test_reductions_into_named_places_are_proved_as_planned(name: str) -> None:
    text = f"def f(float(N, M) A, int32(N) J) -> (H) {{ H(k) = 0.0 where k in 0:4  {TEXTS[name]} }}"
    f = tc.define(text).f
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    kernel = f.compile(a, PLACES)
    assert kernel.certificate and kernel.report.fallbacks == ()
    np.testing.assert_array_equal(kernel(a, PLACES), f.reference(a, PLACES))
