"""Merging: one more trace becomes a path of the TraceGraph.

In: a TraceGraph and a `Trace` (a validated prefix, then records).  Out: the path; the graph has grown by what was new.
Invariant: afterwards the trace is a path of the graph, and the graph accepts every trace that it accepted before
(save what pruning removes, and save folded loops, where a producer added to an input of the body can be executed later
than the one an older trace used; that trace then falls back once and gets a node of its own).

A pointer walks along the graph.  A child that equals the record is taken; otherwise a later node that equals it and
is no ancestor (the branches join again); otherwise a new node (reference section 1).  Equal is what `cover` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from coexec.traces.alternatives import connect, share_producers
from coexec.traces.ancestry import comes_before
from coexec.traces.cover import Match, best_match, feeds_as_before, find_match, make_key
from coexec.traces.loops import MOST_TRIP_COUNTS, MOST_UNROLLED, Loop, find_loops, is_foldable
from coexec.traces.node_specs import make_specs
from coexec.traces.prune import prune
from coexec.traces.record import External, InputRef, OpRecord, Produced, Scalar, Trace
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    FromScalar,
    Kin,
    NodeKey,
    Restlessness,
    TraceGraph,
    TraceNode,
    Wiring,
)
from coexec.traces.trace_path import TracePath


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
    return merger.path.nodes


class Merger:
    """One trace on its way through the graph.

    `path`: so far.  `generalised`: a dimension became a symbol.
    """

    def __init__(self, graph: TraceGraph, trace: Trace) -> None:
        self.graph = graph
        self.path = TracePath(graph, trace)
        self.generalised = False
        graph.ancestry.begin_trace()
        self._restless: set[Restlessness] = set()  # of what needed another node
        self._new: TraceNode | None = None  # the latest that was made for this path, and
        self._beside: list[TraceNode] = []  # what follows its alternatives

    def take(self, record: OpRecord) -> None:
        """Moves the pointer to the node of `record`, which is made if there is none."""
        path = self.path
        path.catch_up()
        known = self._known_child(record)
        if known is not None:
            path.nodes.append(known)
            return
        key, kin, pointer = make_key(path, record), _kin_of(path, record), path.pointer
        following = [*pointer.children, *(self._beside if self._new is pointer else ())]
        beside = [node for node in following if node.kin == kin]
        match = self._best_child(key, record) or self._best_join(key, record, beside)
        if match is None:
            self._new = node = self._new_node(key, record)
            self._beside = list(dict.fromkeys(child for other in beside for child in other.children))  # ways join
        else:
            node = self._commit(match)
        connect(self.graph, pointer, node)
        if not self.generalised and (match is None or match.wirings.added):
            share_producers(self.graph, node, path.place)
        path.nodes.append(node)

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
                body = self.path.nodes[-loop.period :]
                self.graph.add_loop(tuple(body))

    def _repeat(self, node: TraceNode, before: TraceNode, record: OpRecord) -> None:
        """Once more the node of a loop's body, if the path came to it by the body's node `before`."""
        path = self.path
        path.catch_up()
        match = find_match(path, node, record) if path.pointer is before else None
        if match is None:
            self.take(record)
        else:
            path.nodes.append(self._commit(match))

    def finish(self, trace: Trace) -> None:
        """The trace is complete: notes its end, what was read and what is kept."""
        graph, path = self.graph, self.path
        connect(graph, path.pointer, graph.end)
        for position, read in trace.reads:
            behind = path.nodes[position - 1] if position else graph.start
            graph.add_read(behind, path.output(read))
        for kept in trace.kept:
            graph.add_kept(path.output(kept))
        graph.traces += 1
        path.catch_up()
        for restless in graph.in_a_row - self._restless:
            if restless.kin in path.kin:
                restless.in_a_row = 0
                graph.in_a_row.discard(restless)
        if self.generalised:
            prune(graph, path.nodes)

    def _known_child(self, record: OpRecord) -> TraceNode | None:
        """The child that covers the record just as it stands.

        What `_best_child` finds for most records of most traces, at a small part of the price; None also where that
        takes a closer look.
        """
        if self.graph.symbols.origins:
            return None
        path = self.path
        asked = ((node, feeds_as_before(path, node, record)) for node in path.pointer.children)
        found = [(node.number, node, fresh) for node, fresh in asked if fresh is not None]
        if not found:
            return None
        _, node, fresh = min(found, key=itemgetter(0))
        path.feeds.update(fresh)
        return node

    def _best_child(self, key: NodeKey, record: OpRecord) -> Match | None:
        return best_match(self.path, [node for node in self.path.pointer.children if node.key == key], record)

    def _best_join(self, key: NodeKey, record: OpRecord, beside: list[TraceNode]) -> Match | None:
        """A later node: an alternative of the operation, or one that has none of them before it or behind it.

        Otherwise a round of a loop would be passed over, or gone back to.  Under `backward` the forward node tells
        rounds apart.
        """
        place, children = self.path.place, self.path.pointer.children
        others = [node for node in self.graph.by_key.get(key, []) if node not in place and node not in children]
        if others and beside and record.forward is None:
            others = [n for n in others if n in beside or not any(_in_line(n, other) for other in beside)]
        pointer = self.path.pointer
        return best_match(self.path, [node for node in others if not comes_before(node, pointer)], record)

    def _commit(self, match: Match) -> TraceNode:
        match.commit(self.path)
        self.generalised |= match.unifier.changes > 0
        return match.node

    def _new_node(self, key: NodeKey, record: OpRecord) -> TraceNode:
        wirings = [_make_wiring(self.path, reference) for reference in record.inputs]
        inputs, outputs, attributes = make_specs(self.path, record, wirings)
        turn = self.path.turn(key.forward)
        node = self.graph.add_node(record.op, key, attributes, inputs, outputs, record.where, record, turn)
        node.inputs = wirings
        if node.kin not in self.path.kin:  # later iterations of a loop are no restlessness
            restless = self.graph.restless.setdefault(node.kin, Restlessness(node.kin))
            restless.times += 1
            restless.in_a_row += 1
            self._restless.add(restless)
            self.graph.in_a_row.add(restless)
        return node


def _in_line(a: TraceNode, b: TraceNode) -> bool:
    """Whether one of the two comes before the other."""
    return comes_before(a, b) or comes_before(b, a)


def _kin_of(path: TracePath, record: OpRecord) -> Kin:
    forward = path.forward(record)
    return (record.op.name, record.location), path.turn(forward), None if forward is None else forward.kin


def _make_wiring(path: TracePath, reference: InputRef) -> Wiring:
    match reference:
        case Produced():
            return FromNodes([path.output(reference)])
        case Scalar(value):
            return FromScalar(value)
        case External(number):
            for feed, bound in path.feeds.items():
                if bound == number:
                    return FromFeed(feed)
            feed = path.graph.add_feed()
            path.feeds[feed] = number
            return FromFeed(feed)


# --- loops ----------------------------------------------------------------------------------------------


def is_folded(graph: TraceGraph, trace: Trace, loop: Loop) -> bool:
    """Whether the loop is merged as a body; notes what is known of it."""
    record = trace.records[loop.begin]
    place = (record.op.name, record.location)
    restless = note_rounds(graph, record, loop)
    if not (restless or place in graph.lessons.folded) or not is_foldable(trace, loop):
        return False
    if restless and loop.rounds > 2:  # of two rounds anything would do: there is no third to compare the second with
        graph.foldable.add(place)
    return place in graph.lessons.folded


def note_rounds(graph: TraceGraph, record: OpRecord, loop: Loop) -> bool:
    """Notes how often the loop that begins with `record` ran; whether that is often or often different."""
    counts = graph.trip_counts.setdefault((record.op.name, record.location), set())
    counts.add(loop.rounds)
    return len(counts) > MOST_TRIP_COUNTS or max(counts) > MOST_UNROLLED
