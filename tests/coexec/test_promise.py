"""Promises: who fills a value that a step made, while the step runs and afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from coexec.traces.promise import StepLog, empty_value, make_promise, origin
from minitensor.value import Value, filled

F32 = np.dtype("float32")


class Kept:
    """The handle of an output that has these contents."""

    def __init__(self, *contents: float) -> None:
        self.contents = np.array(contents, F32)
        self.waits = 0

    def wait(self) -> np.ndarray[Any, Any]:
        self.waits += 1
        return self.contents


def promised() -> tuple[Value, StepLog, list[Value]]:
    """An empty value of a step under way, the step's log, and the values that the step was asked for."""
    log = StepLog()
    value = empty_value((2,), F32)
    make_promise(value, log, 3, 1)
    asked: list[Value] = []

    def fill_pending(wanted: Value) -> None:
        asked.append(wanted)
        wanted.array = np.ones(2, F32)

    log.fill_pending = fill_pending
    return value, log, asked


def test_an_empty_value_is_like_any_other_but_for_its_contents() -> None:
    value = empty_value((2, 3), F32)
    other = Value(np.zeros((2, 3), F32))
    assert value.array is None
    assert (value.shape, value.dtype, value.owned, value.exported) == ((2, 3), F32, other.owned, other.exported)


def test_while_the_step_runs_it_fills_its_values() -> None:
    value, _, asked = promised()
    assert filled(value).tolist() == [1.0, 1.0]
    assert filled(value).tolist() == [1.0, 1.0] and asked == [value]


def test_a_value_that_somebody_has_filled_meanwhile_is_not_computed_again() -> None:
    value, _, asked = promised()
    value.array = np.zeros(2, F32)
    assert value.pending is not None
    value.pending.fill(value)
    assert value.array.tolist() == [0.0, 0.0] and asked == []


@pytest.mark.parametrize("running", [False, True])
def test_afterwards_the_graph_fills_it(running: bool) -> None:
    """Also where the step has handed over already and is about to end."""
    value, log, asked = promised()
    promise, handle = origin(value, log), Kept(5.0, 6.0)
    assert promise is not None
    if running:
        log.fill_pending, promise.handle = None, handle
    else:
        promise.settle(handle)
        assert promise.owner is None and promise.source is None and origin(value, log) is None
    assert filled(value).tolist() == [5.0, 6.0]
    assert value.pending is None and asked == [] and handle.waits == 1


def test_a_promise_knows_its_operation_and_its_step() -> None:
    value, log, _ = promised()
    promise = origin(value, log)
    assert promise is value.pending and promise is not None
    assert (promise.owner, promise.index, promise.output, promise.source) == (log, 3, 1, None)
    assert origin(value, StepLog()) is None and origin(Value(np.zeros(1, F32)), log) is None


def test_a_log_gives_what_somebody_still_holds() -> None:
    log = StepLog()
    values = [empty_value((1,), F32) for _ in range(3)]
    for index, value in enumerate(values):
        make_promise(value, log, index, 0)
    del values[1], value
    gc.collect()
    assert [(held, promise.index) for held, promise in log.live()] == [(values[0], 0), (values[1], 2)]
    assert len(log.made) == 3


def test_another_thread_reads_what_a_step_has_not_computed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    with ThreadPoolExecutor(1) as pool:

        def make() -> Callable[[int], Any]:
            def step(i: int) -> Any:
                y = mt.asarray([1.0, float(i)]) * 2.0
                return y + pool.submit(lambda: float(y.sum())).result(timeout=60)

            return step

        assert_equivalent(make, steps=8)
