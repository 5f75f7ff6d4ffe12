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

from comprehension.lang import scalars
from comprehension.lang.types import ScalarType

TYPES = {t: t.value for t in ScalarType if t is not ScalarType.BOOL}
"""The name of each type's conversion in generated source."""


def libm_name(function: str, dtype: ScalarType) -> str:
    """The name in libdevice of a builtin: float32 ones end in f.

    >>> libm_name("exp", ScalarType.FLOAT32), libm_name("cyl_bessel_i0", ScalarType.FLOAT64)
    ('expf', 'cyl_bessel_i0')
    """
    named = {"fdivide": "fdiv_rn" if dtype is ScalarType.FLOAT32 else "ddiv_rn"}.get(function)
    return named or (f"{function}f" if dtype is ScalarType.FLOAT32 else function)


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

    globals().update({name: _converter(dtype) for dtype, name in TYPES.items()})

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
    from comprehension.codegen.cuda_intrinsics import libdevice

    libm = libdevice
    globals().update({name: dtype.numpy.type for dtype, name in TYPES.items()})
