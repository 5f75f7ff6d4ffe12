"""A read through `max` or `min` of what was written before it: once refused, as each was bounded on one side only."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

TEXTS = {
    "max": "def f(float(8) A) -> (B) { T(i) = A(i) where i in 0:6  B(i) = T(max(i - 2, 0)) where i in 0:8 }",
    "min of max": "def f(float(8) A) -> (B) { T(i) = A(i) where i in 1:5  B(i) = T(min(max(i, 1), 4)) where i in 0:8 }",
    "in a scan": (
        "def f(float(8) A) -> (B) { B(i) = A(i) where i in 0:1"
        "  B(i) = B(max(i - 3, 0)) + A(i) where i in 1:8 }"
    ),
}  # fmt: skip
UNWRITTEN = "def f(float(8) A) -> (B) { T(i) = A(i) where i in 1:8  B(i) = T(max(i - 2, 0)) where i in 0:8 }"


@pytest.mark.parametrize("name", TEXTS)
def test_extremes_of_indices_are_proved_to_read_what_was_written(name: str) -> None:
    f = tc.define(TEXTS[name]).f
    a = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(f(a), f.reference(a))


def test_what_was_not_written_is_refused_still() -> None:
    with pytest.raises(tc.ComprehensionError, match="that no earlier statement has written"):
        tc.define(UNWRITTEN)
