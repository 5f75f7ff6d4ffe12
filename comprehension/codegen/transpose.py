"""Tiles whose rows are contiguous in memory: moved lane by lane and transposed in registers.

In: a place with row stride 1.  Out: the tile (load) or memory written (store).
Invariant: blocks are powers of two; a transposition is a rotation of index bits, done by perfect shuffles
of whole vectors (each stage interleaves the first half of the vectors with the second).

Where all points are active, loads do half of it: pieces of 128 bits are read to where they belong, so that only
squares within the 128-bit parts of a vector are left to turn.  Processors join such pieces and shuffle within such
parts in one step each, and whole vectors in several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llvmlite import ir

from comprehension.codegen.lanes import I64, constant_vector, shuffle, splat
from comprehension.codegen.memory import Memory
from comprehension.codegen.tile import Reader, TileType

if TYPE_CHECKING:
    from comprehension.codegen.region import Mask, Place

PART_BITS = 128  # of a vector, within which a shuffle is one step on every processor with wider ones


def blocks(extent: int, widest: int = 16) -> Iterator[tuple[int, int]]:
    """(start, size) of powers of two that cover an extent.

    >>> list(blocks(6)), list(blocks(24))
    ([(0, 4), (4, 2)], [(0, 16), (16, 8)])
    """
    start = 0
    while start < extent:
        size = min(widest, 1 << ((extent - start).bit_length() - 1))
        yield start, size
        start += size


def transpose(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> list[ir.Value]:
    """The columns of a matrix given by rows; both extents are powers of two."""
    return _rechunk(builder, _turned(builder, vectors, vectors[0].type.count), len(vectors))


def _turned(builder: ir.IRBuilder, vectors: Sequence[ir.Value], part: int) -> list[ir.Value]:
    """The columns of each part of `part` lanes: whole, one after the other, where there are as many vectors."""
    flat = list(vectors)
    half = len(flat) // 2
    for _ in range(len(flat).bit_length() - 1):
        pairs = zip(flat[:half], flat[half:], strict=True)
        flat = [mixed for left, right in pairs for mixed in _interleave(builder, left, right, part)]
    return flat


def _interleave(builder: ir.IRBuilder, left: ir.Value, right: ir.Value, part: int) -> tuple[ir.Value, ir.Value]:
    """left[0], right[0], left[1], right[1], ... of the first and of the second half of each part."""
    width = left.type.count
    mixed = [at // 2 + (at % 2) * width for at in range(2 * part)]
    first, second = (
        [start + at for start in range(0, width, part) for at in half] for half in (mixed[:part], mixed[part:])
    )
    return shuffle(builder, left, right, first), shuffle(builder, left, right, second)


def _rechunk(builder: ir.IRBuilder, vectors: list[ir.Value], width: int) -> list[ir.Value]:
    """The same elements in order, in vectors of another width."""
    now = vectors[0].type.count
    while now < width:
        vectors = [shuffle(builder, a, b, range(2 * now)) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        now *= 2
    if now > width:
        vectors = [
            shuffle(builder, vector, None, range(at, at + width)) for vector in vectors for at in range(0, now, width)
        ]
    return vectors


def _active(builder: ir.IRBuilder, mask: Mask, first_row: int, rows: int, lane: int) -> ir.Value | None:
    """Which of `rows` contiguous elements of one lane are active."""
    region, found = mask.region, None
    if region.rows_limited:
        numbers = constant_vector(I64, range(first_row, first_row + rows))
        found = builder.icmp_signed("<", numbers, splat(builder, mask.rows_left, rows))
    if region.lanes_limited:
        inside = splat(builder, builder.icmp_signed(">", mask.lanes_left, ir.Constant(I64, lane)), rows)
        found = inside if found is None else builder.and_(found, inside)
    return found


def transpose_into_lanes(builder: ir.IRBuilder, result: TileType, memory: Memory, place: Place, mask: Mask) -> ir.Value:
    """Loads each lane's rows at once, then turns rows into lanes."""
    side = PART_BITS // (8 * memory.buffer.bytes)
    if mask.is_trivial and side > 1 and result.chunk % side == 0 and result.rows % side == 0:
        return _by_parts(builder, result, memory, place, side)
    tile: ir.Value = ir.Constant(ir.ArrayType(result.element, result.height * result.chunks), ir.Undefined)
    for chunk in range(result.chunks):
        first_lane = chunk * result.chunk
        for first_row, rows in blocks(result.rows):
            columns = [
                _load_column(builder, memory, place, mask, first_row, rows, first_lane + i) for i in range(result.chunk)
            ]
            for row, vector in enumerate(_padded_transpose(builder, columns)[:rows], first_row):
                exact = (
                    vector if vector.type.count == result.chunk else shuffle(builder, vector, None, range(result.chunk))
                )
                tile = builder.insert_value(tile, exact, row * result.chunks + chunk)
    return tile


def _by_parts(builder: ir.IRBuilder, result: TileType, memory: Memory, place: Place, side: int) -> ir.Value:
    """The tile, `side` rows of a chunk at a time: lane `i` of part `p` of the vectors read is lane `side * p + i`."""
    tile: ir.Value = ir.Constant(ir.ArrayType(result.element, result.height * result.chunks), ir.Undefined)
    for chunk in range(result.chunks):
        for first_row in range(0, result.rows, side):
            columns = []
            for i in range(side):
                lanes = range(chunk * result.chunk + i, (chunk + 1) * result.chunk, side)
                parts = [memory.read(memory.address(place.of(first_row, lane)), side) for lane in lanes]
                columns += _rechunk(builder, parts, result.chunk)
            for row, vector in enumerate(_turned(builder, columns, side), first_row):
                tile = builder.insert_value(tile, vector, row * result.chunks + chunk)
    return tile


def _load_column(
    builder: ir.IRBuilder, memory: Memory, place: Place, mask: Mask, first_row: int, rows: int, lane: int
) -> ir.Value:
    address = memory.address(place.of(first_row, lane))
    active = _active(builder, mask, first_row, rows, lane)
    return memory.read(address, rows) if active is None else memory.read_masked(address, active)


def _padded_transpose(builder: ir.IRBuilder, vectors: list[ir.Value]) -> list[ir.Value]:
    """`transpose` for any number of vectors of any width: missing ones are undefined."""
    count = 1 << (len(vectors) - 1).bit_length()
    width = vectors[0].type.count
    wide = 1 << (width - 1).bit_length()
    if wide != width:
        vectors = [shuffle(builder, v, None, [min(i, width - 1) for i in range(wide)]) for v in vectors]
    vectors = vectors + [ir.Constant(vectors[0].type, ir.Undefined)] * (count - len(vectors))
    return transpose(builder, vectors)


def transpose_into_rows(
    builder: ir.IRBuilder, target: TileType, value: Reader, memory: Memory, place: Place, mask: Mask
) -> None:
    """Turns lanes into rows, then stores each lane's rows at once."""
    for chunk in range(target.chunks):
        first_lane = chunk * target.chunk
        for first_row, rows in blocks(target.rows):
            vectors = [value.at(first_row + i, chunk, target.chunk).value for i in range(rows)]
            for lane, column in enumerate(_padded_transpose(builder, vectors)[: target.chunk], first_lane):
                address = memory.address(place.of(first_row, lane))
                active = _active(builder, mask, first_row, rows, lane)
                if active is None:
                    memory.write(address, column)
                else:
                    memory.write_masked(address, column, active)
