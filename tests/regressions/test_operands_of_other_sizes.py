"""The graph ran ahead into an operation whose operand was shorter than it takes: it read beyond its end, and crashed.

An input with two producers is of n rows by one of them and of six by the other. Six rows were all that was seen on the
second way, so that nothing forks there; with more rows Python goes another way, but the graph was ahead of it.
"""

from __future__ import annotations

import numpy as np
import pytest

import coexec
import minitensor as mt

SIX = mt.ones((6, 3))


def difference(x: mt.Tensor, own: bool) -> float:
    y = mt.exp(x)
    z = mt.sin(y) if own else mt.tanh(SIX)
    return float((y - z if y.shape == z.shape else y * 2.0).sum())


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_the_graph_waits_where_sizes_may_not_fit(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    step = coexec.coexecute(difference)
    learned = [(4, True), (8, True), (6, False), (4, True), (6, False), (9, True), (6, False)]
    for rows, own in [*learned, (2_000_000, False), (2, False), (6, False), (2_000_000, False)]:
        x = mt.ones((rows, 3))
        assert step(x, own) == pytest.approx(difference(x, own), rel=1e-4)
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps >= 5 and not any("failed" in reason for reason in report.reasons)


def test_only_where_they_may_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that waits for Python before each operation would have nothing to do beside it."""
    monkeypatch.setattr(coexec.config, "runner", "reference")
    step = coexec.coexecute(difference)
    calls = [(4, True), (8, True), (6, False), (4, True), (6, False), (4, True)]
    for rows, own in calls:
        step(mt.ones((rows, 3)), own)
        coexec.wait()
    program = step.session.program  # type: ignore[attr-defined]
    assert [node.op.name for node in program.graph.nodes()] == ["exp", "sin", "tanh", "subtract", "sum"]
    assert program.graph.cases == 3  # behind exp; before the difference, on either way
    assert np.isclose(step(mt.ones((6, 3)), False), difference(mt.ones((6, 3)), False), rtol=1e-5)
