"""Several co-executed steps in one program, which share parameters, hand each other values that nobody has read, and
are switched, reset and called by each other: the program as a whole is what it is eagerly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from programs import data, parameter

import coexec
import minitensor as mt
from coexec.reports.report import Report
from coexec.testing import assert_equivalent
from minitensor.optim import SGD, Adam


class Driver:
    """A plain function that calls co-executed steps; its report is that of one of them."""

    def __init__(self, function: Any) -> None:
        self.__wrapped__ = function
        self.report: Callable[[], Report] = function.steps[0].report

    def __call__(self, number: int) -> Any:
        return self.__wrapped__(number)


@pytest.fixture(autouse=True, params=["reference", "native"])
def _runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", request.param)


def driving(*steps: Any) -> Callable[[Any], Any]:
    def mark(function: Any) -> Any:
        function.steps = steps
        return function

    return mark


def training_and_evaluation() -> Any:
    w = parameter(3)
    optimiser = SGD([w], lr=0.5)

    @coexec.coexecute
    def train(x: Any) -> Any:
        optimiser.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimiser.step()
        return loss.detach()

    @coexec.coexecute
    def evaluate(x: Any) -> float:
        with mt.no_grad():
            return float((w * x).sum())

    @driving(train, evaluate)
    def program(i: int) -> Any:
        loss = train(data(3, offset=i))
        if i % 4 == 3:
            w.value = data(3, offset=i).value
        return loss, evaluate(data(3, offset=i + 1)), evaluate(data(3)) if i % 3 == 0 else None

    return program


def values_handed_on_unread() -> Any:
    """Each step's graph waits for the other's; now and then the value is dropped, or read by Python in between."""
    state = [data(3)]

    @coexec.coexecute
    def forth(x: Any, y: Any) -> Any:
        return mt.clip(x * 0.5 + y, -8.0, 8.0), x * y

    @coexec.coexecute
    def back(x: Any, y: Any) -> Any:
        return x - y * 0.5

    @driving(forth, back)
    def program(i: int) -> Any:
        x, product = forth(state[0], data(3, offset=i))
        if i % 5 == 4:
            del product
            product = x * 2.0  # outside all steps, from a value that is not there yet
        seen = float(x.sum()) if i % 3 == 1 else None
        state[0] = back(x, product)
        return seen

    return program


def one_tape_through_three_steps() -> Any:
    w = parameter(3)
    optimiser = Adam([w], lr=0.5)

    @coexec.coexecute
    def forward(x: Any) -> Any:
        return (w * w * x).sum()

    @coexec.coexecute
    def backward(loss: Any) -> None:
        optimiser.zero_grad()
        loss.backward()

    @coexec.coexecute
    def update() -> Any:
        optimiser.step()
        return w.detach()

    @driving(forward, backward, update)
    def program(i: int) -> Any:
        loss = forward(data(3, offset=i))
        backward(loss)
        return update()

    return program


def steps_that_call_each_other() -> Any:
    """A step inside a step is a part of it, in whatever phase the outer one is; also its own recursion."""

    @coexec.coexecute
    def halve(x: Any, depth: int) -> Any:
        return x if depth == 0 else halve(x * 0.5, depth - 1)

    @coexec.coexecute
    def outer(x: Any, i: int) -> Any:
        return halve(x, i % 3) + 1.0

    @driving(outer, halve)
    def program(i: int) -> Any:
        return outer(data(2, offset=i), i), halve(data(2), 2)

    return program


def switched_and_reset() -> Any:
    total = [data(2)]

    @coexec.coexecute
    def step(x: Any) -> Any:
        total[0] = mt.clip(total[0] * -0.5 + x, -8.0, 8.0)
        return total[0] * 2.0

    @driving(step)
    def program(i: int) -> Any:
        before = coexec.config.mode
        if before != "eager":
            coexec.config.mode = {7: "eager", 9: "trace", 12: "lazy", 13: "lazy"}.get(i, "coexec")
        try:
            result = step(data(2, offset=i))
        finally:
            coexec.config.mode = before
        if i == 16:
            step.reset()
        return result

    return program


def generators_between_steps() -> Any:
    """A generator that one step starts and the other goes on with."""

    def numbers(x: Any) -> Iterator[Any]:
        while True:
            x = mt.clip(x + x, -8.0, 8.0) - 1.0
            yield x

    running: list[Any] = []

    @coexec.coexecute
    def begin(x: Any) -> Any:
        running[:] = [numbers(x)]
        return next(running[0])

    @coexec.coexecute
    def go_on() -> Any:
        return next(running[0]) * 0.5

    @driving(go_on, begin)
    def program(i: int) -> Any:
        return begin(data(2, offset=i)) if i % 3 == 0 else None, go_on()

    return program


@pytest.mark.parametrize(
    "make",
    [
        training_and_evaluation,
        values_handed_on_unread,
        one_tape_through_three_steps,
        steps_that_call_each_other,
        switched_and_reset,
        generators_between_steps,
    ],
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("lag", [0, 2])
def test_steps_together_are_eager_execution(make: Any, lag: int) -> None:
    assert_equivalent(make, steps=32, lag=lag, wrap=Driver, coexecuted=8)
