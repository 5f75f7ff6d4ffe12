"""What comes before what in a graph that grows, against walks along its edges."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st
from trace_walks import Edge, ancestors, reaches

from coexec.traces.ancestry import came_before, comes_before
from coexec.traces.trace_graph import TraceGraph, TraceNode, reach, topological_order


class Grown:
    """A graph of nodes in a row of places, so that an edge to a later one closes no cycle; `fresh`: edges of late.

    Places are drawn, not the order in which nodes are made: an edge may lead from a new node to an old one.
    """

    def __init__(self) -> None:
        self.graph = TraceGraph()
        self.places: dict[float, TraceNode] = {0.0: self.graph.start, 1.0: self.graph.end}
        self.fresh: set[Edge] = set()

    def node(self, place: float) -> TraceNode:
        if place not in self.places:
            self.places[place] = TraceNode(len(self.places), None, None, {}, (), (), "")
            self.graph.nodes.append(self.places[place])
        return self.places[place]

    def trace(self, places: list[float]) -> None:
        """One more path from the start to the end."""
        self.graph.ancestry.begin_trace()
        self.fresh.clear()
        path = [self.node(place) for place in (0.0, *sorted({*places}), 1.0)]
        for parent, child in pairwise(path):
            self.edge(parent, child)

    def edge(self, parent: TraceNode, child: TraceNode) -> None:
        if child not in parent.children:
            self.graph.add_edge(parent, child)
            self.fresh.add((parent, child))

    def check(self) -> None:
        nodes = list(self.places.values())
        for node in nodes:
            above, older = ancestors(node), ancestors(node, self.fresh)
            assert {other for other in nodes if comes_before(other, node)} == above
            assert {other for other in nodes if came_before(other, node)} == older


traces = st.lists(st.integers(1, 15).map(lambda k: k / 16), max_size=8)


@given(
    st.lists(traces, min_size=1, max_size=6), st.lists(st.tuples(st.integers(0, 16), st.integers(0, 16)), max_size=4)
)
def test_what_comes_before_what_is_what_a_walk_finds(paths: list[list[float]], more: list[tuple[int, int]]) -> None:
    """After each trace, and each edge that is added to it where both ends are there."""
    grown = Grown()
    for path in paths:
        grown.trace(path)
        grown.check()
        for a, b in more:
            first, second = (grown.places.get(k / 16) for k in sorted((a, b)))
            if first is not None and second is not None and first is not second:
                grown.edge(first, second)
                grown.check()
    before = {pair: comes_before(*pair) for pair in zip(grown.places.values(), grown.graph.nodes, strict=False)}
    grown.graph.ancestry.rebuild(topological_order(grown.graph))
    grown.fresh.clear()
    grown.check()
    assert all(comes_before(*pair) == known for pair, known in before.items())


@given(st.lists(traces, min_size=1, max_size=5), st.data())
def test_ways_that_avoid_a_node_are_those_that_a_walk_finds(paths: list[list[float]], data: st.DataObject) -> None:
    grown = Grown()
    for path in paths:
        grown.trace(path)
    nodes = st.sampled_from(list(grown.places.values()))
    sources = data.draw(st.sets(nodes, min_size=1, max_size=3))
    target, avoiding = data.draw(nodes), data.draw(nodes)
    expected = all(source is target or reaches(source, target, avoiding) for source in sources)
    if target is not avoiding:
        assert reach(sources, target, avoiding) == expected


def test_a_long_row_is_one_block() -> None:
    """A trace of many operations takes no memory for each pair of them."""
    grown = Grown()
    grown.trace([k / 4096 for k in range(1, 4096)])
    nodes = [grown.places[k / 4096] for k in range(1, 4096)]
    assert len({id(node.block) for node in nodes}) == 1
    grown.trace([1 / 4096, 1.5 / 4096, 4095 / 4096])
    assert len({id(node.block) for node in nodes}) == 3
    assert comes_before(nodes[7], nodes[4000]) and not comes_before(nodes[4000], nodes[7])


def test_what_has_no_edge_comes_before_itself_alone() -> None:
    a, b = (TraceNode(number, None, None, {}, (), (), "") for number in range(2))
    assert comes_before(a, a) and came_before(a, a)
    assert not comes_before(a, b) and not came_before(a, b)
