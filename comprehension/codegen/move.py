"""Copies of tiles that are transposed on the way, a square of registers at a time.

In: what `store` takes but the value, and what `load` takes but the region (`codegen.region`).  Out: memory written.
Invariant: what is written is what `store(t, ..., load(t, ...))` writes.

Loaded as a whole, a tile of 16 rows and 64 lanes needs 64 registers before the first of them is stored: half of them
would be spilled and fetched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.extension import literal_intrinsic
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, Place, count_type, emit_load, emit_store, place_at
from comprehension.codegen.tile import Reader, RegionType, TileType
from comprehension.codegen.transpose import blocks


@literal_intrinsic
def move(
    typing_context: Any,
    region: Any,
    target: Any,
    offset: Any,
    row_stride: Any,
    lane_stride: Any,
    source: Any,
    from_offset: Any,
    from_row_stride: Any,
    from_lane_stride: Any,
) -> Any:
    """target[offset + row * row_stride + lane * lane_stride] = source[from_offset + ...] at each point."""
    if not isinstance(region, RegionType) or region.is_limited or target.dtype != source.dtype:
        raise errors.TypingError(f"move(region, target, ..., source, ...) got {region}, {target} and {source}")
    strides = (count_type(row_stride), count_type(lane_stride))
    from_strides = (count_type(from_row_stride), count_type(from_lane_stride))

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, row_step, lane_step, from_base, from_start, from_row_step, from_lane_step = args
        to = place_at(builder, start, *strides, (row_step, lane_step))
        come = place_at(builder, from_start, *from_strides, (from_row_step, from_lane_step))
        memory, origin = Memory(builder, target, base), Memory(builder, source, from_base)
        for first_row, rows in blocks(region.rows):
            square = RegionType(rows, region.chunk, False, False)
            mask = Mask(builder, square, region_value)
            shape = TileType(source.dtype, rows, region.chunk, by_rows=True, by_lanes=True)
            for first_lane in range(0, region.lanes, region.chunk):
                value = emit_load(builder, shape, origin, _within(come, first_row, first_lane), mask)
                emit_store(
                    builder, shape, Reader(builder, shape, value), memory, _within(to, first_row, first_lane), mask
                )
        return context.get_dummy_value()

    arguments = [target, types.int64, *strides, source, types.int64, *from_strides]
    return signature(types.none, region, *arguments), generate


def _within(place: Place, row: int, lane: int) -> Place:
    """The same place, from another point on."""
    strides = (place.row_literal, place.row_stride), (place.lane_literal, place.lane_stride)
    return Place(place.builder, place.of(row, lane), strides)
