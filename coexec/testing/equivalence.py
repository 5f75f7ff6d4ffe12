"""`assert_equivalent`: a program eagerly and co-executed, from equal states, compared step by step.

In: a function that makes a step with fresh state.  Out: the report of the co-executed run, or a `NotEquivalent`.
Invariant: everything the step lets see is compared, and co-execution that did not really run is a failure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from coexec.api import Step, coexecute
from coexec.report import Report
from coexec.session import wait
from coexec.testing.comparison import Compare, NotEquivalent, assert_same
from coexec.testing.observation import MakeStep, Observation, call, program_state, seed_all, settle
from minitensor import random as tensor_random

Trouble = Callable[[Step[..., Any], int], AbstractContextManager[object]]  # (step, number): around one call
Wrap = Callable[[Callable[[int], Any]], Step[..., Any]]


def _no_trouble(number: int) -> AbstractContextManager[object]:
    return nullcontext()


def assert_equivalent(
    make: MakeStep,
    steps: int = 12,
    *,
    compare: Compare | None = None,
    coexecuted: int | None = None,
    fallbacks: int | None = None,
    graphs: int | None = None,
    lag: int = 0,
    seed: int = 0,
    trouble: Trouble | None = None,
    wrap: Wrap = coexecute,
) -> Report:
    """Runs a program eagerly and co-executed from the same state, and compares every step.

    Compared are the result, the exception, what was printed, the states of `mt.random`, `random` and
    `numpy.random`, and all state that the step can reach (`program_state`): parameters, optimisers, Python objects.

    Args:
        make: returns a step with fresh state.  steps: how many calls.
        compare: of two arrays or objects; bit by bit if None.
        coexecuted: how many steps must have ended in the graph; half of them if None.
        fallbacks, graphs: how many fallbacks and built graphs are allowed; any number if None.
        lag: results are read that many steps later, and state only at the end, so that steps overlap.
        seed: of the three generators before each of the two runs; afterwards they are as they were.
        trouble: planned trouble around every co-executed call: `LeaveEverywhere()`, `RandomDelays()` or another.
        wrap: how the step is co-executed.

    Raises NotEquivalent (an AssertionError) with the first difference; AssertionError where the counts are not met.

    >>> import minitensor as mt
    >>> def make():
    ...     total = mt.zeros((2,))
    ...     def step(i):
    ...         nonlocal total
    ...         total = total + float(i % 4)
    ...         print("step", i)
    ...         return total
    ...     return step
    >>> assert_equivalent(make, steps=8, fallbacks=0).coexecuted_steps >= 4
    True
    """
    compare = compare or assert_same
    with _generators_kept():
        seed_all(seed)  # `make` may draw too
        expected = list(run(make(), steps, lag, seed))
        seed_all(seed)
        step = wrap(make())
        seen = run(step, steps, lag, seed, partial(trouble, step) if trouble is not None else _no_trouble)
        for left, right in zip(expected, seen, strict=True):
            _compare(left, right, compare)
    report = step.report()
    check_counts(report, steps // 2 if coexecuted is None else coexecuted, fallbacks, graphs)
    return report


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look at the program showed: `exact` are texts and states, `values` what `compare` is asked about."""

    what: str
    exact: dict[str, Any]
    values: dict[str, Any]


def run(
    step: Callable[[int], Any],
    steps: int,
    lag: int = 0,
    seed: int = 0,
    around: Callable[[int], AbstractContextManager[object]] = _no_trouble,
) -> Iterator[Snapshot]:
    """Runs a program and yields what it lets see; waits for the compiler after each step."""
    waiting: list[tuple[int, Observation]] = []
    seed_all(seed)
    for number in range(steps):
        with around(number):
            seen = call(step, number)
        wait()
        waiting.append((number, seen))
        while waiting and (len(waiting) > lag or number == steps - 1):
            yield _shown(*waiting.pop(0))
        if lag == 0 or number == steps - 1:
            yield Snapshot(f"step {number}, state", {}, program_state(step))


def _shown(number: int, seen: Observation) -> Snapshot:
    exact = {"exception": seen.error, "printed": seen.printed, "random state": seen.random_state}
    return Snapshot(f"step {number}", exact, {"result": settle(seen.result)})


def _compare(left: Snapshot, right: Snapshot, compare: Compare) -> None:
    for name, expected in left.exact.items():
        assert_same(expected, right.exact[name], f"{left.what}, {name}")
    missing = object()
    for name in {**left.values, **right.values}:
        expected, seen = left.values.get(name, missing), right.values.get(name, missing)
        what = f"{left.what}, {name}"
        if expected is missing or seen is missing:
            raise NotEquivalent(what, *("absent" if x is missing else x for x in (expected, seen)))
        compare(expected, seen, what)


def check_counts(report: Report, coexecuted: int, fallbacks: int | None, graphs: int | None) -> None:
    """Raises AssertionError unless co-execution happened as often, and failed as seldom, as expected."""
    if report.coexecuted_steps < coexecuted:
        raise AssertionError(f"only {report.coexecuted_steps} of {report.steps} steps were co-executed\n{report}")
    if fallbacks is not None and report.fallbacks > fallbacks:
        raise AssertionError(f"{report.fallbacks} fallbacks, at most {fallbacks} expected\n{report}")
    if graphs is not None and report.graphs_built > graphs:
        raise AssertionError(f"{report.graphs_built} graphs were built, at most {graphs} expected\n{report}")


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Inside, the three generators may be seeded; afterwards they are as they were."""
    tensors, python, arrays = tensor_random.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        tensor_random.set_state(tensors)
        random.setstate(python)
        np.random.set_state(arrays)
