"""A step of an optimiser was learned while two of its states were one tensor: later they were two.

The call taken at once fed the first of them for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import minitensor as mt

SHARED, APART = 12, 6  # steps
Step = Callable[[bool], None]


def _train(wrap: Callable[[Step], Any]) -> tuple[list[list[float]], Any]:
    weight = mt.nn.Parameter(np.array([3.0, 5.0], np.float32))
    optimizer = mt.optim.Adam([weight], lr=0.25)

    def step(shared: bool) -> None:
        state = optimizer.state[0]
        if shared and state:
            state["square"] = state["mean"]
        optimizer.zero_grad()
        (weight * 2.0).sum().backward()
        optimizer.step()

    wrapped, seen = wrap(step), []
    for number in range(SHARED + APART):
        wrapped(number < SHARED)
        coexec.wait()
        seen.append([*weight.detach().tolist(), *optimizer.state[0]["square"].tolist()])
    return seen, wrapped


def test_two_states_that_were_one_are_both_fed() -> None:
    seen, step = _train(coexec.coexecute)
    expected, _ = _train(lambda step: step)
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    assert step.report().whole_calls, step.report()
