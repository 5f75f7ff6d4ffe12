"""An optimiser's update of one parameter: the parameter and its state as they are after a step.

In: a parameter, its gradient and state, all of one shape and dtype; numbers as the optimiser has them (weak
operands: one that changes from step to step is no other operation).  Out: records, without gradients.
Invariant: arithmetic and its order are those of the composition, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.jit.memory import allocate
from comprehension.lang.tree import Def, Expr, Statement
from minitensor.dispatch import apply
from minitensor.errors import DTypeError
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import sqrt
from minitensor.ops.families import LARGE
from minitensor.ops.opdef import InferRule, OpDef, TensorSpec, register
from minitensor.ops.rows import Rows
from minitensor.ops.shapes import need_equal
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]
Build = Callable[..., "list[Statement]"]  # (rows, dtype, expressions of the operands, **attributes)


def _check(name: str, first: Any, *others: Any) -> None:
    dtype, shape = first.dtype, first.shape
    for other in others:
        if other.dtype != dtype or dtype.kind not in "fc":
            raise DTypeError(f"{name} takes tensors of one floating-point dtype, not {dtype} and {other.dtype}")
        if other.shape != shape:
            need_equal(shape, other.shape, f"{name} takes tensors of one shape: {shape}, {other.shape}")


def _infer(name: str, tensors: int) -> InferRule:
    """Parameter and state keep shape and dtype; the gradient is used up."""

    def infer(*operands: Any, **_: Any) -> TensorSpec | tuple[TensorSpec, ...]:
        param = operands[0]
        _check(name, *operands[:tensors])
        result = TensorSpec(param.shape, param.dtype)
        return result if tensors == 2 else (result,) * (tensors - 1)

    return infer


def _comprehension(name: str, tensors: int, build: Build) -> Callable[..., Def]:
    def comprehension(*operands: Any, **attributes: Any) -> Def:
        param = operands[0]
        _check(name, *operands[:tensors])
        rows = Rows(param.shape, ())
        reads = [rows.read(f"x{k}") if k < tensors else c.ex(f"x{k}") for k in range(len(operands))]
        statements = build(rows, param.dtype, *reads, **attributes)
        return c.definition(name, operands, statements, scalar=param.dtype, outputs=tensors - 1)

    return comprehension


def _fresh(function: np.ufunc, x: Array, y: Any) -> Array:
    """A new array, whose memory is kept for the next one where it is large."""
    result: Array = function(x, y) if x.nbytes < LARGE else function(x, y, out=allocate(x.shape, x.dtype))
    return result


def _sum_of(x: Array, a: float, y: Array, b: float) -> Array:
    """x·a + y·b."""
    result = _fresh(np.multiply, x, a)
    result += _fresh(np.multiply, y, b)
    return result


def _added(g: Array, x: Array, a: float) -> Array:
    """g + x·a."""
    result = _fresh(np.multiply, x, a)
    result += g
    return result


# --- stochastic gradient descent -------------------------------------------------------------------------


def _sgd_eager(param: Array, g: Array, lr: float, decay: float, *, decays: bool) -> Array:
    _check("sgd_update", param, g)
    step = _fresh(np.multiply, _added(g, param, decay) if decays else g, lr)
    return _fresh(np.subtract, param, step)


def _sgd_composition(param: Tensor, g: Tensor, lr: float, decay: float, *, decays: bool) -> Tensor:
    return param - (g + param * decay if decays else g) * lr


def _sgd_statements(
    rows: Rows, dtype: Any, param: Expr, g: Expr, lr: Expr, decay: Expr, *, decays: bool
) -> list[Statement]:
    slope = c.binary("+", g, c.binary("*", param, decay)) if decays else g
    return [rows.each("r0", c.binary("-", param, c.binary("*", slope, lr)))]


def _momentum_eager(
    param: Array, g: Array, velocity: Array, lr: float, momentum: float, decay: float, *, decays: bool, nesterov: bool
) -> tuple[Array, Array]:
    _check("sgd_momentum_update", param, g, velocity)
    if decays:
        g = _added(g, param, decay)
    velocity = _added(g, velocity, momentum)
    step = _fresh(np.multiply, _added(g, velocity, momentum) if nesterov else velocity, lr)
    return _fresh(np.subtract, param, step), velocity


def _momentum_composition(
    param: Tensor,
    g: Tensor,
    velocity: Tensor,
    lr: float,
    momentum: float,
    decay: float,
    *,
    decays: bool,
    nesterov: bool,
) -> tuple[Tensor, Tensor]:
    if decays:
        g = g + param * decay
    velocity = velocity * momentum + g
    return param - (g + velocity * momentum if nesterov else velocity) * lr, velocity


def _momentum_statements(
    rows: Rows,
    dtype: Any,
    param: Expr,
    g: Expr,
    velocity: Expr,
    lr: Expr,
    momentum: Expr,
    decay: Expr,
    *,
    decays: bool,
    nesterov: bool,
) -> list[Statement]:
    slope = c.binary("+", g, c.binary("*", param, decay)) if decays else g
    moved = rows.read("r1")
    step = c.binary("+", slope, c.binary("*", moved, momentum)) if nesterov else moved
    return [
        rows.each("r1", c.binary("+", c.binary("*", velocity, momentum), slope)),
        rows.each("r0", c.binary("-", param, c.binary("*", step, lr))),
    ]


# --- Adam ------------------------------------------------------------------------------------------------
#
# `decay`: "none", "coupled" (added to the gradient) or "decoupled" (the parameter shrinks first).


def _adam_eager(
    param: Array,
    g: Array,
    mean: Array,
    square: Array,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    rate: float,
    step_size: float,
    root_scale: float,
    eps: float,
    *,
    decay: str,
) -> tuple[Array, Array, Array]:
    _check("adam_update", param, g, mean, square)
    if decay == "coupled":
        g = _added(g, param, rate)
    mean = _sum_of(mean, beta1, g, rest1)
    square = _sum_of(square, beta2, _fresh(np.multiply, g, g), rest2)
    root = _fresh(np.multiply, np.sqrt(square), root_scale)
    root += eps
    step = _fresh(np.multiply, mean, step_size)
    step /= root
    return _fresh(np.subtract, _fresh(np.multiply, param, rate) if decay == "decoupled" else param, step), mean, square


def _adam_composition(
    param: Tensor,
    g: Tensor,
    mean: Tensor,
    square: Tensor,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    rate: float,
    step_size: float,
    root_scale: float,
    eps: float,
    *,
    decay: str,
) -> tuple[Tensor, Tensor, Tensor]:
    if decay == "coupled":
        g = g + param * rate
    elif decay == "decoupled":
        param = param * rate
    mean = mean * beta1 + g * rest1
    square = square * beta2 + g * g * rest2
    return param - mean * step_size / (apply(sqrt, square) * root_scale + eps), mean, square


def _adam_statements(
    rows: Rows,
    dtype: Any,
    param: Expr,
    g: Expr,
    mean: Expr,
    square: Expr,
    beta1: Expr,
    rest1: Expr,
    beta2: Expr,
    rest2: Expr,
    rate: Expr,
    step_size: Expr,
    root_scale: Expr,
    eps: Expr,
    *,
    decay: str,
) -> list[Statement]:
    statements = []
    if decay == "coupled":
        statements.append(rows.each("t0", c.binary("+", g, c.binary("*", param, rate))))
        g = rows.read("t0")
    elif decay == "decoupled":
        param = c.binary("*", param, rate)
    root = c.binary("*", c.builtin("sqrt", dtype, rows.read("r2")), root_scale)
    step = c.binary("/", c.binary("*", rows.read("r1"), step_size), c.binary("+", root, eps))
    squared = c.binary("*", c.binary("*", g, g), rest2)
    return [
        *statements,
        rows.each("r1", c.binary("+", c.binary("*", mean, beta1), c.binary("*", g, rest1))),
        rows.each("r2", c.binary("+", c.binary("*", square, beta2), squared)),
        rows.each("r0", c.binary("-", param, step)),
    ]


def _update(name: str, tensors: int, eager: Any, composition: Any, build: Build) -> OpDef:
    return register(
        OpDef(
            name,
            _infer(name, tensors),
            eager,
            None,
            _comprehension(name, tensors, build),
            outputs=tensors - 1,
            composition=composition,
        )
    )


sgd_update = _update("sgd_update", 2, _sgd_eager, _sgd_composition, _sgd_statements)
sgd_momentum_update = _update("sgd_momentum_update", 3, _momentum_eager, _momentum_composition, _momentum_statements)
adam_update = _update("adam_update", 4, _adam_eager, _adam_composition, _adam_statements)
