"""The functions that a compiled kernel may call: nothing else is ever loaded.

In: read by `jit.load` for every object file.  Out: a set of C names.
Invariant: none of them touches Python, allocates, or keeps a pointer.
"""

from __future__ import annotations

MEMORY = frozenset({"memcpy", "memmove", "memset"})

_FUNCTIONS = (
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp10 exp2 expm1 fabs fdim"
    " floor fma fmax fmin fmod hypot j0 j1 ldexp lgamma log log10 log1p log2 logb nextafter pow remainder rint"
    " round sin sinh sqrt tan tanh tgamma trunc y0 y1"
)
MATHEMATICS = frozenset(name + suffix for name in _FUNCTIONS.split() for suffix in ("", "f"))

ALLOWED_SYMBOLS = MEMORY | MATHEMATICS
