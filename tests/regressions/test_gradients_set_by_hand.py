"""An update was taken at once with a gradient that the step had made, and the graph took the one computed after it.

What the graph reads where an operand has several producers is the one executed last; a call taken at once compared
only which of them its operand was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import coexec
import minitensor as mt


def program() -> Callable[[bool, bool], list[float]]:
    w = mt.asarray(np.array([0.25, 0.5], np.float32))
    w.requires_grad = True
    optimizer = mt.optim.SGD([w], lr=0.5)

    def step(computed: bool, used: bool) -> list[float]:
        with mt.no_grad():
            first = mt.exp(w)
            second = mt.sin(first) if computed else first
            mt.tanh(w)
            w.grad = second if used else first
        optimizer.step()
        return [float(x) for x in w]

    return step


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_a_gradient_that_is_not_the_one_computed_last(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    eager, step = program(), coexec.coexecute(program())
    calls = [*[(True, True), (False, False)] * 12, (True, False), (False, False), (True, False)]
    for computed, used in calls:
        expected = eager(computed, used)
        assert step(computed, used) == pytest.approx(expected, rel=1e-6)
        coexec.wait()
    assert step.report().whole_calls and step.report().fallbacks  # type: ignore[attr-defined]
