"""Merging: one more trace becomes a path of the TraceGraph.

In: a TraceGraph and a `Trace` (a validated prefix, then records).  Out: the path; the graph has grown by what was new.
Invariant: afterwards the trace is a path of the graph, and the graph accepts every trace that it accepted before
(save where a producer added to an input is executed later than the one an older trace used; that trace then
falls back once and gets a node of its own).

A pointer walks along the graph.  A child that equals the record is taken; otherwise a later node that equals it and
is no ancestor (the branches join again); otherwise a new node.  Equal: operation, attributes, location, forward
node, types of the inputs, and a wiring that is the same or can be made to cover both (reference section 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from coexec.graph.dims import Unifier
from coexec.graph.keys import attribute_key, same_attributes, same_scalar
from coexec.graph.symbolic import Dim, SymbolicSpec
from coexec.traces.alternatives import connect, hides, share_producers
from coexec.traces.loops import MOST_TRIP_COUNTS, MOST_UNROLLED, Loop, find_loops, is_foldable
from coexec.traces.opaque import has_comprehension
from coexec.traces.prune import prune, symbolic_feeds
from coexec.traces.record import External, InputRef, OpRecord, Produced, Scalar, Trace
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    FromScalar,
    Kin,
    NodeKey,
    TraceFeed,
    TraceGraph,
    TraceNode,
    TraceOutput,
    Wiring,
    add_ancestors,
    ancestors,
    operands_of_node,
)
from minitensor.ops.opdef import TensorSpec

SHAPE_ATTRIBUTE = "shape"  # the attribute that may hold symbols


def merge(graph: TraceGraph, trace: Trace) -> list[TraceNode]:
    """Adds a trace; returns its path (operations only).  Whether it added anything: `graph.version`."""
    if any(node.removed for node in trace.prefix):
        return []  # it began in a graph that has been pruned since: where it went on from is gone
    graph.settle()
    merger = Merger(graph, trace)
    loops = {loop.begin: loop for loop in find_loops(trace.records) if is_folded(graph, trace, loop)}
    index = 0
    while index < len(trace.records):
        loop = loops.get(index, Loop(index, 1, 1))
        merger.take_loop(trace.records, loop)
        index += loop.period * loop.rounds
    merger.finish(trace)
    return merger.path


def is_folded(graph: TraceGraph, trace: Trace, loop: Loop) -> bool:
    """Whether the loop is merged as a body; notes what is known of it."""
    record = trace.records[loop.begin]
    place = (record.op.name, record.location)
    restless = note_rounds(graph, record, loop)
    if not (restless or place in graph.folded) or not is_foldable(trace, loop):
        return False
    if restless and loop.rounds > 2:  # of two rounds anything would do: there is no third to compare the second with
        graph.foldable.add(place)
    return place in graph.folded


def note_rounds(graph: TraceGraph, record: OpRecord, loop: Loop) -> bool:
    """Notes how often the loop that begins with `record` ran; whether that is often or often different."""
    counts = graph.trip_counts.setdefault((record.op.name, record.location), set())
    counts.add(loop.rounds)
    return len(counts) > MOST_TRIP_COUNTS or max(counts) > MOST_UNROLLED


@dataclass(frozen=True, slots=True)
class _Wirings:
    """How a node's inputs cover a record's, once `promoted` scalars vary and `added` producers count."""

    feeds: dict[TraceFeed, int]
    added: list[tuple[FromNodes, TraceOutput]]
    promoted: list[FromScalar]

    @property
    def changes(self) -> int:
        return len(self.added) + len(self.promoted)


@dataclass(frozen=True, slots=True)
class _Match:
    """How a node covers a record, once its wirings and its specs are these."""

    node: TraceNode
    wirings: _Wirings
    input_specs: tuple[SymbolicSpec | None, ...]
    output_specs: tuple[SymbolicSpec, ...]
    shape: tuple[Dim, ...] | None
    unifier: Unifier

    @property
    def changes(self) -> int:
        return self.wirings.changes + self.unifier.changes


class Merger:
    """One trace on its way through the graph.

    `path`: the nodes so far; whoever knows the next one may append it.  `feeds`: the external that each feed stands
    for on this path.  `generalised`: a dimension became a symbol.
    """

    def __init__(self, graph: TraceGraph, trace: Trace) -> None:
        self.graph = graph
        self.path = list(trace.prefix)
        self.feeds = dict(trace.feeds)
        self.symbols = dict(trace.symbols)
        self.generalised = False
        self.place: dict[TraceNode, int] = {}  # where on the path each node was last, and
        self._kin: set[Kin] = set()  # what there is on the path already, of
        self._new: TraceNode | None = None  # the latest that was made for this path, and
        self._beside: list[TraceNode] = []  # what follows its alternatives
        self._placed = 0  # the first so many nodes of the path
        self._before: set[TraceNode] = set()  # ancestors of the last of the first so many nodes of the path
        self._before_of = 0

    @property
    def pointer(self) -> TraceNode:
        """Where the path has come to."""
        return self.path[-1] if self.path else self.graph.start

    def finish(self, trace: Trace) -> None:
        """The trace is complete: notes its end, what was read and what is kept."""
        graph = self.graph
        connect(graph, self.pointer, graph.end)
        for position, read in trace.reads:
            behind = self.path[position - 1] if position else graph.start
            graph.add_read(behind, self.output(read))
        for kept in trace.kept:
            graph.add_kept(self.output(kept))
        graph.traces += 1
        if self.generalised:
            prune(graph, self.path)

    def _catch_up(self) -> None:
        """`place` and `_kin` know the whole path."""
        for index in range(self._placed, len(self.path)):
            node = self.path[index]
            self.place[node] = index
            self._kin.add(node.kin)
        self._placed = len(self.path)

    def output(self, produced: Produced) -> TraceOutput:
        return self.path[produced.index].outputs[produced.output]

    def take_loop(self, records: Sequence[OpRecord], loop: Loop) -> None:
        """The first round, then the body, then the body again for every further round."""
        body: list[TraceNode] = []
        for turn in range(loop.rounds):
            for offset in range(loop.period):
                record = records[loop.begin + turn * loop.period + offset]
                if turn < 2:
                    self.take(record)
                else:
                    self._repeat(body[offset], body[offset - 1], record)
            if turn == 1:
                body = self.path[-loop.period :]
                self.graph.add_loop(tuple(body))

    def _repeat(self, node: TraceNode, before: TraceNode, record: OpRecord) -> None:
        """Once more the node of a loop's body, if the path came to it by the body's node `before`."""
        self._catch_up()
        match = self._match(node, record) if self.pointer is before else None
        if match is None:
            self.take(record)
        else:
            self._commit(match)
            self.path.append(node)

    def take(self, record: OpRecord) -> None:
        """Moves the pointer to the node of `record`, which is made if there is none."""
        self._catch_up()
        known = self._known_child(record)
        if known is not None:
            self.path.append(known)
            return
        key, kin = self._key(record), self._kin_of(record)
        following = [*self.pointer.children, *(self._beside if self._new is self.pointer else ())]
        beside = [node for node in following if node.kin == kin]
        match = self._best_child(key, record) or self._best_join(key, record, beside)
        if match is None:
            self._new = node = self._new_node(key, record)
            self._beside = [child for other in beside for child in other.children]
        else:
            node = self._commit(match)
        connect(self.graph, self.pointer, node)
        if not self.generalised and (match is None or match.wirings.added):
            share_producers(self.graph, node, self.place)
        self.path.append(node)

    def _known_child(self, record: OpRecord) -> TraceNode | None:
        """The child that covers the record just as it stands.

        What `_best_child` finds for most records of most traces, at a small part of the price; None also where that
        takes a closer look.
        """
        if self.graph.symbols.origins:
            return None
        found = [node for node in self.pointer.children if self._is_as_before(node, record)]
        return min(found, key=lambda node: node.number, default=None)

    def _is_as_before(self, node: TraceNode, record: OpRecord) -> bool:
        """Whether nothing tells the record from the one that the node was made for, wiring included."""
        first = node.first
        if first is None or first.op is not record.op or first.location != record.location:
            return False
        if first.input_specs != record.input_specs or first.output_specs != record.output_specs:
            return False
        if not same_attributes(first.attributes, record.attributes):
            return False
        if node.forward is not self._forward(record):
            return False
        fresh: dict[TraceFeed, int] = {}
        for wiring, x in zip(node.inputs, record.inputs, strict=True):
            if not self._is_wired(wiring, x, fresh):
                return False
        self.feeds.update(fresh)
        return True

    def _is_wired(self, wiring: Wiring, x: InputRef, fresh: dict[TraceFeed, int]) -> bool:
        """Whether the wiring covers the input without any change; `fresh` gets a feed that this path has not met."""
        if type(wiring) is FromNodes and type(x) is Produced:
            producer = self.path[x.index]
            if len(wiring.alternatives) != 1 or self.place[producer] != x.index:
                return False
            only = wiring.alternatives[0]
            return only.node is producer and only.index == x.output
        if type(wiring) is FromFeed and type(x) is External:
            known = self.feeds.get(wiring.feed)
            return (fresh.setdefault(wiring.feed, x.number) if known is None else known) == x.number
        if type(wiring) is FromScalar and type(x) is Scalar:
            return same_scalar(wiring.value, x.value) if not wiring.varies else type(x.value) is type(wiring.value)
        return False

    def _key(self, record: OpRecord) -> NodeKey:
        attributes = dict(record.attributes)
        if isinstance(attributes.get(SHAPE_ATTRIBUTE), tuple):
            attributes[SHAPE_ATTRIBUTE] = len(attributes[SHAPE_ATTRIBUTE])
        signature = tuple(
            [
                (spec.dtype, len(spec.shape))
                if spec is not None
                else type(ref.value)
                if isinstance(ref, Scalar)
                else None
                for spec, ref in zip(record.input_specs, record.inputs, strict=True)
            ]
        )
        return NodeKey(record.op.name, attribute_key(attributes), record.location, self._forward(record), signature)

    def _kin_of(self, record: OpRecord) -> Kin:
        forward = self._forward(record)
        return (record.op.name, record.location), None if forward is None else forward.kin

    def _forward(self, record: OpRecord) -> TraceNode | None:
        """The node whose gradient is being taken."""
        return None if record.forward is None else self.path[record.forward]

    def _best_child(self, key: NodeKey, record: OpRecord) -> _Match | None:
        return self._best([node for node in self.pointer.children if node.key == key], record)

    def _best_join(self, key: NodeKey, record: OpRecord, beside: list[TraceNode]) -> _Match | None:
        """A later node: an alternative of the operation, or one that has none of them before it or behind it.

        Otherwise a round of a loop would be passed over, or gone back to.  Under `backward` the forward node tells
        rounds apart.
        """
        path, children = self.place, self.pointer.children
        others = [node for node in self.graph.by_key.get(key, []) if node not in path and node not in children]
        if others and beside and record.forward is None:
            around = set().union(*map(ancestors, beside)).difference(beside)
            others = [n for n in others if n in beside or (n not in around and ancestors(n).isdisjoint(beside))]
        if not others:
            return None
        before = self._ancestors()
        return self._best([node for node in others if node not in before], record)

    def _ancestors(self) -> set[TraceNode]:
        """`ancestors` of the pointer, from those of where it stood before: edges that come lead to what it comes to.

        Not where dimensions become symbols, which may prune edges, nor where a loop leads back.
        """
        before, new = self._before, self.path[self._before_of :]
        if not before or self.graph.symbols.origins or not before.isdisjoint(new):
            before = self._before = ancestors(self.pointer)
        else:
            for node in new:
                add_ancestors(before, node)
        self._before_of = len(self.path)
        return before

    def _best(self, nodes: list[TraceNode], record: OpRecord) -> _Match | None:
        """The match that changes least; the oldest node among equals.

        Wirings are counted first: the way through the graph and the sizes, which take longest to compare, are looked
        at only where the count alone does not rule a node out.
        """
        operands = [self.output(x) if type(x) is Produced else x for x in record.inputs]
        counted = [(changes, n.number, n) for n in nodes if (changes := _count_changes(n, operands)) is not None]
        best: _Match | None = None
        for changes, _, node in sorted(counted, key=itemgetter(0, 1)):
            if best is not None and changes >= best.changes:
                break
            match = self._match(node, record)
            if match is not None and (best is None or match.changes < best.changes):
                best = match
        return best

    def _match(self, node: TraceNode, record: OpRecord) -> _Match | None:
        """How `node`, whose key is the record's, covers the record; None where it cannot."""
        wirings = self._match_wirings(node, record)
        return None if wirings is None else self._match_specs(node, record, wirings)

    def _match_wirings(self, node: TraceNode, record: OpRecord) -> _Wirings | None:
        """What covering the record's inputs takes; None where it cannot be done."""
        feeds = dict(self.feeds)
        added: list[tuple[FromNodes, TraceOutput]] = []
        promoted: list[FromScalar] = []
        for wiring, reference in zip(node.inputs, record.inputs, strict=True):
            match wiring, reference:
                case FromNodes(), Produced():
                    output = self.output(reference)
                    if self.place[output.node] != reference.index or not self._reaches(wiring, output):
                        return None
                    if output not in wiring.alternatives:
                        if hides(self.graph, output, wiring, node):
                            return None
                        added.append((wiring, output))
                case FromFeed(), External():
                    if feeds.setdefault(wiring.feed, reference.number) != reference.number:
                        return None
                case FromScalar(), Scalar():
                    if not wiring.varies and not same_scalar(wiring.value, reference.value):
                        promoted.append(wiring)
                case _:
                    return None
        return _Wirings(feeds, added, promoted)

    def _reaches(self, wiring: FromNodes, output: TraceOutput) -> bool:
        """Whether `output` is the last executed on this path, itself and the known alternatives considered."""
        place = self.place[output.node]
        for known in wiring.alternatives:
            other = self.place.get(known.node, -1)
            if other > place or (other == place and known is not output):
                return False
        return True

    def _match_specs(self, node: TraceNode, record: OpRecord, wirings: _Wirings) -> _Match | None:
        unifier = Unifier(self.graph.symbols, self.symbols, self.graph.numbers)
        inputs: list[SymbolicSpec | None] = []
        for wiring, known, seen in zip(node.inputs, node.input_specs, record.input_specs, strict=True):
            spec = None if known is None or seen is None else _unify_spec(unifier, known, seen, _only_source(wiring))
            if spec is None and known is not None:
                return None
            if spec is not None and any(w is wiring and _is_more_general(made, spec) for w, made in wirings.added):
                return None
            inputs.append(spec)
        pairs = zip(node.output_specs, record.output_specs, strict=True)
        outputs = [_unify_spec(unifier, known, seen) for known, seen in pairs]
        shape = node.attributes.get(SHAPE_ATTRIBUTE)
        if isinstance(shape, tuple):
            shape = unifier.shape(shape, record.attributes[SHAPE_ATTRIBUTE])
            if shape is None:
                return None
        else:
            shape = None
        key = node.key
        if None in outputs or key is None:
            return None
        specs = tuple(inputs), tuple([o for o in outputs if o is not None])
        taken = _Match(node, wirings, *specs, shape, unifier)
        if unifier.changes == 0 or _has_symbolic_form(taken):
            return taken
        self.graph.rigid.add((key.op, key.location))
        return None

    def _commit(self, match: _Match) -> TraceNode:
        node = match.node
        for wiring, output in match.wirings.added:
            wiring.alternatives.append(output)
        for scalar in match.wirings.promoted:
            scalar.varies = True
        node.input_specs, node.output_specs = match.input_specs, match.output_specs
        if match.shape is not None:
            node.attributes = {**node.attributes, SHAPE_ATTRIBUTE: match.shape}
        match.unifier.commit(self.symbols)
        self.generalised |= match.unifier.changes > 0
        self.feeds = match.wirings.feeds
        if match.changes:
            self.graph.version += 1
            node.form = None
        return node

    def _new_node(self, key: NodeKey, record: OpRecord) -> TraceNode:
        wirings = [self._wiring(reference) for reference in record.inputs]
        inputs, outputs, attributes = self._specs(record, wirings)
        node = self.graph.add_node(record.op, key, attributes, inputs, outputs, record.where, record)
        node.inputs = wirings
        if node.kin not in self._kin:  # later iterations of a loop are no restlessness
            self.graph.restless[node.kin] = self.graph.restless.get(node.kin, 0) + 1
        return node

    def _specs(
        self, record: OpRecord, wirings: Sequence[Wiring]
    ) -> tuple[tuple[SymbolicSpec | None, ...], tuple[SymbolicSpec, ...], dict[str, Any]]:
        """Input and output specs and attributes of a new node: with symbols where its producers have them."""
        seen = [None if spec is None else SymbolicSpec(spec.shape, spec.dtype) for spec in record.input_specs]
        inputs = tuple([self._source(w) or spec for w, spec in zip(wirings, seen, strict=True)])
        outputs = tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in record.output_specs])
        names = {d for spec in inputs if spec is not None for d in spec.shape if isinstance(d, str)}
        if not names:
            return inputs, outputs, record.attributes
        for attributes in self._symbolic_attributes(record, inputs, names):
            inferred = infer_symbolic(record, inputs, attributes)
            if inferred is not None and [self._extents(spec) for spec in inferred] == [spec.shape for spec in outputs]:
                return inputs, inferred, attributes
        self.graph.rigid.add((record.op.name, record.location))
        return tuple(seen), outputs, record.attributes

    def _source(self, wiring: Wiring) -> SymbolicSpec | None:
        """What the producer has: a node's output, or a feed as another node has it with symbols."""
        if isinstance(wiring, FromFeed) and self.graph.symbols.origins:
            return symbolic_feeds(self.graph).get(wiring.feed)
        return _only_source(wiring)

    def _symbolic_attributes(
        self, record: OpRecord, inputs: Sequence[SymbolicSpec | None], names: set[str]
    ) -> Iterator[dict[str, Any]]:
        """The attributes with symbols for the sizes that only symbols of the inputs have, then as they are."""
        shape = record.attributes.get(SHAPE_ATTRIBUTE)
        if isinstance(shape, tuple):
            fixed = {d for spec in inputs if spec is not None for d in spec.shape if isinstance(d, int)}
            by_extent = {self.symbols[name]: name for name in sorted(names) if self.symbols.get(name) not in fixed}
            yield {**record.attributes, SHAPE_ATTRIBUTE: tuple([by_extent.get(d, d) for d in shape])}
        yield record.attributes

    def _extents(self, spec: SymbolicSpec) -> tuple[int | None, ...]:
        return tuple([self.symbols.get(d) if isinstance(d, str) else d for d in spec.shape])

    def _wiring(self, reference: InputRef) -> Wiring:
        match reference:
            case Produced():
                return FromNodes([self.output(reference)])
            case Scalar(value):
                return FromScalar(value)
            case External(number):
                for feed, bound in self.feeds.items():
                    if bound == number:
                        return FromFeed(feed)
                feed = self.graph.add_feed()
                self.feeds[feed] = number
                return FromFeed(feed)


