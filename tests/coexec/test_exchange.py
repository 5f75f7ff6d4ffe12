"""What a step and its graph tell each other: feeds as they are or as copies, waits, and contents that Python has."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from alone import Kept, Told, begin, observed, walk_of

import minitensor as mt
from coexec.python_side import exchange
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.walk import ExpectFeed
from coexec.traces.promise import Promise, StepLog, empty_value, make_promise
from minitensor.value import Value

X = mt.reshape(mt.arange(6.0), (2, 3)) / 8.0
Y = X + 1.0
Z = X + 2.0
LABELS = mt.asarray([1, 0])
F32 = np.dtype(np.float32)


def function() -> mt.Tensor:
    return mt.concat([mt.tanh(mt.exp(X)), Y, Z])


def started() -> tuple[PythonRunner, Told]:
    return begin(walk_of(function))


def owed_by_an_earlier_step() -> tuple[Value, Kept]:
    value, handle = empty_value((2, 3), F32), Kept()
    make_promise(value, StepLog(), 0, 0).settle(handle)
    return value, handle


def owed_by_a_step_under_way(contents: np.ndarray[Any, Any]) -> Value:
    log = StepLog()
    value = empty_value(contents.shape, contents.dtype)
    make_promise(value, log, 0, 0)

    def fill(value: Value) -> None:
        value.array = contents

    log.fill_pending = fill
    return value


def borrowed(contents: np.ndarray[Any, Any]) -> Value:
    return mt.asarray(contents, copy=False).value


# --- feeds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_what_is_sent_of_a_feed(together: bool) -> None:
    """Its array or handle as it is; of others' memory a copy, and what a step under way makes when it is there."""
    memory, made = np.ones((2, 3), np.float32), np.full((2, 3), 2.0, np.float32)
    later, handle = owed_by_an_earlier_step()
    owed = owed_by_a_step_under_way(made)
    runner, run = started()
    values = [X.value, later, borrowed(memory), owed, 2.5]
    runner.bound += [None] * 2
    runner.sent += [None] * 2
    if together:
        runner.feed_all(list(enumerate(values)))
    else:
        for slot, value in enumerate(values):
            runner.feed(slot, value)
    words = {slot: x for _, slot, x in run.words}
    assert words[0] is X.value.array and words[1] is handle and words[4] == 2.5
    np.testing.assert_array_equal(words[2], memory)
    np.testing.assert_array_equal(words[3], made)
    assert not np.shares_memory(words[2], memory)
    assert runner.bound[0] is runner.sent[0] is X.value and runner.bound[1] is runner.sent[1] is later
    assert runner.bound[2] is runner.sent[2] is not values[2] and runner.sent[2].array is words[2]
    assert runner.bound[4] == runner.sent[4] == 2.5 and later.array is None
    assert run.calls == (["feed"] * 3 + ["feed_all"] if together else ["feed"] * 5)
    assert len(run.words) == 5
    assert [told for *_, told in runner.stalls] == ["a value that another step makes"]


@pytest.mark.parametrize("several", [False, True])
def test_a_feed_that_fails_is_not_bound_and_leaves_the_graph(several: bool) -> None:
    class Failing(Told):
        def feed(self, slot: int, value: Any) -> None:
            raise OSError("planned")

        def feed_all(self, values: Any) -> None:
            raise OSError("planned")

    runner, _ = started()
    runner.run = Failing()
    with pytest.raises(OSError, match="planned"):
        if several:
            runner.feed_all([(0, X.value), (1, Y.value)])
        else:
            runner.feed(0, X.value)
    assert runner.bound == [None] * len(runner.bound) and runner.recorder is not None
    assert runner.reason is not None and runner.reason.startswith("a feed failed (OSError: planned) at ")


def test_what_an_operation_is_the_first_to_use() -> None:
    runner, _ = started()
    runner.bound[2] = Z.value
    with observed(runner):
        made = mt.exp(X)
    assert runner.bound[0] is X.value
    runner.bound[0] = None
    feeds = [ExpectFeed(0, 0, F32, (2, 3)), ExpectFeed(1, 1, F32, (2, 3)), ExpectFeed(2, 2, F32, (2, 3))]
    later, _ = owed_by_an_earlier_step()
    other = owed_by_a_step_under_way(np.ones((2, 3), np.float32))

    def fresh(*inputs: Any) -> Any:
        return runner.fresh(feeds, [x.value if isinstance(x, mt.Tensor) else x for x in inputs])

    assert fresh(X, Y, Z) == [(0, X.value), (1, Y.value)]
    assert fresh(later, other, Z) == [(0, later), (1, other)]
    assert fresh(Z, Z, Z) == [(0, Z.value), (1, Z.value)]
    assert runner.fresh(feeds[::-1], [X.value, Y.value, Z.value]) == [(1, Y.value), (0, X.value)]
    for wrong in ((X, Y, X), (X, made, Z), (made, Y, Z), (X, 2.0, Z), (X, mt.ones((2, 2)), Z), (X, LABELS, Z)):
        assert fresh(*wrong) is None
    assert fresh(X, mt.astype(Y, mt.float64), Z) is None
    assert runner.bound[:2] == [None, None]
    for one, x, fits in ((feeds[0], X, True), (feeds[0], made, False), (feeds[2], Z, True), (feeds[2], X, False)):
        assert runner.can_feed(one, x.value) == fits
    assert runner.can_feed(ExpectFeed(0, 0, F32, None), mt.ones((7,)).value)
    assert not runner.can_feed(ExpectFeed(0, 0, F32, None), LABELS.value)
    assert not runner.can_feed(feeds[0], mt.ones((7,)).value) and not runner.can_feed(feeds[0], 2.0)


