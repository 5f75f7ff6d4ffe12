"""Sine, cosine and tangent as branch-free arithmetic; huge arguments alone take the C library's way.

In, out: float32 or float64 `Lanes`.
Invariant: at most 2 ulp (tan 3 in float64).  float32 is reduced in float64; float64 by three parts of pi/2.
Kernels: Cephes (float32) and fdlibm (float64).
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types

from comprehension.codegen.arithmetic import emit_convert
from comprehension.codegen.elementary import in_double, is_single, nearest_integer, polynomial
from comprehension.codegen.lanes import I1, Lanes, call_intrinsic, type_suffix

_PIO2 = (1.5707963267941523, 7.443547480484391e-13, 2.2324141007458115e-25)
_LIMIT_32, _LIMIT_64 = 2.0**28, 2.0**20
_SIN_32 = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
_COS_32 = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
_SIN_64 = (
    -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
    2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10,
)  # fmt: skip
_COS_64 = (
    4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
    -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11,
)  # fmt: skip


def rescued(x: Lanes, result: Lanes, hard: Lanes, libm: str) -> Lanes:
    """`result`, with hard lanes from the C library; the branch is not taken where no lane is hard."""
    builder = x.builder
    flag = hard.value
    if isinstance(flag.type, ir.VectorType):
        flag = call_intrinsic(builder, f"llvm.vector.reduce.or.{type_suffix(flag.type)}", I1, [flag])
    before = builder.block
    with builder.if_then(flag, likely=False):
        exact = hard.choose(x.call_libm(libm), result).value
        slow = builder.block
    merged = builder.phi(result.value.type)
    merged.add_incoming(result.value, before)
    merged.add_incoming(exact, slow)
    return result.of(merged)


def _reduced(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(r, its rounding error, quadrant) with x = quadrant * pi/2 + r."""
    wide = emit_convert(x, types.float64)
    n, quadrant = nearest_integer(wide * (2.0 / math.pi))
    high = n.fma(-_PIO2[0], wide)
    r = n.fma(-_PIO2[1], high)
    error = n.fma(-_PIO2[1], high - r)  # what the second step rounded away
    error = n.fma(-_PIO2[2], error)
    total = r + error
    if is_single(x):
        return emit_convert(total, types.float32), x.const(0.0), emit_convert(quadrant, types.int32)
    return total, (r - total) + error, quadrant


def _sine(r: Lanes, error: Lanes) -> Lanes:
    square = r * r
    if is_single(r):
        return (polynomial(square, _SIN_32) * square).fma(r, r)
    cube = square * r
    series = polynomial(square, _SIN_64[1:])
    return r - ((error * 0.5 - cube * series).fma(square, -error) - cube * _SIN_64[0])


def _cosine(r: Lanes, error: Lanes) -> Lanes:
    square = r * r
    if is_single(r):
        return polynomial(square, _COS_32).fma(square * square, square.fma(-0.5, 1.0))
    half = square * 0.5
    one_less = 1.0 - half
    return one_less + ((1.0 - one_less - half) + (polynomial(square, _COS_64) * square).fma(square, -(r * error)))


def _quarter(x: Lanes, turns: int) -> tuple[Lanes, Lanes]:
    """sin(x + turns * pi/2), and which lanes are beyond the reduction."""
    r, error, quadrant = _reduced(x)
    quadrant = quadrant + turns
    swapped = (quadrant & 1).differs(0)
    value = swapped.choose(_cosine(r, error), _sine(r, error))
    value = (quadrant & 2).differs(0).choose(-value, value)
    hard = x.abs() > (_LIMIT_32 if is_single(x) else _LIMIT_64)
    return value, hard


def sin(x: Lanes) -> Lanes:
    value, hard = _quarter(x, 0)
    return rescued(x, x.equals(0.0).choose(x, value), hard, "sin")


def cos(x: Lanes) -> Lanes:
    value, hard = _quarter(x, 1)
    return rescued(x, value, hard, "cos")


def _tan_64(x: Lanes) -> Lanes:
    r, error, quadrant = _reduced(x)
    s, c = _sine(r, error), _cosine(r, error)
    odd = (quadrant & 1).differs(0)
    value = odd.choose(-c, s) / odd.choose(s, c)
    return rescued(x, x.equals(0.0).choose(x, value), x.abs() > _LIMIT_64, "tan")


tan = in_double(_tan_64)


def sinpi(x: Lanes) -> Lanes:
    """sin(pi x), exact at multiples of a half."""
    nearest = x.intrinsic("roundeven")
    value = _sinpi_near(x - nearest)
    half = nearest * 0.5
    odd = half.intrinsic("trunc").differs(half)
    signed = odd.choose(-value, value)
    found = nearest.equals(x).choose(x.const(0.0).copysign(x), signed)
    return x.abs().equals(math.inf).choose(x.const(math.nan), found)


def cospi(x: Lanes) -> Lanes:
    """cos(pi x) = (-1)**n cos(pi f); beyond a quarter through the sine of the distance to a half."""
    nearest = x.abs().intrinsic("roundeven")
    f = (x.abs() - nearest).abs()
    value = _cospi_near(f)
    half = nearest * 0.5
    odd = half.intrinsic("trunc").differs(half)
    return odd.choose(-value, value)


def _times_pi(f: Lanes) -> tuple[Lanes, Lanes]:
    """pi * f as a value and its rounding error."""
    head = 3.1415927410125732 if is_single(f) else math.pi
    tail = math.pi - head if is_single(f) else 1.2246467991473532e-16
    value = f * head
    return value, f.fma(head, -value) + f * tail


def _sinpi_near(f: Lanes) -> Lanes:
    """sin(pi f) for |f| <= 1/2."""
    far = f.abs() > 0.25
    return far.choose(_even(0.5 - f.abs()).copysign(f), _odd(f))


def _cospi_near(f: Lanes) -> Lanes:
    """cos(pi f) for 0 <= f <= 1/2."""
    return (f > 0.25).choose(_odd(0.5 - f), _even(f))


def _odd(f: Lanes) -> Lanes:
    value, error = _times_pi(f)
    return _sine(value, error) + error if is_single(f) else _sine(value, error)


def _even(f: Lanes) -> Lanes:
    return _cosine(*_times_pi(f))
