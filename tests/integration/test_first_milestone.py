"""relu(x @ w + b), mean squared error and SGD through every room: eager ≡ co-executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from minitensor import functional as F
from minitensor.optim import SGD

STEPS = 6


def train(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> tuple[list[float], list[np.ndarray], Any]:
    """Losses of all steps, parameters afterwards, the step function."""
    rng = np.random.default_rng(0)
    w = mt.asarray(rng.normal(size=(5, 3)).astype(np.float32))
    b = mt.asarray(np.zeros(3, np.float32))
    w.requires_grad = b.requires_grad = True
    optimiser = SGD([w, b], lr=0.1)

    def step(x: mt.Tensor, y: mt.Tensor) -> float:
        loss = F.mse_loss(F.relu(x @ w + b), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss)

    wrapped = wrap(step)
    losses = []
    for _ in range(STEPS):
        x = mt.asarray(rng.normal(size=(4, 5)).astype(np.float32))
        y = mt.asarray(rng.normal(size=(4, 3)).astype(np.float32))
        losses.append(wrapped(x, y))
        coexec.wait()
    return losses, [w.detach().numpy(), b.detach().numpy()], wrapped


@pytest.mark.parametrize("runner", ["reference"])
def test_two_steps_co_executed(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    losses, parameters, _ = train(lambda step: step)
    co_losses, co_parameters, step = train(coexec.coexecute)
    report = step.report()
    assert (report.traced_steps, report.coexecuted_steps, report.fallbacks) == (2, STEPS - 2, 0)
    # the reference runner has eager rules only: bit-equal
    assert co_losses == losses
    for co_executed, eager in zip(co_parameters, parameters, strict=True):
        np.testing.assert_array_equal(co_executed, eager)
    assert not np.array_equal(parameters[1], np.zeros(3))
