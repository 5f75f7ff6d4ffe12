"""Alternatives: what was met in some combinations is taken to be possible in all of them.

In: an edge that is new to the TraceGraph.  Out: the edges that it makes likely.
Invariant: the graph stays acyclic; every input of a node has a producer on some way through each of its new parents.

An operation with another axis, index or size in some steps is several nodes, and so is the next one.  Without this, m
of the one behind n of the other would be a fork of n·m edges, each learned by a fallback.  So where two alternatives
of one operation were followed by the same node, they may be followed by the same nodes: m + n edges are enough.  Only
operations of the same line in the same calls are alternatives of each other, and those that always go together stay
together: nothing is added before some node was met behind two of them.  An edge too many costs a case of a choice
word; validation never relies on a way being possible.
"""

from __future__ import annotations

from coexec.traces.trace_graph import FromNodes, TraceGraph, TraceNode, ancestors


def complete(graph: TraceGraph, parent: TraceNode, child: TraceNode) -> None:
    """The edge from `parent` to `child` is new: adds those between the alternatives of the two."""
    before, behind = _connected(parent, child)
    if len(before) < 2 or len(behind) < 2:
        return
    above = {node: ancestors(node) for node in before}
    if any(node in met for node in behind for met in above.values()):  # rounds of a loop: no alternatives
        return
    for first in before:
        for second in behind:
            if second not in first.children and _has_producers(second, above[first]):
                graph.add_edge(first, second)


def _connected(parent: TraceNode, child: TraceNode) -> tuple[list[TraceNode], list[TraceNode]]:
    """The alternatives of both that edges between alternatives of the one and of the other connect."""
    before, behind = {parent: None}, {child: None}  # dicts, for their order
    pending = [(parent, True), (child, False)]
    while pending:
        node, is_before = pending.pop()
        for other in node.children if is_before else node.parents:
            if other.kin == (child if is_before else parent).kin and other not in (behind if is_before else before):
                (behind if is_before else before)[other] = None
                pending.append((other, not is_before))
    return list(before), list(behind)


def _has_producers(node: TraceNode, above: set[TraceNode]) -> bool:
    return all(any(o.node in above for o in w.alternatives) for w in node.inputs if isinstance(w, FromNodes))
