"""Special functions that NumPy and `math` lack, on float64 scalars: the reference meaning of some builtins.

In, out: Python or NumPy floats.
Invariant: no exceptions; away from the function's zeros within 1e-13 of the true value; special values as C99 or CUDA.
Sources: DLMF 7.12.1 (erfcx far out), 10.9.1 and 10.32.1 (Bessel functions as integrals over a period, where the
trapezoidal rule converges geometrically), 10.8 and 10.23.15 (series for Y), 10.17 (Hankel's expansions).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

_EULER = 0.57721566490153286061


def lgamma(x: float) -> float:
    """log |gamma(x)|; infinity at the poles and at infinities."""
    if math.isnan(x):
        return x
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    try:
        return math.lgamma(x)
    except OverflowError:
        return math.inf


def tgamma(x: float) -> float:
    """gamma(x); signed infinity at signed zero, NaN at negative integers and minus infinity."""
    if math.isnan(x) or x == math.inf:
        return x
    if x == 0:
        return math.copysign(math.inf, x)
    if x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    try:
        return math.gamma(x)
    except OverflowError:
        return math.inf


def erfcx(x: float) -> float:
    """exp(x^2) erfc(x)."""
    if math.isnan(x):
        return x
    if x < 25.0:
        # exp(x*x) with the rounding error of the square put back
        square = x * x
        low = float(Fraction(x) * Fraction(x) - Fraction(square)) if math.isfinite(square) else 0.0
        return math.inf if square > 709.0 else math.exp(square) * (1.0 + low) * math.erfc(x)
    inverse = 1.0 / (x * x) if x < 1e150 else 0.0
    series = 1.0 - inverse * (0.5 - inverse * (0.75 - inverse * (1.875 - inverse * 6.5625)))
    return series / (x * math.sqrt(math.pi))


def erfinv(y: float) -> float:
    """x with erf(x) = y; NaN outside [-1, 1]."""
    if math.isnan(y) or abs(y) > 1:
        return math.nan
    if abs(y) == 1:
        return math.copysign(math.inf, y)
    if abs(y) > 0.5:
        return math.copysign(erfcinv(1.0 - abs(y)), y)
    x = y * math.sqrt(math.pi) / 2
    for _ in range(8):
        slope = 2.0 / math.sqrt(math.pi) * math.exp(-x * x)
        error = math.erf(x) - y
        x -= error / (slope + x * error)  # Halley's step
    return x


def erfcinv(y: float) -> float:
    """x with erfc(x) = y; NaN outside [0, 2]."""
    if math.isnan(y) or y < 0 or y > 2:
        return math.nan
    if y in (0.0, 2.0):
        return math.inf if y == 0 else -math.inf
    if y > 1:
        return -erfcinv_upper(2.0 - y) if y > 1.5 else -erfinv(y - 1.0)
    return erfcinv_upper(y) if y < 0.5 else erfinv(1.0 - y)


def erfcinv_upper(y: float) -> float:
    """The positive solution for y below 1/2, by Newton's method on log erfc, whose second derivative is small."""
    t = math.sqrt(-2.0 * (math.log(y) - math.log(2.0)))
    x = (t - (2.30753 + t * 0.27061) / (1.0 + t * (0.99229 + t * 0.04481))) / math.sqrt(2.0)
    target = math.log(y)
    for _ in range(12):
        scaled = erfcx(x)  # log erfc(x) = log(scaled) - x^2, its slope is -2 / (sqrt(pi) scaled)
        x += (math.log(scaled) - x * x - target) * scaled * math.sqrt(math.pi) / 2.0
    return x


def _mean_over_period(function: Any, scale: float) -> float:
    """The mean of a smooth periodic function over (0, pi): the trapezoidal rule, exact once n passes `scale`."""
    n = int(scale) + 64
    return math.fsum(function(math.pi * (k + 0.5) / n) for k in range(n)) / n


def bessel_i0(x: float) -> float:
    """Modified Bessel function of order 0."""
    return _bessel_i(0, abs(x))


def bessel_i1(x: float) -> float:
    """Modified Bessel function of order 1, odd."""
    return math.copysign(_bessel_i(1, abs(x)), x) if not math.isnan(x) else x


