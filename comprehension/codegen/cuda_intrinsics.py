"""Intrinsics of the CUDA target: operators with the language's meaning, as a few LLVM instructions each.

In: numba types of two equal operands.  Out: code, inlined where it is called.
Invariant: `min` and `max` give NaN if an operand is NaN; integer division floors, never traps, and gives 0 for a
zero divisor.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.cuda import libdevice
from numba.cuda.extending import intrinsic

__all__ = ["floor_div", "floor_mod", "libdevice", "maximum", "minimum"]


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
