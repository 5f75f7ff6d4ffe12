"""Python's features and training's twists inside a step: eager ≡ co-executed, whatever trouble there is.

Every program of `features` and `training` runs quietly, with steps that overlap, with both runners delayed at random,
and leaving the graph at each of its operations; over the interpreted graph, whose bits are eager execution's.
"""

from __future__ import annotations

import pytest
from features import FEATURES
from training import TRAINING

import coexec
from coexec.testing import LeaveEverywhere, RandomDelays, assert_equivalent
from coexec.testing.observation import MakeStep

each_program = pytest.mark.parametrize("make", FEATURES + TRAINING, ids=lambda make: make.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # inf in loss scaling

STEPS = 24


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


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
