"""Contractions: sums of products over shared indices - matmul in all the standard's ranks.

In: two tensors.  Out: records; tensordot, einsum and the rest are compositions of these.
Invariant: the family is closed under differentiation: the gradient of a product is made of products.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang.tree import Def
from minitensor.dispatch import apply
from minitensor.dtypes import to_accumulator
from minitensor.errors import DTypeError, NoComprehension, ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.families import cast_operand, meet
from minitensor.ops.movement import permute_dims, reshape
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.shapes import Shape, broadcast, promote_operands
from minitensor.tensor import Tensor


def _matmul_eager(x: Any, y: Any) -> Any:
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        raise DTypeError("a matrix product takes two tensors, not a number")
    if x.dtype is y.dtype:
        return np.matmul(x, y)
    dtype = meet(x, y)
    return np.matmul(cast_operand(x, dtype), cast_operand(y, dtype))


def _matmul_infer(x: TensorSpec, y: TensorSpec) -> TensorSpec:
    return TensorSpec(matmul_shape(x.shape, y.shape), promote_operands((x, y)))


def matmul_shape(x: Shape, y: Shape) -> Shape:
    """The shape of a matrix product; a rank-1 operand has no row (left) or no column (right).

    Raises ShapeError.
    """
    if not x or not y:
        raise ShapeError(f"a matrix product needs at least one dimension on both sides, not {x} and {y}")
    shared, other = x[-1], y[-2] if len(y) > 1 else y[0]
    if shared != other:
        raise ShapeError(f"a matrix product of {x} and {y}: {shared} columns against {other} rows")
    rows, columns = x[-2:-1], y[-1:] if len(y) > 1 else ()
    return (*broadcast(x[:-2], y[:-2]), *rows, *columns)


def _matmul_comprehension(x: TensorSpec, y: TensorSpec) -> Def:
    spec = _matmul_infer(x, y)
    if spec.dtype.kind == "b":
        raise NoComprehension("matmul of bool")
    at = c.indices(len(spec.shape))
    k = c.indices(1, len(at))[0]
    batch, rows, columns = len(broadcast(x.shape[:-2], y.shape[:-2])), len(x.shape) > 1, len(y.shape) > 1
    row, column = at[batch : batch + rows], at[len(at) - columns :] if columns else ()
    left = c.broadcast_read("x0", x.shape, (*spec.shape[:batch], *x.shape[-2:]), (*at[:batch], *row, k))
    right_shape = (*spec.shape[:batch], *y.shape[-2:])
    right = c.broadcast_read("x1", y.shape, right_shape, (*at[:batch], k, *column))
    product = c.binary("*", c.cast(spec.dtype, left, x.dtype), c.cast(spec.dtype, right, y.dtype))
    return c.definition("matmul", (x, y), [c.reduce("+", "y0", at, product)])


def _matmul_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, y) = gradients, inputs
    from minitensor.ops.elementwise import conj_of

    rows, columns = x.ndim > 1, y.ndim > 1
    x2 = x if rows else apply(reshape, x, shape=(1, *x.shape))
    y2 = y if columns else apply(reshape, y, shape=(*y.shape, 1))
    g2 = apply(reshape, g, shape=matmul_shape(x2.shape, y2.shape)) if not (rows and columns) else g
    dx = apply(matmul, g2, conj_of(transposed(y2))) if x.requires_grad else None
    dy = apply(matmul, conj_of(transposed(x2)), g2) if y.requires_grad else None
    return (_unwrap(dx, x, rows, -2), _unwrap(dy, y, columns, -1))


def _unwrap(gradient: Tensor | None, x: Tensor, whole: bool, axis: int) -> Tensor | None:
    """Takes away the row or column that a rank-1 operand was given."""
    if gradient is None or whole:
        return gradient
    kept = gradient.shape[:-2] + ((gradient.shape[-1],) if axis == -2 else (gradient.shape[-2],))
    return apply(reshape, gradient, shape=kept)


def transposed(x: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    last = x.ndim - 1
    return apply(permute_dims, x, axes=(*range(last - 1), last, last - 1))


matmul = register(OpDef("matmul", _matmul_infer, _matmul_eager, _matmul_vjp, _matmul_comprehension))

__all__ = ["matmul", "matmul_shape", "to_accumulator", "transposed"]
