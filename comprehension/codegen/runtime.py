"""The loops of our own runtime to LLVM: functions whose every value is one 64-bit word.

In: the text of a module (`jit.pool_loops`, say) and its names.  Out: an LLVM module in which its entries are visible.
Invariant: what Python makes of the same text does the same while no value leaves int64, nothing is divided by zero and
no name is read before it has a value.

The text is Python of a small kind: functions of words that call each other and the intrinsics of `jit.native`,
constants of the module, loops, choices.  A comparison is a truth value, which is a word (0 or 1) where one is wanted.
There are no types to be found out, which is what makes numba's general way long; what this page does not know is
refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types

from comprehension.codegen.arithmetic import emit_floor_div, emit_floor_mod
from comprehension.codegen.extension import TYPED
from comprehension.codegen.lanes import I1, I64, Lanes
from comprehension.codegen.lowering import Unknown, unknown

_ARITHMETIC: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
}
_COMPARISONS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def lower_loops(name: str, text: str, names: Mapping[str, Any], entries: Iterable[str]) -> ir.Module:
    """The LLVM module of a text; `names` are those of the module that Python makes of it.

    Raises Unknown with the line of what is not of the kind above.
    """
    module = ir.Module(name)
    functions: dict[str, ir.Function] = {}
    definitions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    for node in definitions:
        kind = ir.FunctionType(I64, [I64] * len(node.args.args))
        functions[node.name] = function = ir.Function(module, kind, node.name)
        function.linkage = "" if node.name in entries else "internal"
    for node in definitions:
        _Lowering(node, functions, names).run()
    return module


@dataclass(frozen=True, slots=True)
class _Loop:
    """Where `continue` and `break` go."""

    following: ir.Block
    after: ir.Block


class _Lowering:
    """One function.  All its names are places on the stack, which LLVM removes."""

    def __init__(self, node: ast.FunctionDef, functions: Mapping[str, ir.Function], names: Mapping[str, Any]) -> None:
        self.node, self.functions, self.globals = node, functions, names
        function = functions[node.name]
        entry = function.append_basic_block("entry")
        self.first = function.append_basic_block("body")
        self.build, self.entry = ir.IRBuilder(self.first), ir.IRBuilder(entry)
        self.places: dict[str, ir.Value] = {}
        self.loops: list[_Loop] = []
        for argument, value in zip(node.args.args, function.args, strict=True):
            self.entry.store(value, self.place(argument.arg))
        for name in sorted(_assigned(node)):
            self.place(name)

    def run(self) -> None:
        self.body(self.node.body)
        if not self.build.block.is_terminated:
            if not _returns_nothing(self.node):
                raise Unknown(f"{self.node.name} does not end in a return")
            self.build.ret(_word(0))
        self.entry.position_at_end(self.entry.block)  # behind what intrinsics have put there
        self.entry.branch(self.first)

    def place(self, name: str) -> ir.Value:
        if name not in self.places:
            self.places[name] = self.entry.alloca(I64, name=name)
        return self.places[name]

    # --- statements ---------------------------------------------------------------------------------------

    def body(self, statements: Sequence[ast.stmt]) -> None:
        """The statements up to the first that leaves the block."""
        for statement in statements:
            if self.build.block.is_terminated:
                return
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                found = [self.word(value) for value in values]
                for target, value in zip(targets, found, strict=True):
                    self.assign(target, value)
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                self.assign(target, self.word(value))
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                self.assign(target, self.arithmetic(op, self.name(name, node), self.word(value)))
            case ast.Expr(value=ast.Call() as call):
                self.call(call)
            case ast.If(test=test, body=body, orelse=otherwise):
                self.choice(test, body, otherwise)
            case ast.While(test=test, body=body, orelse=[]):
                self.repeat(test, body)
            case ast.For(target=target, iter=ast.Call(func=ast.Name(id="range"), args=bounds), body=body, orelse=[]):
                self.count(target, bounds, body)
            case ast.Return(value=value):
                self.build.ret(_word(0) if value is None else self.word(value))
            case ast.Break() if self.loops:
                self.build.branch(self.loops[-1].after)
            case ast.Continue() if self.loops:
                self.build.branch(self.loops[-1].following)
            case ast.Pass() | ast.Expr(value=ast.Constant(value=str())):
                pass
            case _:
                raise unknown(node)

    def assign(self, target: ast.expr, value: ir.Value) -> None:
        if not isinstance(target, ast.Name):
            raise unknown(target)
        self.build.store(value, self.place(target.id))

    def choice(self, test: ast.expr, body: Sequence[ast.stmt], otherwise: Sequence[ast.stmt]) -> None:
        build, condition = self.build, self.truth(test)
        blocks = [build.append_basic_block(name) for name in ("then", "else")]
        build.cbranch(condition, *blocks)
        ends = []
        for block, statements in zip(blocks, (body, otherwise), strict=True):
            build.position_at_end(block)
            self.body(statements)
            if not build.block.is_terminated:
                ends.append(build.block)
        if not ends:  # all that follows is never reached: the block that is current has its end
            return
        after = build.append_basic_block("after")
        for end in ends:
            build.position_at_end(end)
            build.branch(after)
        build.position_at_end(after)

    def repeat(self, test: ast.expr, body: Sequence[ast.stmt]) -> None:
        build = self.build
        begin, inside, after = (build.append_basic_block(name) for name in ("while", "inside", "after"))
        build.branch(begin)
        build.position_at_end(begin)
        is_endless = isinstance(test, ast.Constant) and test.value is True
        if is_endless:
            build.branch(inside)
        else:
            build.cbranch(self.truth(test), inside, after)
        self.rounds(inside, body, _Loop(begin, after))
        if is_endless and not _breaks(body):
            build.unreachable()

    def count(self, target: ast.expr, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """`for target in range(...)`, with a step that is a positive number of the text."""
        build = self.build
        match bounds:
            case [stop]:
                first, last, step = _word(0), self.word(stop), 1
            case [start, stop]:
                first, last, step = self.word(start), self.word(stop), 1
            case [start, stop, ast.Constant(value=int(step))] if step > 0:
                first, last = self.word(start), self.word(stop)
            case _:
                raise Unknown(f"line {target.lineno}: a range with other bounds than words, or another step")
        begin, inside, following, after = (
            build.append_basic_block(name) for name in ("for", "inside", "following", "after")
        )
        before = build.block
        build.branch(begin)
        build.position_at_end(begin)
        number = build.phi(I64)
        number.add_incoming(first, before)
        build.cbranch(build.icmp_signed("<", number, last), inside, after)
        build.position_at_end(inside)
        self.assign(target, number)
        build.position_at_end(following)
        number.add_incoming(build.add(number, _word(step)), following)
        build.branch(begin)
        self.rounds(inside, body, _Loop(following, after))

    def rounds(self, inside: ir.Block, body: Sequence[ast.stmt], loop: _Loop) -> None:
        """The body of a loop; what comes after it goes on behind the loop."""
        self.build.position_at_end(inside)
        self.loops.append(loop)
        self.body(body)
        self.loops.pop()
        if not self.build.block.is_terminated:
            self.build.branch(loop.following)
        self.build.position_at_end(loop.after)

    # --- values ---------------------------------------------------------------------------------------------

    def word(self, node: ast.expr) -> ir.Value:
        value = self.value(node)
        return self.build.zext(value, I64) if value.type == I1 else value

    def truth(self, node: ast.expr) -> ir.Value:
        """The node as a condition: of parts, one is computed only where those before it do not decide."""
        match node:
            case ast.BoolOp(op=op, values=[first, *others]):
                value = self.truth(first)
                for other in others:
                    value = self.connected(isinstance(op, ast.And), value, other)
                return value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.build.not_(self.truth(operand))
        value = self.value(node)
        return value if value.type == I1 else self.build.icmp_signed("!=", value, _word(0))

    def connected(self, every: bool, left: ir.Value, right: ast.expr) -> ir.Value:
        known = ir.Constant(I1, int(not every))
        if every:
            return self.chosen(left, lambda: self.truth(right), lambda: known)
        return self.chosen(left, lambda: known, lambda: self.truth(right))

    def value(self, node: ast.expr) -> ir.Value:
        match node:
            case ast.Constant(value=bool(truth)):
                return ir.Constant(I1, int(truth))
            case ast.Constant(value=int(number)):
                return _word(number)
            case ast.Name(id=name):
                return self.name(name, node)
            case ast.Call():
                return self.call(node)
            case ast.BinOp(left=left, op=op, right=right):
                return self.arithmetic(op, self.word(left), self.word(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.build.neg(self.word(operand))
            case ast.UnaryOp(op=ast.Not()) | ast.BoolOp() if _is_truth(node):
                return self.truth(node)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return self.build.icmp_signed(_COMPARISONS[type(op)], self.word(left), self.word(right))
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return self.chosen(self.truth(test), lambda: self.word(then), lambda: self.word(otherwise))
            case _:
                raise unknown(node)

    def name(self, name: str, node: ast.AST) -> ir.Value:
        if name in self.places:
            return self.build.load(self.places[name])
        if isinstance(value := self.globals.get(name), int):
            return _word(value)
        raise Unknown(f"line {getattr(node, 'lineno', '?')}: {name} is no word")

    def chosen(self, condition: ir.Value, then: Callable[[], ir.Value], otherwise: Callable[[], ir.Value]) -> ir.Value:
        """The one side or the other; only that is computed."""
        ends = []
        with self.build.if_else(condition) as branches:
            for branch, side in zip(branches, (then, otherwise), strict=True):
                with branch:
                    ends.append((side(), self.build.block))
        joined = self.build.phi(ends[0][0].type)
        for value, block in ends:
            joined.add_incoming(value, block)
        return joined

    def arithmetic(self, op: ast.AST, left: ir.Value, right: ir.Value) -> ir.Value:
        match op:
            case ast.FloorDiv() | ast.Mod():
                emit = emit_floor_div if isinstance(op, ast.FloorDiv) else emit_floor_mod
                return emit(*(Lanes(self.build, word, types.int64) for word in (left, right))).value
        if type(op) not in _ARITHMETIC:
            raise unknown(op)
        return getattr(self.build, _ARITHMETIC[type(op)])(left, right)

    # --- calls ----------------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> ir.Value:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise unknown(node)
        name, values = node.func.id, [self.word(argument) for argument in node.args]
        if name in ("min", "max") and len(values) > 1 and name not in self.globals:
            return self.extreme("<" if name == "min" else ">", values)
        function = self.functions.get(name)
        if function is not None:
            if len(values) != len(function.args):
                raise Unknown(f"line {node.lineno}: {name} takes {len(function.args)} words, not {len(values)}")
            return self.build.call(function, values)
        try:
            typing, _ = TYPED[self.globals[name]]
        except (KeyError, TypeError):
            raise unknown(node) from None
        signature, generate = typing(None, *[types.int64] * len(values))
        return generate(None, self.build, signature, values)

    def extreme(self, comparison: str, values: Sequence[ir.Value]) -> ir.Value:
        best, *others = values
        for other in others:
            best = self.build.select(self.build.icmp_signed(comparison, other, best), other, best)
        return best


def _word(value: int) -> ir.Constant:
    return ir.Constant(I64, int(value))


def _assigned(definition: ast.FunctionDef) -> set[str]:
    nodes = ast.walk(definition)
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _returns_nothing(definition: ast.FunctionDef) -> bool:
    return isinstance(definition.returns, ast.Constant) and definition.returns.value is None


def _is_truth(node: ast.expr) -> bool:
    """Whether a node is True or False, and no other word: then `and` and `or` of such are, too."""
    match node:
        case ast.BoolOp(values=values):
            return all(map(_is_truth, values))
        case ast.Compare() | ast.UnaryOp(op=ast.Not()) | ast.Constant(value=bool()):
            return True
    return False


def _breaks(statements: Sequence[ast.stmt]) -> bool:
    """Whether a `break` among the statements leaves the loop that they are the body of."""
    for statement in statements:
        match statement:
            case ast.Break():
                return True
            case ast.If(body=body, orelse=otherwise) if _breaks(body) or _breaks(otherwise):
                return True
    return False
