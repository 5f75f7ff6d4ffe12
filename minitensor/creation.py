"""Tensors from nothing, from Python and from other libraries.

In: shapes, Python numbers and nested lists, NumPy arrays, whatever speaks DLPack.  Out: tensors.
Invariant: `asarray` copies unless `copy=False`; a borrowed tensor knows that others may write its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from operator import index
from typing import Any

import numpy as np

from comprehension.lang.scalars import convert_array
from minitensor.device import Device, as_device
from minitensor.dispatch import apply, as_tensor
from minitensor.dtypes import DEFAULT_FLOAT, DEFAULT_INT, DType, as_dtype, complex64, float64, scalar_dtype
from minitensor.errors import ArgumentError, DTypeError, ScalarRangeError, ShapeError, shown
from minitensor.nested import array_of, as_array, met_dtype
from minitensor.ops import creation as ops
from minitensor.ops.arrangement import concat as concat_op
from minitensor.ops.movement import astype as astype_op, broadcast_to as broadcast_op, reshape as reshape_op
from minitensor.ops.shapes import broadcast
from minitensor.tensor import Tensor
from minitensor.value import Value

Shape = int | Sequence[int]


def as_shape(shape: Shape) -> tuple[int, ...]:
    """A shape as a tuple of ints.  Raises ShapeError for a negative extent, DTypeError for what is no int."""
    try:
        result = tuple(index(n) for n in shape) if isinstance(shape, Sequence | tuple) else (index(shape),)
    except TypeError:
        raise DTypeError(f"a shape is an int or several, not {shown(shape)}") from None
    if any(n < 0 for n in result):
        raise ShapeError(f"a shape has no negative extents: {shown(result)}")
    return result


def as_integer(what: str, number: Any) -> int:
    """An int, or what is as good as one.  Raises DTypeError for anything else."""
    try:
        return index(number)
    except TypeError:
        raise DTypeError(f"{what} is an int, not {shown(number)}") from None


def as_real(what: str, number: Any) -> int | float:
    """A Python number, or what has one and no dimensions, as a number.  Raises DTypeError for anything else."""
    if isinstance(number, Tensor | np.ndarray | np.generic) and number.ndim == 0:
        number = number.item()
    if not isinstance(number, int | float):
        raise DTypeError(f"{what} is a real number, not {shown(number)}")
    return number


def asarray(
    obj: Any,
    /,
    *,
    dtype: Any = None,
    device: Device | str | None = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with the contents of a number, nested sequences, an array or a tensor.

    Python floats become float32, ints int64; arrays keep their dtype.  Memory is copied, unless
    `copy=False`: then it is borrowed, or ArgumentError (a ValueError) is raised where that cannot be.
    Of a list of tensors that require grad the result is on the tape too.

    >>> asarray([1.0, 2.0]).dtype, asarray([1, 2]).dtype
    (dtype('float32'), dtype('int64'))
    """
    as_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(obj, Tensor):
        result = _from_tensor(obj, wanted, copy)
    else:
        result = _from_object(obj, wanted, copy)
    if requires_grad:
        result.requires_grad = True
    return result


def asarray_beside(obj: Any, dtype: DType) -> Tensor:
    """A tensor of nested sequences that meets one of `dtype`: Python's numbers in them are weak, as they are alone."""
    return asarray(obj, dtype=met_dtype(obj, dtype))


def _from_tensor(x: Tensor, dtype: DType | None, copy: bool | None) -> Tensor:
    if dtype is not None and dtype != x.dtype:
        if copy is False:
            raise ArgumentError(f"a {x.dtype} tensor cannot be had as {dtype} without a copy")
        return apply(astype_op, x, dtype=dtype)
    return Tensor(x.value.snapshot()) if copy else x


def _from_object(obj: Any, dtype: DType | None, copy: bool | None) -> Tensor:
    array = as_array(obj)
    if array is None and _is_tracked(obj):
        stacked, wanted = _stacked(obj), met_dtype(obj) if dtype is None else dtype
        return stacked if wanted is None or wanted == stacked.dtype else apply(astype_op, stacked, dtype=wanted)
    if array is None:
        if copy is False:
            raise ArgumentError(f"{type(obj).__name__} has no memory to borrow; leave out copy=False")
        return Tensor(Value(array_of(obj, dtype)))
    wanted = dtype or as_dtype(array.dtype)
    if copy is False:
        if wanted != array.dtype or not array.dtype.isnative:
            raise ArgumentError(f"a {array.dtype} array cannot be had as {wanted} without a copy")
        return Tensor(Value.borrow(array))
    native = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return Tensor(Value(np.array(convert_array(native, wanted), order="C")))


