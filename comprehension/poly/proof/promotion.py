"""Property 5: what is read from promoted and packed buffers is what the Scop says, and is written back.

In: a Scop and an `Extraction`.  Out: findings, and which tensors never leave their own buffer.
A tensor and the private buffers that hold parts of it form a family.  Within a family each read is followed
back, through copies, to the instance that computed its value, and compared with the instance that the Scop's
order gives; that covers copies of the wrong element, stale copies, missing copies back, uninitialised and
clobbered elements alike.  Outputs are read once more at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.accumulators import passing
from comprehension.poly.proof.dataflow import Origins, Sink, origins, read_name, scop_sources, sinks_of
from comprehension.poly.proof.extract import Action, Extraction
from comprehension.poly.proof.instances import PRIVATE, inside, meaning_of
from comprehension.poly.proof.order import is_reorderable
from comprehension.poly.proof.reduction import check_tree
from comprehension.poly.proof.trees import Tree, build_tree
from comprehension.poly.proof.verdict import Finding, Property, must_be_empty
from comprehension.poly.proof.writers import Sources
from comprehension.poly.scop import Scop


@dataclass(frozen=True, slots=True)
class Family:
    """Buffers between which values move; `tensors` are those that the Scop knows."""

    buffers: frozenset[str]
    tensors: frozenset[str]


def families(scop: Scop, extraction: Extraction) -> list[Family]:
    """The groups of buffers joined by copies, combinations and promoted accesses, sorted by name.

    A tensor that is only ever reached in its own buffer is in no family: `order` looks after it.
    """
    joined: dict[str, set[str]] = {}
    for action in extraction.stores():
        for first, *others in _together(scop, extraction, action):
            _join(joined, [first, *others])
    groups = {frozenset(group) for group in joined.values()}
    tensors = {t.name for t in scop.program.tensors}
    return [Family(g, g & tensors) for g in sorted(groups, key=sorted)]


def _together(scop: Scop, extraction: Extraction, action: Action) -> Iterator[list[str]]:
    assert action.write is not None
    if action.role is not ir.StoreRole.EXECUTE:
        yield [action.write.buffer, *(read.buffer for read in action.reads)]
        return
    statement = scop.find(action.statement)
    if statement is None:
        return
    if extraction.buffer(action.write.buffer).space in PRIVATE:
        yield [action.write.buffer, statement.write.tensor]
    for read in action.reads:
        meant = meaning_of(read, statement)
        if meant is not None and extraction.buffer(read.buffer).space in PRIVATE:
            yield [read.buffer, meant.tensor]


def _join(joined: dict[str, set[str]], names: list[str]) -> None:
    group: set[str] = set(names)
    for name in names:
        group |= joined.get(name, set())
    for name in group:
        joined[name] = group


def check_family(scop: Scop, extraction: Extraction, family: Family, *, fast: bool) -> Iterator[Finding]:
    """Every read of the family's buffers sees the value that the Scop's order gives it."""
    buffers = set(family.buffers)
    sinks = sinks_of(extraction, buffers)
    outputs = [s.tensor for s in sinks if s.action is None]
    found = origins(extraction, sinks, buffers, partial(passing, extraction, sinks))
    expected = scop_sources(scop, set(family.tensors), outputs)
    writers = [scop.statement(a.statement) for t in sorted(family.tensors) for a in scop.accesses_to(t) if a.is_write]
    reduced = [statement for statement in writers if fast and is_reorderable(statement)]
    trees = [build_tree(scop, extraction, statement, sinks, found) for statement in reduced]
    comparison = _Comparison(scop, extraction, family, found, expected, trees)
    for tree in trees:
        others = [t for t in trees if t is not tree]
        yield from check_tree(extraction, tree, others, comparison.runs, expected)
    for sink in sinks:
        yield from comparison.findings(sink)


class _Comparison:
    """Reads of finished values, and final contents."""

    def __init__(
        self,
        scop: Scop,
        extraction: Extraction,
        family: Family,
        found: Origins,
        expected: Sources,
        trees: list[Tree],
    ) -> None:
        self.parameters = scop.context.get_space()
        self.scop = scop
        self.extraction = extraction
        self.found = found
        self.expected = expected
        self.trees = trees
        runs = {
            action.name: inside(action, statement)
            for buffer in family.buffers
            for action in extraction.touching(buffer)
            if action.write is not None and action.write.buffer == buffer
            if action.role is ir.StoreRole.EXECUTE and (statement := scop.find(action.statement)) is not None
        }
        self.runs = isl.union_map(self.parameters, runs.values())

    def findings(self, sink: Sink) -> Iterator[Finding]:
        meaning = self._meaning(sink)
        if meaning is None:
            return
        reads, element = meaning
        of = Property.DEPENDENCES
        if sink.access is not None and self.extraction.buffer(sink.access.buffer).space in PRIVATE:
            of = Property.BUFFERS
        makers = self.found.makers.intersect_domain(reads.domain())
        for tree in self.trees:
            yield from self._from_reduction(of, sink, reads, element, makers, tree)
            makers = makers.subtract_range(tree.nodes)
        what = f"{_named(sink)}: sees a value that no instance computed"
        yield from must_be_empty(of, makers.subtract_range(self.runs.domain()), what)
        seen = makers.apply_range(self.runs).apply_domain(reads)
        what = f"{_named(sink)}: sees the value of another instance than in the program"
        yield from must_be_empty(of, seen.subtract(self.expected.writers), what)
        initial = self.found.initial.intersect_domain(reads.domain()).apply_domain(reads)
        what = f"{_named(sink)}: sees memory that was not written before, or an element before it was written"
        yield from must_be_empty(of, initial.subtract(self.expected.initial), what)

    def _meaning(self, sink: Sink) -> tuple[isl.UnionMap, isl.UnionMap] | None:
        """Sink -> the Scop's read, and sink -> element; None for reads that are not of finished values."""
        if sink.action is None:
            same = isl.UnionMap.from_map(isl.Map.identity(sink.timed.relation.get_space().domain().map_from_set()))
            same = same.intersect_domain(isl.UnionSet.from_set(sink.timed.relation.domain()))
            return same, isl.UnionMap.from_map(sink.timed.relation)
        if sink.action.role is not ir.StoreRole.EXECUTE:
            return None  # copies are looked through, combinations belong to their tree
        assert sink.access is not None
        statement = self.scop.find(sink.action.statement)
        meant = None if statement is None else meaning_of(sink.access, statement)
        if statement is None or meant is None:
            return None  # a violation already
        if meant is statement.accesses[-1] and any(t.statement is statement for t in self.trees):
            return None  # the target of an update: a node of its tree
        points = inside(sink.action, statement).set_tuple_name(isl.dim_type.in_, sink.name)
        points = points.intersect_domain(sink.timed.relation.domain())
        reads = points.set_tuple_name(isl.dim_type.out, read_name(meant.statement, meant.number))
        element = points.apply_range(meant.relation)
        return isl.UnionMap.from_map(reads), isl.UnionMap.from_map(element)

    def _from_reduction(
        self, of: Property, sink: Sink, reads: isl.UnionMap, element: isl.UnionMap, makers: isl.UnionMap, tree: Tree
    ) -> Iterator[Finding]:
        """A value made by a reduction is its element's finished one, and the Scop expects it here."""
        partial = makers.intersect_range(tree.nodes)
        if partial.is_empty():
            return
        name = tree.statement.name
        writes = partial.apply_range(tree.event)
        unfinished = writes.subtract_range(tree.roots)
        yield from must_be_empty(of, unfinished, f"{_named(sink)}: sees a partial result of {name}")
        wrong = writes.apply_range(tree.element).subtract(element)
        yield from must_be_empty(of, wrong, f"{_named(sink)}: sees another element of {name}")
        members = isl.union_set(self.parameters, (self.scop.statement(m).domain for m in tree.members))
        meant = self.expected.writers.intersect_range(members).domain()
        early = partial.apply_domain(reads).subtract_domain(meant)
        yield from must_be_empty(of, early, f"{_named(sink)}: sees {name}, the program another value")


def _named(sink: Sink) -> str:
    if sink.action is None:
        return f"the final contents of {sink.tensor}"
    assert sink.access is not None
    return f"{sink.action.place}: its read of {sink.access.buffer}"
