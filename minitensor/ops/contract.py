"""Contractions: sums of products over shared indices - matmul in all the standard's ranks, and einsum.

In: tensors.  Out: records; tensordot, vecdot and the rest are compositions of these.
Invariant: the family is closed under differentiation: the gradient of a product is made of products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from comprehension.jit.memory import allocate
from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.errors import DTypeError, NoComprehension, ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.elementwise import conj_of
from minitensor.ops.families import LARGE, cast_operand, meet
from minitensor.ops.movement import broadcast_to, permute_dims, reshape
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.shapes import Dim, Shape, broadcast, need_equal, promote_operands
from minitensor.tensor import Tensor


def _matmul_eager(x: Any, y: Any) -> Any:
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        raise DTypeError("a matrix product takes two tensors, not a number")
    if x.dtype is y.dtype:
        if y.ndim == 2 and x.ndim > 1 and x.shape[-1] == y.shape[0]:
            return _times_matrix(x, y)
        return np.matmul(x, y)
    dtype = meet(x, y)
    return np.matmul(cast_operand(x, dtype), cast_operand(y, dtype))


def _times_matrix(x: Any, y: Any) -> Any:
    """x (..., k) times y (k, n), all rows in one product."""
    rows = x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])
    if rows.shape[0] * y.shape[1] * x.itemsize >= LARGE:
        result = np.matmul(rows, y, out=allocate((rows.shape[0], y.shape[1]), x.dtype))
    else:
        result = np.matmul(rows, y)
    return result if x.ndim == 2 else result.reshape((*x.shape[:-1], y.shape[1]))


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
    return c.definition("matmul", (x, y), [c.reduce("+", "r0", at, product)])


def _matmul_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, y) = gradients, inputs
    if x.ndim > 1 and y.ndim > 1 and (labels := _matmul_labels(x.shape, y.shape)):
        left, right, result = labels
        dx = apply(einsum, g, conj_of(y), labels=(result, right, left)) if x.requires_grad else None
        dy = apply(einsum, conj_of(x), g, labels=(left, result, right)) if y.requires_grad else None
        return (dx, dy)
    rows, columns = x.ndim > 1, y.ndim > 1
    x2 = x if rows else apply(reshape, x, shape=(1, *x.shape))
    y2 = y if columns else apply(reshape, y, shape=(*y.shape, 1))
    g2 = apply(reshape, g, shape=matmul_shape(x2.shape, y2.shape)) if not (rows and columns) else g
    dx = apply(matmul, g2, conj_of(transposed(y2))) if x.requires_grad else None
    dy = apply(matmul, conj_of(transposed(x2)), g2) if y.requires_grad else None
    return (_unwrap(dx, x, rows, -2), _unwrap(dy, y, columns, -1))


def _matmul_labels(x: Shape, y: Shape) -> tuple[str, str, str] | None:
    """The product as an einsum; None where an extent of 1 is repeated, or dimensions are more than letters."""
    shared = min(len(x), len(y)) - 2
    if x[len(x) - 2 - shared : -2] != y[len(y) - 2 - shared : -2] or max(len(x), len(y)) > len(_BATCH_LETTERS):
        return None
    return _product_labels(len(x), len(y))


_BATCH_LETTERS = "abcdefghijklmnop"


@lru_cache(maxsize=64)
def _product_labels(left: int, right: int) -> tuple[str, str, str]:
    """Letters of a matrix product by the ranks of its operands: one contraction, batches of one operand summed over."""
    batch = _BATCH_LETTERS[: max(left, right) - 2]
    own = [batch[len(batch) - (rank - 2) :] for rank in (left, right)]
    return f"{own[0]}yx", f"{own[1]}xz", f"{batch}yz"


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

# --- einsum ----------------------------------------------------------------------------------------------
#
# `labels`: for each operand, and last for the result, a string with one letter per dimension.  No letter
# stands twice in one string: diagonals are products with `eye` (see `linear_algebra.einsum`).


def label_extents(labels: tuple[str, ...], shapes: Sequence[Shape]) -> dict[str, Dim]:
    """The extent of each letter.

    Raises ShapeError for two different ones, NoComprehension where a symbol leaves that open.
    """
    extents: dict[str, Dim] = {}
    for letters, shape in zip(labels, shapes, strict=False):
        if len(letters) != len(shape):
            raise ShapeError(f"einsum: {letters!r} names {len(letters)} dimensions of a tensor with shape {shape}")
        for letter, extent in zip(letters, shape, strict=True):
            known = extents.setdefault(letter, extent)
            if known is not extent:
                need_equal((known,), (extent,), f"einsum: {letter!r} is {known} here and {extent} there")
    return extents


def _einsum_eager(*operands: Any, labels: tuple[str, ...]) -> Any:
    dtype = promote_operands([TensorSpec(x.shape, x.dtype) for x in operands])
    label_extents(labels, [x.shape for x in operands])
    cast = [cast_operand(x, dtype) for x in operands]
    if len(cast) == 2 and dtype.kind in "fc" and (order := _product_order(labels)) is not None:
        return order.product(*cast)
    return np.einsum(f"{','.join(labels[:-1])}->{labels[-1]}", *cast, optimize=len(cast) > 1)


@dataclass(frozen=True, slots=True)
class _ProductOrder:
    """Two operands as stacks of matrices: their axes in the order (batch, rows, shared) and (batch, shared, columns).

    `groups`: how many axes batch, rows and shared have; `to_result`: axes of the result in the order of its letters.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    groups: tuple[int, int, int]
    to_result: tuple[int, ...]

    def product(self, x: Any, y: Any) -> Any:
        """NumPy's einsum walks batches element by element: its `matmul` does not."""
        x, y = x.transpose(self.left), y.transpose(self.right)
        batch, rows, shared = self.groups
        outer, inner = x.shape[batch : batch + rows], y.shape[batch + shared :]
        sizes = prod(x.shape[:batch]), prod(outer), prod(x.shape[batch + rows :]), prod(inner)
        left = x.reshape((sizes[0], sizes[1], sizes[2]) if batch else (sizes[1], sizes[2]))
        right = y.reshape((sizes[0], sizes[2], sizes[3]) if batch else (sizes[2], sizes[3]))
        result = np.matmul(left, right).reshape((*x.shape[:batch], *outer, *inner))
        return result.transpose(self.to_result) if self.to_result != tuple(range(result.ndim)) else result


