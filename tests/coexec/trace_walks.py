"""Walks along the edges of a TraceGraph: what is before what, the slow way."""

from __future__ import annotations

from coexec.traces.trace_graph import TraceNode

Edge = tuple[TraceNode, TraceNode]


def ancestors(target: TraceNode, without: set[Edge] | frozenset[Edge] = frozenset()) -> set[TraceNode]:
    """The nodes from which a path without those edges leads to `target`, itself included."""
    seen, pending = {target}, [target]
    while pending:
        node = pending.pop()
        found = [parent for parent in node.parents if parent not in seen and (parent, node) not in without]
        seen.update(found)
        pending += found
    return seen


def reaches(source: TraceNode, target: TraceNode, avoiding: TraceNode) -> bool:
    """Whether some path leads from the one to the other without the third."""
    pending = [target] if target is not avoiding or source is target else []
    seen = set(pending)
    while pending:
        node = pending.pop()
        found = [parent for parent in node.parents if parent not in seen and parent is not avoiding]
        seen.update(found)
        pending += found
    return source in seen
