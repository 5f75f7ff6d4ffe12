"""A step that the TraceGraph knows is followed: nothing of it is recorded again.

That the graph comes out the same either way is held by properties in `test_merge.py`; here it is what following is for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alone import placed

import coexec
import minitensor as mt
from coexec.config import config
from coexec.traces.follow import Follower, make_recorder
from coexec.traces.promise import Promise, StepLog
from coexec.traces.record import Recorder, Trace
from coexec.traces.trace_graph import TraceNode, verify_trace_graph
from minitensor import functional as F
from minitensor.value import Value

X = mt.reshape(mt.arange(6.0), (2, 3))
Y = X + 1.0
X64 = X.astype("float64")
MEMORY = np.ones((2, 3), np.float32)
INDICES = mt.asarray([1, 0])


def watch(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, position: int) -> list[str]:
    """What a method is called for from now on: names of operations, which are its argument at `position`."""
    names: list[str] = []
    original = getattr(owner, method)

    def watched(*arguments: Any) -> Any:
        names.append(arguments[position].name)
        return original(*arguments)

    monkeypatch.setattr(owner, method, watched)
    return names


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of operations as they are recorded."""
    monkeypatch.setattr(config, "mode", "trace")
    return watch(monkeypatch, Recorder, "record", 1)


def fork_and_join(i: int) -> mt.Tensor:
    y = X + 1.0 if i % 2 else X * 2.0
    return mt.exp(y).sum()


def alike_but_for_the_place(i: int) -> mt.Tensor:
    if i % 2:
        return mt.exp(X) * 2.0
    return mt.exp(X) - 1.0


def two_of_one_kind(i: int) -> mt.Tensor:
    y = mt.exp(X)
    for _ in range(i % 2):
        y = y - 1.0
    return y * mt.sin(X)


def trained(i: int) -> mt.Tensor:
    """Gradients of operations that are alike but for the one that they are of."""
    w = mt.asarray([1.0, 2.0])
    w.requires_grad = True
    y = w
    for _ in range(1 + i % 3):
        y = y * w
    y.sum().backward()
    assert w.grad is not None
    return w.grad


STEPS: dict[str, Callable[[int], mt.Tensor]] = {
    "attributes that are numbers": lambda i: mt.sum(X[0], axis=0, keepdims=True),
    "a number that varies": lambda i: X * float(i),
    "a fork and a join": fork_and_join,
    "branches that begin alike": alike_but_for_the_place,
    "a value with two producers, one round": two_of_one_kind,
    "tensors made anew": lambda i: mt.asarray([1.0, float(i)]) + mt.asarray([2.0, float(i)]),
    "one tensor twice": lambda i: (lambda x: x * x)(mt.asarray([float(i)])),
    "memory of others": lambda i: (lambda x: mt.exp(x + x) * x)(mt.asarray(MEMORY, copy=False)),
    "indices": lambda i: mt.take(X, INDICES, axis=0) * 2.0,
    "gradients": trained,
}


@pytest.mark.parametrize("name", STEPS)
def test_what_the_graph_knows_is_not_recorded(name: str, recorded: list[str]) -> None:
    step = coexec.coexecute(STEPS[name])
    for i in range(4):
        step(i)
    assert recorded, "the first steps are new"
    recorded.clear()
    for i in range(4, 8):
        step(i)
    assert recorded == []


def one_of_two(last: bool) -> mt.Tensor:
    a = mt.exp(X)
    b = mt.sin(a)
    return mt.abs(b if last else a)


def made_beside(first: bool) -> mt.Tensor:
    a = mt.exp(X)
    return mt.multiply(a if first else 2.0, Y)