# --- contents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tick", "stalls"), [(1e-6, 0), (1e-5, 1)])
def test_a_wait_for_the_graph_is_noted_and_a_look_is_not(tick: float, stalls: int, monkeypatch: Any) -> None:
    clock = itertools.count()
    monkeypatch.setattr(exchange, "perf_counter", lambda: next(clock) * tick)
    runner, run = started()
    with observed(runner):
        value = mt.exp(X).value
    promise = value.pending
    assert isinstance(promise, Promise)
    contents = run.contents[promise.source.output] = np.zeros((2, 3), np.float32)
    runner.fetch(value, promise.source)
    assert value.array is contents and len(runner.stalls) == stalls
    for begin_s, end_s, told in runner.stalls:
        assert (begin_s, end_s) == (0.0, tick) and told.startswith("exp at ") and told == promise.source.told
    run.contents[promise.source.output] = np.ones((2, 3), np.float32)
    runner.fetch(value, promise.source)  # another thread was quicker
    assert value.array is contents


def test_a_graph_that_failed_is_left_and_its_value_computed_again() -> None:
    runner, _ = started()
    with observed(runner):
        value = mt.exp(X).value
    promise = value.pending
    assert isinstance(promise, Promise)
    runner.fetch(value, promise.source)  # which the run does not have
    assert runner.reason is not None and runner.reason.startswith("the graph failed (KeyError: Output")
    np.testing.assert_array_equal(value.array, np.exp(X.numpy()))


def test_what_is_at_hand() -> None:
    runner, _ = started()
    with observed(runner):
        a = mt.exp(X)
        b = mt.tanh(a)
    later, _ = owed_by_an_earlier_step()
    for value, at_hand in ((X.value, True), (later, True), (a.value, False)):
        assert runner.is_at_hand(value) == at_hand
    source = a.value.pending.source  # type: ignore[union-attr]
    runner.posted.add(source)
    assert runner.is_at_hand(a.value) and not runner.is_at_hand(b.value)
    runner.made[source.number] = object()  # a further round of a loop replaced it
    assert not runner.is_at_hand(a.value)
    a.value.array = np.zeros((2, 3), np.float32)
    assert runner.is_at_hand(a.value)


def integers(labels: mt.Tensor, k: int) -> list[mt.Tensor]:
    a = mt.reshape(labels, (2, 1))
    b = labels + a * k
    return [a, b, b + b, labels * labels, mt.exp(mt.astype(b, mt.float32))]


def test_integers_made_of_integers_from_outside_are_computed_by_python() -> None:
    walk = walk_of(integers, (LABELS, 2), (LABELS, 3))
    runner, _ = begin(walk)
    with observed(runner):
        *made, last = integers(LABELS, 5)
    expected = [x.numpy() for x in integers(LABELS, 5)]
    for tensor, contents in zip(made, expected, strict=False):
        value = tensor.value
        assert isinstance(value.pending, Promise)
        assert runner.compute(value, value.pending)
        np.testing.assert_array_equal(value.array, contents)
        before = value.array
        assert runner.compute(value, value.pending) and value.array is before
    assert isinstance(last.value.pending, Promise)
    assert not runner.compute(last.value, last.value.pending) and last.value.array is None
    assert [node.outside for node in runner.path].count(False) == 1


def test_integers_of_which_a_further_round_replaced_one_are_not_computed() -> None:
    walk = walk_of(integers, (LABELS, 2), (LABELS, 3))
    runner, _ = begin(walk)
    with observed(runner):
        a, b, c, *_ = integers(LABELS, 5)
    first, second, third = (x.value.pending for x in (a, b, c))
    assert isinstance(first, Promise) and isinstance(second, Promise) and isinstance(third, Promise)
    for replaced in (third, object()):  # one that was made later; none
        runner.made[first.source.number] = replaced
        assert not runner.compute(b.value, second) and b.value.array is None
    runner.made[first.source.number] = first
    assert runner.compute(b.value, second)


def test_what_is_there_is_not_waited_for() -> None:
    value = owed_by_a_step_under_way(np.ones((2, 3), np.float32))
    value.array = np.zeros((2, 3), np.float32)
    runner, _ = started()
    runner._wait(value)
    runner._wait(X.value)
    assert runner.stalls == [] and value.array[0, 0] == 0.0


# --- sizes --------------------------------------------------------------------------------------------------------


def test_sizes_that_an_operation_brings_are_bound_and_kept() -> None:
    def made(n: int) -> mt.Tensor:
        return mt.ones((n, 3)) + mt.ones((n, 3))

    walk = walk_of(made, (2,), (3,), (4,))
    runner, run = begin(walk)
    with observed(runner):
        y = made(7)
    assert y.shape == (7, 3) and runner.recorder is None
    (name,) = runner.symbols
    assert runner.symbols == {name: 7} and runner.shapes == {(name, 3): (7, 3)}
    assert run.words == [("bind", walk.symbols[name], 7)]
    runner.symbols[name] = 9
    assert runner.concrete(runner.path[-1], 0, (), {}) == (7, 3)  # of this step: known by its dimensions
