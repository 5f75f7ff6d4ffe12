"""Integers, conditions and values of one thread as source text.

In: expressions of KernelIR.  Out: Python text for numba.cuda.
Invariant (DESIGN "Numerics"): literals are typed, integers are cast back after each operation, float products that
are added are not contracted unless the IR says `Fma`, only the chosen side of a selection reads memory.  A value of
type float16 is the float32 of the same value, rounded to float16 after each operation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from comprehension.codegen.cuda_source import Source
from comprehension.codegen.function import CodegenError
from comprehension.codegen.subscript import offset_of
from comprehension.kernel import ir
from comprehension.lang.types import ScalarType

_FLOATS = (ScalarType.FLOAT32, ScalarType.FLOAT64)


def libm_name(function: str, dtype: ScalarType) -> str:
    """The name in libdevice of a builtin: those of float32 (which holds float16, too) end in f.

    >>> libm_name("exp", ScalarType.FLOAT32), libm_name("cyl_bessel_i0", ScalarType.FLOAT64)
    ('expf', 'cyl_bessel_i0')
    """
    if function == "fdivide":
        return "ddiv_rn" if dtype is ScalarType.FLOAT64 else "fdiv_rn"
    return f"{function}f" if dtype in (ScalarType.FLOAT16, ScalarType.FLOAT32) else function


@dataclass(frozen=True, slots=True)
class Values:
    """Prints values and integers."""

    source: Source

    # --- integers -------------------------------------------------------------------------------------

    def integer(self, expr: ir.IntExpr) -> str:
        match expr:
            case ir.Int(value=value):
                return str(value)
            case ir.Var(name=name):
                return self.source.variable(name)
            case ir.IntOp(op="min" | "max" as op, left=left, right=right):
                return f"{op}({self.integer(left)}, {self.integer(right)})"
            case ir.IntOp(op="/" | "%" as op, left=left, right=right):
                return self._division(op, left, right)
            case ir.IntOp(op=op, left=left, right=right):
                return f"{self._part(left)} {op} {self._part(right)}"
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                return f"({self.integer(then)} if {self.condition(condition)} else {self.integer(otherwise)})"
            case ir.FromValue(value=value):
                return f"{self.source.use('int64')}({self.value(value)})"
        assert_never(expr)

    def _part(self, expr: ir.IntExpr) -> str:
        text = self.integer(expr)
        return f"({text})" if isinstance(expr, ir.IntOp) and expr.op in "+-*/%" else text

    def _division(self, op: str, left: ir.IntExpr, right: ir.IntExpr) -> str:
        if isinstance(right, ir.Int) and right.value > 0:
            return f"{self._part(left)} {'//' if op == '/' else op} {right.value}"
        wide = self.source.use("int64")
        name = self.source.use("floor_div" if op == "/" else "floor_mod")
        return f"{name}({wide}({self.integer(left)}), {wide}({self.integer(right)}))"

    def condition(self, condition: ir.Condition) -> str:
        match condition:
            case ir.Compare(op=op, left=left, right=right):
                return f"{self.integer(left)} {op} {self.integer(right)}"
            case ir.BoolOp(op=op, left=first, right=second):
                return f"({self.condition(first)}) {op} ({self.condition(second)})"
        assert_never(condition)

    # --- memory ---------------------------------------------------------------------------------------

    def read(self, buffer: str, subscripts: tuple[ir.IntExpr, ...], dtype: ScalarType) -> str:
        """The value of an element."""
        text = self.element(buffer, subscripts)
        return text if self.source.is_variable(buffer) else self.loaded(text, dtype)

    def written(self, buffer: str, text: str, dtype: ScalarType) -> str:
        """A value as an element of the buffer holds it."""
        return text if self.source.is_variable(buffer) else self.stored(text, dtype)

    def element(self, buffer: str, subscripts: tuple[ir.IntExpr, ...]) -> str:
        """`name[offset]`, an element of flat memory; `name` of a scalar in a register."""
        if self.source.is_variable(buffer):
            return self.source.buffer(buffer)
        offset = self.integer(offset_of(self.source.kernel.buffer(buffer), subscripts))
        if buffer in self.source.offsets:
            offset = f"{self.source.offsets[buffer]} + {offset}"
        return f"{self.source.buffer(buffer)}[{offset}]"

    def loaded(self, text: str, dtype: ScalarType) -> str:
        """What stands in memory, or in an argument, as a value."""
        if dtype is ScalarType.BOOL:
            return f"({text} != 0)"
        return f"{self.source.use('from_half')}({text})" if dtype is ScalarType.FLOAT16 else text

    def stored(self, text: str, dtype: ScalarType) -> str:
        """A value as it stands in memory."""
        match dtype:
            case ScalarType.BOOL:
                return f"{self.source.use('uint8')}({text})"
            case ScalarType.FLOAT16:
                return f"{self.source.use('to_half')}({text})"
            case _:
                return text

    # --- values -----------------------------------------------------------------------------------------

    def value(self, value: ir.Value, *, added: bool = False) -> str:
        """`added`: the value may be added to another one, so that a product must be rounded by itself."""
        match value:
            case ir.Const(value=number, dtype=dtype):
                return self.literal(number, dtype)
            case ir.Load(buffer=buffer, subscripts=subscripts, dtype=dtype):
                return self.read(buffer, subscripts, dtype)
            case ir.Local(name=name):
                return self.source.name("value", name)
            case ir.ScalarArg(name=name, dtype=dtype):
                return self.loaded(self.source.name("scalar", name), dtype)
            case ir.IndexValue(index=index, dtype=dtype):
                return f"{self.source.use(dtype.value)}({self.integer(index)})"
            case ir.UnaryOp(op=op, operand=operand, dtype=dtype):
                inner = self.value(operand, added=added)
                return f"(not {inner})" if op == "!" else self._wrapped(f"(-{inner})", dtype)
            case ir.BinaryOp():
                return self._binary(value, added=added)
            case ir.Fma(a=a, b=b, c=c, dtype=dtype):
                return self._called("fma", (a, b, c), dtype)
            case ir.SelectValue(condition=condition, then=then, otherwise=otherwise):
                sides = self.value(then, added=added), self.value(otherwise, added=added)
                return f"({sides[0]} if {self.value(condition)} else {sides[1]})"
            case ir.Convert(operand=operand, dtype=dtype):
                return self._converted(self.value(operand, added=added), operand.dtype, dtype)
            case ir.Builtin(function=function, arguments=arguments, dtype=dtype):
                return self._called(function, arguments, dtype)
            case ir.Fold():
                raise CodegenError("a fold: threads are made from plain loops")
        assert_never(value)

    def literal(self, number: float, dtype: ScalarType) -> str:
        if dtype is ScalarType.BOOL:
            return str(bool(number))
        name = self.source.use("float32" if dtype is ScalarType.FLOAT16 else dtype.value)
        if math.isfinite(number):
            return f"{name}({float(np.float16(number)) if dtype is ScalarType.FLOAT16 else number!r})"
        return f"{name}({'-' if number < 0 else ''}np.{'nan' if math.isnan(number) else 'inf'})"

    def _converted(self, text: str, source: ScalarType, dtype: ScalarType) -> str:
        if source is dtype or (source, dtype) == (ScalarType.FLOAT16, ScalarType.FLOAT32):
            return text
        if dtype is ScalarType.BOOL:
            return f"({text} != 0)"
        if dtype is ScalarType.FLOAT16:
            inner = text if source.is_float else f"{self.source.use('float32')}({text})"
            return f"{self.source.use('half')}({inner})"
        truncates = source.is_float and dtype.is_integer
        return f"{self.source.use(f'trunc_{dtype}' if truncates else dtype.value)}({text})"

    def _wrapped(self, text: str, dtype: ScalarType) -> str:
        """The result of an operator back in its type."""
        if dtype is ScalarType.FLOAT16:
            return f"{self.source.use('half')}({text})"
        return f"{self.source.use(dtype.value)}({text})" if dtype.is_integer else text

    def _called(self, function: str, arguments: tuple[ir.Value, ...], dtype: ScalarType) -> str:
        parts = ", ".join(self.value(part) for part in arguments)
        text = f"{self.source.use('libm')}.{libm_name(function, dtype)}({parts})"
        return self._wrapped(text, dtype) if dtype is ScalarType.FLOAT16 else text

    def _binary(self, value: ir.BinaryOp, *, added: bool) -> str:
        op, dtype = value.op, value.dtype
        if op in ("&&", "||"):
            word = "and" if op == "&&" else "or"
            return f"({self.value(value.left)} {word} {self.value(value.right)})"
        if op == "*" and added and dtype in _FLOATS:
            name = "fmul_rn" if dtype is ScalarType.FLOAT32 else "dmul_rn"
            return f"{self.source.use('libm')}.{name}({self.value(value.left)}, {self.value(value.right)})"
        sums = op in ("+", "-")
        return self.combined(op, self.value(value.left, added=sums), self.value(value.right, added=sums), dtype)

    def combined(self, op: str, left: str, right: str, dtype: ScalarType) -> str:
        """`left op right` of two texts, in the type of the result."""
        if op in ("min", "max"):
            return f"{self.source.use(op + 'imum')}({left}, {right})"
        if op in ("/", "%") and dtype.is_integer:
            return f"{self.source.use('floor_div' if op == '/' else 'floor_mod')}({left}, {right})"
        return self._wrapped(f"({left} {op} {right})", dtype)
