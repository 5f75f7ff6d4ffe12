"""Pruning: nodes that a generalised size has overtaken leave the TraceGraph.

In: a TraceGraph after a merge that turned dimensions into symbols, and the path of the merged trace.
Out: the same graph without the nodes off that path whose operands now have symbols where they have numbers, and
without what only they led to.
Invariant: afterwards an input is never more general in its producer than in its reader, so that a compiler may trust
either.  What is removed is traced anew when the program comes by again.
"""

from __future__ import annotations

from collections.abc import Collection

from coexec.symbolic import SymbolicSpec
from coexec.trace_graph import FromFeed, FromNodes, TraceFeed, TraceGraph, TraceNode, TraceOutput, topological_order


def prune(graph: TraceGraph, path: Collection[TraceNode]) -> None:
    """Removes what the merge of `path` has made inconsistent."""
    kept = {*path, graph.start, graph.end}
    feeds = symbolic_feeds(graph)
    removed: set[TraceNode] = set()
    order = topological_order(graph)
    for node in order:
        if node not in kept and (_is_lost(node, removed) or _is_overtaken(node, feeds)):
            removed.add(node)
    for node in reversed(order):  # what led to nothing else is a dead end now
        if node not in kept and all(child in removed for child in node.children):
            removed.add(node)
    if removed:
        _remove(graph, removed)


def symbolic_feeds(graph: TraceGraph) -> dict[TraceFeed, SymbolicSpec]:
    """For each feed with symbols, the spec of a use that has them."""
    specs: dict[TraceFeed, SymbolicSpec] = {}
    for node in graph.nodes:
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            if isinstance(wiring, FromFeed) and spec is not None and any(isinstance(d, str) for d in spec.shape):
                specs[wiring.feed] = spec
    return specs


def _is_lost(node: TraceNode, removed: set[TraceNode]) -> bool:
    """Whether no path leads to the node any more, or an input has no producer left."""
    if all(parent in removed for parent in node.parents):
        return True
    return any(isinstance(w, FromNodes) and all(o.node in removed for o in w.alternatives) for w in node.inputs)


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


def _remove(graph: TraceGraph, removed: set[TraceNode]) -> None:
    def remain(outputs: list[TraceOutput]) -> list[TraceOutput]:
        return [output for output in outputs if output.node not in removed]

    for node in removed:
        node.removed = True
    graph.nodes = [node for node in graph.nodes if node not in removed]
    for node in (graph.start, graph.end, *graph.nodes):
        node.children = [child for child in node.children if child not in removed]
        node.parents = [parent for parent in node.parents if parent not in removed]
        node.loops = [body for body in node.loops if not removed.intersection(body)]
        node.reads = remain(node.reads)
        for wiring in node.inputs:
            if isinstance(wiring, FromNodes):
                wiring.alternatives = remain(wiring.alternatives)
        node.form = None
    for key, nodes in list(graph.by_key.items()):
        graph.by_key[key] = [node for node in nodes if node not in removed]
    graph.version += 1
