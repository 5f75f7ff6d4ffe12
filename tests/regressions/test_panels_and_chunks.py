"""A long reduction that reads packed panels is not divided into chunks: its panels belong to one worker.

Found in the weight gradient of a convolution of a training program: its own certificate refused the schedule, and a
simpler one without tiles was used.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

import comprehension as tc

TEXT = "def f(float(N,C,H,W) x, float(N,F,H,W) G) -> (D) { D(f,c) +=! G(n,f,h,w) * x(n,c,h,w) }"


@pytest.mark.parametrize("shape", [(16, 3, 16, 34), (16, 16, 16, 18)], ids=str)
def test_the_first_schedule_is_proved(shape: tuple[int, int, int, int], caplog: pytest.LogCaptureFixture) -> None:
    n, c, f, h = shape
    rng = np.random.default_rng(0)
    x, g = (rng.integers(-3, 4, (n, k, h, h)).astype(np.float32) for k in (c, f))
    with caplog.at_level(logging.WARNING, logger="comprehension"):
        kernel = tc.define(TEXT).f.compile(x, g)
    assert not caplog.records and "_packed" in kernel.source
    np.testing.assert_array_equal(kernel(x, g), np.einsum("nfhw,nchw->fc", g, x))  # integers: exact in any order
