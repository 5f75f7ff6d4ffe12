"""The logistic function by way of tanh was 0 from -18 on in float32, and had no right digit from -16 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minitensor as mt
from coexec.testing import assert_equivalent
from minitensor import functional as F


@pytest.mark.parametrize(("dtype", "first", "bound"), [("float32", -85, 4), ("float64", -700, 4), ("float16", -9, 1)])
def test_small_results_have_all_their_digits(dtype: str, first: float, bound: int) -> None:
    """Three operations round, by half a unit each; the exponential's argument is exact, NumPy's is within 2.5 units."""
    x = np.linspace(first, 20, 1001).astype(dtype)
    exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    found = np.asarray(F.sigmoid(mt.asarray(x)), np.longdouble)
    assert np.max(np.abs(found - exact) / exact) <= bound * np.finfo(dtype).eps


def test_ends_and_gradients() -> None:
    x = mt.asarray([-1000.0, -30.0, 0.0, 1000.0, float("nan")])
    x.requires_grad = True
    y = F.sigmoid(x)
    np.testing.assert_array_equal(np.asarray(y.detach())[[0, 2, 3, 4]], np.float32([0, 0.5, 1, np.nan]))
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(np.asarray(x.grad)[:4], [0, np.exp(-30.0), 0.25, 0], rtol=1e-6)


def test_losses_of_far_off_predictions_are_finite_in_the_graph_too() -> None:
    def make() -> Any:
        def step(i: int) -> Any:
            x = mt.asarray(np.linspace(-40, -20, 12, dtype=np.float32) + np.float32(i % 3))
            x.requires_grad = True
            loss = -mt.log(F.sigmoid(x)).mean()
            loss.backward()
            return loss, x.grad

        return step

    assert_equivalent(make, steps=20, rtol=4 * 2.0**-23)  # four operations between the loss and its gradient
