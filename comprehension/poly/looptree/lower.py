"""A loop tree as a schedule tree: bands, sequences, and marks for stages, tiles, accumulators and local buffers.

In: a LoopTree that is legal.  Out: a ScheduleTree.
Invariant: the order of instances is the loop tree's alone; each outermost node is a stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from comprehension.poly import isl
from comprehension.poly.access import AccessPatterns
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.lanes import operations
from comprehension.poly.looptree.held import Held, Place, hold, hold_packed
from comprehension.poly.looptree.legality import same_value
from comprehension.poly.looptree.tree import Lanes, Loop, LoopTree, Node, statements_of
from comprehension.poly.model import CHUNK_COST
from comprehension.poly.nest import instances
from comprehension.poly.schedule_tree import (
    AccumulateMark,
    CopyStatement,
    Decision,
    LoopMark,
    PromoteMark,
    ScheduleTree,
    StageMark,
    TileMark,
)
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.transform.promote import Prefix

SCALAR_COST = 0.25  # of an access or operation, in vector operations


def lower(tree: LoopTree, dependences: Dependences, steps: Sequence[str] = ()) -> ScheduleTree:
    """The schedule tree of the loops.

    Raises ComprehensionError where a tensor cannot be held as a step asks for.
    """
    lowering = _Lowering(tree, dependences, AccessPatterns(tree.scop), Extents(tree.scop))
    node = isl.Schedule.from_domain(tree.scop.domain).get_root().child(0)
    if len(tree.nodes) > 1:
        node = node.insert_sequence(lowering.filters(tree.nodes))
        for position, stage in enumerate(tree.nodes):
            node = lowering.stage(node.child(position).child(0), stage, position).parent().parent()
    elif tree.nodes:
        node = lowering.stage(node, tree.nodes[0], 0)
    return ScheduleTree(node.get_schedule(), lowering.decisions, lowering.copies, (*steps, *lowering.notes))


@dataclass(slots=True)
class _Lowering:
    """Writes loops below a node of isl's tree; nodes come back at the place where they were given."""

    tree: LoopTree
    dependences: Dependences
    patterns: AccessPatterns
    extents: Extents
    decisions: dict[str, Decision] = field(default_factory=dict)
    copies: dict[str, CopyStatement] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)

    @property
    def scop(self) -> Scop:
        return self.tree.scop

    def filters(self, parts: Sequence[Node]) -> isl.UnionSetList:
        found = isl.UnionSetList.alloc(self.scop.context.get_ctx(), len(parts))
        for part in parts:
            found = found.add(instances(tuple(statements_of([part])), self.scop))
        return found

    def stage(self, node: isl.ScheduleNode, part: Node, position: int) -> isl.ScheduleNode:
        node = self._node(node, part, ())
        parallel = isinstance(part, Loop) and part.parallel
        grain = self._grain(part) if isinstance(part, Loop) and parallel else 1
        return self._mark(node, f"stage {position}", StageMark(parallel, grain, int(parallel)))

    def _grain(self, loop: Loop) -> int:
        """How many iterations are worth handing to a worker."""
        work, units = 0.0, 1
        for name, value in loop.values.items():
            statement = self.scop.statement(name)
            work += self.extents.instances(name) * (len(statement.accesses) + operations(statement))
            reached = isl.Map.from_pw_aff(value).intersect_domain(statement.domain).range()
            units = max(units, self.extents.length(reached))
        return max(1, min(units, int(CHUNK_COST / max(1.0, SCALAR_COST * work / units))))

    def _node(self, node: isl.ScheduleNode, part: Node, around: tuple[Loop, ...]) -> isl.ScheduleNode:
        if isinstance(part, str):
            return node
        if part.lanes is not None:
            return self._tile(node, part, around)
        node = node.insert_partial_schedule(self._band([part]))
        node = node.band_member_set_ast_loop_type(0, isl.ast_loop_type.atomic)  # one loop, as the user asked for
        below = self._held(node.child(0), part, (*around, part))
        node = self._mark(below.parent(), f"loop {len(self.decisions)}", LoopMark(part.label, part.unroll))
        return self._accumulated(node, part, around)

    def _held(self, node: isl.ScheduleNode, loop: Loop, around: tuple[Loop, ...]) -> isl.ScheduleNode:
        """The body of a loop, with what it holds."""
        if not loop.holds:
            return self._body(node, loop.body, around)
        found: list[Held] = []
        prefix = Prefix(node, self.tree.scop)
        for wanted in loop.holds:
            place = Place(self.tree, prefix, around, loop.body, self.held[wanted.tensor])
            self.held[wanted.tensor] += 1
            if wanted.packed:
                found.append(hold_packed(place, wanted.tensor, self.patterns))
            else:
                found.append(hold(place, wanted.tensor, self.dependences, self.patterns))
        node = self._body(node, loop.body, around)
        for held in found:
            buffer = held.promotion
            self.notes.append(f"{buffer.tensor} in {buffer.space.value} {buffer.buffer}{list(buffer.extents)}")
            for copy in held.copies:
                self.copies[copy.statement.name] = copy.statement
                if copy.mark is not None and copy.mark_name is not None:
                    self.decisions[copy.mark_name] = copy.mark
        name = f"promote {len(self.decisions)}: {', '.join(held.promotion.tensor for held in found)}"
        node = self._mark(node, name, PromoteMark(tuple(held.promotion for held in found))).child(0)
        for held in found:
            for copy in held.copies:
                node = copy.graft(node)
        return node.parent()

    def _body(self, node: isl.ScheduleNode, body: Sequence[Node], around: tuple[Loop, ...]) -> isl.ScheduleNode:
        if len(body) == 1:
            return self._node(node, body[0], around)
        node = node.insert_sequence(self.filters(body))
        for position, part in enumerate(body):
            node = self._node(node.child(position).child(0), part, around).parent().parent()
        return node

    # --- tiles ------------------------------------------------------------------------------------------------------

    def _tile(self, node: isl.ScheduleNode, outer: Loop, around: tuple[Loop, ...]) -> isl.ScheduleNode:
        points = [outer]
        while isinstance(inner := points[-1].body[0], Loop):
            points.append(inner)
        if len(points[-1].body) > 1:
            node = node.insert_sequence(self.filters(points[-1].body))
        node = node.insert_partial_schedule(self._band(points))
        extents = [lanes.extent for loop in points if (lanes := loop.lanes) is not None]
        mark = TileMark(extents[-1], extents[0] if len(extents) > 1 else None, tuple(p.label for p in points))
        node = self._mark(node, f"tile {len(self.decisions)}: {'+'.join(statements_of([outer]))}", mark)
        return self._accumulated(node, outer, around)

    def _band(self, loops: Sequence[Loop]) -> isl.MultiUnionPwAff:
        context, parameters = self.scop.context.get_ctx(), self.scop.context.get_space()
        parts = isl.UnionPwAffList.alloc(context, len(loops))
        for loop in loops:
            parts = parts.add(isl.union_pw_aff(parameters, loop.values.values()))
        space = parameters.set_from_params().add_dims(isl.dim_type.set, len(loops))
        return isl.MultiUnionPwAff.from_union_pw_aff_list(space, parts)

    # --- reductions along lanes ---------------------------------------------------------------------------------------

    def _accumulated(self, node: isl.ScheduleNode, loop: Loop, around: tuple[Loop, ...]) -> isl.ScheduleNode:
        """A mark above the outermost loop in which one element is updated by all lanes, lane by lane."""
        found = self._reduced_lanes(loop, around)
        if found is None or (around and self._reduced_lanes(around[-1], around[:-1]) is not None):
            return node
        statement, lanes = found
        op = self.scop.statement(statement).source.reduction
        assert op is not None
        self.notes.append(f"{statement} goes to {lanes.extent} accumulators, combined by {op}")
        mark = AccumulateMark(statement, op, f"{statement}_partial", lanes.extent)
        return self._mark(node, f"accumulate {statement}", mark)

    def _reduced_lanes(self, loop: Loop, around: Sequence[Loop]) -> tuple[str, Lanes] | None:
        """The one statement below whose reduction the lanes carry, if nothing else is there and its element stands."""
        inside = [*around, loop]
        while len(inside[-1].body) == 1 and isinstance(inner := inside[-1].body[0], Loop):
            inside.append(inner)
        last = inside[-1]
        if last.lanes is None or len(last.body) != 1 or not isinstance(name := last.body[0], str):
            return None
        statement = self.scop.statement(name)
        if statement.role is not ScopRole.UPDATE or not statement.write.exact:
            return None
        outside = [(other, same_value(other, name, name)) for other in inside[:-1]]
        carried = False
        for edge in self.dependences.between(name, name):
            relation = edge.relation
            for _, same in outside:
                relation = relation.intersect(same)
            carried |= edge.is_reduction and not relation.is_subset(same_value(last, name, name))
        if not carried:
            return None
        return (name, last.lanes) if self._stands(name, around) else None

    def _stands(self, name: str, around: Sequence[Loop]) -> bool:
        """Whether one iteration of some loops updates a single element."""
        statement = self.scop.statement(name)
        time = isl.Map.from_domain_and_range(statement.domain, isl.Set("{ [] }", self.scop.context.get_ctx()))
        for loop in around:
            time = time.flat_range_product(isl.Map.from_pw_aff(loop.values[name]))
        return bool(time.reverse().apply_range(statement.write.relation).is_single_valued())

    def _mark(self, node: isl.ScheduleNode, name: str, decision: Decision) -> isl.ScheduleNode:
        assert name not in self.decisions, f"two marks are called {name}"
        self.decisions[name] = decision
        return node.insert_mark(isl.Id(name, context=self.scop.context.get_ctx()))
