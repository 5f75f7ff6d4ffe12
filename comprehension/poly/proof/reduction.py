"""Declared reductions whose updates were reordered or split over private accumulators.

In: the updates of one statement, where each partial result goes, from `dataflow`.  Out: findings, and which
partial results are final.
Invariant proved here: for each element the updates, its initialisation and the combinations of private
accumulators form one tree in which every partial result is used once, so that the root has every update
once.  (Each node has one user at most, users come later, and there is one node without a user.)  Private
accumulators start from the identity; what the reduction starts from enters once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comprehension.kernel import ir, scalars
from comprehension.lang.tree import ReduceOp
from comprehension.poly import isl
from comprehension.poly.proof.dataflow import Origins, Sink, Sources, read_name
from comprehension.poly.proof.extract import Action, Extraction
from comprehension.poly.proof.instances import inside
from comprehension.poly.proof.verdict import Finding, Property, Violation, clashes, must_be_empty, sample
from comprehension.poly.scop import Scop, ScopRole, ScopStatement


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The partial results of one reduction.

    `nodes` are the points (of actions) that make one, `event` names the write that each is, `element` gives
    the tensor element that a write is a partial result of, `roots` are the writes that no other one uses.
    """

    statement: ScopStatement
    members: tuple[str, ...]  # the statements of the reduction: its update, its initialisation
    nodes: isl.UnionSet
    event: isl.UnionMap
    element: isl.UnionMap
    roots: isl.UnionSet


def op_of(statement: ScopStatement) -> ReduceOp:
    assert statement.source.reduction is not None
    return statement.source.reduction


# --- the shape of a combination -----------------------------------------------------------------------------


def combined(value: ir.Value, op: ReduceOp) -> list[ir.Value]:
    """The operands of nested `op`s (folds and contracted products included), as the reduction combines them."""
    match value:
        case ir.BinaryOp(op=found, left=left, right=right) if found == op:
            return [*combined(left, op), *combined(right, op)]
        case ir.Fma(a=a, b=b, c=c, dtype=dtype) if op == "+":
            return [ir.BinaryOp("*", a, b, dtype), *combined(c, op)]
        case ir.Fold(op=found, value=inner) if found == op:
            return combined(inner, op)
        case _:
            return [value]


def check_shapes(scop: Scop, extraction: Extraction) -> Iterator[Finding]:
    """Updates combine their target with something else, by the operator of their reduction."""
    statements = {s.name: s for s in scop.statements if s.role is ScopRole.UPDATE}
    for action in extraction.stores(ir.StoreRole.EXECUTE):
        statement = statements.get(action.statement or "")
        if statement is None:
            continue
        assert action.store is not None
        own = len(statement.accesses) - 1
        parts = combined(action.store.value, op_of(statement))
        targets = [p for p in parts if isinstance(p, ir.Load) and p.access == own]
        if len(targets) != 1:
            what = f"does not combine the target of {statement.name} with one value by {op_of(statement)}"
            yield Violation(Property.DEPENDENCES, f"{action.place}: {what}")


def _is_identity(store: ir.Store, op: ReduceOp) -> bool:
    value = store.value
    return isinstance(value, ir.Const) and bool(
        scalars.cast(value.value, value.dtype) == scalars.reduce_identity(op, value.dtype)
    )


# --- the tree ---------------------------------------------------------------------------------------------------


