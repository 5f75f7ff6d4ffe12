"""The partial results of a reduction, and how they flow into each other.

In: the sinks of a family and where their values come from.  Out: a `Tree` for each reduction.
A node is a write of a partial result: an update, the initialisation, or a combination (a COMBINE store) of private
accumulators.  A COMBINE belongs to the reduction whose updates it folds in; what its target held before belongs to
the same reduction, or is what that one starts from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.accumulators import all_points, event_of
from comprehension.poly.proof.dataflow import Origins, Sink, action_of
from comprehension.poly.proof.extract import Extraction
from comprehension.poly.proof.instances import inside
from comprehension.poly.scop import Scop, ScopRole, ScopStatement


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The partial results of one reduction.

    `nodes`: points (of actions) that make one; `event`: point -> the write that it is part of; `element`: write ->
    the tensor element that it is a partial result of.  `chain`: the reads of partial results; `taken`: chain read ->
    point that made the value, whatever it is; `initial`: chain read -> memory cell that nobody wrote before;
    `into`: chain read -> write that uses it; `read_event`: the same, told apart by the read.  `uses`: write of a
    partial result -> the write that combines it further; `roots`: writes that no other one combines: finished results.
    """

    statement: ScopStatement
    members: tuple[str, ...]  # the statements of the reduction: its update, its initialisation
    initialised: bool
    nodes: isl.UnionSet
    event: isl.UnionMap
    element: isl.UnionMap
    taken: isl.UnionMap
    initial: isl.UnionMap
    into: isl.UnionMap
    read_event: isl.UnionMap
    uses: isl.UnionMap
    roots: isl.UnionSet

    @property
    def uses_by_read(self) -> isl.UnionMap:
        """The same, told apart by the read: an operand that occurs twice uses it twice."""
        return _made_and_used(self.taken, self.nodes, self.event, self.read_event)


def _made_and_used(taken: isl.UnionMap, nodes: isl.UnionSet, event: isl.UnionMap, into: isl.UnionMap) -> isl.UnionMap:
    return taken.intersect_range(nodes).apply_range(event).apply_domain(into).reverse()


def build_tree(scop: Scop, extraction: Extraction, statement: ScopStatement, sinks: list[Sink], found: Origins) -> Tree:
    """The tree of the updates of `statement`."""
    builder = _Builder(scop, extraction, statement, [s for s in sinks if s.action is not None], found)
    return builder.build()


class _Builder:
    def __init__(
        self, scop: Scop, extraction: Extraction, statement: ScopStatement, sinks: list[Sink], found: Origins
    ) -> None:
        self.statement = statement
        self.parameters = scop.context.get_space()
        self.found = found
        self.sinks = sinks
        self.members = {s.name: s for s in scop.statements if s.source is statement.source}
        self.actions = {a.name: a for a in extraction.stores()}
        self.points: dict[str, isl.Set] = {}  # of the actions that make partial results, by their names
        for name, member in self.members.items():
            for action in extraction.executing(name):
                self.points[action.name] = inside(action, member).domain()
        self._add_combinations(extraction)

    def build(self) -> Tree:
        chain = [s for s in self.sinks if self._is_chain(s)]
        points = [self.points[action_of(s).name].set_tuple_name(s.name) for s in chain]
        reads = isl.union_set(self.parameters, points)
        nodes = isl.union_set(self.parameters, self.points.values())
        event = self._union(event_of(self.actions[name]) for name in self.points)
        taken = self.found.makers.intersect_domain(reads)
        into = self._union(event_of(action_of(s)).set_tuple_name(isl.dim_type.in_, s.name) for s in chain)
        uses = _made_and_used(taken, nodes, event, into)
        return Tree(
            statement=self.statement,
            members=tuple(self.members),
            initialised=any(s.role is ScopRole.INIT for s in self.members.values()),
            nodes=nodes,
            event=event,
            element=self._element(uses),
            taken=taken,
            initial=self.found.initial.intersect_domain(reads),
            into=into,
            read_event=self._union(_read_event(s) for s in chain),
            uses=uses,
            roots=nodes.apply(event).subtract(uses.domain()),
        )

    def _add_combinations(self, extraction: Extraction) -> None:
        """COMBINE stores that fold in, directly or not, updates of this reduction."""
        left = list(extraction.stores(ir.StoreRole.COMBINE))
        grown = True
        while grown:
            nodes = isl.union_set(self.parameters, self.points.values())
            users = self.found.makers.intersect_range(nodes).domain()
            grown = False
            for action in list(left):
                operands = [s for s in self.sinks if s.action is action and not _is_own_target(s)]
                if any(not users.intersect(_points_of(s)).is_empty() for s in operands):
                    self.points[action.name] = action.domain.subtract(self.found.passing_points(action))
                    left.remove(action)
                    grown = True

    def _is_chain(self, sink: Sink) -> bool:
        """A read of a partial result: the target of an update, or any operand of a combination."""
        action = action_of(sink)
        assert sink.access is not None
        if action.name not in self.points:
            return False
        if action.role is ir.StoreRole.COMBINE:
            return True
        return action.statement == self.statement.name and sink.access.number == len(self.statement.accesses) - 1

    def _element(self, uses: isl.UnionMap) -> isl.UnionMap:
        """From the Scop for updates, from the address for what is stored to the tensor, else from what is used."""
        own, derived = [], []
        for name, points in self.points.items():
            action = self.actions[name]
            assert action.write is not None
            made = event_of(action).intersect_domain(points).reverse()  # write -> its points
            if action.statement in self.members:
                member = self.members[action.statement]
                own.append(made.apply_range(inside(action, member)).apply_range(member.write.relation))
            elif action.write.buffer == self.statement.write.tensor:
                own.append(made.apply_range(action.write.relation))
            else:
                derived.append(made.domain())
        total = found = self._union(own)
        used_by = uses.intersect_range(isl.union_set(self.parameters, derived)).reverse()
        for _ in derived:
            found = used_by.apply_range(found).subtract(total)
            if found.is_empty():
                break
            total = total.union(found).coalesce()
        return total

    def _union(self, maps: Iterable[isl.Map]) -> isl.UnionMap:
        return isl.union_map(self.parameters, maps)


def _is_own_target(sink: Sink) -> bool:
    """A COMBINE's read of what it stores to."""
    action = action_of(sink)
    assert action.write is not None and sink.access is not None
    return sink.access.buffer == action.write.buffer and sink.access.relation.is_equal(action.write.relation)


def _points_of(sink: Sink) -> isl.UnionSet:
    return isl.UnionSet.from_set(action_of(sink).domain.set_tuple_name(sink.name))


def _read_event(sink: Sink) -> isl.Map:
    action = action_of(sink)
    assert sink.access is not None
    event = all_points(action) if sink.access.folded else event_of(action)
    return event.set_tuple_name(isl.dim_type.in_, sink.name).set_tuple_name(isl.dim_type.out, f"{sink.name}e")
