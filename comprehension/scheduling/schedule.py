"""Schedule: the loops of one comprehension and the steps that made them; every step gives a new one.

In: a request for a kernel, steps.  Out: schedules, and kernels that run their loops.
Invariant: a `Schedule` is a value and always legal: each step was proved in the compiler process when it was applied;
one that is refused raises, and the schedule that it was asked of is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from comprehension.errors import ComprehensionError
from comprehension.jit import client
from comprehension.jit.kernel import Kernel
from comprehension.jit.request import ComprehensionRequest, ScheduleRequest
from comprehension.scheduling.steps import MAX_STEPS, Step, make_step, parse_steps, step_text, to_text

LOOPS = "loops.json"

Make = Callable[[ComprehensionRequest], Kernel]
Check = Callable[[ComprehensionRequest], object]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """What `f.schedule(...)` returns: `print` it to see the loops as written and after each step.

    >>> import comprehension as tc
    >>> f = tc.define("def f(float(M,K) A, float(K) B) -> (C) { C(m) +=! A(m,k) * B(k) }").f
    >>> schedule = f.schedule(tc.Spec((64, 48), "float32"), tc.Spec((48,), "float32"))
    >>> print(schedule.split("m", 16).loops)
    for m.outer in 0:4:
        for m.inner in 0:16:
            S0_init: C(16 * m.outer + m.inner) = 0
            for k in 0:48:
                S0: C(16 * m.outer + m.inner) += A(16 * m.outer + m.inner, k) * B(k)

    Loops have the names of the text's indices: `m`; `S0.m` or `C.m` where there are several; after a split `m.outer`
    and `m.inner`.  Each method raises IllegalSchedule for what would break a dependence, with an example in `.pair`,
    and ComprehensionError for what does not fit the loops.
    """

    request: ComprehensionRequest
    steps: tuple[Step, ...]
    _history: tuple[str, ...]  # the loops as written, and after each step
    _make: Make
    _check: Check

    @property
    def loops(self) -> str:
        """The loops as they are now."""
        return self._history[-1]

    @property
    def name(self) -> str:
        return self.request.name

    def __str__(self) -> str:
        """The loops as written, then each step and the loops after it."""
        told = [f"{self.name}, as written:\n{self._history[0]}"]
        told += [f"{step_text(s)}:\n{loops}" for s, loops in zip(self.steps, self._history[1:], strict=True)]
        return "\n\n".join(told)

    def __repr__(self) -> str:
        return f"<schedule of {self.name}: {'; '.join(map(step_text, self.steps)) or 'as written'}>"

    # --- order ------------------------------------------------------------------------------------------------------

    def split(self, loop: str, size: int) -> Schedule:
        """`for i` becomes `for i.outer: for i.inner in 0:size`."""
        return self._after("split", loop, size)

    def tile(self, sizes: Mapping[str, int] | None = None, **named: int) -> Schedule:
        """Splits loops that stand directly in one another, loops over tiles outermost: `tile(m=32, n=32)`."""
        return self._after("tile", *([sizes] if sizes is not None else []), **named)

    def reorder(self, *loops: str) -> Schedule:
        """The loops named, outermost first, in the places that they have; nothing else may stand between them."""
        return self._after("reorder", *loops)

    def interchange(self, first: str, second: str) -> Schedule:
        """Two loops change places: `reorder(second, first)`."""
        return self._after("reorder", second, first)

    def fuse(self, *loops: str) -> Schedule:
        """Loops that stand side by side become one, at the place of the first, around their bodies in order."""
        return self._after("fuse", *loops)

    def distribute(self, loop: str) -> Schedule:
        """A loop of its own for each part of the body."""
        return self._after("distribute", loop)

    fission = distribute

    def shift(self, loop: str, by: int) -> Schedule:
        """Iterations `by` later; with `S1.i`, those of S1 alone, as if they belonged to later iterations."""
        return self._after("shift", loop, by)

    def reverse(self, loop: str) -> Schedule:
        """From the last iteration to the first."""
        return self._after("reverse", loop)

    def skew(self, loop: str, along: str, by: int = 1) -> Schedule:
        """Iterations `by` later for each iteration of `along`, a loop around."""
        return self._after("skew", loop, along, by)

    # --- how loops run --------------------------------------------------------------------------------------------

    def unroll(self, loop: str, times: int) -> Schedule:
        """The body stands there `times` times; what is left over runs in a loop of its own."""
        return self._after("unroll", loop, times)

    def vectorize(
        self, loop: str | Mapping[str, int] | None = None, lanes: int | None = None, **named: int
    ) -> Schedule:
        """`vectorize("n", 16)`: tiles of 16 lanes of n; `vectorize(m=6, n=32)`: of 6 rows of m and 32 lanes of n.

        The loop within a tile sinks below everything in it.  A reduction's own loop gets accumulators, one a lane,
        combined afterwards (not under math="strict").
        """
        given = [value for value in (loop, lanes) if value is not None]
        return self._after("vectorize", *given, **named)

    def parallelize(self, loop: str) -> Schedule:
        """Iterations of an outermost loop are divided among workers; none may depend on another."""
        return self._after("parallelize", loop)

    # --- where values live -----------------------------------------------------------------------------------------

    def promote(self, tensor: str, at: str) -> Schedule:
        """In each iteration of the loop `at` the tensor lives in a local buffer: registers, or memory of the worker."""
        return self._after("promote", tensor, at)

    def pack(self, tensor: str, at: str) -> Schedule:
        """In each iteration of `at` an operand of a tile is copied into panels that the tile reads in order."""
        return self._after("pack", tensor, at)

    # --- data -------------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The steps as text, one call a line; `replay` takes it."""
        return to_text(self.steps)

    def replay(self, steps: str | Iterable[Step]) -> Schedule:
        """These steps (those of another schedule, or their text) after the ones that there are.

        >>> import comprehension as tc
        >>> f = tc.define("def f(float(N) A) -> (B) { B(i) = 2 * A(i) }").f
        >>> f.schedule(tc.Spec((100,), "float32")).replay("split('i', 32)").steps
        (Split(loop='i', size=32),)
        """
        more = parse_steps(steps) if isinstance(steps, str) else tuple(steps)
        return self._with(more)

    def _after(self, name: str, *values: Any, **named: Any) -> Schedule:
        return self._with((make_step(name, list(values), named),))

    def _with(self, more: tuple[Step, ...]) -> Schedule:
        steps = (*self.steps, *more)
        if len(steps) > MAX_STEPS:
            raise ComprehensionError(f"schedule: {len(steps)} steps; the limit is {MAX_STEPS}")
        history = loops_after(replace(self.request, steps=to_text(steps)), self._check)
        return replace(self, steps=steps, _history=history)

    # --- kernels ----------------------------------------------------------------------------------------------------

    def compile(self) -> Kernel:
        """The kernel that runs these loops, with its certificate.

        Raises IllegalSchedule where the certificate cannot be had, CompilationError where no kernel came about.
        """
        return self._make(replace(self.request, steps=self.text))

    def __call__(self, *inputs: Any, out: Any = None) -> Any:
        """Compiles, and runs the kernel."""
        return self.compile()(*inputs, out=out)


def start(request: ComprehensionRequest, make: Make, check: Check) -> Schedule:
    """The loops that the text says."""
    return Schedule(request, (), loops_after(replace(request, steps=""), check), make, check)


def loops_after(request: ComprehensionRequest, check: Check) -> tuple[str, ...]:
    """The loops as written and after each step of the request, from the compiler process or the cache."""
    asked = ScheduleRequest(request)
    artifact = client.submit(asked, True, lambda: check(request)).result()
    return tuple(json.loads(artifact[LOOPS]))
