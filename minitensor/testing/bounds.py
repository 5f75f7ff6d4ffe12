"""Error-bound-aware comparison: a (value, bound) interpretation beside a program.

In: any program of tensor operations, run inside `ErrorBounds`.  Out: for each tensor it made, the value in
float64 and a bound on the distance of any faithful computation from it, in whatever order it adds up.
Invariant: two faithful computations differ by 2·bound at most; where a comparison, a maximum or a relu
lies within its bound the result is undetermined (bound ∞) and is not compared; a check that compares
(almost) nothing, or with bounds too wide to see a mistake, fails.
Source: running error analysis, Higham, "Accuracy and Stability of Numerical Algorithms", section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minitensor.dispatch import run_eager
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor
from minitensor.testing.bound_rules import Interval, propagate
from minitensor.value import Observer, Value, filled, local

Array = np.ndarray[Any, np.dtype[Any]]

WIDEST = 1e-4  # of the scale of the values: the median bound may not be wider
UNDETERMINED = 0.05  # at most this share of the elements may be left out


@dataclass(frozen=True, slots=True)
class Bounded:
    """Values in float64 (or as they are, for integers) and how far a faithful computation may be away."""

    value: Array
    bound: Array


class ErrorBounds:
    """Follows the operations of this thread with error bounds, while they run eagerly as always.

    >>> import minitensor as mt
    >>> with ErrorBounds() as bounds:
    ...     y = mt.asarray([0.1, 0.2]).sum()
    >>> bool(bounds.of(y).bound < 1e-6)
    True
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Value, Interval] = WeakKeyDictionary()
        self._before: Observer | None = None

    def __enter__(self) -> ErrorBounds:
        self._before = local.observer
        local.observer = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        local.observer = self._before

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        outputs = run_eager(op, inputs, attributes)
        operands = [self._interval(x) for x in inputs]
        dtypes = [output.dtype for output in outputs]
        for output, interval in zip(outputs, propagate(op, operands, attributes, dtypes), strict=True):
            self._known[output] = interval
        return outputs

    def on_read(self, value: Any) -> None:
        """Reading changes nothing here."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """Rebinding changes nothing here: bounds belong to values."""

    def of(self, tensor: Tensor) -> Bounded:
        """Value and bound of a tensor that an operation inside made; any other is exact."""
        interval = self._interval(tensor.value)
        return Bounded(interval.value, interval.bound)

    def _interval(self, x: Any) -> Interval:
        if not isinstance(x, Value):
            return Interval(np.asarray(x), np.zeros(()), weak=x)
        known = self._known.get(x)
        if known is None:
            array = filled(x)
            wide = array.astype(np.float64) if array.dtype.kind == "f" else array
            known = self._known[x] = Interval(wide, np.zeros(array.shape))
        return known


def assert_within(received: Any, expected: Bounded, *, of: str = "result") -> None:
    """Asserts that a computation agrees with the bounded one: |received − value| ≤ bound, elementwise.

    Shapes come first; NaN and infinities must stand in the same places.  Raises AssertionError, also where
    the check itself would be worth nothing: bounds wider than 1e-4 of the values' scale in the median, or
    more than 5 % of the elements undetermined.
    """
    array = np.asarray(received)
    value, bound = expected.value, expected.bound
    assert array.shape == value.shape, f"{of}: shape {array.shape}, expected {value.shape}"
    if value.dtype.kind not in "fc":
        determined = bound == 0
        check_worth(value, np.where(determined, 0.0, np.inf), of)
        np.testing.assert_array_equal(array[determined], value[determined], err_msg=of)
        return
    check_worth(value, bound, of)
    determined = np.isfinite(bound)
    finite = np.isfinite(value) & determined
    odd = ~np.isfinite(value) & determined
    np.testing.assert_array_equal(array[odd], value[odd], err_msg=f"{of}: NaN and infinities")
    distance = np.abs(np.where(finite, array, 0).astype(value.dtype) - np.where(finite, value, 0))
    wrong = finite & ~(distance <= bound)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{of}: {int(wrong.sum())} of {wrong.size} elements are outside their bounds; the first at {place}: "
            f"received {array[place]!r}, expected {value[place]!r} ± {bound[place]:.3g}"
        )


def check_worth(value: Array, bound: Array, of: str) -> None:
    """Raises AssertionError for bounds that would let a mistake pass."""
    if not value.size:
        return
    left_out = float(np.mean(~np.isfinite(bound)))
    assert left_out <= UNDETERMINED, f"{of}: {left_out:.0%} of the elements are undetermined: nothing is compared there"
    if value.dtype.kind not in "fc":
        return
    finite = np.isfinite(value) & np.isfinite(bound)
    if finite.any():
        scale = float(np.max(np.abs(value[finite])))
        median = float(np.median(bound[finite]))
        assert median <= WIDEST * scale or scale == 0.0, f"{of}: the median bound {median:.3g} is wide for {scale:.3g}"


def gamma(n: int, u: float) -> float:
    """γₙ = n·u / (1 − n·u): the relative error of n roundings in a row."""
    return n * u / (1 - n * u)