@lru_cache(maxsize=256)
def _product_order(labels: tuple[str, ...]) -> _ProductOrder | None:
    """How an einsum of two operands is a product of matrices; None where a letter of one alone is summed away."""
    x, y, result = labels
    batch = [n for n in x if n in y and n in result]
    shared = [n for n in x if n in y and n not in result]
    rows, columns = [n for n in result if n not in y], [n for n in result if n not in x]
    if len(batch) + len(shared) + len(rows) != len(x) or len(batch) + len(shared) + len(columns) != len(y):
        return None
    return _ProductOrder(
        tuple(x.index(n) for n in (*batch, *rows, *shared)),
        tuple(y.index(n) for n in (*batch, *shared, *columns)),
        (len(batch), len(rows), len(shared)),
        tuple([*batch, *rows, *columns].index(n) for n in result),
    )


def _einsum_infer(*operands: TensorSpec, labels: tuple[str, ...]) -> TensorSpec:
    extents = label_extents(labels, [x.shape for x in operands])
    return TensorSpec(tuple(extents[letter] for letter in labels[-1]), promote_operands(operands))


def _einsum_comprehension(*operands: TensorSpec, labels: tuple[str, ...]) -> Def:
    dtype = promote_operands(operands)
    if dtype.kind == "b":
        raise NoComprehension("einsum of bool")
    label_extents(labels, [x.shape for x in operands])
    order = dict.fromkeys("".join((labels[-1], *labels[:-1])))
    names = dict(zip(order, c.indices(len(order)), strict=True))
    product: Expr | None = None
    for k, (operand, letters) in enumerate(zip(operands, labels, strict=False)):
        factor = c.cast(dtype, c.access(f"x{k}", [names[letter] for letter in letters]), operand.dtype)
        product = factor if product is None else c.binary("*", product, factor)
    assert product is not None
    return c.definition("einsum", operands, [c.reduce("+", "r0", [names[n] for n in labels[-1]], product)])


def _einsum_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    labels = attributes["labels"]
    extents = label_extents(labels, [x.shape for x in inputs])
    return tuple(
        _einsum_pull(gradients[0], k, inputs, labels, extents) if x.requires_grad else None
        for k, x in enumerate(inputs)
    )


