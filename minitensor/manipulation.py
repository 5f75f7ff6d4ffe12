"""The array standard's functions that move elements, and `astype`.

In: tensors, shapes and axes as users write them.  Out: tensors; never an alias that can be seen.
Invariant: attributes reach the records resolved: no -1 in shapes, axes counted from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from minitensor.creation import as_shape
from minitensor.dispatch import apply
from minitensor.dtypes import as_dtype
from minitensor.errors import ShapeError
from minitensor.ops import movement as ops
from minitensor.ops.shapes import broadcast, normalize_axis, resolve_shape
from minitensor.tensor import Tensor


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The tensor in another dtype; differentiable between floating-point dtypes."""
    wanted = as_dtype(dtype)
    if wanted == x.dtype:
        return Tensor(x.value, x.node) if copy else x
    return apply(ops.astype, x, dtype=wanted)


def reshape(x: Tensor, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Tensor:
    """The same elements in row-major order under another shape; one extent may be -1.

    >>> import minitensor as mt
    >>> mt.reshape(mt.zeros((2, 3)), (3, -1)).shape
    (3, 2)
    """
    wanted = (index(shape),) if not isinstance(shape, Sequence) else tuple(shape)
    return apply(ops.reshape, x, shape=resolve_shape(wanted, x.size))


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """The dimensions in another order: dimension `k` of the result is dimension `axes[k]`."""
    wanted = tuple(normalize_axis(a, x.ndim) for a in axes)
    if sorted(wanted) != list(range(x.ndim)):
        raise ShapeError(f"axes {tuple(axes)} are no permutation of {x.ndim} dimensions")
    return apply(ops.permute_dims, x, axes=wanted)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two dimensions exchanged.  Raises ShapeError for fewer than two."""
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose of a tensor with shape {x.shape}: it needs two dimensions")
    last = x.ndim - 1
    return apply(ops.permute_dims, x, axes=(*range(last - 1), last, last - 1))


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """The tensor repeated along new and extent-1 dimensions up to `shape`."""
    wanted = as_shape(shape)
    if broadcast(x.shape, wanted) != wanted:
        raise ShapeError(f"shape {x.shape} cannot be broadcast to {wanted}")
    return apply(ops.broadcast_to, x, shape=wanted)
