"""Programs that never repeat rest from recording; graphs are built beside Python, from traces that stand still."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec import rebuild
from coexec.build import Program, build
from coexec.patience import FIRST_REST, LONGEST_REST, TRIES
from coexec.testing import assert_equivalent
from coexec.traces.trace_graph import TraceGraph


def _operations(seed: int, x: mt.Tensor, y: mt.Tensor, rounds: int = 40) -> mt.Tensor:
    """Another path and other wirings for each seed."""
    draw = random.Random(seed)
    values = [x, y]
    for _ in range(rounds):
        left, right = draw.choice(values), draw.choice(values)
        values.append(draw.choice([mt.add, mt.maximum, mt.subtract])(left, right) * 0.5)
        del values[:-6]
    return values[-1]


def restless_until(quiet: int) -> Callable[[], Callable[[int], Any]]:
    """Programs whose steps take a path of their own before step `quiet`, and one path from there on."""

    def make() -> Callable[[int], Any]:
        x, y = mt.ones((3,)), mt.full((3,), 2.0)
        return lambda i: _operations(min(i, quiet), x, y)

    return make


@pytest.mark.parametrize(
    ("most_lost", "expected"), [(1e9, [16, 32, 64, 128]), (1e-9, [16, 32, LONGEST_REST])], ids=["cheap", "dear"]
)
def test_recording_rests_at_intervals_that_double_at_least_where_nothing_repeats(
    most_lost: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third rest and later ones are as long as what was recorded in vain is dear."""
    monkeypatch.setattr(coexec.config, "runner", "reference")
    monkeypatch.setattr("coexec.patience.MOST_LOST", most_lost)
    steps = 10 * FIRST_REST
    report = assert_equivalent(restless_until(steps), steps=steps, coexecuted=0)
    assert report.phase == "resting"
    assert report.traced_steps <= TRIES + 3 * TRIES // 4
    told = [int(reason.split()[-2]) for reason in report.reasons if "nothing is recorded" in reason]
    assert told == expected


def test_a_program_that_becomes_steady_is_co_executed_after_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(restless_until(30), steps=64, coexecuted=24)
    assert report.phase == "coexecute"


def test_traces_stand_still_while_a_graph_is_built_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: list[tuple[int, int]] = []

    def slow(traces: TraceGraph) -> Program:
        before = traces.version
        time.sleep(0.1)
        program = build(traces)
        versions.append((before, traces.version))
        return program

    monkeypatch.setattr(rebuild, "build", slow)
    x, y = mt.ones((3,)), mt.full((3,), 2.0)
    step = coexec.coexecute(lambda i: _operations(i, x, y, 4))
    for i in (0, 0, 0, 1, 2, 0, 1, 5):
        step(i)
        if not versions:
            coexec.wait()
    coexec.wait()
    assert len(versions) > 1
    assert all(before == after for before, after in versions)


def test_a_graph_that_cannot_be_built_leaves_the_program_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(traces: TraceGraph) -> Program:
        raise ZeroDivisionError("planned")

    monkeypatch.setattr(rebuild, "build", broken)
    report = assert_equivalent(restless_until(0), steps=8, coexecuted=0)
    assert report.phase == "eager"
    assert any("planned" in reason for reason in report.reasons)
