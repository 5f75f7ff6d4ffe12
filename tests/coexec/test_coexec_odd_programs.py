"""Odd programs, as a stranger would try them: eager ≡ co-executed, and at least half of the steps end in the graph.

Each runs quietly over the interpreted graph; over kernels, with steps that overlap and leaving the graph at each of its
operations all of them do in the profile `long` (`make fuzz`), a sample otherwise.
"""

from __future__ import annotations

import os
import random

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


@sample(12, 1)
def test_odd_program_with_steps_that_overlap(make: MakeStep) -> None:
    assert_equivalent(make, steps=24, lag=3, trouble=RandomDelays(), coexecuted=4)


@sample(12, 2)
def test_odd_program_that_leaves_the_graph_everywhere(make: MakeStep) -> None:
    assert_equivalent(make, steps=STEPS, trouble=LeaveEverywhere(), coexecuted=0)


@sample(8, 3)
def test_odd_program_in_kernels(make: MakeStep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")
    assert_equivalent(make, steps=STEPS)
