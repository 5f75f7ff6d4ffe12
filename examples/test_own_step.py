"""A test of a training step of one's own: co-execution changes nothing.  Run by `pytest examples/test_own_step.py`.

Copy it into your test suite and put your step in place of `make`.  No tolerance has to be chosen: compiled kernels may
differ from eager execution by as much as rounding moves this very program; over the runner that interprets graphs, bits
must be the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import LeaveEverywhere, RandomDelays, assert_equivalent
from minitensor import functional as F


def make() -> Callable[[int], float]:
    """The step with fresh state: a small model, a bad batch now and then that is skipped, a log."""
    rng = np.random.default_rng(0)
    model = mt.nn.Sequential(mt.nn.Linear(3, 8), mt.nn.Tanh(), mt.nn.Linear(8, 1))
    optimizer = mt.optim.Adam(model.parameters(), lr=0.05)
    losses: list[float] = []

    def step(i: int) -> float:
        x = mt.asarray(rng.normal(size=(4, 3)).astype(np.float32))
        if i % 7 == 5:
            x = x * 1000.0
        loss = F.mse_loss(model(x), x.sum(axis=1, keepdims=True))
        if float(loss) > 1000.0:
            print(f"skipped a loss of {float(loss):.0f}")
            return 0.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
        return losses[-1]

    return step


def test_my_step_is_unchanged() -> None:
    report = assert_equivalent(make, steps=20, fallbacks=2)
    assert report.coexecuted_steps >= 15


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are interpreted: no compiler, eager execution's bits, and delays in both runners."""
    monkeypatch.setattr(coexec.config, "runner", "reference")


@pytest.mark.usefixtures("interpreted")
def test_my_step_leaves_its_graph_anywhere() -> None:
    assert_equivalent(make, steps=40, trouble=LeaveEverywhere(), coexecuted=0)


@pytest.mark.usefixtures("interpreted")
def test_my_steps_overlap() -> None:
    assert_equivalent(make, steps=20, trouble=RandomDelays(), lag=3)
