"""The builtin functions: one table of names, arities and what each computes.

In: names as they stand in texts (CUDA's math names, reference section 1).
Out: `BUILTINS`; each record's `compute` is the reference meaning on float64 scalars.
Invariant: `compute` follows C99 on special values (NaN, infinities, signed zeros), raises nothing and is within
a few ulps of float64, so that its result rounded to float32 is the correctly rounded one but for rare ties.  One of
integers (`philox`) is exact.
`min` and `max` are no builtins of this table: they keep integer types and belong to the grammar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from comprehension.lang import special
from comprehension.lang.philox import philox
from comprehension.lang.types import ScalarType, promote

Compute = Callable[..., Any]  # float64 scalars to a float64 scalar


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language; `in_type` ones are computed in the argument's own type, not in float64.

    `works_in`: of one of integers, whatever type they have: the type to which they wrap, and of the result; `compute`
    gets and gives Python's integers.
    """

    name: str
    arity: int
    compute: Compute
    in_type: bool = False
    works_in: ScalarType | None = None


def result_type(function: str, arguments: Iterable[ScalarType]) -> ScalarType:
    """The type in which a builtin works: float64 if any argument is, else float32 (section 10, types 2); or its own.

    >>> result_type("pow", (ScalarType.INT64, ScalarType.FLOAT16))
    <ScalarType.FLOAT32: 'float32'>
    """
    if (own := BUILTINS[function].works_in) is not None:
        return own
    wide = any(promote(argument, ScalarType.FLOAT32) is ScalarType.FLOAT64 for argument in arguments)
    return ScalarType.FLOAT64 if wide else ScalarType.FLOAT32


def evaluate(builtin: Builtin, arguments: tuple[Any, ...]) -> Any:
    """The value for NumPy scalars of one float type, rounded once to that type; or for integers in their range."""
    dtype = type(arguments[0])
    if builtin.works_in is not None:
        return dtype(builtin.compute(*map(int, arguments)))
    with np.errstate(all="ignore"):
        if builtin.in_type:
            return dtype(builtin.compute(*arguments))
        return dtype(builtin.compute(*(np.float64(a) for a in arguments)))


def _round(x: Any) -> Any:
    """Half away from zero."""
    return np.copysign(np.floor(np.abs(x)) + (np.abs(x) - np.floor(np.abs(x)) >= 0.5), x)


def _remainder(x: Any, y: Any) -> Any:
    """IEEE remainder: x - n*y with n the integer nearest to x/y, ties to even."""
    if not math.isfinite(x) or y == 0 or math.isnan(y):
        return np.float64("nan")
    return np.float64(math.remainder(x, y))


def _fdim(x: Any, y: Any) -> Any:
    return x + y if np.isnan(x) or np.isnan(y) else (x - y if x > y else np.float64(0.0))


def _logb(x: Any) -> Any:
    if x == 0:
        return np.float64("-inf")
    return np.float64(math.frexp(x)[1] - 1) if np.isfinite(x) else np.abs(x)


def _sinpi(x: Any) -> Any:
    """sin(pi x), exact at multiples of a half: the argument is reduced before pi enters."""
    if not np.isfinite(x):
        return np.float64("nan")
    turn = math.fmod(x, 2.0)
    if turn in (0.0, 1.0, -1.0):
        return np.copysign(np.float64(0.0), x)
    if abs(turn) > 1.0:
        turn -= math.copysign(2.0, turn)
    if abs(turn) > 0.5:
        turn = math.copysign(1.0, turn) - turn
    return np.float64(math.sin(math.pi * turn))


def _cospi(x: Any) -> Any:
    if not np.isfinite(x):
        return np.float64("nan")
    turn = abs(math.fmod(x, 2.0))
    turn = 2.0 - turn if turn > 1.0 else turn
    return np.float64(math.cos(math.pi * turn) if turn <= 0.25 else _cos_far(turn))


