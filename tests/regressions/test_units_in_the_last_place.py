"""Bounds of functions counted half units: NumPy's vector loop of `asin` is 3.1 units away, of 4 that are allowed."""

from __future__ import annotations

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import ErrorBounds


@pytest.mark.parametrize("x", [-0.5100293755531311, -0.500659, 0.500659])
def test_float32_asin_is_within_four_units(x: float) -> None:
    with ErrorBounds() as bounds:
        result = mt.asin(mt.asarray(np.full(16, x, np.float32)))
    expected = bounds.of(result)
    assert np.all(np.abs(result.numpy() - expected.value) <= expected.bound)
    assert np.all(expected.bound <= 8 * np.spacing(np.abs(result.numpy())))
