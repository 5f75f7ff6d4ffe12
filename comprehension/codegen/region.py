"""Regions of tile points: loads, stores, ramps and choices over `rows × lanes` at once.

In: `t = tile(6, 16)` or `t = tile_within(6, 16, rows_left, lanes_left)`, a buffer, the offset of the first
point and the strides along rows and lanes, in elements.  Out: tiles, or what they wrote.
Invariant: points outside the limits of `t` touch no memory.  The literal stride 0 means "does not vary
along this axis", the literals 1 and -1 "contiguous", forwards or backwards; small ones are picked from whole vectors
(`apart`); anything else is gathered, or, where rows are contiguous instead of lanes, moved by lanes and transposed in
registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.apart import is_near, read_apart
from comprehension.codegen.extension import intrinsic, literal_intrinsic
from comprehension.codegen.lanes import I32, I64, constant_vector, shuffle, splat
from comprehension.codegen.memory import BufferType, Memory, redirected
from comprehension.codegen.tile import (
    Reader,
    RegionType,
    TileType,
    build_tile,
    dtype_of,
    places,
    tile_or_scalar,
)
from comprehension.codegen.transpose import transpose_into_lanes, transpose_into_rows

UNLIMITED = 1 << 62


def literal(type_: types.Type) -> int | None:
    """The value of a literal integer type, None of any other."""
    return type_.literal_value if isinstance(type_, types.IntegerLiteral) else None


def _region(rows: Any, lanes: Any, rows_limited: bool, lanes_limited: bool, some: bool = False) -> RegionType:
    height, width = literal(rows), literal(lanes)
    if height is None or width is None:
        raise errors.TypingError("a tile's extents are literal integers")
    return RegionType(height, width, rows_limited, lanes_limited, some)


@literal_intrinsic
def tile(typing_context: Any, rows: Any, lanes: Any) -> Any:
    """All points of rows × lanes."""
    region = _region(rows, lanes, False, False)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return ir.Constant(ir.ArrayType(I64, 2), [ir.Constant(I64, UNLIMITED)] * 2)

    return signature(region, rows, lanes), generate


@literal_intrinsic
def tile_within(typing_context: Any, rows: Any, lanes: Any, rows_left: Any, lanes_left: Any) -> Any:
    """The first `rows_left` × `lanes_left` points of rows × lanes."""
    return _within(rows, lanes, rows_left, lanes_left, some=False)


@literal_intrinsic
def tile_part(typing_context: Any, rows: Any, lanes: Any, rows_left: Any, lanes_left: Any) -> Any:
    """`tile_within` of at least one row and one lane: then no address need be chosen to stay in bounds."""
    return _within(rows, lanes, rows_left, lanes_left, some=True)


def _within(rows: Any, lanes: Any, rows_left: Any, lanes_left: Any, *, some: bool) -> Any:
    region = _region(rows, lanes, _limits(rows_left, rows), _limits(lanes_left, lanes), some)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        empty = ir.Constant(ir.ArrayType(I64, 2), ir.Undefined)
        return builder.insert_value(builder.insert_value(empty, args[2], 0), args[3], 1)

    return signature(region, rows, lanes, count_type(rows_left), count_type(lanes_left)), generate


def _limits(left: types.Type, extent: types.Type) -> bool:
    """Whether a number of active points can be less than the extent."""
    known, whole = literal(left), literal(extent)
    return known is None or whole is None or known < whole


class Mask:
    """Which points of a region are active, as LLVM conditions; None stands for "all"."""

    def __init__(self, builder: ir.IRBuilder, region: RegionType, value: ir.Value, guard: Reader | None = None) -> None:
        self.builder, self.region, self.guard = builder, region, guard
        self.rows_left = builder.extract_value(value, 0)
        self.lanes_left = builder.extract_value(value, 1)
        self._lanes: dict[int, ir.Value] = {}

    def row(self, row: int) -> ir.Value | None:
        if not self.region.rows_limited or (row == 0 and self.region.some):
            return None
        return self.builder.icmp_signed(">", self.rows_left, ir.Constant(I64, row))

    def lanes(self, chunk: int, width: int) -> ir.Value | None:
        """Which lanes of a chunk are inside (`width` 0: whether any lane is)."""
        if not self.region.lanes_limited:
            return None
        if not width:
            return None if self.region.some else self.builder.icmp_signed(">", self.lanes_left, ir.Constant(I64, 0))
        if chunk not in self._lanes:
            first = chunk * width
            self._lanes[chunk] = first_of(self.builder, self.lanes_left, width, first)
        return self._lanes[chunk]

    def at(self, row: int, chunk: int, width: int) -> ir.Value | None:
        """The condition for a vector of `width` lanes, or for a scalar access where `width` is 0."""
        found = self.lanes(chunk, width)
        parts = [found] if found is not None else []
        row_active = self.row(row)
        if row_active is not None:
            parts.append(splat(self.builder, row_active, width) if width else row_active)
        if self.guard is not None:
            parts.append(self.guard.at(row, chunk, width).value)
        return self._all(parts)

    def _all(self, parts: Sequence[ir.Value]) -> ir.Value | None:
        result = None
        for part in parts:
            result = part if result is None else self.builder.and_(result, part)
        return result

    @property
    def is_trivial(self) -> bool:
        return not self.region.is_limited and self.guard is None


def first_of(builder: ir.IRBuilder, count: ir.Value, width: int, first: int = 0) -> ir.Value:
    """`first + i < count` for i in 0..width-1, as a vector of truth values.

    Compared as 32 bits, after the count was brought down to them: half the vectors.
    """
    most = ir.Constant(I64, first + width)
    least = ir.Constant(I64, 0)
    near = builder.select(builder.icmp_signed("<", count, most), count, most)
    near = builder.select(builder.icmp_signed(">", near, least), near, least)
    numbers = constant_vector(I32, range(first, first + width))
    return builder.icmp_signed("<", numbers, splat(builder, builder.trunc(near, I32), width))


class Place:
    """Offsets of a region's points in a buffer: `offset + row * row_stride + lane * lane_stride`."""

    def __init__(self, builder: ir.IRBuilder, offset: ir.Value, strides: Sequence[tuple[int | None, ir.Value]]) -> None:
        self.builder, self.offset = builder, offset
        self.last_row: ir.Value | None = None
        (self.row_literal, self.row_stride), (self.lane_literal, self.lane_stride) = strides

    def repeating(self, last_row: ir.Value) -> Place:
        """The same place with rows beyond the last one at that one's."""
        found = Place(
            self.builder, self.offset, [(self.row_literal, self.row_stride), (self.lane_literal, self.lane_stride)]
        )
        found.last_row = last_row
        return found

    def of(self, row: int, lane: int) -> ir.Value:
        if self.last_row is not None and row > 0 and self.row_literal != 0:
            builder, number = self.builder, ir.Constant(I64, row)
            number = builder.select(builder.icmp_signed("<", self.last_row, number), self.last_row, number)
            stride = self.row_stride if self.row_literal is None else ir.Constant(I64, self.row_literal)
            moved = builder.add(self.offset, builder.mul(stride, number))
        else:
            moved = self._moved(self.offset, row, self.row_literal, self.row_stride)
        return self._moved(moved, lane, self.lane_literal, self.lane_stride)

    def _moved(self, offset: ir.Value, count: int, known: int | None, stride: ir.Value) -> ir.Value:
        if count == 0 or known == 0:
            return offset
        step = (
            ir.Constant(I64, count * known) if known is not None else self.builder.mul(stride, ir.Constant(I64, count))
        )
        return self.builder.add(offset, step)

    def vector(self, row: int, lane: int, width: int) -> ir.Value:
        """Offsets of `width` lanes from `lane` on."""
        numbers = constant_vector(I64, range(lane, lane + width))
        moves = self.builder.mul(numbers, splat(self.builder, self.lane_stride, width))
        return self.builder.add(splat(self.builder, self.of(row, 0), width), moves)

    @property
    def is_contiguous(self) -> bool:
        """Lanes are neighbours in memory, one way or the other."""
        return self.lane_literal in (1, -1)

    def first(self, row: int, lane: int, width: int) -> ir.Value:
        """Where the block of memory that holds `width` contiguous lanes from `lane` on begins."""
        return self.of(row, lane if self.lane_literal == 1 else lane + width - 1)

    def in_order(self, vector: ir.Value) -> ir.Value:
        """Contiguous lanes in the order of memory, or back: turned round where they run backwards."""
        if self.lane_literal == 1:
            return vector
        return shuffle(self.builder, vector, None, range(vector.type.count - 1, -1, -1))

    @property
    def is_transposed(self) -> bool:
        """Rows are contiguous, lanes are not."""
        return self.row_literal == 1 and self.lane_literal not in (0, 1, -1)


