"""Whether arrays share memory, exactly.

In: arrays of any strides.  Out: truth values.
Invariant: no false negative; a false positive only where deciding takes more than `MOST_WORK` steps (strides made
by hand that interleave deeply), where refusing is right.
"""

from __future__ import annotations

from math import prod

import numpy as np

from comprehension.jit.arrays import Array

MOST_WORK = 100_000  # of NumPy's solver
MOST_ELEMENTS = 1 << 24  # whose addresses are compared one by one


def overlap(first: Array, second: Array) -> bool:
    """Whether two arrays share an element; interleaved views do not.

    >>> both = np.zeros((4, 6))
    >>> overlap(both[:, ::2], both[:, 1::2]), overlap(both[:, ::2], both[::-1, :1])
    (False, True)
    """
    if not np.may_share_memory(first, second):
        return False
    try:
        # Exact within this much work (NumPy's stubs know two of its values only).
        return np.shares_memory(first, second, max_work=MOST_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of an array share memory.

    >>> windows = np.lib.stride_tricks.sliding_window_view(np.zeros(9), 3)
    >>> overlaps_itself(windows), overlaps_itself(windows[::3]), overlaps_itself(windows.T[:, ::-3])
    (True, False, False)
    """
    if array.flags.c_contiguous:
        return False
    moving = sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1)
    reach = array.itemsize  # bytes from the start of an element to the end of the block that inner axes span
    for stride, extent in moving:
        if stride < reach:
            return _meets_itself(array)
        reach += stride * (extent - 1)
    return False


def _meets_itself(array: Array) -> bool:
    """The same by looking at every element's address (views made of slices and transpositions never come here)."""
    if prod(array.shape) > MOST_ELEMENTS:
        return True
    offsets = np.zeros(1, np.int64)
    for stride, extent in zip(array.strides, array.shape, strict=True):
        offsets = np.add.outer(offsets, stride * np.arange(extent)).ravel()
    offsets.sort()
    return bool((np.diff(offsets) < array.itemsize).any())
