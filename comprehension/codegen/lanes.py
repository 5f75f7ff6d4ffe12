"""Lanes: arithmetic on one LLVM value, a scalar or a whole vector, written like ordinary arithmetic.

In: a builder, an LLVM value and the numba scalar type of its elements.  Out: LLVM instructions.
Invariant: an operation never mixes element types and never depends on whether the value is a scalar or
a vector, so scalar and tile code that use the same emitter agree bit for bit.  No fast-math flag is ever
set: what is written is what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
HALF, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()


def element_type(dtype: types.Type) -> ir.Type:
    """The LLVM type of one element (a truth value is i1 in registers)."""
    if dtype == types.boolean:
        return I1
    if dtype == types.float16:
        return HALF
    if isinstance(dtype, types.Float):
        return F32 if dtype.bitwidth == 32 else F64
    return ir.IntType(dtype.bitwidth)


def integer_of(dtype: types.Type) -> types.Integer:
    """The signed integer type as wide as a float type."""
    return types.int32 if dtype.bitwidth == 32 else types.int64


def is_signed(dtype: types.Type) -> bool:
    return isinstance(dtype, types.Integer) and dtype.signed


def call_intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
    """Calls `name`, declared in the builder's module at its first use."""
    module = builder.module
    known = module.globals.get(name)
    if known is None:
        known = ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(known, arguments)


