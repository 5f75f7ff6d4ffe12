"""Arrangement: concat, pad, flip, roll, tile, repeat.

In: tensors, resolved axes.  Out: records.
Invariant: each is one statement that reads under guards or at computed subscripts, so consumers can fuse it; but for
many tensors beside each other, of which a statement would have to choose at every element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.errors import ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.families import cast_operand
from minitensor.ops.movement import reshape
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.reduce import sum_
from minitensor.ops.shapes import Dim, Shape, promote_operands, static
from minitensor.ops.slicing import MOST_CHOICES, Key, getitem, written_slice

# --- concat ----------------------------------------------------------------------------------------------


def _concat_eager(*tensors: Any, axis: int) -> Any:
    dtype = promote_operands([TensorSpec(x.shape, x.dtype) for x in tensors])
    return np.concatenate([cast_operand(x, dtype) for x in tensors], axis=axis)


def _concat_infer(*tensors: TensorSpec, axis: int) -> TensorSpec:
    first = tensors[0].shape
    for x in tensors:
        if len(x.shape) != len(first) or any(
            a != b for d, (a, b) in enumerate(zip(x.shape, first, strict=True)) if d != axis
        ):
            raise ShapeError(f"tensors of shapes {first} and {x.shape} do not fit beside each other along axis {axis}")
    total = sum(static(tuple(x.shape[axis] for x in tensors), "concat along an axis"))
    return TensorSpec((*first[:axis], total, *first[axis + 1 :]), promote_operands(tensors))


def _concat_comprehension(*tensors: TensorSpec, axis: int) -> Def:
    spec = _concat_infer(*tensors, axis=axis)
    offsets = np.cumsum([0, *(int(x.shape[axis]) for x in tensors)]).tolist()
    if len(tensors) > MOST_CHOICES:
        keys = [_beside(x, axis, offset) for x, offset in zip(tensors, offsets, strict=False)]
        pieces = [written_slice(k, x, keys[k], spec.dtype) for k, x in enumerate(tensors)]
        return c.definition("concat", tensors, pieces)
    at = c.indices(len(spec.shape))
    value: Expr | None = None
    for k in reversed(range(len(tensors))):
        subscripts = [c.sub(i, offsets[k]) if d == axis else i for d, i in enumerate(at)]
        part = c.cast(spec.dtype, c.access(f"x{k}", subscripts), tensors[k].dtype)
        value = part if value is None else c.select(c.binary("<", at[axis], offsets[k + 1]), part, value)
    assert value is not None
    return c.definition("concat", tensors, [c.assign("r0", at, value, c.ranges(at, spec.shape))])


def _beside(x: Any, axis: int, start: int) -> Key:
    """Where an operand is in the result."""
    return tuple((start, int(n), 1) if d == axis else None for d, n in enumerate(x.shape))


def _concat_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), axis = gradients, attributes["axis"]
    parts, start = [], 0
    for x in inputs:
        parts.append(apply(getitem, g, key=_beside(x, axis, start)) if x.requires_grad else None)
        start += x.shape[axis]
    return tuple(parts)


concat = register(OpDef("concat", _concat_infer, _concat_eager, _concat_vjp, _concat_comprehension))

# --- pad -------------------------------------------------------------------------------------------------

Widths = tuple[tuple[int, int], ...]


def _padded(shape: Shape, widths: Widths) -> tuple[int, ...]:
    return tuple(low + n + high for n, (low, high) in zip(static(shape, "pad"), widths, strict=True))


def _pad_eager(x: Any, value: Any, *, widths: Widths) -> Any:
    result = np.full(_padded(x.shape, widths), value, x.dtype)
    result[tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, widths, strict=True))] = x
    return result


def _pad_comprehension(x: TensorSpec, value: Operand, *, widths: Widths) -> Def:
    shape = _padded(x.shape, widths)
    at = c.indices(len(shape))
    guards = [
        c.within(i, low, low + int(n)) for i, n, (low, high) in zip(at, x.shape, widths, strict=True) if low or high
    ]
    read = c.access("x0", [c.sub(i, low) for i, (low, _) in zip(at, widths, strict=True)])
    chosen = c.select(c.all_of(guards), read, "x1")
    return c.definition("pad", (x, value), [c.assign("r0", at, chosen, c.ranges(at, shape))], scalar=x.dtype)


def _pad_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    key = tuple((low, n, 1) for n, (low, _) in zip(inputs[0].shape, attributes["widths"], strict=True))
    return (apply(getitem, gradients[0], key=key), None)


pad = register(
    OpDef(
        "pad",
        lambda x, value, *, widths: TensorSpec(_padded(x.shape, widths), x.dtype),
        _pad_eager,
        _pad_vjp,
        _pad_comprehension,
    )
)

# --- flip and roll ---------------------------------------------------------------------------------------


def _flip_comprehension(x: TensorSpec, *, axes: tuple[int, ...]) -> Def:
    at = c.indices(len(x.shape))
    subscripts = [
        c.binary("-", c.sub(n, 1) if isinstance(n, int) else c.binary("-", n, 1), i) if d in axes else i
        for d, (i, n) in enumerate(zip(at, x.shape, strict=True))
    ]
    return c.definition("flip", (x,), [c.assign("r0", at, c.access("x0", subscripts), c.ranges(at, x.shape))])


def _flip_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(flip, gradients[0], **attributes),)


flip = register(
    OpDef("flip", lambda x, *, axes: x, lambda x, *, axes: np.flip(x, axes), _flip_vjp, _flip_comprehension)
)


def _roll_comprehension(x: TensorSpec, *, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Def:
    at = list(c.indices(len(x.shape)))
    subscripts: list[Expr] = list(at)
    for shift, axis in zip(shifts, axes, strict=True):
        extent = x.shape[axis]
        moved = c.sub(subscripts[axis], shift) if shift >= 0 else c.add(subscripts[axis], -shift)
        subscripts[axis] = c.binary("%", moved, extent)
    return c.definition("roll", (x,), [c.assign("r0", at, c.access("x0", subscripts), c.ranges(at, x.shape))])


def _roll_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    back = tuple(-shift for shift in attributes["shifts"])
    return (apply(roll, gradients[0], shifts=back, axes=attributes["axes"]),)


roll = register(
    OpDef(
        "roll",
        lambda x, *, shifts, axes: x,
        lambda x, *, shifts, axes: np.roll(x, shifts, axes),
        _roll_vjp,
        _roll_comprehension,
    )
)

# --- tile and repeat -------------------------------------------------------------------------------------


def _scaled(shape: Shape, factors: Sequence[int]) -> tuple[Dim, ...]:
    return tuple(n if k == 1 else static((n,), "tile or repeat")[0] * k for n, k in zip(shape, factors, strict=True))


def _tile_comprehension(x: TensorSpec, *, factors: tuple[int, ...]) -> Def:
    shape = _scaled(x.shape, factors)
    at = c.indices(len(shape))
    subscripts = [i if k == 1 else c.binary("%", i, n) for i, n, k in zip(at, x.shape, factors, strict=True)]
    return c.definition("tile", (x,), [c.assign("r0", at, c.access("x0", subscripts), c.ranges(at, shape))])


def _tile_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    split = tuple(n for pair in zip(attributes["factors"], inputs[0].shape, strict=True) for n in pair)
    parts = apply(reshape, gradients[0], shape=split)
    return (apply(sum_, parts, axis=tuple(range(0, len(split), 2)), keepdims=False),)


tile = register(
    OpDef(
        "tile",
        lambda x, *, factors: TensorSpec(_scaled(x.shape, factors), x.dtype),
        lambda x, *, factors: np.tile(x, factors),
        _tile_vjp,
        _tile_comprehension,
    )
)


def _repeat_comprehension(x: TensorSpec, *, repeats: int, axis: int) -> Def:
    shape = _scaled(x.shape, [repeats if d == axis else 1 for d in range(len(x.shape))])
    at = c.indices(len(shape))
    subscripts = [c.binary("/", i, repeats) if d == axis else i for d, i in enumerate(at)]
    return c.definition("repeat", (x,), [c.assign("r0", at, c.access("x0", subscripts), c.ranges(at, shape))])


def _repeat_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    axis, shape = attributes["axis"], inputs[0].shape
    parts = apply(reshape, gradients[0], shape=(*shape[: axis + 1], attributes["repeats"], *shape[axis + 1 :]))
    return (apply(sum_, parts, axis=(axis + 1,), keepdims=False),)


repeat = register(
    OpDef(
        "repeat",
        lambda x, *, repeats, axis: TensorSpec(
            _scaled(x.shape, [repeats if d == axis else 1 for d in range(len(x.shape))]), x.dtype
        ),
        lambda x, *, repeats, axis: np.repeat(x, repeats, axis),
        _repeat_vjp,
        _repeat_comprehension,
    )
)
