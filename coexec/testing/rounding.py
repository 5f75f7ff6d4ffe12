"""How far rounding alone may move what a program lets see: measured on the program itself.

In: the eager program, and the numbers in which its co-execution differed.  Out: nothing, or the first number that
rounding does not explain.
Invariant: a number that is computed without rounding, in whatever order, may not differ by a bit; a program that
differs from itself explains nothing.

Kernels add up in another order, contract a product and a sum into one rounding, and have their own `exp`.  What that
may amount to after many operations and steps depends on the program: cancellation magnifies it, and so does training.
So the eager program runs `RUNS` more times, with every operation's result moved, at random, up or down by between half
and all of its own rounding bound (γₙ·Σ|x| for a sum of n terms, a few units in the last place for `exp`: the rules of
`minitensor.testing.ErrorBounds`, for one operation with exact operands).  Results that were not rounded stay.  That is
Monte Carlo arithmetic (Parker, 1997), with the magnitudes kept from 0.

A number may differ by `SLACK` times the furthest that it was seen to move: two faithful executions are within twice the
bound of an operation, of which at least half was tried; in arrays the root mean square of all their elements counts as
well, as single ones may have been moved back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from coexec.testing.comparison import Array, Difference, NotEquivalent
from coexec.testing.observation import Snapshot
from comprehension.errors import ComprehensionError
from minitensor.dispatch import run_eager
from minitensor.ops.opdef import OpDef
from minitensor.testing.bound_rules import Interval, propagate, rounds_on_the_way, unit_roundoff
from minitensor.value import Value, filled, local

RUNS = 5
SLACK = 4.0


class Nudges:
    """An observer that runs operations eagerly and moves what was rounded."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        outputs = run_eager(op, inputs, attributes)
        if op.comprehension is None or all(output.dtype.kind not in "fc" for output in outputs):
            return outputs  # what no kernel does is eager execution's on either side
        bounds = _rounding(op, inputs, attributes, outputs)
        return tuple(self._moved(output, bound) for output, bound in zip(outputs, bounds, strict=True))

    def on_read(self, value: Any) -> None:
        """Reading changes nothing here."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """Rebinding changes nothing here."""

    def _moved(self, output: Value, bound: Array) -> Value:
        if output.dtype.kind not in "fc" or not bound.any():
            return output
        array = filled(output)
        by = self._rng.uniform(0.5, 1.0, array.shape) * self._rng.choice((-1.0, 1.0), array.shape)
        with np.errstate(all="ignore"):
            moved = (array + by * bound).astype(array.dtype)
        return Value(np.where(np.isfinite(array), moved, array))


def _rounding(op: OpDef, inputs: Any, attributes: dict[str, Any], outputs: tuple[Value, ...]) -> list[Array]:
    """How far each output may be from another faithful one; 0 where nothing was rounded."""
    arrays = [filled(output) for output in outputs]
    operands = [_exact(x) for x in inputs]
    if any(array.dtype.kind == "c" for array in arrays) or any(x.value.dtype.kind == "c" for x in operands):
        return [_few_ulps(array) for array in arrays]
    try:
        intervals = propagate(op, operands, _widened(attributes), [array.dtype for array in arrays])
    except (LookupError, ComprehensionError):  # an operator of the user's takes the types of its text only
        return [_few_ulps(array) for array in arrays]
    bounds = []
    is_told = not rounds_on_the_way(op) or _is_exact_in_any_order(op, operands, arrays[0].dtype)
    for array, interval in zip(arrays, intervals, strict=True):
        bound = np.where(np.isfinite(interval.bound), interval.bound, 0.0)
        if is_told and array.dtype.itemsize < interval.value.dtype.itemsize:
            bound = np.where(array == interval.value, 0.0, bound)
        bounds.append(bound)
    return bounds


def _is_exact_in_any_order(op: OpDef, operands: list[Interval], dtype: np.dtype[Any]) -> bool:
    """Whether sums of products of one element of each operand are multiples of a number that is not too small for them.

    A sum that comes out exact in one order may have been rounded on its way in another.  What an operation is composed
    of may multiply each operand by itself.
    """
    most = float(max([x.value.size for x in operands], default=1))
    for x in operands:
        if x.value.dtype.kind == "f" or isinstance(x.weak, float):
            most *= _span(x.value) ** (1 if op.composition is None else 2)
    return bool(most * unit_roundoff(dtype) <= 1.0)


def _span(array: Array) -> float:
    """The largest magnitude in an array over the largest power of two of which all elements are multiples."""
    sizes = np.abs(np.asarray(array, np.float64)).ravel()
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not sizes.size:
        return 1.0
    fractions, exponents = np.frexp(sizes)
    digits = np.ldexp(fractions, 53).astype(np.int64)
    steps = np.ldexp((digits & -digits).astype(np.float64), exponents - 53)
    return float(sizes.max() / steps.min())


def _exact(x: Any) -> Interval:
    if not isinstance(x, Value):
        return Interval(np.asarray(x), np.zeros(()), weak=x)
    array = filled(x)
    wide = array.astype(np.float64) if array.dtype.kind == "f" else array
    return Interval(wide, np.zeros(array.shape))


def _widened(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with float64 where they name a narrower floating-point type."""
    dtype = attributes.get("dtype")
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        return {**attributes, "dtype": np.dtype(np.float64)}
    return attributes


