"""Stores that go around the caches, and requests for lines that will be read soon.

In: what `store` and `load` take (`codegen.region`).  Out: memory written past the caches, lines on their way.
Invariant: the bytes written are those of `store`, whatever the address; when a stage returns, all of them are
visible to whoever sees it return (`settle` stands before).

Only whole lines may be written so: parts of one are flushed as parts as soon as a load needs the buffer that
collects them, at many times the price.  Where a row begins at a multiple of 64 bytes, whole vectors are whole lines.
Elsewhere (NumPy's large arrays begin 16 bytes past one) a line is put together from the two vectors that meet in it,
where the processor can: rows come in order, so the last vector of one tile meets the first of the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature

from comprehension.codegen.extension import intrinsic, literal_intrinsic
from comprehension.codegen.lanes import I32, I64, call_intrinsic, constant_vector, shuffle, splat
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, Place, count_type, emit_store, first_of, literal, place_at, typed_store
from comprehension.codegen.target import has
from comprehension.codegen.tile import Reader, TileType

LINE, WORD = 64, 4  # bytes
WORDS = LINE // WORD


@literal_intrinsic
def stream(
    typing_context: Any, region: Any, target: Any, offset: Any, row_stride: Any, lane_stride: Any, value: Any
) -> Any:
    """`store`, around the caches where whole lines are written."""
    shape, arguments = typed_store(region, target, row_stride, lane_stride, value)
    contiguous = isinstance(shape, TileType) and shape.by_lanes and literal(lane_stride) == 1
    whole = contiguous and shape.lanes * target.bytes % LINE == 0

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, row_step, lane_step, data = args
        place = place_at(builder, start, row_stride, lane_stride, (row_step, lane_step))
        memory, mask = Memory(builder, target, base), Mask(builder, region, region_value)
        reader = Reader(builder, types.unliteral(value), data)
        if whole and mask.is_trivial:
            for row in range(shape.height):
                _stream_row(builder, shape, reader, memory, place, row)
        else:
            emit_store(builder, shape, reader, memory, place, mask)
        return context.get_dummy_value()

    return signature(types.none, *arguments), generate


def _stream_row(builder: ir.IRBuilder, shape: TileType, value: Reader, memory: Memory, place: Place, row: int) -> None:
    """One row of a tile: as lines where it begins with one; else put together, or, one of several rows, as always."""
    vectors = [value.at(row, chunk, shape.chunk).value for chunk in range(shape.chunks)]
    addresses = [memory.address(place.of(row, chunk * shape.chunk)) for chunk in range(shape.chunks)]
    number = builder.ptrtoint(addresses[0], I64)
    with builder.if_else(_divides(builder, LINE, number), likely=True) as (begins, within):
        with begins:
            for address, vector in zip(addresses, vectors, strict=True):
                memory.write_around(address, vector)
        with within:
            lines = _as_lines(builder, [memory.to_memory(vector) for vector in vectors])
            if shape.height > 1 or lines is None or not has("avx512f"):
                _write(memory, addresses, vectors)
            else:
                with builder.if_else(_divides(builder, WORD, number), likely=True) as (words, odd):
                    with words:
                        _seam_of(builder, memory.buffer.scope).put(builder, number, lines)
                    with odd:
                        _write(memory, addresses, vectors)


def _write(memory: Memory, addresses: Sequence[ir.Value], vectors: Sequence[ir.Value]) -> None:
    for address, vector in zip(addresses, vectors, strict=True):
        memory.write(address, vector)


def _divides(builder: ir.IRBuilder, size: int, number: ir.Value) -> ir.Value:
    low = builder.and_(number, ir.Constant(I64, size - 1))
    return builder.icmp_unsigned("==", low, ir.Constant(I64, 0))


# --- rows that begin within a line ----------------------------------------------------------------------------


def _as_lines(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> list[ir.Value] | None:
    """The same bits in vectors of a line's size; None where vectors are smaller."""
    lines = []
    for vector in vectors:
        words = _element_bytes(vector.type.element) * vector.type.count // WORD
        if words % WORDS:
            return None
        flat = builder.bitcast(vector, ir.VectorType(I32, words))
        lines += [shuffle(builder, flat, None, range(at, at + WORDS)) for at in range(0, words, WORDS)]
    return lines


def _element_bytes(element: ir.Type) -> int:
    return {ir.HalfType(): 2, ir.FloatType(): 4, ir.DoubleType(): 8}.get(element) or element.width // 8


