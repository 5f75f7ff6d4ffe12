"""Typed memory of generated code: buffers on raw addresses, loads and stores of scalars and tiles.

In: the stage's `void** buffers`, `void* scratch` and offsets in elements.  Out: numba values.
Invariant: a masked point is neither read nor written; strides that are the literal 0 say that the value does
not vary along that axis, the literal 1 that it is contiguous there.
Buffers never overlap (the caller's promise), which every access tells LLVM.  A truth value is one byte,
float16 two bytes that are float32 in registers.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from comprehension.codegen.arithmetic import store_half
from comprehension.codegen.extension import (
    NumbaType,
    Primitive,
    Template,
    data_model,
    literal_intrinsic,
    lowering,
    operator_typing,
)
from comprehension.codegen.lanes import HALF, I8, I16, I64, Lanes, call_intrinsic, element_type, splat, type_suffix

BYTES = I8.as_pointer()  # numba's lowering asks pointers what they point to
MAX_SCOPES = 24  # buffers beyond these are not told apart


class BufferType(NumbaType):
    """Elements stored as `stored`; `scope` numbers the buffer among those of its kernel."""

    def __init__(self, stored: types.Type, scope: int) -> None:
        self.stored, self.scope = stored, scope
        self.dtype = types.float32 if stored == types.float16 else stored
        super().__init__(name=f"Buffer({stored}, {scope})")

    @property
    def memory(self) -> ir.Type:
        """The LLVM type of one element in memory."""
        if self.stored == types.boolean:
            return I8
        return I16 if self.stored == types.float16 else element_type(self.stored)

    @property
    def bytes(self) -> int:
        return 1 if self.stored == types.boolean else int(self.stored.bitwidth) // 8


@data_model(BufferType)
class _BufferModel(Primitive):
    def __init__(self, manager: Any, buffer: BufferType) -> None:
        super().__init__(manager, buffer, BYTES)


@literal_intrinsic
def buffer(typing_context: Any, buffers: Any, number: Any, dtype: Any) -> Any:
    """Buffer `number` of the stage's arguments, with elements of `dtype`."""
    result = BufferType(dtype.dtype, number.literal_value)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        loaded = builder.load(builder.gep(args[0], [ir.Constant(I64, result.scope)]))
        # the array of pointers is never written while a stage runs
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    return signature(result, buffers, number, dtype), generate


