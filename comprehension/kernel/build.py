"""Schedule tree to KernelIR: walks isl's AST and realises what the marks decided.

In: a Scop and a ScheduleTree.  Out: a `Kernel`, one `Stage` per stage mark.
Invariant: nothing here looks at what a statement computes: the order comes from the AST, the realisation of
loops and tensors from the decisions, the values from the statements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, assert_never

from comprehension.errors import ComprehensionError
from comprehension.kernel import ir
from comprehension.kernel.choice import chosen, negated, uniform_choice
from comprehension.kernel.jam import jam
from comprehension.kernel.rows import in_rows
from comprehension.kernel.scope import Scope, box_subscripts
from comprehension.kernel.simplify import (
    Ranges,
    bounds_of,
    linear,
    narrowed,
    simplify,
    simplify_condition,
    truth,
    varies_with,
)
from comprehension.kernel.tiles import axis_of, cleared, is_lane_wise, stored_under_masks, upper_bound
from comprehension.kernel.values import ValueBuilder, combine, identity, shape_of, strides_of
from comprehension.kernel.walk import accesses_in
from comprehension.lang.loops import LoopProgram, Role
from comprehension.poly import isl
from comprehension.poly.ast import aff_expr, condition_of, free_prefix, generate_ast, int_expr, iterator_names
from comprehension.poly.parameters import parameters_of
from comprehension.poly.schedule_tree import (
    AccumulateMark,
    CopyStatement,
    JamMark,
    LoopMark,
    PromoteMark,
    Promotion,
    RowsMark,
    ScheduleTree,
    StageMark,
    TileMark,
)
from comprehension.poly.scop import Scop, ScopRole

Math = Literal["fast", "strict"]
AST_BUDGET = 100_000_000  # isl operations
MOST_BRANCHES = 16  # of choices that are the same for all points of a tile

_SPACES = {
    Role.INPUT: ir.Space.INPUT,
    Role.OUTPUT: ir.Space.OUTPUT,
    Role.ACCUMULATED: ir.Space.OUTPUT,
    Role.TEMPORARY: ir.Space.WORKSPACE,
}


def build_kernel(scop: Scop, tree: ScheduleTree, math: Math = "fast") -> ir.Kernel:
    """The kernel that runs the schedule.

    Raises ComprehensionError where isl cannot write the loops within its budget.
    """
    program = scop.program
    walker = _Walker(scop, tree, math)
    context = scop.context.get_ctx()
    try:
        root = isl.bounded(context, AST_BUDGET, lambda: generate_ast(tree, scop.context, walker.loop_names))
    except isl.OutOfBudget as spent:
        raise ComprehensionError(f"'{program.name}' is too involved to compile: its loops take {spent}") from spent
    stages = walker.stages(root)
    used = {access.buffer for stage in stages for access in accesses_in(stage.body)}
    return ir.Kernel(
        name=program.name,
        sizes=program.sizes,
        scalars=tuple((s.name, s.dtype) for s in program.scalars),
        buffers=(*_buffers(program, used), *walker.locals.values()),
        stages=tuple(stages),
    )


def _buffers(program: LoopProgram, used: set[str]) -> Sequence[ir.Buffer]:
    """All arguments; temporaries only if something of them is left in memory."""
    return [
        ir.Buffer(t.name, t.dtype, shape_of(program, t.shape), _SPACES[t.role], strides_of(program, t))
        for t in program.tensors
        if t.role is not Role.TEMPORARY or t.name in used
    ]


class _Walker:
    def __init__(self, scop: Scop, tree: ScheduleTree, math: Math) -> None:
        self.scop = scop
        self.tree = tree
        self.program = scop.program
        self.contract = math == "fast"
        self.locals: dict[str, ir.Buffer] = {}
        outside = {*self.program.sizes, *(s.name for s in self.program.scalars)}
        self.loop_names = iterator_names(outside)
        self.axis_prefixes = free_prefix("lane", outside), free_prefix("row", outside)
        self.padded: set[str] = set()  # local buffers whose tiles are whole even at the edges

    # --- stages -------------------------------------------------------------------------------------

    def stages(self, root: isl.AstNode) -> list[ir.Stage]:
        """One stage per stage mark at the top of the AST, in order."""
        ranges = dict.fromkeys(self.program.sizes, (0, None))
        scope = Scope(self.loop_names, names=parameters_of(self.program), ranges=ranges)
        return [
            self._stage(f"stage{position}", guards, mark, scope) for position, (guards, mark) in enumerate(_marks(root))
        ]

    def _stage(self, name: str, guards: tuple[isl.AstExpr, ...], mark: isl.AstNode, scope: Scope) -> ir.Stage:
        decision = self.tree.decisions[mark.mark_get_id().get_name()]
        assert isinstance(decision, StageMark)
        body = tuple(self.nodes(mark.mark_get_node(), scope))
        header: ir.Loop | None = None
        outermost = self.loop_names[: decision.coincident]
        only = body[0] if len(body) == 1 else None
        if decision.parallel and isinstance(loop := only, ir.Loop) and loop.variable in outermost:
            header = ir.Loop(loop.variable, loop.lower, loop.upper, (), loop.step)
            body = loop.body
        for guard in guards:  # conditions on sizes: a stage that they exclude has nothing to do
            body = (ir.If(simplify_condition(condition_of(guard, scope.names), scope.ranges), body),)
        return ir.Stage(name, body, header, decision.grain if header else 1)

    # --- nodes --------------------------------------------------------------------------------------

    def nodes(self, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        match node.get_type():
            case isl.ast_node_type.block:
                children = node.block_get_children()
                return [n for i in range(children.n_ast_node()) for n in self.nodes(children.get_at(i), scope)]
            case isl.ast_node_type.for_:
                return self._loop(node, scope)
            case isl.ast_node_type.if_:
                return self._branch(node, scope)
            case isl.ast_node_type.mark:
                return self._mark(node, scope)
            case isl.ast_node_type.user:
                return list(self._instance(node.user_get_expr(), scope))
        raise ValueError(f"unknown AST node {node.to_C_str()}")

    def _loop(self, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        iterator = node.for_get_iterator().id_get_id().get_name()
        lower = simplify(int_expr(node.for_get_init(), scope.names), scope.ranges)
        if node.for_is_degenerate():
            return self.nodes(node.for_get_body(), scope.inside(iterator, lower, None))
        upper = simplify(upper_bound(node.for_get_cond(), scope.names), scope.ranges)
        step = int_expr(node.for_get_inc())
        assert isinstance(step, ir.Int)
        body = self.nodes(node.for_get_body(), scope.inside(iterator, ir.Var(iterator), _range(lower, upper, scope)))
        return [ir.Loop(iterator, lower, upper, tuple(body), step.value)] if body else []

    def _branch(self, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        condition = simplify_condition(condition_of(node.if_get_cond(), scope.names), scope.ranges)
        then = ir.If(condition, tuple(self.nodes(node.if_get_then_node(), scope)))
        if not node.if_has_else_node():
            return [then]
        otherwise = ir.If(negated(condition), tuple(self.nodes(node.if_get_else_node(), scope)))
        return [then, otherwise]

    # --- marks --------------------------------------------------------------------------------------

    def _mark(self, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        decision = self.tree.decisions[node.mark_get_id().get_name()]
        match decision:
            case TileMark():
                return self._tile(decision, node.mark_get_node(), scope)
            case AccumulateMark():
                return self._accumulate(decision, node.mark_get_node(), scope)
            case PromoteMark():
                return self._promote(decision, node.mark_get_node(), scope)
            case LoopMark(unroll=times):
                nodes = self.nodes(node.mark_get_node(), scope)
                return [replace(loop, unroll=times) if isinstance(loop, ir.Loop) else loop for loop in nodes]
            case RowsMark(rows=rows):
                return [self._rows(part, rows, scope) for part in self.nodes(node.mark_get_node(), scope)]
            case JamMark(copies=copies):
                return [n for part in self.nodes(node.mark_get_node(), scope) for n in self._jammed(part, copies)]
            case StageMark():
                raise ValueError("a stage inside of a stage")
        assert_never(decision)

    def _tile(self, decision: TileMark, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        """The loops of the band as a tile's axes.

        As plain loops where isl put conditions among the statements, or the rows bound the lanes.
        """
        if not scope.tiled:
            return self.nodes(node, scope)
        extents = [e for e in (decision.rows, decision.lanes) if e is not None]
        axes: list[ir.Axis] = []
        inner, inside = node, scope
        for extent in extents:
            if inner.get_type() != isl.ast_node_type.for_:
                return self.nodes(node, scope)
            axis, inside = axis_of(inner, extent, inside)
            axes.append(axis)
            inner = inner.for_get_body()
        inside = inside.in_tile(tuple(axis.variable for axis in axes))
        body = self.nodes(inner, inside)
        is_box = not varies_with((axes[-1].start, axes[-1].limit), axes[0].variable)
        if is_box and all(isinstance(part, ir.Define | ir.Store) for part in body):
            statements = tuple(part for part in body if isinstance(part, ir.Define | ir.Store))
            return self._tiles(axes, statements, scope.ranges, [MOST_BRANCHES])
        return self.nodes(node, scope)

    def _tiles(
        self, axes: Sequence[ir.Axis], body: tuple[ir.Define | ir.Store, ...], ranges: Ranges, left: list[int]
    ) -> list[ir.Node]:
        """The statements as one tile; as one for each outcome where a choice is the same for all points.

        `left`: how many choices may become branches yet.
        """
        choice = uniform_choice(body, [axis.variable for axis in axes], ranges)
        known = None if choice is None else truth(choice.condition, ranges)
        if choice is not None and known is not None:
            return self._tiles(axes, chosen(body, choice, outcome=known), ranges, left)
        if choice is not None and left[0]:
            left[0] -= 1
            branches: list[ir.Node] = []
            for condition, outcome in ((choice.condition, True), (negated(choice.condition), False)):
                statements = chosen(body, choice, outcome=outcome)
                tiles = self._tiles(axes, statements, narrowed(ranges, condition), left)
                branches.append(ir.If(condition, tuple(tiles)))
            return branches
        limited = [self._unmasked(axis, body) for axis in axes]
        tile = ir.Tile(limited[0] if len(limited) > 1 else None, limited[-1], body)
        return [*self._padding(tile), tile]

    def _unmasked(self, axis: ir.Axis, body: Sequence[ir.Define | ir.Store]) -> ir.Axis:
        """Without a limit where points beyond it touch nothing but the padding of local buffers."""
        if axis.limit is None:
            return axis
        touched = [part for part in accesses_in(body) if varies_with(part.subscripts, axis.variable)]
        return replace(axis, limit=None) if all(part.buffer in self.padded for part in touched) else axis

    def _padding(self, tile: ir.Tile) -> list[ir.Node]:
        """Zeros beyond the edge of a panel, before the copy into it."""
        (first, *others) = tile.body
        lanes = tile.lanes
        is_copy = not others and isinstance(first, ir.Store) and first.role is ir.StoreRole.COPY
        if not is_copy or lanes.limit is None or not isinstance(first, ir.Store) or first.buffer not in self.padded:
            return []
        dtype = self.locals[first.buffer].dtype
        zero = ir.Const(0.0 if dtype.is_float else 0, dtype)
        fill = ir.Store(first.buffer, first.subscripts, zero, ir.StoreRole.FILL)
        whole = ir.Tile(tile.rows, replace(lanes, limit=None), (fill,))
        end = simplify(ir.IntOp("+", lanes.start, ir.Int(lanes.extent)))
        return [ir.If(ir.Compare("<", lanes.limit, end), (whole,))]

    def _accumulate(self, decision: AccumulateMark, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        """accumulators = identity; the loops; target = target op fold(accumulators)."""
        source = self.scop.statement(decision.statement).source
        dtype = self.program.tensor(source.target).dtype
        partial = self.local_name(decision.buffer)
        inside = scope.accumulating(decision.statement, partial)
        body = self.nodes(node, inside)
        if not is_lane_wise(body, partial):
            return self.nodes(node, scope.in_plain_loops())  # a tile would store all its points to one element
        self.locals[partial] = ir.Buffer(
            partial, dtype, (ir.Int(decision.lanes),), ir.Space.REGISTER, promoted_from=source.target
        )
        buffer, subscripts = inside.targets[decision.statement]
        lane = ir.Axis(f"{self.axis_prefixes[0]}{len(scope.iterators)}", ir.Int(0), decision.lanes)
        own = (ir.Var(lane.variable),)
        fill = ir.Store(partial, own, identity(decision.op, dtype), ir.StoreRole.FILL)
        folded = ir.Fold(decision.op, ir.Load(partial, own, dtype), lane.variable, dtype)
        total = ir.BinaryOp(decision.op, ir.Load(buffer, subscripts, dtype), folded, dtype)
        combined = ir.Store(buffer, subscripts, total, ir.StoreRole.COMBINE)
        return [ir.Tile(None, lane, (fill,)), *body, ir.Tile(None, lane, (combined,))]

    def _rows(self, node: ir.Node, rows: int, scope: Scope) -> ir.Node:
        """A loop with several iterations at once, if all in it can be done so."""
        if not isinstance(node, ir.Loop):
            return node
        found = in_rows(node, rows, self.locals, f"{self.axis_prefixes[1]}{len(scope.iterators)}")
        if found is None:
            return node
        self.locals.update((buffer.name, buffer) for buffer in found.buffers)
        return found.loop

    def _jammed(self, node: ir.Node, copies: int) -> Sequence[ir.Node]:
        """A loop with several iterations side by side, if they can share a body."""
        found = jam(node, copies, self.locals, self.local_name) if isinstance(node, ir.Loop) else None
        if found is None:
            return [node]
        self.locals.update((buffer.name, buffer) for buffer in found.registers)
        self.padded.update(buffer.name for buffer in found.registers)
        return found.nodes

    def _promote(self, decision: PromoteMark, node: isl.AstNode, scope: Scope) -> list[ir.Node]:
        held: list[tuple[Promotion, tuple[ir.IntExpr, ...]]] = []
        promotions = [replace(p, buffer=self.local_name(p.buffer)) for p in decision.promotions]
        for promotion in promotions:
            dims = scope.prefix(promotion.settled)
            offsets = tuple(simplify(aff_expr(o, dims, scope.names), scope.ranges) for o in promotion.offsets)
            held.append((promotion, offsets))
            if promotion.buffer not in self.locals:
                self.locals[promotion.buffer] = self._local(promotion)
            if promotion.space is ir.Space.REGISTER or (promotion.panel is not None and not promotion.is_home):
                self.padded.add(promotion.buffer)
        body = self.nodes(node, scope.promoting(held))
        masked = stored_under_masks(body)
        registers = [p.buffer for p in promotions if p.space is ir.Space.REGISTER and p.buffer in masked]
        axes = [f"{prefix}{len(scope.iterators)}" for prefix in self.axis_prefixes]
        return [*(cleared(self.locals[name], axes) for name in registers), *body]

    def local_name(self, wish: str) -> str:
        """The name of a local buffer: a tensor of the text may be called as the schedule calls it."""
        while any(tensor.name == wish for tensor in self.program.tensors):
            wish += "_"
        return wish

    def _local(self, promotion: Promotion) -> ir.Buffer:
        info = self.program.tensor(promotion.tensor)
        whole = shape_of(self.program, info.shape)
        box = tuple(whole[a] if e is None else ir.Int(e) for a, e in enumerate(promotion.extents))
        shape = box_subscripts(promotion, box, panel_of=lambda extent, size: (_panels(extent, size), ir.Int(size)))
        return ir.Buffer(promotion.buffer, info.dtype, shape, promotion.space, promoted_from=promotion.tensor)

    # --- statement instances ------------------------------------------------------------------------

    def _instance(self, call: isl.AstExpr, scope: Scope) -> list[ir.Define | ir.Store]:
        name = call.get_op_arg(0).get_id().get_name()
        arguments = range(1, call.get_op_n_arg())
        point = tuple(simplify(int_expr(call.get_op_arg(i), scope.names), scope.ranges) for i in arguments)
        if name in self.tree.copies:
            return [self._copy(self.tree.copies[name], point, scope)]
        statement = self.scop.statement(name)
        source = statement.source
        dtype = self.program.tensor(source.target).dtype
        values = ValueBuilder(
            self.program,
            source,
            dict(zip(statement.dims, point, strict=True)),
            scope.ranges,
            place=lambda tensor, subscripts, access: scope.place(name, tensor, subscripts, access),
            contract=self.contract,
        )
        if statement.role is ScopRole.INIT:
            assert source.reduction is not None
            subscripts = tuple(values.integer(s) for s in source.subscripts)  # lets do not stand on the left
            value: ir.Value = identity(source.reduction, dtype)
        else:
            subscripts, value = values.statement(f"_{name}")
            value = value if value.dtype is dtype else ir.Convert(value, dtype)
        buffer, local = scope.place(name, source.target, subscripts)
        if statement.role is ScopRole.UPDATE:
            assert source.reduction is not None
            if name in scope.accumulators:
                scope.targets[name] = buffer, local
                lane = ir.Var(scope.iterators[-1]) if scope.iterators else ir.Int(0)  # no loop is left: no lanes
                buffer, local = scope.accumulators[name], (lane,)
            target = ir.Load(buffer, local, dtype, statement.accesses[-1].number)
            value = combine(source.reduction, target, value, dtype, contract=self.contract)
        return [*values.defines, ir.Store(buffer, local, value, ir.StoreRole.EXECUTE, ir.Instance(name, point))]

    def _copy(self, copy: CopyStatement, element: tuple[ir.IntExpr, ...], scope: Scope) -> ir.Store:
        """One element between a tensor and its local buffer; the mark around it says where the buffer stands."""
        dtype = self.program.tensor(copy.tensor).dtype
        buffer, local = scope.place_in(self.local_name(copy.buffer), element)
        if copy.fill:
            return ir.Store(buffer, local, ir.Const(0.0 if dtype.is_float else 0, dtype), ir.StoreRole.FILL)
        home, place = scope.home(copy.tensor, element, beside=buffer)
        if copy.into_buffer:
            return ir.Store(buffer, local, ir.Load(home, place, dtype), ir.StoreRole.COPY)
        return ir.Store(home, place, ir.Load(buffer, local, dtype), ir.StoreRole.COPY)


def _marks(
    node: isl.AstNode, guards: tuple[isl.AstExpr, ...] = ()
) -> Iterator[tuple[tuple[isl.AstExpr, ...], isl.AstNode]]:
    """The stage marks at the top of the AST, each with the conditions on sizes around it."""
    match node.get_type():
        case isl.ast_node_type.mark:
            yield guards, node
        case isl.ast_node_type.block:
            children = node.block_get_children()
            for position in range(children.n_ast_node()):
                yield from _marks(children.get_at(position), guards)
        case isl.ast_node_type.if_ if not node.if_has_else_node():
            yield from _marks(node.if_get_then_node(), (*guards, node.if_get_cond()))
        case _:
            raise ValueError(f"a statement outside of every stage: {node.to_C_str()}")


def _panels(extent: ir.IntExpr, size: int) -> ir.IntExpr:
    return simplify(ir.IntOp("/", ir.IntOp("+", extent, ir.Int(size - 1)), ir.Int(size)))


def _range(lower: ir.IntExpr, upper: ir.IntExpr, scope: Scope) -> tuple[int | None, int | None]:
    low, _ = bounds_of(linear(lower), scope.ranges)
    _, high = bounds_of(linear(upper), scope.ranges)
    return low, None if high is None else high - 1
