"""The language's builtin functions, on scalars and tiles.

In: float32 or float64 scalars or tiles (integers were converted before; `philox` takes uint32).  Out: the same shape
and type.
Invariant: a function gives the same bits for a scalar and for a tile's point; NaN, infinities and
denormals come out as IEEE and C say.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from comprehension.codegen import elementary, special, trigonometric, words
from comprehension.codegen.arithmetic import elementwise, same_dtype
from comprehension.codegen.elementary import in_double, is_single
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

    elif arity == 4:

        def typed(typing_context: Any, x: Any, y: Any, z: Any, w: Any) -> Any:  # type: ignore[misc]
            return elementwise(emit, (x, y, z, w), same_dtype((x, y, z, w)))

    else:
        assert arity == 6, f"{name} has {arity} arguments"

        def typed(typing_context: Any, x: Any, y: Any, z: Any, w: Any, v: Any, u: Any) -> Any:  # type: ignore[misc]
            return elementwise(emit, (x, y, z, w, v, u), same_dtype((x, y, z, w, v, u)))

    typed.__name__ = typed.__qualname__ = name
    return intrinsic(typed)


def _libm(name: str) -> Callable[..., Lanes]:
    """The C library's scalar function, lane by lane."""
    return lambda x, *others: x.call_libm(name, *others)


def _libm_in_double(name: str) -> Callable[..., Lanes]:
    """The C library's float64 function for float32 too: some of its float32 ones are far off near zeros."""
    return in_double(lambda x: x.call_libm(name))


def _by_double(name: str, emit: Callable[[Lanes], Lanes]) -> Callable[[Lanes], Lanes]:
    """float32 computed in float64 by `emit`; float64 by the C library."""
    single = in_double(emit)
    return lambda x: single(x) if is_single(x) else x.call_libm(name)


def _sinh(x: Lanes) -> Lanes:
    e = elementary.expm1(x.abs())
    large = (e + e / (e + 1.0)) * 0.5
    return e.equals(math.inf).choose(e, large).copysign(x)


def _cosh(x: Lanes) -> Lanes:
    e = elementary.exp(x.abs())
    return (e + 1.0 / e) * 0.5


def _asinh(x: Lanes) -> Lanes:
    t = x.abs()
    inner = t + t * t / ((t * t + 1.0).intrinsic("sqrt") + 1.0)
    return t.equals(math.inf).choose(t, elementary.log1p(inner)).copysign(x)


def _acosh(x: Lanes) -> Lanes:
    t = x - 1.0
    found = elementary.log1p(t + (t * (t + 2.0)).intrinsic("sqrt"))
    found = x.equals(math.inf).choose(x, found)
    return (x >= 1.0).choose(found, x.const(math.nan))


def _atanh(x: Lanes) -> Lanes:
    t = x.abs()
    return (elementary.log1p(t * 2.0 / (1.0 - t)) * 0.5).copysign(x)


def _asin(x: Lanes) -> Lanes:
    return special.atan_single(x / ((1.0 - x) * (x + 1.0)).intrinsic("sqrt"))


def _acos(x: Lanes) -> Lanes:
    return special.atan_single(((1.0 - x) / (x + 1.0)).intrinsic("sqrt")) * 2.0


def _norm(*parts: Lanes) -> Lanes:
    """The Euclidean length: in float64 for float32 (no square overflows there), by nested hypot for float64."""
    if not is_single(parts[0]):
        return functools.reduce(lambda a, b: a.call_libm("hypot", b), parts)
    return in_double(_root_of_squares)(*parts)


def _reciprocal_norm(*parts: Lanes) -> Lanes:
    """1 / norm without overflow in between."""
    if not is_single(parts[0]):
        return 1.0 / _norm(*parts)
    return in_double(lambda *wide: 1.0 / _root_of_squares(*wide))(*parts)


