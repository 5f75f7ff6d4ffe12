"""Python features inside a step: eager ≡ co-executed, and co-execution really ran."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from programs import PROGRAMS, Step, adam_training

import coexec
from coexec.testing import assert_equivalent, assert_same, forced_divergence, observe
from minitensor import random


def _is_exact(runner: str, make: Callable[[], Step]) -> bool:
    """The reference runner has eager execution's bits; kernels only where all values are exact anyway."""
    return runner == "reference" or make is not adam_training


CASES = [(runner, make) for runner in ("reference", "native") for make in PROGRAMS if _is_exact(runner, make)]
each_program = pytest.mark.parametrize(
    ("runner", "make"), CASES, indirect=["runner"], ids=lambda x: x if isinstance(x, str) else x.__name__
)


@pytest.fixture(autouse=True)
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(coexec.config, "runner", request.param)
    return str(request.param)


@each_program
def test_program_is_unchanged(make: Callable[[], Step]) -> None:
    assert_equivalent(make, steps=24)


@each_program
def test_leaving_the_graph_at_every_operation(make: Callable[[], Step]) -> None:
    compare_with_divergences(make, "operation", steps=16)


@each_program
def test_leaving_the_graph_at_every_read(make: Callable[[], Step]) -> None:
    compare_with_divergences(make, "read", steps=16)


def compare_with_divergences(make: Callable[[], Step], kind: str, steps: int) -> None:
    """Co-executed step k leaves the graph at its k-th operation (or read); what comes after must not notice."""
    random.seed(0)
    plain = make()
    expected = [observe(plain, number) for number in range(steps)]
    random.seed(0)
    step = coexec.coexecute(make())
    for number in range(steps):
        position = step.report().coexecuted_steps + step.report().fallbacks
        with forced_divergence(step, **{kind: position // 2}) if position % 2 else nullcontext():
            seen = observe(step, number)
        assert seen.error == expected[number].error
        assert_same(expected[number].result, seen.result, f"step {number}, leaving at {kind} {position // 2}")
        assert seen.random_state == expected[number].random_state