def all_lanes(width: int) -> ir.Constant:
    return constant_vector(ir.IntType(1), [1] * width)


def read_scalar(builder: ir.IRBuilder, memory: Memory, offset: ir.Value, active: ir.Value | None) -> ir.Value:
    return memory.read(redirected(builder, memory.address(offset), active), 0)


def emit_load(builder: ir.IRBuilder, result: types.Type, memory: Memory, place: Place, mask: Mask) -> ir.Value:
    if isinstance(result, TileType) and result.by_rows and result.by_lanes and place.is_transposed and not mask.guard:
        return transpose_into_lanes(builder, result, memory, place, mask)
    repeats = mask.region.rows_limited and mask.region.some and mask.guard is None
    if repeats:  # what rows beyond the last one read is never used: an address for all steps, no mask at each
        place = place.repeating(builder.sub(mask.rows_left, ir.Constant(I64, 1)))

    def make(row: int, chunk: int, width: int) -> ir.Value:
        active = mask.lanes(chunk, width) if repeats else mask.at(row, chunk, width)
        if not width:
            return read_scalar(builder, memory, place.of(row, 0), active)
        if place.is_contiguous:
            address = memory.address(place.first(row, chunk * width, width))
            if active is None:
                return place.in_order(memory.read(address, width))
            return place.in_order(memory.read_masked(address, place.in_order(active)))
        stride = place.lane_literal
        if stride is not None and is_near(stride, width):
            return read_apart(builder, memory, place.of(row, chunk * width), stride, width, active)
        addresses = memory.addresses(place.vector(row, chunk * width, width))
        return memory.gather(addresses, all_lanes(width) if active is None else active)

    return build_tile(builder, result, make)


