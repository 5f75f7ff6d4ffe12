"""Found by drawn texts: a guard that bounds an index by a number was forgotten where the tensor's size is symbolic."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

CASES = {  # a text, and the least size that it is right for
    "T(s) = (s + 3 < 20 ? A(s + 3) : 0.0) where s in 0:20": 20,
    "T(s) = (s >= 2 && s < 6 ? A(s - 2) : 0.0) where s in 0:10": 4,
    "T(s) = (s == 3 || s == 5 ? A(s) : 0.0) where s in 0:10": 6,
    "T(s) = (s + 1 < M ? A(s + 1) : 0.0) where s in 0:M": 5,
}


@pytest.mark.parametrize("statement", CASES)
def test_a_symbolic_call_takes_every_size_that_a_static_one_takes(statement: str) -> None:
    text, least = f"def f(float(N) A, float(M) B) -> (T) {{ {statement} }}", CASES[statement]
    static, symbolic = tc.define(text).f, tc.define(text, sizes="symbolic").f
    other = np.zeros(5, np.float32)
    for size in (least, least + 4):
        array = np.arange(1, size + 1, dtype=np.float32)
        np.testing.assert_array_equal(symbolic(array, other), static.reference(array, other))
    for f in (static.reference, symbolic):
        with pytest.raises(tc.ComprehensionError, match=rf"goes up to .*, but the size is (N|{least - 1})"):
            f(np.zeros(least - 1, np.float32), other)
