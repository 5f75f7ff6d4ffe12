"""Odd programs, as a stranger would try them: eager ≡ co-executed, and at least half of the steps end in the graph.

Each runs quietly over the interpreted graph.  With steps that overlap, and leaving the graph at each of its operations
and reads, a sample does: another one every day, the same one under CI.  Over kernels, which take seconds to compile, a
sample that stays.  In the profile `long` (`make fuzz`) all run in all ways, and leave the graph at hundreds of places.
"""

from __future__ import annotations

import datetime
import os
import random
from typing import Literal

import pytest
from odd_flow import ODD_FLOW
from odd_mixtures import ODD_MIXTURES
from odd_numbers import ODD_NUMBERS
from odd_state import ODD_STATE
from odd_training import ODD_TRAINING

import coexec
from coexec.testing import LeaveEverywhere, RandomDelays, assert_equivalent
from coexec.testing.observation import MakeStep

ODD = [*ODD_NUMBERS, *ODD_FLOW, *ODD_STATE, *ODD_TRAINING, *ODD_MIXTURES]
STEPS = 40
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
TODAY = 2026 if os.environ.get("CI") else datetime.date.today().toordinal()
PLACES = 200 if LONG else STEPS // 2  # where each program leaves its graph, one after another
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # overflow, division by zero, NaN: on purpose
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def sample(number: int, seed: int) -> pytest.MarkDecorator:
    chosen = ODD if LONG else random.Random(seed).sample(ODD, number)
    return pytest.mark.parametrize("make", chosen, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_odd_program_is_unchanged(make: MakeStep) -> None:
    assert_equivalent(make, steps=STEPS)


@sample(12, TODAY)
def test_odd_program_with_steps_that_overlap(make: MakeStep) -> None:
    assert_equivalent(make, steps=24, lag=3, trouble=RandomDelays(), coexecuted=4)


@sample(8, TODAY + 1)
@pytest.mark.parametrize("kind", ["operation", "read"])
def test_odd_program_that_leaves_the_graph_everywhere(make: MakeStep, kind: Literal["operation", "read"]) -> None:
    assert_equivalent(make, steps=2 * PLACES, trouble=LeaveEverywhere(kind), coexecuted=0)


@sample(8, 3)
def test_odd_program_in_kernels(make: MakeStep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")
    assert_equivalent(make, steps=STEPS)


@sample(4, 3)
def test_odd_program_in_kernels_in_trouble(make: MakeStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the same kernels: steps that overlap, and those that leave the graph everywhere."""
    monkeypatch.setattr(coexec.config, "runner", "native")
    assert_equivalent(make, steps=24, lag=3, trouble=RandomDelays(), coexecuted=4)
    assert_equivalent(make, steps=2 * PLACES, trouble=LeaveEverywhere(), coexecuted=0)
