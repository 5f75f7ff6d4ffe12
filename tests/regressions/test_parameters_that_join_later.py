"""Parameters that are updated for the first time beside others that were before: `step()` is compared parameter by
parameter.

Whether an update can be taken at once was asked of the first parameter's state, which had no count of steps yet where
it had got its first gradient later than the others: a KeyError came out of `optimizer.step()`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import coexec
import minitensor as mt

Step = Callable[[Sequence[int], float], list[float]]


def program() -> Step:
    ws = [mt.asarray(np.array([0.25 + k, 0.5], np.float32)) for k in range(3)]
    for w in ws:
        w.requires_grad = True
    optimizer = mt.optim.Adam(ws, lr=0.125)

    def step(taking_part: Sequence[int], lr: float) -> list[float]:
        optimizer.lr = lr
        gradients = [(w * 2.0).detach() for w in ws]
        for k, w in enumerate(ws):
            w.grad = gradients[k] if k in taking_part else None
        optimizer.step()
        return [float(x) for w in ws for x in w]

    return step


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("rates", [1, 2])
def test_a_parameter_that_gets_its_first_gradient_late(late: int, rates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    others = [k for k in range(3) if k != late]
    eager, step = program(), coexec.coexecute(program())
    calls = [others] * 8 + [[0, 1, 2]] + [others] * 4 + [[0, 1, 2]] * 6
    for i, taking_part in enumerate(calls):
        lr = 0.125 / (1 + i % rates)
        assert step(taking_part, lr) == eager(taking_part, lr)
        coexec.wait()
    assert step.report().whole_calls  # type: ignore[attr-defined]
