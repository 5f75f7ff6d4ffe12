"""Lanes that go round in circles: a few elements over and over, and neighbours in a wider tile added up.

In: regions, memory, register tiles.  Out: tiles.
Invariant: a masked row touches no memory.  `kernel.interleave` makes what reads in these ways: four elements that a
processor spreads over a vector as it reads them, and parts of sums that lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.extension import literal_intrinsic
from comprehension.codegen.lanes import I64, Lanes, shuffle, splat
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, count_type, literal, place_at
from comprehension.codegen.tile import Reader, TileType, build_tile


@literal_intrinsic
def load_cycle(typing_context: Any, region: Any, source: Any, offset: Any, row_stride: Any, length: Any) -> Any:
    """source[offset + row * row_stride + lane % length] at each active point; `length` divides a vector's lanes."""
    count = literal(length)
    if count is None or region.chunk % count or region.lanes_limited:
        raise errors.TypingError(f"no cycle of {length} in the lanes of {region}")
    result = TileType(source.dtype, region.rows, region.lanes, literal(row_stride) != 0, True)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, step, _ = args
        memory, mask = Memory(builder, source, base), Mask(builder, region, region_value)
        none = types.literal(0)
        place = place_at(builder, start, row_stride, none, (step, ir.Constant(I64, 0)))
        repeats = region.rows_limited and region.some
        if repeats:  # what rows beyond the last one read is never used
            place = place.repeating(builder.sub(mask.rows_left, ir.Constant(I64, 1)))
        read: dict[int, ir.Value] = {}

        def make(row: int, chunk: int, width: int) -> ir.Value:
            if row not in read:
                active = None if repeats else mask.row(row)
                address = memory.address(place.of(row, 0))
                if active is None:
                    found = memory.read(address, count)
                else:
                    found = memory.read_masked(address, splat(builder, active, count))
                read[row] = shuffle(builder, found, None, [lane % count for lane in range(width)])
            return read[row]

        return build_tile(builder, result, make)

    return signature(result, region, source, types.int64, count_type(row_stride), length), generate


@literal_intrinsic
def sum_neighbours(typing_context: Any, region: Any, value: Any, count: Any) -> Any:
    """For each lane the sum, by halves, of its `count` neighbours in a tile that has so many times as many lanes."""
    many = literal(count) or 0
    wide = isinstance(value, TileType) and many in (2, 4, 8) and value.lanes == many * region.lanes
    if not wide or value.rows != region.rows or not value.by_lanes:
        raise errors.TypingError(f"{value} has no {count} lanes for each of {region}")
    result = TileType(value.dtype, region.rows, region.lanes, value.by_rows, True)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        points = Reader(builder, value, args[1])
        added: dict[int, list[ir.Value]] = {}

        def make(row: int, chunk: int, width: int) -> ir.Value:
            if row not in added:
                found = [points.at(row, part, value.chunk) for part in range(value.chunks)]
                for _ in range(many.bit_length() - 1):
                    found = _pairs_added(found)
                added[row] = _in_vectors(builder, [each.value for each in found], width)
            return added[row][chunk]

        return build_tile(builder, result, make)

    return signature(result, region, value, count), generate


def _pairs_added(vectors: Sequence[Lanes]) -> list[Lanes]:
    """Each lane of even number and the one behind it, in half as many vectors, or in half of one."""
    width = vectors[0].value.type.count
    if len(vectors) % 2:
        orders = range(0, width, 2), range(1, width, 2)
        return [_sum_of(vector, None, orders) for vector in vectors]
    orders = range(0, 2 * width, 2), range(1, 2 * width, 2)
    return [_sum_of(left, right, orders) for left, right in zip(vectors[::2], vectors[1::2], strict=True)]


def _sum_of(left: Lanes, right: Lanes | None, orders: tuple[Sequence[int], Sequence[int]]) -> Lanes:
    other = None if right is None else right.value
    even, odd = (left.of(shuffle(left.builder, left.value, other, order)) for order in orders)
    return even + odd


def _in_vectors(builder: ir.IRBuilder, parts: Sequence[ir.Value], width: int) -> list[ir.Value]:
    """The same lanes in vectors of `width`."""
    found = list(parts)
    while found[0].type.count < width:
        both = range(2 * found[0].type.count)
        found = [shuffle(builder, a, b, both) for a, b in zip(found[::2], found[1::2], strict=True)]
    return found
