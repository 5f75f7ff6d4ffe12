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

import numpy as np

from minitensor.tensor import Tensor
from minitensor.testing.bound_rules import Intervals
from minitensor.value import Observer, local

Array = np.ndarray[Any, np.dtype[Any]]

WIDEST = 1e-4  # of the scale of the values: the median bound may not be wider
UNDETERMINED = 0.05  # at most this share of the elements may be left out


@dataclass(frozen=True, slots=True)
class Bounded:
    """Values in float64 (or as they are, for integers) and how far a faithful computation may be away."""

    value: Array
    bound: Array


class ErrorBounds(Intervals):
    """Follows the operations of this thread with error bounds, while they run eagerly as always.

    >>> import minitensor as mt
    >>> with ErrorBounds() as bounds:
    ...     y = mt.asarray([0.1, 0.2]).sum()
    >>> bool(bounds.of(y).bound < 1e-6)
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: Observer | None = None

    def __enter__(self) -> ErrorBounds:
        self._before = local.observer
        local.observer = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        local.observer = self._before

    def of(self, tensor: Tensor) -> Bounded:
        """Value and bound of a tensor that an operation inside made; any other is exact."""
        interval = self.of_value(tensor.value)
        return Bounded(interval.value, interval.bound)


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
