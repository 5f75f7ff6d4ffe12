"""Stores that go around the caches, and requests for lines that will be read soon.

In: what `store` and `load` take (`codegen.region`).  Out: memory written past the caches, lines on their way.
Invariant: the bytes written are those of `store`, whatever the address; when a stage returns, all of them are
visible to whoever sees it return (`settle` stands before).

Only whole lines may be written so: parts of one are flushed as parts as soon as a load needs the buffer that
collects them, at many times the price.  Where a row begins at a multiple of 64 bytes, whole vectors are whole lines.
Elsewhere (NumPy's large arrays begin 16 bytes past one) a line is put together from the two vectors that meet in it,
where the processor can.  A single row's tiles come in order, so the last vector of one meets the first of the next.
Tiles of several rows (transpositions) come back to their rows after they went through many others: there a table
has places for `ROWS` rows, found by address; a tile that comes to a place that others took writes out what waits there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from comprehension.codegen.extension import intrinsic, literal_intrinsic
from comprehension.codegen.lanes import I32, I64, call_intrinsic, constant_vector, shuffle, splat
from comprehension.codegen.memory import Memory
from comprehension.codegen.region import Mask, Place, count_type, emit_store, first_of, literal, place_at, typed_store
from comprehension.codegen.target import has
from comprehension.codegen.tile import Reader, TileType

LINE, WORD = 64, 4  # bytes
ROWS = 1024  # that wait for the rest of a line: 72 KiB, which the second cache keeps
WORDS = LINE // WORD
_LINE_TYPE = ir.VectorType(I32, WORDS)


@literal_intrinsic
def stream(
    typing_context: Any, region: Any, target: Any, offset: Any, row_stride: Any, lane_stride: Any, value: Any
) -> Any:
    """`store`, around the caches where whole lines are written."""
    shape, arguments = typed_store(region, target, row_stride, lane_stride, value)
    contiguous = isinstance(shape, TileType) and shape.by_lanes and literal(lane_stride) == 1
    whole = contiguous and shape.lanes * target.bytes % LINE == 0
    apart = (literal(row_stride) or 0) * target.bytes
    alike = whole and (shape.height == 1 or (apart > 0 and apart % LINE == 0))  # rows begin as the first one does

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        region_value, base, start, row_step, lane_step, data = args
        place = place_at(builder, start, row_stride, lane_stride, (row_step, lane_step))
        memory, mask = Memory(builder, target, base), Mask(builder, region, region_value)
        reader = Reader(builder, types.unliteral(value), data)
        if not whole or not mask.is_trivial:
            emit_store(builder, shape, reader, memory, place, mask)
            return context.get_dummy_value()
        rows = [_Row.of(shape, reader, memory, place, row) for row in range(shape.height)]
        if alike:
            _stream_rows(builder, memory, rows, apart)
        else:
            for row in rows:
                _stream_rows(builder, memory, [row], None)
        return context.get_dummy_value()

    return signature(types.none, *arguments), generate


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a tile: its vectors, and where they belong."""

    vectors: list[ir.Value]
    addresses: list[ir.Value]

    @classmethod
    def of(cls, shape: TileType, value: Reader, memory: Memory, place: Place, row: int) -> _Row:
        return cls(
            [value.at(row, chunk, shape.chunk).value for chunk in range(shape.chunks)],
            [memory.address(place.of(row, chunk * shape.chunk)) for chunk in range(shape.chunks)],
        )