@dataclass(frozen=True, slots=True)
class _Seam:
    """What a function has written of one buffer so far: all before `end` but the part of a line that ends there.

    That part is the end of the vector `last`; `end` is 0 where there is none.
    """

    last: ir.Value
    end: ir.Value

    def put(self, builder: ir.IRBuilder, start: ir.Value, vectors: Sequence[ir.Value]) -> None:
        """Vectors that belong at address `start`: lines are put together from two that meet in them."""
        low = builder.and_(start, ir.Constant(I64, LINE - 1))
        first = builder.sub(start, low)
        words = builder.trunc(builder.lshr(low, ir.Constant(I64, 2)), I32)
        taken = builder.sub(ir.Constant(I32, WORDS), words)  # of the later of two vectors
        order = builder.add(splat(builder, taken, WORDS), constant_vector(I32, range(WORDS)))
        before = builder.load(self.last)
        with builder.if_else(builder.icmp_unsigned("==", builder.load(self.end), start), likely=True) as (on, anew):
            with on:
                _write_line(builder, first, _meeting(builder, before, order, vectors[0]))
            with anew:
                self.close(builder)
                _write_part(builder, start, vectors[0], first_of(builder, builder.zext(taken, I64), WORDS))
        for number, (one, other) in enumerate(itertools.pairwise(vectors), 1):
            at = builder.add(first, ir.Constant(I64, number * LINE))
            _write_line(builder, at, _meeting(builder, one, order, other))
        builder.store(vectors[-1], self.last)
        builder.store(builder.add(start, ir.Constant(I64, LINE * len(vectors))), self.end)

    def close(self, builder: ir.IRBuilder) -> None:
        """Writes the part of a line that is left."""
        end = builder.load(self.end)
        low = builder.and_(end, ir.Constant(I64, LINE - 1))
        words = builder.lshr(low, ir.Constant(I64, 2))
        with builder.if_then(builder.icmp_unsigned("!=", end, ir.Constant(I64, 0)), likely=False):
            missing = builder.sub(ir.Constant(I64, WORDS), words)
            outside = first_of(builder, missing, WORDS)
            inside = builder.xor(outside, ir.Constant(outside.type, [ir.Constant(ir.IntType(1), 1)] * WORDS))
            _write_part(builder, builder.sub(end, ir.Constant(I64, LINE)), builder.load(self.last), inside)


def _meeting(builder: ir.IRBuilder, one: ir.Value, order: ir.Value, other: ir.Value) -> ir.Value:
    """The words of two vectors that `order` numbers."""
    return call_intrinsic(builder, "llvm.x86.avx512.vpermi2var.d.512", one.type, [one, order, other])


def _write_line(builder: ir.IRBuilder, address: ir.Value, line: ir.Value) -> None:
    instruction = builder.store(line, builder.inttoptr(address, line.type.as_pointer()), align=LINE)
    instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))


def _write_part(builder: ir.IRBuilder, address: ir.Value, words: ir.Value, mask: ir.Value) -> None:
    pointer = builder.inttoptr(address, I32.as_pointer())  # as masked stores of int32 call the same function
    arguments = [words, pointer, ir.Constant(I32, WORD), mask]
    call_intrinsic(builder, f"llvm.masked.store.v{WORDS}i32.p0", ir.VoidType(), arguments)


_SEAMS: WeakKeyDictionary[ir.Function, dict[int, _Seam]] = WeakKeyDictionary()


def _seam_of(builder: ir.IRBuilder, scope: int) -> _Seam:
    """The function's own seam of a buffer, made at its head at first use."""
    seams = _SEAMS.setdefault(builder.function, {})
    if scope not in seams:
        kind = ir.VectorType(I32, WORDS)
        with builder.goto_entry_block():
            seams[scope] = seam = _Seam(builder.alloca(kind, name="last"), builder.alloca(I64, name="end"))
            builder.store(ir.Constant(kind, None), seam.last)
            builder.store(ir.Constant(I64, 0), seam.end)
    return seams[scope]


@intrinsic
def settle(typing_context: Any) -> Any:
    """Writes the parts of lines that are left, and waits until all that was streamed is visible to every core."""

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        for seam in _SEAMS.get(builder.function, {}).values():
            seam.close(builder)
        if builder.module.triple.startswith(("x86_64", "amd64", "i686")):
            call_intrinsic(builder, "llvm.x86.sse.sfence", ir.VoidType(), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return signature(types.none), generate


# --- loads ahead ---------------------------------------------------------------------------------------------


@literal_intrinsic
def ahead(typing_context: Any, region: Any, source: Any, offset: Any, row_stride: Any, distance: Any) -> Any:
    """Asks for the lines of a region with contiguous lanes, `distance` elements before they are read."""
    far, rows = literal(distance), region.rows if literal(row_stride) != 0 else 1

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, base, start, row_step, _ = args
        place = place_at(builder, start, row_stride, types.literal(1), (row_step, ir.Constant(I64, 1)))
        memory = Memory(builder, source, base)
        for row in range(rows):
            for lane in range(0, region.lanes, LINE // source.bytes):
                memory.prefetch(memory.address(builder.add(place.of(row, lane), ir.Constant(I64, far))))
        return context.get_dummy_value()

    steps = [count_type(row_stride), count_type(distance)]
    return signature(types.none, region, source, types.int64, *steps), generate
