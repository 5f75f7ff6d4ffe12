"""What generated CUDA source calls: conversions, operators that hardware spells otherwise, and mathematics.

In: imported by generated source, on one of two sides.  Out: the same names on both.
On the device side the names are numba types, intrinsics and NVIDIA's libdevice (the language's builtins are its
functions); with `NUMBA_ENABLE_CUDASIM=1` they are Python functions with exactly the language's meaning.
Invariant: intrinsics, not device functions: numba compiles a device function for the device that is present, and
kernels must compile where there is none.  A value of type float16 is a float32 on both sides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config

from comprehension.kernel import scalars
from comprehension.lang import scalars as language
from comprehension.lang.builtins import BUILTINS
from comprehension.lang.types import ScalarType

_CONVERTED = [dtype for dtype in ScalarType if dtype not in (ScalarType.BOOL, ScalarType.FLOAT16)]
_INTEGERS = [dtype for dtype in ScalarType if dtype.is_integer]


class _SimulatedLibm:
    """libdevice for the simulator: attributes are the language's builtins in one precision."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("fmul_rn", "dmul_rn"):
            return np.multiply
        if name in ("fdiv_rn", "ddiv_rn"):
            return np.divide
        dtype, function = ScalarType.FLOAT32, name[:-1]
        if name in BUILTINS:
            dtype, function = BUILTINS[name].works_in or ScalarType.FLOAT64, name
        if function == "fma":
            return lambda a, b, c: scalars.fma(a, b, c, dtype)
        return lambda *arguments: scalars.builtin(function, list(arguments), dtype)


if config.ENABLE_CUDASIM:
    libm: Any = _SimulatedLibm()
    half_storage: Any = np.float16
    _reporting = threading.Lock()

    def _converter(dtype: ScalarType) -> Callable[[Any], Any]:
        return lambda value: scalars.cast(value, dtype)

    globals().update({dtype.value: _converter(dtype) for dtype in _CONVERTED})
    globals().update({f"trunc_{dtype}": _converter(dtype) for dtype in _INTEGERS})

    def maximum(a: Any, b: Any) -> Any:
        """The larger of two values of one type; NaN if one is."""
        return language.maximum(a, b)

    def minimum(a: Any, b: Any) -> Any:
        return language.minimum(a, b)

    def floor_div(a: Any, b: Any) -> Any:
        """Integers: floor(a / b), and 0 where b is 0."""
        return scalars.binary("/", a, b, ScalarType.of(a.dtype)) if hasattr(a, "dtype") else a // b if b else 0

    def floor_mod(a: Any, b: Any) -> Any:
        return scalars.binary("%", a, b, ScalarType.of(a.dtype)) if hasattr(a, "dtype") else a % b if b else 0

    def half(a: Any) -> Any:
        """A float rounded to float16."""
        return np.float32(scalars.cast(a, ScalarType.FLOAT16))

    def from_half(a: Any) -> Any:
        """The value of a float16 in memory."""
        return np.float32(a)

    def to_half(a: Any) -> Any:
        return scalars.cast(a, ScalarType.FLOAT16)

    def report(errors: Any, code: int, seen: int, extent: int) -> None:
        """Notes what a check found, if it is the first to find something."""
        with _reporting:
            if errors[0] == 0:
                errors[:3] = code, seen, extent

else:
    from comprehension.codegen import cuda_intrinsics, cuda_libm

    libm = cuda_libm
    half_storage = np.uint16
    maximum, minimum = cuda_intrinsics.maximum, cuda_intrinsics.minimum
    floor_div, floor_mod = cuda_intrinsics.floor_div, cuda_intrinsics.floor_mod
    half, from_half, to_half = cuda_intrinsics.half, cuda_intrinsics.from_half, cuda_intrinsics.to_half
    report = cuda_intrinsics.report
    globals().update({dtype.value: dtype.numpy.type for dtype in _CONVERTED})
    globals().update({f"trunc_{dtype}": cuda_intrinsics.truncation(dtype) for dtype in _INTEGERS})
