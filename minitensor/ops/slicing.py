"""Slicing: `x[key]` with a basic key, its transpose, and the assignment.

In: tensors, keys in normal form.  Out: records.
Invariant: `getitem` and `place` are transposes of each other, so each is the other's vjp; slices without a common
element are put together by one `assemble` (`gradient_sums` collects them).

A basic key is a tuple with one entry per dimension (and per new one): `None` the whole dimension, an int
(counted from the front), `(start, count, step)`, or `"new"` for a new dimension of extent 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from comprehension.lang.tree import Clause, Def, Expr, Range, Statement
from minitensor.dispatch import apply
from minitensor.errors import NoComprehension, ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.families import cast_operand
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.shapes import Dim, Shape, broadcast, shape_of

if TYPE_CHECKING:
    from minitensor.tensor import Tensor

Entry = None | int | str | tuple[int, int, int]
Key = tuple[Entry, ...]
NEW = "new"
MOST_CHOICES = 8  # of a statement that reads one of its operands; of more operands each is written to its place


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


def to_text(key: Key) -> str:
    """The key as a program writes it.

    >>> to_text(((2, 3, 1), None, "new", 4, (5, 2, -1)))
    '[2:5, :, None, 4, 5:3:-1]'
    """
    return f"[{', '.join(map(_entry_text, to_numpy_key(key)))}]"


def _entry_text(entry: Any) -> str:
    if not isinstance(entry, slice):
        return repr(entry)
    begin, end = ("" if bound is None else str(bound) for bound in (entry.start, entry.stop))
    return f"{begin}:{end}" + ("" if entry.step in (None, 1) else f":{entry.step}")


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
            first, last = sorted((start, start + (count - 1) * step)) if count else (start, start - 1)
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


# --- records ----------------------------------------------------------------------------------------------


def _getitem_comprehension(x: TensorSpec, *, key: Key) -> Def:
    shape = sliced_shape(x.shape, key)
    at = c.indices(len(shape))
    value = c.access("x0", tuple(_source(key, at)))
    return c.definition("getitem", (x,), [c.assign("r0", at, value, _selected_ranges(key, at))])


@dataclass(frozen=True, slots=True)
class Placed:
    """A gradient of `shape` that is zero but for `gradient` at `key`."""

    gradient: Tensor
    key: Key
    shape: tuple[int, ...]

    def whole(self) -> Tensor:
        """The tensor."""
        return apply(place, self.gradient, key=self.key, shape=self.shape)


def _getitem_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (Placed(gradients[0], attributes["key"], inputs[0].shape),)


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


def _assemble_eager(*tensors: Any, keys: tuple[Key, ...], shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, tensors[0].dtype)
    for x, key in zip(tensors, keys, strict=True):
        result[to_numpy_key(key)] = x
    return result


def _assemble_comprehension(*tensors: TensorSpec, keys: tuple[Key, ...], shape: Shape) -> Def:
    for x, key in zip(tensors, keys, strict=True):
        if sliced_shape(shape, key) != x.shape:
            raise NoComprehension(f"{x.shape} placed into a slice of {shape} whose extents are given as numbers")
    filled = [k for k, x in enumerate(tensors) if 0 not in x.shape]
    is_whole = _is_whole(shape, [tensors[k].shape for k in filled])
    at, zero = c.indices(len(shape)), c.constant(0, tensors[0].dtype)
    if len(tensors) > MOST_CHOICES:
        pieces = [written_slice(k, tensors[k], keys[k], tensors[0].dtype) for k in filled]
        rest = [] if is_whole else [c.assign("r0", at, zero, c.ranges(at, shape))]
        return c.definition("assemble", tensors, [*rest, *pieces])
    value: Expr | None = None if is_whole and filled else zero
    for k in reversed(filled):
        subscripts, conditions = _target(keys[k], at)
        part = c.access(f"x{k}", subscripts)
        value = part if value is None else c.select(c.all_of(conditions), part, value)
    assert value is not None
    return c.definition("assemble", tensors, [c.assign("r0", at, value, c.ranges(at, shape))])


def written_slice(number: int, x: TensorSpec, key: Key, dtype: np.dtype[Any]) -> Statement:
    """What one of many operands is of a result of that dtype: it writes its slice, where none has to be chosen."""
    at = c.indices(len(x.shape))
    value = c.cast(dtype, c.access(f"x{number}", at), x.dtype)
    return c.assign("r0", tuple(_source(key, at)), value, c.ranges(at, x.shape))


def _is_whole(shape: Shape, parts: Sequence[Shape]) -> bool:
    """Whether parts without a common element are all of a tensor; an extent that is a symbol is no sum of others."""
    symbols = [extent for extent in shape if isinstance(extent, str)]
    if any([extent for extent in part if isinstance(extent, str)] != symbols for part in parts):
        return False
    filled, there = ([prod(n for n in each if isinstance(n, int)) for each in shapes] for shapes in (parts, [shape]))
    return sum(filled) == sum(there)


def _assemble_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return tuple([apply(getitem, gradients[0], key=key) for key in attributes["keys"]])


assemble = register(
    OpDef(
        "assemble",
        lambda *tensors, keys, shape: TensorSpec(tuple(shape), tensors[0].dtype),
        _assemble_eager,
        _assemble_vjp,
        _assemble_comprehension,
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
