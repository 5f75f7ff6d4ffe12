"""Intrinsics of the CUDA target: operators with the language's meaning, as a few LLVM instructions each.

In: numba types of the operands.  Out: code, inlined where it is called.
Invariant: `min` and `max` give NaN if an operand is NaN; integer division floors, never traps, and gives 0 for a
zero divisor; a float beyond an integer type gives that type's nearest value, NaN gives 0; a float16 is held as the
float32 of the same value, and as 16 bits in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.cuda.extending import intrinsic
from numba.np import numpy_support

from comprehension.lang.types import ScalarType

HALF, I16, I32, I64 = ir.HalfType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)

# --- the smaller, the larger, quotient and remainder ------------------------------------------------------------


def _extreme(ordered: str) -> Any:
    def choose(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            left, right = arguments
            if isinstance(a, types.Float):
                wins = builder.fcmp_ordered(ordered, left, right)
                first = builder.or_(wins, builder.fcmp_unordered("uno", left, left))
            elif a.signed:
                first = builder.icmp_signed(ordered, left, right)
            else:
                first = builder.icmp_unsigned(ordered, left, right)
            return builder.select(first, left, right)

        return (a(a, b), emit) if a == b else None

    return intrinsic(choose)


maximum = _extreme(">")
minimum = _extreme("<")


def _division(remainder: bool) -> Any:
    def divide(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            return _floored(builder, arguments[0], arguments[1], a.signed, remainder)

        return (a(a, b), emit) if a == b and isinstance(a, types.Integer) else None

    return intrinsic(divide)


def _floored(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, signed: bool, remainder: bool) -> ir.Value:
    zero, one = ir.Constant(a.type, 0), ir.Constant(a.type, 1)
    by_zero = builder.icmp_unsigned("==", b, zero)
    if not signed:
        safe = builder.select(by_zero, one, b)
        found = builder.urem(a, safe) if remainder else builder.udiv(a, safe)
        return builder.select(by_zero, zero, found)
    by_minus_one = builder.icmp_signed("==", b, ir.Constant(a.type, -1))  # the smallest integer by -1 wraps
    safe = builder.select(builder.or_(by_zero, by_minus_one), one, b)
    quotient, rest = builder.sdiv(a, safe), builder.srem(a, safe)
    crossed = builder.and_(
        builder.icmp_signed("!=", rest, zero), builder.icmp_signed("<", builder.xor(rest, safe), zero)
    )
    if remainder:
        floored = builder.select(crossed, builder.add(rest, safe), rest)
        floored = builder.select(by_minus_one, zero, floored)
    else:
        floored = builder.select(crossed, builder.sub(quotient, one), quotient)
        floored = builder.select(by_minus_one, builder.sub(zero, a), floored)
    return builder.select(by_zero, zero, floored)


floor_div = _division(remainder=False)
floor_mod = _division(remainder=True)

# --- floats to integers -----------------------------------------------------------------------------------------


def truncation(dtype: ScalarType) -> Any:
    """Float to integer: towards zero, saturating.  LLVM's own conversion is undefined beyond the type's range."""
    limits, target = np.iinfo(dtype.numpy), ir.IntType(dtype.bits)

    def truncate(typing: Any, a: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            (value,) = arguments
            # The largest value + 1 and the smallest are powers of two: exact in either float type.
            above = builder.fcmp_ordered(">=", value, ir.Constant(value.type, float(int(limits.max) + 1)))
            below = builder.fcmp_ordered("<", value, ir.Constant(value.type, float(int(limits.min))))
            known = builder.fcmp_ordered("ord", value, value)
            inside = builder.and_(known, builder.not_(builder.or_(above, below)))
            safe = builder.select(inside, value, ir.Constant(value.type, 0.0))
            converted = (builder.fptosi if dtype.is_signed else builder.fptoui)(safe, target)
            converted = builder.select(below, ir.Constant(target, int(limits.min)), converted)
            return builder.select(above, ir.Constant(target, int(limits.max)), converted)

        result = numpy_support.from_dtype(dtype.numpy)
        return (result(a), emit) if isinstance(a, types.Float) else None

    return intrinsic(truncate)


# --- float16 ----------------------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def half(typing: Any, a: Any) -> Any:
    """A float32 or float64 rounded to float16 once, to nearest even."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.fpext(builder.fptrunc(arguments[0], HALF), ir.FloatType())

    return (types.float32(a), emit) if isinstance(a, types.Float) else None


@intrinsic  # type: ignore[untyped-decorator]
def from_half(typing: Any, a: Any) -> Any:
    """The value of 16 bits of memory."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.fpext(builder.bitcast(arguments[0], HALF), ir.FloatType())

    return (types.float32(a), emit) if a == types.uint16 else None


@intrinsic  # type: ignore[untyped-decorator]
def to_half(typing: Any, a: Any) -> Any:
    """The 16 bits of a value."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.bitcast(builder.fptrunc(arguments[0], HALF), I16)

    return (types.uint16(a), emit) if a == types.float32 else None


# --- what a check found -----------------------------------------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def report(typing: Any, errors: Any, code: Any, seen: Any, extent: Any) -> Any:
    """errors = (code, seen, extent), if no other thread has reported before."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        pointer, *words = arguments
        zero = ir.Constant(I64, 0)
        claimed = builder.cmpxchg(pointer, zero, words[0], "monotonic", "monotonic")
        with builder.if_then(builder.extract_value(claimed, 1)):
            for position, word in enumerate(words[1:], start=1):
                builder.store(word, builder.gep(pointer, [ir.Constant(I32, position)]))
        return context.get_dummy_value()

    return types.void(errors, types.int64, types.int64, types.int64), emit
