"""Indexing: slices, gathers and their transposes.

In: tensors, keys in normal form, integer index tensors.  Out: records.
Invariant: `getitem`/`place` and `gather`/`scatter_add` are transposes of each other, so each is the other's
vjp and the family is closed under differentiation.

A basic key is a tuple with one entry per dimension (and per new one): `None` the whole dimension, an int
(counted from the front), `(start, count, step)`, or `"new"` for a new dimension of extent 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from comprehension.lang.tree import Clause, Def, Expr, Range
from minitensor.dispatch import apply
from minitensor.errors import NoComprehension, ShapeError, TensorIndexError
from minitensor.ops import comprehend as c
from minitensor.ops.families import cast_operand
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.shapes import Dim, Shape, broadcast, shape_of

Entry = None | int | str | tuple[int, int, int]
Key = tuple[Entry, ...]
NEW = "new"


def to_numpy_key(key: Key) -> tuple[Any, ...]:
    """The key as NumPy writes it."""
    return tuple(_to_numpy(entry) for entry in key)


def _to_numpy(entry: Entry) -> Any:
    if entry is None:
        return slice(None)
    if isinstance(entry, tuple):
        start, count, step = entry
        stop = start + count * step
        return slice(start, stop if stop >= 0 else None, step) if count else slice(0, 0)
    return None if entry == NEW else entry


def sliced_shape(shape: Shape, key: Key) -> Shape:
    """The shape of `x[key]`."""
    result: list[Dim] = []
    extents = iter(shape)
    for entry in key:
        if entry == NEW:
            result.append(1)
            continue
        extent = next(extents)
        if entry is None:
            result.append(extent)
        elif isinstance(entry, tuple):
            result.append(entry[1])
    return tuple(result)


def _source(key: Key, at: Sequence[Expr]) -> Iterator[Expr]:
    """The subscripts of `x` for the element `at` of `x[key]`."""
    indices = iter(at)
    for entry in key:
        if isinstance(entry, int):
            yield c.number(entry)
            continue
        index = next(indices)
        if entry is None:
            yield index
        elif isinstance(entry, tuple):
            start, _, step = entry
            yield c.add(c.mul(step, index), start) if step > 0 else c.sub(start, c.mul(-step, index))


def _target(key: Key, at: Sequence[Expr]) -> tuple[list[Expr], list[Expr]]:
    """For the element `at` of `x`: its subscripts in `x[key]`, and the conditions under which it is there."""
    subscripts: list[Expr] = []
    conditions: list[Expr] = []
    indices = iter(at)
    for entry in key:
        if entry == NEW:
            subscripts.append(c.number(0))
            continue
        index = next(indices)
        if entry is None:
            subscripts.append(index)
        elif isinstance(entry, int):
            conditions.append(c.binary("==", index, entry))
        elif isinstance(entry, tuple):
            start, count, step = entry
            first, last = sorted((start, start + (count - 1) * step))
            conditions.append(c.within(index, first, last + 1))
            distance = c.sub(index, start) if step > 0 else c.sub(start, index)
            if abs(step) > 1:
                conditions.append(c.binary("==", c.binary("%", distance, abs(step)), 0))
                distance = c.binary("/", distance, abs(step))
            subscripts.append(distance)
    return subscripts, conditions


def _selected_ranges(key: Key, at: Sequence[Any]) -> tuple[Clause, ...]:
    """`where` clauses of the dimensions that a slice or a new axis decides."""
    kept = [entry for entry in key if not isinstance(entry, int)]
    clauses = []
    for index, entry in zip(at, kept, strict=True):
        if entry is not None:
            clauses.append(Range(index.id, c.number(0), c.number(entry[1] if isinstance(entry, tuple) else 1)))
    return tuple(clauses)


# --- slices ----------------------------------------------------------------------------------------------


def _getitem_comprehension(x: TensorSpec, *, key: Key) -> Def:
    shape = sliced_shape(x.shape, key)
    at = c.indices(len(shape))
    value = c.access("x0", tuple(_source(key, at)))
    return c.definition("getitem", (x,), [c.assign("r0", at, value, _selected_ranges(key, at))])


def _getitem_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(place, gradients[0], key=attributes["key"], shape=inputs[0].shape),)


getitem = register(
    OpDef(
        "getitem",
        lambda x, *, key: TensorSpec(sliced_shape(x.shape, key), x.dtype),
        lambda x, *, key: x[to_numpy_key(key)],
        _getitem_vjp,
        _getitem_comprehension,
    )
)


def _place_eager(x: Any, *, key: Key, shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, x.dtype)
    result[to_numpy_key(key)] = x
    return result


def _place_comprehension(x: TensorSpec, *, key: Key, shape: Shape) -> Def:
    if sliced_shape(shape, key) != x.shape:
        raise NoComprehension(f"{x.shape} placed into a slice of {shape} whose extents are given as numbers")
    at = c.indices(len(shape))
    subscripts, conditions = _target(key, at)
    value = c.select(c.all_of(conditions), c.access("x0", subscripts), c.constant(0, x.dtype))
    return c.definition("place", (x,), [c.assign("r0", at, value, c.ranges(at, shape))])


def _place_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(getitem, gradients[0], key=attributes["key"]),)


place = register(
    OpDef(
        "place",
        lambda x, *, key, shape: TensorSpec(tuple(shape), x.dtype),
        _place_eager,
        _place_vjp,
        _place_comprehension,
    )
)


def _setitem_eager(x: Any, value: Any, *, key: Key) -> Any:
    result = x.copy()
    result[to_numpy_key(key)] = cast_operand(value, x.dtype)
    return result


def _setitem_infer(x: TensorSpec, value: Operand, *, key: Key) -> TensorSpec:
    target = sliced_shape(x.shape, key)
    if broadcast(target, shape_of(value)) != target:
        raise ShapeError(f"a value of shape {shape_of(value)} for a slice of shape {target}")
    return x


def _setitem_comprehension(x: TensorSpec, value: Operand, *, key: Key) -> Def:
    target = sliced_shape(x.shape, key)
    if broadcast(target, shape_of(value)) != target:
        raise NoComprehension(f"{shape_of(value)} into a slice {target} whose extents are given as numbers")
    at = c.indices(len(x.shape))
    subscripts, conditions = _target(key, at)
    if isinstance(value, TensorSpec):
        read = c.broadcast_read("x1", value.shape, target, subscripts)
        new = c.cast(x.dtype, read, value.dtype)
    else:
        new = c.ex("x1")
    chosen = c.select(c.all_of(conditions), new, c.access("x0", at))
    return c.definition("setitem", (x, value), [c.assign("r0", at, chosen, c.ranges(at, x.shape))], scalar=x.dtype)


def _setitem_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, value) = gradients, inputs
    return (
        apply(setitem, g, 0, **attributes) if x.requires_grad else None,
        apply(getitem, g, **attributes) if getattr(value, "requires_grad", False) else None,
    )


setitem = register(OpDef("setitem", _setitem_infer, _setitem_eager, _setitem_vjp, _setitem_comprehension))

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
        if index.size and not (-extent <= index.min() and index.max() < extent):
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
