"""Slices in the graph: what reads and what makes them means the same, few at a time and many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from minitensor.ops.slicing import MOST_CHOICES

FEW, MANY = MOST_CHOICES - 3, MOST_CHOICES + 3
Read = Callable[[mt.Tensor], list[mt.Tensor]]
READS: dict[str, Read] = {
    "rows": lambda x: list(x),
    "every second row": lambda x: [x[k] for k in range(0, x.shape[0], 2)],
    "rows from the last": lambda x: [x[k] for k in reversed(range(x.shape[0]))],
    "columns": lambda x: [x[:, k] for k in range(x.shape[1])],
    "windows": lambda x: [x[k : k + 3].sum(axis=0) for k in range(x.shape[0] - 2)],
    "strides": lambda x: [x[k::3].sum(axis=0) for k in range(3)],
}


@pytest.mark.parametrize("rows", [FEW, MANY])
@pytest.mark.parametrize("read", READS)
def test_a_step_that_reads_slices(read: str, rows: int) -> None:
    def make() -> Callable[[int], Any]:
        start = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
        weights = mt.asarray(start, requires_grad=True)

        def step(number: int) -> Any:
            weights.grad = None
            parts = [mt.tanh(part) * (k + 1.0) for k, part in enumerate(READS[read](weights))]
            joined = mt.stack(parts)
            loss = 0.1 * (joined * joined).sum() + joined[0].sum()
            loss.backward()
            assert weights.grad is not None
            with mt.no_grad():
                weights[...] = weights - 0.1 * weights.grad
            return float(loss), weights.grad

        return step

    assert_equivalent(make, 8, coexecuted=4)


def test_lengths_and_batches_of_a_recurrent_step_are_learned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of each length are put together by an operation of its own, whose shape follows the batch's symbol and
    the length's, though it is met with no other length.
    """
    monkeypatch.setattr(coexec.config, "runner", "reference")
    net = mt.nn.GRU(3, 4)

    def step(x: mt.Tensor) -> float:
        net.zero_grad()
        rows, _ = net(x)
        loss = (rows[-1] * rows[-1]).sum()
        loss.backward()
        return float(loss)

    wrapped = coexec.coexecute(step)
    for batch in (2, 4, 7):
        for length in (3, 5, 6):
            wrapped(mt.ones((length, batch, 3)))
            coexec.wait()
    report = wrapped.report()
    assert report.traced_steps + report.fallbacks <= 7
    assert report.graphs_built == 1
