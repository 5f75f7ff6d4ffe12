"""Python features inside a step: eager ≡ co-executed, and co-execution really ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from programs import PROGRAMS, Step

import coexec
from coexec.testing import LeaveEverywhere, assert_equivalent

CASES = [(runner, make) for runner in ("reference", "native") for make in PROGRAMS]
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
@pytest.mark.parametrize("kind", ["operation", "read"])
def test_leaving_the_graph_everywhere(make: Callable[[], Step], kind: Literal["operation", "read"]) -> None:
    assert_equivalent(make, steps=24, trouble=LeaveEverywhere(kind), coexecuted=0)
