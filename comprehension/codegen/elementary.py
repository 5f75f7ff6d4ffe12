"""Exponentials, logarithms, powers and tanh as branch-free arithmetic on scalars or vectors.

In, out: float32 or float64 `Lanes`.
Invariant: no table, no library call (float64 `pow` excepted); monotone enough for sorting is not
promised, the bounds (`accuracy.py`) are: at most 2 ulp for exp, exp2, log, log1p
and pow, 3 for the others.  Denormals, infinities, NaN and signed zeros come out as C says.

Method: argument reduction by Cody and Waite ("Software Manual for the Elementary Functions"), polynomials near
minimax (Remez exchange in 60 digits); the logarithm of doubles is fdlibm's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numba import types

from comprehension.codegen.arithmetic import emit_convert
from comprehension.codegen.lanes import Lanes, integer_of
from comprehension.codegen.target import scaled_by_power

LN2_HIGH_32, LN2_LOW_32 = 0.693145751953125, 1.4286068203094173e-06
LN2_HIGH_64, LN2_LOW_64 = 0.693147180559663, 2.8235290563031577e-13
LOG10_2_HIGH_32, LOG10_2_LOW_32 = 0.301025390625, 4.605038981195214e-06
LOG10_2_HIGH_64, LOG10_2_LOW_64 = 0.30102999566383914, 1.42050232272661e-13

# (exp(r) - 1 - r) / r**2 on |r| <= ln(2) / 2, error of exp 3.1e-9: a twentieth of an ulp where 1 is added
_EXP_32 = (0.5000000095, 0.1666651889, 0.04166620609, 0.008368883009, 0.001395047098)
# the same for results near 0; errors 1.4e-9 and 1.4e-18
_EXPM1_32 = (0.5000000014, 0.1666666676, 0.04166646417, 0.00833328583, 0.001393373288, 0.0001990770849)
_EXP_64 = (
    0.5, 0.1666666666666667, 0.041666666666666685, 0.008333333333326082, 0.0013888888888874305,
    0.00019841269875002846, 2.480158734756744e-05, 2.755725516938446e-06, 2.755725268738763e-07,
    2.510531296749289e-08, 2.092166704494432e-09,
)  # fmt: skip
# (log(1 + f) - f + f**2 / 2) / f**3 on sqrt(1/2) <= 1 + f <= sqrt(2) (Cephes, logf)
_LOG_32 = (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
    -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2,
)  # fmt: skip
# fdlibm, e_log.c: in powers of (f / (2 + f))**2
_LOG_64 = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip


def is_single(x: Lanes) -> bool:
    return bool(x.dtype == types.float32)


def polynomial(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """c0 + c1 x + c2 x^2 + ... by Horner's rule, fused."""
    total = x.const(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(x, coefficient)
    return total


def clamp(x: Lanes, low: float, high: float) -> Lanes:
    """Into [low, high]; NaN stays."""
    x = (x < low).choose(x.const(low), x)
    return (x > high).choose(x.const(high), x)


def nearest_integer(x: Lanes) -> tuple[Lanes, Lanes]:
    """x rounded to nearest, as a float and as an integer (of any bits for NaN); |x| < 2**22 or 2**51.

    Adding 1.5 * 2**23 leaves the integer in the low bits of the sum.
    """
    return _rounded_product(x, 1.0)


def _rounded_product(x: Lanes, factor: float) -> tuple[Lanes, Lanes]:
    """`nearest_integer` of x * factor, the product not rounded before."""
    magic = x.const(1.5 * 2.0**23 if is_single(x) else 1.5 * 2.0**52)
    shifted = x + magic if factor == 1.0 else x.fma(factor, magic)
    integer = integer_of(x.dtype)
    return shifted - magic, shifted.bits(integer) - magic.bits(integer)


def power_of_two(n: Lanes, dtype: types.Type) -> Lanes:
    """2**n for n in the range of normal exponents."""
    bias, shift = (127, 23) if dtype == types.float32 else (1023, 52)
    return ((n + bias) << shift).bits(dtype)


def scaled(value: Lanes, n: Lanes) -> Lanes:
    """value * 2**n for n twice the range of normal exponents: in two steps, so that denormals round once."""
    half = n >> 1
    return value * power_of_two(half, value.dtype) * power_of_two(n - half, value.dtype)


def times_power_of_two(value: Lanes, whole: Lanes, n: Lanes) -> Lanes:
    """value * 2**n, rounded once; `whole` is n as a float."""
    found = scaled_by_power(value, whole)
    return scaled(value, n) if found is None else found


def _reduced(x: Lanes, scale: float, high: float, low: float) -> tuple[Lanes, Lanes, Lanes]:
    """(r, n, n as integer) with x = n * (high + low) + r."""
    n, integer = _rounded_product(x, scale)
    return n.fma(-low, n.fma(-high, x)), n, integer


def _ln2(x: Lanes) -> tuple[float, float]:
    return (LN2_HIGH_32, LN2_LOW_32) if is_single(x) else (LN2_HIGH_64, LN2_LOW_64)


def _expm1_near_zero(r: Lanes) -> Lanes:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    return polynomial(r, _EXPM1_32 if is_single(r) else _EXP_64).fma(r * r, r)


def _exp_near_zero(r: Lanes) -> Lanes:
    """exp(r) for |r| <= ln(2) / 2."""
    return polynomial(r, (1.0, 1.0, *(_EXP_32 if is_single(r) else _EXP_64)))


def exp(x: Lanes) -> Lanes:
    low, high = (-104.0, 89.0) if is_single(x) else (-746.0, 710.0)
    r, whole, n = _reduced(clamp(x, low, high), 1.0 / math.log(2.0), *_ln2(x))
    return times_power_of_two(_exp_near_zero(r), whole, n)


def exp2(x: Lanes) -> Lanes:
    low, high = (-151.0, 129.0) if is_single(x) else (-1076.0, 1025.0)
    bounded = clamp(x, low, high)
    whole, n = nearest_integer(bounded)
    return times_power_of_two(_exp_near_zero((bounded - whole) * math.log(2.0)), whole, n)


def exp10(x: Lanes) -> Lanes:
    single = is_single(x)
    low, high = (-46.0, 39.0) if single else (-324.0, 309.0)
    parts = (LOG10_2_HIGH_32, LOG10_2_LOW_32) if single else (LOG10_2_HIGH_64, LOG10_2_LOW_64)
    r, whole, n = _reduced(clamp(x, low, high), math.log2(10.0), *parts)
    # r * ln(10) with the constant's rounding error put back: the remainder is as exact as r
    ln10 = math.log(10.0)
    head = float(np.float32(ln10)) if single else ln10
    tail = ln10 - head if single else -2.1707562233822494e-16
    return times_power_of_two(_exp_near_zero(r.fma(head, r * tail)), whole, n)


def expm1(x: Lanes) -> Lanes:
    """With 2**n = 2 s: exp(x) - 1 = 2 (s (exp(r) - 1) + (s - 1/2)); s is a normal number over the whole range."""
    low, high = (-60.0, 89.0) if is_single(x) else (-60.0, 710.0)
    r, _, n = _reduced(clamp(x, low, high), 1.0 / math.log(2.0), *_ln2(x))
    near = _expm1_near_zero(r)
    s = power_of_two(n - 1, x.dtype)
    far = near.fma(s, s - 0.5) * 2.0
    return n.equals(0).choose(near, far).copysign(x)


def tanh(x: Lanes) -> Lanes:
    """-e / (e + 2) with e = exp(-2 |x|) - 1, whose sign is known and whose error is small everywhere."""
    t = x.abs()
    t = (t > 20.0).choose(t.const(20.0), t)  # 1 - tanh(20) is less than half an ulp
    r, _, n = _reduced(t * -2.0, 1.0 / math.log(2.0), *_ln2(x))
    s = power_of_two(n, x.dtype)
    e = _expm1_near_zero(r).fma(s, s - 1.0)
    return (e / (e + 2.0)).abs().copysign(x)


# --- logarithms ------------------------------------------------------------------------------------------------


def split_logarithm(x: Lanes) -> tuple[Lanes, Lanes]:
    """(e, f) with x = 2**e * (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2), for positive finite x."""
    single = is_single(x)
    tiny, lift, shift = (2.0**-126, 2.0**24, 23) if single else (2.0**-1022, 2.0**54, 52)
    denormal = x < tiny
    normal = denormal.choose(x * lift, x)
    integer = integer_of(x.dtype)
    root = x.const(math.sqrt(0.5)).bits(integer)
    distance = normal.bits(integer) - root
    exponent = distance >> shift  # floors, so the fraction comes out in [sqrt(1/2), sqrt(2))
    fraction = (normal.bits(integer) - (exponent << shift)).bits(x.dtype)
    e = emit_convert(exponent, x.dtype)
    return denormal.choose(e - math.log2(lift), e), fraction - 1.0


def logarithm_near_one(f: Lanes) -> tuple[Lanes, Lanes]:
    """log(1 + f) as a large part f and a small correction."""
    half_square = f * f * 0.5
    if is_single(f):
        return f, polynomial(f, _LOG_32).fma(f * f * f, -half_square)
    s = f / (f + 2.0)
    square = s * s
    series = polynomial(square, _LOG_64) * square
    return f, s * (half_square + series) - half_square


def _at_the_edges(x: Lanes, result: Lanes) -> Lanes:
    """NaN below 0 and for NaN, -inf at 0, inf at inf."""
    result = x.equals(0.0).choose(x.const(-math.inf), result)
    result = x.equals(math.inf).choose(x, result)
    return (x >= 0.0).choose(result, x.const(math.nan))


def log(x: Lanes) -> Lanes:
    e, f = split_logarithm(x)
    large, small = logarithm_near_one(f)
    high, low = _ln2(x)
    return _at_the_edges(x, e.fma(high, large + e.fma(low, small)))


def log2(x: Lanes) -> Lanes:
    """e + (large + small) * log2(e), the product in two parts so that nothing is lost near 1."""
    e, f = split_logarithm(x)
    return _at_the_edges(x, _scaled_logarithm(e, f, 1.0, 0.0, math.log2(math.e), 2.0355273740931033e-17))


def log10(x: Lanes) -> Lanes:
    e, f = split_logarithm(x)
    single = is_single(x)
    high, low = (LOG10_2_HIGH_32, LOG10_2_LOW_32) if single else (LOG10_2_HIGH_64, LOG10_2_LOW_64)
    return _at_the_edges(x, _scaled_logarithm(e, f, high, low, math.log10(math.e), 1.098319650216765e-17))


def _scaled_logarithm(e: Lanes, f: Lanes, high: float, low: float, factor: float, rest: float) -> Lanes:
    """e * (high + low) + log(1 + f) * (factor + rest)."""
    large, small = logarithm_near_one(f)
    head = float(np.float32(factor)) if is_single(e) else factor
    tail = factor - head if is_single(e) else rest
    near = large.fma(head, small.fma(head, (large + small) * tail))
    return e.fma(high, e.fma(low, near))


def log1p(x: Lanes) -> Lanes:
    """log(u) + (x - (u - 1)) / u with u = 1 + x rounded (Kahan; the correction puts the rounding back)."""
    u = x + 1.0
    correction = (x - (u - 1.0)) / u
    regular = (u > 0.0) & u.differs(math.inf)
    e, f = split_logarithm(u)
    large, small = logarithm_near_one(f)
    high, low = _ln2(x)
    found = e.fma(high, large + (e.fma(low, small) + correction))
    found = regular.choose(found, _at_the_edges(u, found))
    return x.equals(0.0).choose(x, found)


# --- powers and roots --------------------------------------------------------------------------------------------


def in_double(function: Callable[..., Lanes]) -> Callable[..., Lanes]:
    """A function on float32 computed in float64 and rounded once; on float64 as it is."""

    def emit(*arguments: Lanes) -> Lanes:
        dtype = arguments[0].dtype
        wide = [emit_convert(a, types.float64) for a in arguments]
        return emit_convert(function(*wide), dtype)

    return emit


def pow(x: Lanes, y: Lanes) -> Lanes:
    """exp2(y log2 |x|) in float64, which is exact enough for float32; the C library for float64."""
    if not is_single(x):
        return x.call_libm("pow", y)
    base, power = emit_convert(x.abs(), types.float64), emit_convert(y, types.float64)
    magnitude = emit_convert(exp2(power * log2(base)), types.float32)
    whole = y.intrinsic("trunc").equals(y)
    half = y * 0.5
    odd = whole & half.intrinsic("trunc").differs(half)
    negative = x.bits(types.int32) < 0
    signed = (negative & odd).choose(-magnitude, magnitude)
    finite_negative = (x < 0.0) & x.differs(-math.inf)
    signed = (finite_negative & ~whole).choose(x.const(math.nan), signed)
    one = y.equals(0.0) | x.equals(1.0) | (x.equals(-1.0) & y.abs().equals(math.inf))
    return one.choose(x.const(1.0), signed)


def _cbrt_64(x: Lanes) -> Lanes:
    """exp2(log2 |x| / 3), then one step of Newton's method with an exact remainder."""
    small = x.abs() < 2.0**-900  # there the remainder would be denormal
    t = x.abs() * small.choose(x.const(2.0**108), x.const(1.0))
    start = exp2(log2(t) * (1.0 / 3.0))
    square = start * start
    root = (start - square.fma(start, -t) / (square * 3.0)) * small.choose(x.const(2.0**-36), x.const(1.0))
    edge = t.equals(0.0) | t.equals(math.inf)
    return edge.choose(t, root).copysign(x)


cbrt = in_double(_cbrt_64)


def rsqrt(x: Lanes) -> Lanes:
    return 1.0 / x.intrinsic("sqrt")
