"""Ten planted bugs: the programs and drawn programs of this folder must find each (a test of the tests)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from programs import PROGRAMS

import coexec
from coexec import match
from coexec.imperative import ImperativeProgram, imperative_programs
from coexec.testing import LeaveEverywhere, assert_equivalent
from minitensor.value import local

Plant = Callable[[pytest.MonkeyPatch], None]


def wiring_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.build.make_matcher", lambda expected: lambda made, bound, inputs: True)


def numbers_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.match.same_scalar", lambda left, right: True)
    patch.setattr("coexec.merge.same_scalar", lambda left, right: True)
    patch.setattr("coexec.match._factory", match._factory.__wrapped__)  # the cached ones have the right function


def attributes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.validate.Validator._same_attributes", lambda self, node, attributes: True)


def feeds_are_stale(patch: pytest.MonkeyPatch) -> None:
    from coexec.reference_runner import ReferenceRun

    feed, last = ReferenceRun.feed, {}

    def stale(self: Any, slot: int, value: Any) -> None:
        feed(self, slot, last.setdefault(slot, value))

    patch.setattr(ReferenceRun, "feed", stale)


def live_values_are_not_filled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_runner.PythonRunner._fill_live", lambda self: None)


def branches_join_at_ancestors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.merge.can_reach", lambda origin, target: False)


def sizes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    def accept(self: Any, dims: Any, shape: Any, fresh: dict[str, int]) -> bool:
        fresh.update({d: e for d, e in zip(dims, shape, strict=True) if isinstance(d, str) and d not in self.symbols})
        return True

    patch.setattr("coexec.validate.Validator._unify_dims", accept)


def fetches_are_a_step_behind(patch: pytest.MonkeyPatch) -> None:
    from coexec.reference_runner import ReferenceRun

    fetch, last = ReferenceRun.fetch, {}

    def late(self: Any, output: Any) -> Any:
        now = fetch(self, output)
        before, last[output] = last.get(output, now), now
        return before

    patch.setattr(ReferenceRun, "fetch", late)


def failing_contents_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_runner.PythonRunner._check_contents", lambda self, op, inputs, attributes: None)


def the_first_definition_counts(patch: pytest.MonkeyPatch) -> None:
    """A phi keeps the first output selected on the path, not the last."""
    from coexec.reference_runner import ReferenceRun
    from coexec.symbolic import Select

    item = ReferenceRun._item

    def first(self: Any, what: Any) -> None:
        if not (isinstance(what, Select) and what.phi in self._phis):
            item(self, what)

    patch.setattr(ReferenceRun, "_item", first)


BUGS: list[Plant] = [
    wiring_is_not_compared,
    numbers_are_not_compared,
    attributes_are_not_compared,
    feeds_are_stale,
    live_values_are_not_filled,
    branches_join_at_ancestors,
    sizes_are_not_compared,
    fetches_are_a_step_behind,
    failing_contents_are_not_checked,
    the_first_definition_counts,
]


def find() -> None:
    """Runs programs until one fails."""
    for make in PROGRAMS:
        assert_equivalent(make, steps=16, coexecuted=6)
        assert_equivalent(make, steps=24, trouble=LeaveEverywhere(), coexecuted=0)

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(imperative_programs())
    def drawn(program: ImperativeProgram) -> None:
        assert_equivalent(program.make, steps=20)

    drawn()


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def test_nothing_is_found_without_a_bug() -> None:
    find()


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    try:
        with pytest.raises(Exception):  # noqa: B017 - whatever it is, it is found
            find()
    finally:
        local.observer = None