def emit_store(
    builder: ir.IRBuilder, target: types.Type, value: Reader, memory: Memory, place: Place, mask: Mask
) -> None:
    """Stores at each point of `target`, the shape that the strides give."""
    if not isinstance(target, TileType):
        write_scalar(builder, memory, place.of(0, 0), value.at(0, 0, 0).value, _both(builder, mask))
        return
    if target.by_rows and target.by_lanes and place.is_transposed:
        transpose_into_rows(builder, target, value, memory, place, mask)
        return
    width = target.chunk if target.by_lanes else 0
    for row, chunk, _ in places(target):
        active = mask.at(row, chunk, width)
        data = value.at(row, chunk, width).value
        if not width:
            write_scalar(builder, memory, place.of(row, 0), data, active)
        elif place.is_contiguous:
            address = memory.address(place.first(row, chunk * width, width))
            if active is None:
                memory.write(address, place.in_order(data))
            else:
                memory.write_masked(address, place.in_order(data), place.in_order(active))
        else:
            addresses = memory.addresses(place.vector(row, chunk * width, width))
            memory.scatter(addresses, data, all_lanes(width) if active is None else active)


def _both(builder: ir.IRBuilder, mask: Mask) -> ir.Value | None:
    """Whether a region has any active point."""
    return mask.at(0, 0, 0)


def write_scalar(
    builder: ir.IRBuilder, memory: Memory, offset: ir.Value, value: ir.Value, active: ir.Value | None
) -> None:
    memory.write(redirected(builder, memory.address(offset), active), value)


# --- what generated code calls ---------------------------------------------------------------------------


def _strides(row_stride: Any, lane_stride: Any, args: Sequence[ir.Value]) -> list[tuple[int | None, ir.Value]]:
    return [(literal(row_stride), args[0]), (literal(lane_stride), args[1])]


def count_type(type_: types.Type) -> types.Type:
    """Literals stay literals, other integers become int64.

    numba looks generated code up by argument types, so whatever the code depends on must be in them.
    """
    return type_ if literal(type_) is not None else types.int64


def _typed_load(region: Any, condition: Any, source: Any, offset: Any, row_stride: Any, lane_stride: Any) -> Any:
    if not isinstance(region, RegionType) or not isinstance(source, BufferType):
        raise errors.TypingError(f"load(region, buffer, ...) got {region} and {source}")
    guard_rows = isinstance(condition, TileType) and condition.by_rows
    guard_lanes = isinstance(condition, TileType) and condition.by_lanes
    by_rows = literal(row_stride) != 0 or guard_rows
    by_lanes = literal(lane_stride) != 0 or guard_lanes
    result = tile_or_scalar(source.dtype, region.rows, region.lanes, by_rows, by_lanes)
    arguments = [source, types.int64, count_type(row_stride), count_type(lane_stride)]
    guards = [] if condition is None else [condition]

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, *rest = args
        guard = Reader(builder, condition, rest.pop(0)) if condition is not None else None
        base, start, *steps = rest
        place = Place(builder, start, _strides(row_stride, lane_stride, steps))
        return emit_load(
            builder, result, Memory(builder, source, base), place, Mask(builder, region, region_value, guard)
        )

    return signature(result, region, *guards, *arguments), generate


@intrinsic
def afresh(typing_context: Any, offset: Any) -> Any:
    """The same offset, of which LLVM knows nothing: loads from it are not shared with loads from other offsets.

    Without it, the taps of a sliding window keep the rows that they have in common in registers, and the
    accumulators are spilled for that.
    """

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [args[0]], side_effect=False)

    return signature(types.int64, types.int64), generate


@literal_intrinsic
def load(typing_context: Any, region: Any, source: Any, offset: Any, row_stride: Any, lane_stride: Any) -> Any:
    """source[offset + row * row_stride + lane * lane_stride] at each active point."""
    return _typed_load(region, None, source, offset, row_stride, lane_stride)


