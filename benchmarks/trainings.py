"""Drawn training programs: how many of their steps end in the graph.

In: programs of `coexec.testing.training_programs`, drawn by Hypothesis from fixed seeds: branches and loops by values,
sizes that vary, frozen weights, checkpoints.  Out: `benchmarks/results/trainings.json`.

Graphs are interpreted: what is measured is what co-execution has learned, and how soon.  Every step is compared with
that of a plain twin.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.drawn import experiment
from coexec.testing import ImperativeProgram, assert_equivalent, training_programs

PROGRAMS, STEPS = 400, 64
_DRAWN = 6  # by each seed; the last is taken, as the first ones are small


@dataclass(frozen=True, slots=True)
class Trained:
    """One program: its steps that ended in the graph, its fallbacks, its graphs."""

    coexecuted: int
    fallbacks: int
    graphs: int


def draw_program(number: int) -> ImperativeProgram:
    """A program of its own for each number."""
    drawn: list[ImperativeProgram] = []

    @seed(number)
    @settings(
        max_examples=_DRAWN, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(training_programs())
    def draw(program: ImperativeProgram) -> None:
        drawn.append(program)

    draw()
    return drawn[-1]


def train(number: int, steps: int = STEPS) -> Trained:
    """Runs a program beside its plain twin.  To be called with `config.runner` set to "reference"."""
    report = assert_equivalent(draw_program(number).make, steps, coexecuted=0)
    return Trained(report.coexecuted_steps, report.fallbacks, report.graphs_built)


def summary(found: Sequence[Trained], steps: int) -> dict[str, float]:
    """Shares and medians over all programs."""
    return {
        "programs": len(found),
        "steps": steps,
        "co-executed": sum(t.coexecuted for t in found) / steps / len(found),
        "programs with half co-executed": sum(t.coexecuted >= steps / 2 for t in found) / len(found),
        "fallbacks, median": statistics.median([t.fallbacks for t in found]),
        "graphs, median": statistics.median([t.graphs for t in found]),
    }


if __name__ == "__main__":
    experiment("trainings", PROGRAMS, train, lambda found: summary(found, STEPS))
