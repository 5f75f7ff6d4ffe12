"""The array standard's reductions, running sums, and searches for extremes.

In: a tensor, axes as users write them.  Out: tensors.
Invariant: axes reach the records counted from the front and in rising order.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from math import prod as product
from typing import Any

from minitensor.creation import as_integer, as_real, full
from minitensor.dispatch import apply, as_tensor
from minitensor.dtypes import DType, as_dtype, to_float
from minitensor.elementwise import isclose
from minitensor.errors import ArgumentError, ShapeError
from minitensor.manipulation import astype, concat, reshape
from minitensor.ops import reduce as ops, scan
from minitensor.ops.analytic import sqrt
from minitensor.ops.opdef import OpDef
from minitensor.ops.shapes import normalize_axes, normalize_axis
from minitensor.tensor import Tensor

Axis = int | Sequence[int] | None


def sum(x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The sum along `axis` (all if None).  Integers and bool are summed in 64 bits.

    >>> import minitensor as mt
    >>> mt.sum(mt.asarray([[1, 2], [3, 4]]), axis=0)
    tensor([4, 6])
    """
    return _accumulated(ops.sum_, x, axis, dtype, keepdims)


def prod(x: Tensor, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The product along `axis` (all if None).  Integers and bool are multiplied in 64 bits."""
    return _accumulated(scan.prod_, x, axis, dtype, keepdims)


def _accumulated(op: OpDef, x: Tensor, axis: Axis, dtype: Any, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    wanted = None if dtype is None else as_dtype(dtype)
    source = x if wanted is None else astype(x, wanted, copy=False)
    total = apply(op, source, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)
    return total if wanted is None else astype(total, wanted, copy=False)


def mean(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis` (all if None); of integers in the default float."""
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim)
    floats = x if x.dtype.kind in "fc" else astype(x, to_float(x.dtype))
    return apply(ops.sum_, floats, axis=axes, keepdims=keepdims) / product([x.shape[a] for a in axes])


def var(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The variance along `axis`: the sum of squared deviations over (number - `correction`).

    NaN where that is not positive, as the standard has it.
    """
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim)
    deviation = x - mean(x, axis=axes, keepdims=True)
    total = apply(ops.sum_, deviation * deviation, axis=axes, keepdims=keepdims)
    number = product(x.shape[a] for a in axes) - as_real("var's correction", correction)
    return total / (number if number > 0 else math.nan)


def std(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The standard deviation along `axis`: the square root of `var`."""
    return apply(sqrt, var(x, axis=axis, correction=correction, keepdims=keepdims))


def max(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element along `axis`; NaN if there is one.  Raises ShapeError for no elements."""
    x = as_tensor(x)
    return apply(ops.max_, x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


def min(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element along `axis`; NaN if there is one.  Raises ShapeError for no elements."""
    x = as_tensor(x)
    return apply(ops.min_, x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


def any(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether an element along `axis` is true."""
    x = as_tensor(x)
    return apply(ops.any_, x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


def all(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are true."""
    x = as_tensor(x)
    return apply(ops.all_, x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements along `axis` are not 0."""
    x = as_tensor(x)
    return sum(x != 0, axis=axis, keepdims=keepdims)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the first largest element along `axis` (None: in the flat order)."""
    return _position(ops.argmax, x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the first smallest element along `axis` (None: in the flat order)."""
    return _position(ops.argmin, x, axis, keepdims)


def _position(op: OpDef, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is not None:
        return apply(op, x, axis=normalize_axis(axis, x.ndim), keepdims=keepdims)
    flat = apply(op, reshape(x, (-1,)), axis=0, keepdims=False)
    return reshape(flat, (1,) * x.ndim) if keepdims else flat


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running sums along `axis`, which may be left out for one dimension; with a 0 before them if asked."""
    return _running(scan.cumulative_sum, x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running products along `axis`; with a 1 before them if asked."""
    return _running(scan.cumulative_prod, x, axis, dtype, 1 if include_initial else None)


def _running(op: OpDef, x: Tensor, axis: int | None, dtype: Any, initial: int | None) -> Tensor:
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise ShapeError(f"{op.name} of a tensor with shape {x.shape} needs an axis")
    place = normalize_axis(0 if axis is None else axis, x.ndim)
    wanted: DType | None = None if dtype is None else as_dtype(dtype)
    source = x if wanted is None else astype(x, wanted, copy=False)
    result = apply(op, source, axis=place)
    if wanted is not None:
        result = astype(result, wanted, copy=False)
    if initial is None:
        return result
    first = full((*x.shape[:place], 1, *x.shape[place + 1 :]), initial, dtype=result.dtype)
    return concat([first, result], axis=place)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along `axis`, `n` times."""
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    parts = [part for part in (prepend, x, append) if part is not None]
    result = concat(parts, axis=place) if len(parts) > 1 else x
    if (times := as_integer("diff's n", n)) < 0:
        raise ArgumentError(f"diff taken {times} times: at least 0 are needed")
    for _ in range(times):
        head = (slice(None),) * place
        result = result[(*head, slice(1, None))] - result[(*head, slice(None, -1))]
    return result


def allclose(x1: Any, x2: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> builtins.bool:
    """Whether all elements are close, as `isclose` says; reads the answer.

    >>> import minitensor as mt
    >>> mt.allclose(mt.ones(2), mt.asarray([1.0, 1.000001]))
    True
    """
    return builtins.bool(all(isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)))
