"""Arrays by protocol: what comes in as NumPy's view, what goes out as the caller's own kind.

In: NumPy arrays; CPU tensors of any library with DLPack (torch, JAX, minitensor, ...); objects with
`__array_interface__`.  Out: NumPy views on their memory, and results wrapped by the library they came from.
Invariant: nothing is copied and no library is imported here: a tensor's own module wraps the result.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from comprehension.errors import ComprehensionError
from comprehension.lang.types import ScalarType
from comprehension.layout import Layout, layout_of

Array = npt.NDArray[Any]
DENSE = 0x0101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED
_ALIGNED = 0x0100
_DLPACK_CPU = (1, 3)  # kDLCPU, kDLCUDAHost
_word: Any = ctypes.c_size_t.from_address


def _data_at() -> int:
    """Where in an array object CPython's NumPy keeps the address of its first element; 0 where that is not found.

    Found by looking, so that another layout of objects costs time and nothing else.
    """
    if sys.implementation.name != "cpython":
        return 0
    probes = [np.empty(number + 1) for number in range(3)]
    for at in range(object.__basicsize__, np.ndarray.__basicsize__, ctypes.sizeof(ctypes.c_size_t)):
        if all(_word(id(probe) + at).value == probe.ctypes.data for probe in probes):
            return at
    return 0


_DATA_AT = _data_at()


@dataclass(frozen=True, slots=True)
class Family:
    """A library's arrays: how a result becomes one of them."""

    name: str
    wrap: Callable[[Array], Any]


NUMPY = Family("numpy", lambda array: array)


def view_of(value: Any, name: str) -> tuple[Array, Family]:
    """A NumPy view on the memory of an array, and its family.  `name` is the parameter's, for messages.

    Raises ComprehensionError for what is no array, lives on a device, or does not lend its memory.

    >>> view_of([1, 2], "A")
    Traceback (most recent call last):
    ...
    comprehension.errors.ComprehensionError: A: expected an array, found a list; use numpy.asarray
    """
    if type(value) is np.ndarray:
        return value, NUMPY
    if isinstance(value, np.ndarray):
        if hasattr(value, "mask"):  # of numpy.ma: a kernel would compute with what is masked
            raise ComprehensionError(f"{name}: this {_kind(value)} has a mask; pass .data or .filled(value)")
        return value, NUMPY
    if _offers(value, "__cuda_array_interface__"):
        raise ComprehensionError(f"{name}: this {_kind(value)} is on a CUDA device; a CPU kernel needs host memory")
    if _offers(value, "__dlpack__"):
        return _by_dlpack(value, name), _family_of(value)
    if _offers(value, "__array_interface__"):
        try:
            return np.asarray(value), NUMPY
        except Exception as reason:  # what it says of its memory cannot be
            raise ComprehensionError(f"{name}: this {_kind(value)} does not lend its memory: {reason}") from reason
    advice = "; use numpy.asarray" if isinstance(value, (list, tuple, int, float, bool, np.generic)) else ""
    raise ComprehensionError(f"{name}: expected an array, found a {_kind(value)}{advice}")


def is_array(value: Any) -> bool:
    """Whether `view_of` would accept it, its device apart."""
    if isinstance(value, np.ndarray):
        return True
    return not isinstance(value, np.generic) and any(
        _offers(value, protocol) for protocol in ("__dlpack__", "__array_interface__", "__cuda_array_interface__")
    )


def _offers(value: Any, protocol: str) -> bool:
    """Whether a value has a protocol; one that fails at the question does, and will say why."""
    try:
        return hasattr(value, protocol)
    except Exception:
        return True


def one_family(families: Iterable[Family]) -> Family:
    """The family of all; NumPy where there is none.  Raises ComprehensionError for a mixture.

    >>> one_family([]).name
    'numpy'
    """
    found: Family | None = None
    for family in families:
        if found is not None and family.name != found.name:
            raise ComprehensionError(
                f"arrays of {found.name} and of {family.name} in one call; convert one of them, so that it is clear"
                " what the result should be"
            )
        found = family
    return found or NUMPY


def address_of(array: Array) -> int:
    """The address of an array's first element (a tenth of the price of `array.ctypes.data`)."""
    found: int = _word(id(array) + _DATA_AT).value if _DATA_AT else array.ctypes.data
    return found


