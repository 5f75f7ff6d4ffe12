"""Alternatives: what was met in some combinations is taken to be possible in all of them.

In: an edge that is new to the TraceGraph, or a producer that is new to a node.  Out: what it makes likely: further
edges, further producers.
Invariant: the graph stays acyclic; every input of a node has a producer on some way through each of its new parents;
a producer is added only where no known one could be hidden by it.

An operation with another axis, index or size in some steps is several nodes, and so is the next one.  Without this, m
of the one behind n of the other would be a fork of n·m edges, each learned by a fallback.  So where two alternatives
of one operation were followed by the same node, they may be followed by the same nodes: m + n edges are enough.  Only
operations of the same line in the same calls are alternatives of each other, and those that always go together stay
together: nothing is added before some node was met behind two of them.  An edge too many costs a case of a choice
word; validation never relies on a way being possible.

Where a program goes one of several ways from a fork to where they join again, operation beside operation, their
operations are partners, and so are the gradients of partners.  What leads to one of these leads to the others, and what
follows one of them follows the others; what one of two reads, where it reads what the other does too, both may read.
"""

from __future__ import annotations

from collections.abc import Iterator

from coexec.traces.ancestry import came_before, comes_before
from coexec.traces.trace_graph import FromNodes, TraceGraph, TraceNode, TraceOutput, reach

LONGEST_WAY = 16  # operations that are looked at between a fork and a join


def connect(graph: TraceGraph, parent: TraceNode, child: TraceNode) -> None:
    """Adds the edge from `parent` to `child`, and if it is new those that it makes likely."""
    if child in parent.children:
        return
    if graph.traces == 0:  # no node has been met twice
        graph.add_edge(parent, child)
        return
    is_new = not child.parents  # it joins nothing, so that its parent has no further partners for it
    of_parent, of_child = partners(graph, parent), [] if is_new else partners(graph, child)
    graph.add_edge(parent, child)
    _complete(graph, parent, child)
    for first in of_parent:
        _share_child(graph, child, first)
    for second in of_child:
        _share_parent(graph, parent, second)
    for node, before in [(child, of_child)] if is_new else [(parent, of_parent), (child, of_child)]:
        for partner in partners(graph, node):
            if partner not in before:
                _share_edges(graph, node, partner)


# --- partners -------------------------------------------------------------------------------------------


def partners(graph: TraceGraph, node: TraceNode) -> list[TraceNode]:
    """The operations that stand beside `node` on other ways from a fork to a join, or are gradients of such.

    Rounds of a loop, one behind the other, are none: no step comes to two partners, so to no two of their gradients.
    """
    if node.forward is not None:
        forward = {node.forward, *partners(graph, node.forward)}
        return [other for other in graph.by_kin[node.kin] if other is not node and other.forward in forward]
    found = [other for other in _behind_one_fork(node) if _join(node, other)]
    return [other for other in found if not comes_before(other, node) and not comes_before(node, other)]


def _behind_one_fork(node: TraceNode) -> Iterator[TraceNode]:
    """The nodes to which a way like that to `node` leads from the fork before it, or from one that is no nearer."""
    way = [node]
    while len(way) <= LONGEST_WAY:
        for fork in way[-1].parents:
            for other in fork.children:
                if other is not way[-1] and other.kin == way[-1].kin and (end := _follow(other, way)):
                    yield end
        if len(way[-1].parents) != 1:
            return
        way.append(way[-1].parents[0])


def _follow(beginning: TraceNode, way: list[TraceNode]) -> TraceNode | None:
    """The end of a way without forks whose operations are, one by one, of the kin of those of `way` (last first)."""
    end = beginning
    for node in way[-2::-1]:
        if len(end.children) != 1 or end.children[0].kin != node.kin:
            return None
        end = end.children[0]
    return end


def _join(a: TraceNode, b: TraceNode) -> bool:
    """Whether ways without forks, operation beside operation, come to one node."""
    for _ in range(LONGEST_WAY):
        if not set(a.children).isdisjoint(b.children):
            return True
        if len(a.children) != 1 or len(b.children) != 1 or a.children[0].kin != b.children[0].kin:
            return False
        a, b = a.children[0], b.children[0]
    return False


# --- edges ----------------------------------------------------------------------------------------------


