"""Sliding windows of `min` and `max` over the lanes of a tile, each element read once.

In: where the first window begins in memory; the rows of the region are the elements of a window.  Out: a value a lane.
Invariant: a lane combines exactly the elements of its window, some of them twice; nothing behind the last window of an
active lane is read.

Windows of 2 s elements are two windows of s, the second one s further on; a window of any length is two, that
overlap, of the largest power of two in it.  So 16 elements take 4 steps, and no loads but those of the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature

from comprehension.codegen.extension import intrinsic
from comprehension.codegen.fold import FOLDS
from comprehension.codegen.lanes import I64, Lanes, shuffle
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, first_of
from comprehension.codegen.tile import RegionType, TileType, build_tile

Combine = Callable[[Lanes, Lanes], Lanes]


def _window(name: str) -> Any:
    combine, neutral_of = FOLDS[name]

    def typed(typing_context: Any, region: Any, source: Any, offset: Any) -> Any:
        result = TileType(source.dtype, 1, region.lanes, False, True)  # as what it is combined with, outside the rows

        def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
            memory, mask = Memory(builder, source, args[1]), Mask(builder, region, args[0])
            read = _elements(region, memory, mask, args[2], neutral_of(source.dtype))
            found = _slide(
                [Lanes(builder, vector, source.dtype) for vector in read], region.rows, region.chunk, combine
            )
            return build_tile(builder, result, lambda row, chunk, width: found[chunk].value)

        return signature(result, region, source, types.int64), generate

    typed.__name__ = f"{name}_window"
    typed.__doc__ = f"The {name} of as many neighbours as the region has rows, for each lane."
    return intrinsic(typed)


def _elements(region: RegionType, memory: Memory, mask: Mask, start: ir.Value, missing: float | int) -> list[ir.Value]:
    """What the windows of the active lanes hold, in whole vectors; `missing` behind them."""
    builder, most = memory.builder, region.lanes + region.rows - 1
    end: ir.Value = ir.Constant(I64, most)
    if region.lanes_limited:
        end = builder.add(mask.lanes_left, ir.Constant(I64, region.rows - 1))
    vectors = []
    for first in range(0, most, region.chunk):
        address = memory.address(builder.add(start, ir.Constant(I64, first)))
        if not region.lanes_limited and first + region.chunk <= most:
            vectors.append(memory.read(address, region.chunk))
            continue
        inside = first_of(builder, end, region.chunk, first)
        read = Lanes(builder, memory.read_masked(address, inside), memory.buffer.dtype)
        vectors.append(builder.select(inside, read.value, read.const(missing).value))
    return vectors


def _slide(vectors: list[Lanes], length: int, width: int, combine: Combine) -> list[Lanes]:
    """For each element what the window of `length` from it on combines to; nothing for those near the end."""
    known = 1
    while known < length:
        step = min(known, length - known)
        vectors = [combine(v, later) for v, later in zip(vectors, _later(vectors, step, width), strict=False)]
        known += step
    return vectors


def _later(vectors: Sequence[Lanes], step: int, width: int) -> list[Lanes]:
    """The vectors that begin `step` elements later; the last ones may hold anything where elements are missing."""
    whole, part = divmod(step, width)
    moved = list(vectors[whole:])
    if not part:
        return moved
    following = [*moved[1:], moved[-1]]
    return [
        one.of(shuffle(one.builder, one.value, other.value, range(part, part + width)))
        for one, other in zip(moved, following, strict=True)
    ]


max_window, min_window = _window("max"), _window("min")
