"""Segments and drafts: which calls are learned, which later ones are taken at once, and what the graph is told of them.

That a step is the same either way is held by properties in `test_macros.py`; here it is what is learned and what not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from alone import Told, begin, observed, walk_of

import minitensor as mt
from coexec.python_side.draft import Draft
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.segment import Segment
from coexec.python_side.walk import Walk
from minitensor.value import Value

X = mt.reshape(mt.arange(6.0), (2, 3)) / 8.0
Y = X + 1.0
Z = X + 2.0
LABELS = mt.asarray([1, 0])
ONE = mt.ones((1, 1))
Operands = Sequence[Any]


@dataclass
class Form:
    """What a call must be like, for calls that this test makes."""

    numbers_vary: bool = True
    passed: set[int] = field(default_factory=set)
    has_sizes: bool = False

    def finish(self, values: list[Value], order: tuple[int, ...]) -> None: ...

    def let_go(self) -> None: ...

    def result(self) -> None: ...


@dataclass
class Step:
    """A step of a part that makes operands and a call that uses them."""

    before: Callable[..., Operands]
    call: Callable[..., Operands]

    def __call__(self, *inputs: Any) -> Any:
        return self.call(*self.before(*inputs))

    def learn(
        self, walk: Walk, *inputs: Any, form: Form | None = None, kept: Callable[..., Operands] | None = None
    ) -> Segment | None:
        """What is learned of the call in one step; `kept`: what is said to be left of it, of operands and results."""
        runner, _ = begin(walk)
        with observed(runner):
            operands = self.before(*inputs)
            draft = Draft(runner, form or Form(), arguments_of(operands), lambda _: None)
            results = self.call(*operands)
        left = results if kept is None else kept(operands, results)
        return draft.segment(runner, arguments_of(left), tuple(range(len(left))))

    def take(self, walk: Walk, segment: Segment, *inputs: Any) -> tuple[list[Value] | None, PythonRunner, Told]:
        """The call of a step taken at once, if it may be."""
        runner, run = begin(walk)
        with observed(runner):
            arguments = arguments_of(self.before(*inputs))
        values = segment.take(runner, arguments) if segment.admits(runner, arguments) else None
        return values, runner, run

    def go(self, walk: Walk, *inputs: Any) -> tuple[list[Value], PythonRunner, Told]:
        """The call of a step, operation by operation."""
        runner, run = begin(walk)
        with observed(runner):
            arguments = arguments_of(operands := self.before(*inputs))
            results = self.call(*operands)
        assert len(arguments) == len(operands)  # they live as long as where the call is taken at once
        return arguments_of(results), runner, run


def arguments_of(operands: Operands) -> list[Any]:
    return [x.value if isinstance(x, mt.Tensor) else x for x in operands]


def as_it_stands(runner: PythonRunner) -> dict[str, Any]:
    """How far a step has come; promises of what lives are told by what they promise."""
    live = {p.source.number: p for _, p in runner.log.live()}
    return {
        "path": [node.number for node in runner.path],
        "at": runner.at.number,
        "made": [(n, p.index, p.output, p.owner is runner.log, runner.made[n] is p) for n, p in live.items()],
        "bound": [x if x is None or isinstance(x, Value) else (type(x), x) for x in runner.bound],
        "sent": [x if x is None or isinstance(x, Value) else (type(x), x) for x in runner.sent],
        "phis": [None if output is None else output.number for output in runner.phis],
        "posted": {output.number for output in runner.posted},
        "symbols": runner.symbols,
        "attributes": runner.attributes,
    }


def described(values: list[Any]) -> list[Any]:
    return [(x.shape, x.dtype, x.array, x.owned, x.exported, x.pending.source.number) for x in values]


def fork(x: mt.Tensor, other: bool) -> mt.Tensor:
    return mt.exp(x) if other else mt.sin(x)


def read_twice(x: mt.Tensor, look: int) -> mt.Tensor:
    """What it makes first is read in two places, so that the graph delivers it at once."""
    y = mt.exp(x)
    z = mt.sin(y)
    if look == 1:
        float(y[0, 0])
    z = mt.abs(z)
    if look == 2:
        float(y[0, 0])
    return z


FIRST = Step(lambda x, y, k: (mt.exp(x), y, k), lambda a, y, k: (mt.tanh(a * y) + k,))
STEPS: dict[str, tuple[Step, list[tuple[Any, ...]], tuple[Any, ...]]] = {
    "a number": (FIRST, [(X, Y, 1.0), (X, Y, 2.0)], (X, Y, 4.0)),
    "a feed that was sent before": (
        Step(lambda x, y: (mt.exp(x), x, y), lambda a, x, y: (a * x, a - y)), [(X, Y)], (X, Y),
    ),
    "one feed for two arguments": (Step(lambda x, y: (x, y), lambda x, y: (x + y,)), [(X, X)], (X, X)),
    "several outputs": (
        Step(lambda x: (mt.exp(x),), lambda a: (mt.sin(a), mt.min(a, axis=0), mt.max(a, axis=0))), [(X,)], (X,),
    ),
    "a choice": (
        Step(lambda x, other: (fork(x, other), other), lambda a, _: (mt.abs(a),)), [(X, True), (X, False)], (X, True),
    ),
    "a choice inside": (
        Step(lambda x, other: (mt.exp(x), other), lambda a, other: (mt.abs(fork(a, other)),)),
        [(X, True), (X, False)],
        (Y, True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_call_taken_at_once_leaves_the_step_as_its_operations_do(name: str) -> None:
    step, calls, last = STEPS[name]
    walk = walk_of(step, *calls)
    segment = step.learn(walk, *calls[0])
    assert segment is not None
    for inputs in (calls[0], last):
        values, runner, run = step.take(walk, segment, *inputs)
        expected, other, told = step.go(walk, *inputs)
        assert values is not None
        assert described(values) == described(expected)
        assert as_it_stands(runner) == as_it_stands(other)
        assert sorted(map(repr, run.words)) == sorted(map(repr, told.words))


# --- what is learned --------------------------------------------------------------------------------------------

HELD: list[Any] = []  # what a program keeps
MEMORY = mt.asarray(np.ones((2, 3), np.float32), copy=False)


def held(x: mt.Tensor) -> mt.Tensor:
    HELD.append(x)
    return x


def of_two(x: mt.Tensor, y: mt.Tensor) -> Operands:
    return x, y


def one(x: mt.Tensor) -> Operands:
    return (mt.exp(x),)


def two(x: mt.Tensor) -> Operands:
    return mt.exp(x), mt.sin(x)


NOT_LEARNED: dict[str, Step] = {
    "nothing is done": Step(one, lambda a: ()),
    "contents are looked at": Step(one, lambda a: (mt.sin(a), X.tolist())[:1]),
    "an operation is left to Python": Step(one, lambda a: (mt.sin(a), mt.linalg.inv(ONE))[:1]),
    "something lives on": Step(one, lambda a: (mt.abs(held(mt.sin(a))),)),
    "one output is left twice": Step(one, lambda a: (mt.sin(a),) * 2),
    "what is left was made before": Step(one, lambda a: (mt.sin(a), a)),
    "what is left was not made in the step": Step(one, lambda a: (mt.sin(a), X)),
    "a tensor is no argument": Step(one, lambda a: (a * Z,)),
    "a number is no argument, and varies": Step(one, lambda a: (a * float(len(HELD)),)),
    "memory of others": Step(lambda x: (MEMORY,), lambda x: (mt.sin(x),)),
    "a feed of the step's own, made since": Step(lambda x: (x,), lambda x: (mt.sin(x), mt.abs(x + Y))),
    "one of two equal numbers varies": Step(lambda x: (x, 2.0, 2.0), lambda x, k, n: (x * k + n * len(HELD),)),
    "an operation can fail on what is made inside": Step(one, lambda a: (mt.take(a, mt.argmin(a, axis=1), axis=0),)),
}


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    HELD.clear()


def test_a_call_is_learned() -> None:
    step = Step(one, lambda a: (mt.sin(a),))
    assert step.learn(walk_of(step, (X,)), X) is not None


@pytest.mark.parametrize("why", NOT_LEARNED)
def test_a_call_is_not_learned_where(why: str) -> None:
    step = NOT_LEARNED[why]
    if "varies" in why:
        walk = walk_of(lambda x: [step(x), held(x)], (X,), (X,))
        HELD.clear()
    else:
        walk = walk_of(step, (X,), (X,))
    assert step.learn(walk, X) is None


def test_a_call_is_not_learned_where_the_graph_is_left() -> None:
    walk = walk_of(Step(one, lambda a: (mt.sin(mt.tanh(a)),)), (X,))
    for other in (lambda a: (mt.sin(mt.cos(a)),), lambda a: (mt.abs(mt.sin(mt.tanh(a))),)):
        assert Step(one, other).learn(walk, X) is None


def test_sizes_that_vary_are_learned_of_forms_that_have_sizes() -> None:
    step = Step(lambda x: (x,), lambda x: (mt.sin(x + 1.0),))
    walk = walk_of(step, *[(mt.ones((n, 3)),) for n in (2, 3, 4, 5)])
    x = mt.ones((7, 3))
    assert step.learn(walk, x) is None
    segment = step.learn(walk, x, form=Form(has_sizes=True))
    assert segment is not None
    (name,) = segment.binds
    assert segment.binds == {name: 7}
    values, runner, run = step.take(walk, segment, mt.ones((7, 3)))
    assert values is not None and values[0].shape == (7, 3) and runner.symbols == {name: 7}
    assert run.kinds() == ["bind", "feed"]


def test_attributes_that_hold_sizes_are_those_of_the_call() -> None:
    step = Step(lambda x: (mt.sin(mt.exp(x)),), lambda a: (mt.tanh(a) + mt.ones(a.shape),))
    walk = walk_of(step, *[(mt.ones((n, 3)),) for n in (2, 3, 4, 5)])
    x = mt.ones((7, 3))
    segment = step.learn(walk, x, form=Form(has_sizes=True))
    assert segment is not None and segment.binds == {}
    assert {offset: a["shape"] for offset, a in segment.attributes.items()} == {1: (7, 3)}
    values, runner, _ = step.take(walk, segment, x)
    assert values is not None and as_it_stands(runner) == as_it_stands(step.go(walk, x)[1])
    assert {index: a["shape"] for index, a in runner.attributes.items()} == {3: (7, 3)}


def test_a_feed_that_fails_leaves_the_graph_and_the_call_goes_on_one_by_one() -> None:
    step = Step(lambda x, y: (mt.exp(x), y), lambda a, y: (a * y,))
    walk = walk_of(step, (X, Y))
    segment = step.learn(walk, X, Y)
    assert segment is not None

    class Failing(Told):
        def feed_all(self, values: Any) -> None:
            raise OSError("planned")

    run = Failing()
    runner = PythonRunner(walk, run, sys._getframe())
    with observed(runner):
        arguments = arguments_of(step.before(X, Z))
        assert segment.admits(runner, arguments) and segment.take(runner, arguments) is None
    assert runner.recorder is not None and runner.reason is not None and len(runner.path) == 1
    assert runner.reason.startswith("a feed failed (OSError: planned) at ")


# --- which calls are taken --------------------------------------------------------------------------------------

CALLS: dict[str, tuple[Step, list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {
    # calls that were recorded, the first of them learned; later ones that may be taken at once; those that may not
    "a number that varies": (
        Step(lambda x, k: (mt.exp(x), k), lambda a, k: (a * k,)),
        [(X, 1.0), (X, 2.0)],
        [(X, 1.0), (X, 4.0), (Y, -0.0)],
        [(X, 1), (X, True)],
    ),
    "a number that does not": (
        Step(lambda x, k: (mt.exp(x), k), lambda a, k: (a * k,)), [(X, 0.0)], [(Y, 0.0)], [(X, -0.0), (X, 0), (X, 1.0)],
    ),
    "a number that is also one of the graph's": (
        Step(lambda x, k: (mt.exp(x), k), lambda a, k: (a * k + 1.0,)), [(X, 1.0), (X, 2.0)], [(X, 1.0)], [(X, 4.0)],
    ),
    "two numbers": (
        Step(lambda x, k, n: (mt.exp(x), k, n), lambda a, k, n: (a * k + n,)),
        [(X, 2.0, 5.0), (X, 3.0, 4.0)],
        [(X, 5.0, 2.0), (X, 2.0, 2.0)],
        [(X, 2, 5.0), (X, 2.0, 5)],
    ),
    "what the step made": (
        Step(lambda x, swap: two(x)[::-1] if swap else two(x), lambda a, b: (a - b,)), [(X, False)], [(Y, False)],
        [(X, True)],
    ),
    "something else for what the step made": (
        Step(lambda x, other: (mt.exp(x) if other is None else other,), lambda a: (mt.sin(a),)),
        [(X, None)],
        [(Y, None)],
        [(X, Y), (X, 2.0)],
    ),
    "what was fed before": (
        Step(lambda x, y: (mt.exp(x), y), lambda a, x: (a * x,)), [(X, X)], [(Y, Y)], [(X, Y)],
    ),
    "what is fed first": (
        Step(lambda x, y: (mt.exp(x), y), lambda a, y: (a * y,)),
        [(X, Y)],
        [(X, Z), (Z, Y)],
        [(X, mt.ones((1, 3))), (X, mt.astype(Y, mt.float64)), (X, MEMORY), (X, 2.0)],
    ),
    "one feed for two": (
        Step(lambda x, y, z: (mt.exp(x), y, z), lambda a, y, z: (a * (y + z),)), [(X, Y, Y)], [(X, Z, Z)], [(X, Y, Z)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_which_calls_are_taken_at_once(name: str) -> None:
    step, recorded, taken, others = CALLS[name]
    walk = walk_of(step, *recorded)
    segment = step.learn(walk, *recorded[0])
    assert segment is not None
    for inputs in [recorded[0], *taken]:
        values, runner, _ = step.take(walk, segment, *inputs)
        assert values is not None, inputs
        assert as_it_stands(runner) == as_it_stands(step.go(walk, *inputs)[1])
    for inputs in others:
        assert step.take(walk, segment, *inputs)[0] is None, inputs


def test_what_this_path_has_fed_before_is_no_feed_of_the_call() -> None:
    """Where other paths have not, the operation feeds it if it must."""
    step = Step(lambda x, y, use: (mt.exp(x) * y if use else mt.sin(x), y), lambda a, y: (mt.abs(a) - y,))
    walk = walk_of(step, (X, Y, True), (X, Y, False))
    segments = {use: step.learn(walk, X, Y, use) for use in (True, False)}
    for use, segment in segments.items():
        assert segment is not None and len(segment.feeds) == len(segment.sends) == (not use)
        values, runner, _ = step.take(walk, segment, X, Z, use)
        assert values is not None and as_it_stands(runner) == as_it_stands(step.go(walk, X, Z, use)[1])


# --- numbers that rules only pass on, and those that they compute ------------------------------------------------


def scaled(k: float, other: bool = False) -> tuple[Step, Walk, tuple[Any, ...]]:
    """A call whose number varies: it passes it on, or computes another from it."""
    step = Step(lambda x, k: (mt.exp(x), k), lambda a, k: (a * (2.0 * k if other else k),))
    return step, walk_of(step, (X, 1.5), (X, 2.5)), (X, k)


def test_the_very_number_that_was_passed_on_may_be_another_the_next_time() -> None:
    step, walk, inputs = scaled(3.5)
    segment = step.learn(walk, *inputs, form=Form(numbers_vary=False, passed={1}))
    assert segment is not None and segment.computed == ()
    values, runner, _ = step.take(walk, segment, X, 7.5)
    assert values is not None and runner.bound[-1] == 7.5
    assert step.take(walk, segment, X, 7)[0] is None


def test_a_number_that_is_not_passed_on_is_taken_for_one_that_the_call_computes() -> None:
    """Whoever learns it holds later calls against its numbers (`BackwardForm.key`)."""
    step, walk, inputs = scaled(3.5, other=True)
    for form in (Form(numbers_vary=False, passed={1}), Form(numbers_vary=False)):
        segment = step.learn(walk, *inputs, form=form)
        assert segment is not None and segment.computed == (7.0,)
        values, runner, _ = step.take(walk, segment, *inputs)
        assert values is not None and runner.bound[-1] == 7.0
    step, walk, inputs = scaled(3.5)
    segment = step.learn(walk, *inputs, form=Form(numbers_vary=False))  # passed on, but nothing says so
    assert segment is not None and segment.computed == (3.5,)
    assert step.take(walk, segment, X, 7.5)[0] is None


def test_several_numbers_that_the_call_computes_are_sent_each_to_its_own_feed() -> None:
    step = Step(lambda x, k: (mt.exp(x), k), lambda a, k: ((a * (2.0 * k) + 3.0 * k) / (5.0 * k),))
    walk = walk_of(step, (X, 1.5), (X, 2.5))
    segment = step.learn(walk, X, 3.5, form=Form(numbers_vary=False))
    assert segment is not None and segment.computed == (7.0, 10.5, 17.5)
    values, runner, _ = step.take(walk, segment, X, 3.5)
    assert values is not None and as_it_stands(runner) == as_it_stands(step.go(walk, X, 3.5)[1])


def test_one_number_for_two_arguments_is_not_known_to_be_passed_on() -> None:
    step = Step(lambda x, k: (mt.exp(x), k, k), lambda a, k, n: (a * k + n,))
    walk = walk_of(step, (X, 1.5), (X, 2.5))
    segment = step.learn(walk, X, 3.5, form=Form(numbers_vary=False, passed={1, 2}))
    assert segment is not None and segment.computed == (3.5, 3.5)
    assert step.take(walk, segment, X, 7.5)[0] is None


def test_an_int_is_not_passed_on() -> None:
    step = Step(lambda x, k: (mt.exp(x), k), lambda a, k: (a * k,))
    walk = walk_of(step, (X, 1), (X, 2))
    segment = step.learn(walk, X, 3, form=Form(numbers_vary=False, passed={1}))
    assert segment is not None and segment.computed == (3,)
    assert step.take(walk, segment, X, 4)[0] is None


# --- operands with several producers ------------------------------------------------------------------------------


def one_of_two(x: mt.Tensor, y: mt.Tensor, computed: bool, used: bool) -> Operands:
    a = mt.exp(x)
    b = mt.sin(a) if computed else a
    z = y * 2.0
    return (b if used else a), z


def test_what_was_computed_last_before_a_call_has_to_be_what_it_was() -> None:
    """The graph reads that, whatever the call's own operand is."""
    step = Step(one_of_two, lambda a, z: (mt.abs(a),))
    walk = walk_of(step, (X, Y, True, True), (X, Y, False, False))
    segment = step.learn(walk, X, Y, False, False)
    assert segment is not None
    assert [output for _, output in segment.selected] == [walk.start.children[0].outputs[0]]
    assert step.take(walk, segment, X, Y, False, False)[0] is not None
    assert step.take(walk, segment, X, Y, True, False)[0] is None