def type_suffix(type_: ir.Type) -> str:
    """How LLVM's overloaded intrinsics spell a type: `f32`, `v16f32`, `v8i1`."""
    if isinstance(type_, ir.VectorType):
        return f"v{type_.count}{type_suffix(type_.element)}"
    if isinstance(type_, ir.IntType):
        return f"i{type_.width}"
    if isinstance(type_, ir.PointerType):
        return "p0"
    return {ir.HalfType: "f16", ir.FloatType: "f32", ir.DoubleType: "f64"}[type(type_)]


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A scalar or a vector of `dtype`; operators emit one instruction each."""

    builder: ir.IRBuilder
    value: ir.Value
    dtype: types.Type

    # --- construction ----------------------------------------------------------------------------

    def of(self, value: ir.Value, dtype: types.Type | None = None) -> Lanes:
        return Lanes(self.builder, value, self.dtype if dtype is None else dtype)

    def shaped(self, element: ir.Type) -> ir.Type:
        """`element` as a scalar or as a vector, like this value."""
        type_ = self.value.type
        return ir.VectorType(element, type_.count) if isinstance(type_, ir.VectorType) else element

    def const(self, number: float | int, dtype: types.Type | None = None) -> Lanes:
        """The same number in each lane."""
        dtype = self.dtype if dtype is None else dtype
        element = element_type(dtype)
        type_ = self.shaped(element)
        if isinstance(type_, ir.VectorType):
            return self.of(ir.Constant(type_, [ir.Constant(element, number)] * type_.count), dtype)
        return self.of(ir.Constant(type_, number), dtype)

    def bits(self, dtype: types.Type) -> Lanes:
        """The same bits read as `dtype` (of the same width)."""
        return self.of(self.builder.bitcast(self.value, self.shaped(element_type(dtype))), dtype)

    def _operand(self, other: Lanes | float | int) -> ir.Value:
        if not isinstance(other, Lanes):
            return self.const(other).value
        if other.value.type != self.value.type:
            raise TypeError(f"lanes of {other.value.type} and {self.value.type} do not meet")
        return other.value

    # --- arithmetic ---------------------------------------------------------------------------------

    def __add__(self, other: Lanes | float | int) -> Lanes:
        emit = self.builder.fadd if isinstance(self.dtype, types.Float) else self.builder.add
        return self.of(emit(self.value, self._operand(other)))

    def __sub__(self, other: Lanes | float | int) -> Lanes:
        emit = self.builder.fsub if isinstance(self.dtype, types.Float) else self.builder.sub
        return self.of(emit(self.value, self._operand(other)))

    def __rsub__(self, other: float | int) -> Lanes:
        return self.const(other) - self

    def __mul__(self, other: Lanes | float | int) -> Lanes:
        emit = self.builder.fmul if isinstance(self.dtype, types.Float) else self.builder.mul
        return self.of(emit(self.value, self._operand(other)))

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Lanes | float | int) -> Lanes:
        return self.of(self.builder.fdiv(self.value, self._operand(other)))

    def __rtruediv__(self, other: float | int) -> Lanes:
        return self.const(other) / self

    def __neg__(self) -> Lanes:
        if isinstance(self.dtype, types.Float):
            return self.of(self.builder.fneg(self.value))
        return self.of(self.builder.neg(self.value))

    def fma(self, factor: Lanes | float, addend: Lanes | float) -> Lanes:
        """self * factor + addend, rounded once."""
        return self.intrinsic("fma", self._as_lanes(factor), self._as_lanes(addend))

    def _as_lanes(self, other: Lanes | float) -> Lanes:
        return other if isinstance(other, Lanes) else self.const(other)

    def intrinsic(self, name: str, *others: Lanes) -> Lanes:
        """LLVM's `llvm.<name>` on this type, with operands and result of this type."""
        arguments = [self.value, *(self._operand(o) for o in others)]
        full = f"llvm.{name}.{type_suffix(self.value.type)}"
        return self.of(call_intrinsic(self.builder, full, self.value.type, arguments))

    def call_libm(self, name: str, *others: Lanes) -> Lanes:
        """The scalar C function `name` (`namef` for float32) on each lane."""
        symbol = name + ("f" if self.dtype.bitwidth == 32 else "")
        operands = [self.value, *(self._operand(o) for o in others)]
        if not isinstance(self.value.type, ir.VectorType):
            return self.of(self._pure_call(symbol, operands))
        result = ir.Constant(self.value.type, ir.Undefined)
        for lane in range(self.value.type.count):
            at = ir.Constant(I32, lane)
            scalars = [self.builder.extract_element(o, at) for o in operands]
            result = self.builder.insert_element(result, self._pure_call(symbol, scalars), at)
        return self.of(result)

    def _pure_call(self, symbol: str, operands: list[ir.Value]) -> ir.Value:
        call = call_intrinsic(self.builder, symbol, operands[0].type, operands)
        function = self.builder.module.globals[symbol]
        for attribute in ("nounwind", "readnone"):
            function.attributes.add(attribute)
        return call

    # --- bits -----------------------------------------------------------------------------------------

    def __and__(self, other: Lanes | int) -> Lanes:
        return self.of(self.builder.and_(self.value, self._operand(other)))

    def __or__(self, other: Lanes | int) -> Lanes:
        return self.of(self.builder.or_(self.value, self._operand(other)))

    def __xor__(self, other: Lanes | int) -> Lanes:
        return self.of(self.builder.xor(self.value, self._operand(other)))

    def __invert__(self) -> Lanes:
        return self.of(self.builder.not_(self.value))

    def __lshift__(self, count: Lanes | int) -> Lanes:
        return self.of(self.builder.shl(self.value, self._operand(count)))

    def __rshift__(self, count: Lanes | int) -> Lanes:
        emit = self.builder.ashr if is_signed(self.dtype) else self.builder.lshr
        return self.of(emit(self.value, self._operand(count)))

    def copysign(self, sign: Lanes) -> Lanes:
        return self.intrinsic("copysign", sign)

    def abs(self) -> Lanes:
        return self.intrinsic("fabs")

    # --- comparison and choice ------------------------------------------------------------------------------

    def compare(self, op: str, other: Lanes | float | int) -> Lanes:
        """Ordered for floats (NaN compares false), except `!=`."""
        right = self._operand(other)
        if isinstance(self.dtype, types.Float):
            emit = self.builder.fcmp_unordered if op == "!=" else self.builder.fcmp_ordered
        else:
            emit = self.builder.icmp_signed if is_signed(self.dtype) else self.builder.icmp_unsigned
        return self.of(emit(op, self.value, right), types.boolean)

    def __lt__(self, other: Lanes | float | int) -> Lanes:
        return self.compare("<", other)

    def __le__(self, other: Lanes | float | int) -> Lanes:
        return self.compare("<=", other)

    def __gt__(self, other: Lanes | float | int) -> Lanes:
        return self.compare(">", other)

    def __ge__(self, other: Lanes | float | int) -> Lanes:
        return self.compare(">=", other)

    def equals(self, other: Lanes | float | int) -> Lanes:
        return self.compare("==", other)

    def differs(self, other: Lanes | float | int) -> Lanes:
        return self.compare("!=", other)

    def is_nan(self) -> Lanes:
        return self.of(self.builder.fcmp_unordered("uno", self.value, self.value), types.boolean)

    def choose(self, then: Lanes | float | int, otherwise: Lanes | float | int) -> Lanes:
        """Lane by lane `then if self else otherwise`; both are evaluated."""
        like = then if isinstance(then, Lanes) else otherwise
        if not isinstance(like, Lanes):
            raise TypeError("one side of a choice must be lanes")
        return like.of(self.builder.select(self.value, like._operand(then), like._operand(otherwise)))


def constant_vector(element: ir.Type, numbers: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(element, len(numbers)), [ir.Constant(element, n) for n in numbers])


def splat(builder: ir.IRBuilder, scalar: ir.Value, count: int) -> ir.Value:
    """`count` copies of a scalar as a vector."""
    undefined = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, constant_vector(I32, [0] * count))


def shuffle(builder: ir.IRBuilder, left: ir.Value, right: ir.Value | None, order: Sequence[int]) -> ir.Value:
    """Elements of `left` then `right`, picked by `order`."""
    other: Any = ir.Constant(left.type, ir.Undefined) if right is None else right
    return builder.shuffle_vector(left, other, constant_vector(I32, order))
