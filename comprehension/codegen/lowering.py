"""Generated source to LLVM: the stages of a kernel, without numba's analysis.

In: the text of a generated module.  Out: an LLVM module with one C function for each stage.
Invariant: what numba makes of the same text does the same: names of `simd` and `vecmath` are typed and lowered by the
very functions that numba would call, operators by those registered for tiles.

The text is Python for numba, but a small part of it: every name has one type, loops are ranges, nothing is raised,
and types are known from the left to the right.  Numba's general way (bytecode, control flow, inference to a fixed
point, rewriting) takes ten times as long for that, most of a kernel's compilation.  What this page does not know, the
printer does not print: it is refused as a mistake of ours.
"""

from __future__ import annotations

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from comprehension.codegen import simd, vecmath
from comprehension.codegen.arithmetic import OPERATORS, elementwise, emit_floor_div, emit_floor_mod, same_dtype
from comprehension.codegen.extension import TYPED
from comprehension.codegen.lanes import I1, I64, Lanes, element_type
from comprehension.codegen.memory import BYTES, BufferType, Memory
from comprehension.codegen.tile import TileType

PARAMETERS = ("buffers", "dims", "scratch", "lo", "hi")

_BINARY: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_CONSTANT: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
}


class Unknown(Exception):
    """Text that no printer of ours prints."""


@dataclass(frozen=True, slots=True, eq=False)
class Typed:
    """An LLVM value and the numba type that it stands for; a literal's type holds its value."""

    type: types.Type
    value: ir.Value


class _Context:
    """What intrinsics ask of numba's target context."""

    @staticmethod
    def get_dummy_value() -> ir.Constant:
        return ir.Constant(BYTES, None)


def lower_module(name: str, text: str) -> ir.Module:
    """The LLVM module of a generated module.

    Raises Unknown, or numba's TypingError from an intrinsic: mistakes of ours.
    """
    module = ir.Module(name)
    for definition in ast.parse(text).body:
        if isinstance(definition, ast.FunctionDef):
            _Lowering(module, definition).run()
    return module