def test_what_a_call_computes_itself_need_not_be_selected_before() -> None:
    def call(x: mt.Tensor, other: bool) -> Operands:
        a = mt.exp(x)
        return (mt.abs(mt.sin(a) if other else a),)

    step = Step(lambda x, other: (mt.tanh(x), other), call)
    walk = walk_of(step, (X, True), (X, False))
    for other in (True, False):
        segment = step.learn(walk, X, other)
        assert segment is not None and segment.selects and not segment.selected


# --- what can fail, and what decides ------------------------------------------------------------------------------


def chosen(values: mt.Tensor, labels: mt.Tensor) -> Operands:
    return (mt.take(mt.abs(values), labels, axis=0),)


LOOKED_UP = Step(lambda x, labels: (mt.exp(x), labels), lambda a, labels: chosen(a, labels))


@pytest.mark.parametrize("labels", [[0, 1], [1, 1], [-2, 1]])
def test_contents_that_an_operation_can_use_are_looked_at_before_it_is_taken(labels: list[int]) -> None:
    walk = walk_of(LOOKED_UP, (X, LABELS))
    segment = LOOKED_UP.learn(walk, X, LABELS)
    assert segment is not None
    (check,) = segment.checks
    assert check.contents == ((1, 1),) and check.attributes == segment.nodes[1].attributes
    assert [(type(x), x.shape, x.dtype) for x in check.operands] == [
        (np.ndarray, (2, 3), np.float32), (np.ndarray, (2,), np.int64),
    ]  # fmt: skip
    assert LOOKED_UP.take(walk, segment, X, mt.asarray(labels))[0] is not None


