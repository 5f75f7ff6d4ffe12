"""Planted bugs: the programs and drawn programs of this folder must find each (a test of the tests)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from features import FEATURES
from hypothesis import HealthCheck, Phase, given, settings
from plants import Plant, assert_is_found
from programs import PROGRAMS

import coexec
from coexec.graph import match
from coexec.testing import LeaveEverywhere, assert_equivalent
from coexec.testing.imperative import ImperativeProgram, imperative_programs
from coexec.traces.record import External, Recorder
from minitensor import random


def wiring_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.build.make_matcher", lambda expected: lambda made, bound, inputs: True)


def numbers_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.graph.match.same_scalar", lambda left, right: True)
    patch.setattr("coexec.traces.cover.same_scalar", lambda left, right: True)
    patch.setattr("coexec.graph.match._factory", match._factory.__wrapped__)  # the cached ones have the right function


def attributes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.validate.Validator._same_attributes", lambda self, node, attributes: True)


def feeds_are_stale(patch: pytest.MonkeyPatch) -> None:
    from coexec.graph_side.reference_runner import ReferenceRun

    feed, last = ReferenceRun.feed, {}

    def stale(self: Any, slot: int, value: Any) -> None:
        feed(self, slot, last.setdefault(slot, value))

    patch.setattr(ReferenceRun, "feed", stale)


def live_values_are_not_filled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.python_runner.PythonRunner._fill_live", lambda self: None)


def branches_join_at_ancestors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.traces.merge.comes_before", lambda first, second: False)


def sizes_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    def accept(self: Any, dims: Any, shape: Any, fresh: dict[str, int]) -> bool:
        fresh.update({d: e for d, e in zip(dims, shape, strict=True) if isinstance(d, str) and d not in self.symbols})
        return True

    patch.setattr("coexec.python_side.validate.Validator._unify_dims", accept)


def fetches_are_a_step_behind(patch: pytest.MonkeyPatch) -> None:
    from coexec.graph_side.reference_runner import ReferenceRun

    fetch, last = ReferenceRun.fetch, {}

    def late(self: Any, output: Any) -> Any:
        now = fetch(self, output)
        before, last[output] = last.get(output, now), now
        return before

    patch.setattr(ReferenceRun, "fetch", late)


def failing_contents_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "coexec.python_side.python_runner.PythonRunner._check_contents", lambda self, op, inputs, attributes: None
    )


def the_first_definition_counts(patch: pytest.MonkeyPatch) -> None:
    """A phi keeps the first output selected on the path, not the last."""
    from coexec.graph.symbolic import Select
    from coexec.graph_side.reference_runner import ReferenceRun

    item = ReferenceRun._item

    def first(self: Any, what: Any) -> None:
        if not (isinstance(what, Select) and what.phi in self._phis):
            item(self, what)

    patch.setattr(ReferenceRun, "_item", first)


def kept_values_are_swapped(patch: pytest.MonkeyPatch) -> None:
    """Updates reach the wrong names."""
    from coexec.graph_side.reference_runner import ReferenceRun

    finish = ReferenceRun.finish
    patch.setattr(ReferenceRun, "finish", lambda self, kept: finish(self, kept)[::-1])


def an_update_is_lost(patch: pytest.MonkeyPatch) -> None:
    """What a step keeps is what the step before has kept, if it has the same type."""
    from coexec.graph_side.reference_runner import ReferenceHandle

    put, last = ReferenceHandle.put, {}

    def late(self: Any, array: Any) -> None:
        key = (array.shape, array.dtype)
        before, last[key] = last.get(key, array), array
        put(self, before)

    patch.setattr(ReferenceHandle, "put", late)


def escaped_buffers_are_recycled(patch: pytest.MonkeyPatch) -> None:
    from coexec.graph_side import reference_runner

    pool: dict[Any, Any] = {}

    def filled(value: Any) -> Any:
        array = pool.setdefault((value.shape, value.dtype), np.empty(value.shape, value.dtype))
        array[...] = value.array
        return array

    patch.setattr(reference_runner, "_filled", filled)


def replay_swaps_operands(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side import replay

    operands = replay._operands
    patch.setattr(replay, "_operands", lambda log: [found[::-1] for found in operands(log)])


def an_effect_is_committed_beyond_the_watermark(patch: pytest.MonkeyPatch) -> None:
    """The graph takes a draw that Python has not come to when it leaves."""
    from coexec.python_side.python_runner import PythonRunner

    leave = PythonRunner.leave

    def committing(self: Any, reason: str) -> Any:
        random.default_generator._take()
        return leave(self, reason)

    patch.setattr(PythonRunner, "leave", committing)


def borrowed_memory_is_not_copied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("minitensor.value.Value.snapshot", lambda self: self)


def borrowed_memory_is_fed_once(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.python_runner import PythonRunner

    feed = PythonRunner.feed

    def once(self: Any, slot: int, x: Any) -> None:
        feed(self, slot, x)
        self.bound[slot] = x

    patch.setattr(PythonRunner, "feed", once)
    patch.setattr(Recorder, "_external", _external_by_identity)


def _external_by_identity(self: Any, x: Any) -> External:
    number = self._numbers.setdefault(id(x), len(self.externals))
    if number == len(self.externals):
        self.externals.append(x)
    return External(number)


def other_threads_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    from coexec.traces.promise import Promise

    def fill(self: Any, value: Any) -> None:
        value.array = np.zeros(value.shape, value.dtype)

    patch.setattr(Promise, "fill", fill)


def a_live_value_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    from coexec.traces.promise import StepLog

    live = StepLog.live
    patch.setattr(StepLog, "live", lambda self: list(live(self))[1:])


def draws_are_remembered(patch: pytest.MonkeyPatch) -> None:
    """An operation left to Python is not run again at the same place."""
    from coexec.python_side import python_runner

    run, known = python_runner.run_eager, {}

    def once(op: Any, inputs: Any, attributes: Any) -> Any:
        return known.setdefault((op.name, repr(attributes)), run(op, inputs, attributes))

    patch.setattr(python_runner, "run_eager", once)


def types_of_numbers_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.python_side.walk.ExpectScalar.admits", lambda self, number: True)


def sizes_are_those_of_the_first_step(patch: pytest.MonkeyPatch) -> None:
    from coexec.python_side.python_runner import PythonRunner

    first: dict[str, int] = {}

    def bind(self: Any, fresh: dict[str, int]) -> None:
        for name, extent in fresh.items():
            self.symbols[name] = first.setdefault(name, extent)
            self.run.bind(self.walk.symbols[name], first[name])

    patch.setattr(PythonRunner, "bind", bind)


def exceptions_are_lost(patch: pytest.MonkeyPatch) -> None:
    from coexec.session import Session

    coexecute = Session._coexecute

    def silent(self: Any, function: Any, args: Any, kwargs: Any) -> Any:
        try:
            return coexecute(self, function, args, kwargs)
        except KeyError:
            return None

    patch.setattr(Session, "_coexecute", silent)


def a_later_round_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("coexec.graph_side.reference_runner.count_arrivals", lambda graph, output, chosen: 1)


def never_in_the_graph(patch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong but the speed: every step falls back at its first operation."""
    patch.setattr("coexec.build._is_plain", lambda node: False)  # whose comparison is written out
    patch.setattr("coexec.python_side.validate.Validator.matches", lambda self, node, op, inputs, attributes: False)
    patch.setattr(
        "coexec.python_side.python_runner.PythonRunner.matches", lambda self, node, op, inputs, attributes: False
    )


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
    kept_values_are_swapped,
    an_update_is_lost,
    escaped_buffers_are_recycled,
    replay_swaps_operands,
    an_effect_is_committed_beyond_the_watermark,
    borrowed_memory_is_not_copied,
    borrowed_memory_is_fed_once,
    other_threads_do_not_wait,
    a_live_value_is_forgotten,
    draws_are_remembered,
    types_of_numbers_are_not_compared,
    sizes_are_those_of_the_first_step,
    exceptions_are_lost,
    a_later_round_is_not_waited_for,
    never_in_the_graph,
]


def find() -> None:
    """Runs programs until one fails."""
    for make in PROGRAMS:
        assert_equivalent(make, steps=16, coexecuted=6)
        assert_equivalent(make, steps=24, trouble=LeaveEverywhere(), coexecuted=0)
    for make in FEATURES:
        assert_equivalent(make, steps=20, coexecuted=1, lag=3)

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
    assert_is_found(plant, monkeypatch, find)
