"""A test of a training step of one's own: co-execution changes nothing.  Run by `pytest examples/test_own_step.py`.

Copy it into your test suite and put your step in place of `make`.  Weights and data are small integers and halves, so
that every legal order of evaluation gives the same bits, and nothing has to be tolerated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import LeaveEverywhere, RandomDelays, assert_equivalent


def make() -> Callable[[int], float]:
    """The step with fresh state: a linear model, a bad batch now and then that is skipped, a log."""
    model = mt.nn.Linear(3, 1)
    model.load_state_dict({"weight": mt.asarray([[1.0, -2.0, 0.5]]), "bias": mt.asarray([0.5])})
    optimizer = mt.optim.SGD(model.parameters(), lr=0.25)
    losses: list[float] = []

    def step(i: int) -> float:
        x = mt.asarray((np.arange(12).reshape(4, 3) * (i % 3) % 5 - 2).astype(np.float32))
        loss = model(x).sum()
        if float(loss) > 40.0:
            print("skipped", i)
            return 0.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
        return losses[-1]

    return step


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are interpreted: no compiler, eager execution's bits.  Leave it out to test the kernels too."""
    monkeypatch.setattr(coexec.config, "runner", "reference")


def test_my_step_is_unchanged() -> None:
    report = assert_equivalent(make, steps=20, fallbacks=2)
    assert report.coexecuted_steps >= 15


def test_my_step_leaves_its_graph_anywhere() -> None:
    assert_equivalent(make, steps=40, trouble=LeaveEverywhere(), coexecuted=0)


def test_my_steps_overlap() -> None:
    assert_equivalent(make, steps=20, trouble=RandomDelays(), lag=3)