@pytest.mark.parametrize("labels", [[0, 2], [-3, 0]])
def test_contents_that_an_operation_fails_on_are_left_to_it(labels: list[int]) -> None:
    walk = walk_of(LOOKED_UP, (X, LABELS))
    segment = LOOKED_UP.learn(walk, X, LABELS)
    assert segment is not None
    values, runner, run = LOOKED_UP.take(walk, segment, X, mt.asarray(labels))
    assert values is None and run.kinds() == ["feed"]  # of what stands before the call
    assert len(runner.path) == 1 and runner.recorder is None


def test_labels_that_the_step_made_are_looked_at_if_the_graph_delivers_them() -> None:
    def before(x: mt.Tensor, look: int) -> Operands:
        labels = mt.argmin(mt.exp(x), axis=1)
        if look:
            labels.tolist()
        return x, labels

    step = Step(before, lambda x, labels: (mt.take(x, labels, axis=0),))
    walk = walk_of(step, (X, 1))
    made = walk.start.children[0].children[0].outputs[0].output
    for delivered, expected in (([0, 0], True), ([0, 2], False)):
        runner, run = begin(walk)
        run.contents[made] = np.array([0, 0])
        with observed(runner):
            operands = before(X, 0)
            draft = Draft(runner, Form(), arguments_of(operands), lambda _: None)
            results = step.call(*operands)
        segment = draft.segment(runner, arguments_of(results), (0,))
        assert segment is not None
        runner, run = begin(walk)
        run.contents[made] = np.array(delivered)
        with observed(runner):
            arguments = arguments_of(before(X, 0))
        assert segment.admits(runner, arguments)
        assert (segment.take(runner, arguments) is not None) == expected