def _einsum_pull(g: Tensor, k: int, inputs: Any, labels: tuple[str, ...], extents: dict[str, Dim]) -> Tensor:
    """The gradient of operand `k`: a product of the upstream gradient and all the other operands.

    Letters of this operand alone were summed away: along them the gradient is constant.
    """
    others = [j for j in range(len(inputs)) if j != k]
    known = set(labels[-1]).union(*(labels[j] for j in others))
    kept = "".join(letter for letter in labels[k] if letter in known)
    pulled = (labels[-1], *(labels[j] for j in others), kept)
    gradient = apply(einsum, g, *(conj_of(inputs[j]) for j in others), labels=pulled)
    if kept == labels[k]:
        return gradient
    thin = tuple(extents[letter] if letter in known else 1 for letter in labels[k])
    return apply(broadcast_to, apply(reshape, gradient, shape=thin), shape=tuple(extents[n] for n in labels[k]))


einsum = register(OpDef("einsum", _einsum_infer, _einsum_eager, _einsum_vjp, _einsum_comprehension))

# --- linear: x Wᵀ + b, all rows of x in one product -------------------------------------------------------


def _linear_check(x: Any, weight: Any, bias: Any) -> None:
    if len(x.shape) < 1 or len(weight.shape) != 2 or len(bias.shape) != 1:
        raise ShapeError(_linear_complaint(x, weight, bias))
    left, right = (x.shape[-1], *bias.shape), (weight.shape[1], weight.shape[0])
    if left != right:
        need_equal(left, right, _linear_complaint(x, weight, bias))


def _linear_complaint(*operands: Any) -> str:
    shapes = ", ".join(str(x.shape) for x in operands)
    return f"linear takes (..., in), a weight (out, in) and a bias (out,), not {shapes}"


def _linear_infer(x: TensorSpec, weight: TensorSpec, bias: TensorSpec) -> TensorSpec:
    _linear_check(x, weight, bias)
    return TensorSpec((*x.shape[:-1], weight.shape[0]), promote_operands((x, weight, bias)))


def _linear_eager(x: Any, weight: Any, bias: Any) -> Any:
    _linear_check(x, weight, bias)
    dtype = promote_operands([TensorSpec(operand.shape, operand.dtype) for operand in (x, weight, bias)])
    rows = cast_operand(x, dtype) if x.ndim > 1 else cast_operand(x, dtype).reshape(1, -1)
    result = _times_matrix(rows, cast_operand(weight, dtype).T)
    result += bias
    return result if x.ndim > 1 else result.reshape(-1)


def _linear_comprehension(x: TensorSpec, weight: TensorSpec, bias: TensorSpec) -> Def:
    spec = _linear_infer(x, weight, bias)
    if spec.dtype.kind == "b":
        raise NoComprehension("linear of bool")
    *at, k = c.indices(len(spec.shape) + 1)
    left = c.cast(spec.dtype, c.access("x0", (*at[:-1], k)), x.dtype)
    right = c.cast(spec.dtype, c.access("x1", (at[-1], k)), weight.dtype)
    shift = c.cast(spec.dtype, c.access("x2", (at[-1],)), bias.dtype)
    product = c.reduce("+", "t0", at, c.binary("*", left, right), c.ranges((*at, k), (*spec.shape, x.shape[-1])))
    shifted = c.assign("r0", at, c.binary("+", c.access("t0", at), shift), c.ranges(at, spec.shape))
    return c.definition("linear", (x, weight, bias), [product, shifted])


def _linear_composition(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return apply(matmul, x, transposed(weight)) + bias


def _linear_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, weight, _) = gradients, inputs
    batch = _BATCH_LETTERS[: x.ndim - 1]
    row, column = f"{batch}x", f"{batch}y"
    return (
        apply(einsum, g, conj_of(weight), labels=(column, "yx", row)) if x.requires_grad else None,
        apply(einsum, g, conj_of(x), labels=(column, row, "yx")) if weight.requires_grad else None,
        g,
    )


linear = register(
    OpDef("linear", _linear_infer, _linear_eager, _linear_vjp, _linear_comprehension, composition=_linear_composition)
)