class TreeBuilder:
    """Builds and checks the tree of one statement's updates."""

    def __init__(
        self, scop: Scop, extraction: Extraction, statement: ScopStatement, sinks: list[Sink], found: Origins
    ) -> None:
        self.extraction = extraction
        self.statement = statement
        self.parameters = scop.context.get_space()
        self.found = found
        members = [s for s in scop.statements if s.source is statement.source]
        self.members = {s.name: s for s in members}
        self.initialised = any(s.role is ScopRole.INIT for s in members)
        self.actions = {a.name: a for a in extraction.stores()}
        self.sinks = {s.name: s for s in sinks if s.action is not None}
        self.points = self._members_points()
        self._add_combinations()
        self.chain = [s for s in self.sinks.values() if self._is_chain(s)]
        self.event = self._union(_event(self.actions[name]) for name in self.points)
        self.nodes = isl.union_set(self.parameters, self.points.values())
        self.taken = self._taken()

    def build(self) -> Tree:
        writes = self.nodes.apply(self.event)
        roots = writes.subtract(self.uses().domain())
        return Tree(self.statement, tuple(self.members), self.nodes, self.event, self.element(), roots)

    def check(self, tree: Tree, expected: Sources) -> Iterator[Finding]:
        """The tree is one: nothing used twice, nothing left over, elements kept apart, one start."""
        name = self.statement.name
        for pairs in clashes(self._uses_by_read().reverse()):
            yield Violation(Property.BUFFERS, f"a partial result of {name} is used twice", sample(pairs))
        for pairs in clashes(tree.element.intersect_domain(tree.roots)):
            yield Violation(Property.BUFFERS, f"two partial results of {name} are never combined", sample(pairs))
        across = self.uses().apply_domain(tree.element).apply_range(tree.element)
        across = across.subtract(isl.UnionSet.identity(across.domain().union(across.range())))
        what = f"partial results of different elements of {name} are combined"
        yield from must_be_empty(Property.BUFFERS, across, what)
        yield from self._check_combinations()
        yield from self._check_starts(tree, expected)

    # --- nodes --------------------------------------------------------------------------------------------

    def _members_points(self) -> dict[str, isl.Set]:
        """Points of the actions that initialise or update, by the action's name."""
        points = {}
        for action in self.extraction.stores(ir.StoreRole.EXECUTE):
            if action.statement in self.members:
                points[action.name] = inside(action, self.members[action.statement]).domain()
        return points

    def _add_combinations(self) -> None:
        """COMBINE stores that use, directly or not, a partial result of this reduction."""
        left = {a.name: a for a in self.extraction.stores(ir.StoreRole.COMBINE)}
        grown = True
        while grown:
            nodes = isl.union_set(self.parameters, self.points.values())
            users = self.found.makers.intersect_range(nodes).domain()
            grown = False
            for name, action in list(left.items()):
                mine = [s for s in self.sinks.values() if s.action is action]
                if any(not users.intersect(_points_of(s)).is_empty() for s in mine):
                    self.points[name] = left.pop(name).domain
                    grown = True

    def _is_chain(self, sink: Sink) -> bool:
        """A read of a partial result: the target of an update, or any operand of a combination."""
        assert sink.action is not None and sink.access is not None
        if sink.action.name not in self.points:
            return False
        if sink.action.role is ir.StoreRole.COMBINE:
            return True
        return sink.action.statement == self.statement.name and sink.access.number == len(self.statement.accesses) - 1

    def _taken(self) -> isl.UnionMap:
        """Chain read -> point that made the value, where the reader itself is a node."""
        readers = isl.union_set(
            self.parameters, (self.points[_action(s).name].set_tuple_name(s.name) for s in self.chain)
        )
        return self.found.makers.intersect_domain(readers)

    # --- edges --------------------------------------------------------------------------------------------

    def uses(self) -> isl.UnionMap:
        """Write of a partial result -> the write that combines it further."""
        into = self._union(_event(_action(s)).set_tuple_name(isl.dim_type.in_, s.name) for s in self.chain)
        return self._made_and_used(into)

    def _uses_by_read(self) -> isl.UnionMap:
        """The same, told apart by the read: an operand that occurs twice uses it twice."""
        reads = []
        for sink in self.chain:
            assert sink.access is not None
            action = _action(sink)
            folded = _all_points(action) if sink.access.folded else _event(action)
            name = f"{sink.name}e"
            reads.append(folded.set_tuple_name(isl.dim_type.in_, sink.name).set_tuple_name(isl.dim_type.out, name))
        return self._made_and_used(self._union(reads))

    def _made_and_used(self, into: isl.UnionMap) -> isl.UnionMap:
        within = self.taken.intersect_range(self.nodes)
        return within.apply_range(self.event).apply_domain(into).reverse()

    def element(self) -> isl.UnionMap:
        """Write -> the tensor element that it is a partial result of."""
        own, derived = [], []
        for name in self.points:
            action = self.actions[name]
            assert action.write is not None
            if action.statement in self.members:
                member = self.members[action.statement]
                element = inside(action, member).apply_range(member.write.relation)
                own.append(_event(action).reverse().apply_range(element))
            elif action.write.buffer == self.statement.write.tensor:
                own.append(_event(action).reverse().apply_range(action.write.relation))
            else:
                derived.append(_event(action).range())
        total = self._union(own)
        places = isl.union_set(self.parameters, derived)
        for _ in derived:
            total = total.union(self.uses().intersect_range(places).reverse().apply_range(total))
        return total

    # --- checks -------------------------------------------------------------------------------------------

    def _check_combinations(self) -> Iterator[Finding]:
        op = op_of(self.statement)
        for name in self.points:
            action = self.actions[name]
            if action.role is ir.StoreRole.COMBINE:
                assert action.store is not None
                if not all(isinstance(part, ir.Load) for part in combined(action.store.value, op)):
                    yield Violation(Property.BUFFERS, f"{action.place}: is no combination of partial results by {op}")

    def _check_starts(self, tree: Tree, expected: Sources) -> Iterator[Finding]:
        """Where a chain begins: at the identity, or at what the reduction starts from, and there once."""
        other = self.taken.subtract_range(self.nodes)
        for action in self.actions.values():
            if action.role is not ir.StoreRole.FILL:
                continue
            filled = other.intersect_range(isl.UnionSet.from_set(action.domain))
            assert action.store is not None
            if not filled.is_empty() and not _is_identity(action.store, op_of(self.statement)):
                what = f"{action.place}: an accumulator of {self.statement.name} does not start from the identity"
                yield Violation(Property.BUFFERS, what, sample(filled))
            other = other.subtract_range(isl.UnionSet.from_set(action.domain))
        readers = self.nodes_of_chain()
        initial = self.found.initial.intersect_domain(readers)
        if self.initialised:
            what = f"a chain of {self.statement.name} starts from something else than its initialisation"
            yield from must_be_empty(Property.BUFFERS, other, what)
            what = f"{self.statement.name} combines into memory that nobody initialised"
            yield from must_be_empty(Property.BUFFERS, initial, what)
        else:
            yield from self._check_prior(tree, expected, other, initial)

    def nodes_of_chain(self) -> isl.UnionSet:
        return isl.union_set(self.parameters, (self.points[_action(s).name].set_tuple_name(s.name) for s in self.chain))

    def _check_prior(
        self, tree: Tree, expected: Sources, other: isl.UnionMap, initial: isl.UnionMap
    ) -> Iterator[Finding]:
        """A reduction without initialisation starts from what its element held before, once."""
        name, own = self.statement.name, self.statement.accesses[-1]
        into = self._union(_event(_action(s)).set_tuple_name(isl.dim_type.in_, s.name) for s in self.chain)
        element = into.apply_range(tree.element)  # chain read -> element
        runs = self._union(a.instance for a in self.actions.values() if a.instance is not None)
        meant_by = own.relation.set_tuple_name(isl.dim_type.in_, read_name(self.statement, own.number))
        meant_by = isl.UnionMap.from_map(meant_by)
        itself = isl.UnionSet.from_set(self.statement.domain)
        before = expected.writers.intersect_domain(meant_by.domain()).subtract_range(itself).apply_domain(meant_by)
        untouched = expected.initial.intersect_domain(meant_by.domain()).apply_domain(meant_by)
        what = f"a chain of {name} starts from something else than what its element held before"
        unknown = other.subtract_range(runs.domain())
        yield from must_be_empty(Property.BUFFERS, unknown, what)
        found = other.apply_range(runs).apply_domain(element)
        yield from must_be_empty(Property.BUFFERS, found.subtract(before), what)
        yield from must_be_empty(Property.BUFFERS, initial.apply_domain(element).subtract(untouched), what)
        starts = other.domain().union(initial.domain())
        for pairs in clashes(element.intersect_domain(starts)):
            yield Violation(Property.BUFFERS, f"the prior value enters {name} twice", sample(pairs))
        left_out = isl.UnionMap.from_domain(tree.element.range().subtract(starts.apply(element)))
        yield from must_be_empty(Property.BUFFERS, left_out, f"the prior value never enters {name}")

    def _union(self, maps: Iterator[isl.Map] | list[isl.Map]) -> isl.UnionMap:
        return isl.union_map(self.parameters, maps)


def _action(sink: Sink) -> Action:
    assert sink.action is not None
    return sink.action


def _points_of(sink: Sink) -> isl.UnionSet:
    return isl.UnionSet.from_set(_action(sink).domain.set_tuple_name(sink.name))


def _all_points(action: Action) -> isl.Map:
    return isl.Map.identity(action.domain.get_space().map_from_set()).intersect_domain(action.domain)


def _event(action: Action) -> isl.Map:
    """Points -> writes: the points that a Fold runs over are one write."""
    event = _all_points(action)
    for position in reversed(action.folded):
        event = event.project_out(isl.dim_type.out, position, 1)
    return event.set_tuple_name(isl.dim_type.out, f"{action.name}e")
