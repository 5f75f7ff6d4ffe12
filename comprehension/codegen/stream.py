"""Stores that go around the caches, and requests for lines that will be read soon.

In: what `store` and `load` take (`codegen.region`).  Out: memory written past the caches, lines on their way.
Invariant: the bytes written are those of `store`, whatever the address: lines are written whole where the
target is aligned to them; rows that the loops walk in order may begin at any 16 bytes (four such writes meet in
one line before it leaves the core); everything else is an ordinary store.  Before a stage returns it calls
`settle`, so that who sees it return sees what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature

from comprehension.codegen.extension import intrinsic, literal_intrinsic
from comprehension.codegen.lanes import I64, call_intrinsic, shuffle
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, Place, count_type, emit_store, literal, place_at, typed_store
from comprehension.codegen.tile import Reader, TileType

LINE = 64
WORD = 16  # the narrowest store that goes around the caches on every x86 and ARM
_IS_X86_FENCE = "llvm.x86.sse.sfence"


@literal_intrinsic
def stream(
    typing_context: Any, region: Any, target: Any, offset: Any, row_stride: Any, lane_stride: Any, value: Any
) -> Any:
    """`store`, around the caches where whole lines are written."""
    shape, arguments = typed_store(region, target, row_stride, lane_stride, value)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, row_step, lane_step, data = args
        place = place_at(builder, start, row_stride, lane_stride, (row_step, lane_step))
        memory, mask = Memory(builder, target, base), Mask(builder, region, region_value)
        reader = Reader(builder, types.unliteral(value), data)
        if mask.is_trivial and isinstance(shape, TileType) and literal(lane_stride) == 1 and shape.by_lanes:
            for row in range(shape.height):
                _stream_row(builder, shape, reader, memory, place, row)
        else:
            emit_store(builder, shape, reader, memory, place, mask)
        return context.get_dummy_value()

    return signature(types.none, *arguments), generate


def _stream_row(builder: ir.IRBuilder, shape: TileType, value: Reader, memory: Memory, place: Place, row: int) -> None:
    """One row of a tile: whole lines, words, or an ordinary store, as its address allows."""
    vectors = [value.at(row, chunk, shape.chunk).value for chunk in range(shape.chunks)]
    addresses = [memory.address(place.of(row, chunk * shape.chunk)) for chunk in range(shape.chunks)]
    size = shape.chunk * memory.buffer.bytes
    if shape.lanes * memory.buffer.bytes % LINE:
        for address, vector in zip(addresses, vectors, strict=True):
            memory.write(address, vector)
        return
    number = builder.ptrtoint(addresses[0], I64)
    with builder.if_else(_divides(builder, LINE, number), likely=True) as (whole, rest):
        with whole:
            for address, vector in zip(addresses, vectors, strict=True):
                memory.write_around(address, vector)
        with rest:
            if shape.height > 1 or size % WORD:
                for address, vector in zip(addresses, vectors, strict=True):
                    memory.write(address, vector)
            else:
                _stream_words(builder, vectors, addresses, memory, number, WORD // memory.buffer.bytes)


def _stream_words(
    builder: ir.IRBuilder,
    vectors: Sequence[ir.Value],
    addresses: Sequence[ir.Value],
    memory: Memory,
    number: ir.Value,
    step: int,
) -> None:
    with builder.if_else(_divides(builder, WORD, number)) as (words, rest):
        with words:
            for address, vector in zip(addresses, vectors, strict=True):
                for at in range(0, vector.type.count, step):
                    part = shuffle(builder, vector, None, range(at, at + step))
                    memory.write_around(builder.gep(address, [ir.Constant(I64, at)]), part)
        with rest:
            for address, vector in zip(addresses, vectors, strict=True):
                memory.write(address, vector)


def _divides(builder: ir.IRBuilder, size: int, number: ir.Value) -> ir.Value:
    low = builder.and_(number, ir.Constant(I64, size - 1))
    return builder.icmp_unsigned("==", low, ir.Constant(I64, 0))


@intrinsic
def settle(typing_context: Any) -> Any:
    """Waits until what was streamed is visible to every core."""

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        if builder.module.triple.startswith(("x86_64", "amd64", "i686")):
            call_intrinsic(builder, _IS_X86_FENCE, ir.VoidType(), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return signature(types.none), generate


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