def is_addressable(array: Array) -> bool:
    """Whether elements lie whole numbers of elements apart, each at an address that its type allows."""
    flags = array.flags.num
    if not flags & _ALIGNED or not array.dtype.isnative:
        return False
    if flags & DENSE == DENSE:
        return True
    size = array.itemsize
    return not any(stride % size for stride in array.strides)


def layout_of_array(array: Array) -> Layout | None:
    """The layout of an addressable array; None for dense rows."""
    if array.flags.c_contiguous:
        return None
    size = array.itemsize
    return layout_of(array.shape, tuple([stride // size for stride in array.strides]))


def scalar_of(value: Any, dtype: ScalarType, name: str) -> np.ndarray[Any, Any]:
    """A scalar argument as an array of one element: it must fit the parameter's type (reference section 10).

    >>> scalar_of(3, ScalarType.FLOAT32, "s").item()
    3.0
    >>> scalar_of(300, ScalarType.UINT8, "s")
    Traceback (most recent call last):
    ...
    comprehension.errors.ComprehensionError: s: 300 does not fit uint8
    """
    if isinstance(value, np.generic) or is_array(value):
        found = np.asarray(value) if isinstance(value, np.generic) else view_of(value, name)[0]
        if found.ndim != 0:
            raise ComprehensionError(f"{name}: expected a scalar of {dtype}, found an array of shape {found.shape}")
        if found.dtype != dtype.numpy:
            advice = "a Python number is converted, an array's is not"
            raise ComprehensionError(f"{name}: expected {dtype}, found {found.dtype} ({advice})")
        return found.reshape(1)
    if isinstance(value, bool):
        allowed = dtype is ScalarType.BOOL
    elif isinstance(value, int):
        allowed = dtype is not ScalarType.BOOL
    else:
        allowed = isinstance(value, float) and dtype.is_float
    if not allowed:
        raise ComprehensionError(f"{name}: expected a number for {dtype}, found the {_kind(value)} {value!r:.40}")
    return _fitted(value, dtype, name)


def _fitted(value: float, dtype: ScalarType, name: str) -> Array:
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        if not limits.min <= value <= limits.max:
            raise ComprehensionError(f"{name}: {_shown(value)} does not fit {dtype}")
    try:
        with np.errstate(over="ignore"):
            fitted = np.array([value], dtype.numpy)
    except OverflowError:  # an int beyond every float
        fitted = np.array([np.inf])
    if dtype.is_float and np.isinf(fitted[0]) and value not in (float("inf"), float("-inf")):
        raise ComprehensionError(f"{name}: {_shown(value)} does not fit {dtype}")
    return fitted


def _shown(value: float) -> str:
    """A number for a message; Python refuses to write integers of thousands of digits."""
    return f"a number of {value.bit_length()} bits" if isinstance(value, int) and abs(value) >= 2**128 else str(value)


def _by_dlpack(value: Any, name: str) -> Array:
    if getattr(value, "requires_grad", False):  # its library would never learn what became of it
        raise ComprehensionError(
            f"{name}: this {_kind(value)} requires grad, and a comprehension is on no tape: pass it .detach()ed, or"
            " give the comprehension a gradient (torch.autograd.Function, minitensor.operator)"
        )
    try:
        device = value.__dlpack_device__()[0] if hasattr(value, "__dlpack_device__") else 1
        if int(device) in _DLPACK_CPU:
            return np.from_dlpack(value)
    except Exception as reason:  # each library raises its own: a gradient is wanted, a type NumPy lacks, ...
        raise ComprehensionError(f"{name}: this {_kind(value)} does not lend its memory: {reason}") from reason
    raise ComprehensionError(f"{name}: this {_kind(value)} is on a device; a CPU kernel needs host memory")


def _family_of(value: Any) -> Family:
    """The namespace that made `value` wraps results: its array namespace, or the package of its type."""
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        return NUMPY
    namespace = value.__array_namespace__() if hasattr(value, "__array_namespace__") else sys.modules.get(package)
    wrap = getattr(namespace, "from_dlpack", None)
    return Family(package, wrap) if wrap is not None else NUMPY


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
