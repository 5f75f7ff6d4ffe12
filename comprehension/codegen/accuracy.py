"""How far a builtin's result may lie from the true value, in units of its last place.

In: nothing.  Out: `ULPS`, for each builtin the bounds in float32 and float64 (0.5: correctly rounded; 0: exact).
Invariant: the bounds are those that `tests/comprehension/test_vecmath.py` holds each builtin to, against mpmath with 40
digits; each is the largest error seen over many seeds, rounded up, and none is loosened without a reason.
`docs/numerics.md` lists them, and where the arguments were drawn.
"""

from __future__ import annotations

_EXACT = "ceil copysign fabs floor fmax fmin fmod logb nextafter remainder round trunc"
_ROUNDED = "fdim fdivide fma sqrt"

ULPS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_EXACT.split(), (0, 0)),
    **dict.fromkeys(_ROUNDED.split(), (0.5, 0.5)),
    "acos": (1, 1),
    "acosh": (1, 2),
    "asin": (1, 1),
    "asinh": (1, 2),
    "atan": (1, 1),
    "atan2": (2, 1),
    "atanh": (1, 2),
    "cbrt": (1, 4),
    "cos": (1.5, 1.5),
    "cosh": (1, 2),
    "cospi": (2, 2.5),
    "cyl_bessel_i0": (1, 5),
    "cyl_bessel_i1": (1, 5),
    "erf": (3.5, 1.5),
    "erfc": (1, 8),
    "erfcinv": (1, 6),
    "erfcx": (1, 8),
    "erfinv": (1, 6),
    "exp": (1, 1),
    "exp10": (1.5, 2),
    "exp2": (1.5, 1.5),
    "expm1": (1.5, 2),
    "hypot": (1, 1),
    "j0": (1, 4),
    "j1": (1, 4),
    "lgamma": (1, 4),
    "log": (1, 1),
    "log10": (1.5, 1.5),
    "log1p": (1.5, 1.5),
    "log2": (1.5, 1.5),
    "norm3d": (1, 2),
    "norm4d": (1, 3),
    "normcdf": (1, 40),
    "normcdfinv": (1, 6),
    "pow": (1, 1),
    "rcbrt": (2, 5),
    "rhypot": (1, 2),
    "rnorm3d": (1, 3),
    "rnorm4d": (1, 4),
    "rsqrt": (1.5, 1.5),
    "sin": (1.5, 1.5),
    "sinh": (1, 2),
    "sinpi": (2, 2.5),
    "tan": (1, 3),
    "tanh": (3, 3),
    "tgamma": (1, 8),
    "y0": (1, 8),
    "y1": (1, 8),
}