def test_labels_that_the_graph_does_not_deliver_are_not_looked_at_before_their_operation() -> None:
    step = Step(lambda x: (x, mt.argmin(mt.exp(x), axis=1)), lambda x, labels: (mt.take(x, labels, axis=0),))
    walk = walk_of(step, (X,))
    made = walk.start.children[0].children[0].outputs[0]
    segment = None
    for delivered in (None, True, False, "failed"):  # at first it is learned
        runner, run = begin(walk)
        run.contents[made.output] = np.array([0, 0])
        with observed(runner):
            arguments = arguments_of(operands := step.before(X))
            if segment is None:
                draft = Draft(runner, Form(), arguments, NOT_LEARNED.get)
                segment = draft.segment(runner, arguments_of(step.call(*operands)), (0,))
                continue
        assert made in runner.posted and segment.admits(runner, arguments)
        if not delivered:
            runner.posted.clear()
        elif delivered == "failed":
            run.contents.clear()
        assert (segment.take(runner, arguments) is not None) == (delivered is True)
        assert ("fetch" in run.kinds()) == bool(delivered)
        assert (runner.recorder is not None) == (delivered == "failed")


def alike(x: mt.Tensor, k: float, first: bool, act: Callable[[list[Any]], Any], here: bool = True) -> tuple[Any, Any]:
    """Which of two ways a step with the number 3 goes shows only in the place of its operations."""
    a = mt.exp(x)
    if here:
        found = act([a.value, k])
    else:
        found = act([a.value, k])
    if first:
        b = a * k
        return found, mt.tanh(b)
    b = a * k
    return found, mt.abs(b)


