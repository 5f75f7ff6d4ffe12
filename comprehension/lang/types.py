"""Scalar types of the language, their promotion, and array specifications.

In: type names of a text or NumPy dtypes.  Out: `ScalarType` members and `Spec` records.
Invariant: `promote` is commutative and associative on the types that the language mixes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from comprehension.errors import ComprehensionError


class ScalarType(StrEnum):
    """A scalar type, named as the language names it (reference section 1)."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @classmethod
    def of(cls, dtype: Any) -> ScalarType:
        """The member for a NumPy dtype or anything that names one.

        Raises KeyError where the language has no such type (complex, strings, ...).

        >>> ScalarType.of("float32")
        <ScalarType.FLOAT32: 'float32'>
        """
        return _BY_NUMPY[np.dtype(dtype)]

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of the same width and kind."""
        return _NUMPY[self]

    @property
    def bits(self) -> int:
        """Storage width in bits (bool: 8)."""
        return self.numpy.itemsize * 8

    @property
    def is_float(self) -> bool:
        return self.numpy.kind == "f"

    @property
    def is_integer(self) -> bool:
        """Signed or unsigned; bool is not an integer."""
        return self.numpy.kind in "iu"

    @property
    def is_signed(self) -> bool:
        return self.numpy.kind == "i"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest number of an integer type.

        >>> ScalarType.INT8.limits, ScalarType.UINT8.limits
        ((-128, 127), (0, 255))
        """
        lowest = -(1 << (self.bits - 1)) if self.is_signed else 0
        return lowest, lowest + (1 << self.bits) - 1

    def __str__(self) -> str:
        return self.value


_NUMPY = {member: np.dtype(member.value) for member in ScalarType}
_BY_NUMPY = {dtype: member for member, dtype in _NUMPY.items()}


def promote(left: ScalarType, right: ScalarType) -> ScalarType:
    """The type in which two operands meet (reference section 1).

    Float beats int, the wider float wins; two unsigned give the wider unsigned, otherwise a
    signed int of the larger width; bool with bool stays bool, and bool gives way to a number.

    >>> promote(ScalarType.UINT8, ScalarType.INT32)
    <ScalarType.INT32: 'int32'>
    >>> promote(ScalarType.FLOAT32, ScalarType.INT64)
    <ScalarType.FLOAT32: 'float32'>
    """
    if left is right:
        return left
    if left is ScalarType.BOOL:
        return right
    if right is ScalarType.BOOL:
        return left
    if left.is_float or right.is_float:
        floats = [t for t in (left, right) if t.is_float]
        return max(floats, key=lambda t: t.bits)
    bits = max(left.bits, right.bits)
    unsigned = not left.is_signed and not right.is_signed
    return ScalarType(f"uint{bits}" if unsigned else f"int{bits}")


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and type of an array without its data (`tc.Spec`): what a kernel is specialised to.

    A dimension is an int (elements) or, for symbolic compilation, a size's name.

    Raises ComprehensionError for a type that the language does not have, and for what is no dimension.

    >>> Spec((4, 3), "float32").dtype
    <ScalarType.FLOAT32: 'float32'>
    >>> Spec((4, -3), "float32")
    Traceback (most recent call last):
    ...
    comprehension.errors.ComprehensionError: Spec: dimension 1 is -3; a size is at least 0
    """

    shape: tuple[int | str, ...]
    dtype: ScalarType

    def __init__(self, shape: Iterable[int | str], dtype: Any) -> None:
        object.__setattr__(self, "shape", _dimensions(shape))
        object.__setattr__(self, "dtype", dtype if isinstance(dtype, ScalarType) else _scalar_type(dtype))


def _dimensions(shape: Iterable[int | str]) -> tuple[int | str, ...]:
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise ComprehensionError(f"Spec: a shape is a tuple of ints and names, not {shape!r:.60}")
    return tuple(dim if type(dim) is int and dim >= 0 else _dimension(axis, dim) for axis, dim in enumerate(shape))


def _dimension(axis: int, dim: Any) -> int | str:
    if isinstance(dim, str):
        return dim
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise ComprehensionError(f"Spec: dimension {axis} is {dim!r:.60}; it must be an int, or the name of a size")
    size = operator.index(dim)
    if size < 0:
        raise ComprehensionError(f"Spec: dimension {axis} is {size}; a size is at least 0")
    return size


def _scalar_type(dtype: Any) -> ScalarType:
    if isinstance(dtype, str) and dtype == "float":
        raise ComprehensionError('Spec: "float" is float32 in a text and float64 in NumPy; say "float32" or "float64"')
    try:
        return ScalarType.of(dtype)
    except Exception:  # whatever NumPy says of what names no type
        raise ComprehensionError(f"Spec: no type {dtype!r:.60}; there are {', '.join(ScalarType)}") from None
