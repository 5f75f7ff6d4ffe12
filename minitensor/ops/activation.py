"""Activations that are worth a record: gelu in both forms, the logistic function and leaky relu, with their gradients.

In: `families`.  Out: records; integers and bool are taken to the default float.
Invariant: as in `rows`: a gradient record is run only where no gradient of its result is wanted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from comprehension.lang.tree import Expr
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_float
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import erf, exp, tanh
from minitensor.ops.elementwise import minimum, where
from minitensor.ops.error_function import erf_of
from minitensor.ops.families import binary, unary
from minitensor.ops.rows import gradient_by
from minitensor.tensor import Tensor

_ROOT_HALF = 1.0 / math.sqrt(2.0)
_DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)
_SCALE, _CUBIC = math.sqrt(2.0 / math.pi), 0.044715  # of gelu's approximation by tanh


def _product(*factors: Expr) -> Expr:
    result = factors[0]
    for factor in factors[1:]:
        result = c.binary("*", result, factor)
    return result


def _plus_one(x: Expr, dtype: DType) -> Expr:
    return c.binary("+", x, c.constant(1, dtype))


# --- gelu: x·Φ(x), Φ the normal distribution function ------------------------------------------------------


def _gelu(x: Any) -> Any:
    return x * (erf_of(x * _ROOT_HALF) + 1) * 0.5


def _gelu_form(x: Expr, dtype: DType) -> Expr:
    error = c.builtin("erf", dtype, _product(x, c.constant(_ROOT_HALF, dtype)))
    return _product(x, _plus_one(error, dtype), c.constant(0.5, dtype))


def _gelu_composition(x: Tensor) -> Tensor:
    return x * (apply(erf, x * _ROOT_HALF) + 1) * 0.5


def _gelu_grad(g: Any, x: Any) -> Any:
    """g·(Φ(x) + x·φ(x)), φ the density."""
    return ((erf_of(x * _ROOT_HALF) + 1) * 0.5 + x * np.exp(x * x * -0.5) * _DENSITY_AT_0) * g


def _gelu_grad_form(g: Expr, x: Expr, dtype: DType) -> Expr:
    error = c.builtin("erf", dtype, _product(x, c.constant(_ROOT_HALF, dtype)))
    power = c.builtin("exp", dtype, _product(x, x, c.constant(-0.5, dtype)))
    density = _product(x, power, c.constant(_DENSITY_AT_0, dtype))
    return _product(c.binary("+", _product(_plus_one(error, dtype), c.constant(0.5, dtype)), density), g)


def _gelu_grad_composition(g: Tensor, x: Tensor) -> Tensor:
    density = x * apply(exp, x * x * -0.5) * _DENSITY_AT_0
    return ((apply(erf, x * _ROOT_HALF) + 1) * 0.5 + density) * g


gelu_grad = binary("gelu_grad", _gelu_grad, _gelu_grad_form, operand=to_float, composition=_gelu_grad_composition)
gelu = unary(
    "gelu",
    _gelu,
    _gelu_form,
    lambda g, x, y: gradient_by(gelu_grad, g, x)[0],
    operand=to_float,
    composition=_gelu_composition,
)

# --- gelu by tanh ----------------------------------------------------------------------------------------


def _bend(x: Any) -> Any:
    """tanh's argument, of arrays and of tensors."""
    return (x + x * x * x * _CUBIC) * _SCALE


def _bend_form(x: Expr, dtype: DType) -> Expr:
    cube = _product(x, x, x, c.constant(_CUBIC, dtype))
    return c.builtin("tanh", dtype, _product(c.binary("+", x, cube), c.constant(_SCALE, dtype)))


def _gelu_tanh(x: Any) -> Any:
    return x * (np.tanh(_bend(x)) + 1) * 0.5


def _gelu_tanh_form(x: Expr, dtype: DType) -> Expr:
    return _product(x, _plus_one(_bend_form(x, dtype), dtype), c.constant(0.5, dtype))


def _gelu_tanh_composition(x: Tensor) -> Tensor:
    return x * (apply(tanh, _bend(x)) + 1) * 0.5


def _slope_of_bend(x: Any, t: Any) -> Any:
    """The derivative of x·(t + 1)/2, t = tanh(bend(x))."""
    return (t + 1) * 0.5 + x * (1 - t * t) * (x * x * (3 * _CUBIC * 0.5 * _SCALE) + 0.5 * _SCALE)