def _stream_rows(builder: ir.IRBuilder, memory: Memory, rows: Sequence[_Row], apart: int | None) -> None:
    """Rows of a tile that begin alike: as lines where they begin with one; else put together at a seam, or as always.

    `apart`: bytes from row to row; None where a row finds no seam.
    """
    number = builder.ptrtoint(rows[0].addresses[0], I64)
    with builder.if_else(_divides(builder, LINE, number), likely=True) as (begins, within):
        with begins:
            for row in rows:
                for address, vector in zip(row.addresses, row.vectors, strict=True):
                    memory.write_around(address, vector)
        with within:
            lines = [_as_lines(builder, [memory.to_memory(vector) for vector in row.vectors]) for row in rows]
            known = [each for each in lines if each is not None]
            if apart is None or len(known) < len(rows) or not has("avx512f"):
                _write(memory, rows)
            else:
                with builder.if_else(_divides(builder, WORD, number), likely=True) as (words, odd):
                    with words:
                        _seams_of(builder, memory.buffer.scope, len(rows), apart).put(builder, number, known)
                    with odd:
                        _write(memory, rows)


def _write(memory: Memory, rows: Sequence[_Row]) -> None:
    for row in rows:
        for address, vector in zip(row.addresses, row.vectors, strict=True):
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
    """What a function has written of a tile's rows so far: all before `end` but the part of a line that ends there.

    `end` is the first row's (0: nothing was written), the others' lie `apart` bytes apart.  The part is the end of a
    vector: `last` has one for each row.
    """

    last: ir.Value
    end: ir.Value
    height: int
    apart: int

    def put(self, builder: ir.IRBuilder, start: ir.Value, rows: Sequence[Sequence[ir.Value]]) -> None:
        """Rows of vectors that belong at `start`: lines are put together from two that meet in them."""
        low = builder.and_(start, ir.Constant(I64, LINE - 1))
        words = builder.trunc(builder.lshr(low, ir.Constant(I64, 2)), I32)
        taken = builder.sub(ir.Constant(I32, WORDS), words)  # of the later of two vectors
        order = builder.add(splat(builder, taken, WORDS), constant_vector(I32, range(WORDS)))
        goes_on = builder.icmp_unsigned("==", builder.load(self.end), start)
        with builder.if_else(goes_on, likely=True) as (on, anew):
            with on:
                for row, vectors in enumerate(rows):
                    line = _meeting(builder, self._load(builder, row), order, vectors[0])
                    _write_line(builder, self._beside(builder, builder.sub(start, low), row), line)
            with anew:
                self._close(builder)
                first = first_of(builder, builder.zext(taken, I64), WORDS)
                for row, vectors in enumerate(rows):
                    _write_part(builder, self._beside(builder, start, row), vectors[0], first)
        for row, vectors in enumerate(rows):
            at = self._beside(builder, builder.sub(start, low), row)
            for one, other in itertools.pairwise(vectors):
                at = builder.add(at, ir.Constant(I64, LINE))
                _write_line(builder, at, _meeting(builder, one, order, other))
            builder.store(vectors[-1], builder.gep(self.last, [ir.Constant(I64, row)]), align=LINE)
        builder.store(builder.add(start, ir.Constant(I64, LINE * len(rows[0]))), self.end)

    def _close(self, builder: ir.IRBuilder) -> None:
        builder.call(_closing(builder.module, self.height, self.apart), [self.last, self.end])

    def emit_close(self, builder: ir.IRBuilder) -> None:
        """Writes the parts of lines that are left."""
        end = builder.load(self.end)
        low = builder.and_(end, ir.Constant(I64, LINE - 1))
        words = builder.lshr(low, ir.Constant(I64, 2))
        with builder.if_then(builder.icmp_unsigned("!=", end, ir.Constant(I64, 0)), likely=False):
            outside = first_of(builder, builder.sub(ir.Constant(I64, WORDS), words), WORDS)
            inside = builder.xor(outside, ir.Constant(outside.type, [ir.Constant(ir.IntType(1), 1)] * WORDS))
            line = builder.sub(end, ir.Constant(I64, LINE))
            for row in range(self.height):
                _write_part(builder, self._beside(builder, line, row), self._load(builder, row), inside)

    def _load(self, builder: ir.IRBuilder, row: int) -> ir.Value:
        return builder.load(builder.gep(self.last, [ir.Constant(I64, row)]), align=LINE)

    def _beside(self, builder: ir.IRBuilder, address: ir.Value, row: int) -> ir.Value:
        return builder.add(address, ir.Constant(I64, row * self.apart)) if row else address


