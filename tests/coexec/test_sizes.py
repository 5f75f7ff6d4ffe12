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


def skewed(sizes: int) -> Callable[[], Callable[[int], Any]]:
    """A step over `sizes` different lengths, with operations whose sizes a graph must know as numbers."""

    def make() -> Callable[[int], Any]:
        weight = mt.ones((1, 3))

        def step(i: int) -> Any:
            x = mt.asarray(np.arange(6 + 2 * (i % sizes), dtype=np.float32).reshape(2, -1))
            wide = mt.concat([mt.zeros((2, 1)), x * 2.0], axis=1).reshape((-1, 2))
            return wide.sum(), (x.reshape((-1, 1)) @ weight).sum(axis=0)

        return step

    return make


def test_where_sizes_must_be_numbers_a_few_are_traced_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(skewed(3), steps=24)
    assert report.left_to_python == {} and report.coexecuted_steps >= 16
    assert any("each is traced by itself" in reason for reason in report.reasons)


def test_where_sizes_must_be_numbers_and_are_many_those_operations_are_left_to_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(skewed(20), steps=64)
    assert {name.partition(" ")[0] for name in report.left_to_python} >= {"concat"}
    assert any("sizes are symbols now" in reason for reason in report.reasons)
    assert report.coexecuted_steps >= 32