def _few_ulps(array: Array) -> Array:
    """For operations that no rule is written for, and complex numbers: a few units in the largest's last place."""
    if array.dtype.kind not in "fc" or not array.size:
        return np.zeros(array.shape)
    size = np.abs(np.where(np.isfinite(array), array, 0.0)).max()
    return np.full(array.shape, 8 * float(np.finfo(array.dtype).eps) * float(size))


@contextmanager
def observing(nudges: Nudges) -> Iterator[None]:
    """Inside, this thread's operations are nudged."""
    before, local.observer = local.observer, nudges
    try:
        yield
    finally:
        local.observer = before


def assert_repeatable(expected: list[Snapshot], eager_run: Callable[[], Iterator[Snapshot]]) -> None:
    """Raises NotEquivalent where the eager program gives other values when it runs once more.

    Such a program would be found to move by itself, and any difference of its co-execution would be explained by that.
    """
    for look, again in zip(expected, eager_run(), strict=True):
        try:
            for difference in look.differences(again):
                raise NotEquivalent(difference.what, difference.expected, difference.seen)
        except NotEquivalent as other:
            other.note = _NOT_REPEATABLE
            raise


class Rounding:
    """Judges two runs, look by look: numbers that differ are kept until it is known how far rounding moves them.

    Args:
        expected: every look of the eager run.
        eager_run: the looks of one more eager run.
        nudged_run: of another one, its operations moved.
    """

    def __init__(
        self,
        expected: list[Snapshot],
        eager_run: Callable[[], Iterator[Snapshot]],
        nudged_run: Callable[[Nudges], Iterator[Snapshot]],
    ) -> None:
        self._expected = expected
        self._eager_run = eager_run
        self._nudged_run = nudged_run
        self._found: dict[tuple[int, str], Difference] = {}  # by number of the look, and place
        self._moved: dict[tuple[int, str], Array] = {}
        self._strays: list[int] = []  # the look at which a nudged run took another path

    def take(self, number: int, seen: Snapshot) -> None:
        """Compares one look.  Raises NotEquivalent for what rounding cannot explain."""
        try:
            for difference in self._expected[number].differences(seen):
                self._found[number, difference.what] = difference
        except NotEquivalent as other:
            self.close()
            if any(stray <= number for stray in self._strays):
                other.note = f"{other.note} {_STRAY}".strip()
            raise

    def close(self) -> None:
        """Raises NotEquivalent for the first number that is further away than rounding explains."""
        if not self._found:
            return
        assert_repeatable(self._expected, self._eager_run)
        self._measure(last=max(number for number, _ in self._found))
        for (number, what), difference in self._found.items():
            if sum(stray <= number for stray in self._strays) == RUNS:
                raise NotEquivalent(what, difference.expected, difference.seen, _STRAY)
            moved = self._moved.get((number, what), np.zeros(()))
            finite = moved[np.isfinite(moved)]
            rms = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
            difference.check(SLACK * np.maximum(moved, rms), "what rounding does to the eager program")

    def _measure(self, last: int) -> None:
        for seed in range(RUNS):
            for number, nudged in enumerate(self._nudged_run(Nudges(seed))):
                try:
                    self._measure_look(number, nudged)
                except NotEquivalent:
                    self._strays.append(number)
                    break
                if number == last:
                    break

    def _measure_look(self, number: int, nudged: Snapshot) -> None:
        for difference in self._expected[number].differences(nudged):
            key = (number, difference.what)
            if key in self._found:
                self._moved[key] = np.maximum(self._moved.get(key, 0.0), difference.distance)


_NOT_REPEATABLE = (
    "both are eager runs: the program differs from itself (a clock, an unseeded generator, an address, the order of a "
    "set), so nothing can be held against it.  Make its values anew from the number of the step, or seed them in make()"
)
_STRAY = (
    "rounding alone makes the eager program take another path here (a branch, an index, a count): choose other values, "
    "or give rtol and atol"
)
