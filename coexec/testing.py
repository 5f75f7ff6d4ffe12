"""Testing co-execution: the same program eagerly and co-executed, with planned divergences and delays.

In: a program, as a function that makes a step with fresh state.  Out: nothing, or an AssertionError that says
which step saw what.
Invariant: `assert_equivalent` compares everything the step lets see (results, exceptions, final state), bit by bit
unless a comparison is given, and fails where co-execution did not really run.

    def make():
        w = mt.ones((3,))
        def step(i):
            ...
        return step

    assert_equivalent(make, steps=20)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import sleep
from types import FrameType
from typing import Any

import numpy as np

from coexec.api import Step, coexecute
from coexec.build import Program
from coexec.imperative import ImperativeProgram, imperative_programs
from coexec.python_runner import PythonRunner
from coexec.report import Report
from coexec.runner_protocol import GraphRun
from coexec.session import RunnerFactory, make_runner, wait
from minitensor import random as tensor_random
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor
from minitensor.value import Value

__all__ = [
    "ImperativeProgram",
    "Observation",
    "assert_equivalent",
    "assert_same",
    "delayed_python",
    "forced_divergence",
    "imperative_programs",
    "observe",
]

MakeStep = Callable[[], Callable[[int], Any]]  # fresh state and a step that takes the number of the step
Compare = Callable[[Any, Any, str], None]  # (eager, co-executed, what): raises AssertionError


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call of a step let see: its result, or the class and text of its exception; random state after it."""

    result: Any
    error: tuple[type[BaseException], str] | None
    random_state: tuple[int, int]


def observe(step: Callable[[int], Any], number: int) -> Observation:
    """Calls a step once; tensors in its result become arrays."""
    result, error = None, None
    try:
        result = _arrays(step(number))
    except Exception as raised:  # an exception is a result like any other here
        error = (type(raised), str(raised))
    return Observation(result, error, tensor_random.get_state())


def assert_equivalent(
    make: MakeStep,
    steps: int = 12,
    *,
    compare: Compare | None = None,
    coexecuted: int | None = None,
    fallbacks: int | None = None,
    seed: int = 0,
    wrap: Callable[[Callable[[int], Any]], Step[..., Any]] = coexecute,
) -> Report:
    """Runs a program eagerly and co-executed from the same state, and compares every step.

    Args:
        make: returns a step with fresh state.  steps: how many calls.
        compare: of two results; bit by bit if None.
        coexecuted: how many steps must have ended in the graph; half of them if None.
        fallbacks: how many are allowed; any number if None.
        seed: of `mt.random` before each of the two runs.
        wrap: how the step is co-executed.

    Raises AssertionError.  Returns the report of the co-executed run.
    """
    compare = compare or assert_same
    tensor_random.seed(seed)
    plain = make()
    expected = [observe(plain, number) for number in range(steps)]
    tensor_random.seed(seed)
    step = wrap(make())
    for number in range(steps):
        seen = observe(step, number)
        wait()
        what = f"step {number}"
        if seen.error != expected[number].error:
            raise AssertionError(f"{what}: raised {seen.error}, eagerly {expected[number].error}")
        compare(expected[number].result, seen.result, what)
        compare(expected[number].random_state, seen.random_state, f"{what}, random state")
    report = step.report()
    least = steps // 2 if coexecuted is None else coexecuted
    if report.coexecuted_steps < least:
        raise AssertionError(f"only {report.coexecuted_steps} of {steps} steps were co-executed\n{report}")
    if fallbacks is not None and report.fallbacks > fallbacks:
        raise AssertionError(f"{report.fallbacks} fallbacks, at most {fallbacks} expected\n{report}")
    return report


def assert_same(expected: Any, seen: Any, what: str) -> None:
    """Equal structure, types, dtypes, shapes and bits (any NaN equals any NaN).

    >>> assert_same([1.0, (2, "a")], [1.0, (2, "a")], "result")

    Raises AssertionError naming the place.
    """
    if type(expected) is not type(seen):
        raise AssertionError(f"{what}: {type(seen).__name__}, eagerly {type(expected).__name__}")
    if isinstance(expected, np.ndarray):
        _assert_same_array(expected, seen, what)
    elif isinstance(expected, dict):
        assert_same(list(expected), list(seen), f"{what}, keys")
        for key in expected:
            assert_same(expected[key], seen[key], f"{what}[{key!r}]")
    elif isinstance(expected, list | tuple):
        if len(expected) != len(seen):
            raise AssertionError(f"{what}: {len(seen)} parts, eagerly {len(expected)}")
        for i, (left, right) in enumerate(zip(expected, seen, strict=True)):
            assert_same(left, right, f"{what}[{i}]")
    elif repr(expected) != repr(seen):
        raise AssertionError(f"{what}: {seen!r}, eagerly {expected!r}")


def _assert_same_array(expected: Any, seen: Any, what: str) -> None:
    if (expected.dtype, expected.shape) != (seen.dtype, seen.shape):
        raise AssertionError(f"{what}: {seen.dtype}{seen.shape}, eagerly {expected.dtype}{expected.shape}")
    nan = np.isnan(expected) if expected.dtype.kind in "fc" else np.zeros(expected.shape, bool)
    raw = [np.ascontiguousarray(np.where(nan, 0, a).astype(a.dtype)).tobytes() for a in (expected, seen)]
    same_nan = expected.dtype.kind not in "fc" or bool((np.isnan(seen) == nan).all())
    if raw[0] != raw[1] or not same_nan:
        raise AssertionError(f"{what}: {seen}, eagerly {expected}")


def _arrays(x: Any) -> Any:
    """The structure with every tensor as an array of its own."""
    if isinstance(x, Tensor):
        promised = (x.shape, x.dtype)
        array = np.array(x.detach().numpy())
        if promised != (array.shape, array.dtype):
            raise AssertionError(f"a tensor promised as {promised} has {(array.shape, array.dtype)}")
        return array
    if isinstance(x, dict):
        return {key: _arrays(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)([_arrays(value) for value in x])
    return x


# --- planned trouble ------------------------------------------------------------------------------------


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

    def on_read(self, value: Value) -> None:
        self.reads_seen += 1
        if self.at_read == self.reads_seen - 1:
            self.leave(f"a planned divergence at read {self.at_read}").on_read(value)
        else:
            super().on_read(value)


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

    def __init__(self, program: Program, run: GraphRun, root: FrameType, delay: Callable[[], float]) -> None:
        super().__init__(program.walk, run, root)
        self.delay = delay

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        sleep(self.delay())
        return super().execute(op, inputs, attributes)


@contextmanager
def delayed_python(step: Step[..., Any], delay: Callable[[], float]) -> Iterator[None]:
    """Inside, Python sleeps `delay()` seconds before each validated operation of `step`."""

    def make(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
        return _Delayed(program, run, root, delay)

    with _runner_of(step, make):
        yield


@contextmanager
def _runner_of(step: Step[..., Any], make: RunnerFactory) -> Iterator[None]:
    step.session.make_runner = make
    try:
        yield
    finally:
        step.session.make_runner = make_runner