@literal_intrinsic
def load_where(
    typing_context: Any, region: Any, condition: Any, source: Any, offset: Any, row_stride: Any, lane_stride: Any
) -> Any:
    """`load` at the points where `condition` holds; 0 elsewhere."""
    return _typed_load(region, types.unliteral(condition), source, offset, row_stride, lane_stride)


def typed_store(
    region: RegionType, target: Any, row_stride: Any, lane_stride: Any, value: Any
) -> tuple[types.Type, list[types.Type]]:
    """The shape that is stored, and the types of the arguments."""
    value = types.unliteral(value)
    by_rows, by_lanes = literal(row_stride) != 0, literal(lane_stride) != 0
    if dtype_of(value) != target.dtype:
        raise errors.TypingError(f"a value of {value} does not go into {target}")
    if isinstance(value, TileType) and (value.by_rows > by_rows or value.by_lanes > by_lanes):
        raise errors.TypingError("the value varies along an axis along which the target does not")
    shape = tile_or_scalar(target.dtype, region.rows, region.lanes, by_rows, by_lanes)
    return shape, [region, target, types.int64, count_type(row_stride), count_type(lane_stride), value]


def place_at(
    builder: ir.IRBuilder, start: ir.Value, row_stride: Any, lane_stride: Any, steps: Sequence[ir.Value]
) -> Place:
    return Place(builder, start, _strides(row_stride, lane_stride, steps))


@literal_intrinsic
def store(
    typing_context: Any, region: Any, target: Any, offset: Any, row_stride: Any, lane_stride: Any, value: Any
) -> Any:
    """target[offset + row * row_stride + lane * lane_stride] = value at each active point."""
    shape, arguments = typed_store(region, target, row_stride, lane_stride, value)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, row_step, lane_step, data = args
        place = place_at(builder, start, row_stride, lane_stride, (row_step, lane_step))
        memory, mask = Memory(builder, target, base), Mask(builder, region, region_value)
        emit_store(builder, shape, Reader(builder, types.unliteral(value), data), memory, place, mask)
        return context.get_dummy_value()

    return signature(types.none, *arguments), generate


@intrinsic
def gather(typing_context: Any, region: Any, source: Any, offsets: Any) -> Any:
    """source[offsets] at each active point; `offsets` is a tile of int64."""
    return _typed_gather(region, None, source, offsets)


@intrinsic
def gather_where(typing_context: Any, region: Any, condition: Any, source: Any, offsets: Any) -> Any:
    """`gather` at the points where `condition` holds; 0 elsewhere."""
    return _typed_gather(region, condition, source, offsets)


def _typed_gather(region: Any, condition: Any, source: Any, offsets: Any) -> Any:
    kinds = [t for t in (offsets, condition) if isinstance(t, TileType)]
    by_rows, by_lanes = any(t.by_rows for t in kinds), any(t.by_lanes for t in kinds)
    result = tile_or_scalar(source.dtype, region.rows, region.lanes, by_rows, by_lanes)
    guards = [] if condition is None else [condition]

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        memory = Memory(builder, source, args[-2])
        numbers = Reader(builder, offsets, args[-1])
        guard = Reader(builder, condition, args[1]) if condition is not None else None
        mask = Mask(builder, region, args[0], guard)

        def make(row: int, chunk: int, width: int) -> ir.Value:
            active, offset = mask.at(row, chunk, width), numbers.at(row, chunk, width).value
            if not width:
                return read_scalar(builder, memory, offset, active)
            return memory.gather(memory.addresses(offset), all_lanes(width) if active is None else active)

        return build_tile(builder, result, make)

    return signature(result, region, *guards, source, offsets), generate


@intrinsic
def scatter(typing_context: Any, region: Any, target: Any, offsets: Any, value: Any) -> Any:
    """target[offsets] = value at each active point; where offsets meet, the last point wins."""
    shape = offsets if isinstance(offsets, TileType) else target.dtype

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        memory, mask = Memory(builder, target, args[1]), Mask(builder, region, args[0])
        numbers, data = Reader(builder, offsets, args[2]), Reader(builder, value, args[3])
        width = shape.chunk if isinstance(shape, TileType) and shape.by_lanes else 0
        points = places(shape) if isinstance(shape, TileType) else iter([(0, 0, 0)])
        for row, chunk, _ in points:
            active = mask.at(row, chunk, width)
            offset, item = numbers.at(row, chunk, width).value, data.at(row, chunk, width).value
            if not width:
                write_scalar(builder, memory, offset, item, active)
            else:
                memory.scatter(memory.addresses(offset), item, all_lanes(width) if active is None else active)
        return context.get_dummy_value()

    return signature(types.none, region, target, offsets, value), generate
