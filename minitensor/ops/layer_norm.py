"""Layer norm over the last dimensions (Ba and others 2016), with its gradient.

In: x, weight and bias of the last dimensions' shape, all floating-point; `eps`.  Out: records.
Invariant: the gradient reads x and computes the moments of each row again: the row is in cache by then, and the
forward pass keeps nothing for it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr, Statement
from minitensor.dispatch import apply
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import sqrt
from minitensor.ops.families import cast_operand
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.rows import Rows, gradient_by, need_float, total
from minitensor.ops.shapes import need_equal, promote_operands
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]


def _axes(rank: int, inner: int) -> tuple[int, ...]:
    return tuple(range(rank - inner, rank))


def _check(x: Any, weight: Any, *others: Any) -> None:
    need_float("layer_norm", x.dtype, weight.dtype, *(y.dtype for y in others))
    last = x.shape[len(x.shape) - len(weight.shape) :]
    for y in (weight, *others):
        if y.shape != last:
            complaint = f"layer_norm of {x.shape}: weight and bias have the shape of its last dimensions, not {y.shape}"
            need_equal(last, y.shape, complaint)


def _moments(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Deviations from each row's mean, and each row's standard deviation."""
    count = prod(x.shape[a] for a in axes)
    deviation = x - np.add.reduce(x, axis=axes, keepdims=True) / count
    return deviation, np.sqrt(np.add.reduce(deviation * deviation, axis=axes, keepdims=True) / count + eps)


def _moment_statements(rows: Rows, x: Expr, eps: float, dtype: np.dtype[Any]) -> list[Statement]:
    """t2: deviations at each point; t4: each row's standard deviation."""
    count, deviation = rows.length(dtype), rows.read("t2")
    variance = c.binary("/", rows.read_row("t3"), count)
    return [
        rows.over_row("+", "t0", x),
        rows.per_row("t1", c.binary("/", rows.read_row("t0"), count)),
        rows.each("t2", c.binary("-", x, rows.read_row("t1"))),
        rows.over_row("+", "t3", c.binary("*", deviation, deviation)),
        rows.per_row("t4", c.builtin("sqrt", dtype, c.binary("+", variance, c.constant(eps, dtype)))),
    ]


def composition(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, axes: tuple[int, ...], eps: float) -> Tensor:
    """Layer norm in smaller operations, weight and bias being optional."""
    count = prod(x.shape[a] for a in axes)
    deviation = x - total(x, axes) / count
    result = deviation / apply(sqrt, total(deviation * deviation, axes) / count + eps)
    if weight is not None:
        result = result * weight
    return result if bias is None else result + bias


# --- forward ---------------------------------------------------------------------------------------------


def _infer(x: TensorSpec, weight: TensorSpec, bias: TensorSpec, *, eps: float) -> TensorSpec:
    _check(x, weight, bias)
    return TensorSpec(x.shape, promote_operands((x, weight, bias)))


def _eager(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    _check(x, weight, bias)
    dtype = np.result_type(x, weight, bias)
    deviation, root = _moments(cast_operand(x, dtype), _axes(x.ndim, weight.ndim), eps)
    deviation /= root
    deviation *= weight
    deviation += bias
    return deviation


def _comprehension(x: TensorSpec, weight: TensorSpec, bias: TensorSpec, *, eps: float) -> Def:
    _check(x, weight, bias)
    work = promote_operands((x, weight, bias))
    rows = Rows(x.shape, _axes(len(x.shape), len(weight.shape)))
    normal = c.binary("/", rows.read("t2"), rows.read_row("t4"))
    scaled = c.binary("*", normal, rows.read_inner("x1", weight, work))
    statements = _moment_statements(rows, rows.read("x0", x, work), eps, work)
    statements.append(rows.each("r0", c.binary("+", scaled, rows.read_inner("x2", bias, work))))
    return c.definition("layer_norm", (x, weight, bias), statements)


def _vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x, weight, _ = inputs
    return gradient_by(layer_norm_grad, gradients[0], x, weight, **attributes)


# --- gradients of x, weight and bias ---------------------------------------------------------------------


def _grad_infer(g: TensorSpec, x: TensorSpec, weight: TensorSpec, *, eps: float) -> tuple[TensorSpec, ...]:
    _check(x, weight)
    dtype = promote_operands((g, x, weight))
    return tuple(TensorSpec(shape, dtype) for shape in (x.shape, weight.shape, weight.shape))


def _grad_eager(g: Array, x: Array, weight: Array, *, eps: float) -> tuple[Array, ...]:
    _check(x, weight)
    dtype = np.result_type(g, x, weight)
    axes, lead = _axes(x.ndim, weight.ndim), tuple(range(x.ndim - weight.ndim))
    count = weight.size
    normal, root = _moments(cast_operand(x, dtype), axes, eps)
    normal /= root
    scaled = g * weight
    mean = np.add.reduce(scaled, axis=axes, keepdims=True) / count
    slope = np.add.reduce(scaled * normal, axis=axes, keepdims=True) / count
    result = (scaled - mean - normal * slope) / root
    return result, np.add.reduce(g * normal, axis=lead), np.asarray(np.add.reduce(g, axis=lead, dtype=dtype))


def _grad_composition(g: Tensor, x: Tensor, weight: Tensor, *, eps: float) -> tuple[Tensor, ...]:
    axes, lead = _axes(x.ndim, weight.ndim), range(x.ndim - weight.ndim)
    count = weight.size
    deviation = x - total(x, axes) / count
    root = apply(sqrt, total(deviation * deviation, axes) / count + eps)
    normal = deviation / root
    scaled = g * weight
    result = (scaled - total(scaled, axes) / count - normal * (total(scaled * normal, axes) / count)) / root
    return result, total(g * normal, lead, keepdims=False), total(g, lead, keepdims=False)


def _grad_comprehension(g: TensorSpec, x: TensorSpec, weight: TensorSpec, *, eps: float) -> Def:
    _check(x, weight)
    work = promote_operands((g, x, weight))
    rows = Rows(x.shape, _axes(len(x.shape), len(weight.shape)))
    count, normal = rows.length(work), rows.read("t5")
    upstream = rows.read("x0", g, work)
    scaled = c.binary("*", upstream, rows.read_inner("x2", weight, work))
    mean, slope = (c.binary("/", rows.read_row(name), count) for name in ("t6", "t7"))
    centred = c.sub(c.sub(scaled, rows.read_row("t8")), c.mul(normal, rows.read_row("t9")))
    statements = [
        *_moment_statements(rows, rows.read("x1", x, work), eps, work),
        rows.each("t5", c.binary("/", rows.read("t2"), rows.read_row("t4"))),
        rows.over_row("+", "t6", scaled),
        rows.over_row("+", "t7", c.binary("*", scaled, normal)),
        rows.per_row("t8", mean),
        rows.per_row("t9", slope),
        rows.each("r0", c.binary("/", centred, rows.read_row("t4"))),
        rows.over_rows("+", "r1", c.binary("*", upstream, normal)),
        rows.over_rows("+", "r2", upstream),
    ]
    return c.definition("layer_norm_grad", (g, x, weight), statements, outputs=3)


def _whole_composition(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
    return composition(x, weight, bias, axes=_axes(x.ndim, weight.ndim), eps=eps)


layer_norm_grad = register(
    OpDef(
        "layer_norm_grad",
        _grad_infer,
        _grad_eager,
        None,
        _grad_comprehension,
        outputs=3,
        composition=_grad_composition,
    )
)
layer_norm = register(OpDef("layer_norm", _infer, _eager, _vjp, _comprehension, composition=_whole_composition))
