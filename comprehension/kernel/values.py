"""The right sides of statements as KernelIR values.

In: typed expressions of a LoopStatement and the statement instance's point (an IntExpr per index).
Out: `Value`s whose loads carry the access numbers of the Scop; `Define`s for lets.
Invariant: accesses are met in the order of `poly.scop.reads_in_order`, which numbers them.  A let that is an integer of
indices, sizes and scalars is exact where it stands in a subscript, and wraps in its type where it is a value;
conditions in subscripts are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from comprehension.kernel import ir
from comprehension.kernel.choice import negated
from comprehension.kernel.simplify import NO_RANGES, Ranges, bounds_of, linear, simplify
from comprehension.lang import tree
from comprehension.lang.limits import LARGEST_OFFSET
from comprehension.lang.loops import LoopProgram, LoopStatement, TensorInfo
from comprehension.lang.types import ScalarType
from comprehension.layout import Step

Place = Callable[[str, tuple[ir.IntExpr, ...], int], tuple[str, tuple[ir.IntExpr, ...]]]
"""Where an access finds an element of a tensor: in the tensor itself, or in a local buffer that stands for it."""


def in_memory(tensor: str, subscripts: tuple[ir.IntExpr, ...], access: int) -> tuple[str, tuple[ir.IntExpr, ...]]:
    return tensor, subscripts


@dataclass(slots=True)
class ValueBuilder:
    """Translates one statement instance.  `names` holds indices at their point, and integer lets as subscripts.

    `locals` are the lets that are values, `reading` those of them that read a tensor.
    """

    program: LoopProgram
    source: LoopStatement
    names: dict[str, ir.IntExpr]
    ranges: Ranges = field(default_factory=lambda: NO_RANGES)
    place: Place = in_memory
    contract: bool = False  # a * b + c may become one fused operation
    next_access: int = 1
    suffix: str = ""  # of the names of lets
    defines: list[ir.Define] = field(default_factory=list)
    locals: dict[str, ir.Local] = field(default_factory=dict)
    reading: set[str] = field(default_factory=set)
    wrapping: dict[str, ir.Define | tree.Expr] = field(default_factory=dict)  # lets of indices: as values, once used

    def statement(self, suffix: str) -> tuple[tuple[ir.IntExpr, ...], ir.Value]:
        """The target's subscripts and the value to store (without the reduction); fills `defines`."""
        self.suffix = suffix
        for let in self.source.lets:
            self.define_let(let, f"{let.name}{suffix}")
        subscripts = tuple(self.integer(s) for s in self.source.subscripts)
        return subscripts, self.value(self.source.value)

    def define_let(self, let: tree.Let, name: str) -> None:
        dtype = let.value.dtype
        assert dtype is not None
        if self._reads_memory(let.value):
            self.reading.add(let.name)
        elif dtype.is_integer:  # substituted, so that subscripts stay affine
            is_plain = self._is_index(let.value)
            self.names[let.name] = self.integer(let.value)
            if not is_plain:
                self.wrapping[let.name] = let.value
            return
        self.defines.append(ir.Define(name, self.value(let.value)))
        self.locals[let.name] = ir.Local(name, dtype)

    # --- integers -----------------------------------------------------------------------------------

    def integer(self, expr: tree.Expr) -> ir.IntExpr:
        return simplify(self._integer(expr), self.ranges)

    def _integer(self, expr: tree.Expr) -> ir.IntExpr:
        if self._reads_memory(expr):
            return self._integer_from_memory(expr)
        match expr:
            case tree.Number(value=value):
                return ir.Int(int(value))
            case tree.Name(id=name):
                return self.names.get(name, ir.Var(name))
            case tree.SizeOf(tensor=tensor, axis=axis):
                return self._integer(self.program.tensor(tensor).shape[axis])
            case tree.Unary(op="-", operand=operand):
                return ir.IntOp("-", ir.Int(0), self._integer(operand))
            case tree.Binary(op="+" | "-" | "*" | "/" | "%" as op, left=left, right=right):
                return ir.IntOp(op, self._integer(left), self._integer(right))
            case tree.Call(function="min" | "max" as op, arguments=(left, right)):
                return ir.IntOp(op, self._integer(left), self._integer(right))
            case tree.Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and tree.is_integral(operand):
                return self._integer(operand)
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                return ir.IntSelect(self._condition(condition), self._integer(then), self._integer(otherwise))
            case _:
                return ir.FromValue(self.value(expr))

    def _reads_memory(self, expr: tree.Expr) -> bool:
        return any(
            isinstance(node, tree.Access) or (isinstance(node, tree.Name) and node.id in self.reading)
            for node in tree.walk(expr)
        )

    def _integer_from_memory(self, expr: tree.Expr) -> ir.IntExpr:
        """An indirect subscript: computed as a value, so that it wraps in its own type.

        An index added to it or subtracted is taken apart, so that the address is seen to move with it: where such a sum
        wrapped, the subscript is outside of its tensor in any case.
        """
        match expr:
            case tree.Binary(op="+" | "-" as op, left=left, right=right):
                if self._is_offset(left) or self._is_offset(right):
                    return ir.IntOp(op, self._integer(left), self._integer(right))
        return ir.FromValue(self.value(expr))

    def _is_offset(self, expr: tree.Expr) -> bool:
        """An index, or a sum of some, that is not seen to be large."""
        if isinstance(expr, tree.Cast) and expr.to is ScalarType.INT64:
            expr = expr.operand
        if not self._is_index(expr):
            return False
        low, high = bounds_of(linear(self._integer(expr), self.ranges), self.ranges)
        return (low is None or low >= -LARGEST_OFFSET) and (high is None or high <= LARGEST_OFFSET)

    def _condition(self, expr: tree.Expr) -> ir.Condition:
        """An exact condition that reads no tensor; what it compares besides integers is a value."""
        match expr:
            case tree.Binary(op="&&" | "||" as op, left=left, right=right):
                return ir.BoolOp("and" if op == "&&" else "or", self._condition(left), self._condition(right))
            case tree.Unary(op="!", operand=operand):
                return negated(self._condition(operand))
            case tree.Binary(op="<" | "<=" | "==" | "!=" as op, left=left, right=right) if tree.is_integral(left):
                return ir.Compare(op, self._integer(left), self._integer(right))
            case tree.Binary(op=">" | ">=" as op, left=left, right=right) if tree.is_integral(left):
                return ir.Compare("<" if op == ">" else "<=", self._integer(right), self._integer(left))
            case _:
                truth = ir.Convert(self.value(expr), ScalarType.INT32)
                return ir.Compare("!=", ir.FromValue(truth), ir.Int(0))

    # --- values -------------------------------------------------------------------------------------

    def value(self, expr: tree.Expr) -> ir.Value:
        dtype = expr.dtype
        assert dtype is not None, f"untyped expression {expr}"
        if isinstance(expr, tree.Binary | tree.Unary) and self._is_index(expr):
            return ir.IndexValue(self.integer(expr), dtype)
        match expr:
            case tree.Number(value=value):
                return ir.Const(value, dtype)
            case tree.Name(id=name):
                return self._name(name, dtype)
            case tree.SizeOf():
                return ir.IndexValue(self.integer(expr), dtype)
            case tree.Access(tensor=tensor, subscripts=subscripts):
                number = self.next_access
                self.next_access += 1
                where = tuple(self.integer(s) for s in subscripts)
                buffer, local = self.place(tensor, where, number)
                return ir.Load(buffer, local, dtype, number)
            case tree.Unary(op=op, operand=operand):
                return ir.UnaryOp(op, self.value(operand), dtype)
            case tree.Binary(op=op, left=left, right=right):
                return self._binary(op, self.value(left), self.value(right), dtype)
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                return ir.SelectValue(self.value(condition), self.value(then), self.value(otherwise), dtype)
            case tree.Cast(operand=operand):
                return ir.Convert(self.value(operand), dtype)
            case tree.Call(function="min" | "max" as op, arguments=(left, right)):
                return ir.BinaryOp(op, self.value(left), self.value(right), dtype)
            case tree.Call(function=function, arguments=arguments):
                return ir.Builtin(function, tuple(self.value(a) for a in arguments), dtype)
        assert_never(expr)

    def _is_index(self, expr: tree.Expr) -> bool:
        """Sums, differences and multiples of indices and sizes: computed as one integer."""
        match expr:
            case tree.Name(id=name):
                return (name in self.names and name not in self.wrapping) or name in self.program.sizes
            case tree.Number(value=value):
                return isinstance(value, int)
            case tree.Unary(op="-", operand=operand, dtype=ScalarType.INT32):
                return self._is_index(operand)
            case tree.Binary(op="+" | "-", left=left, right=right, dtype=ScalarType.INT32):
                return self._is_index(left) and self._is_index(right)
            case tree.Binary(op="*", left=left, right=right, dtype=ScalarType.INT32):
                scaled = isinstance(left, tree.Number) or isinstance(right, tree.Number)
                return scaled and self._is_index(left) and self._is_index(right)
            case _:
                return False

    def _name(self, name: str, dtype: ScalarType) -> ir.Value:
        if name in self.locals:
            return self.locals[name]
        if name in self.wrapping:
            return self._wrapped(name, dtype)
        if any(scalar.name == name for scalar in self.program.scalars):
            return ir.ScalarArg(name, dtype)
        return ir.IndexValue(simplify(self.names.get(name, ir.Var(name)), self.ranges), dtype)

    def _wrapped(self, name: str, dtype: ScalarType) -> ir.Value:
        """A let of indices as a value, named where it is first used as one."""
        known = self.wrapping[name]
        if not isinstance(known, ir.Define):
            known = self.wrapping[name] = ir.Define(f"{name}{self.suffix}", self.value(known))
            self.defines.append(known)
        return ir.Local(known.name, dtype)

    def _binary(self, op: tree.BinaryOp, left: ir.Value, right: ir.Value, dtype: ScalarType) -> ir.Value:
        if op == "+" and self.contract and dtype.is_float:
            return fused_add(left, right, dtype)
        return ir.BinaryOp(op, left, right, dtype)


