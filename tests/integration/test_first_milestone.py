"""relu(x @ w + b), mean squared error and SGD through every room: eager ≡ co-executed, bit by bit.

Data, weights, learning rate and the number of elements are small integers or powers of two, and the weights start
again every second step: all intermediate values are exact in float32, whatever the order of evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_same
from minitensor import functional as F
from minitensor.optim import SGD

STEPS = 8


def integers(*shape: int, offset: int = 0) -> mt.Tensor:
    size = int(np.prod(shape))
    return mt.asarray(((np.arange(size) * 3 + offset) % 7 - 3).reshape(shape).astype(np.float32))


def train(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> tuple[list[Any], Any]:
    """Loss and parameters after each step, and the step function."""
    w, b = integers(5, 2), integers(2)
    w.requires_grad = b.requires_grad = True
    optimiser = SGD([w, b], lr=0.5)

    def step(x: mt.Tensor, y: mt.Tensor) -> float:
        loss = F.mse_loss(F.relu(x @ w + b), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss)

    wrapped = wrap(step)
    seen = []
    for i in range(STEPS):
        if i % 2 == 0:
            w.value, b.value = integers(5, 2, offset=i).value, integers(2, offset=i).value
        loss = wrapped(integers(4, 5, offset=i), integers(4, 2, offset=2 * i))
        coexec.wait()
        seen.append((loss, w.detach().numpy(), b.detach().numpy()))
    return seen, wrapped


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_two_steps_co_executed(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    expected, _ = train(lambda step: step)
    seen, step = train(coexec.coexecute)
    report = step.report()
    assert (report.traced_steps, report.coexecuted_steps, report.fallbacks) == (2, STEPS - 2, 0)
    assert_same(expected, seen, "losses and parameters")
    assert not np.array_equal(seen[1][1], seen[0][1])
    if runner == "native":
        assert report.coverage == 1.0 and 1 <= report.kernels <= report.operations / 3