class _Lowering:
    """One function.  Names that are assigned once and read within that block are values, others places on the stack,
    which LLVM removes: a tile may be made under one guard and written under another that says the same."""

    def __init__(self, module: ir.Module, definition: ast.FunctionDef) -> None:
        self.definition = definition
        kinds = [BYTES.as_pointer(), I64.as_pointer(), BYTES, I64, I64]
        self.function = ir.Function(module, ir.FunctionType(I64, kinds), definition.name)
        self.entry = self.function.append_basic_block("entry")
        self.builder = ir.IRBuilder(self.function.append_basic_block("body"))
        given = (types.CPointer(types.voidptr), types.CPointer(types.int64), types.voidptr, types.int64, types.int64)
        if tuple(argument.arg for argument in definition.args.args) != PARAMETERS:
            raise Unknown(f"{definition.name} is no stage: its parameters are not {PARAMETERS}")
        found = zip(PARAMETERS, given, self.function.args, strict=True)
        self.names: dict[str, Typed] = {parameter: Typed(type_, value) for parameter, type_, value in found}
        self.places: dict[str, tuple[types.Type, ir.Value]] = {}
        times = Counter(_assigned(definition.body))
        self.values = {name for name, count in times.items() if count == 1} - _free(definition.body)[0]

    def run(self) -> None:
        first = self.builder.block
        self.body(self.definition.body)
        if not self.builder.block.is_terminated:
            raise Unknown(f"{self.definition.name} does not end in a return")
        ir.IRBuilder(self.entry).branch(first)

    # --- statements ---------------------------------------------------------------------------------------

    def body(self, statements: Sequence[ast.stmt]) -> None:
        outer = dict(self.names)
        for statement in statements:
            self.statement(statement)
        self.names = outer

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.assign(name, self.value(value))
            case ast.Assign(targets=[ast.Subscript(value=target, slice=index)], value=value):
                self.write(self.value(target), self.value(index), self.value(value))
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), body=body):
                self.loop(name, [self.value(bound) for bound in bounds], body)
            case ast.If(test=test, body=body, orelse=[]):
                condition = self.condition(test)
                with self.builder.if_then(condition):
                    self.body(body)
            case ast.Return(value=ast.expr() as value):
                self.builder.ret(self.value(value).value)
            case ast.Pass():
                pass
            case _:
                raise unknown(node)

    def assign(self, name: str, found: Typed) -> None:
        if name in self.values:
            self.names[name] = found
            return
        kind, known = types.unliteral(found.type), self.places.get(name)
        if known is None or (isinstance(kind, TileType) and known[0] != kind):  # axes of tiles of other extents
            with self.at_entry():
                self.places[name] = kind, self.builder.alloca(found.value.type, name=name)
        kind, place = self.places[name]
        self.builder.store(_as(kind, found), place)

    @contextmanager
    def at_entry(self) -> Iterator[None]:
        with self.builder.goto_block(self.entry):
            yield

    def write(self, target: Typed, index: Typed, found: Typed) -> None:
        memory = self.memory(target)
        memory.write(memory.address(_as(types.int64, index)), _as(memory.buffer.dtype, found))

    def loop(self, name: str, bounds: Sequence[Typed], body: Sequence[ast.stmt]) -> None:
        """Tested before the first and after every round."""
        build = self.builder
        start, stop = (_as(types.int64, bound) for bound in bounds[:2])
        step = _as(types.int64, bounds[2]) if len(bounds) == 3 else ir.Constant(I64, 1)
        inside, after = build.append_basic_block("loop"), build.append_basic_block("after")
        build.cbranch(build.icmp_signed("<", start, stop), inside, after)
        before = build.block
        build.position_at_end(inside)
        variable = build.phi(I64, name=name)
        variable.add_incoming(start, before)
        outer, place = self.names.get(name), self.places.pop(name, None)  # an axis of tiles may have this name
        self.names[name] = Typed(types.int64, variable)
        self.body(body)
        self.names.pop(name)
        if outer is not None:
            self.names[name] = outer
        if place is not None:
            self.places[name] = place
        following = build.add(variable, step, flags=("nsw",))
        variable.add_incoming(following, build.block)
        build.cbranch(build.icmp_signed("<", following, stop), inside, after)
        build.position_at_end(after)

    # --- values ---------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Typed:
        constant = _constant(node)
        if constant is not None:
            return Typed(types.literal(constant), ir.Constant(I64, constant))
        match node:
            case ast.Constant(value=bool(truth)):
                return Typed(types.boolean, ir.Constant(I1, int(truth)))
            case ast.Name(id=name):
                return self.name(name)
            case ast.Call():
                return self.call(node)
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.binary(op, self.value(left), self.value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.elementwise(operator.neg, self.value(operand))
            case ast.Subscript(value=target, slice=index):
                return self.read(self.value(target), self.value(index))
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return self.chosen(self.condition(test), lambda: self.value(then), lambda: self.value(otherwise))
            case ast.BoolOp(op=op, values=[first, *others]):
                return self.connected(isinstance(op, ast.And), first, others)
            case ast.Attribute(value=ast.Name(id="np"), attr=name):
                return Typed(types.NumberClass(_scalar_type(name)), ir.Constant(BYTES, None))
            case _:
                raise unknown(node)

    def name(self, name: str) -> Typed:
        if name in self.places:
            kind, place = self.places[name]
            return Typed(kind, self.builder.load(place))
        if name not in self.names:
            raise Unknown(f"{self.definition.name}: {name} has no value here")
        return self.names[name]

    def condition(self, node: ast.expr) -> ir.Value:
        return _as(types.boolean, self.value(node))

    def connected(self, every: bool, first: ast.expr, others: Sequence[ast.expr]) -> Typed:
        """`and` and `or`: a part is evaluated only where those before it do not decide."""
        if not others:
            return self.value(first)
        known = Typed(types.boolean, ir.Constant(I1, int(not every)))
        left = self.condition(first)

        def rest() -> Typed:
            return self.connected(every, others[0], others[1:])

        return self.chosen(left, rest, lambda: known) if every else self.chosen(left, lambda: known, rest)

    def chosen(self, condition: ir.Value, then: Callable[[], Typed], otherwise: Callable[[], Typed]) -> Typed:
        """The one side or the other; only that is evaluated."""
        ends = []
        with self.builder.if_else(condition) as branches:
            for branch, side in zip(branches, (then, otherwise), strict=True):
                with branch:
                    ends.append((side(), self.builder.block))
        (first, _), (second, _) = ends
        kind = types.unliteral(first.type)
        if kind != types.unliteral(second.type):
            raise Unknown(f"{self.definition.name}: a choice between {first.type} and {second.type}")
        joined = self.builder.phi(first.value.type)
        for found, block in ends:
            joined.add_incoming(found.value, block)
        return Typed(kind, joined)

    def binary(self, op: ast.AST, left: Typed, right: Typed) -> Typed:
        match op:
            case ast.FloorDiv():
                return self.emitted(emit_floor_div, None, left, right)
            case ast.Mod():
                return self.emitted(emit_floor_mod, None, left, right)
        if type(op) not in _BINARY:
            raise unknown(op)
        return self.elementwise(_BINARY[type(op)], left, right)

    def elementwise(self, op: Any, *operands: Typed) -> Typed:
        emit, result = OPERATORS[op]
        return self.emitted(emit, result, *operands)

    def emitted(self, emit: Callable[..., Lanes], result: types.Type | None, *operands: Typed) -> Typed:
        kinds = [types.unliteral(operand.type) for operand in operands]
        signature, generate = elementwise(emit, kinds, same_dtype(kinds) if result is None else result)
        same_dtype(kinds)
        made = generate(_Context, self.builder, signature, [operand.value for operand in operands])
        return Typed(signature.return_type, made)

    def read(self, target: Typed, index: Typed) -> Typed:
        at = _as(types.int64, index)
        if target.type == types.CPointer(types.int64):
            return Typed(types.int64, self.builder.load(self.builder.gep(target.value, [at])))
        memory = self.memory(target)
        return Typed(memory.buffer.dtype, memory.read(memory.address(at), 0))

    def memory(self, target: Typed) -> Memory:
        if not isinstance(target.type, BufferType):
            raise Unknown(f"{self.definition.name}: {target.type} has no elements")
        return Memory(self.builder, target.type, target.value)

    # --- calls ------------------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> Typed:
        match node.func:
            case ast.Attribute(value=ast.Name(id="np"), attr=name):
                return self.cast(_scalar_type(name), node.args[0])
            case ast.Attribute(value=ast.Name(id="vecmath"), attr=name):
                return self.intrinsic(getattr(vecmath, name), node.args)
            case ast.Name(id="min" | "max" as name):
                compare: Any = operator.lt if name == "min" else operator.gt
                first, second = (self.value(argument) for argument in node.args)
                better = self.elementwise(compare, first, second)
                return Typed(types.int64, self.builder.select(better.value, first.value, second.value))
            case ast.Name(id=name) if name in simd.__all__:
                return self.intrinsic(getattr(simd, name), node.args)
            case _:
                raise unknown(node)

    def intrinsic(self, function: Any, arguments: Sequence[ast.expr]) -> Typed:
        typing, keeps_literals = TYPED[function]
        found = [self.value(argument) for argument in arguments]
        kinds = [each.type if keeps_literals else types.unliteral(each.type) for each in found]
        signature, generate = typing(None, *kinds)
        values = [_as(wanted, each) for wanted, each in zip(signature.args, found, strict=True)]
        return Typed(signature.return_type, generate(_Context, self.builder, signature, values))

    def cast(self, kind: types.Type, node: ast.expr) -> Typed:
        """`np.float32(2.0)` is a constant; an integer or a truth value may also be computed."""
        number = _number(node)
        if number is not None:
            if isinstance(kind, types.Float):
                held = float(np.dtype(str(kind)).type(number))
                return Typed(kind, ir.Constant(element_type(kind), held))
            if isinstance(number, int):
                return Typed(kind, ir.Constant(element_type(kind), number))
        found = self.value(node)
        source = types.unliteral(found.type)
        if not (isinstance(source, types.Integer) and isinstance(kind, types.Integer)):
            raise unknown(node)
        signature, generate = TYPED[simd.convert][0](None, source, types.NumberClass(kind))
        return Typed(kind, generate(_Context, self.builder, signature, [found.value, None]))


def _free(statements: Sequence[ast.stmt]) -> tuple[set[str], set[str]]:
    """Names that a block reads without having them from itself: from outside, or from under a guard within it.
    And all names that it assigns.

    What a loop leaves behind is not among the first: it is nothing where the loop makes no round.
    """
    free: set[str] = set()
    bound: set[str] = set()
    assigned: set[str] = set()
    for statement in statements:
        match statement:
            case ast.For(target=ast.Name(id=name), iter=bounds, body=body):
                inner, made = _free(body)
                free |= (_read(bounds) | inner - {name}) - bound
                bound |= made
            case ast.If(test=test, body=body):
                inner, made = _free(body)
                free |= (_read(test) | inner) - bound
            case _:
                made = set(_assigned([statement]))
                free |= _read(statement) - bound
                bound |= made
        assigned |= made
    return free, assigned


def _read(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}


def _assigned(statements: Sequence[ast.stmt]) -> Iterator[str]:
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _as(kind: types.Type, found: Typed) -> ir.Value:
    """The value as what is wanted: nothing is converted unseen."""
    if found.type != kind and types.unliteral(found.type) != kind:
        raise Unknown(f"{kind} is wanted, {found.type} is there")
    return found.value


def _constant(node: ast.expr) -> int | None:
    """An integer that is written out, or computed from such."""
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _constant(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _CONSTANT:
            first = _constant(left)
            second = None if first is None else _constant(right)
            return None if first is None or second is None else _CONSTANT[type(op)](first, second)
    return None


def _number(node: ast.expr) -> float | int | None:
    """A number that is written out, with its sign; NaN and infinity have names."""
    match node:
        case ast.Constant(value=float(number)):
            return number
        case ast.Attribute(value=ast.Name(id="np"), attr="nan" | "inf" as name):
            return float(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand)
            return None if inner is None else -inner
    return _constant(node)


def _scalar_type(name: str) -> types.Type:
    found = types.boolean if name == "bool_" else getattr(types, name, None)
    if not isinstance(found, types.Number | types.Boolean):
        raise Unknown(f"np.{name} is no type of an element")
    return found


def unknown(node: ast.AST) -> Unknown:
    """What to raise for a part of a text."""
    text = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else type(node).__name__
    return Unknown(f"line {getattr(node, 'lineno', '?')}: {text}")