@literal_intrinsic
def scratch_buffer(typing_context: Any, scratch: Any, offset: Any, number: Any, dtype: Any) -> Any:
    """The scratch memory from byte `offset` on, with elements of `dtype`, as buffer `number`."""
    result = BufferType(dtype.dtype, number.literal_value)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return builder.gep(args[0], [args[1]])

    return signature(result, scratch, types.int64, number, dtype), generate


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Emits single accesses to one buffer; offsets count elements."""

    builder: ir.IRBuilder
    buffer: BufferType
    base: ir.Value

    def address(self, offset: ir.Value) -> ir.Value:
        return self.builder.gep(self.builder.bitcast(self.base, self.buffer.memory.as_pointer()), [offset])

    def addresses(self, offsets: ir.Value) -> ir.Value:
        """A vector of pointers from a vector of offsets."""
        count = offsets.type.count
        base = splat(self.builder, self.builder.ptrtoint(self.base, I64), count)
        scale = ir.Constant(offsets.type, [ir.Constant(I64, self.buffer.bytes)] * count)
        flat = self.builder.add(base, self.builder.mul(offsets, scale))
        return self.builder.inttoptr(flat, ir.VectorType(BYTES, count))

    def read(self, address: ir.Value, width: int) -> ir.Value:
        """One element, or `width` consecutive ones, as a register value."""
        type_ = ir.VectorType(self.buffer.memory, width) if width else self.buffer.memory
        loaded = self.builder.load(self.builder.bitcast(address, type_.as_pointer()), align=self.buffer.bytes)
        self._mark(loaded)
        return self.from_memory(loaded)

    def read_masked(self, address: ir.Value, mask: ir.Value) -> ir.Value:
        """As many consecutive elements as the mask has lanes; 0 where it is off."""
        type_ = ir.VectorType(self.buffer.memory, mask.type.count)
        return self.from_memory(self._masked("load", type_, [address], mask, ir.Constant(type_, None)))

    def gather(self, addresses: ir.Value, mask: ir.Value) -> ir.Value:
        type_ = ir.VectorType(self.buffer.memory, mask.type.count)
        return self.from_memory(self._masked("gather", type_, [addresses], mask, ir.Constant(type_, None)))

    def write(self, address: ir.Value, value: ir.Value) -> None:
        stored = self.to_memory(value)
        typed = self.builder.bitcast(address, stored.type.as_pointer())
        self._mark(self.builder.store(stored, typed, align=self.buffer.bytes))

    def write_around(self, address: ir.Value, value: ir.Value) -> None:
        """Writes past the caches: whole lines reach memory without being read first.

        The address is a multiple of the value's size.  Who ends a stage that did this calls `settle`.
        """
        stored = self.to_memory(value)
        typed = self.builder.bitcast(address, stored.type.as_pointer())
        size = self.buffer.bytes * (stored.type.count if isinstance(stored.type, ir.VectorType) else 1)
        instruction = self.builder.store(stored, typed, align=size)
        self._mark(instruction)
        instruction.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))

    def prefetch(self, address: ir.Value) -> None:
        """Asks for the line at an address (any address: nothing faults) in all caches."""
        pointer = self.builder.bitcast(address, BYTES)
        arguments = [pointer, *(ir.Constant(ir.IntType(32), n) for n in (0, 3, 1))]  # a read, of data, to be kept
        call_intrinsic(self.builder, "llvm.prefetch.p0", ir.VoidType(), arguments)

    def write_masked(self, address: ir.Value, value: ir.Value, mask: ir.Value) -> None:
        self._masked("store", ir.VoidType(), [self.to_memory(value), address], mask)

    def scatter(self, addresses: ir.Value, value: ir.Value, mask: ir.Value) -> None:
        self._masked("scatter", ir.VoidType(), [self.to_memory(value), addresses], mask)

    def _masked(
        self, kind: str, result: ir.Type, operands: list[ir.Value], mask: ir.Value, *rest: ir.Value
    ) -> ir.Value:
        data = operands[0].type if kind in ("store", "scatter") else result
        where = type_suffix(operands[-1].type)
        name = f"llvm.masked.{kind}.{type_suffix(data)}.{where}"
        align = ir.Constant(ir.IntType(32), self.buffer.bytes)
        call = call_intrinsic(self.builder, name, result, [*operands, align, mask, *rest])
        self._mark(call)
        return call

    def from_memory(self, loaded: ir.Value) -> ir.Value:
        shape = loaded.type
        if self.buffer.stored == types.boolean:
            return self.builder.icmp_unsigned("!=", loaded, ir.Constant(shape, None))
        if self.buffer.stored == types.float16:
            as_half = self.builder.bitcast(loaded, _like(shape, HALF))
            return self.builder.fpext(as_half, _like(shape, ir.FloatType()))
        return loaded

    def to_memory(self, value: ir.Value) -> ir.Value:
        if self.buffer.stored == types.boolean:
            return self.builder.zext(value, _like(value.type, I8))
        if self.buffer.stored == types.float16:
            return store_half(Lanes(self.builder, value, types.float32))
        return value

    def _mark(self, instruction: Any) -> None:
        """Says which buffer is accessed and which others are not (scoped no-alias metadata)."""
        scope = self.buffer.scope
        if scope < MAX_SCOPES:
            ours, others = _scopes(self.builder.module)[scope]
            instruction.set_metadata("alias.scope", ours)
            instruction.set_metadata("noalias", others)


def _like(shape: ir.Type, element: ir.Type) -> ir.Type:
    return ir.VectorType(element, shape.count) if isinstance(shape, ir.VectorType) else element


def _scopes(module: ir.Module) -> list[tuple[Any, Any]]:
    """For each buffer (the list of its scope, the list of all others), made once a module: llvmlite is slow at it.

    They are kept in the module itself: metadata hold their module, so a table beside it would keep it alive.
    """
    known: list[tuple[Any, Any]] | None = getattr(module, "buffer_scopes", None)
    if known is None:
        domain = module.add_metadata(["buffers of a kernel"])
        scopes = [module.add_metadata([f"buffer {i}", domain]) for i in range(MAX_SCOPES)]
        known = module.buffer_scopes = [
            (module.add_metadata([own]), module.add_metadata([other for other in scopes if other is not own]))
            for own in scopes
        ]
    return known


# --- A[i] on scalars --------------------------------------------------------------------------------------


@operator_typing(operator.getitem)
class _ReadTemplate(Template):
    def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
        target, index = args
        if isinstance(target, BufferType) and isinstance(index, types.Integer):
            return signature(target.dtype, target, types.int64)
        return None


@operator_typing(operator.setitem)
class _WriteTemplate(Template):
    def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
        target, index, value = args
        if isinstance(target, BufferType) and isinstance(index, types.Integer) and value == target.dtype:
            return signature(types.none, target, types.int64, value)
        return None


@lowering(operator.getitem, BufferType, types.Integer)
def _read(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
    memory = Memory(builder, sig.args[0], args[0])
    return memory.read(memory.address(args[1]), 0)


@lowering(operator.setitem, BufferType, types.Integer, types.Any)
def _write(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
    memory = Memory(builder, sig.args[0], args[0])
    memory.write(memory.address(args[1]), args[2])
    return context.get_dummy_value()


def redirected(builder: ir.IRBuilder, address: ir.Value, active: ir.Value | None) -> ir.Value:
    """The address, or a word of the stack where a scalar access is masked: no branch."""
    if active is None:
        return address
    nowhere = cgutils.alloca_once_value(builder, ir.Constant(I64, 0), name="nowhere")
    return builder.select(active, address, builder.bitcast(nowhere, address.type))
