"""What element-wise losses sum up: Huber's function and binary cross-entropy, of logits and of probabilities.

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
from minitensor.ops.analytic import exp, log, log1p
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


def _of_logits(x: Any, target: Any) -> Any:
    return np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))


def _of_logits_form(x: Expr, target: Expr, dtype: DType) -> Expr:
    opposite = c.binary("-", c.constant(0, dtype), c.builtin("fabs", dtype, x))
    rest = c.builtin("log1p", dtype, c.builtin("exp", dtype, opposite))
    return c.binary("+", c.binary("-", c.call("max", x, c.constant(0, dtype)), c.binary("*", x, target)), rest)


def _of_logits_composition(x: Any, target: Any) -> Any:
    if not isinstance(x, Tensor):  # a number: its own part is one
        return float(_of_logits(x, 0.0)) - target * x
    return apply(maximum, x, 0) - x * target + apply(log1p, apply(exp, -apply(abs_, x)))


def _slope_of_logit(g: Tensor, x: Tensor, target: Any, _: Tensor) -> Tensor:
    result: Tensor = g * (apply(sigmoid, x) - target)
    return result


binary_cross_entropy_with_logits = binary(
    "binary_cross_entropy_with_logits",
    _of_logits,
    _of_logits_form,
    (_slope_of_logit, lambda g, x, target, y: -(g * x)),
    operand=to_float,
    composition=_of_logits_composition,
)

# --- −t·log(p) − (1 − t)·log(1 − p), logarithms at least −100, so that 0 and 1 are no infinities ------------------

_LEAST_LOG, _LEAST_VARIANCE = -100.0, 1e-12  # PyTorch's: of the value, and of p·(1 − p) in the gradient


def _log_of(p: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.log(p), _LEAST_LOG)


def _of_probability(p: Any, target: Any) -> Any:
    return (target - 1) * _log_of(1 - p) - target * _log_of(p)


def _of_probability_form(p: Expr, target: Expr, dtype: DType) -> Expr:
    one, least = c.constant(1, dtype), c.constant(_LEAST_LOG, dtype)

    def log_of(x: Expr) -> Expr:
        return c.call("max", c.builtin("log", dtype, x), least)

    right = c.binary("*", c.binary("-", target, one), log_of(c.binary("-", one, p)))
    return c.binary("-", right, c.binary("*", target, log_of(p)))


def _of_probability_composition(p: Any, target: Any) -> Any:
    if not isinstance(p, Tensor):  # a number
        return (target - 1) * float(_log_of(1 - p)) - target * float(_log_of(p))
    return (target - 1) * apply(maximum, apply(log, 1.0 - p), _LEAST_LOG) - target * apply(
        maximum, apply(log, p), _LEAST_LOG
    )


def _slope_of_probability(g: Tensor, p: Tensor, target: Any, _: Tensor) -> Tensor:
    result: Tensor = g * (p - target) / apply(maximum, p * (1 - p), _LEAST_VARIANCE)
    return result


def _slope_of_target(g: Tensor, p: Any, target: Tensor, _: Tensor) -> Tensor:
    if not isinstance(p, Tensor):
        return g * (float(_log_of(1 - p)) - float(_log_of(p)))
    return g * (apply(maximum, apply(log, 1.0 - p), _LEAST_LOG) - apply(maximum, apply(log, p), _LEAST_LOG))


binary_cross_entropy = binary(
    "binary_cross_entropy",
    _of_probability,
    _of_probability_form,
    (_slope_of_probability, _slope_of_target),
    operand=to_float,
    composition=_of_probability_composition,
)
