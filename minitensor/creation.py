"""Tensors from nothing, from Python and from other libraries.

In: shapes, Python numbers and nested lists, NumPy arrays, whatever speaks DLPack.  Out: tensors.
Invariant: `asarray` copies unless `copy=False`; a borrowed tensor knows that others may write its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from minitensor.device import Device, as_device
from minitensor.dispatch import apply, read
from minitensor.dtypes import DEFAULT_FLOAT, DEFAULT_INT, DType, as_dtype, complex64, scalar_dtype
from minitensor.errors import DTypeError, ShapeError
from minitensor.ops import creation as ops
from minitensor.ops.movement import astype as astype_op
from minitensor.tensor import Tensor
from minitensor.value import Value

Shape = int | Sequence[int]


def as_shape(shape: Shape) -> tuple[int, ...]:
    """A shape as a tuple of ints.  Raises ShapeError for a negative extent."""
    result = tuple(index(n) for n in shape) if isinstance(shape, Sequence | tuple) else (index(shape),)
    if any(n < 0 for n in result):
        raise ShapeError(f"a shape has no negative extents: {result}")
    return result


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
    `copy=False`: then it is borrowed, or ShapeError (a ValueError) is raised where that cannot be.

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


def _from_tensor(x: Tensor, dtype: DType | None, copy: bool | None) -> Tensor:
    if dtype is not None and dtype != x.dtype:
        if copy is False:
            raise ShapeError(f"a {x.dtype} tensor cannot be had as {dtype} without a copy")
        return apply(astype_op, x, dtype=dtype)
    return Tensor(x.value.snapshot()) if copy else x


def _from_object(obj: Any, dtype: DType | None, copy: bool | None) -> Tensor:
    array = _as_array(obj)
    if array is None:
        if copy is False:
            raise ShapeError(f"a {type(obj).__name__} has no memory to borrow: copy=False cannot be")
        array = _from_python(obj, dtype)
        return Tensor(Value(array))
    wanted = dtype or as_dtype(array.dtype)
    if copy is False:
        if wanted != array.dtype or not array.dtype.isnative:
            raise ShapeError(f"a {array.dtype} array cannot be had as {wanted} without a copy")
        return Tensor(Value.borrow(array))
    return Tensor(Value(np.array(array, dtype=wanted, order="C")))


def _as_array(obj: Any) -> np.ndarray[Any, Any] | None:
    """A NumPy array over the memory of `obj`, or None for Python's own numbers and sequences."""
    if isinstance(obj, np.ndarray | np.generic):
        return np.asarray(obj)
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(obj)
    if hasattr(obj, "__array__") or hasattr(obj, "__array_interface__") or isinstance(obj, memoryview | bytearray):
        return np.asarray(obj)
    return None


def _from_python(obj: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    plain = _plain(obj)
    try:
        array = np.asarray(plain) if dtype is None else np.asarray(plain, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise ShapeError(f"no array can be made of this {type(obj).__name__}: {error}") from error
    if dtype is None and array.dtype.kind in "fc" and not _has_dtype(obj):
        array = array.astype(DEFAULT_FLOAT if array.dtype.kind == "f" else complex64)
    if array.dtype.kind not in "biufc":
        raise DTypeError(f"no tensor can be made of {type(obj).__name__} with elements like {array.dtype}")
    return np.array(array, dtype=as_dtype(array.dtype))


def _plain(obj: Any) -> Any:
    """Nested sequences with tensors and arrays as arrays."""
    if isinstance(obj, Tensor):
        return read(obj.value)
    if isinstance(obj, list | tuple):
        return [_plain(x) for x in obj]
    return obj


def _has_dtype(obj: Any) -> bool:
    """Whether the first element knows its dtype (a tensor or a NumPy scalar in a list)."""
    while isinstance(obj, list | tuple) and obj:
        obj = obj[0]
    return hasattr(obj, "dtype")


def full(
    shape: Shape, fill_value: bool | int | float | complex, *, dtype: Any = None, device: Device | str | None = None
) -> Tensor:
    """A tensor with `fill_value` everywhere; its dtype is that of the number if none is given."""
    as_device(device)
    wanted = scalar_dtype(fill_value) if dtype is None else as_dtype(dtype)
    return apply(ops.full, fill_value, shape=as_shape(shape), dtype=wanted)


def zeros(shape: Shape, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """A tensor of zeros (float32 unless `dtype` says otherwise)."""
    return full(shape, 0, dtype=dtype or DEFAULT_FLOAT, device=device)


def ones(shape: Shape, *, dtype: Any = None, device: Device | str | None = None) -> Tensor:
    """A tensor of ones (float32 unless `dtype` says otherwise)."""
    return full(shape, 1, dtype=dtype or DEFAULT_FLOAT, device=device)


__all__ = ["DEFAULT_INT", "as_shape", "asarray", "full", "ones", "zeros"]
