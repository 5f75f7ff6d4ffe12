"""What a graph must not run before Python has come to it: on some path an operand is missing, or of another size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from written import place_at

from coexec.build import build
from coexec.graph.symbolic import SymbolicSpec
from coexec.traces.ahead import waiting_for_python, with_other_dimensions
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    NodeKey,
    TraceGraph,
    TraceNode,
    Wiring,
    topological_order,
)
from minitensor.ops.opdef import REGISTRY

F32 = np.dtype(np.float32)
FOUR, N, M = (SymbolicSpec(shape, F32) for shape in ((4,), ("n0",), ("n1",)))


def add(
    graph: TraceGraph, *inputs: tuple[Wiring, SymbolicSpec], makes: SymbolicSpec = FOUR, name: str = ""
) -> TraceNode:
    op = REGISTRY[name or ("add" if len(inputs) == 2 else "exp")]
    key = NodeKey(op.name, (), place_at(len(graph.nodes)), None, ())
    node = graph.add_node(op, key, {}, tuple([spec for _, spec in inputs]), (makes,), "step.py:1")
    node.inputs = [wiring for wiring, _ in inputs]
    return node


def connect(graph: TraceGraph, *edges: tuple[TraceNode, TraceNode]) -> None:
    for parent, child in edges:
        graph.add_edge(parent, child)


def reads(*nodes: TraceNode) -> FromNodes:
    return FromNodes([node.outputs[0] for node in nodes])


# --- operands that are missing ------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> TraceGraph:
    """Operations with operands among those before them, and edges by which some path comes to each."""
    graph = TraceGraph()
    for number in range(draw(st.integers(1, 7))):
        known = list(graph.nodes)
        several = st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True) if known else st.nothing()
        wiring: Any = reads(*draw(several)) if known and draw(st.booleans()) else FromFeed(graph.add_feed())
        node = add(graph, (wiring, FOUR))
        parents = draw(st.lists(st.sampled_from([graph.start, *known]), min_size=1, max_size=3, unique=True))
        connect(graph, *[(parent, node) for parent in parents])
        assert number == len(known)
    connect(graph, *[(node, graph.end) for node in graph.nodes if not node.children or draw(st.booleans())])
    return graph


def has_operands(node: TraceNode, path: list[TraceNode]) -> bool:
    wirings = [wiring for wiring in node.inputs if isinstance(wiring, FromNodes)]
    return not any({o.node for o in wiring.alternatives}.isdisjoint(path) for wiring in wirings)


def paths_to(node: TraceNode, possible: bool) -> Iterator[list[TraceNode]]:
    """All paths; or those on which every operation before has its operands."""
    if not node.parents:
        yield []
    for parent in node.parents:
        for path in paths_to(parent, possible):
            if not possible or has_operands(parent, path):
                yield [*path, parent]


@given(graphs())
def test_an_operation_waits_where_a_path_comes_by_none_of_the_producers_of_an_operand(graph: TraceGraph) -> None:
    """Where a path does that no operation before has ruled out; never where none does at all."""
    found = waiting_for_python(topological_order(graph))
    for possible in (True, False):
        lacking = {n for n in graph.nodes if not all(has_operands(n, path) for path in paths_to(n, possible))}
        assert lacking <= found if possible else found <= lacking


def test_the_first_operation_of_a_branch_in_backward_waits_and_the_others_do_not() -> None:
    graph = TraceGraph()
    x = add(graph, (FromFeed(graph.add_feed()), FOUR))
    branches = []
    for _ in range(2):
        forward = [add(graph, (reads(x), FOUR))]
        forward.append(add(graph, (reads(forward[0]), FOUR)))
        branches.append(forward)
    joined = add(graph, (reads(branches[0][1], branches[1][1]), FOUR))
    connect(graph, (graph.start, x), (joined, graph.end))
    first = []
    for forward in branches:
        back = [
            add(graph, (reads(forward[1]), FOUR)),
            add(graph, (reads(forward[0]), FOUR)),
            add(graph, (reads(x), FOUR)),
        ]
        connect(graph, (x, forward[0]), (forward[0], forward[1]), (forward[1], joined), (joined, back[0]))
        connect(graph, (back[0], back[1]), (back[1], back[2]), (back[2], graph.end))
        first.append(back[0])
    assert waiting_for_python(topological_order(graph)) == set(first)


def test_the_graph_has_a_choice_before_an_operation_that_waits() -> None:
    """a; b or c; d reads b: behind c nothing else was seen, and it is not for the graph to go there by itself."""
    graph = TraceGraph()
    a = add(graph, (FromFeed(graph.add_feed()), FOUR))
    b, c = add(graph, (reads(a), FOUR)), add(graph, (FromFeed(graph.add_feed()), FOUR))
    d = add(graph, (reads(b), FOUR))
    e = add(graph, (reads(a), FOUR))
    connect(graph, (graph.start, a), (a, b), (a, c), (b, d), (c, d), (d, e), (e, graph.end))
    program = build(graph)
    (of_a,) = program.walk.start.children
    of_b, of_c = of_a.children
    (of_d,) = of_b.children
    assert program.graph.cases == 3
    assert [node.case is None for node in (of_a, of_b, of_c, of_d)] == [False, False, False, True]
    assert of_b.only is None and of_c.only is None and of_d.only is not None


# --- operands of other dimensions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "taken", "waits"), [(N, N, False), (FOUR, N, True), (M, N, True), (FOUR, FOUR, False)]
)
def test_an_operation_waits_where_a_producer_has_other_dimensions(
    made: SymbolicSpec, taken: SymbolicSpec, waits: bool
) -> None:
    graph = TraceGraph()
    a = add(graph, (FromFeed(graph.add_feed()), made), makes=made)
    b = add(graph, (reads(a), taken), makes=taken)
    connect(graph, (graph.start, a), (a, b), (b, graph.end))
    assert waiting_for_python(topological_order(graph)) == ({b} if waits else set())


@pytest.mark.parametrize(("first", "second", "wait"), [(N, N, False), (FOUR, N, True), (M, N, True)])
def test_readers_of_a_feed_wait_where_they_take_it_with_other_dimensions(
    first: SymbolicSpec, second: SymbolicSpec, wait: bool
) -> None:
    graph = TraceGraph()
    feed = graph.add_feed()
    a, b = add(graph, (FromFeed(feed), first), makes=first), add(graph, (FromFeed(feed), second), makes=second)
    assert with_other_dimensions([a, b]) == ({a, b} if wait else set())