def _complete(graph: TraceGraph, parent: TraceNode, child: TraceNode) -> None:
    """The edge from `parent` to `child` is new: adds those between the alternatives of the two."""
    before, behind = _connected(parent, child)
    if len(before) < 2 or len(behind) < 2:
        return
    if any(comes_before(second, first) for second in behind for first in before):  # rounds of a loop: no alternatives
        return
    for first in before:
        for second in behind:
            if second not in first.children and _has_producers(second, first):
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


def _share_edges(graph: TraceGraph, a: TraceNode, b: TraceNode) -> None:
    """Two nodes have become partners: each gets the other's edges."""
    for one, other in ((a, b), (b, a)):
        for child in list(other.children):
            _share_child(graph, child, one)
        for parent in list(other.parents):
            _share_parent(graph, parent, one)


def _share_child(graph: TraceGraph, child: TraceNode, node: TraceNode) -> None:
    """A partner of the node has this child: so has the node, unless it has one of that kin already.

    Alternatives that follow alternatives are for `_complete` to connect.
    """
    if all(other.kin != child.kin for other in node.children):
        _link(graph, node, child)


def _share_parent(graph: TraceGraph, parent: TraceNode, node: TraceNode) -> None:
    """The same for a parent."""
    if all(other.kin != parent.kin for other in node.parents):
        _link(graph, parent, node)


def _link(graph: TraceGraph, first: TraceNode, second: TraceNode) -> None:
    if not comes_before(second, first) and _has_producers(second, first):
        graph.add_edge(first, second)


def _has_producers(node: TraceNode, behind: TraceNode) -> bool:
    """Whether each input that nodes make has one of them before that node, or it itself."""
    wirings = [wiring for wiring in node.inputs if isinstance(wiring, FromNodes)]
    return all(any(comes_before(output.node, behind) for output in wiring.alternatives) for wiring in wirings)


# --- producers ------------------------------------------------------------------------------------------


def share_producers(graph: TraceGraph, node: TraceNode, latest: dict[TraceNode, int]) -> None:
    """`node` is new, or has got a producer: it and its partners may read what the others do, and partners of that.

    `latest`: where on the path to `node`, which stays one, each operation was executed last.
    """
    for position, wiring in enumerate(node.inputs):
        if isinstance(wiring, FromNodes):
            beside = [(p, p.inputs[position]) for p in partners(graph, node) if position < len(p.inputs)]
            others = [(p, w) for p, w in beside if isinstance(w, FromNodes) and _have_common(w, wiring)]
            found = [p.outputs[o.index] for o in wiring.alternatives for p in partners(graph, o.node)]
            found += [output for _, other in others for output in other.alternatives]
            used = max(latest.get(output.node, -1) for output in wiring.alternatives)
            _add_producers(graph, node, position, [o for o in found if latest.get(o.node, -1) <= used])
            for partner, _ in others:
                _add_producers(graph, partner, position, wiring.alternatives)


def _have_common(a: FromNodes, b: FromNodes) -> bool:
    return not set(a.alternatives).isdisjoint(b.alternatives)


def _add_producers(graph: TraceGraph, reader: TraceNode, position: int, outputs: list[TraceOutput]) -> None:
    """Those of the outputs that the input can be."""
    wiring, spec = reader.inputs[position], reader.input_specs[position]
    assert isinstance(wiring, FromNodes)
    fitting = [o for o in outputs if o not in wiring.alternatives and o.node.output_specs[o.index] == spec]
    if not fitting:
        return
    for output in dict.fromkeys(fitting):
        if comes_before(output.node, reader) and not hides(graph, output, wiring, reader):
            wiring.alternatives.append(output)
            reader.form = None
            graph.version += 1


def hides(graph: TraceGraph, output: TraceOutput, wiring: FromNodes, node: TraceNode) -> bool:
    """Whether a known alternative could no longer be chosen where it was, were `output` one too.

    The last executed counts, and some way that an older trace may have gone leads from the known one through the other
    to `node`; by further rounds of a loop every way.  Operands in an order that values decide are such.
    """
    known = [o.node for o in wiring.alternatives]
    has_a_way = output.node is not node and came_before(output.node, node)
    if has_a_way and any(came_before(other, output.node) for other in known):
        return True
    if reach(set(known), node, avoiding=output.node):
        return False
    before = [other for other in known if comes_before(other, output.node)]
    return bool(before) and not graph.reaching(node, avoiding=output.node).issuperset(before)
