"""The array standard's reductions.

In: a tensor, axes as users write them.  Out: tensors.
Invariant: axes reach the records counted from the front and in rising order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from minitensor.dispatch import apply
from minitensor.dtypes import as_dtype, to_float
from minitensor.manipulation import astype
from minitensor.ops import reduce as ops
from minitensor.ops.shapes import normalize_axes
from minitensor.tensor import Tensor

Axis = int | Sequence[int] | None


def sum(x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """The sum along `axis` (all if None).  Integers and bool are summed in 64 bits.

    >>> import minitensor as mt
    >>> mt.sum(mt.asarray([[1, 2], [3, 4]]), axis=0)
    tensor([4, 6])
    """
    if dtype is not None:
        x = astype(x, as_dtype(dtype), copy=False)
    total = apply(ops.sum_, x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)
    return total if dtype is None else astype(total, as_dtype(dtype), copy=False)


def mean(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis` (all if None); of integers in the default float."""
    axes = normalize_axes(axis, x.ndim)
    x = astype(x, to_float(x.dtype), copy=False)
    count = prod(x.shape[a] for a in axes)
    return apply(ops.sum_, x, axis=axes, keepdims=keepdims) / count
