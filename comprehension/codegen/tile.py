"""Tile-valued numba types: what a variable of a generated tile statement holds.

In: numbers of rows and lanes.  Out: numba types, their LLVM data models, and `emit_elementwise`, by which
every elementwise operation runs over a tile.
Invariant: a tile that varies along both axes is an LLVM array of `rows × chunks` vectors; one that varies
along rows only is an array of `rows` scalars, along lanes only of `chunks` vectors; one that varies along
neither is a plain numba scalar.  Broadcasting happens inside operations, so a value is never wider than it
needs to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors

from comprehension.codegen.extension import NumbaType, Primitive, data_model
from comprehension.codegen.lanes import I64, Lanes, element_type, splat

CHUNK = 16  # widest vector that we write; LLVM splits it where registers are narrower


def chunk_of(lanes: int) -> int:
    """How many lanes one LLVM vector of a tile holds: a power of two where that divides well.

    >>> [chunk_of(n) for n in (1, 7, 8, 16, 24, 32, 48)]
    [1, 7, 8, 16, 8, 16, 16]
    """
    if lanes <= CHUNK:
        return lanes
    power = lanes & -lanes
    return min(CHUNK, power)


class RegionType(NumbaType):
    """`rows × lanes` points; along a limited axis only those below a number known at run time are active.

    `some`: at least one is.
    """

    def __init__(self, rows: int, lanes: int, rows_limited: bool, lanes_limited: bool, some: bool = False) -> None:
        self.rows, self.lanes = rows, lanes
        self.rows_limited, self.lanes_limited = rows_limited, lanes_limited
        self.some = some or not (rows_limited or lanes_limited)
        self.chunk = chunk_of(lanes)
        self.chunks = lanes // self.chunk
        super().__init__(name=f"Region({rows}{'?' * rows_limited} x {lanes}{'?' * lanes_limited}{', some' * some})")

    @property
    def is_limited(self) -> bool:
        return self.rows_limited or self.lanes_limited


class TileType(NumbaType):
    """Values of `dtype` at the points of a region, varying along rows, lanes or both."""

    def __init__(self, dtype: types.Type, rows: int, lanes: int, by_rows: bool, by_lanes: bool) -> None:
        if not (by_rows or by_lanes):
            raise ValueError("a tile that varies along no axis is a scalar")
        self.dtype, self.rows, self.lanes = dtype, rows, lanes
        self.by_rows, self.by_lanes = by_rows, by_lanes
        self.chunk = chunk_of(lanes)
        self.height = rows if by_rows else 1
        self.chunks = lanes // self.chunk if by_lanes else 1
        height, width = rows if by_rows else "-", lanes if by_lanes else "-"
        super().__init__(name=f"Tile({dtype}, {height} x {width} of {rows} x {lanes})")

    @property
    def element(self) -> ir.Type:
        """The LLVM type of one array element."""
        scalar = element_type(self.dtype)
        return ir.VectorType(scalar, self.chunk) if self.by_lanes else scalar


def tile_or_scalar(dtype: types.Type, rows: int, lanes: int, by_rows: bool, by_lanes: bool) -> types.Type:
    """The type of values of `dtype` that vary along the axes told."""
    return TileType(dtype, rows, lanes, by_rows, by_lanes) if by_rows or by_lanes else dtype


@data_model(RegionType)
class _RegionModel(Primitive):
    """How many rows and lanes are active."""

    def __init__(self, manager: Any, region: RegionType) -> None:
        super().__init__(manager, region, ir.ArrayType(I64, 2))


@data_model(TileType)
class _TileModel(Primitive):
    def __init__(self, manager: Any, tile: TileType) -> None:
        super().__init__(manager, tile, ir.ArrayType(tile.element, tile.height * tile.chunks))


def dtype_of(type_: types.Type) -> types.Type:
    """The element type of a tile or scalar."""
    return type_.dtype if isinstance(type_, TileType) else types.unliteral(type_)


def joined(dtype: types.Type, operands: Sequence[types.Type]) -> types.Type:
    """The type of an elementwise result: `dtype`, varying along each axis that some operand varies along."""
    tiles = [t for t in operands if isinstance(t, TileType)]
    if not tiles:
        return dtype
    shapes = {(t.rows, t.lanes) for t in tiles}
    if len(shapes) > 1:
        raise errors.TypingError(f"tiles of different extents meet: {sorted(shapes)}")
    rows, lanes = shapes.pop()
    return TileType(dtype, rows, lanes, any(t.by_rows for t in tiles), any(t.by_lanes for t in tiles))


class Reader:
    """Gives the element of a tile (or scalar) at a place, broadcast to the shape asked for."""

    def __init__(self, builder: ir.IRBuilder, type_: types.Type, value: ir.Value) -> None:
        self.builder, self.type, self.value = builder, type_, value
        self.dtype = dtype_of(type_)
        self._seen: dict[tuple[int, int, int], ir.Value] = {}

    def at(self, row: int, chunk: int, width: int) -> Lanes:
        """The lanes at (row, chunk) as a vector of `width`, or as a scalar where `width` is 0."""
        tile = self.type
        row = row if isinstance(tile, TileType) and tile.by_rows else 0
        chunk = chunk if isinstance(tile, TileType) and tile.by_lanes else 0
        key = (row, chunk, width)
        if key not in self._seen:
            self._seen[key] = self._read(row, chunk, width)
        return Lanes(self.builder, self._seen[key], self.dtype)

    def _read(self, row: int, chunk: int, width: int) -> ir.Value:
        tile, value = self.type, self.value
        if isinstance(tile, TileType):
            value = self.builder.extract_value(value, row * tile.chunks + chunk)
        if width and not isinstance(value.type, ir.VectorType):
            return splat(self.builder, value, width)
        return value


def places(tile: TileType) -> Iterator[tuple[int, int, int]]:
    """(row, chunk, number of the array element) of each vector or scalar of a tile."""
    for row in range(tile.height):
        for chunk in range(tile.chunks):
            yield row, chunk, row * tile.chunks + chunk


def build_tile(builder: ir.IRBuilder, tile: types.Type, make: Callable[[int, int, int], ir.Value]) -> ir.Value:
    """Assembles a tile (or scalar) from `make(row, chunk, width)`."""
    if not isinstance(tile, TileType):
        return make(0, 0, 0)
    width = tile.chunk if tile.by_lanes else 0
    result: ir.Value = ir.Constant(ir.ArrayType(tile.element, tile.height * tile.chunks), ir.Undefined)
    for row, chunk, number in places(tile):
        result = builder.insert_value(result, make(row, chunk, width), number)
    return result


def emit_elementwise(
    builder: ir.IRBuilder,
    result: types.Type,
    operands: Sequence[tuple[types.Type, ir.Value]],
    emit: Callable[..., Lanes],
) -> ir.Value:
    """Runs `emit` on the operands' lanes at each place of the result."""
    readers = [Reader(builder, type_, value) for type_, value in operands]

    def make(row: int, chunk: int, width: int) -> ir.Value:
        return emit(*(reader.at(row, chunk, width) for reader in readers)).value

    return build_tile(builder, result, make)
