"""Analytic functions: powers, exponentials, logarithms, trigonometric and hyperbolic functions, erf.

In: `families`.  Out: records; integers and bool are taken to the default float.
Invariant: a record gives its slope; the tape multiplies by the slope's conjugate (PyTorch's convention for
complex gradients).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang.tree import Expr
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_float
from minitensor.errors import NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.elementwise import conj_of, equal, where
from minitensor.ops.error_function import erf_of
from minitensor.ops.families import binary, unary_float
from minitensor.ops.opdef import OpDef


def _smooth(name: str, function: Callable[..., Any], slope: Callable[[Any, Any], Any], form: Any = None) -> OpDef:
    """A function with its slope at (x, y)."""
    return unary_float(name, function, form or name, lambda g, x, y: g * conj_of(slope(x, y)))


def _of(op: OpDef, x: Any) -> Any:
    return apply(op, x)


cos: OpDef  # written further down, needed by derivatives before
cosh: OpDef

exp = _smooth("exp", np.exp, lambda x, y: y)
expm1 = _smooth("expm1", np.expm1, lambda x, y: y + 1)
log = unary_float("log", np.log, "log", lambda g, x, y: g / conj_of(x))
log1p = unary_float("log1p", np.log1p, "log1p", lambda g, x, y: g / (conj_of(x) + 1))
log2 = unary_float("log2", np.log2, "log2", lambda g, x, y: g / (conj_of(x) * math.log(2)))
log10 = unary_float("log10", np.log10, "log10", lambda g, x, y: g / (conj_of(x) * math.log(10)))
sqrt = unary_float("sqrt", np.sqrt, "sqrt", lambda g, x, y: g / (conj_of(y) * 2))
reciprocal = _smooth(
    "reciprocal", np.reciprocal, lambda x, y: -(y * y), lambda x, d: c.binary("/", c.constant(1, d), x)
)
sin = _smooth("sin", np.sin, lambda x, y: _of(cos, x))
cos = _smooth("cos", np.cos, lambda x, y: -_of(sin, x))
tan = _smooth("tan", np.tan, lambda x, y: y * y + 1)
asin = _smooth("asin", np.arcsin, lambda x, y: _of(reciprocal, _of(sqrt, 1 - x * x)))
acos = _smooth("acos", np.arccos, lambda x, y: -_of(reciprocal, _of(sqrt, 1 - x * x)))
atan = _smooth("atan", np.arctan, lambda x, y: _of(reciprocal, x * x + 1))
sinh = _smooth("sinh", np.sinh, lambda x, y: _of(cosh, x))
cosh = _smooth("cosh", np.cosh, lambda x, y: _of(sinh, x))
tanh = _smooth("tanh", np.tanh, lambda x, y: 1 - y * y)
asinh = _smooth("asinh", np.arcsinh, lambda x, y: _of(reciprocal, _of(sqrt, x * x + 1)))
acosh = _smooth("acosh", np.arccosh, lambda x, y: _of(reciprocal, _of(sqrt, x - 1) * _of(sqrt, x + 1)))
atanh = _smooth("atanh", np.arctanh, lambda x, y: _of(reciprocal, 1 - x * x))
erf = _smooth("erf", erf_of, lambda x, y: _of(exp, -(x * x)) * (2 / math.sqrt(math.pi)))

# --- two operands ----------------------------------------------------------------------------------------


def _logaddexp_form(a: Expr, b: Expr, dtype: DType) -> Expr:
    """max + log1p(exp(−|a − b|)); equal operands apart, because ∞ − ∞ is NaN."""
    distance = c.builtin("fabs", dtype, c.binary("-", a, b))
    decay = c.builtin("exp", dtype, c.binary("-", c.constant(0, dtype), distance))
    smooth = c.binary("+", c.call("max", a, b), c.builtin("log1p", dtype, decay))
    return c.select(c.binary("==", a, b), c.binary("+", a, c.constant(math.log(2), dtype)), smooth)


def _pow_form(a: Expr, b: Expr, dtype: DType) -> Expr:
    if dtype.kind != "f":
        raise NoComprehension("pow of integers: a negative exponent must be refused eagerly")
    return c.builtin("pow", dtype, a, b)


def _pow_base(g: Any, a: Any, b: Any, y: Any) -> Any:
    """b·a^(b−1), and 0 where b is 0 (a may be 0 there)."""
    if not hasattr(b, "dtype"):
        return g * (conj_of(apply(power, a, b - 1)) * b) if b else g * 0
    return apply(where, apply(equal, b, 0), 0, g * conj_of(apply(power, a, b - 1) * b))


def _pow_exponent(g: Any, a: Any, b: Any, y: Any) -> Any:
    """y·log(a), and 0 where y is 0 (a is 0 there)."""
    logarithm = math.log(a) if isinstance(a, int | float) and a > 0 else _of(log, a + 0 * b)
    return apply(where, apply(equal, y, 0), 0, g * conj_of(y * logarithm))


def _power(x: Any, y: Any, **out: Any) -> Any:
    """`np.power`, but of a number 0.5: NumPy takes a square root there, which for −0 and −∞ is −0 and NaN."""
    if getattr(y, "ndim", 0) or y != 0.5 or not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return np.power(x, y, **out)
    root = np.sqrt(np.add(x, 0.0, **out), **out)
    infinite = np.equal(x, -np.inf)
    if not infinite.any():
        return root
    return np.where(infinite, root.dtype.type(np.inf), root)


power = binary("pow", _power, _pow_form, (_pow_base, _pow_exponent), takes_out=True)
atan2 = binary(
    "atan2",
    np.arctan2,
    "atan2",
    (lambda g, a, b, y: g * b / (a * a + b * b), lambda g, a, b, y: -(g * a) / (a * a + b * b)),
    operand=to_float,
)
hypot = binary(
    "hypot", np.hypot, "hypot", (lambda g, a, b, y: g * a / y, lambda g, a, b, y: g * b / y), operand=to_float
)
logaddexp = binary(
    "logaddexp",
    np.logaddexp,
    _logaddexp_form,
    (lambda g, a, b, y: g * _of(exp, a - y), lambda g, a, b, y: g * _of(exp, b - y)),
    operand=to_float,
)
