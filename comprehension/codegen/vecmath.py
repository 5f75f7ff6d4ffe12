"""The language's builtin functions, on scalars and tiles.

In: float32 or float64 scalars or tiles (integers were converted before).  Out: the same shape and type.
Invariant: a function gives the same bits for a scalar and for a tile's point; NaN, infinities and
denormals come out as IEEE and C say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comprehension.codegen.arithmetic import elementwise, same_dtype
from comprehension.codegen.extension import intrinsic
from comprehension.codegen.lanes import Lanes


def _builtin(name: str, emit: Callable[..., Lanes], arity: int) -> Any:
    """A numba intrinsic that runs `emit` at each point."""
    if arity == 1:

        def typed(typing_context: Any, x: Any) -> Any:
            return elementwise(emit, (x,), same_dtype((x,)))

    elif arity == 2:

        def typed(typing_context: Any, x: Any, y: Any) -> Any:  # type: ignore[misc]
            return elementwise(emit, (x, y), same_dtype((x, y)))

    elif arity == 3:

        def typed(typing_context: Any, x: Any, y: Any, z: Any) -> Any:  # type: ignore[misc]
            return elementwise(emit, (x, y, z), same_dtype((x, y, z)))

    else:

        def typed(typing_context: Any, x: Any, y: Any, z: Any, w: Any) -> Any:  # type: ignore[misc]
            return elementwise(emit, (x, y, z, w), same_dtype((x, y, z, w)))

    typed.__name__ = typed.__qualname__ = name
    return intrinsic(typed)


def _libm(name: str) -> Callable[..., Lanes]:
    """The C library's scalar function, lane by lane."""
    return lambda x, *others: x.call_libm(name, *others)


_FROM_LIBM_1 = (
    "acos acosh asin asinh atan atanh cbrt cos cosh erf erfc exp exp2 expm1 j0 j1 lgamma log log10 log1p log2 logb"
    " sin sinh tan tanh tgamma y0 y1"
)
_FROM_LIBM_2 = "atan2 fdim fmod hypot nextafter pow remainder"

EMITTERS: dict[str, tuple[Callable[..., Lanes], int]] = {
    **{name: (_libm(name), 1) for name in _FROM_LIBM_1.split()},
    **{name: (_libm(name), 2) for name in _FROM_LIBM_2.split()},
    "sqrt": (lambda x: x.intrinsic("sqrt"), 1),
    "fabs": (lambda x: x.abs(), 1),
    "ceil": (lambda x: x.intrinsic("ceil"), 1),
    "floor": (lambda x: x.intrinsic("floor"), 1),
    "trunc": (lambda x: x.intrinsic("trunc"), 1),
    "round": (lambda x: x.intrinsic("round"), 1),  # half away from zero
    "copysign": (lambda x, y: x.copysign(y), 2),
    "fdivide": (lambda x, y: x / y, 2),
    "fma": (lambda x, y, z: x.fma(y, z), 3),
    "fmin": (lambda x, y: x.intrinsic("minnum", y), 2),
    "fmax": (lambda x, y: x.intrinsic("maxnum", y), 2),
}

for _name, (_emit, _arity) in EMITTERS.items():
    globals()[_name] = _builtin(_name, _emit, _arity)