def _gelu_tanh_grad(g: Any, x: Any) -> Any:
    return _slope_of_bend(x, np.tanh(_bend(x))) * g


def _gelu_tanh_grad_form(g: Expr, x: Expr, dtype: DType) -> Expr:
    t = _bend_form(x, dtype)
    half = _product(_plus_one(t, dtype), c.constant(0.5, dtype))
    inner = _product(x, x, c.constant(3 * _CUBIC * 0.5 * _SCALE, dtype))
    inner = c.binary("+", inner, c.constant(0.5 * _SCALE, dtype))
    outer = _product(x, c.binary("-", c.constant(1, dtype), _product(t, t)), inner)
    return _product(c.binary("+", half, outer), g)


def _gelu_tanh_grad_composition(g: Tensor, x: Tensor) -> Tensor:
    result: Tensor = _slope_of_bend(x, apply(tanh, _bend(x))) * g
    return result


gelu_tanh_grad = binary(
    "gelu_tanh_grad",
    _gelu_tanh_grad,
    _gelu_tanh_grad_form,
    operand=to_float,
    composition=_gelu_tanh_grad_composition,
)
gelu_tanh = unary(
    "gelu_tanh",
    _gelu_tanh,
    _gelu_tanh_form,
    lambda g, x, y: gradient_by(gelu_tanh_grad, g, x)[0],
    operand=to_float,
    composition=_gelu_tanh_composition,
)

# --- the logistic function 1 / (1 + exp(−x)): where the exponential overflows, it is 0 ------------------------


def _sigmoid(x: Any) -> Any:
    if x.dtype == np.float16:  # whose exponential ends where the result has not
        return _sigmoid(x.astype(np.float32)).astype(np.float16)
    with np.errstate(over="ignore"):
        below = np.exp(-x)
    below += 1
    return np.divide(1, below, out=below if isinstance(below, np.ndarray) else None)


def _sigmoid_form(x: Expr, dtype: DType) -> Expr:
    one = c.constant(1, dtype)
    return c.binary("/", one, c.binary("+", one, c.builtin("exp", dtype, c.binary("-", c.constant(0, dtype), x))))


def _sigmoid_composition(x: Tensor) -> Tensor:
    result: Tensor = 1 / (apply(exp, -x) + 1)
    return result


def _sigmoid_grad(g: Any, y: Any) -> Any:
    return g * (y * (1 - y))


def _sigmoid_grad_form(g: Expr, y: Expr, dtype: DType) -> Expr:
    return _product(g, _product(y, c.binary("-", c.constant(1, dtype), y)))


sigmoid_grad = binary("sigmoid_grad", _sigmoid_grad, _sigmoid_grad_form, operand=to_float, composition=_sigmoid_grad)
sigmoid = unary(
    "sigmoid",
    _sigmoid,
    _sigmoid_form,
    lambda g, x, y: gradient_by(sigmoid_grad, g, y)[0],
    operand=to_float,
    composition=_sigmoid_composition,
)

# --- leaky relu: x where it is positive, slope·x elsewhere ---------------------------------------------------


def _leaky_relu(x: Any, slope: Any) -> Any:
    if type(slope) is float and 0.0 < slope <= 1.0:
        return np.maximum(x, x * slope)  # half the time, and the same: rounding keeps the order
    return np.where(x > 0, x, x * slope)


def _leaky_relu_composition(x: Any, slope: Any) -> Any:
    if not isinstance(x, Tensor):  # a number
        return slope * x if x <= 0 else slope * 0 + x
    return apply(where, x > 0, x, x * slope)


def _leaky_relu_form(x: Expr, slope: Expr, dtype: DType) -> Expr:
    return c.select(c.binary(">", x, c.constant(0, dtype)), x, _product(x, slope))


leaky_relu = binary(
    "leaky_relu",
    _leaky_relu,
    _leaky_relu_form,
    (
        lambda g, x, slope, y: apply(where, x > 0, g, g * slope),
        lambda g, x, slope, y: g * (apply(minimum, x, 0) if isinstance(x, Tensor) else min(x, 0)),
    ),
    operand=to_float,
    composition=_leaky_relu_composition,
)
