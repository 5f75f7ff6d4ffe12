"""`assert_equivalent`: a program eagerly and co-executed, from equal states, compared step by step.

In: a function that makes a step with fresh state.  Out: the report of the co-executed run, or a `NotEquivalent`.
Invariant: everything the step lets see is compared, and co-execution that did not really run is a failure.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from coexec.api import Step, coexecute
from coexec.config import config
from coexec.reports.report import Report
from coexec.session import wait
from coexec.testing.comparison import Compare, NotEquivalent, assert_same, within
from coexec.testing.observation import MakeStep, Observation, Snapshot, call, program_state, seed_all, settle
from coexec.testing.rounding import Rounding, assert_repeatable, observing
from coexec.testing.switches import switched
from minitensor import random as tensor_random

Trouble = Callable[[Step[..., Any], int], AbstractContextManager[object]]  # (step, number): around one call
TOLD = ("exception", "printed", "random state")  # what is shown beside values
_SHARED = "the first step runs eagerly on both sides, so they began differently: make() has to make all state anew"
Around = Callable[[int], AbstractContextManager[object]]
Wrap = Callable[[Callable[[int], Any]], Step[..., Any]]


def _no_trouble(number: int) -> AbstractContextManager[object]:
    return nullcontext()


def assert_equivalent(
    make: MakeStep,
    steps: int = 12,
    *,
    rtol: float | None = None,
    atol: float | None = None,
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

    Floating-point numbers, and numbers in texts, are compared bit by bit over the reference runner.  Compiled kernels
    round otherwise: over the native runner a number that has other bits may be as far away as rounding explains.  How
    far that is, is measured on the eager program, by moving each result of an operation within its own rounding bound
    (`coexec.testing.rounding`); what is computed without rounding, such as sums of small integers, has to have the
    same bits there too.  Everything else is always compared exactly.

    Args:
        make: returns a step with fresh state.  steps: how many calls.
        rtol, atol: these numbers may differ by atol + rtol · |eager| instead, over either runner.
        compare: of two arrays or objects, instead of all that: raises AssertionError.
        coexecuted: how many steps must have ended in the graph; half of them if None.
        fallbacks, graphs: how many fallbacks and built graphs are allowed; any number if None.
        lag: results are read that many steps later, and state only at the end, so that steps overlap.
        seed: of the three generators before each of the two runs; afterwards they are as they were.
        trouble: planned trouble around every co-executed call: `LeaveEverywhere()`, `RandomDelays()` or another.
        wrap: how the step is co-executed.

    Raises NotEquivalent (an AssertionError) with the first difference, also between two eager runs where the program
    does not repeat itself (it reads a clock, say); AssertionError where the counts are not met; TypeError where `make`
    makes no step.

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
    if compare is not None and (rtol is not None or atol is not None):
        raise TypeError("rtol and atol are those of the comparison that assert_equivalent makes: give them or compare")
    tolerant = within(rtol or 0.0, atol or 0.0) if rtol is not None or atol is not None else assert_same
    _check_takes_nothing(make)

    def eager(around: Around = _no_trouble) -> Iterator[Snapshot]:
        with switched(mode="eager"):  # steps inside the step are plain, too
            seed_all(seed)  # `make` may draw
            yield from run(_made(make), steps, lag, seed, around)

    with _generators_kept():
        expected = list(eager())
        judge: Rounding | Immediate
        if compare is None and tolerant is assert_same and config.runner == "native":
            judge = Rounding(expected, eager, lambda nudges: eager(lambda number: observing(nudges)))
        else:
            judge = Immediate(expected, compare or tolerant, tolerant)
        seed_all(seed)
        step = wrap(make())
        around = partial(trouble, step) if trouble is not None else _no_trouble
        try:
            for number, seen in enumerate(run(step, steps, lag, seed, around)):
                judge.take(number, seen)
            judge.close()
        except NotEquivalent as found:
            if found.what.startswith("step 0,"):
                found.note = f"{found.note} {_SHARED}".strip()
            else:
                assert_repeatable(expected, eager)
            raise
    report = step.report()
    check_counts(report, steps // 2 if coexecuted is None else coexecuted, fallbacks, graphs)
    return report


def _check_takes_nothing(make: Callable[..., Any]) -> None:
    try:
        inspect.signature(make).bind()
    except ValueError:  # built in: it tells no signature
        return
    except TypeError as refused:
        raise TypeError(
            f"assert_equivalent takes a function without arguments that makes a step with fresh state; {make!r} takes "
            f"arguments ({refused}).  Is it the step itself?  Write def make(): ... return step"
        ) from None


def _made(make: MakeStep) -> Callable[[int], Any]:
    step = make()
    if not callable(step):
        raise TypeError(f"{make!r} returned {step!r:.60}, not a step: a function of the number of the step")
    return step


class Immediate:
    """Judges two runs, look by look, by two comparisons: of results and state, and of what was told in words."""

    def __init__(self, expected: list[Snapshot], values: Compare, told: Compare) -> None:
        self._expected, self._values, self._told = expected, values, told

    def take(self, number: int, seen: Snapshot) -> None:
        for name, what, left, right in self._expected[number].pairs(seen):
            (self._told if name in TOLD else self._values)(left, right, what)

    def close(self) -> None:
        """Nothing is left to decide."""


def run(
    step: Callable[[int], Any], steps: int, lag: int = 0, seed: int = 0, around: Around = _no_trouble
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
            yield Snapshot(f"step {number}, state", program_state(step))


def _shown(number: int, seen: Observation) -> Snapshot:
    told = zip(TOLD, (seen.error, seen.printed, seen.random_state), strict=True)
    return Snapshot(f"step {number}", {"result": settle(seen.result), **dict(told)})


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