def _is_tracked(obj: Any) -> bool:
    """Whether a tensor of nested sequences is on the tape."""
    if isinstance(obj, list | tuple):
        return any(_is_tracked(x) for x in obj if type(x) is not int and type(x) is not float)
    return isinstance(obj, Tensor) and obj.requires_grad


def _stacked(obj: Any) -> Tensor:
    """Nested sequences of tensors and numbers as one tensor, by operations, through which gradients go."""
    if not isinstance(obj, list | tuple):
        return asarray(obj)
    parts = [_stacked(x) for x in obj]
    if any(part.shape != parts[0].shape for part in parts):
        raise ShapeError(f"a list of equal shapes makes a tensor, not one of {[part.shape for part in parts]!r:.80}")
    return apply(concat_op, *[apply(reshape_op, part, shape=(1, *part.shape)) for part in parts], axis=0)


def full(
    shape: Shape, fill_value: bool | int | float | complex, *, dtype: Any = None, device: Device | str | None = None
) -> Tensor:
    """A tensor with `fill_value` everywhere; its dtype is that of the number if none is given.

    A tensor without dimensions may be the number.  Raises DTypeError for what is no number.
    """
    as_device(device)
    wanted = as_dtype(dtype) if dtype is not None else getattr(fill_value, "dtype", None) or scalar_dtype(fill_value)
    if isinstance(fill_value, Tensor | np.ndarray | np.generic):
        extents = as_shape(shape)
        if broadcast(fill_value.shape, extents) != extents:
            what = f"a tensor of shape {extents} cannot be filled with one of {fill_value.shape}"
            raise ShapeError(f"{what}: give a number, or a tensor without dimensions")
        return apply(broadcast_op, apply(astype_op, fill_value, dtype=wanted), shape=extents)
    if isinstance(fill_value, complex) and wanted.kind not in "bc":
        raise DTypeError(f"a {wanted} tensor cannot be filled with {fill_value}: give its .real, or a complex dtype")
    if isinstance(fill_value, float) and wanted.kind in "iu":
        fill_value = int(convert_array(np.asarray(fill_value), wanted))
    return apply(ops.full, fill_value, shape=as_shape(shape), dtype=wanted)


