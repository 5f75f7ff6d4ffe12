"""Recurrent nets over sequences and batches of several sizes: rounds of a loop that ends at another one in each step.

The gradient of a stack of rows is a run of equal operations that is as long as the loop; each length has a stack of its
own, rows in reverse are read in another order for each length, and sizes are symbols beside all of that.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from minitensor import functional as F, nn, optim

NETS: dict[str, type[Any]] = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
LENGTHS, BATCHES = (3, 5, 6), (2, 4, 7)


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def training(net: str, sizes: list[tuple[int, int]], **options: Any) -> Callable[[], Callable[[int], Any]]:
    """Steps of these (length, batch)."""

    def make() -> Callable[[int], Any]:
        mt.random.seed(1)
        draw = np.random.default_rng(1)
        recurrent = NETS[net](3, 4, **options)
        head = nn.Linear(8 if options.get("bidirectional") else 4, 3)
        optimizer = optim.SGD([*recurrent.parameters(), *head.parameters()], lr=0.125)

        def step(i: int) -> Any:
            length, batch = sizes[i % len(sizes)]
            x = mt.asarray(draw.normal(size=(length, batch, 3)).astype(np.float32))
            labels = mt.asarray(draw.integers(0, 3, size=batch))
            optimizer.zero_grad()
            rows, _ = recurrent(x)
            loss = F.cross_entropy(head(rows[-1]), labels)
            loss.backward()
            optimizer.step()
            return float(loss)

        return step

    return make


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_nets_over_several_lengths_settle(net: str, bidirectional: bool) -> None:
    sizes = [(length, 4) for length in LENGTHS]
    report = assert_equivalent(training(net, sizes, bidirectional=bidirectional), steps=24, coexecuted=16)
    assert report.fallbacks <= 1


@pytest.mark.parametrize("bidirectional", [False, True])
def test_nets_over_several_lengths_and_batches_settle(bidirectional: bool) -> None:
    sizes = list(product(LENGTHS, BATCHES))
    report = assert_equivalent(training("LSTM", sizes, bidirectional=bidirectional), steps=40, coexecuted=24)
    assert report.fallbacks <= 4 and not report.left_to_python


def test_nets_over_drawn_lengths_and_batches_settle() -> None:
    draw = np.random.default_rng(3)
    sizes = [(int(draw.integers(2, 9)), int(draw.integers(2, 7))) for _ in range(60)]
    report = assert_equivalent(training("GRU", sizes, bidirectional=True), steps=60, coexecuted=36)
    assert not report.left_to_python


def test_the_backward_of_several_lengths_is_taken_at_once() -> None:
    sizes = [(length, 4) for length in LENGTHS]
    step = coexec.coexecute(training("LSTM", sizes, bidirectional=True)())
    for i in range(24):
        step(i)
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps >= 16
    assert report.whole_calls >= 2 * (report.coexecuted_steps - 2 * len(LENGTHS))
