"""Planned trouble: a step leaves its graph at a chosen point, the two runners meet in any order.

In: a co-executed step.  Out: context managers.
Invariant: the program notices nothing but the time: that is what they are for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import sleep
from types import FrameType
from typing import Any, Literal

from coexec.api import Step
from coexec.build import Program
from coexec.graph_side.reference_runner import ReferenceRun
from coexec.graph_side.runner_protocol import GraphRun
from coexec.python_side.python_runner import PythonRunner
from coexec.session import RunnerFactory, make_runner
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

Delay = Callable[[], float]  # seconds


class _Diverging(PythonRunner):
    """Leaves the graph at one operation, or at one read, as if the graph had not had it."""

    __slots__ = ("at_operation", "at_read", "reads_seen")

    def __init__(
        self, program: Program, run: GraphRun, root: FrameType, at_operation: int | None, at_read: int | None
    ) -> None:
        super().__init__(program.walk, run, root)
        self.at_operation = at_operation
        self.at_read = at_read
        self.reads_seen = 0

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        if self.at_operation == len(self.path):
            return self.leave(f"a planned divergence at operation {self.at_operation}").execute(op, inputs, attributes)
        return super().execute(op, inputs, attributes)

    def may_take(self, operations: int) -> bool:
        before = len(self.path)
        return self.at_operation is None or not before <= self.at_operation < before + operations

    def look(self, value: Value) -> None:
        self.reads_seen += 1
        if self.at_read == self.reads_seen - 1:
            self.leave(f"a planned divergence at read {self.at_read}").look(value)
        else:
            super().look(value)


@contextmanager
def forced_divergence(step: Step[..., Any], *, operation: int | None = None, read: int | None = None) -> Iterator[None]:
    """Inside, every co-executed call of `step` leaves the graph at that operation or read (counted from 0)."""

    def make(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
        return _Diverging(program, run, root, operation, read)

    with _runner_of(step, make):
        yield


class _Delayed(PythonRunner):
    """Sleeps before each operation."""

    __slots__ = ("delay",)

    def __init__(self, program: Program, run: GraphRun, root: FrameType, delay: Delay) -> None:
        super().__init__(program.walk, run, root)
        self.delay = delay

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        if (seconds := self.delay()) > 0:  # even sleep(0) gives the processor away
            sleep(seconds)
        return super().execute(op, inputs, attributes)


@contextmanager
def delayed_python(step: Step[..., Any], delay: Delay) -> Iterator[None]:
    """Inside, Python sleeps `delay()` seconds before each validated operation of `step`."""

    def make(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
        return _Delayed(program, run, root, delay)

    with _runner_of(step, make):
        yield


@contextmanager
def delayed_graph(step: Step[..., Any], delay: Delay) -> Iterator[None]:
    """Inside, the graph's thread sleeps `delay()` seconds before each operation of `step`.

    Raises ValueError under the native runner, whose thread executes no Python: `coexec.config.runner = "reference"`.
    """

    def make(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
        if not isinstance(run, ReferenceRun):
            raise ValueError('a native graph cannot be delayed: set coexec.config.runner = "reference"')
        run.delay = delay
        return make_runner(program, run, root)

    with _runner_of(step, make):
        yield


class _Stepwise(PythonRunner):
    """Takes no macro operation: the reference beside them."""

    __slots__ = ()

    def may_take(self, operations: int) -> bool:
        return False


@contextmanager
def operation_by_operation(step: Step[..., Any]) -> Iterator[None]:
    """Inside, every operation of `step` is validated by itself, those of `backward()` and `optimizer.step()` too."""
    with _runner_of(step, lambda program, run, root: _Stepwise(program.walk, run, root)):
        yield


class LeaveEverywhere:
    """Trouble for `assert_equivalent`: every second co-executed step leaves the graph, one place further each time.

    kind: "operation" or "read".  `left` counts the steps that did; behind the last place it begins again.
    """

    def __init__(self, kind: Literal["operation", "read"] = "operation") -> None:
        self.kind = kind
        self.left = 0
        self._next = 0
        self._quiet = False

    @contextmanager
    def __call__(self, step: Step[..., Any], number: int) -> Iterator[None]:
        self._quiet = not self._quiet or step.report().phase != "coexecute"
        if self._quiet:
            yield
            return
        before, place = step.report().fallbacks, {self.kind: self._next}
        with forced_divergence(step, **place):
            yield
        left = step.report().fallbacks > before
        self.left += left
        self._next = self._next + 1 if left else 0


class RandomDelays:
    """Trouble for `assert_equivalent`: both runners sleep up to `most` seconds before operations, one in four.

    A native graph cannot be delayed: there, Python is alone.
    """

    def __init__(self, most: float = 4e-4, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._most = most

    def _delay(self) -> float:
        return self._rng.random() * self._most if self._rng.random() < 0.25 else 0.0

    def __call__(self, step: Step[..., Any], number: int) -> AbstractContextManager[None]:
        def make(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
            if isinstance(run, ReferenceRun):
                run.delay = self._delay
            return _Delayed(program, run, root, self._delay)

        return _runner_of(step, make)


@contextmanager
def _runner_of(step: Step[..., Any], make: RunnerFactory) -> Iterator[None]:
    step.session.make_runner = make
    try:
        yield
    finally:
        step.session.make_runner = make_runner
