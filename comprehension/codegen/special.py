"""The error function and its kin, and modified Bessel functions, as branch-free arithmetic.

In, out: float32 or float64 `Lanes`.
Invariant: `erf` at most 3.5 ulp in float32 (2.5 where tables fit registers); the others are computed in float64 and
rounded once for float32, and a few ulps off in float64 (bounds in `accuracy.py`).
Sources: erfc by a polynomial in t = 2 / (2 + x) (Numerical Recipes 6.2.2, fitted anew in
50 digits); the inverses by Newton's method; DLMF 10.25.2.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import types

from comprehension.codegen.elementary import exp, in_double, is_single, log, polynomial
from comprehension.codegen.lanes import Lanes
from comprehension.codegen.target import TABLE_ENTRIES, looked_up

# erf(x) / x - 1 in x**2 for |x| <= 3/2, error 1.3e-8; erfc(x) in 0.8 x - 2.2 for 3/2 <= x <= 4, error 5e-8
_ERF_NEAR_32 = (
    0.12837915122509003, -0.37612566351890564, 0.11283086985349655, -0.02684023231267929, 0.005176637787371874,
    -0.0008070559124462306, 9.28281806409359e-05, -5.762975433754036e-06,
)  # fmt: skip
_ERFC_FAR_32 = (
    0.00010058611223939806, -0.0007323853787966073, 0.0025216354988515377, -0.005402041599154472, 0.00792695302516222,
    -0.008339432999491692, 0.006431692745536566, -0.0032811991404742002, 0.00033902330324053764, 0.000807587115559727,
    -0.0003724567359313369,
)  # fmt: skip
# erf(x) / x in x**2 for |x| <= 1, without its leading 1; error 8e-18
_ERF_NEAR_64 = (
    0.1283791670955126, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777, 0.0052239776071164225,
    -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05, 1.6447424703317362e-06,
    -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
)  # fmt: skip
# exp(x**2) erfc(x) / t in u = 2.1465 t - 1.1465, for x <= 27.3; error 2e-17
_ERFC = (
    0.5349005709592315, 0.33812644261939073, 0.12428028537460556, 0.012249449921987477, -0.008854723556588907,
    -0.0018058828528324268, 0.0011135668438908754, 0.00014469202509989772, -0.00018627863017771378,
    1.4347526760302373e-05, 2.8005389726390554e-05, -1.0633008352906469e-05, -1.7800811131801553e-06,
    2.713289166611866e-06, -7.012745996197704e-07, -2.700389295183185e-07, 2.7398059175488476e-07,
    -7.45342171513111e-08, -2.8825245238717013e-08, 3.753574586828396e-08, -9.824233968852844e-09,
    -7.020307329554115e-09, 4.195741574240735e-09, 5.203550817082802e-10, -5.356956945427235e-10,
)  # fmt: skip
_ERFC_SHIFT, _ERFC_SCALE, _ERFC_END = 1.1465201465201464, 2.1465201465201464, 27.3


def erf(x: Lanes) -> Lanes:
    t = x.abs()
    if is_single(x):
        found = _erf_by_table(x)
        if found is not None:
            return found
        # Two polynomials: a third less time than one with an exponential; a quotient is faster still, but 5 ulp off.
        near = polynomial(x * x, _ERF_NEAR_32).fma(x, x)
        bounded = (t > 4.0).choose(t.const(4.0), t)
        far = 1.0 - polynomial(bounded.fma(0.8, -2.2), _ERFC_FAR_32)
        return (t > 1.5).choose(far.copysign(x), near)
    near = polynomial(x * x, _ERF_NEAR_64).fma(x, x)
    return (t > 1.0).choose((1.0 - _erfc_of_positive(t)).copysign(x), near)


# The middles of erf's pieces lie so far apart that adding 1.5 * 2**20 rounds to the nearest and leaves its number.
_PIECE, _PIECE_MAGIC, _PIECE_DEGREE, _ERF_END = 1 / 8, 1.5 * 2.0**20, 4, 3.92  # beyond it, erf is 1 in float32


@cache
def _erf_pieces() -> tuple[tuple[float, ...], ...]:
    """Coefficients of erf(x) / x around each piece's middle: for each power, those of all pieces.

    Interpolated at Chebyshev's points: off by 5e-10.
    """
    count = _PIECE_DEGREE + 1
    points = np.cos((2 * np.arange(count) + 1) * np.pi / (2 * count))
    middles = np.arange(TABLE_ENTRIES) * _PIECE
    x = np.abs(middles[:, None] + points * (_PIECE / 2))  # an even function
    values = np.array([[math.erf(each) / each if each else 2 / math.sqrt(math.pi) for each in row] for row in x])
    scaled = np.linalg.solve(np.vander(points, increasing=True), values.T)
    powers = scaled / (_PIECE / 2) ** np.arange(count)[:, None]
    return tuple(tuple(map(float, row)) for row in powers.astype(np.float32))


def _erf_by_table(x: Lanes) -> Lanes | None:
    """|x| times a polynomial of the piece that |x| lies in: half the operations of two polynomials for all."""
    t = x.abs()
    t = (t > _ERF_END).choose(t.const(_ERF_END), t)
    shifted = t + _PIECE_MAGIC
    rest, piece = t - (shifted - _PIECE_MAGIC), shifted.bits(types.int32)
    total: Lanes | None = None
    for table in reversed(_erf_pieces()):
        coefficient = looked_up(table, piece)
        if coefficient is None:
            return None
        total = coefficient if total is None else total.fma(rest, coefficient)
    assert total is not None
    return (total * t).copysign(x)


def _scaled_erfc(t: Lanes) -> Lanes:
    """exp(t**2) erfc(t) for 0 <= t <= 27.3, in float64."""
    inverse = 2.0 / (t + 2.0)
    return polynomial(inverse.fma(_ERFC_SCALE, -_ERFC_SHIFT), _ERFC) * inverse


def _exp_of_square(t: Lanes, sign: float) -> Lanes:
    """exp(sign * t**2), the square's rounding error put back."""
    square = t * t
    low = t.fma(t, -square) * sign
    high = exp(square * sign)
    return high.equals(math.inf).choose(high, high.fma(low, high))


