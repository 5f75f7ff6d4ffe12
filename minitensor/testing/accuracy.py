"""Comparison by accuracy: a result may err as much as another float32 computation does, not more.

In: two computations of one thing and the same thing in higher precision.  Out: an AssertionError, or nothing.
Invariant: the tolerance comes from the data: the reference's own rounding errors.  Source: the rule by which
PyTorch compares compiled with eager models (root mean square errors against float64, a small factor between them).
"""

from __future__ import annotations

from typing import Any

import numpy as np

FACTOR = 3.0  # errors of another order of summation differ by a small factor, those of a mistake by orders of magnitude


def rms(x: Any) -> float:
    """Root mean square of all elements; 0 for none.

    >>> rms(np.array([3.0, 4.0, 0.0, 0.0]))
    2.5
    """
    array = np.asarray(x, np.float64)
    return float(np.sqrt(np.mean(array * array))) if array.size else 0.0


def assert_as_accurate(
    received: Any, reference: Any, exact: Any, *, of: str = "result", factor: float = FACTOR
) -> float:
    """Asserts rms(received − exact) ≤ factor · (rms(reference − exact) + half a unit in the last place).

    Args:
        received, reference: results of one dtype and shape; exact: the same in float64.
        of: what is compared, for the message.

    Returns the ratio of the two sides (0 to 1).  Raises AssertionError, also for other shapes, dtypes, or
    NaN and infinities in other places.

    >>> exact = np.array([1.0, 2.0])
    >>> assert_as_accurate(exact.astype("float32"), exact.astype("float32"), exact)
    0.0
    """
    left, right, truth = np.asarray(received), np.asarray(reference), np.asarray(exact)
    assert left.shape == right.shape == truth.shape, f"{of}: shapes {left.shape}, {right.shape}, {truth.shape}"
    assert left.dtype == right.dtype, f"{of}: dtype {left.dtype}, expected {right.dtype}"
    odd = ~np.isfinite(right)
    np.testing.assert_array_equal(left[odd], right[odd], err_msg=f"{of}: NaN and infinities")
    assert np.isfinite(left[~odd]).all(), f"{of}: NaN or infinities where the reference has none"
    error, allowed = rms(left[~odd] - truth[~odd]), rms(right[~odd] - truth[~odd])
    half_unit = rms(truth[~odd]) * float(np.finfo(left.dtype).eps) / 2
    limit = factor * (allowed + half_unit)
    assert error <= limit, (
        f"{of}: errs by {error:.3g} (rms), the reference by {allowed:.3g}; at most {limit:.3g} allowed"
    )
    return error / limit if limit else 0.0