def _bessel_i(order: int, x: float) -> float:
    if math.isnan(x):
        return x
    if x > 720.0:
        return math.inf
    if x < 15.0:  # the power series: all terms positive
        term = total = (x / 2.0) ** order
        k = 1
        while term > total * 1e-18:
            term *= (x * x / 4.0) / (k * (k + order))
            total += term
            k += 1
        return total
    mean = _mean_over_period(lambda t: math.exp(x * (math.cos(t) - 1.0)) * math.cos(order * t), 4.0 * x)
    return mean * math.exp(x / 2.0) * math.exp(x / 2.0)


def bessel_j0(x: float) -> float:
    """Bessel function of the first kind, order 0."""
    return _bessel_j(0, abs(x))


def bessel_j1(x: float) -> float:
    """Bessel function of the first kind, order 1, odd."""
    return _bessel_j(1, x) if x >= 0 else -_bessel_j(1, -x)


def _bessel_j(order: int, x: float) -> float:
    if math.isnan(x):
        return x
    if math.isinf(x):
        return 0.0
    if x > 50.0:
        return _hankel(order, x)[0]
    if x < 1.0:  # where the mean would cancel
        term = total = (x / 2.0) ** order / math.factorial(order)
        for k in range(1, 20):
            term *= -(x * x / 4.0) / (k * (k + order))
            total += term
        return total
    return _mean_over_period(lambda t: math.cos(order * t - x * math.sin(t)), x)


def bessel_y0(x: float) -> float:
    """Bessel function of the second kind, order 0; minus infinity at 0, NaN below."""
    return _bessel_y(0, x)


def bessel_y1(x: float) -> float:
    """Bessel function of the second kind, order 1; minus infinity at 0, NaN below."""
    return _bessel_y(1, x)


def _bessel_y(order: int, x: float) -> float:
    if math.isnan(x) or x < 0:
        return math.nan
    if x == 0:
        return -math.inf
    if math.isinf(x):
        return 0.0
    if x > 50.0:
        return _hankel(order, x)[1]
    logarithm = math.log(x) - math.log(2.0) + _EULER
    terms = range(1, int(x / 2) + 20)
    if order == 0:  # DLMF 10.8.3
        even = math.fsum((-1) ** k * _bessel_j(2 * k, x) / k for k in terms)
        return 2.0 / math.pi * logarithm * _bessel_j(0, x) - 4.0 / math.pi * even
    odd = math.fsum((-1) ** k * (2 * k + 1) * _bessel_j(2 * k + 1, x) / (k * (k + 1)) for k in terms)
    j1 = _bessel_j(1, x)
    return 2.0 / math.pi * ((logarithm - 1.0) * j1 - odd) - 2.0 / (math.pi * x) * _bessel_j(0, x)


def _hankel(order: int, x: float) -> tuple[float, float]:
    """(J, Y) for large x: DLMF 10.17.3 and 10.17.4."""
    mu = 4.0 * order * order
    p = q = 0.0
    term = 1.0
    for k in range(16):
        sign = -1.0 if k % 4 >= 2 else 1.0
        if k % 2 == 0:
            p += sign * term
        else:
            q += sign * term
        term *= (mu - (2 * k + 1) ** 2) / ((k + 1) * 8.0 * x)
    phase = x - (order / 2.0 + 0.25) * math.pi
    scale = math.sqrt(2.0 / (math.pi * x))
    cosine, sine = math.cos(phase), math.sin(phase)
    return scale * (p * cosine - q * sine), scale * (p * sine + q * cosine)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c rounded once, in the common type of the operands."""
    dtype = type(c)
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:  # the sign of a zero sum is the hardware's rule, which the plain operations follow
        return a * b + c if float(a) * float(b) == 0 else dtype(0.0)
    try:
        near = float(exact)
    except OverflowError:
        return dtype(math.copysign(math.inf, exact))
    if dtype is np.float64:
        return np.float64(near)
    # Rounding to odd in float64 first makes the second rounding, to the narrow type, exact.
    if Fraction(near) != exact and np.float64(near).view(np.int64) % 2 == 0:
        near = math.nextafter(near, math.inf if exact > Fraction(near) else -math.inf)
    return dtype(near)