def _root_of_squares(*parts: Lanes) -> Lanes:
    """sqrt of the sum of squares; infinite where a part is, even beside a NaN."""
    total, infinite = parts[0] * parts[0], parts[0].abs().equals(math.inf)
    for part in parts[1:]:
        total, infinite = part.fma(part, total), infinite | part.abs().equals(math.inf)
    return infinite.choose(total.const(math.inf), total.intrinsic("sqrt"))


def _fdim(x: Lanes, y: Lanes) -> Lanes:
    unordered = x.is_nan() | y.is_nan()
    return unordered.choose(x + y, (x > y).choose(x - y, x.const(0.0)))


def _fmin(x: Lanes, y: Lanes) -> Lanes:
    """The lesser; a number where one is NaN."""
    return (x.is_nan() | (y < x)).choose(y, x)


def _fmax(x: Lanes, y: Lanes) -> Lanes:
    return (x.is_nan() | (y > x)).choose(y, x)


_FROM_ELEMENTARY = "exp exp2 exp10 expm1 log log2 log10 log1p tanh cbrt rsqrt"
_FROM_TRIGONOMETRIC = "sin cos tan sinpi cospi"
_FROM_SPECIAL = "erf erfc erfcx erfinv erfcinv normcdf normcdfinv"
_IN_DOUBLE = "j0 j1 lgamma tgamma y0 y1"
_FROM_LIBM_2 = "atan2 fmod nextafter remainder"

EMITTERS: dict[str, tuple[Callable[..., Lanes], int]] = {
    **{name: (_libm_in_double(name), 1) for name in _IN_DOUBLE.split()},
    "logb": (_libm("logb"), 1),
    **{name: (_libm(name), 2) for name in _FROM_LIBM_2.split()},
    **{name: (getattr(elementary, name), 1) for name in _FROM_ELEMENTARY.split()},
    **{name: (getattr(trigonometric, name), 1) for name in _FROM_TRIGONOMETRIC.split()},
    **{name: (getattr(special, name), 1) for name in _FROM_SPECIAL.split()},
    "pow": (elementary.pow, 2),
    "cyl_bessel_i0": (special.bessel_i0, 1),
    "cyl_bessel_i1": (special.bessel_i1, 1),
    "sinh": (_by_double("sinh", _sinh), 1),
    "cosh": (_by_double("cosh", _cosh), 1),
    "asinh": (_by_double("asinh", _asinh), 1),
    "acosh": (_by_double("acosh", _acosh), 1),
    "atanh": (_by_double("atanh", _atanh), 1),
    "atan": (_by_double("atan", special.atan_single), 1),
    "asin": (_by_double("asin", _asin), 1),
    "acos": (_by_double("acos", _acos), 1),
    "rcbrt": (lambda x: 1.0 / elementary.cbrt(x), 1),
    "hypot": (_norm, 2),
    "rhypot": (_reciprocal_norm, 2),
    "norm3d": (_norm, 3),
    "norm4d": (_norm, 4),
    "rnorm3d": (_reciprocal_norm, 3),
    "rnorm4d": (_reciprocal_norm, 4),
    "sqrt": (lambda x: x.intrinsic("sqrt"), 1),
    "fabs": (lambda x: x.abs(), 1),
    "ceil": (lambda x: x.intrinsic("ceil"), 1),
    "floor": (lambda x: x.intrinsic("floor"), 1),
    "trunc": (lambda x: x.intrinsic("trunc"), 1),
    "round": (lambda x: x.intrinsic("round"), 1),  # half away from zero
    "copysign": (lambda x, y: x.copysign(y), 2),
    "fdim": (_fdim, 2),
    "fdivide": (lambda x, y: x / y, 2),
    "fma": (lambda x, y, z: x.fma(y, z), 3),
    "fmin": (_fmin, 2),
    "fmax": (_fmax, 2),
    "philox": (words.philox, 6),
}

for _name, (_emit, _arity) in EMITTERS.items():
    globals()[_name] = _builtin(_name, _emit, _arity)