def fused_add(left: ir.Value, right: ir.Value, dtype: ScalarType) -> ir.Value:
    """left + right, contracted where one of them is a product of the same type."""
    for product, other in ((right, left), (left, right)):
        if isinstance(product, ir.BinaryOp) and product.op == "*" and product.dtype is dtype:
            return ir.Fma(product.left, product.right, other, dtype)
    return ir.BinaryOp("+", left, right, dtype)


def identity(op: tree.ReduceOp, dtype: ScalarType) -> ir.Const:
    """What a reduction starts from."""
    if op == "+":
        return ir.Const(0.0 if dtype.is_float else 0, dtype)
    if op == "*":
        return ir.Const(1.0 if dtype.is_float else 1, dtype)
    largest = op == "min"
    if dtype.is_float:
        return ir.Const(float("inf") if largest else float("-inf"), dtype)
    if dtype is ScalarType.BOOL:
        return ir.Const(largest, dtype)
    bits = dtype.bits - dtype.is_signed
    lowest = -(1 << bits) if dtype.is_signed else 0
    return ir.Const((1 << bits) - 1 if largest else lowest, dtype)


def combine(op: tree.ReduceOp, target: ir.Value, value: ir.Value, dtype: ScalarType, *, contract: bool) -> ir.Value:
    """target <op> value, as the reduction's update stores it."""
    if op == "+" and contract and dtype.is_float:
        return fused_add(target, value, dtype)
    return ir.BinaryOp(op, target, value, dtype)


def shape_of(program: LoopProgram, shape: tuple[tree.Expr, ...]) -> tuple[ir.IntExpr, ...]:
    names: Mapping[str, ir.IntExpr] = {}
    builder = ValueBuilder(program, program.statements[0], dict(names))
    return tuple(builder.integer(size) for size in shape)


def strides_of(program: LoopProgram, tensor: TensorInfo) -> tuple[ir.IntExpr, ...] | None:
    """The strides of a tensor in elements; None for dense rows."""
    if tensor.layout is None:
        return None
    shape = shape_of(program, tensor.shape)
    return tuple(
        _stride(step, shape) if step.exact else ir.stride_variable(tensor.name, axis)
        for axis, step in enumerate(tensor.layout)
    )


def _stride(step: Step, shape: Sequence[ir.IntExpr]) -> ir.IntExpr:
    stride: ir.IntExpr = ir.Int(step.sign)
    for axis in step.over if step.sign else ():
        stride = ir.IntOp("*", stride, shape[axis])
    return simplify(stride)
