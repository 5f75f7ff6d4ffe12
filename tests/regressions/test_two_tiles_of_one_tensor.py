"""Two nests in one shared loop may hold a tensor in register tiles of different shapes: each has a buffer of its own.

Found in a wavenet block for all sizes: both tiles had one name, the certificate refused the schedule, and a simpler
one ran.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

import comprehension as tc
from benchmarks.kernels.contractions import WAVENET1


def test_the_first_schedule_is_proved_and_right(caplog: pytest.LogCaptureFixture) -> None:
    block = tc.define(WAVENET1.format(dilation=32), sizes="symbolic").wavenet1
    shapes = (1, 3, 70), (4, 3, 2), (4,), (4, 3, 2), (4,), (3, 4), (3,), (5, 4), (5,)
    names = "B RES T", "DIL RES two", "DIL", "DIL RES two", "DIL", "RES DIL", "RES", "SKIP DIL", "SKIP"
    specs = [tc.Spec(tuple(2 if n == "two" else n for n in axes.split()), "float32") for axes in names]
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes]
    with caplog.at_level(logging.WARNING, logger="comprehension"):
        kernel = block.compile(*specs)  # for typical sizes: for those at hand one tile would do
    assert not caplog.records
    assert {"Gate_tile", "Gate_tile_2"} <= {word.strip("(),") for word in kernel.source.split()}
    for found, expected in zip(kernel(*inputs), block.reference(*inputs), strict=True):
        # Four terms of at most 2, each of some 10 roundings (tanh, exp, a quotient), and integers that are exact.
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * 2 * 12 * 2.0**-24)
