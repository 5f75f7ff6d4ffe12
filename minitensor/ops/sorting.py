"""Sorting and searching: opaque operations, with the reason beside each.

In: a tensor, resolved axes.  Out: records.
Invariant: sorted values are had by `argsort` and `take_along_axis`, so their gradient is that of a gather.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minitensor.ops.opdef import OpDef, TensorSpec, register

_INT = np.dtype(np.int64)


def _argsort_eager(x: Any, *, axis: int, descending: bool, stable: bool) -> Any:
    if not descending:
        return np.argsort(x, axis=axis, kind="stable" if stable else "quicksort").astype(_INT, copy=False)
    # Equal elements keep their order when sorted downwards too: the flipped tensor is sorted, and flipped back.
    order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    return (x.shape[axis] - 1 - order).astype(_INT, copy=False)


argsort = register(
    OpDef(
        "argsort",
        lambda x, *, axis, descending, stable: TensorSpec(x.shape, _INT),
        _argsort_eager,
        None,
        None,
        "sorting compares elements in an order that depends on their values",
    )
)


def _searchsorted_eager(x: Any, values: Any, *, side: Any) -> Any:
    return np.asarray(np.searchsorted(x, values, side=side)).astype(_INT, copy=False)


searchsorted = register(
    OpDef(
        "searchsorted",
        lambda x, values, *, side: TensorSpec(values.shape, _INT),
        _searchsorted_eager,
        None,
        None,
        "binary search reads where earlier comparisons lead",
    )
)


def _unknown_shape(*operands: Any, **attributes: Any) -> TensorSpec:
    raise ValueError("the shape of this result depends on values: it is known only after the eager rule ran")


def _nonzero_eager(x: Any) -> Any:
    return np.stack(np.nonzero(x)).astype(_INT, copy=False)


nonzero = register(
    OpDef(
        "nonzero",
        _unknown_shape,
        _nonzero_eager,
        None,
        None,
        "the number of nonzero elements, and so the shape of the result, depends on values",
    )
)


def _unique_eager(x: Any) -> Any:
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    return values, first.astype(_INT), inverse.reshape(x.shape).astype(_INT), counts.astype(_INT)


unique = register(
    OpDef(
        "unique",
        _unknown_shape,
        _unique_eager,
        None,
        None,
        "the number of distinct elements, and so the shape of the results, depends on values",
        outputs=4,
    )
)
