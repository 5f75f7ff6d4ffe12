"""The state machine of `coexec.testing`, over interpreted graphs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from programs import OVERFLOWS

import coexec
from coexec.testing.machine import CoexecutionMachine


@pytest.fixture(autouse=True, scope="module")
def _reference_runner() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coexec.config, "runner", "reference")
        yield


TestCoexecution = OVERFLOWS(CoexecutionMachine.TestCase)
TestCoexecution.settings = settings(
    max_examples=max(10, settings().max_examples // 4), stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
