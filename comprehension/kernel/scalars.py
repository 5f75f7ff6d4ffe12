"""Arithmetic on single values for KernelIR: that of `lang.scalars`, on NumPy scalars.

In: NumPy scalars of a `ScalarType` and the operators of KernelIR.  Out: a NumPy scalar of the result's type.
Invariant: every result is what the language means by the operation, in its own type; no operation faults or warns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang import special
from comprehension.lang.builtins import BUILTINS, evaluate
from comprehension.lang.scalars import arithmetic, convert, from_storage, identity, negate
from comprehension.lang.tree import ReduceOp
from comprehension.lang.types import ScalarType

Scalar = Any  # a NumPy scalar of one of the language's types


def cast(value: Scalar | int | float | bool, dtype: ScalarType) -> Scalar:
    """`value` in `dtype`: integers wrap, floats truncate towards zero, bool is 0 or 1.

    >>> print(cast(300, ScalarType.UINT8), cast(np.float32(-2.7), ScalarType.INT32))
    44 -2
    """
    source = _type_of(value)
    with np.errstate(all="ignore"):
        return dtype.numpy.type(value if source is dtype else convert(value, source, dtype))


def _type_of(value: Scalar | int | float | bool) -> ScalarType:
    """The type of a scalar; Python's own numbers are bool, int64 and float64."""
    match value:
        case bool():
            return ScalarType.BOOL
        case int():
            return ScalarType.INT64
    return ScalarType.of(value.dtype) if isinstance(value, np.generic) else ScalarType.FLOAT64


def binary(op: str, left: Scalar, right: Scalar, dtype: ScalarType) -> Scalar:
    """`left op right` for two values of one type, rounded to `dtype`.

    >>> print(binary("/", np.int32(-7), np.int32(2), ScalarType.INT32))
    -4
    """
    if op in ("&&", "||"):
        return np.bool_(left and right if op == "&&" else left or right)
    operands = _type_of(left)
    with np.errstate(all="ignore"):
        return dtype.numpy.type(arithmetic(op, operands)(from_storage(left, operands), from_storage(right, operands)))


def unary(op: str, operand: Scalar, dtype: ScalarType) -> Scalar:
    if op == "!":
        return np.bool_(not operand)
    with np.errstate(all="ignore"):
        return dtype.numpy.type(negate(from_storage(operand, dtype), dtype))


def reduce_identity(op: ReduceOp, dtype: ScalarType) -> Scalar:
    """The value that leaves the other operand as it is.

    >>> print(reduce_identity("max", ScalarType.FLOAT32), reduce_identity("min", ScalarType.INT8))
    -inf 127
    """
    return dtype.numpy.type(identity(op, dtype))


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