def _erfc_of_positive(t: Lanes) -> Lanes:
    bounded = (t > _ERFC_END).choose(t.const(_ERFC_END), t)
    return _scaled_erfc(bounded) * _exp_of_square(bounded, -1.0)


def _erfc_64(x: Lanes) -> Lanes:
    far = _erfc_of_positive(x.abs())
    return (x < 0.0).choose(2.0 - far, far)


erfc = in_double(_erfc_64)


def _erfcx_64(x: Lanes) -> Lanes:
    """exp(x**2) erfc(x); far out by its asymptotic series."""
    t = x.abs()
    far = t > 27.0
    bounded = far.choose(t.const(27.0), t)
    square = 1.0 / (t * t)
    series = polynomial(square, (1.0, -0.5, 0.75, -1.875, 6.5625, -29.53125, 162.421875)) / (t * math.sqrt(math.pi))
    positive = far.choose(series, _scaled_erfc(bounded))
    reflected = _exp_of_square(t, 1.0) * 2.0 - positive
    return (x < 0.0).choose(reflected, positive)


erfcx = in_double(_erfcx_64)


def _normcdf_64(x: Lanes) -> Lanes:
    return _erfc_64(x * -math.sqrt(0.5)) * 0.5


normcdf = in_double(_normcdf_64)


def _erfinv_of_small(y: Lanes) -> Lanes:
    """For |y| <= 1/2: M. Giles' approximation, then two steps of Halley's method."""
    w = -log((1.0 - y) * (y + 1.0)) - 2.5
    giles = (
        1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06, -3.5233877e-06,
        3.43273939e-07, 2.81022636e-08,
    )  # fmt: skip
    x = polynomial(w, giles) * y
    for _ in range(2):
        slope = exp(-(x * x)) * (2.0 / math.sqrt(math.pi))
        error = erf(x) - y
        x = x - error / (slope + x * error)
    return y.equals(0.0).choose(y, x)


def _erfcinv_of_small(y: Lanes) -> Lanes:
    """For 0 < y <= 1/2: Hastings' start, then Newton's method on log erfc, whose second derivative is small."""
    target = log(y)
    t = ((math.log(2.0) - target) * 2.0).intrinsic("sqrt")
    x = (t - (t * 0.27061 + 2.30753) / (t * t * 0.04481 + t * 0.99229 + 1.0)) * math.sqrt(0.5)
    for _ in range(3):
        scaled = _scaled_erfc(x)
        x = x + (log(scaled) - x * x - target) * scaled * (math.sqrt(math.pi) / 2.0)
    return x


def _erfinv_64(y: Lanes) -> Lanes:
    t = y.abs()
    inside = _erfcinv_of_small(1.0 - t).copysign(y)
    found = (t <= 0.5).choose(_erfinv_of_small(y), inside)
    found = t.equals(1.0).choose(y.const(math.inf).copysign(y), found)
    return (t <= 1.0).choose(found, y.const(math.nan))


