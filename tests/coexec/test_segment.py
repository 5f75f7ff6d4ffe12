"""Segments and drafts: which calls are learned, which later ones are taken at once, and what the graph is told of them.

That a step is the same either way is held by properties in `test_macros.py`; here it is what is learned and what not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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

X = mt.reshape(mt.arange(6.0), (2, 3))
Y = X + 1.0
Z = X + 2.0
LABELS = mt.asarray([1, 0])
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
    "contents are looked at": Step(one, lambda a: (a * float(mt.sin(a)[0, 0]),)),
    "an operation is left to Python": Step(one, lambda a: (mt.sin(a), mt.linalg.inv(mt.ones((1, 1))))),
    "something lives on": Step(one, lambda a: (mt.abs(held(mt.sin(a))),)),
    "one output is left twice": Step(one, lambda a: (mt.sin(a),) * 2),
    "what is left was made before": Step(one, lambda a: (mt.sin(a), a)),
    "what is left was not made in the step": Step(one, lambda a: (mt.sin(a), X)),
    "a tensor is no argument": Step(one, lambda a: (a * Z,)),
    "a number is no argument, and varies": Step(one, lambda a: (a * float(len(HELD)),)),
    "memory of others": Step(lambda x: (MEMORY,), lambda x: (mt.sin(x),)),
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
        Step(lambda x, y: (mt.exp(x), y, y), lambda a, x, y: (a * (x + y),)), [(X, Y)], [(Y, Z)], [],
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
