"""PythonRunner alone: which operations are the graph's, what the graph is told, what is left behind by leaving it.

That results are those of eager execution is held by programs elsewhere; here it is which way was taken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from alone import Told, begin, observed, walk_of

import minitensor as mt
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.walk import Walk, WalkNode
from coexec.traces.promise import Promise
from coexec.traces.record import Produced
from minitensor import functional as F
from minitensor.ops.opdef import OpDef
from minitensor.value import Value, local

X = mt.reshape(mt.arange(6.0), (2, 3)) / 8.0
Y = X + 1.0
Z = X + 2.0
ONE = mt.ones((1, 1))
WEIGHT = mt.ones((3,))
LABELS = mt.asarray([1, 0])


def nodes_of(walk: Walk) -> list[WalkNode]:
    """The operations of a walk without forks, in order."""
    found, node = [], walk.start
    while node.children and node.children[0].op is not None:
        (node,) = node.children
        found.append(node)
    return found


# --- which operations are the graph's -------------------------------------------------------------------------------

OTHERS: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]], tuple[Any, ...], int]] = {
    # a step, calls that are recorded, one that leaves the graph, and behind how many operations
    "fewer operands": (lambda n: mt.concat([mt.exp(X)] * n), [(3,)], (2,), 1),
    "more operands": (lambda n: mt.concat([mt.exp(X)] * n), [(2,)], (3,), 1),
    "another attribute": (lambda axis: mt.sum(mt.exp(X), axis=axis), [(0,)], (1,), 1),
    "another of two attributes": (lambda keep: mt.sum(mt.exp(X), axis=0, keepdims=keep), [(False,)], (True,), 1),
    "another operation": (lambda other: mt.sin(X) if other else mt.cos(X), [(False,)], (True,), 0),
    "a number for a tensor": (lambda k: mt.exp(X) * k, [(Y,)], (2.0,), 1),
    "a number for what was made": (lambda k: mt.multiply((mt.exp(X), k)[k != 1.0], Y), [(1.0,)], (2.0,), 1),
    "another number": (lambda k: mt.exp(X) * k, [(1.0,)], (2.0,), 1),
    "another size": (mt.exp, [(X,)], (mt.ones((1, 3)),), 0),
    "another dtype": (mt.exp, [(X,)], (mt.astype(X, mt.float64),), 0),
    "another tensor that was made": (lambda i: mt.abs((mt.sin(X), mt.cos(X))[i]), [(0,)], (1,), 2),
    "another tensor than before": (lambda x: mt.exp(X) * x, [(X,)], (Y,), 1),
    "one made for one from outside": (lambda i: mt.exp(X) * (mt.sin(X) if i else Y), [(0,)], (1,), 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_step_leaves_at_the_first_operation_that_is_not_the_graphs(name: str) -> None:
    function, calls, other, count = OTHERS[name]
    walk = walk_of(function, *calls)
    for inputs in calls:
        runner, _ = begin(walk)
        with observed(runner):
            function(*inputs)
        assert runner.recorder is None and runner.at.ends is not None
        assert runner.path == nodes_of(walk)
    runner, run = begin(walk)
    with observed(runner):
        result = function(*other)
    assert runner.recorder is not None and len(runner.path) == count
    assert run.kinds()[-1] == "cancel"
    np.testing.assert_array_equal(result.numpy(), function(*other).numpy())


def test_one_is_not_true() -> None:
    walk = walk_of(lambda: mt.sum(X, axis=0, keepdims=True))
    (node,) = nodes_of(walk)
    assert node.op is not None
    for keepdims, count in ((True, 1), (1, 0)):
        runner, _ = begin(walk)
        runner.execute(node.op, (X.value,), {"axis": (0,), "keepdims": keepdims})
        assert len(runner.path) == count


class Watched(PythonRunner):
    """Counts which of its ways are taken."""

    __slots__ = ("ways",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ways: list[str] = []

    def matches(self, node: WalkNode, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> bool:
        self.ways.append("matches")
        return super().matches(node, op, inputs, attributes)

    def choose(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> WalkNode | None:
        self.ways.append("choose")
        return super().choose(op, inputs, attributes)

    def _advance(self, node: WalkNode, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        self.ways.append("advance")
        return super()._advance(node, inputs, attributes)

    def concrete(
        self, node: WalkNode, index: int, inputs: tuple[Any, ...], attributes: dict[str, Any]
    ) -> tuple[int, ...]:
        self.ways.append("shape")
        return super().concrete(node, index, inputs, attributes)


def same_twice(x: mt.Tensor, other: bool) -> mt.Tensor:
    y = mt.exp(x) if other else mt.sin(x)
    return mt.tanh(y)


WAYS: list[tuple[Callable[..., Any], list[tuple[Any, ...]], list[str]]] = [
    (lambda x: mt.exp(x), [(X,)], []),
    (lambda x: mt.exp(x) * 2.0 + Y, [(X,)], []),
    (lambda x: mt.sum(mt.exp(x), axis=0), [(X,)], []),
    (lambda x: x * x, [(X,)], ["matches", "advance"]),  # one feed for both operands
    (lambda x, k: mt.exp(x) * k, [(X, 1.0), (X, 2.0)], ["matches", "advance"]),  # a number to send
    (lambda x: mt.max(x, axis=0), [(X,)], []),
    (same_twice, [(X, True), (X, False)], ["choose", "matches", "matches", "advance", "matches"]),
    (lambda x: mt.take(x, LABELS, axis=0), [(X,)], ["matches", "advance"]),
    (lambda x: mt.exp(x), [(mt.ones((n, 2)),) for n in (2, 3, 4)], ["matches", "advance", "shape"]),
]


@pytest.mark.parametrize(("function", "calls", "ways"), WAYS)
def test_the_shortest_way_is_taken(function: Callable[..., Any], calls: list[tuple[Any, ...]], ways: list[str]) -> None:
    walk = walk_of(function, *calls)
    runner, _ = begin(walk, Watched)
    with observed(runner):
        function(*calls[0])
    assert isinstance(runner, Watched) and runner.recorder is None
    assert runner.ways == ways


def test_what_is_fed_first_is_sent_once_and_what_is_sent_together_in_one_word() -> None:
    walk = walk_of(lambda: [mt.exp(X), X * Y, Y + X, mt.concat([X, Y, Z, X])])
    runner, run = begin(walk)
    with observed(runner):
        mt.exp(X), X * Y, Y + X, mt.concat([X, Y, Z, X])
    assert runner.recorder is None
    assert run.calls == ["feed"] * 3
    assert [word[2] is x.value.array for word, x in zip(run.words, (X, Y, Z), strict=True)] == [True] * 3
    walk = walk_of(lambda: mt.concat([X, Y, Z]))
    runner, run = begin(walk)
    with observed(runner):
        mt.concat([X, Y, Z])
    assert run.calls == ["feed_all"] and run.kinds() == ["feed"] * 3


# --- words, in the order in which the graph needs them ------------------------------------------------------------


def test_at_a_fork_the_graph_is_told_which_way_before_what_is_fed_there() -> None:
    def function(other: bool) -> mt.Tensor:
        y = mt.exp(X)
        return mt.tanh(y * Y if other else y - Z)

    walk = walk_of(function, (True,), (False,))
    (first,) = walk.start.children
    for other in (True, False):
        runner, run = begin(walk)
        with observed(runner):
            function(other)
        (node,) = [n for n in first.children if n.op is not None and n.op.name == ("multiply" if other else "subtract")]
        assert run.words[1:] == [
            ("choose", first.case, first.children.index(node)),
            ("feed", node.feeds[0].slot, (Y if other else Z).value.array),
        ]
        assert runner.phis == [node.outputs[0]]


def test_symbols_are_told_once_and_before_the_feed_that_has_them() -> None:
    def function(x: mt.Tensor) -> mt.Tensor:
        return mt.sum(mt.exp(x) * mt.ones(x.shape) + x, axis=0)

    walk = walk_of(function, *[(mt.ones((n, 3)),) for n in (2, 3, 4)])
    x = mt.ones((7, 3))
    runner, run = begin(walk)
    with observed(runner):
        result = function(x)
    assert result.shape == (3,) and runner.recorder is None
    assert run.words[0] == ("bind", 0, 7) and run.kinds().count("bind") == 1
    (shaped,) = [i for i, node in enumerate(runner.path) if node.shape_symbols]
    assert {i: a["shape"] for i, a in runner.attributes.items()} == {shaped: (7, 3)}
    for other in (mt.ones((1, 3)), mt.ones((7, 2))):  # one is no size like others
        runner, run = begin(walk)
        with observed(runner):
            function(other)
        assert runner.recorder is not None and runner.path == []


# --- what Python looks at ----------------------------------------------------------------------------------------


def delivered(walk: Walk, run: Told, name: str, contents: Any) -> None:
    """The graph has these contents of the output of the operation of this name."""
    (node,) = [node for node in nodes_of(walk) if node.op is not None and node.op.name == name]
    run.contents[node.outputs[0].output] = np.asarray(contents)


def test_what_the_graph_delivers_is_fetched_and_anything_else_is_computed_again() -> None:
    def function(look: str) -> list[mt.Tensor]:
        y = mt.exp(X)
        z = mt.sin(y)
        for name, value in (("exp", y), ("sin", z)):
            if name in look:
                value.numpy()
        return [y, z]

    walk = walk_of(function, ("sin",))
    runner, run = begin(walk)
    delivered(walk, run, "sin", np.full((2, 3), 5.0, np.float32))
    with observed(runner):
        _, z = function("sin")
    assert z.value.array is not None and z.value.array[0, 0] == 5.0  # what the graph said
    assert run.kinds() == ["feed", "fetch"] and runner.looks == 1 and not runner.reads
    with observed(runner):
        z.numpy()
    assert run.kinds() == ["feed", "fetch"]
    runner, run = begin(walk)
    with observed(runner):
        y, z = function("exp")
    assert runner.recorder is None and runner.looks == 1
    np.testing.assert_array_equal(y.value.array, np.exp(X.numpy()))
    assert z.value.array is None
    assert runner.reads == [(2, Produced(0, 0))] and "fetch" not in run.kinds()
    with observed(runner):
        X.numpy(), y.numpy()
    assert runner.looks == 3 and len(runner.reads) == 1


def test_integers_from_outside_are_had_without_the_graph() -> None:
    def function() -> list[int]:
        return (mt.reshape(LABELS, (2, 1)) + 1).tolist()  # type: ignore[no-any-return]

    walk = walk_of(function)
    for _ in range(2):  # at first it is not known of the operations
        runner, run = begin(walk)
        with observed(runner):
            assert function() == [[2], [1]]
        assert not runner.reads and run.kinds() == ["feed"] and runner.looks == 1
    assert [node.outside for node in nodes_of(walk)] == [None, True]


def test_what_an_earlier_step_owes_is_not_asked_of_this_one() -> None:
    walk = walk_of(trained)
    runner, _ = begin(walk)
    with observed(runner):
        y = trained()
    runner.end()
    runner, run = begin(walk)
    with observed(runner):
        trained()
        runner.look(y.value)
    assert runner.looks == 1 and not runner.reads and run.kinds() == ["feed", "feed"] and y.value.array is None


def test_contents_that_an_operation_can_fail_on_are_checked_where_it_stands() -> None:
    def function(labels: mt.Tensor) -> mt.Tensor:
        return mt.take(mt.exp(X), labels, axis=0)

    walk = walk_of(function, (LABELS,))
    runner, run = begin(walk)
    with observed(runner):
        function(mt.asarray([1, 1]))
    assert runner.recorder is None and runner.looks == 0  # the program has not asked
    runner, run = begin(walk)
    with observed(runner), pytest.raises(IndexError) as found:
        function(mt.asarray([1, 2]))
    with pytest.raises(IndexError) as expected:
        function(mt.asarray([1, 2]))
    assert str(found.value) == str(expected.value)
    assert len(runner.path) == 1 and runner.recorder is None and run.kinds() == ["feed"]


@pytest.mark.parametrize(("labels", "fits"), [([0, 1], True), ([0, 2], False)])
def test_contents_to_check_are_fetched_where_the_graph_makes_them(labels: list[int], fits: bool) -> None:
    def function() -> mt.Tensor:
        return mt.take(X, mt.argmin(mt.exp(X), axis=1), axis=0)

    walk = walk_of(function)
    runner, run = begin(walk)
    delivered(walk, run, "argmin", labels)
    with observed(runner):
        if fits:
            function()
        else:
            with pytest.raises(IndexError):
                function()
    assert runner.recorder is None and len(runner.path) == 2 + fits
    assert run.kinds() == ["feed", "fetch"] and runner.looks == 0 and not runner.reads


PICK = "def pick(float(N) x, int64(M) index) -> (y) { y(m) = x(index(m)) }"


def test_an_operator_that_has_no_check_of_its_own_is_tried_on_blanks() -> None:
    pick = mt.operator(PICK)
    x = mt.ones((4,))
    walk = walk_of(lambda index: mt.exp(pick(x, index)), (LABELS,))
    (node, _) = nodes_of(walk)
    assert node.op is not None and node.op.may_raise and node.op.check is None
    runner, _ = begin(walk)
    with observed(runner):
        pick(x, mt.asarray([3, 0]))
    assert runner.recorder is None and len(runner.path) == 1
    runner, _run = begin(walk)
    with observed(runner), pytest.raises(Exception, match="7, where 0 to 3 are allowed"):
        pick(x, mt.asarray([7, 0]))
    assert runner.path == [] and not runner.busy


def test_a_further_round_of_a_loop_takes_back_what_the_one_before_had_delivered() -> None:
    def function(rounds: int) -> mt.Tensor:
        x = mt.exp(X)
        for _ in range(rounds):
            x = mt.sin(mt.abs(x))
            x.numpy()
        return x

    walk = walk_of(function, *[(rounds,) for rounds in (2, 3, 4, 5, 6, 7)])
    assert not walk.may_have_macros
    *before, body, last = nodes_of(walk)  # a round stands before those that are one
    assert list(last.rounds) == [body] and last.case is not None
    made = last.outputs[0]
    runner, run = begin(walk)
    for node in (before[-1], last):
        run.contents[node.outputs[0].output] = np.zeros((2, 3), np.float32)
    with observed(runner):
        x = mt.exp(X)
        for number in range(4):
            assert (made in runner.posted) == (number > 1)
            y = mt.abs(x)
            assert made not in runner.posted
            x = mt.sin(y)
            x.numpy()
    assert x.value.array is run.contents[made.output]
    assert runner.path == [*before, *[body, last] * 3] and not runner.reads
    assert run.kinds() == ["feed", "fetch", "fetch", *["choose", "fetch"] * 2]
    assert runner.end().reason is None and run.words[-2] == ("choose", last.case, last.ends)


# --- what is left to Python ---------------------------------------------------------------------------------------


def test_an_operation_that_no_graph_has_is_done_by_python_and_the_step_goes_on() -> None:
    def function() -> mt.Tensor:
        y = mt.exp(ONE)
        mt.linalg.inv(y)
        return mt.sin(y)

    walk = walk_of(function)
    assert len(nodes_of(walk)) == 2
    runner, run = begin(walk)
    delivered(walk, run, "exp", np.full((1, 1), 4.0, np.float32))
    with observed(runner):
        y = mt.exp(ONE)
        z = mt.linalg.inv(y)
        mt.sin(y)
    assert z.value.array is not None and z.value.array[0, 0] == 0.25  # of what the graph delivered
    assert runner.recorder is None and len(runner.path) == 2 and runner.looks == 1
    ((told, because),) = runner.left_to_python
    assert told.startswith("inv at ") and because
    assert runner.end().pays


def test_a_step_pays_if_the_graph_has_at_least_as_many_operations_as_python() -> None:
    def function(count: int) -> mt.Tensor:
        for _ in range(count):
            mt.linalg.inv(ONE)
        return mt.sin(mt.exp(X))

    walk = walk_of(function, (0,))
    for count, pays in ((1, True), (2, True), (3, False)):
        runner, _ = begin(walk)
        with observed(runner):
            function(count)
        outcome = runner.end()
        assert outcome.reason is None and outcome.pays == pays


def test_a_place_where_too_much_varies_is_left_to_python_and_others_are_not() -> None:
    def function(k: int) -> mt.Tensor:
        return mt.exp(mt.roll(X, k, axis=0))

    walk = walk_of(function, *[(k,) for k in range(8)])
    assert {name for (name, _), _ in walk.volatile} == {"roll"}
    runner, _ = begin(walk)
    with observed(runner):
        function(9)
    assert runner.recorder is None and len(runner.path) == 1
    ((told, because),) = runner.left_to_python
    assert told.startswith("roll at ") and because == "its attributes or sizes vary more than a graph can follow"
    runner, _ = begin(walk)
    with observed(runner):
        mt.roll(X, 9, axis=0)  # at another place
    assert runner.recorder is not None and runner.left_to_python == []


def test_a_number_that_no_type_holds_fails_as_it_does_eagerly() -> None:
    def function(k: int) -> mt.Tensor:
        return LABELS.astype("int8") + k

    walk = walk_of(function, (1,), (2,))
    with pytest.raises(Exception) as expected:
        function(1000)
    runner, _ = begin(walk)
    with observed(runner), pytest.raises(type(expected.value)) as found:
        function(1000)
    assert str(found.value) == str(expected.value)
    assert runner.recorder is None and runner.left_to_python == [] and len(runner.path) == 1


# --- leaving the graph, and the end -------------------------------------------------------------------------------


def trained() -> mt.Tensor:
    return mt.tanh(mt.sin(mt.exp(X)) * Y)


def test_a_step_that_leaves_fills_what_is_alive_and_goes_on_recorded() -> None:
    walk = walk_of(trained)
    first, second, third, _ = nodes_of(walk)
    runner, run = begin(walk)
    run.contents[second.outputs[0].output] = np.full((2, 3), 5.0, np.float32)  # what the graph has still
    local.observer = runner
    try:
        a = mt.exp(X)
        b = mt.sin(a)
        c = b * Y
        del a
        recorder = runner.leave("planned")
        assert local.observer is recorder is runner.recorder and runner.busy and runner.reason == "planned"
        assert runner.leave("a second time") is recorder and runner.reason == "planned"
    finally:
        local.observer = None
    assert run.words[-1] == ("cancel", second.outputs[0].output, third.outputs[0].output)
    assert run.kinds().count("cancel") == 1
    assert b.value.array is not None and b.value.array[0, 0] == 5.0
    np.testing.assert_array_equal(c.value.array, 5.0 * Y.numpy())  # by eager rules, of what was there
    values = runner.execute(walk_of(mt.exp, (X,)).start.children[0].op, (c.value,), {})  # type: ignore[arg-type]
    assert values[0].array is not None and len(runner.path) == 3
    trace = runner.end().trace
    assert trace is not None and trace.prefix[:3] == [first.trace, second.trace, third.trace]
    (new,) = trace.prefix[3:]  # the recorder has merged it already
    assert new.op is not None and new.op.name == "exp" and new.parents == [third.trace]
    assert runner.is_over and run.words[-1][0] != "finish"


def test_a_runner_that_observes_no_more_leaves_the_observer_as_it_is() -> None:
    runner, _ = begin(walk_of(trained))
    with observed(runner):
        mt.exp(X)
    other: Any = object()
    local.observer = other
    try:
        runner.leave("planned")
        assert local.observer is other
    finally:
        local.observer = None


def test_the_prefix_has_each_tensor_from_outside_once_and_no_numbers() -> None:
    def function(x: mt.Tensor, y: mt.Tensor, k: float) -> mt.Tensor:
        return mt.exp(x) * k + mt.sin(y)

    walk = walk_of(function, (X, Y, 1.0), (X, Y, 2.0))
    for y, externals in ((Y, [X, Y]), (X, [X])):
        runner, _ = begin(walk)
        with observed(runner):
            function(X, y, 4.0)
        trace, found = runner._prefix()
        assert [any(v is x.value for v in found) for x in externals] == [True] * len(found)
        feeds = [feed for feed in walk.feeds if feed is not None]
        assert list(trace.feeds) == feeds and sorted(set(trace.feeds.values())) == list(range(len(found)))
        assert trace.prefix == [node.trace for node in runner.path]


def test_what_lives_at_the_end_gets_the_handle_of_what_the_graph_keeps() -> None:
    walk = walk_of(trained)
    runner, run = begin(walk)
    with observed(runner):
        y = trained()
    (*_, last) = nodes_of(walk)
    promise = y.value.pending
    assert isinstance(promise, Promise)
    outcome = runner.end()
    assert outcome.trace is None and outcome.reason is None and outcome.pays
    assert run.words[-1] == ("finish", last.outputs[0].output)
    assert promise.handle is not None and promise.owner is None and promise.source is None and y.value.array is None
    assert runner.finished and runner.is_over and runner.recorder is None and runner.log.fill_pending is None
    for kept in (runner.made, runner.bound, runner.sent, runner.attributes, runner.log.made):
        assert not kept


def test_what_lives_for_the_first_time_is_computed_again_and_told() -> None:
    walk = walk_of(trained)
    runner, run = begin(walk)
    with observed(runner):
        a = mt.exp(X)
        y = mt.tanh(mt.sin(a) * Y)
    outcome = runner.end()
    np.testing.assert_array_equal(a.value.array, np.exp(X.numpy()))
    assert a.value.pending is None and y.value.array is None
    assert outcome.reason is None and outcome.trace is not None and outcome.trace.kept == [Produced(0, 0)]
    assert len(outcome.trace.prefix) == 4 and run.kinds()[-1] == "finish" and len(run.words[-1]) == 2


def test_what_was_read_for_the_first_time_is_told() -> None:
    walk = walk_of(trained)
    runner, _ = begin(walk)
    with observed(runner):
        a = mt.exp(X)
        a.numpy()
        y = mt.tanh(mt.sin(a) * Y)
    promise = y.value.pending
    outcome = runner.end()
    assert isinstance(promise, Promise) and promise.handle is not None and y.value.array is None
    assert outcome.reason is None and outcome.trace is not None and outcome.trace.reads == [(1, Produced(0, 0))]
    assert outcome.trace.kept == [] and a.value.pending is None  # it had its contents


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_step_that_ends_too_early_leaves_at_its_end(steps: int) -> None:
    walk = walk_of(trained)
    runner, run = begin(walk)
    with observed(runner):
        found = [X]
        for operation in (mt.exp, mt.sin, lambda x: x * Y)[:steps]:
            found.append(operation(found[-1]))
    outcome = runner.end()
    assert outcome.reason is not None and outcome.trace is not None and not outcome.pays
    assert outcome.reason.endswith(f"where the graph has {('exp', 'sin', 'multiply', 'tanh')[steps]}")
    assert run.kinds()[-1] == "cancel" and len(outcome.trace.prefix) == steps


def test_where_a_step_may_end_or_go_on_the_graph_is_told_that_it_ends() -> None:
    def function(more: bool) -> mt.Tensor:
        y = mt.exp(X)
        return mt.sin(y) if more else y

    walk = walk_of(function, (True,), (False,))
    (node,) = walk.start.children
    assert node.case is not None and node.ends is not None
    runner, run = begin(walk)
    with observed(runner):
        y = function(False)
    assert runner.end().reason is None and y.value.pending is not None
    assert run.words[-2:] == [("choose", node.case, node.ends), ("finish", node.outputs[0].output)]
    runner, run = begin(walk)
    with observed(runner):
        y = function(True)
    assert runner.end().reason is None
    assert run.kinds() == ["feed", "choose", "finish"] and run.words[1][2] != node.ends


def test_a_step_that_is_abandoned_is_told_as_far_as_it_came() -> None:
    walk = walk_of(trained)
    runner, run = begin(walk)
    with observed(runner):
        a = mt.exp(X)
    assert not runner.is_over
    trace = runner.abandon()
    assert len(trace.prefix) == 1 and trace.kept == [Produced(0, 0)] and a.value.array is not None
    assert runner.is_over is True and runner.reason == "interrupted" and run.kinds()[-1] == "cancel"


# --- what comes in between ----------------------------------------------------------------------------------------


class Interrupting(Told):
    """Raises when it is told of some kind of word, once; `meanwhile` is done there instead, if there is anything."""

    def __init__(self, kind: str, meanwhile: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.meanwhile = meanwhile

    def _come(self, kind: str) -> None:
        if kind == self.kind:
            self.kind = ""
            if self.meanwhile is None:
                raise KeyboardInterrupt
            self.meanwhile()

    def feed(self, slot: int, value: Any) -> None:
        self._come("feed")
        super().feed(slot, value)

    def feed_all(self, values: Sequence[tuple[int, Any]]) -> None:
        self._come("feed_all")
        super().feed_all(values)

    def choose(self, case: int, target: int) -> None:
        self._come("choose")
        super().choose(case, target)


def forked(other: bool) -> mt.Tensor:
    y = mt.exp(X)
    return mt.concat([y, Y, Z]) if other else mt.sin(y * Y)


@pytest.mark.parametrize(("kind", "reason", "count"), [
    ("feed", "interrupted in the middle of a feed", 0),
    ("choose", "interrupted in the middle of concat", 1),
])  # fmt: skip
def test_an_interrupt_in_the_middle_of_an_operation_leaves_the_graph(kind: str, reason: str, count: int) -> None:
    run = Interrupting(kind)
    runner = PythonRunner(walk_of(forked, (True,), (False,)), run, sys._getframe())
    with observed(runner), pytest.raises(KeyboardInterrupt):
        forked(True)
    assert runner.recorder is not None and runner.reason == reason and len(runner.path) == count and runner.busy


def test_an_interrupt_in_the_middle_of_several_feeds_leaves_the_graph() -> None:
    run = Interrupting("feed_all")
    runner = PythonRunner(walk_of(lambda: mt.concat([X, Y, Z])), run, sys._getframe())
    with observed(runner), pytest.raises(KeyboardInterrupt):
        mt.concat([X, Y, Z])
    assert runner.reason == "interrupted in the middle of a feed"


@pytest.mark.parametrize("kind", ["feed", "choose"])
def test_what_a_handler_computes_within_an_operation_is_no_part_of_the_step(kind: str) -> None:
    made: list[mt.Tensor] = []

    def meanwhile() -> None:
        made.append(mt.cos(Z))
        float(made[0][0, 0])

    run = Interrupting(kind, meanwhile)
    walk = walk_of(forked, (True,), (False,))
    runner = PythonRunner(walk, run, sys._getframe())
    with observed(runner):
        forked(False)
    np.testing.assert_array_equal(made[0].value.array, np.cos(Z.numpy()))
    assert runner.recorder is None and not runner.busy and runner.at.ends is not None
    assert len(runner.path) == 3 and runner.looks == 0 and len(runner.log.made) == 3


def test_calls_and_operations_do_not_come_in_between_each_other() -> None:
    runner, _ = begin(walk_of(trained))
    asked: list[bool] = []

    def work(found: PythonRunner, answer: str) -> str:
        asked.append(found.busy)
        assert found._alone(work, "inner") is None
        return answer

    assert runner._alone(work, "outer") == "outer" and asked == [True] and not runner.busy

    def interrupted(found: PythonRunner) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner._alone(interrupted)
    assert runner.reason == "interrupted in the middle of a call" and runner.busy and runner.recorder is not None


def test_another_thread_fills_what_it_asks_for_while_the_step_goes_on() -> None:
    walk = walk_of(trained)
    runner, run = begin(walk)
    with observed(runner):
        a = mt.exp(X)
        b = mt.sin(a)
    np.testing.assert_array_equal(b.numpy(), np.sin(np.exp(X.numpy())))  # nobody observes here
    assert runner.recorder is None and a.value.array is None and not runner.reads and run.kinds() == ["feed"]
    with observed(runner):
        c = b * Y
        mt.tanh(c)
    assert runner.end().reason is None


def test_an_operation_of_several_outputs_promises_each() -> None:
    def function(x: mt.Tensor) -> list[mt.Tensor]:
        mean, var = mt.ones((3,)), mt.ones((3,))
        return [F.batch_norm(x, mean, var, WEIGHT, WEIGHT, training=True), mean, var]

    x = mt.reshape(mt.arange(12.0), (4, 3))
    walk = walk_of(function, (x,))
    (node,) = [node for node in nodes_of(walk) if len(node.outputs) > 1]
    runner, _ = begin(walk)
    with observed(runner):
        results = function(x)
    index = runner.path.index(node)
    promises = [result.value.pending for result in results]
    assert [(p.index, p.output) for p in promises if isinstance(p, Promise)] == [(index, 0), (index, 3), (index, 4)]
    assert [result.shape for result in results] == [(4, 3), (3,), (3,)]
    assert runner.recorder is None and runner.at is node


def test_a_number_that_no_kernel_would_refuse_fails_as_it_does_eagerly() -> None:
    def function(k: int) -> mt.Tensor:
        return (LABELS + 1) ** k

    walk = walk_of(function, (2,))
    with pytest.raises(Exception) as expected:
        function(-1)
    runner, _ = begin(walk)
    with observed(runner), pytest.raises(type(expected.value)) as found:
        function(-1)
    assert str(found.value) == str(expected.value)
    assert runner.recorder is None and len(runner.path) == 1