def _erfcinv_64(y: Lanes) -> Lanes:
    upper = y > 1.0
    reflected = upper.choose(2.0 - y, y)
    positive = (reflected < 0.5).choose(_erfcinv_of_small(reflected), _erfinv_of_small(1.0 - reflected))
    found = upper.choose(-positive, positive)
    found = y.equals(0.0).choose(y.const(math.inf), y.equals(2.0).choose(y.const(-math.inf), found))
    return ((y >= 0.0) & (y <= 2.0)).choose(found, y.const(math.nan))


erfinv, erfcinv = in_double(_erfinv_64), in_double(_erfcinv_64)
normcdfinv = in_double(lambda p: _erfcinv_64(p * 2.0) * -math.sqrt(2.0))

# --- modified Bessel functions ------------------------------------------------------------------------------------

# exp(-x) sqrt(x) I(x) in u = 16 / x - 1 for x >= 8; error 4e-17
_I0_FAR = (
    0.4021765094450081, 0.0033605519836677235, 0.00013621607439187193, 1.1143033802583682e-05, 1.4838475863096976e-06,
    2.9735956581528157e-07, 8.872154618944625e-08, 3.932926571091252e-08, 2.155681110989874e-08, 7.532386417555123e-09,
    -6.805980075129678e-09, -1.331979859201994e-08, -5.162517880939013e-09, 7.323310735122893e-09,
    6.789790403895736e-09, -3.11851456121224e-09, -4.8482509221176966e-09, 1.0924527246468664e-09,
    2.3981927228949238e-09, -2.748111637276033e-10, -7.473844621887592e-10, 3.525321019700796e-11,
    1.0881994785468934e-10,
)  # fmt: skip
_I1_FAR = (
    0.38939845902587233, -0.009749577193235609, -0.000219235763833829, -1.503854721127423e-05,
    -1.8349101539664522e-06, -3.483853071371078e-07, -1.0001220638799958e-07, -4.31323156237458e-08,
    -2.3382691353601083e-08, -8.407326839577817e-09, 6.795073490187386e-09, 1.3952625102162603e-08,
    5.722677527454156e-09, -7.432535335623792e-09, -7.222524178953976e-09, 3.0717395650769477e-09,
    5.094016301574338e-09, -1.0476127785270019e-09, -2.5062162405593894e-09, 2.582169443152386e-10,
    7.79067217908059e-10, -3.2677656089803323e-11, -1.13288885034257e-10,
)  # fmt: skip
_SERIES_TERMS = 25  # enough below x = 8: the next term is 1e-20 of the sum


def _bessel_i(x: Lanes, order: int, far: tuple[float, ...]) -> Lanes:
    """The power series (all terms positive) below 8, exp(x) / sqrt(x) times a polynomial in 1 / x above."""
    t = x.abs()
    terms = [1.0 / (math.factorial(k) * math.factorial(k + order)) for k in range(_SERIES_TERMS)]
    small = (t > 8.0).choose(t.const(8.0), t)
    near = polynomial(small * small * 0.25, terms)
    if order:
        near = near * small * 0.5
    large = (t < 8.0).choose(t.const(8.0), t)
    half = exp(large * 0.5)  # exp(x) itself would overflow too early
    outer = half * (polynomial(16.0 / large - 1.0, far) / large.intrinsic("sqrt")) * half
    outer = t.equals(math.inf).choose(t, outer)
    return (t < 8.0).choose(near, outer)


bessel_i0 = in_double(lambda x: _bessel_i(x, 0, _I0_FAR))
bessel_i1 = in_double(lambda x: _bessel_i(x, 1, _I1_FAR).copysign(x))

# --- the arc tangent ---------------------------------------------------------------------------------------------

_ATAN = (
    0.9999999999293037, -0.3333333129088999, 0.19999901102171555, -0.14283813255743194, 0.11091922963683302,
    -0.08974171958363882, 0.07228278345377252, -0.05395668057137172, 0.033826218952786875, -0.015828322749149415,
    0.00473248419342192, -0.0006633954571104787,
)  # fmt: skip


def atan_single(x: Lanes) -> Lanes:
    """atan to 7e-11, in float64: enough for float32."""
    t = x.abs()
    outside = t > 1.0
    inner = outside.choose(1.0 / t, t)
    value = polynomial(inner * inner, _ATAN) * inner
    return outside.choose(math.pi / 2 - value, value).copysign(x)
