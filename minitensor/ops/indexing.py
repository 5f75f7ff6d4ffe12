"""Integer index tensors: gathers, their transposes, and the assignment.

In: tensors, integer index tensors, resolved axes.  Out: records.
Invariant: `gather`/`scatter_add` and `take_along_axis`/`scatter_along_axis` are transposes of each other, so
each is the other's vjp and the family is closed under differentiation.  Negative indices count from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.errors import TensorIndexError
from minitensor.ops import comprehend as c
from minitensor.ops.bounds import all_within
from minitensor.ops.families import cast_operand
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.shapes import Dim, Shape, broadcast

# --- integer index tensors -------------------------------------------------------------------------------
#
# `axes`: the dimensions of x that the index tensors stand for, in order; the broadcast shape of the index
# tensors takes their place in the result at dimension `position`.


def gathered_shape(shape: Shape, indices: Sequence[Shape], axes: tuple[int, ...], position: int) -> Shape:
    """The shape of a gather."""
    rest = tuple(extent for d, extent in enumerate(shape) if d not in axes)
    return (*rest[:position], *broadcast(*indices), *rest[position:])


def _numpy_index(rank: int, indices: Sequence[Any], axes: tuple[int, ...]) -> tuple[Any, ...]:
    key: list[Any] = [slice(None)] * rank
    for axis, index in zip(axes, indices, strict=True):
        key[axis] = index
    return tuple(key)


def _rotated(x: Any, count: int, axes: tuple[int, ...], position: int) -> Any:
    """NumPy puts separated index dimensions to the front; adjacent ones to their place: to `position`."""
    adjacent = all(b == a + 1 for a, b in pairwise(axes))
    now = axes[0] if adjacent else 0
    if now == position:
        return x
    return np.moveaxis(x, range(now, now + count), range(position, position + count))


def check_indices(x: Sequence[int], indices: Sequence[Any], axes: tuple[int, ...]) -> None:
    """Raises TensorIndexError for an index outside its dimension."""
    for axis, index in zip(axes, indices, strict=True):
        extent = x[axis]
        if not all_within(index, -extent, extent):
            wrong = index[(index < -extent) | (index >= extent)].flat[0]
            raise TensorIndexError(f"index {wrong} is out of bounds for axis {axis} with {extent} elements")


def _gather_eager(x: Any, *indices: Any, axes: tuple[int, ...], position: int) -> Any:
    if len(axes) == 1 and position == axes[0]:
        return np.take(x, indices[0], axis=axes[0])
    rank = len(np.broadcast_shapes(*(i.shape for i in indices)))
    return _rotated(x[_numpy_index(x.ndim, indices, axes)], rank, axes, position)


def _gather_infer(x: TensorSpec, *indices: TensorSpec, axes: tuple[int, ...], position: int) -> TensorSpec:
    return TensorSpec(gathered_shape(x.shape, [i.shape for i in indices], axes, position), x.dtype)


def _points(
    shape: Shape, indices: Sequence[TensorSpec], at: Sequence[Expr], axes: tuple[int, ...], position: int, first: int
) -> list[Expr]:
    """The subscripts of `x` for the element `at` of the gather; index tensors are x<first>, x<first+1>, ..."""
    common = broadcast(*(i.shape for i in indices))
    inner = at[position : position + len(common)]
    rest = iter((*at[:position], *at[position + len(common) :]))
    subscripts = []
    for d, extent in enumerate(shape):
        if d in axes:
            k = axes.index(d)
            subscripts.append(
                _wrapped(c.broadcast_read(f"x{first + k}", indices[k].shape, common, inner), extent, indices[k])
            )
        else:
            subscripts.append(next(rest))
    return subscripts


def _wrapped(index: Expr, extent: Dim, spec: TensorSpec) -> Expr:
    """Negative indices count from the end."""
    if spec.dtype.kind == "u":
        return index
    return c.select(c.binary("<", index, c.constant(0, spec.dtype)), c.binary("+", index, c.ex(extent)), index)


def _gather_comprehension(x: TensorSpec, *indices: TensorSpec, axes: tuple[int, ...], position: int) -> Def:
    shape = gathered_shape(x.shape, [i.shape for i in indices], axes, position)
    at = c.indices(len(shape))
    value = c.access("x0", _points(x.shape, indices, at, axes, position, 1))
    return c.definition("gather", (x, *indices), [c.assign("r0", at, value)])


def _gather_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x, *indices = inputs
    return (apply(scatter_add, gradients[0], *indices, shape=x.shape, **attributes), *[None] * len(indices))


gather = register(
    OpDef(
        "gather",
        _gather_infer,
        _gather_eager,
        _gather_vjp,
        _gather_comprehension,
        may_raise=True,
        check=lambda x, *indices, axes, position: check_indices(x.shape, indices, axes),
    )
)


def _scatter_eager(x: Any, *indices: Any, axes: tuple[int, ...], position: int, shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, x.dtype)
    count = len(np.broadcast_shapes(*(i.shape for i in indices)))
    check_indices(shape, indices, axes)
    front = np.moveaxis(result, axes, range(len(axes)))
    moved = np.moveaxis(x, range(position, position + count), range(count))
    np.add.at(front, indices, moved)
    return result


def _scatter_infer(
    x: TensorSpec, *indices: TensorSpec, axes: tuple[int, ...], position: int, shape: Shape
) -> TensorSpec:
    return TensorSpec(tuple(shape), x.dtype)


def _scatter_comprehension(
    x: TensorSpec, *indices: TensorSpec, axes: tuple[int, ...], position: int, shape: Shape
) -> Def:
    at = c.indices(len(x.shape))
    everywhere = c.indices(len(shape), start=len(x.shape))
    zero = c.assign("r0", everywhere, c.constant(0, x.dtype), c.ranges(everywhere, shape))
    c.need_numbers("scatter_add", x.dtype)
    points = _points(shape, indices, at, axes, position, 1)
    add = c.accumulate("+", "r0", points, c.access("x0", at))
    return c.definition("scatter_add", (x, *indices), [zero, add])


def _scatter_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    _, *indices = inputs
    where = {"axes": attributes["axes"], "position": attributes["position"]}
    return (apply(gather, gradients[0], *indices, **where), *[None] * len(indices))


scatter_add = register(
    OpDef(
        "scatter_add",
        _scatter_infer,
        _scatter_eager,
        _scatter_vjp,
        _scatter_comprehension,
        may_raise=True,
        check=lambda x, *indices, axes, position, shape: check_indices(shape, indices, axes),
    )
)


def _scatter_set_eager(x: Any, value: Any, *indices: Any, axes: tuple[int, ...], position: int) -> Any:
    result = x.copy()
    check_indices(x.shape, indices, axes)
    count = len(np.broadcast_shapes(*(i.shape for i in indices)))
    front = np.moveaxis(result, axes, range(len(axes)))
    target = gathered_shape(x.shape, [i.shape for i in indices], axes, position)
    filled = np.broadcast_to(cast_operand(value, x.dtype), tuple(int(n) for n in target))
    front[indices] = np.moveaxis(filled, range(position, position + count), range(count))
    return result


def _scatter_set_infer(x: TensorSpec, value: Operand, *indices: TensorSpec, axes: Any, position: int) -> TensorSpec:
    return x


def _scatter_set_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, value, *indices) = gradients, inputs
    return (
        apply(scatter_set, g, 0, *indices, **attributes) if x.requires_grad else None,
        apply(gather, g, *indices, **attributes) if getattr(value, "requires_grad", False) else None,
        *[None] * len(indices),
    )


scatter_set = register(
    OpDef(
        "scatter_set",
        _scatter_set_infer,
        _scatter_set_eager,
        _scatter_set_vjp,
        None,
        "an indirect write that is no reduction: which of two equal indices wins is a matter of order",
        may_raise=True,
    )
)

# --- one index per element along an axis -----------------------------------------------------------------


def _along(at: Sequence[Expr], axis: int, x: TensorSpec, extent: Dim, indices: TensorSpec, name: str) -> list[Expr]:
    return [_wrapped(c.access(name, at), extent, indices) if d == axis else index for d, index in enumerate(at)]


def _along_infer(x: TensorSpec, indices: TensorSpec, *, axis: int) -> TensorSpec:
    return TensorSpec(indices.shape, x.dtype)


def _along_comprehension(x: TensorSpec, indices: TensorSpec, *, axis: int) -> Def:
    at = c.indices(len(indices.shape))
    value = c.access("x0", _along(at, axis, x, x.shape[axis], indices, "x1"))
    return c.definition("take_along_axis", (x, indices), [c.assign("r0", at, value)])


def _along_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x, indices = inputs
    extent = x.shape[attributes["axis"]]
    return (apply(scatter_along_axis, gradients[0], indices, extent=extent, **attributes), None)


take_along_axis = register(
    OpDef(
        "take_along_axis",
        _along_infer,
        lambda x, indices, *, axis: np.take_along_axis(x, indices, axis),
        _along_vjp,
        _along_comprehension,
        may_raise=True,
        check=lambda x, indices, *, axis: check_indices(x.shape, [indices], (axis,)),
    )
)


def _scatter_along_shape(shape: Shape, axis: int, extent: Dim) -> Shape:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _scatter_along_eager(x: Any, indices: Any, *, axis: int, extent: int) -> Any:
    shape = (*x.shape[:axis], extent, *x.shape[axis + 1 :])
    check_indices(shape, [indices], (axis,))
    result = np.zeros(shape, x.dtype)
    grid = list(np.ogrid[tuple(slice(n) for n in x.shape)])
    grid[axis] = indices
    np.add.at(result, tuple(grid), x)
    return result


def _scatter_along_comprehension(x: TensorSpec, indices: TensorSpec, *, axis: int, extent: Dim) -> Def:
    c.need_numbers("scatter_along_axis", x.dtype)
    shape = _scatter_along_shape(x.shape, axis, extent)
    at = c.indices(len(shape))
    everywhere = c.indices(len(shape), start=len(shape))
    zero = c.assign("r0", everywhere, c.constant(0, x.dtype), c.ranges(everywhere, shape))
    add = c.accumulate("+", "r0", _along(at, axis, x, extent, indices, "x1"), c.access("x0", at))
    return c.definition("scatter_along_axis", (x, indices), [zero, add])


def _scatter_along_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(take_along_axis, gradients[0], inputs[1], axis=attributes["axis"]), None)


scatter_along_axis = register(
    OpDef(
        "scatter_along_axis",
        lambda x, indices, *, axis, extent: TensorSpec(_scatter_along_shape(x.shape, axis, extent), x.dtype),
        _scatter_along_eager,
        _scatter_along_vjp,
        _scatter_along_comprehension,
        may_raise=True,
        check=lambda x, indices, *, axis, extent: check_indices(
            (*x.shape[:axis], extent, *x.shape[axis + 1 :]), [indices], (axis,)
        ),
    )
)