OTHERS: dict[str, tuple[Callable[[], mt.Tensor], Callable[[], mt.Tensor]]] = {
    "another operation": (lambda: mt.exp(X), lambda: mt.sin(X)),
    "another attribute": (lambda: mt.sum(X, axis=0), lambda: mt.sum(X, axis=1)),
    "another dtype": (lambda: mt.exp(X), lambda: mt.exp(X.astype("float64") + 0.0)),
    "another size": (lambda: mt.exp(X), lambda: mt.exp(mt.ones((4, 3)))),
    "another number": (lambda: X * 2.0, lambda: X * 3.0),
    "another sign of zero": (lambda: X * 0.0, lambda: X * -0.0),
    "another type of number": (lambda: X * 2.0, lambda: X * 2),
    "a tensor for a number": (lambda: X * 2.0, lambda: X * Y),
    "a number for a tensor": (lambda: X * Y, lambda: X * 2.0),
    "two tensors for one": (lambda: X * X, lambda: X * Y),
    "tensors in another order": (lambda: mt.exp(X) + X * Y, lambda: mt.exp(X) + Y * X),
    "what was made before the latest": (lambda: one_of_two(True), lambda: one_of_two(False)),
    "what was made after it": (lambda: one_of_two(False), lambda: one_of_two(True)),
    "what was made, for what comes from outside": (lambda: mt.exp(X) * X, lambda: (lambda y: y * y)(mt.exp(X))),
    "a number for what was made": (lambda: made_beside(True), lambda: made_beside(False)),
    "what was made, for what comes from outside first": (lambda: mt.exp(X) * Y, lambda: (lambda y: y * y)(mt.exp(X))),
    "a smaller dtype": (lambda: mt.exp(X64), lambda: mt.exp(X)),
    "what comes from outside, for what was made": (lambda: (lambda y: y * y)(mt.exp(X)), lambda: mt.exp(X) * X),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_graph_does_not_have_is_recorded(name: str, recorded: list[str]) -> None:
    """Of two functions, called in turn, the second does something else; afterwards the graph has both."""
    first, other = OTHERS[name]
    step = coexec.coexecute(lambda function: function())
    for _ in range(2):
        step(first)
    recorded.clear()
    step(first)
    assert recorded == []
    version = step.session.traces.version
    step(other)
    assert recorded and step.session.traces.version > version
    verify_trace_graph(step.session.traces)
    version = step.session.traces.version
    step(other)
    step(first)
    assert step.session.traces.version == version


@pytest.mark.parametrize(
    ("function", "compared"),
    [
        (lambda: mt.abs(mt.sin(mt.exp(X))), ["exp"]),  # of a tensor that the step has not used before
        (lambda: mt.exp(X) * X * 2.0 + X, ["exp"]),
        (lambda: mt.sum(mt.exp(X), axis=0), ["exp", "sum"]),  # with an attribute that is a number: 1 is not True
        (lambda: mt.reshape(mt.exp(X), (3, 2)), ["exp"]),
        (lambda: [mt.exp(X), mt.sin(Y), mt.cos(X)], ["exp", "sin"]),
    ],
)
def test_an_operation_that_is_just_what_is_expected_is_followed_the_short_way(
    function: Callable[[], Any], compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison that binds feeds and tells apart what is alike."""
    monkeypatch.setattr(config, "mode", "trace")
    step = coexec.coexecute(function)
    for _ in range(2):
        step()
    names = watch(monkeypatch, Follower, "is_node", 2)
    step()
    assert names == compared


def one_of_two_producers(i: int) -> mt.Tensor:
    y = X + 1.0 if i % 2 else X * 2.0
    a = mt.sin(X)
    return mt.exp((y, y, a, X)[i]) - a


def test_of_several_producers_the_one_that_was_executed_last_is_expected(recorded: list[str]) -> None:
    step = coexec.coexecute(one_of_two_producers)
    for i in (0, 1, 0, 1):
        step(i)
    recorded.clear()
    for i in (0, 1):
        step(i)
    assert recorded == []
    for i in (2, 3):  # made later than those; from outside
        step(i)
        assert recorded[:1] == ["exp"]
        recorded.clear()
        verify_trace_graph(step.session.traces)


def test_places_decide_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", "trace")
    step = coexec.coexecute(placed)
    for inputs in ((1.0, True), (3.0, False), (2.0, True)):
        step(*inputs)
    paths: list[list[TraceNode]] = []
    end = Follower.end

    def watched(self: Follower) -> Trace:
        paths.append(list(self.path))
        return end(self)

    monkeypatch.setattr(Follower, "end", watched)
    version = step.session.traces.version
    step(3.0, True)
    step(3.0, False)
    assert step.session.traces.version == version
    varying, constant = (path[1] for path in paths)
    assert varying.form.numbers and not constant.form.numbers


def test_places_are_not_looked_up_where_something_else_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", "trace")
    step = coexec.coexecute(fork_and_join)
    for i in range(4):
        step(i)
    looked: list[Any] = []
    monkeypatch.setattr("coexec.traces.follow.location", lambda *them: looked.append(them))
    version = step.session.traces.version
    for i in range(4):
        step(i)
    assert step.session.traces.version == version and looked == []


def follower(function: Callable[[], Any]) -> Any:
    """One at the beginning of the graph of a step."""
    step = coexec.coexecute(function)
    step()
    return make_recorder(sys._getframe(), StepLog(), step.session.traces, Trace(), [])


@pytest.mark.parametrize(("shape", "dtype"), [((2, 3), "float32"), ((3, 2), "float32"), ((2, 3), "float64")])
def test_results_are_such_as_the_node_has(shape: tuple[int, ...], dtype: str, recorded: list[str]) -> None:
    found = follower(lambda: mt.exp(X))
    (node,) = found.graph.start.children
    assert found.is_node(node, node.op, (X.value,), {})
    value = Value(np.zeros(shape, dtype))
    assert found._arrive(node, node.op, (X.value,), {}, (value,)) == (value,)
    (arrived,) = found.path
    assert (arrived is node) == (shape == (2, 3) and dtype == "float32")
    promise = value.pending
    assert isinstance(promise, Promise) and (promise.index, promise.output, promise.owner) == (0, 0, found.log)


def test_an_operation_of_one_output_arrives_the_short_way(recorded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = watch(monkeypatch, Follower, "_arrive", 2)
    weight, x = mt.ones((3,)), mt.reshape(mt.arange(12.0), (4, 3))

    def function() -> mt.Tensor:
        mean, var = mt.exp(weight), mt.exp(weight)
        return mt.sin(F.batch_norm(x, mean, var, weight, weight, training=True))

    step = coexec.coexecute(function)
    for _ in range(3):
        recorded.clear()
        step()
    assert recorded == [] and set(arrived) == {"batch_norm"}


@pytest.mark.parametrize(("number", "known"), [(4.0, True), (4, False), (True, False), (4j, False)])
def test_a_number_that_varies_keeps_its_type(number: complex, known: bool, recorded: list[str]) -> None:
    step = coexec.coexecute(lambda number: X * number)
    for first in (2.0, 3.0):
        step(first)
    recorded.clear()
    step(number)
    assert (recorded == []) == known


def test_a_loop_of_many_lengths_is_to_be_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", "trace")

    def function(rounds: int) -> mt.Tensor:
        x = X
        for _ in range(rounds):
            x = mt.sin(mt.exp(x))
        return x

    step = coexec.coexecute(function)
    for rounds in (2, 3, 4, 3):
        step(rounds)
    assert not step.session.traces.lessons.folded
    step(5)
    assert {name for name, _ in step.session.traces.lessons.folded} == {"exp"}
    for rounds in (3, 7, 9):
        step(rounds)
    assert len(step.session.traces.nodes) == 4
