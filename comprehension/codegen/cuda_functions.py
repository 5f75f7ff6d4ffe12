"""What generated CUDA source calls: conversions, operators that hardware spells otherwise, and mathematics.

In: imported by generated source, on one of two sides.  Out: the same names on both.
On the device side the names are numba types, intrinsics and NVIDIA's libdevice (the language's builtins are its
functions); with `NUMBA_ENABLE_CUDASIM=1` they are Python functions with exactly the language's meaning.
Invariant: intrinsics, not device functions: numba compiles a device function for the device that is present, and
kernels must compile where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config

from comprehension.kernel import scalars
from comprehension.lang.types import ScalarType

_CONVERTED = [dtype for dtype in ScalarType if dtype is not ScalarType.BOOL]


class _SimulatedLibm:
    """libdevice for the simulator: attributes are the language's builtins in one precision."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("fmul_rn", "dmul_rn"):
            return np.multiply
        if name in ("fdiv_rn", "ddiv_rn"):
            return np.divide
        single = name.endswith("f") and name not in ("erf",)
        dtype = ScalarType.FLOAT32 if single else ScalarType.FLOAT64
        function = name[:-1] if single else name
        if function == "fma":
            return lambda a, b, c: scalars.fma(a, b, c, dtype)
        return lambda *arguments: scalars.builtin(function, list(arguments), dtype)


if config.ENABLE_CUDASIM:
    libm: Any = _SimulatedLibm()

    def _converter(dtype: ScalarType) -> Callable[[Any], Any]:
        return lambda value: scalars.cast(value, dtype)

    globals().update({dtype.value: _converter(dtype) for dtype in _CONVERTED})

    def maximum(a: Any, b: Any) -> Any:
        """The larger of two values of one type; NaN if one is."""
        return np.maximum(a, b)

    def minimum(a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def floor_div(a: Any, b: Any) -> Any:
        """Integers: floor(a / b), and 0 where b is 0."""
        return scalars.binary("/", a, b, ScalarType.of(a.dtype)) if hasattr(a, "dtype") else a // b if b else 0

    def floor_mod(a: Any, b: Any) -> Any:
        return scalars.binary("%", a, b, ScalarType.of(a.dtype)) if hasattr(a, "dtype") else a % b if b else 0

else:
    from comprehension.codegen import cuda_intrinsics

    libm = cuda_intrinsics.libdevice
    maximum, minimum = cuda_intrinsics.maximum, cuda_intrinsics.minimum
    floor_div, floor_mod = cuda_intrinsics.floor_div, cuda_intrinsics.floor_mod
    globals().update({dtype.value: dtype.numpy.type for dtype in _CONVERTED})