def _closing(module: ir.Module, height: int, apart: int) -> ir.Function:
    """A function of the module that closes a seam: it is called rarely, from several places."""
    name = f"close_seam_{height}_{apart}"
    known = module.globals.get(name)
    if known is not None:
        return known
    kind = ir.FunctionType(ir.VoidType(), [_LINE_TYPE.as_pointer(), I64.as_pointer()])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    last, end = function.args
    _Seam(last, end, height, apart).emit_close(builder)
    builder.ret_void()
    return function


@dataclass(frozen=True, slots=True)
class _Seams:
    """A function's seams of one buffer: one for single rows, or a table for tiles of several."""

    last: ir.Value
    end: ir.Value
    count: int
    height: int
    apart: int

    def put(self, builder: ir.IRBuilder, start: ir.Value, rows: Sequence[Sequence[ir.Value]]) -> None:
        """Rows that begin at `start`; tiles one below the other have places side by side in the table."""
        if self.count == 1:
            number: ir.Value = ir.Constant(I64, 0)
        else:
            tile = builder.udiv(start, ir.Constant(I64, self.height * self.apart))
            number = builder.urem(tile, ir.Constant(I64, self.count))
        self._number(builder, number).put(builder, start, rows)

    def _number(self, builder: ir.IRBuilder, number: ir.Value) -> _Seam:
        last = builder.gep(self.last, [builder.mul(number, ir.Constant(I64, self.height))])
        return _Seam(last, builder.gep(self.end, [number]), self.height, self.apart)

    def clear(self, builder: ir.IRBuilder) -> None:
        """Nothing waits anywhere."""
        cgutils.memset(builder, self.end, ir.Constant(I64, self.count * I64.width // 8), 0)

    def close(self, builder: ir.IRBuilder) -> None:
        """Writes the parts of lines that are left at all seams."""
        if self.count == 1:
            self._number(builder, ir.Constant(I64, 0)).emit_close(builder)
            return
        with cgutils.for_range(builder, ir.Constant(I64, self.count)) as loop:
            self._number(builder, loop.index).emit_close(builder)


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


_SEAMS: WeakKeyDictionary[ir.Function, dict[tuple[int, int, int], _Seams]] = WeakKeyDictionary()


def _seams_of(builder: ir.IRBuilder, scope: int, height: int, apart: int) -> _Seams:
    """The function's own seams of a buffer, made at its head at first use."""
    known = _SEAMS.setdefault(builder.function, {})
    key = scope, height, apart if height > 1 else 0
    if key not in known:
        with builder.goto_entry_block():
            count = 1 if height == 1 else max(1, ROWS // height)
            last = builder.alloca(_LINE_TYPE, ir.Constant(I64, count * height), name="last")
            last.align = LINE
            end = builder.alloca(I64, ir.Constant(I64, count), name="end")
            known[key] = _Seams(last, end, count, height, key[2])
            known[key].clear(builder)
    return known[key]


@intrinsic
def settle(typing_context: Any) -> Any:
    """Writes the parts of lines that are left, and waits until all that was streamed is visible to every core."""

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        for seams in _SEAMS.get(builder.function, {}).values():
            seams.close(builder)
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
    known, rows = literal(distance), region.rows if literal(row_stride) != 0 else 1

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        _, base, start, row_step, far = args
        far = far if known is None else ir.Constant(I64, known)
        place = place_at(builder, start, row_stride, types.literal(1), (row_step, ir.Constant(I64, 1)))
        memory = Memory(builder, source, base)
        for row in range(rows):
            for lane in range(0, region.lanes, LINE // source.bytes):
                memory.prefetch(memory.address(builder.add(place.of(row, lane), far)))
        return context.get_dummy_value()

    steps = [count_type(row_stride), count_type(distance)]
    return signature(types.none, region, source, types.int64, *steps), generate