def _count_changes(node: TraceNode, operands: Sequence[TraceOutput | InputRef]) -> int | None:
    """How many wirings of the node would have to change to cover these; None where none could."""
    changes = 0
    for wiring, x in zip(node.inputs, operands, strict=True):
        if type(wiring) is FromNodes and type(x) is TraceOutput:
            changes += x not in wiring.alternatives
        elif type(wiring) is FromScalar and type(x) is Scalar:
            changes += not wiring.varies and not same_scalar(wiring.value, x.value)
        elif type(wiring) is not FromFeed or type(x) is not External:
            return None
    return changes


def _is_more_general(output: TraceOutput, read: SymbolicSpec) -> bool:
    """Whether a producer has symbols where its reader would have numbers still."""
    made = output.node.output_specs[output.index].shape
    return any(isinstance(m, str) and isinstance(r, int) for m, r in zip(made, read.shape, strict=True))


def _only_source(wiring: Wiring) -> SymbolicSpec | None:
    """What the producer has, where there is only one."""
    if isinstance(wiring, FromNodes) and len(wiring.alternatives) == 1:
        return wiring.alternatives[0].node.output_specs[wiring.alternatives[0].index]
    return None


def _unify_spec(
    unifier: Unifier, known: SymbolicSpec, seen: TensorSpec, source: SymbolicSpec | None = None
) -> SymbolicSpec | None:
    if known.dtype != seen.dtype:
        return None
    shape = unifier.shape(known.shape, seen.shape, None if source is None else source.shape)
    return None if shape is None else SymbolicSpec(shape, known.dtype)


def infer_symbolic(
    record: OpRecord, inputs: Sequence[SymbolicSpec | None], attributes: dict[str, Any]
) -> tuple[SymbolicSpec, ...] | None:
    """The output specs for inputs with symbols; None where the operation has no comprehension for them."""
    scalars = [x.value if isinstance(x, Scalar) else None for x in record.inputs]
    operands: list[Any] = [
        scalar if spec is None else TensorSpec(spec.shape, spec.dtype)
        for spec, scalar in zip(inputs, scalars, strict=True)
    ]
    if not has_comprehension(record.op, operands, attributes):
        return None
    inferred = record.op.infer(*operands, **attributes)
    several = inferred if isinstance(inferred, tuple) else (inferred,)
    return tuple([SymbolicSpec(spec.shape, spec.dtype) for spec in several])


def _has_symbolic_form(match: _Match) -> bool:
    """Whether the operation still has a comprehension when its dimensions are those of the match."""
    node = match.node
    assert node.op is not None
    operands = operands_of_node(node.inputs, match.input_specs)
    attributes = node.attributes if match.shape is None else {**node.attributes, SHAPE_ATTRIBUTE: match.shape}
    return has_comprehension(node.op, operands, attributes)
