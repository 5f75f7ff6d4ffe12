"""What becomes of a step whose graph cannot be had: the program goes on, and the report says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec import session
from coexec.config import config


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "runner", "reference")


def run(step: Any, steps: int) -> None:
    for i in range(steps):
        x = np.arange(i, i + 4, dtype=np.float32)
        assert float(step(mt.asarray(x))) == float((x * 2.0).sum())
        coexec.wait()


def doubled() -> Any:
    return coexec.coexecute(lambda x: (x * 2.0).sum())


def test_a_graph_that_cannot_be_compiled_leaves_the_program_eager() -> None:
    step = doubled()
    asked: list[Any] = []

    def compiler(graph: Any, **options: Any) -> Any:
        asked.append(graph)
        raise MemoryError("planned")

    step.session._compiler = lambda: compiler
    run(step, 8)
    report = step.report()
    assert report.coexecuted_steps == 0 and report.eager_steps > 0
    assert report.reasons == ["the graph could not be compiled: MemoryError: planned"]
    assert len(asked) == 1 and step.session.phase is session.Phase.EAGER


def test_a_graph_in_use_is_described_by_the_report() -> None:
    step = doubled()
    run(step, 8)
    report = step.report()
    assert report.coexecuted_steps > 0 and not report.reasons
    assert (report.graphs_built, report.operations) == (1, 2)
    assert report.steps == report.traced_steps + report.eager_steps + report.coexecuted_steps == 8


@pytest.mark.parametrize("most", [1, 2])
def test_traces_of_too_many_operations_are_forgotten(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_NODES", most)
    step = doubled()  # two operations
    run(step, 8)
    told = [reason for reason in step.report().reasons if "different operations" in reason]
    assert bool(told) == (step.report().coexecuted_steps == 0) == (most < 2)


def test_coverage_counts_what_is_left_to_python_among_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "runner", "native")
    width = 0

    def sliced(x: Any) -> Any:
        nonlocal width
        width += 1
        return (mt.exp(x) + 1.0)[: width % 40 + 1].sum()  # another slice in each step, which no graph can follow

    step = coexec.coexecute(sliced)
    for _ in range(60):
        step(mt.ones((40,)))
        coexec.wait()
    report = step.report()
    assert step.session.phase is session.Phase.COEXECUTE and len(report.left_to_python) == 1
    assert report.coverage == report.operations / (report.operations + 1) < 1.0


def test_a_graph_without_operations_covers_nothing() -> None:
    step = coexec.coexecute(lambda x: x)
    for _ in range(8):
        step(mt.ones((4,)))
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps > 0 and (report.operations, report.coverage) == (0, 0.0)
