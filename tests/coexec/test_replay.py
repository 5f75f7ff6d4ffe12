"""Replay: what is computed again of a validated prefix, and what is not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alone import begin, observed, walk_of

import minitensor as mt
from coexec.python_side import replay as module
from coexec.python_side.replay import OpLog, replay
from coexec.python_side.walk import ExpectPhi, Walk
from minitensor import functional as F
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

X = mt.reshape(mt.arange(6.0), (2, 3)) / 8.0
Y = X + 1.0


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the operations that are computed."""
    names: list[str] = []
    run = module.run_eager

    def watched(op: OpDef, *rest: Any) -> tuple[Value, ...]:
        names.append(op.name)
        return run(op, *rest)

    monkeypatch.setattr(module, "run_eager", watched)
    return names


def log_of(walk: Walk, function: Callable[[], Any]) -> OpLog:
    runner, _ = begin(walk)
    with observed(runner):
        function()
    assert runner.recorder is None
    return OpLog(list(runner.path), runner.attributes, runner.sent, walk.phis)


def nothing(key: Any) -> None:
    return None


def contents(x: Any) -> Value:
    return Value(np.asarray(x))


def chain() -> mt.Tensor:
    """Operations 0 to 5, of which 4 needs 1 and 3."""
    a = mt.exp(X)
    b = mt.sin(a)
    c = mt.cos(X)
    d = mt.tanh(c)
    e = b * d
    return mt.abs(e)


def test_only_what_the_wanted_outputs_need_is_computed(done: list[str]) -> None:
    log = log_of(walk_of(chain), chain)
    for wanted, names in [
        ([(0, 0)], ["exp"]), ([(3, 0)], ["cos", "tanh"]), ([(1, 0), (2, 0)], ["exp", "sin", "cos"]),
        ([(4, 0)], ["exp", "sin", "cos", "tanh", "multiply"]), ([], []),
    ]:  # fmt: skip
        done.clear()
        found = replay(log, wanted, {}, nothing)
        assert done == names and list(found) == wanted
    x = X.numpy()
    found = replay(log, [(1, 0), (4, 0)], {}, nothing)
    np.testing.assert_array_equal(found[1, 0].array, np.sin(np.exp(x)))
    np.testing.assert_array_equal(found[4, 0].array, np.sin(np.exp(x)) * np.tanh(np.cos(x)))


def test_what_is_known_or_rescued_is_not_computed(done: list[str]) -> None:
    log = log_of(walk_of(chain), chain)
    known, rescued, asked = contents(np.full((2, 3), 3.0)), contents(np.full((2, 3), 5.0)), []

    def rescue(key: tuple[int, int]) -> Value | None:
        asked.append(key)
        return rescued if key == (3, 0) else None

    found = replay(log, [(4, 0), (1, 0)], {(1, 0): known}, rescue)
    assert done == ["multiply"] and found[1, 0] is known
    np.testing.assert_array_equal(found[4, 0].array, np.full((2, 3), 15.0))
    assert sorted(set(asked)) == [(3, 0), (4, 0)]
    done.clear()
    found = replay(log, [(1, 0), (3, 0)], {(1, 0): known}, rescue)
    assert done == [] and found == {(1, 0): known, (3, 0): rescued}


def test_feeds_numbers_and_attributes_are_those_of_the_step(done: list[str]) -> None:
    def function(x: mt.Tensor, k: float) -> mt.Tensor:
        return mt.sum((x * x) * k + x - 1.0, axis=0)

    walk = walk_of(function, (X, 2.0), (X, 3.0))
    log = log_of(walk, lambda: function(Y, 4.0))
    y = Y.numpy()
    found = replay(log, [(3, 0), (4, 0)], {}, nothing)
    np.testing.assert_array_equal(found[3, 0].array, y * y * np.float32(4.0) + y - np.float32(1.0))
    np.testing.assert_array_equal(found[4, 0].array, np.sum(y * y * np.float32(4.0) + y - np.float32(1.0), axis=0))
    assert done == ["multiply", "multiply", "add", "subtract", "sum"]


def test_sizes_are_those_of_the_step(done: list[str]) -> None:
    def function(n: int) -> mt.Tensor:
        return mt.abs(mt.broadcast_to(X[0, 0], (n, 3)))

    log = log_of(walk_of(function, (2,), (4,), (5,)), lambda: function(7))
    last = len(log.path) - 1
    assert replay(log, [(last, 0)], {}, nothing)[last, 0].shape == (7, 3)
    assert done[-1] == "abs"


@pytest.mark.parametrize("other", [False, True])
def test_of_several_producers_the_one_of_this_path_is_taken(other: bool, done: list[str]) -> None:
    def function(other: bool) -> mt.Tensor:
        return mt.abs(mt.sin(X) if other else mt.cos(X))

    walk = walk_of(function, (False,), (True,))
    log = log_of(walk, lambda: function(other))
    assert isinstance(log.path[1].others[0], ExpectPhi)
    found = replay(log, [(1, 0)], {}, nothing)
    np.testing.assert_array_equal(found[1, 0].array, np.abs((np.sin if other else np.cos)(X.numpy())))
    assert done == ["sin" if other else "cos", "abs"]


def test_of_several_outputs_what_is_known_stays(done: list[str]) -> None:
    weight, x = mt.ones((3,)), mt.reshape(mt.arange(12.0), (4, 3))

    def function() -> list[mt.Tensor]:
        mean, var = mt.ones((3,)), mt.ones((3,))
        return [F.batch_norm(x, mean, var, weight, weight, training=True), mean, var]

    log = log_of(walk_of(function), function)
    index = next(i for i, node in enumerate(log.path) if len(node.outputs) > 1)
    expected = [y.numpy() for y in function()]
    known = contents(np.zeros((3,), np.float32))
    found = replay(log, [(index, 0), (index, 3), (index, 4)], {(index, 3): known}, nothing)
    assert found[index, 3] is known and "batch_norm" in done
    np.testing.assert_array_equal(found[index, 0].array, expected[0])
    np.testing.assert_array_equal(found[index, 4].array, expected[2])
    done.clear()
    assert replay(log, [(index, 3)], {(index, 3): known}, nothing) == {(index, 3): known} and done == []


def test_what_was_used_for_the_last_time_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prefix takes no more memory than its operations did; what is wanted stays."""
    alive: list[list[str]] = []
    made: list[tuple[str, Any]] = []
    run = module.run_eager

    def watched(op: OpDef, *rest: Any) -> tuple[Value, ...]:
        gc.collect()
        alive.append([name for name, value in made if value() is not None])
        results = run(op, *rest)
        made.append((op.name, weakref.ref(results[0])))
        return results

    monkeypatch.setattr(module, "run_eager", watched)
    log = log_of(walk_of(chain), chain)
    found = replay(log, [(5, 0), (2, 0)], {}, nothing)
    assert alive == [[], ["exp"], ["sin"], ["sin", "cos"], ["sin", "cos", "tanh"], ["cos", "multiply"]]
    del found
