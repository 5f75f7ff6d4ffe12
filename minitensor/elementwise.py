"""The array standard's elementwise functions, made from their records.

In: records of `ops.elementwise`.  Out: functions with the standard's names and signatures.
Invariant: a function does nothing but pass its operands to `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minitensor.creation import asarray
from minitensor.dispatch import apply, as_operand, as_tensor
from minitensor.dtypes import DType, isdtype, weak_dtype
from minitensor.ops import analytic, bits, elementwise as ops
from minitensor.ops.movement import astype
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor


def _unary(op: OpDef, summary: str) -> Callable[[Any], Tensor]:
    def function(x: Any, /) -> Tensor:
        return apply(op, x)

    return _named(function, op, f"{summary}, elementwise.")


def _binary(op: OpDef, summary: str) -> Callable[[Any, Any], Tensor]:
    def function(x1: Any, x2: Any, /) -> Tensor:
        return apply(op, x1, x2)

    return _named(function, op, f"{summary}, elementwise; the operands are broadcast and promoted.")


def _named(function: Callable[..., Tensor], op: OpDef, doc: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = doc
    return function


# --- arithmetic ------------------------------------------------------------------------------------------

abs = _unary(ops.abs_, "The magnitude")
add = _binary(ops.add, "The sum x1 + x2")
ceil = _unary(ops.ceil, "The smallest integer not below x")
conj = _unary(ops.conj, "The complex conjugate")
copysign = _binary(ops.copysign, "The magnitude of x1 with the sign of x2")
divide = _binary(ops.divide, "The quotient x1 / x2; of integers in the default float")
floor = _unary(ops.floor, "The largest integer not above x")
floor_divide = _binary(ops.floor_divide, "The quotient x1 / x2 rounded down")
imag = _unary(ops.imag, "The imaginary part")
maximum = _binary(ops.maximum, "The larger of both; NaN if one is NaN")
minimum = _binary(ops.minimum, "The smaller of both; NaN if one is NaN")
multiply = _binary(ops.multiply, "The product x1 * x2")
negative = _unary(ops.negative, "The negative -x")
nextafter = _binary(ops.nextafter, "The floating-point number next to x1 towards x2")
pow = _binary(analytic.power, "x1 to the power of x2")
positive = _unary(ops.identity, "x itself")
real = _unary(ops.real, "The real part")
reciprocal = _unary(analytic.reciprocal, "The reciprocal 1 / x")
remainder = _binary(ops.remainder, "The remainder of x1 / x2 with the sign of x2")
round = _unary(ops.round_, "The nearest integer; halves go to the even one")
sign = _unary(ops.sign, "-1, 0 or 1 by the sign of x; NaN stays")
square = _unary(ops.square, "x * x")
subtract = _binary(ops.subtract, "The difference x1 - x2")
trunc = _unary(ops.trunc, "The integer next to x towards 0")

# --- comparison and logic --------------------------------------------------------------------------------

equal = _binary(ops.equal, "Whether x1 == x2")
greater = _binary(ops.greater, "Whether x1 > x2")
greater_equal = _binary(ops.greater_equal, "Whether x1 >= x2")
isfinite = _unary(ops.isfinite, "Whether x is neither infinite nor NaN")
isinf = _unary(ops.isinf, "Whether x is infinite")
isnan = _unary(ops.isnan, "Whether x is NaN")
less = _binary(ops.less, "Whether x1 < x2")
less_equal = _binary(ops.less_equal, "Whether x1 <= x2")
logical_and = _binary(ops.logical_and, "Whether both are true")
logical_not = _unary(ops.logical_not, "Whether x is false")
logical_or = _binary(ops.logical_or, "Whether one or both are true")
logical_xor = _binary(ops.logical_xor, "Whether exactly one is true")
not_equal = _binary(ops.not_equal, "Whether x1 != x2")
signbit = _unary(ops.signbit, "Whether the sign bit is set (-0.0 and negative NaN too)")

# --- bits ------------------------------------------------------------------------------------------------

bitwise_and = _binary(bits.bitwise_and, "The bits set in both")
bitwise_invert = _unary(bits.bitwise_invert, "The other bits")
bitwise_left_shift = _binary(bits.left_shift, "The bits of x1 moved up by x2")
bitwise_or = _binary(bits.bitwise_or, "The bits set in one or both")
bitwise_right_shift = _binary(bits.right_shift, "The bits of x1 moved down by x2; the sign stays")
bitwise_xor = _binary(bits.bitwise_xor, "The bits set in exactly one")

# --- analytic functions ----------------------------------------------------------------------------------

acos = _unary(analytic.acos, "The inverse cosine")
acosh = _unary(analytic.acosh, "The inverse hyperbolic cosine")
asin = _unary(analytic.asin, "The inverse sine")
asinh = _unary(analytic.asinh, "The inverse hyperbolic sine")
atan = _unary(analytic.atan, "The inverse tangent")
atan2 = _binary(analytic.atan2, "The angle of the point (x2, x1)")
atanh = _unary(analytic.atanh, "The inverse hyperbolic tangent")
cos = _unary(analytic.cos, "The cosine")
cosh = _unary(analytic.cosh, "The hyperbolic cosine")
erf = _unary(analytic.erf, "The error function")
exp = _unary(analytic.exp, "e to the power of x")
expm1 = _unary(analytic.expm1, "exp(x) - 1, exact near 0")
hypot = _binary(analytic.hypot, "The square root of x1² + x2²")
log = _unary(analytic.log, "The natural logarithm")
log10 = _unary(analytic.log10, "The logarithm to base 10")
log1p = _unary(analytic.log1p, "log(1 + x), exact near 0")
log2 = _unary(analytic.log2, "The logarithm to base 2")
logaddexp = _binary(analytic.logaddexp, "log(exp(x1) + exp(x2)) without overflow")
sin = _unary(analytic.sin, "The sine")
sinh = _unary(analytic.sinh, "The hyperbolic sine")
sqrt = _unary(analytic.sqrt, "The square root")
tan = _unary(analytic.tan, "The tangent")
tanh = _unary(analytic.tanh, "The hyperbolic tangent")


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """Elements of `x1` where `condition` holds, of `x2` elsewhere; all three are broadcast."""
    return apply(ops.where, condition, x1, x2)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """The elements moved into [min, max]; None leaves a side open.

    The dtype is that of `x`, unless a bound is of a higher kind, as a float is beside integers: then kinds meet.
    """
    if min is None and max is None:
        return apply(ops.identity, x)
    x = as_tensor(x)
    bounds = [as_operand(bound) for bound in (min, max) if bound is not None]
    if len(bounds) == 2 and all(_is_bound_of(bound, x.dtype) for bound in bounds):
        return apply(ops.clip, x, *bounds)
    low = x if min is None else apply(ops.maximum, x, min)
    result = low if max is None else apply(ops.minimum, low, max)
    same_kind = isdtype(result.dtype, "integral") if isdtype(x.dtype, "integral") else result.dtype.kind == x.dtype.kind
    return apply(astype, result, dtype=x.dtype) if same_kind and result.dtype != x.dtype else result


def _is_bound_of(bound: Any, dtype: DType) -> bool:
    """Whether a bound becomes one of `dtype` as it stands."""
    return bool(bound.dtype == dtype if isinstance(bound, Tensor) else weak_dtype(dtype, bound) == dtype)


def isclose(x1: Any, x2: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x1 − x2| ≤ atol + rtol·|x2|, elementwise; infinities are close to themselves.

    >>> import minitensor as mt
    >>> mt.isclose(mt.asarray([1.0, 1.0]), mt.asarray([1.000001, 1.1])).tolist()
    [True, False]
    """
    x1, x2 = asarray(x1), asarray(x2)
    finite = logical_and(isfinite(x1), isfinite(x2))
    near = less_equal(
        abs(subtract(where(finite, x1, 0), where(finite, x2, 0))), atol + rtol * abs(where(finite, x2, 0))
    )
    close = where(finite, near, equal(x1, x2))
    return logical_or(close, logical_and(isnan(x1), isnan(x2))) if equal_nan else close
