"""Whether integers lie in a range: labels among classes, indices in a dimension.

In: arrays of integers or bools.  Out: an answer.
Invariant: it is NumPy's `((low <= x) & (x < high)).all()`, for less: each step of a program asks it for each lookup.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FEW = 64  # elements: so many are compared as a list before NumPy has found its loop
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def all_within(x: Any, low: int, high: int) -> bool:
    """Whether low <= x < high for all elements.

    >>> all_within(np.array([0, 3]), 0, 4), all_within(np.array([-1]), 0, 4), all_within(np.array([]), 0, 0)
    (True, False, True)
    """
    if not x.size:
        return True
    if x.size <= _FEW:
        elements = x.tolist() if x.ndim == 1 else x.ravel().tolist()
        return bool(low <= min(elements) and max(elements) < high)
    size = x.dtype.itemsize
    if low == 0 and x.dtype.kind == "i" and 2 * high <= 1 << (8 * size):  # read as unsigned a negative one is larger
        return bool(np.maximum.reduce(x.view(_UNSIGNED[size]), axis=None) < high)
    return bool(np.minimum.reduce(x, axis=None) >= low and np.maximum.reduce(x, axis=None) < high)
