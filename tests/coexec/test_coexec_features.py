"""Python's features and training's twists inside a step: eager ≡ co-executed, whatever trouble there is.

Every program of `features` and `training` runs quietly, with steps that overlap, with both runners delayed at random,
and leaving the graph at each of its operations; over the interpreted graph, whose bits are eager execution's.  Compiled
kernels are what users run: all programs run over them in the profile `long` (`make fuzz`), a sample otherwise.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
from features import FEATURES
from programs import learning_rate_schedule
from training import TRAINING, scheduler_and_warm_restart, schedules_of_every_scalar

import coexec
import minitensor as mt
from coexec.testing import LeaveEverywhere, RandomDelays, assert_equivalent
from coexec.testing.observation import MakeStep

each_program = pytest.mark.parametrize("make", FEATURES + TRAINING, ids=lambda make: make.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf in loss scaling

STEPS = 24
COMPILED = FEATURES + TRAINING
if os.environ.get("HYPOTHESIS_PROFILE") != "long":  # some 5 s each where nothing is in the cache of kernels
    COMPILED = random.Random(2026).sample(COMPILED, 8)
each_compiled = pytest.mark.parametrize("make", COMPILED, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch, _reference_runner: None) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")


@each_program
def test_feature_is_unchanged(make: MakeStep) -> None:
    """At least half of the steps end in the graph, and graphs are built a few times only."""
    assert_equivalent(make, steps=STEPS, graphs=6)


@each_program
def test_steps_that_overlap(make: MakeStep) -> None:
    """Results are read three steps later, while both runners are delayed."""
    assert_equivalent(make, steps=STEPS, lag=3, trouble=RandomDelays())


@each_program
def test_leaving_the_graph_at_every_operation(make: MakeStep) -> None:
    trouble = LeaveEverywhere()
    report = assert_equivalent(make, steps=64, trouble=trouble, coexecuted=0)
    assert report.fallbacks >= trouble.left > 0


@pytest.mark.usefixtures("native")
@each_compiled
def test_feature_is_unchanged_in_kernels(make: MakeStep) -> None:
    assert_equivalent(make, steps=STEPS, graphs=6)


@pytest.mark.usefixtures("native")
@each_compiled
def test_steps_that_overlap_in_kernels(make: MakeStep) -> None:
    assert_equivalent(make, steps=STEPS, lag=3, trouble=RandomDelays())


@pytest.mark.usefixtures("native")
@each_compiled
def test_leaving_a_compiled_graph_at_every_operation(make: MakeStep) -> None:
    trouble = LeaveEverywhere()
    report = assert_equivalent(make, steps=48, trouble=trouble, coexecuted=0)
    assert report.fallbacks >= trouble.left > 0


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    "make",
    [learning_rate_schedule, schedules_of_every_scalar, scheduler_and_warm_restart],
    ids=lambda make: make.__name__,
)
def test_scalars_that_change_every_step_cost_no_graph(make: MakeStep) -> None:
    """One graph, taken into use early and never left."""
    assert_equivalent(make, steps=40, graphs=1, fallbacks=0, coexecuted=32)


@pytest.mark.usefixtures("native")
def test_a_step_that_python_does_nearly_all_of_rests_and_says_so() -> None:
    """Four of its five operations make random integers and orders, which no kernel does: not worth recording."""

    def make() -> Any:
        def step(i: int) -> Any:
            drawn = mt.random.randint(0, 5, (2,)), mt.random.permutation(4), mt.random.randint(0, 9, (3,))
            return *drawn, mt.asarray(np.ones(3, np.float32)) * 2.0

        return step

    report = assert_equivalent(make, steps=64, coexecuted=8)
    assert any("left most to Python" in reason for reason in report.reasons)
