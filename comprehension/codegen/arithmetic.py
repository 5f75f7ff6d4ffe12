"""Elementwise operations of generated code, on scalars and tiles alike.

In: numba scalars or `TileType` values of one dtype.  Out: the same operation at every point.
Invariant: no implicit conversion (operands of different dtypes are a typing error); integers wrap in their
own type; `minimum`/`maximum` propagate NaN; a zero divisor gives 0; nothing traps.
Operators (`+ - * / < <= > >= == != & | -`) work on tiles; scalars use numba's own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import errors
from numba.core.typing.templates import signature

from comprehension.codegen.extension import Template, intrinsic, literal_intrinsic, lowering, operator_typing
from comprehension.codegen.lanes import HALF, I16, Lanes, call_intrinsic, element_type, is_signed, type_suffix
from comprehension.codegen.tile import TileType, dtype_of, emit_elementwise, joined

Emitter = Callable[..., Lanes]


def same_dtype(operands: Sequence[types.Type]) -> types.Type:
    """The one dtype of all operands."""
    dtypes = {dtype_of(t) for t in operands}
    if len(dtypes) != 1:
        raise errors.TypingError(f"operands of different types meet: {sorted(map(str, dtypes))}")
    return dtypes.pop()


def elementwise(emit: Emitter, operands: Sequence[types.Type], dtype: types.Type) -> tuple[Any, Any]:
    """(signature, code generator) of an intrinsic that runs `emit` at each point."""
    result = joined(dtype, operands)
    plain = [types.unliteral(t) for t in operands]

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return emit_elementwise(builder, result, list(zip(plain, args, strict=True)), emit)

    return signature(result, *plain), generate


# --- operators on tiles -------------------------------------------------------------------------------

OPERATORS: dict[Any, tuple[Emitter, types.Type | None]] = {}
"""For each Python operator what it emits, and the dtype of its result (None: the operands')."""


def _register_operator(op: Any, emit: Emitter, result: types.Type | None = None, arity: int = 2) -> None:
    """Lets a Python operator work on tiles; `result` is the result's dtype (None: the operands')."""
    OPERATORS[op] = emit, result

    class OperatorTemplate(Template):
        key = op

        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
            if len(args) != arity or not any(isinstance(a, TileType) for a in args):
                return None
            dtype = same_dtype(args)
            return signature(joined(dtype if result is None else result, args), *args)

    operator_typing(op)(OperatorTemplate)

    def generate(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return emit_elementwise(builder, sig.return_type, list(zip(sig.args, args, strict=True)), emit)

    shapes = [(TileType, TileType), (TileType, types.Any), (types.Any, TileType)] if arity == 2 else [(TileType,)]
    for shape in shapes:
        lowering(op, *shape)(generate)


_register_operator(operator.add, lambda a, b: a + b)
_register_operator(operator.sub, lambda a, b: a - b)
_register_operator(operator.mul, lambda a, b: a * b)
_register_operator(operator.truediv, lambda a, b: a / b)
_register_operator(operator.and_, lambda a, b: a & b)
_register_operator(operator.or_, lambda a, b: a | b)
_register_operator(operator.neg, lambda a: -a, arity=1)
for _op, _text in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _register_operator(_op, lambda a, b, _text=_text: a.compare(_text, b), types.boolean)


# --- named operations -----------------------------------------------------------------------------------


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    return elementwise(lambda x, y, z: x.fma(y, z), (a, b, c), same_dtype((a, b, c)))


@intrinsic
def minimum(typing_context: Any, a: Any, b: Any) -> Any:
    """The lesser; NaN if either is NaN."""
    return elementwise(lambda x, y: extreme(x, y, "minimum", "<"), (a, b), same_dtype((a, b)))


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    """The greater; NaN if either is NaN."""
    return elementwise(lambda x, y: extreme(x, y, "maximum", ">"), (a, b), same_dtype((a, b)))


def extreme(x: Lanes, y: Lanes, name: str, op: str) -> Lanes:
    """NaN-propagating minimum or maximum of floats, plain one of integers and truth values."""
    if isinstance(x.dtype, types.Float):
        # If y is NaN the comparison is false and y is taken; if x is NaN the outer choice keeps it.  Written so,
        # x86 does it with one masked maximum.  (LLVM's llvm.minimum would also order the zeros, at twice the price.)
        return x.of(x.builder.fcmp_ordered("ord", x.value, x.value), types.boolean).choose(
            x.compare(op, y).choose(x, y), x
        )
    return x.compare(op, y).choose(x, y)


@intrinsic
def select(typing_context: Any, condition: Any, then: Any, otherwise: Any) -> Any:
    """`then if condition else otherwise`; both are evaluated."""
    if dtype_of(condition) != types.boolean:
        raise errors.TypingError(f"a condition is a truth value, not {condition}")
    dtype = same_dtype((then, otherwise))
    return elementwise(lambda c, x, y: c.choose(x, y), (condition, then, otherwise), dtype)


@intrinsic
def logical_not(typing_context: Any, a: Any) -> Any:
    """True where `a` is False."""
    return elementwise(lambda x: ~x, (a,), types.boolean)


@literal_intrinsic
def floor_div(typing_context: Any, a: Any, b: Any) -> Any:
    """Integer division towards minus infinity; 0 for a zero divisor; the least value by -1 wraps."""
    return elementwise(emit_floor_div, (a, b), same_dtype((a, b)))


@literal_intrinsic
def floor_mod(typing_context: Any, a: Any, b: Any) -> Any:
    """What `floor_div` leaves, with the divisor's sign; 0 for a zero divisor of integers."""
    return elementwise(emit_floor_mod, (a, b), same_dtype((a, b)))


def emit_floor_div(a: Lanes, b: Lanes) -> Lanes:
    safe = _harmless_divisor(a, b)
    if not is_signed(a.dtype):
        return b.equals(0).choose(a.const(0), a.of(a.builder.udiv(a.value, safe.value)))
    quotient = a.of(a.builder.sdiv(a.value, safe.value))
    rest = a - quotient * safe
    one_less = rest.differs(0) & (rest ^ safe).compare("<", 0)
    floored = one_less.choose(quotient - 1, quotient)
    # `safe` turned a divisor of -1 into 1: negation wraps where the quotient would overflow.
    return b.equals(0).choose(a.const(0), b.equals(-1).choose(-a, floored))


def emit_floor_mod(a: Lanes, b: Lanes) -> Lanes:
    if isinstance(a.dtype, types.Float):
        rest = a.call_libm("fmod", b)
        opposite = rest.compare("<", 0.0) ^ b.compare("<", 0.0)
        return rest.equals(0.0).choose(b.const(0.0).copysign(b), opposite.choose(rest + b, rest))
    safe = _harmless_divisor(a, b)
    if not is_signed(a.dtype):
        return b.equals(0).choose(a.const(0), a.of(a.builder.urem(a.value, safe.value)))
    rest = a.of(a.builder.srem(a.value, safe.value))
    opposite = rest.differs(0) & (rest ^ safe).compare("<", 0)
    floored = opposite.choose(rest + safe, rest)
    return (b.equals(0) | b.equals(-1)).choose(a.const(0), floored)


def _harmless_divisor(a: Lanes, b: Lanes) -> Lanes:
    """The divisor, or 1 where the division instruction would trap (0, and -1 on the least value)."""
    traps = b.equals(0)
    if is_signed(a.dtype):
        traps = traps | b.equals(-1)
    return traps.choose(b.const(1), b)


# --- conversion ---------------------------------------------------------------------------------------------


@intrinsic
def convert(typing_context: Any, a: Any, to: Any) -> Any:
    """`a` as the type `to` (np.int32, ...): floats truncate towards zero, integers wrap, truth is `!= 0`."""
    dtype = to.dtype
    sig, generate = elementwise(lambda x: emit_convert(x, dtype), (a,), dtype)

    def drop_type(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return generate(context, builder, sig, args[:1])

    return signature(sig.return_type, *sig.args, to), drop_type


def emit_convert(x: Lanes, to: types.Type) -> Lanes:
    """Out of range, a float gives the nearest integer, NaN 0: defined, and no fault."""
    source, target = x.dtype, x.shaped(element_type(to))
    build = x.builder
    if source == to:
        return x
    if to == types.boolean:
        return x.differs(0)
    if isinstance(source, types.Float) and isinstance(to, types.Float):
        widen = to.bitwidth > source.bitwidth
        return x.of(build.fpext(x.value, target) if widen else build.fptrunc(x.value, target), to)
    if isinstance(source, types.Float):
        return _saturate(x, to, target)
    if isinstance(to, types.Float):
        emit = build.sitofp if is_signed(source) else build.uitofp
        return x.of(emit(x.value, target), to)
    width = 1 if source == types.boolean else source.bitwidth
    if to.bitwidth == width:
        return x.of(x.value, to)
    if to.bitwidth < width:
        return x.of(build.trunc(x.value, target), to)
    return x.of((build.sext if is_signed(source) else build.zext)(x.value, target), to)


def _saturate(x: Lanes, to: types.Type, target: ir.Type) -> Lanes:
    sign = "s" if is_signed(to) else "u"
    name = f"llvm.fpto{sign}i.sat.{type_suffix(target)}.{type_suffix(x.value.type)}"
    return x.of(call_intrinsic(x.builder, name, target, [x.value]), to)


@intrinsic
def half(typing_context: Any, a: Any) -> Any:
    """A float rounded to float16 (once, to nearest even) and held as float32."""
    return elementwise(emit_round_to_half, (a,), types.float32)


def emit_round_to_half(x: Lanes) -> Lanes:
    if x.dtype == types.float64:
        x = _round_to_odd(x)
    rounded = x.builder.fptrunc(x.value, x.shaped(HALF))
    return x.of(x.builder.fpext(rounded, x.value.type), types.float32)


def _round_to_odd(x: Lanes) -> Lanes:
    """float64 as float32, inexact results with an odd last bit, so that a second rounding is as one.

    (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd".)
    """
    narrow = emit_convert(x, types.float32)
    back = emit_convert(narrow, types.float64)
    bits = narrow.bits(types.int32)
    outwards = back.abs() > x.abs()
    towards_zero = outwards.choose(bits - 1, bits)
    odd = (towards_zero | 1).bits(types.float32)
    inexact = back.differs(x) & ~x.is_nan()
    return inexact.choose(odd, narrow)


def store_half(x: Lanes) -> ir.Value:
    """The 16 bits of a float32 that holds a float16."""
    return x.builder.bitcast(x.builder.fptrunc(x.value, x.shaped(HALF)), x.shaped(I16))