def _cos_far(turn: float) -> float:
    """cos(pi t) for t in (1/4, 1], through the sine of the distance to the zero at 1/2."""
    return -math.cos(math.pi * (1.0 - turn)) if turn >= 0.75 else math.sin(math.pi * (0.5 - turn))


def _norm(*parts: Any) -> Any:
    if any(np.isinf(p) for p in parts):
        return np.float64("inf")
    return np.float64(math.hypot(*parts))


def _reciprocal(function: Compute) -> Compute:
    return lambda *arguments: np.float64(1.0) / function(*arguments)


_TABLE: tuple[tuple[str, int, Compute], ...] = (
    ("acos", 1, np.arccos),
    ("acosh", 1, np.arccosh),
    ("asin", 1, np.arcsin),
    ("asinh", 1, np.arcsinh),
    ("atan", 1, np.arctan),
    ("atan2", 2, np.arctan2),
    ("atanh", 1, np.arctanh),
    ("cbrt", 1, np.cbrt),
    ("ceil", 1, np.ceil),
    ("copysign", 2, np.copysign),
    ("cos", 1, np.cos),
    ("cosh", 1, np.cosh),
    ("cospi", 1, _cospi),
    ("cyl_bessel_i0", 1, special.bessel_i0),
    ("cyl_bessel_i1", 1, special.bessel_i1),
    ("erf", 1, math.erf),
    ("erfc", 1, math.erfc),
    ("erfcinv", 1, special.erfcinv),
    ("erfcx", 1, special.erfcx),
    ("erfinv", 1, special.erfinv),
    ("exp", 1, np.exp),
    ("exp10", 1, lambda x: np.power(np.float64(10.0), x)),
    ("exp2", 1, np.exp2),
    ("expm1", 1, np.expm1),
    ("fabs", 1, np.abs),
    ("fdim", 2, _fdim),
    ("fdivide", 2, np.divide),
    ("floor", 1, np.floor),
    ("fmax", 2, np.fmax),
    ("fmin", 2, np.fmin),
    ("fmod", 2, np.fmod),
    ("hypot", 2, np.hypot),
    ("j0", 1, special.bessel_j0),
    ("j1", 1, special.bessel_j1),
    ("lgamma", 1, special.lgamma),
    ("log", 1, np.log),
    ("log10", 1, np.log10),
    ("log1p", 1, np.log1p),
    ("log2", 1, np.log2),
    ("logb", 1, _logb),
    ("norm3d", 3, _norm),
    ("norm4d", 4, _norm),
    ("normcdf", 1, lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0))),
    ("normcdfinv", 1, lambda p: -math.sqrt(2.0) * special.erfcinv(2.0 * p)),
    ("pow", 2, np.power),
    ("rcbrt", 1, _reciprocal(np.cbrt)),
    ("remainder", 2, _remainder),
    ("rhypot", 2, _reciprocal(np.hypot)),
    ("rnorm3d", 3, _reciprocal(_norm)),
    ("rnorm4d", 4, _reciprocal(_norm)),
    ("round", 1, _round),
    ("rsqrt", 1, _reciprocal(np.sqrt)),
    ("sin", 1, np.sin),
    ("sinh", 1, np.sinh),
    ("sinpi", 1, _sinpi),
    ("sqrt", 1, np.sqrt),
    ("tan", 1, np.tan),
    ("tanh", 1, np.tanh),
    ("tgamma", 1, special.tgamma),
    ("trunc", 1, np.trunc),
    ("y0", 1, special.bessel_y0),
    ("y1", 1, special.bessel_y1),
)

BUILTINS: dict[str, Builtin] = {name: Builtin(name, arity, compute) for name, arity, compute in _TABLE} | {
    "fma": Builtin("fma", 3, special.fma, in_type=True),
    "nextafter": Builtin("nextafter", 2, np.nextafter, in_type=True),
    "philox": Builtin("philox", 6, philox, works_in=ScalarType.UINT32),
}
