"""What element-wise losses sum up: Huber's function and binary cross-entropy on logits.

In: `families`.  Out: records; integers and bool are taken to the default float.
Invariant: gradients are ordinary tensor operations, so records and gradients are differentiable again: the records are
there to be one operation each where a network's loss has them, not to save arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang.tree import Expr
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_float
from minitensor.ops import comprehend as c
from minitensor.ops.activation import sigmoid
from minitensor.ops.analytic import exp, log1p
from minitensor.ops.elementwise import abs_, less, maximum, sign, where
from minitensor.ops.families import binary
from minitensor.tensor import Tensor

# --- Huber's function of a distance d: ½d²/beta where |d| < beta, |d| − beta/2 elsewhere ----------------------


def _huber(d: Any, beta: Any) -> Any:
    size = np.abs(d)
    return np.where(size < beta, size * size * (0.5 / beta), size - beta * 0.5)


def _huber_form(d: Expr, beta: Expr, dtype: DType) -> Expr:
    size, half = c.builtin("fabs", dtype, d), c.constant(0.5, dtype)
    inner = c.binary("*", c.binary("*", size, size), c.binary("/", half, beta))
    return c.select(c.binary("<", size, beta), inner, c.binary("-", size, c.binary("*", beta, half)))


def _huber_composition(d: Any, beta: Any) -> Tensor:
    size = apply(abs_, d) if isinstance(d, Tensor) else abs(d)
    return apply(where, apply(less, size, beta), size * size * (0.5 / beta), size - beta * 0.5)


def _slope_at(g: Tensor, d: Any, beta: Any, _: Tensor) -> Tensor:
    return g * apply(where, apply(less, apply(abs_, d), beta), d / beta, apply(sign, d))


def _slope_of_beta(g: Tensor, d: Any, beta: Tensor, _: Tensor) -> Tensor:
    part = d / beta
    size = apply(abs_, d) if isinstance(d, Tensor) else abs(d)
    return g * apply(where, apply(less, size, beta), part * part, 1) * -0.5


huber = binary(
    "huber", _huber, _huber_form, (_slope_at, _slope_of_beta), operand=to_float, composition=_huber_composition
)

# --- −t·log(sigmoid(x)) − (1 − t)·log(1 − sigmoid(x)), without overflow ----------------------------------------


def _binary_cross_entropy(x: Any, target: Any) -> Any:
    return np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))


def _binary_cross_entropy_form(x: Expr, target: Expr, dtype: DType) -> Expr:
    opposite = c.binary("-", c.constant(0, dtype), c.builtin("fabs", dtype, x))
    rest = c.builtin("log1p", dtype, c.builtin("exp", dtype, opposite))
    return c.binary("+", c.binary("-", c.call("max", x, c.constant(0, dtype)), c.binary("*", x, target)), rest)


def _binary_cross_entropy_composition(x: Any, target: Any) -> Any:
    if not isinstance(x, Tensor):  # a number: its own part is one
        return float(_binary_cross_entropy(x, 0.0)) - target * x
    return apply(maximum, x, 0) - x * target + apply(log1p, apply(exp, -apply(abs_, x)))


def _slope_of_logit(g: Tensor, x: Tensor, target: Any, _: Tensor) -> Tensor:
    result: Tensor = g * (apply(sigmoid, x) - target)
    return result


binary_cross_entropy = binary(
    "binary_cross_entropy",
    _binary_cross_entropy,
    _binary_cross_entropy_form,
    (_slope_of_logit, lambda g, x, target, y: -(g * x)),
    operand=to_float,
    composition=_binary_cross_entropy_composition,
)
