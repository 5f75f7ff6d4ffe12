"""The ten programs of benchmarks/programs at tiny size: eager ≡ co-executed, and co-execution really ran.

The reference runner computes graphs by the eager rules, so losses and parameters must have the same bits; what kernels
change is rounding, which one program shows within bounds (`rounding_bounds`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import coexec
from benchmarks.programs import NAMES, program
from benchmarks.programs.census import census
from benchmarks.programs.program import Program, rounding_bounds
from coexec.testing import assert_equivalent

STEPS = 32
MORE_STEPS = {"sdpoint": 64}  # five different forward passes, drawn at random: they take longer to be known


def _step(chosen: Program, steps: int, losses: list[float]) -> Callable[[int], Any]:
    """The program's step, which appends its losses and also returns parameters and buffers at its last call."""
    training = chosen.start(chosen.tiny)

    def step(number: int) -> Any:
        losses.append(training.step(number))
        return losses[-1], training.weights() if number == steps - 1 else None

    return step


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_parameters_are_eagers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    chosen = program(name)
    steps = MORE_STEPS.get(name, STEPS)
    runs: list[list[float]] = []

    def make() -> Callable[[int], Any]:
        runs.append([])
        return _step(chosen, steps, runs[-1])

    report = assert_equivalent(make, steps=steps)
    assert report.operations >= 150
    assert [len(losses) for losses in runs] == [steps, steps], "a step raised: on both sides alike, but it must not"


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_as_large_as_is_said(name: str) -> None:
    """At the size that is measured, a training step records well over 150 operations."""
    chosen = program(name)
    assert census(chosen, chosen.full, steps=1).operations >= 160


def test_kernels_move_losses_by_rounding_only() -> None:
    chosen, steps = program("gpt2"), 12
    bounds = rounding_bounds(chosen, chosen.tiny, steps)
    plain = chosen.start(chosen.tiny).step
    expected = [plain(number) for number in range(steps)]
    step = coexec.coexecute(chosen.start(chosen.tiny).step)
    for number in range(steps):
        loss = step(number)
        coexec.wait()
        assert abs(loss - expected[number]) <= bounds[number], f"step {number}: {loss}, eagerly {expected[number]}"
    assert step.report().coexecuted_steps >= steps // 2
