"""Arithmetic on single values, exactly as the language means it (reference section 10, types).

In, out: integers as Python ints within their type, bool as bool, floats as NumPy scalars of their type.
Invariant: integers wrap, division by zero gives 0, floats round at each operation to the operands' type,
minimum and maximum propagate NaN.  Nothing raises and nothing warns (callers run under `np.errstate`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang.linear import floor_div, modulo
from comprehension.lang.tree import ReduceOp
from comprehension.lang.types import ScalarType

Value = Any  # int, bool or a NumPy float scalar, by type
_FLOAT: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": np.divide,
    "%": np.mod,  # in KernelIR only: the language has it for integers
}
_INTEGER: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": floor_div,
    "%": modulo,
}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
EXACT: dict[str, Callable[[int, int], Any]] = {**_INTEGER, **_COMPARE, "min": min, "max": max}
"""Arithmetic and comparisons of integers that do not wrap."""


def from_storage(value: Any, dtype: ScalarType) -> Value:
    """An array's element, or a Python number for a scalar parameter, as a value."""
    if dtype is ScalarType.BOOL:
        return bool(value)
    return int(value) if dtype.is_integer else dtype.numpy.type(value)


def wrap(value: int, dtype: ScalarType) -> int:
    """The integer modulo the width of its type.

    >>> wrap(130, ScalarType.INT8), wrap(-1, ScalarType.UINT8)
    (-126, 255)
    """
    half = 1 << (dtype.bits - 1) if dtype.is_signed else 0
    return (value + half) % (1 << dtype.bits) - half


def arithmetic(op: str, dtype: ScalarType) -> Callable[[Value, Value], Value]:
    """`+ - * / %`, comparisons, `min` and `max` on operands of one type."""
    if op in _COMPARE:
        compare = _COMPARE[op]
        return lambda a, b: bool(compare(a, b))
    if op in ("min", "max"):
        return minimum if op == "min" else maximum
    if dtype.is_float:
        return _FLOAT[op]
    compute = _INTEGER[op]
    return lambda a, b: wrap(compute(a, b), dtype)


def negate(value: Value, dtype: ScalarType) -> Value:
    return -value if dtype.is_float else wrap(-value, dtype)


def minimum(a: Value, b: Value) -> Value:
    """The smaller; NaN if either is; of two equal ones (zeros have signs) the second."""
    return a if a != a or a < b else b


def maximum(a: Value, b: Value) -> Value:
    """The larger; NaN if either is; of two equal ones the second."""
    return a if a != a or a > b else b


def convert(value: Value, source: ScalarType, to: ScalarType) -> Value:
    """A cast: floats truncate towards zero, integers wrap, bool is 0 or 1, anything not 0 is true.

    A float beyond an integer type gives that type's nearest value, NaN gives 0, as the machines' saturating
    conversions do.

    >>> convert(np.float32(-3e9), ScalarType.FLOAT32, ScalarType.INT32)
    -2147483648
    >>> convert(300, ScalarType.INT32, ScalarType.UINT8)
    44
    """
    if to is ScalarType.BOOL:
        return bool(value != 0)
    if to.is_integer:
        if source.is_float:
            return _saturated(float(value), to)
        return wrap(int(value), to)
    if source.is_float:
        return to.numpy.type(value)
    # through NumPy's 64-bit integers, so that the conversion rounds once
    return to.numpy.type(np.uint64(value) if value > 0 else np.int64(value))


def convert_array(x: Any, dtype: np.dtype[Any]) -> Any:
    """The same of an array, element by element, where NumPy gives what the processor does.

    >>> convert_array(np.float32([-2, 1.7, 300, np.nan]), np.dtype("uint8"))
    array([  0,   1, 255,   0], dtype=uint8)
    """
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        return x.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        least, beyond = x.dtype.type(info.min), x.dtype.type(2.0 ** (info.bits - (dtype.kind == "i")))
        result = np.asarray(x.astype(dtype))
    if not ((x >= least) & (x < beyond)).all():
        result[x < least], result[x >= beyond], result[np.isnan(x)] = info.min, info.max, 0
    return result


def _saturated(value: float, to: ScalarType) -> int:
    limits = np.iinfo(to.numpy)
    if math.isnan(value):
        return 0
    return (
        max(int(limits.min), min(int(limits.max), math.trunc(value)))
        if math.isfinite(value)
        else (int(limits.max if value > 0 else limits.min))
    )


def identity(op: ReduceOp, dtype: ScalarType) -> Value:
    """What a reduction starts from: 0, 1, infinities, or the type's extremes.

    >>> identity("max", ScalarType.INT8)
    -128
    """
    if op in ("+", "*"):
        return from_storage(0 if op == "+" else 1, dtype)
    if dtype is ScalarType.BOOL:
        return op == "min"
    if dtype.is_float:
        return dtype.numpy.type(math.inf if op == "min" else -math.inf)
    limits = np.iinfo(dtype.numpy)
    return int(limits.max if op == "min" else limits.min)