def zeros(shape: Shape, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """A tensor of zeros (float32 unless `dtype` says otherwise)."""
    return full(shape, 0, dtype=dtype or DEFAULT_FLOAT, device=device)


def ones(shape: Shape, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """A tensor of ones (float32 unless `dtype` says otherwise)."""
    return full(shape, 1, dtype=dtype or DEFAULT_FLOAT, device=device)


def empty(shape: Shape, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """A tensor whose contents nobody relies on (here: zeros)."""
    return zeros(shape, dtype=dtype, device=device)


def full_like(
    x: Tensor, /, fill_value: bool | int | float | complex, *, dtype: Any = None, device: Device | str | None = None
) -> Tensor:
    """`full` with the shape of `x`, and its dtype unless another is given."""
    x = as_tensor(x)
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """`zeros` with the shape and dtype of `x`."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """`ones` with the shape and dtype of `x`."""
    return full_like(x, 1, dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """`empty` with the shape and dtype of `x`."""
    return zeros_like(x, dtype=dtype, device=device)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Device | str | None = None,
) -> Tensor:
    """start, start + step, ... below `stop` (`arange(n)` counts from 0).

    >>> arange(2, 8, 3)
    tensor([2, 5])
    """
    as_device(device)
    given = (0, start, step) if stop is None else (start, stop, step)
    first, last, each = (as_real(f"arange's {n}", v) for n, v in zip(("start", "stop", "step"), given, strict=True))
    if each == 0:
        raise ArgumentError("arange with a step of 0")
    floating = isinstance(first, float) or isinstance(last, float) or isinstance(each, float)
    wanted = as_dtype(dtype) if dtype is not None else DEFAULT_FLOAT if floating else DEFAULT_INT
    length = _count(first, last, each) if floating else max(0, -int((first - last) // each))
    if wanted.kind not in "iu":
        return apply(ops.arange, first, each, length=length, dtype=wanted)
    if first % 1 or each % 1:  # counted in floats, then cut off
        return apply(astype_op, apply(ops.arange, first, each, length=length, dtype=float64), dtype=wanted)
    first, each = int(first), int(each)
    end, limits = first + max(0, length - 1) * each, np.iinfo(wanted)
    if length and not (limits.min <= min(first, end) and max(first, end) <= limits.max):
        held = f"{wanted} holds {limits.min} to {limits.max}"
        raise ScalarRangeError(f"arange from {shown(first)} to {shown(end)}: {held}")
    return apply(ops.arange, first, each, length=length, dtype=wanted)


def _count(first: float, last: float, step: float) -> int:
    """How many numbers there are from `first` on in steps of `step` before `last`."""
    try:
        return max(0, ceil((last - first) / step))
    except (OverflowError, ValueError):
        steps = f"from {shown(first)} to {shown(last)} in steps of {shown(step)}"
        raise ArgumentError(f"arange {steps} has no end: give finite numbers") from None


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Device | str | None = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop` (with it unless `endpoint` is False)."""
    as_device(device)
    number = as_integer("linspace's number", num)
    if number < 0:
        raise ShapeError(f"linspace of {number} numbers: at least 0 are needed")
    ends: list[Any] = [v if isinstance(v, complex) else as_real("an end of linspace", v) for v in (start, stop)]
    natural = complex64 if any(isinstance(end, complex) for end in ends) else DEFAULT_FLOAT
    try:
        first, last = (end if isinstance(end, complex) else float(end) for end in ends)
        numbers = np.linspace(first, last, number, endpoint=endpoint)
    except OverflowError:
        raise ScalarRangeError(f"linspace from {shown(start)} to {shown(stop)}: floats end at 1.8e308") from None
    except ValueError:
        raise ShapeError(f"linspace of {shown(number)} numbers: more than any memory holds") from None
    return Tensor(Value(convert_array(numbers, natural if dtype is None else as_dtype(dtype))))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: Any = None,
    device: Device | str | None = None,
) -> Tensor:
    """Ones on the `k`-th diagonal (above the main one if positive), zeros elsewhere."""
    as_device(device)
    wanted = DEFAULT_FLOAT if dtype is None else as_dtype(dtype)
    return apply(ops.eye, shape=as_shape((n_rows, n_rows if n_cols is None else n_cols)), k=_diagonal(k), dtype=wanted)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle of the last two dimensions, up to the `k`-th diagonal; zeros above."""
    return _triangle(x, k, lower=True)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle of the last two dimensions, from the `k`-th diagonal on; zeros below."""
    return _triangle(x, k, lower=False)


def _triangle(x: Tensor, k: int, *, lower: bool) -> Tensor:
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"a triangle of a tensor with shape {x.shape}: it needs two dimensions")
    return apply(ops.triangle, x, k=_diagonal(k), lower=lower)


def _diagonal(k: int) -> int:
    """The number of a diagonal; one far outside of every matrix is as good as any other there."""
    return max(-(2**30), min(as_integer("the number of a diagonal", k), 2**30))


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate tensors of a grid: `arrays[n]` repeated along all dimensions but its own.

    With `indexing="xy"` the first two dimensions are exchanged.  Raises ArgumentError for other words.
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid's indexing is 'xy' or 'ij', not {indexing!r}")
    if any(x.ndim > 1 for x in arrays):
        raise ShapeError("meshgrid takes tensors of one dimension")
    order = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        order[:2] = [1, 0]
    shape = tuple(arrays[k].size for k in order)
    grids = []
    for k, x in enumerate(arrays):
        own = tuple(x.size if order[d] == k else 1 for d in range(len(arrays)))
        grids.append(apply(broadcast_op, apply(reshape_op, x, shape=own), shape=shape))
    return tuple(grids)


def from_dlpack(x: Any, /, *, device: Device | str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor from any object with `__dlpack__`; copied unless `copy=False`."""
    as_device(device)
    if isinstance(x, Tensor):
        return asarray(x, copy=copy)
    if not hasattr(x, "__dlpack__"):
        raise DTypeError(f"from_dlpack takes an object with __dlpack__, not {type(x).__name__}; asarray() takes more")
    return asarray(np.from_dlpack(x), copy=copy)
