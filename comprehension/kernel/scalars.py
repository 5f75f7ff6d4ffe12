"""Arithmetic on single values with exactly the language's meaning, for KernelIR.

In: NumPy scalars of a `ScalarType` and the operators of KernelIR.  Out: a NumPy scalar of the result's type.
Invariant: every operation rounds or wraps to its own type; no operation faults (division of integers by
zero gives 0, as does the remainder); `min` and `max` propagate NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang import special
from comprehension.lang.builtins import BUILTINS, evaluate
from comprehension.lang.tree import ReduceOp
from comprehension.lang.types import ScalarType

Scalar = Any  # a NumPy scalar of one of the language's types


def cast(value: Scalar | int | float | bool, dtype: ScalarType) -> Scalar:
    """`value` in `dtype`: integers wrap, floats truncate towards zero, bool is 0 or 1.

    >>> print(cast(300, ScalarType.UINT8), cast(np.float32(-2.7), ScalarType.INT32))
    44 -2
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if dtype.is_integer:
            return np.array(value % (1 << dtype.bits), dtype=f"u{dtype.bits // 8}").astype(dtype.numpy)[()]
        return dtype.numpy.type(value)
    with np.errstate(all="ignore"):
        return np.asarray(value).astype(dtype.numpy)[()]


def _quotient(a: Scalar, b: Scalar) -> Scalar:
    if a.dtype.kind == "f":
        return a / b
    return np.floor_divide(a, b) if b else a.dtype.type(0)


def _remainder(a: Scalar, b: Scalar) -> Scalar:
    if a.dtype.kind == "f":
        return np.mod(a, b)
    return np.mod(a, b) if b else a.dtype.type(0)


_BINARY: dict[str, Callable[[Scalar, Scalar], Scalar]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _quotient,
    "%": _remainder,
    "min": np.minimum,
    "max": np.maximum,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
    "&&": np.logical_and,
    "||": np.logical_or,
}


def binary(op: str, left: Scalar, right: Scalar, dtype: ScalarType) -> Scalar:
    """`left op right` for two values of one type, rounded to `dtype`.

    >>> print(binary("/", np.int32(-7), np.int32(2), ScalarType.INT32))
    -4
    """
    with np.errstate(all="ignore"):
        return cast(_BINARY[op](left, right), dtype)


def unary(op: str, operand: Scalar, dtype: ScalarType) -> Scalar:
    with np.errstate(all="ignore"):
        return cast(np.logical_not(operand) if op == "!" else np.negative(operand), dtype)


def reduce_identity(op: ReduceOp, dtype: ScalarType) -> Scalar:
    """The value that leaves the other operand as it is.

    >>> print(reduce_identity("max", ScalarType.FLOAT32), reduce_identity("min", ScalarType.INT8))
    -inf 127
    """
    if op in ("+", "*"):
        return cast(0 if op == "+" else 1, dtype)
    if dtype is ScalarType.BOOL:
        return np.bool_(op == "min")
    if dtype.is_float:
        return dtype.numpy.type(math.inf if op == "min" else -math.inf)
    info = np.iinfo(dtype.numpy)
    return dtype.numpy.type(info.max if op == "min" else info.min)


def fma(a: Scalar, b: Scalar, c: Scalar, dtype: ScalarType) -> Scalar:
    """a * b + c rounded once.

    >>> print(fma(np.float32(1 + 2**-12), np.float32(1 - 2**-12), np.float32(-1), ScalarType.FLOAT32))
    -5.9604645e-08
    """
    with np.errstate(all="ignore"):
        return cast(special.fma(a, b, c), dtype)


def builtin(function: str, arguments: list[Scalar], dtype: ScalarType) -> Scalar:
    """A function of the language; its arguments are taken in the type of its result."""
    return evaluate(BUILTINS[function], tuple(cast(a, dtype) for a in arguments))
