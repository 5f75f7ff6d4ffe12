"""A kernel that is not for the sizes of a step stands on a path that the step does not take: that is no error.

Found by a step that changed sizes and dtypes in turns: a slice that one path takes of 6 elements stood, with symbolic
sizes, in the graph that served 5; the step raised CompilationFailed, which it does not raise eagerly.
"""

from __future__ import annotations

import pytest

import coexec
import minitensor as mt


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_a_slice_that_only_another_path_takes(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)

    def last_but(x: mt.Tensor, i: int) -> mt.Tensor:
        y = x * 2.0
        return y[i] + 1.0

    step = coexec.coexecute(last_but)
    calls = [(9, 7), (9, 1), (8, 7), (4, 1), (9, 7), (4, 1), (3, 1), (8, 7), (2, 1)]
    for size, i in calls * 3:
        x = mt.arange(float(size))
        assert float(step(x, i)) == float(last_but(x, i))
        coexec.wait()
    report = step.report()
    assert report.phase == "coexecute" and report.coexecuted_steps >= 14, report


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_a_path_left_at_such_a_slice(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph may run ahead to the slice before Python does something else there."""
    monkeypatch.setattr(coexec.config, "runner", runner)

    def function(x: mt.Tensor, cut: bool) -> mt.Tensor:
        y = mt.cumulative_sum(x * 2.0)
        return (y[5] if cut else mt.exp(y[1])) * 2.0

    step = coexec.coexecute(function)
    for size in (8, 7, 9, 6, 8):
        step(mt.arange(float(size)), True)
        coexec.wait()
    assert step.report().coexecuted_steps >= 1
    x = mt.asarray([0.5, 0.25, 0.0])
    assert float(step(x, False)) == pytest.approx(float(function(x, False)), rel=1e-6)
    with pytest.raises(IndexError):
        step(x, True)
    assert float(step(mt.arange(9.0), True)) == 60.0