def test_where_places_decided_a_call_is_taken_at_its_own_place_only() -> None:
    walk = walk_of(alike, (X, 1.0, True, len), (X, 3.0, False, len), (X, 2.0, True, len))
    choices = set()
    for first, learned in ((True, True), (True, False), (False, True)):
        runner, _ = begin(walk)
        with observed(runner):
            draft, result = alike(X, 3.0, first, partial(Draft, runner, Form(), learn=NOT_LEARNED.get), learned)
        assert runner.located == {1}
        segment = draft.segment(runner, [result.value], (0,))
        assert segment is not None and segment.location
        choices.add(segment.choices)
        for here in (True, False):
            runner, _ = begin(walk)
            with observed(runner):
                assert alike(X, 3.0, first, partial(segment.admits, runner), here)[0] == (here == learned)
    assert len(choices) == 2


def two_ways(a: mt.Tensor, k: float, first: bool) -> Operands:
    if first:
        b = a * k
        return (mt.tanh(b),)
    b = a * k
    return (mt.abs(b),)


def test_a_number_that_decided_may_be_no_other_the_next_time() -> None:
    """With 3 the operation would be one of two, and only its place would tell."""
    step = Step(lambda x, k, first: (mt.exp(x), k, first), two_ways)
    walk = walk_of(step, (X, 1.0, True), (X, 3.0, False), (X, 2.0, True))
    assert step.learn(walk, X, 5.0, True) is None  # any number would do
    for passed in (set[int](), {1}):
        segment = step.learn(walk, X, 5.0, True, form=Form(numbers_vary=False, passed=passed))
        assert segment is not None and segment.location is None and segment.computed == (5.0,)
        assert step.take(walk, segment, X, 5.0, True)[0] is not None
        assert step.take(walk, segment, X, 3.0, True)[0] is None
    for form in (Form(), Form(numbers_vary=False)):
        assert step.learn(walk, X, 3.0, True, form=form) is None  # not at the place that was recorded


def test_what_is_decided_without_a_place_is_taken_at_any_place() -> None:
    step = Step(lambda x: (mt.exp(x),), lambda a: (mt.sin(a),))
    segment = step.learn(walk_of(step, (X,)), X)
    assert segment is not None and segment.location is None and segment.choices == ()
    step = Step(lambda x, other: (mt.exp(x), other), lambda a, other: (fork(a, other),))
    walk = walk_of(step, (X, True), (X, False))
    for other in (True, False):
        segment = step.learn(walk, X, other)
        assert segment is not None and segment.location is None
        (choice,) = segment.choices
        node = walk.start.children[0]
        assert choice == (node.case, node.children.index(segment.nodes[0]))
