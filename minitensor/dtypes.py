"""Data types: the objects that users name, and the rules by which types meet.

In: NumPy dtypes and Python scalars.  Out: the dtype of a result.
Invariant: `promote` is the array standard's table where the standard has one; elsewhere the higher kind
wins at its own width (`int64` with `float32` gives `float32`, as the comprehension language has it).
Dtype objects are NumPy's own: any library that speaks NumPy understands them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minitensor.errors import ArgumentError, DTypeError, shown

DType = np.dtype[Any]

bool_ = np.dtype("bool")
int8, int16, int32, int64 = (np.dtype(f"int{bits}") for bits in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{bits}") for bits in (16, 32, 64))
complex64, complex128 = np.dtype("complex64"), np.dtype("complex128")

DEFAULT_FLOAT, DEFAULT_INT, DEFAULT_COMPLEX = float32, int64, complex64
ALL = (
    *(bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64),
    *(float16, float32, float64, complex64, complex128),
)
_NATIVE = {dtype: dtype for dtype in ALL}  # the objects that NumPy's own results have: `is` compares them
_KIND_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _promote(left: DType, right: DType) -> DType:
    kinds = {left.kind, right.kind}
    if ("c" in kinds and kinds <= set("fc")) or len({_KIND_RANK[k] for k in kinds}) == 1:
        # The standard leaves uint64 with a signed type open; NumPy's float64 would be a surprise.
        return int64 if kinds == {"u", "i"} and uint64 in (left, right) else _NATIVE[np.promote_types(left, right)]
    return max(left, right, key=lambda d: _KIND_RANK[d.kind])


PROMOTED: dict[tuple[DType, DType], DType] = {(a, b): _promote(a, b) for a in ALL for b in ALL}


def as_dtype(dtype: Any) -> DType:
    """The supported NumPy dtype that `dtype` names; Python's `float` is float32, `complex` complex64, by name too.

    Raises DTypeError for a type that tensors cannot have.

    >>> as_dtype(float), as_dtype("float"), as_dtype("float64")
    (dtype('float32'), dtype('float32'), dtype('float64'))
    """
    if dtype is float or (type(dtype) is str and dtype == "float"):
        return DEFAULT_FLOAT
    if dtype is complex or (type(dtype) is str and dtype == "complex"):
        return DEFAULT_COMPLEX
    try:
        found = np.dtype(dtype) if dtype is not None else None  # to NumPy None is float64
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(f"no dtype {dtype!r:.60}; tensors have one of {', '.join(map(str, ALL))}")
    if found not in _NATIVE:
        found = found.newbyteorder("=")
    if found not in _NATIVE:
        raise DTypeError(f"dtype {found} is not supported; tensors have one of {', '.join(map(str, ALL))}")
    return _NATIVE[found]


def weak_dtype(dtype: DType, scalar: bool | int | float | complex) -> DType:
    """The dtype in which a tensor of `dtype` meets a Python scalar.

    >>> weak_dtype(int64, 1.0), weak_dtype(float64, 1.0), weak_dtype(bool_, 2)
    (dtype('float32'), dtype('float64'), dtype('int64'))
    """
    kind = dtype.kind
    if isinstance(scalar, bool) or kind == "c":
        return dtype
    if isinstance(scalar, int):
        return DEFAULT_INT if kind == "b" else dtype
    if isinstance(scalar, float):
        return dtype if kind == "f" else DEFAULT_FLOAT
    return complex128 if dtype == float64 else DEFAULT_COMPLEX


def scalar_dtype(scalar: bool | int | float | complex) -> DType:
    """The dtype of a Python scalar by itself.  Raises DTypeError for anything else."""
    if isinstance(scalar, bool):
        return bool_
    if isinstance(scalar, int):
        return DEFAULT_INT
    if isinstance(scalar, float):
        return DEFAULT_FLOAT
    if isinstance(scalar, complex):
        return DEFAULT_COMPLEX
    raise DTypeError(f"a number is expected, not {shown(scalar)}")


def to_float(dtype: DType) -> DType:
    """The dtype in which functions such as `exp` work: floats stay, all else becomes the default float."""
    return dtype if dtype.kind in "fc" else DEFAULT_FLOAT


def to_accumulator(dtype: DType) -> DType:
    """The dtype of a sum: small integers widen to 64 bits, floats stay (array standard, `sum`)."""
    if dtype.kind in "bi":
        return int64
    return uint64 if dtype.kind == "u" else dtype


def to_real(dtype: DType) -> DType:
    """The dtype of a magnitude."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """Machine limits of a floating-point dtype (`mt.finfo`)."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True, slots=True)
class IntInfo:
    """Machine limits of an integer dtype (`mt.iinfo`)."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(x: Any) -> DType:
    return as_dtype(getattr(x, "dtype", x))


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating-point dtype, or of a tensor's.

    >>> finfo(float32).bits
    32
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "fc":
        raise DTypeError(f"finfo is of floating-point dtypes, not of {dtype}; iinfo is of integers")
    info = np.finfo(dtype)
    eps, largest, least, normal = (float(v) for v in (info.eps, info.max, info.min, info.smallest_normal))
    return FloatInfo(info.bits, eps, largest, least, normal, to_real(dtype))


def iinfo(type: Any, /) -> IntInfo:
    """Limits of an integer dtype, or of a tensor's."""
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo is of integer dtypes, not of {dtype}; finfo is of floats")
    info = np.iinfo(dtype)
    return IntInfo(info.bits, int(info.max), int(info.min), dtype)


_NAMED_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> bool:
    """Whether `dtype` is of a kind (array standard's names), or is one of several.

    >>> isdtype(float32, ("integral", "real floating"))
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str) and kind in _NAMED_KINDS:
        return as_dtype(dtype).kind in _NAMED_KINDS[kind]
    if isinstance(kind, str):
        raise ArgumentError(f"unknown kind {kind!r} of dtypes; known are {', '.join(_NAMED_KINDS)}")
    return bool(dtype == kind)


def result_type(*operands: Any) -> DType:
    """The dtype in which tensors, dtypes and Python scalars meet; at least one of them has a dtype.

    >>> result_type(int8, uint8), result_type(int64, 1.5)
    (dtype('int16'), dtype('float32'))
    """
    scalars = [x for x in operands if type(x) in (bool, int, float, complex)]
    found = [_dtype_of(x) for x in operands if type(x) not in (bool, int, float, complex, type)]
    found += [as_dtype(x) for x in operands if type(x) is type]
    if not found:
        raise DTypeError("result_type of Python scalars only: at least one operand has a dtype")
    result = found[0]
    for dtype in found[1:]:
        result = PROMOTED[result, dtype]
    for scalar in scalars:
        result = weak_dtype(result, scalar)
    return result


def can_cast(from_: Any, to: DType, /) -> bool:
    """Whether promotion takes `from_` (a dtype or a tensor) to `to`."""
    target = as_dtype(to)
    return PROMOTED[_dtype_of(from_), target] == target
