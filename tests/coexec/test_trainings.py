"""Most steps of drawn training programs end in the graph (benchmarks/trainings.py)."""

from __future__ import annotations

import pytest
from programs import OVERFLOWS

import coexec
from benchmarks.trainings import Trained, draw_program, summary, train

STEPS = 64


@OVERFLOWS
def test_drawn_trainings_are_mostly_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    found = summary([train(number, STEPS) for number in range(8)], STEPS)
    assert found["co-executed"] >= 0.7 and found["programs with half co-executed"] >= 0.75


def test_a_number_draws_the_same_program_again_and_others_draw_others() -> None:
    sources = [draw_program(number).source for number in (1, 2, 3, 1)]
    assert sources[0] == sources[3] and len(set(sources)) == 3


def test_shares_and_medians() -> None:
    found = summary([Trained(60, 1, 2), Trained(20, 8, 9), Trained(32, 2, 3)], STEPS)
    assert found["co-executed"] == pytest.approx(112 / 192)
    assert found["programs with half co-executed"] == pytest.approx(2 / 3)
    assert (found["fallbacks, median"], found["graphs, median"]) == (2, 3)
