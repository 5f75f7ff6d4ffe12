"""Pruning: nodes that a generalised size has overtaken leave the TraceGraph.

In: a TraceGraph after a merge that turned dimensions into symbols, and the path of the merged trace.
Out: the same graph without the nodes off that path whose operands now have symbols where they have numbers, and
without what only they led to or whose operands came from them or by them alone.
Invariant: afterwards no producer has a symbol where its reader has a number, so that a compiler may trust the reader.
What is removed is traced anew when the program comes by again.
"""

from __future__ import annotations

from collections.abc import Collection

from coexec.graph.symbolic import SymbolicSpec
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    TraceFeed,
    TraceGraph,
    TraceNode,
    TraceOutput,
    topological_order,
)


def prune(graph: TraceGraph, path: Collection[TraceNode]) -> None:
    """Removes what the merge of `path` has made inconsistent."""
    feeds = symbolic_feeds(graph, path)
    left = _Left(graph, {*path, graph.start, graph.end})
    while True:
        before = len(left.removed)
        for node in left.order:
            left.find_above(node)
            if left.is_lost(node) or _is_overtaken(node, feeds):
                left.remove(node)
        for node in reversed(left.order):  # what led to nothing else is a dead end now
            if all(child in left.removed for child in node.children):
                left.remove(node)
        if len(left.removed) == before:
            break
    if left.removed:
        _remove(graph, left)


class _Left:
    """What a graph has without the nodes `removed`; none of `kept` is."""

    def __init__(self, graph: TraceGraph, kept: Collection[TraceNode]) -> None:
        self.removed: set[TraceNode] = set()
        self.order = topological_order(graph)
        self._kept = kept
        self._bits = {node: 1 << i for i, node in enumerate(self.order)}
        self._above: dict[TraceNode, int] = {}  # of each node those from which a path leads to it, as bits
        self._bodies = [set(body) for node in graph.nodes for body in node.loops]

    def remove(self, node: TraceNode) -> None:
        if node not in self._kept:
            self.removed.add(node)

    def find_above(self, node: TraceNode) -> None:
        """To be asked of the nodes in order, before the others below."""
        above = 0
        for parent in node.parents:
            if parent not in self.removed:
                above |= self._above[parent] | self._bits[parent]
        self._above[node] = above

    def is_lost(self, node: TraceNode) -> bool:
        """Whether no path leads to the node any more, or an input has no producer left."""
        if self._above[node] == 0:
            return True
        return any(isinstance(w, FromNodes) and not self.producers(node, w) for w in node.inputs)

    def producers(self, node: TraceNode, wiring: FromNodes) -> list[TraceOutput]:
        """The alternatives that are left and come before the node, in a loop's round before perhaps."""
        return [output for output in wiring.alternatives if self._comes_before(output.node, node)]

    def _comes_before(self, producer: TraceNode, node: TraceNode) -> bool:
        if producer in self.removed:
            return False
        if self._above[node] & self._bits[producer]:
            return True
        return any({producer, node} <= body and not body & self.removed for body in self._bodies)


def symbolic_feeds(graph: TraceGraph, path: Collection[TraceNode] = ()) -> dict[TraceFeed, SymbolicSpec]:
    """For each feed with symbols, the spec of a use that has them: of one on the path, if there is one."""
    specs: dict[TraceFeed, SymbolicSpec] = {}
    for node in (*graph.nodes, *path):
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            if isinstance(wiring, FromFeed) and spec is not None and any(isinstance(d, str) for d in spec.shape):
                specs[wiring.feed] = spec
    return specs


def specs_of_feed(graph: TraceGraph, feed: TraceFeed) -> list[SymbolicSpec]:
    """As what its readers take it."""
    return [
        spec
        for node in graph.readers(feed)
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True)
        if isinstance(wiring, FromFeed) and wiring.feed is feed and spec is not None
    ]


def _is_overtaken(node: TraceNode, feeds: dict[TraceFeed, SymbolicSpec]) -> bool:
    """Whether a producer has a symbol where the node has another dimension."""
    for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
        if spec is None:
            continue
        sources: list[SymbolicSpec] = []
        if isinstance(wiring, FromNodes):
            sources = [output.node.output_specs[output.index] for output in wiring.alternatives]
        elif isinstance(wiring, FromFeed) and wiring.feed in feeds:
            sources = [feeds[wiring.feed]]
        for source in sources:
            if any(isinstance(s, str) and s != d for s, d in zip(source.shape, spec.shape, strict=True)):
                return True
    return False


def _remove(graph: TraceGraph, left: _Left) -> None:
    removed = left.removed
    for node in removed:
        node.removed, node.block = True, None
    graph.nodes = [node for node in graph.nodes if node not in removed]
    for node in (graph.start, graph.end, *graph.nodes):
        node.children = [child for child in node.children if child not in removed]
        node.parents = [parent for parent in node.parents if parent not in removed]
        node.loops = [body for body in node.loops if not removed.intersection(body)]
        node.reads = [output for output in node.reads if output.node not in removed]
        for wiring in node.inputs:
            if isinstance(wiring, FromNodes):
                wiring.alternatives = left.producers(node, wiring)
        node.form = None
    graph.ancestry.rebuild([node for node in left.order if node not in removed])
    graph.by_key = {key: [node for node in nodes if node not in removed] for key, nodes in graph.by_key.items()}
    graph.by_kin = {kin: [node for node in nodes if node not in removed] for kin, nodes in graph.by_kin.items()}
    graph.version += 1
