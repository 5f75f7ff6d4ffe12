"""Schedule tree to KernelIR: walks isl's AST and realises what the marks decided.

In: a Scop and a ScheduleTree.  Out: a `Kernel`, one `Stage` per stage mark.
Invariant: nothing here looks at what a statement computes: the order comes from the AST, the realisation of
loops and tensors from the decisions, the values from the statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from comprehension.kernel import ir
from comprehension.kernel.simplify import bounds_of, linear, simplify, simplify_condition
from comprehension.kernel.values import ValueBuilder, combine, identity, shape_of
from comprehension.lang.loops import LoopProgram, Role
from comprehension.poly import isl
from comprehension.poly.ast import condition_of, generate_ast, int_expr
from comprehension.poly.schedule_tree import ScheduleTree, StageMark
from comprehension.poly.scop import Scop, ScopRole

Math = Literal["fast", "strict"]

_SPACES = {
    Role.INPUT: ir.Space.INPUT,
    Role.OUTPUT: ir.Space.OUTPUT,
    Role.ACCUMULATED: ir.Space.OUTPUT,
    Role.TEMPORARY: ir.Space.WORKSPACE,
}


def build_kernel(scop: Scop, tree: ScheduleTree, math: Math = "fast") -> ir.Kernel:
    """The kernel that runs the schedule."""
    program = scop.program
    walker = _Walker(scop, tree, math)
    stages = walker.stages(generate_ast(tree, scop.context))
    return ir.Kernel(
        name=program.name,
        sizes=program.sizes,
        scalars=tuple((s.name, s.dtype) for s in program.scalars),
        buffers=tuple(_buffers(program)),
        stages=tuple(stages),
    )


def _buffers(program: LoopProgram) -> Sequence[ir.Buffer]:
    return [ir.Buffer(t.name, t.dtype, shape_of(program, t.shape), _SPACES[t.role]) for t in program.tensors]


@dataclass(slots=True)
class _Scope:
    """What is known at a place of the AST: loops around it (outer first) and ranges of their variables."""

    dims: list[ir.IntExpr] = field(default_factory=list)
    names: dict[str, ir.IntExpr] = field(default_factory=dict)
    ranges: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)

    def inside(self, iterator: str, value: ir.IntExpr, bounds: tuple[int | None, int | None] | None) -> _Scope:
        names = self.names if value == ir.Var(iterator) else {**self.names, iterator: value}
        ranges = self.ranges if bounds is None else {**self.ranges, iterator: bounds}
        return _Scope([*self.dims, value], names, ranges)


class _Walker:
    def __init__(self, scop: Scop, tree: ScheduleTree, math: Math) -> None:
        self.scop = scop
        self.tree = tree
        self.program = scop.program
        self.contract = math == "fast"

    # --- stages -------------------------------------------------------------------------------------

    def stages(self, root: isl.AstNode) -> list[ir.Stage]:
        """One stage per stage mark at the top of the AST, in order."""
        stages: list[ir.Stage] = []
        for node in _flattened(root):
            if node.get_type() != isl.ast_node_type.mark:
                raise ValueError(f"a statement outside of every stage: {node.to_C_str()}")
            decision = self.tree.decisions[node.mark_get_id().get_name()]
            assert isinstance(decision, StageMark)
            stages.append(self._stage(f"stage{len(stages)}", decision, node.mark_get_node()))
        return stages

    def _stage(self, name: str, decision: StageMark, node: isl.AstNode) -> ir.Stage:
        scope = _Scope(ranges=dict.fromkeys(self.program.sizes, (0, None)))
        body = self.nodes(node, scope)
        if decision.parallel and len(body) == 1 and isinstance(loop := body[0], ir.Loop):
            header = ir.Loop(loop.variable, loop.lower, loop.upper, (), loop.step)
            return ir.Stage(name, loop.body, header, decision.grain)
        return ir.Stage(name, tuple(body))

    # --- nodes --------------------------------------------------------------------------------------

    def nodes(self, node: isl.AstNode, scope: _Scope) -> list[ir.Node]:
        match node.get_type():
            case isl.ast_node_type.block:
                children = node.block_get_children()
                return [n for i in range(children.n_ast_node()) for n in self.nodes(children.get_at(i), scope)]
            case isl.ast_node_type.for_:
                return self._loop(node, scope)
            case isl.ast_node_type.if_:
                return self._branch(node, scope)
            case isl.ast_node_type.mark:
                return self.nodes(node.mark_get_node(), scope)
            case isl.ast_node_type.user:
                return list(self._instance(node.user_get_expr(), scope))
        raise ValueError(f"unknown AST node {node.to_C_str()}")

    def _loop(self, node: isl.AstNode, scope: _Scope) -> list[ir.Node]:
        iterator = node.for_get_iterator().id_get_id().get_name()
        lower = simplify(int_expr(node.for_get_init(), scope.names), scope.ranges)
        if node.for_is_degenerate():
            return self.nodes(node.for_get_body(), scope.inside(iterator, lower, None))
        upper = simplify(_upper(node.for_get_cond(), scope), scope.ranges)
        step = int_expr(node.for_get_inc())
        assert isinstance(step, ir.Int)
        body = self.nodes(node.for_get_body(), scope.inside(iterator, ir.Var(iterator), _range(lower, upper, scope)))
        return [ir.Loop(iterator, lower, upper, tuple(body), step.value)] if body else []

    def _branch(self, node: isl.AstNode, scope: _Scope) -> list[ir.Node]:
        condition = simplify_condition(condition_of(node.if_get_cond(), scope.names), scope.ranges)
        then = ir.If(condition, tuple(self.nodes(node.if_get_then_node(), scope)))
        if not node.if_has_else_node():
            return [then]
        otherwise = ir.If(_negated(condition), tuple(self.nodes(node.if_get_else_node(), scope)))
        return [then, otherwise]

    # --- statement instances ------------------------------------------------------------------------

    def _instance(self, call: isl.AstExpr, scope: _Scope) -> list[ir.Define | ir.Store]:
        name = call.get_op_arg(0).get_id().get_name()
        statement = self.scop.statement(name)
        arguments = range(1, call.get_op_n_arg())
        point = tuple(simplify(int_expr(call.get_op_arg(i), scope.names), scope.ranges) for i in arguments)
        names = dict(zip(statement.dims, point, strict=True))
        source = statement.source
        instance = ir.Instance(name, point)
        dtype = self.program.tensor(source.target).dtype
        values = ValueBuilder(self.program, source, names, scope.ranges, contract=self.contract)
        if statement.role is ScopRole.INIT:
            assert source.reduction is not None
            subscripts = tuple(values.integer(s) for s in source.subscripts)
            return [self._store(source.target, subscripts, identity(source.reduction, dtype), instance)]
        subscripts, value = values.statement(f"_{name}")
        if value.dtype is not dtype:
            value = ir.Convert(value, dtype)
        if source.reduction is not None:
            buffer, local = values.place(source.target, subscripts)
            target = ir.Load(buffer, local, dtype, statement.accesses[-1].number)
            value = combine(source.reduction, target, value, dtype, contract=self.contract)
        return [*values.defines, self._store(source.target, subscripts, value, instance)]

    def _store(
        self, tensor: str, subscripts: tuple[ir.IntExpr, ...], value: ir.Value, instance: ir.Instance
    ) -> ir.Store:
        return ir.Store(tensor, subscripts, value, ir.StoreRole.EXECUTE, instance)


def _flattened(node: isl.AstNode) -> list[isl.AstNode]:
    if node.get_type() != isl.ast_node_type.block:
        return [node]
    children = node.block_get_children()
    return [n for i in range(children.n_ast_node()) for n in _flattened(children.get_at(i))]


def _upper(condition: isl.AstExpr, scope: _Scope) -> ir.IntExpr:
    """The exclusive upper bound of `iterator < bound` or `iterator <= bound`."""
    bound = int_expr(condition.get_op_arg(1), scope.names)
    if condition.get_op_type() == isl.ast_expr_op_type.lt:
        return bound
    assert condition.get_op_type() == isl.ast_expr_op_type.le, condition.to_C_str()
    return ir.IntOp("+", bound, ir.Int(1))


def _range(lower: ir.IntExpr, upper: ir.IntExpr, scope: _Scope) -> tuple[int | None, int | None]:
    low, _ = bounds_of(linear(lower), scope.ranges)
    _, high = bounds_of(linear(upper), scope.ranges)
    return low, None if high is None else high - 1


def _negated(condition: ir.Condition) -> ir.Condition:
    match condition:
        case ir.Compare(op="<", left=left, right=right):
            return ir.Compare("<=", right, left)
        case ir.Compare(op="<=", left=left, right=right):
            return ir.Compare("<", right, left)
        case ir.Compare(op=op, left=left, right=right):
            return ir.Compare("!=" if op == "==" else "==", left, right)
        case ir.BoolOp(op=op, left=first, right=second):
            return ir.BoolOp("or" if op == "and" else "and", _negated(first), _negated(second))
