"""What people write down: numbers and nested sequences of numbers, tensors and arrays, as one array.

In: an object, and the dtype wanted if there is one.  Out: an array of our own; an error names the element at fault.
Invariant: Python's numbers are weak: beside a tensor or an array they take its kind, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from comprehension.lang.scalars import convert_array
from minitensor.dispatch import as_operand, read, refuse_mask
from minitensor.dtypes import DEFAULT_COMPLEX, DEFAULT_FLOAT, DType, as_dtype, float64, result_type, uint64
from minitensor.errors import DTypeError, MinitensorError, ScalarRangeError, ShapeError, shown
from minitensor.tensor import Tensor

_NUMBERS = (bool, int, float, complex)
_DEEPEST = 64  # dimensions that NumPy has


def as_array(obj: Any) -> np.ndarray[Any, Any] | None:
    """A NumPy array over the memory of `obj`, or None for Python's own numbers and sequences.

    Raises ArgumentError for an array with a mask.
    """
    if isinstance(obj, np.ndarray | np.generic):
        refuse_mask(obj)
        return np.asarray(obj)
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(obj)
    if hasattr(obj, "__array__") or hasattr(obj, "__array_interface__") or isinstance(obj, memoryview | bytearray):
        return np.asarray(obj)
    return None


def array_of(obj: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    """The array that a number or nested sequences make, of `dtype` if one is given.

    Raises DTypeError for what is no number,
    ScalarRangeError for an int that the dtype cannot hold, ShapeError for sequences that do not fit together.
    """
    kinds: set[Any] = set()
    plain = _plain(obj, kinds)
    wanted = _meeting(kinds) if dtype is None else dtype
    try:
        if wanted is None:  # ints alone, whose size decides, or what only NumPy can read
            array = np.asarray(plain)
            wanted = uint64 if kinds <= {bool, int} and array.dtype.kind == "f" else as_dtype(array.dtype)
            return np.array(plain, dtype=wanted)
        if wanted.kind in "bfc" or all(_is_integral(kind) for kind in kinds):
            if not all(_is_number(kind) for kind in kinds):
                raise TypeError("it holds what is no number")
            return np.array(plain, dtype=wanted)
        array = np.asarray(plain, dtype=float64 if kinds <= {bool, int, float} else None)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its elements are {array.dtype}")
        return np.array(convert_array(array, wanted))
    except (ValueError, TypeError, OverflowError) as error:
        raise _refusal(obj, wanted, error) from error


def _is_integral(kind: Any) -> bool:
    return kind in (bool, int) or (isinstance(kind, np.dtype) and kind.kind in "biu")


def _is_number(kind: Any) -> bool:
    """Whether elements of a kind are numbers, or can say which number they are (Fraction, Decimal)."""
    return isinstance(kind, np.dtype) or kind in _NUMBERS or hasattr(kind, "__float__")


def met_dtype(obj: Any, *others: DType) -> DType | None:
    """The dtype in which the elements of nested sequences meet, and `others`; None where NumPy has to look at them."""
    kinds: set[Any] = set(others)
    _plain(obj, kinds)
    return _meeting(kinds)


def _plain(obj: Any, kinds: set[Any], depth: int = 0) -> Any:
    """Nested sequences with tensors and arrays as arrays; `kinds` gets the types of numbers and the dtypes met."""
    if isinstance(obj, list | tuple):
        if depth == _DEEPEST:
            raise ShapeError(f"a {type(obj).__name__} nested more than {_DEEPEST} deep: no tensor has more dimensions")
        return [_plain(x, kinds, depth + 1) for x in obj]
    if type(obj) in _NUMBERS:
        kinds.add(type(obj))
        return obj
    if isinstance(obj, _NUMBERS) and not isinstance(obj, np.generic):  # an IntEnum, say
        return _plain(as_operand(obj), kinds)
    array = read(obj.value) if isinstance(obj, Tensor) else as_array(obj)
    kinds.add(type(obj) if array is None else as_dtype(array.dtype))
    return obj if array is None else array


def _meeting(kinds: set[Any]) -> DType | None:
    dtypes = [kind for kind in kinds if isinstance(kind, np.dtype)]
    numbers = [kind(0) for kind in _NUMBERS if kind in kinds]
    if dtypes:
        return result_type(*dtypes, *numbers)
    if complex in kinds:
        return DEFAULT_COMPLEX
    return DEFAULT_FLOAT if float in kinds or not kinds else None


# --- refusals --------------------------------------------------------------------------------------------


def _refusal(obj: Any, dtype: DType | None, error: Exception) -> MinitensorError:
    """What to raise for an object that makes no array: the first element at fault, and where it stands."""
    what = f"no {'' if dtype is None else f'{dtype} '}tensor can be made of this {type(obj).__name__}"
    for place, x in _elements(obj):
        element = f"element {place} is {shown(x)}" if place else f"it is {shown(x)}"
        if not isinstance(x, _NUMBERS) and not isinstance(x, Tensor) and as_array(x) is None:
            kind = "" if x is None else f", a {type(x).__name__}"
            return DTypeError(f"{what}: {element}{kind}; give numbers, or nested lists or arrays of numbers")
        if type(x) is complex and dtype is not None and dtype.kind not in "bc":
            return DTypeError(f"{what}: {element}, which is complex; give its .real, or a complex dtype")
        if type(x) is int and not _fits(x, dtype):
            limits = "int64 and uint64" if dtype is None else dtype
            return ScalarRangeError(f"{what}: {element}, which {limits} cannot hold; give a float or another dtype")
    return ShapeError(f"{what}: {_ragged(obj) or error}")


def _fits(number: int, dtype: DType | None) -> bool:
    if dtype is None:
        return -(2**63) <= number < 2**64
    try:
        np.asarray(number, dtype=dtype)
    except OverflowError:
        return False
    return True


def _elements(obj: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """What stands in nested sequences, each with its subscripts."""
    if not isinstance(obj, list | tuple):
        yield place, obj
        return
    for k, x in enumerate(obj):
        yield from _elements(x, f"{place}[{k}]")


def _ragged(obj: Any, place: str = "") -> str:
    """Two elements side by side with other shapes, in words; empty where there are none."""
    if not isinstance(obj, list | tuple):
        return ""
    inside = next(filter(None, (_ragged(x, f"{place}[{k}]") for k, x in enumerate(obj))), "")
    shapes = [np.shape(_plain(x, set())) for x in obj] if not inside else []
    for k, shape in islice(enumerate(shapes), 1, None):
        if shape != shapes[0]:
            return (
                f"element {place}[0] has shape {shapes[0]} and element {place}[{k}] has {shape}; "
                "all need one shape: pad them, or make a tensor of each"
            )
    return inside
