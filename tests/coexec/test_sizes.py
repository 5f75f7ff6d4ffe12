"""Sizes that change from step to step: one graph for all, also where kernels make tensors of a size from nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from benchmarks.sizes import DISTINCT, batches, make_step
from coexec.testing import assert_equivalent


def test_forty_lengths_and_batch_sizes_take_three_graphs_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    data = batches(DISTINCT)

    def make() -> Callable[[int], Any]:
        step = make_step()
        return lambda i: step(*data[i])

    report = assert_equivalent(make, steps=DISTINCT)
    assert report.graphs_built <= 3
    assert report.fallbacks <= 2
    assert report.coexecuted_steps >= DISTINCT - 6


def test_kernels_that_make_a_tensor_of_a_changing_size_from_nothing() -> None:
    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            x = mt.asarray(np.arange(2 + i, dtype=np.float32))
            ones, twos = mt.ones((x.shape[0], 3)), mt.broadcast_to(mt.asarray(2.0), (x.shape[0],))
            float(twos.sum())  # read here: the kernels before cannot join those that know x
            return ones, ones * x.reshape((-1, 1)) - twos.reshape((-1, 1))

        return step

    report = assert_equivalent(make, steps=16)
    assert report.graphs_built <= 3
    assert report.coverage == 1.0
