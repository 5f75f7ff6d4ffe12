"""Movement: operations that only move elements - reshape, permute, broadcast, cast.

In: one tensor and shape attributes (all resolved: no -1, no negative axes).  Out: records.
Invariant: eager results may be views of their input; contents are immutable, so nobody can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from comprehension.lang.scalars import convert_array
from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.dtypes import DType
from minitensor.errors import NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.shapes import Shape
from minitensor.tensor import Tensor

Vjp = tuple["Tensor | None", ...]

# --- reshape ---------------------------------------------------------------------------------------------


def _reshape_infer(x: TensorSpec, *, shape: Shape) -> TensorSpec:
    return TensorSpec(tuple(shape), x.dtype)


def flat_position(at: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The row-major position of the point `at`."""
    position: Expr = c.number(0)
    for index, extent in zip(at, shape, strict=True):
        position = c.add(c.mul(position, extent), index) if extent != 1 else position
    return position


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Dimensions of both shapes that correspond: the smallest runs with equal products.

    Dimensions of extent 1 are in none of them.
    """
    before = [d for d, extent in enumerate(old) if extent != 1]
    behind = [d for d, extent in enumerate(new) if extent != 1]
    result = []
    while before or behind:
        left, right = before[:1], behind[:1]
        while (a := _extent(old, left)) != (b := _extent(new, right)):
            if isinstance(a, str) or isinstance(b, str) or (left == before and right == behind):
                raise NoComprehension(f"reshape of {old} to {new}: the sizes do not correspond")
            if right == behind or (a < b and left != before):
                left = before[: len(left) + 1]
            else:
                right = behind[: len(right) + 1]
        before, behind = before[len(left) :], behind[len(right) :]
        result.append((left, right))
    return result


def _extent(shape: Shape, dims: list[int]) -> int | str:
    if len(dims) == 1:
        return shape[dims[0]]
    if any(isinstance(shape[d], str) for d in dims):
        raise NoComprehension(f"reshape: a symbolic size of {shape} is split or merged")
    return prod(int(shape[d]) for d in dims)


def _reshape_comprehension(x: TensorSpec, *, shape: Shape) -> Def:
    at = c.indices(len(shape))
    if 0 in shape:
        raise NoComprehension("reshape of no elements")
    subscripts: list[Expr] = [c.number(0)] * len(x.shape)
    for old, new in _groups(x.shape, shape):
        _split(subscripts, old, x.shape, _merged(at, new, shape))
    where = c.ranges(at, shape)
    return c.definition("reshape", (x,), [c.assign("r0", at, c.access("x0", subscripts), where)])


def _merged(at: Sequence[Expr], dims: list[int], shape: Shape) -> Expr:
    if len(dims) == 1:
        return at[dims[0]]
    return flat_position([at[d] for d in dims], [int(shape[d]) for d in dims])


def _split(subscripts: list[Expr], dims: list[int], shape: Shape, position: Expr) -> None:
    """Writes the subscripts of the dimensions `dims` from their common row-major position."""
    if len(dims) == 1:
        subscripts[dims[0]] = position
        return
    stride = prod(int(shape[d]) for d in dims)
    for k, d in enumerate(dims):
        stride //= int(shape[d])
        quotient = position if stride == 1 else c.binary("/", position, stride)
        subscripts[d] = quotient if k == 0 else c.binary("%", quotient, int(shape[d]))


def _reshape_vjp(gradients: Vjp, inputs: tuple[Any, ...], outputs: Vjp, attributes: Attributes) -> Vjp:
    return (apply(reshape, gradients[0], shape=inputs[0].shape),)


reshape = register(
    OpDef("reshape", _reshape_infer, lambda x, *, shape: x.reshape(shape), _reshape_vjp, _reshape_comprehension)
)

# --- permute ---------------------------------------------------------------------------------------------


def _permute_infer(x: TensorSpec, *, axes: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(tuple(x.shape[a] for a in axes), x.dtype)


def _permute_comprehension(x: TensorSpec, *, axes: tuple[int, ...]) -> Def:
    at = c.indices(len(axes))
    subscripts = [at[axes.index(d)] for d in range(len(axes))]
    return c.definition("permute_dims", (x,), [c.assign("r0", at, c.access("x0", subscripts))])


def _permute_vjp(gradients: Vjp, inputs: tuple[Any, ...], outputs: Vjp, attributes: Attributes) -> Vjp:
    axes = attributes["axes"]
    return (apply(permute_dims, gradients[0], axes=tuple(axes.index(d) for d in range(len(axes)))),)


permute_dims = register(
    OpDef("permute_dims", _permute_infer, lambda x, *, axes: x.transpose(axes), _permute_vjp, _permute_comprehension)
)

# --- broadcast -------------------------------------------------------------------------------------------


def _broadcast_infer(x: TensorSpec, *, shape: Shape) -> TensorSpec:
    return TensorSpec(tuple(shape), x.dtype)


def _broadcast_comprehension(x: TensorSpec, *, shape: Shape) -> Def:
    at = c.indices(len(shape))
    value = c.broadcast_read("x0", x.shape, shape, at)
    return c.definition("broadcast_to", (x,), [c.assign("r0", at, value, c.ranges(at, shape))])


def _broadcast_vjp(gradients: Vjp, inputs: tuple[Any, ...], outputs: Vjp, attributes: Attributes) -> Vjp:
    return (gradients[0],)  # the tape sums it down


broadcast_to = register(
    OpDef(
        "broadcast_to",
        _broadcast_infer,
        lambda x, *, shape: np.broadcast_to(x, shape),
        _broadcast_vjp,
        _broadcast_comprehension,
    )
)

# --- cast ------------------------------------------------------------------------------------------------


def _cast_infer(x: TensorSpec, *, dtype: DType) -> TensorSpec:
    return TensorSpec(x.shape, dtype)


def _cast_comprehension(x: TensorSpec, *, dtype: DType) -> Def:
    at = c.indices(len(x.shape))
    return c.definition("astype", (x,), [c.assign("r0", at, c.cast(dtype, c.access("x0", at), x.dtype))])


def _cast_vjp(gradients: Vjp, inputs: tuple[Any, ...], outputs: Vjp, attributes: Attributes) -> Vjp:
    return (gradients[0],)  # the tape casts it back


astype = register(
    OpDef("astype", _cast_infer, lambda x, *, dtype: convert_array(x, dtype), _cast_vjp, _cast_comprehension)
)
