"""Elementwise operations: one line each.

In: `families`.  Out: records, named as the array standard names them.
Invariant: a derivative is written in Tensor operations only, so it is recorded and differentiable again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_float, to_real
from minitensor.ops import comprehend as c
from minitensor.ops.families import (
    binary,
    cast_operand,
    comparison,
    meet,
    operator,
    read_operand,
    truth,
    unary,
    unary_float,
)
from minitensor.ops.opdef import Attributes, Operand, OpDef, TensorSpec, register
from minitensor.ops.shapes import broadcast, promote_operands, shape_of


def _negate(x: Expr, dtype: DType) -> Expr:
    return c.Unary("-", x)


def _itself(x: Expr, dtype: DType) -> Expr:
    return x


def conj_of(x: Any) -> Any:
    """The conjugate of a complex operand; anything else as it is."""
    if isinstance(x, complex):
        return x.conjugate()
    return apply(conj, x) if getattr(x, "dtype", None) is not None and x.dtype.kind == "c" else x


def _share(a: Any, b: Any) -> Any:
    """How much of max(a, b) is a: 1, 0, or a half where they are equal."""
    return apply(where, apply(equal, a, b), 0.5, apply(greater, a, b))


conj = unary("conj", np.conj, _itself, lambda g, x, y: conj_of(g))
real = unary("real", np.real, _itself, lambda g, x, y: g, result=to_real)
identity = unary("identity", lambda x: x, _itself, lambda g, x, y: g)

add = binary("add", np.add, operator("+"), (lambda g, a, b, y: g, lambda g, a, b, y: g))
subtract = binary("subtract", np.subtract, operator("-"), (lambda g, a, b, y: g, lambda g, a, b, y: -g))
multiply = binary(
    "multiply",
    np.multiply,
    operator("*"),
    (lambda g, a, b, y: g * conj_of(b), lambda g, a, b, y: g * conj_of(a)),
)
divide = binary(
    "divide",
    np.divide,
    operator("/"),
    (lambda g, a, b, y: g / conj_of(b), lambda g, a, b, y: -g * conj_of(y) / conj_of(b)),
    operand=to_float,
)
maximum = binary("maximum", np.maximum, "max", (lambda g, a, b, y: g * _share(a, b), lambda g, a, b, y: g * _share(b, a)))
minimum = binary("minimum", np.minimum, "min", (lambda g, a, b, y: g * _share(b, a), lambda g, a, b, y: g * _share(a, b)))
negative = unary("negative", np.negative, _negate, lambda g, x, y: -g)
exp = unary_float("exp", np.exp, "exp", lambda g, x, y: g * conj_of(y))
log = unary_float("log", np.log, "log", lambda g, x, y: g / conj_of(x))
tanh = unary_float("tanh", np.tanh, "tanh", lambda g, x, y: g * (1 - y * y))

less = comparison("less", np.less, "<")
greater = comparison("greater", np.greater, ">")
equal = comparison("equal", np.equal, "==")


# --- choice ----------------------------------------------------------------------------------------------


def _where_eager(condition: Any, x: Any, y: Any) -> Any:
    dtype = meet_all(x, y)
    chosen = condition if condition.dtype.kind == "b" else condition != 0
    return np.where(chosen, cast_operand(x, dtype), cast_operand(y, dtype)).astype(dtype, copy=False)


def meet_all(x: Any, y: Any) -> DType:
    """The dtype of a meeting in which both may be Python scalars."""
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        return meet(x, y)
    return promote_operands((x, y))


def _where_infer(condition: TensorSpec, x: Operand, y: Operand) -> TensorSpec:
    return TensorSpec(broadcast(condition.shape, shape_of(x), shape_of(y)), promote_operands((x, y)))


def _where_comprehension(condition: TensorSpec, x: Operand, y: Operand) -> Def:
    spec = _where_infer(condition, x, y)
    at = c.indices(len(spec.shape))
    test = truth(c.broadcast_read("x0", condition.shape, spec.shape, at), condition.dtype)
    branches = [read_operand(k, operand, spec.shape, at, spec.dtype) for k, operand in ((1, x), (2, y))]
    return c.definition("where", (condition, x, y), [c.assign("y0", at, c.select(test, *branches))], scalar=spec.dtype)


def _where_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (condition, x, y) = gradients, inputs
    return (
        None,
        apply(where, condition, g, 0) if getattr(x, "requires_grad", False) else None,
        apply(where, condition, 0, g) if getattr(y, "requires_grad", False) else None,
    )


where = register(OpDef("where", _where_infer, _where_eager, _where_vjp, _where_comprehension))

relu = unary("relu", lambda x: np.maximum(x, 0), lambda x, dtype: c.call("max", x, c.constant(0, dtype)),
    lambda g, x, y: apply(where, y > 0, g, 0))
