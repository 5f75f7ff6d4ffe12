"""The processor that code is generated for: instructions that LLVM has no portable name for.

In: the machine of the request, set around the generation of an object.  Out: LLVM instructions, or None where
the processor (or the shape of the value) has none: the caller then says the same in portable ones.
Invariant: an instruction used here gives the bits that the portable code gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from llvmlite import ir
from numba import types

from comprehension.codegen.lanes import Lanes, call_intrinsic, shuffle
from comprehension.machine import Machine

REGISTER = 16  # lanes of 32 bits

_machine: ContextVar[Machine | None] = ContextVar("machine", default=None)


@contextmanager
def generating_for(machine: Machine) -> Iterator[None]:
    """Inside, generated code may use what `machine` has."""
    token = _machine.set(machine)
    try:
        yield
    finally:
        _machine.reset(token)


def has(feature: str) -> bool:
    """Whether the processor has a feature, by LLVM's name."""
    machine = _machine.get()
    return machine is not None and f"+{feature}" in machine.features.split(",")


def scaled_by_power(value: Lanes, exponent: Lanes) -> Lanes | None:
    """value * 2**exponent, rounded once; the exponent is a whole number in floating point."""
    registers = _registers(value.value.type)
    if registers is None or not has("avx512f"):
        return None
    pieces = [
        _scalef(value.builder, part, power) for part, power in zip(registers(value), registers(exponent), strict=True)
    ]
    return value.of(_joined(value.builder, pieces))


TABLE_ENTRIES = 32  # that two registers hold


def looked_up(table: Sequence[float], index: Lanes) -> Lanes | None:
    """`table[index % 32]` in float32 at each lane: one instruction for 16 lanes, the table stays in two registers."""
    if not has("avx512f"):
        return None
    assert len(table) == TABLE_ENTRIES, f"a table of {len(table)} entries"
    build, float32 = index.builder, ir.FloatType()
    entries = ir.Constant(ir.VectorType(float32, TABLE_ENTRIES), [ir.Constant(float32, each) for each in table])
    shape = index.value.type
    if not isinstance(shape, ir.VectorType):
        at = build.and_(index.value, ir.Constant(shape, TABLE_ENTRIES - 1))
        return index.of(build.extract_element(entries, at), types.float32)
    halves = [shuffle(build, entries, None, range(at, at + REGISTER)) for at in (0, REGISTER)]
    pieces = [
        call_intrinsic(build, "llvm.x86.avx512.vpermi2var.ps.512", halves[0].type, [halves[0], part, halves[1]])
        for part in _in_registers(index)
    ]
    found = _joined(build, pieces)
    return index.of(shuffle(build, found, None, range(shape.count)), types.float32)


def _in_registers(lanes: Lanes) -> list[ir.Value]:
    """A vector as registers of 16 lanes, as many as a power of two; those beyond its end repeat its last lane."""
    count = lanes.value.type.count
    registers = 1 << (-(-count // REGISTER) - 1).bit_length()
    last = count - 1
    return [
        shuffle(lanes.builder, lanes.value, None, [min(at + i, last) for i in range(REGISTER)])
        for at in range(0, registers * REGISTER, REGISTER)
    ]


def _scalef(builder: ir.IRBuilder, value: ir.Value, exponent: ir.Value) -> ir.Value:
    """AVX-512's `vscalefps`/`vscalefpd` on a whole register, every lane active, rounding as always."""
    kind = "ps" if value.type.element == ir.FloatType() else "pd"
    everywhere = ir.Constant(ir.IntType(max(8, value.type.count)), -1)
    nothing = ir.Constant(value.type, ir.Undefined)
    as_always = ir.Constant(ir.IntType(32), 4)
    arguments = [value, exponent, nothing, everywhere, as_always]
    return call_intrinsic(builder, f"llvm.x86.avx512.mask.scalef.{kind}.512", value.type, arguments)


def _registers(type_: ir.Type) -> Callable[[Lanes], list[ir.Value]] | None:
    """How a vector falls into 512-bit registers; None where it does not."""
    if not isinstance(type_, ir.VectorType) or type_.element not in (ir.FloatType(), ir.DoubleType()):
        return None
    width = 16 if type_.element == ir.FloatType() else 8
    if type_.count % width:
        return None

    def cut(lanes: Lanes) -> list[ir.Value]:
        whole = lanes.value
        if type_.count == width:
            return [whole]
        return [shuffle(lanes.builder, whole, None, range(at, at + width)) for at in range(0, type_.count, width)]

    return cut


def _joined(builder: ir.IRBuilder, pieces: list[ir.Value]) -> ir.Value:
    """The pieces one after another, as one vector (their number is a power of two)."""
    while len(pieces) > 1:
        count = pieces[0].type.count
        pieces = [shuffle(builder, a, b, range(2 * count)) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]
