"""Pruning by itself: which nodes go when a size has become a symbol, and what of the others refers to them no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minitensor  # noqa: F401 - registers the operations
from coexec.graph.symbolic import Dim, SymbolicSpec
from coexec.traces.prune import prune, symbolic_feeds
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    FromScalar,
    NodeKey,
    TraceFeed,
    TraceGraph,
    TraceNode,
    TraceOutput,
)
from minitensor.ops.opdef import REGISTRY

F32 = np.dtype(np.float32)
N, FOUR = ("n0",), (4,)
Operand = tuple[TraceFeed | TraceNode | list[TraceNode], tuple[Dim, ...]]  # producers, and the shape that is read


def add(
    graph: TraceGraph, *operands: Operand, after: tuple[TraceNode, ...] = (), makes: tuple[Dim, ...] = FOUR
) -> TraceNode:
    """A node at a place of its own."""
    place = len(graph.nodes)
    key = NodeKey("add", (), (0, place), None, ())
    specs = tuple([SymbolicSpec(shape, F32) for _, shape in operands])
    node = graph.add_node(REGISTRY["add"], key, {}, specs, (SymbolicSpec(makes, F32),), f"step.py:{place}")
    node.inputs = [
        FromFeed(x) if isinstance(x, TraceFeed)
        else FromNodes([maker.outputs[0] for maker in (x if isinstance(x, list) else [x])])
        for x, _ in operands
    ]  # fmt: skip
    for parent in after or (graph.start,):
        graph.add_edge(parent, node)
    return node


def ends(graph: TraceGraph, *nodes: TraceNode) -> None:
    for node in nodes:
        graph.add_edge(node, graph.end)


def pruned(graph: TraceGraph, *path: TraceNode) -> list[TraceNode]:
    """The nodes that are left; what must hold of any graph without the others does."""
    before, version = list(graph.nodes), graph.version
    for node in before:
        node.form = form = object()
    prune(graph, path)
    gone = [node for node in before if node not in graph.nodes]
    assert all(node.removed for node in gone) and not any(node.removed for node in graph.nodes)
    assert graph.version == version + bool(gone)
    assert all((node.form is None) == bool(gone) or node.form is form for node in graph.nodes)
    for node in (graph.start, graph.end, *graph.nodes):
        assert not set(gone) & {*node.children, *node.parents}
        assert not any(output.node in gone for output in node.reads)
    listed = [node for table in (graph.by_key, graph.by_kin) for nodes in table.values() for node in nodes]
    assert set(listed) == set(graph.nodes) and len(listed) == 2 * len(graph.nodes)
    return graph.nodes


def test_nothing_goes_where_nothing_is_a_symbol() -> None:
    graph = TraceGraph()
    x = graph.add_feed()
    a = add(graph, (x, FOUR))
    b = add(graph, (a, FOUR), (x, FOUR), after=(a,))
    ends(graph, a, b)
    assert pruned(graph, a) == [a, b] and symbolic_feeds(graph) == {}


@pytest.mark.parametrize("kept", [False, True])
def test_a_use_of_a_feed_as_it_was_before_it_had_a_symbol_goes(kept: bool) -> None:
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    fixed = add(graph, (y, FOUR), (x, FOUR))
    other = add(graph, (y, FOUR))
    ends(graph, symbolic, fixed, other)
    assert symbolic_feeds(graph) == {x: SymbolicSpec(N, F32)}
    path = [symbolic, fixed] if kept else [symbolic]
    assert pruned(graph, *path) == ([symbolic, fixed, other] if kept else [symbolic, other])
    assert graph.start.children == graph.nodes and graph.end.parents == graph.nodes


def test_of_two_uses_with_symbols_that_on_the_path_counts() -> None:
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    on_path = add(graph, (x, ("n0", "n1")), makes=N)
    reader = add(graph, (y, FOUR), (x, ("n0", "n1")))
    off_path = add(graph, (x, ("n0", "n0")), makes=N)
    ends(graph, on_path, reader, off_path)
    assert symbolic_feeds(graph)[x].shape == ("n0", "n0") and symbolic_feeds(graph, [on_path])[x].shape == ("n0", "n1")
    assert pruned(graph, on_path) == [on_path, reader]


@pytest.mark.parametrize(("makes", "reads", "goes"), [(N, FOUR, True), (N, N, False), (N, ("n1",), True),
                                                      (FOUR, FOUR, False), ((3, "n0"), (3, "n0"), False),
                                                      ((3, "n0"), (3, 4), True)])  # fmt: skip
def test_a_reader_goes_whose_producer_has_a_symbol_that_it_does_not_have(makes: Any, reads: Any, goes: bool) -> None:
    graph = TraceGraph()
    x = graph.add_feed()
    a = add(graph, (x, FOUR), makes=makes)
    other = add(graph, (x, FOUR), after=(a,))
    reader = add(graph, (x, FOUR), (a, reads), after=(a,))
    behind = add(graph, (x, FOUR), after=(reader,))
    ends(graph, other, behind)
    assert pruned(graph, a, other) == ([a, other] if goes else [a, other, reader, behind])


def test_what_led_to_nothing_else_goes_too() -> None:
    """Before it, until a way branches off, and behind it, until a way joins."""
    graph = TraceGraph()
    x = graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    before = add(graph, (graph.add_feed(), FOUR))
    longer = add(graph, (before, FOUR), after=(before,))
    goes = add(graph, (x, FOUR), after=(longer,))
    behind = add(graph, (goes, FOUR), after=(goes,))
    joined = add(graph, (x, N), after=(behind, symbolic), makes=N)
    ends(graph, joined)
    assert pruned(graph, symbolic, joined) == [symbolic, joined]
    assert joined.parents == [symbolic]


def test_a_node_whose_producers_are_all_gone_goes_and_one_that_has_others_forgets_them() -> None:
    graph = TraceGraph()
    x = graph.add_feed()
    y = graph.add_feed()
    symbolic, goes = add(graph, (x, N)), add(graph, (x, FOUR))
    both = add(graph, ([symbolic, goes], FOUR), after=(symbolic, goes))
    only = add(graph, (y, FOUR), (goes, FOUR), after=(both,))
    last = add(graph, (both, FOUR), after=(both, only))
    for node in (both, last):
        node.reads = [symbolic.outputs[0], goes.outputs[0]]
    ends(graph, last)
    assert pruned(graph, symbolic, both, last) == [symbolic, both, last]
    (wiring,) = both.inputs
    assert isinstance(wiring, FromNodes) and wiring.alternatives == [symbolic.outputs[0]]
    assert both.reads == last.reads == [symbolic.outputs[0]]


def test_a_producer_that_no_way_leads_from_any_more_is_none() -> None:
    """It is left, but what came in between is not."""
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    maker = add(graph, (y, FOUR))
    between = add(graph, (x, FOUR), after=(maker,))
    reader = add(graph, (maker, FOUR), after=(between, symbolic))
    ends(graph, maker, reader, symbolic)
    assert pruned(graph, symbolic) == [symbolic, maker]


def loop(graph: TraceGraph, *body: TraceNode) -> None:
    graph.add_loop(body)


@pytest.mark.parametrize("goes", [False, True])
def test_a_loop_is_one_as_long_as_all_of_its_body_is_there(goes: bool) -> None:
    """A value of the round before counts as made before."""
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    begin = add(graph, (y, FOUR), after=(symbolic,))
    first = add(graph, (y, FOUR), after=(begin,))
    second = add(graph, (x, FOUR) if goes else (y, FOUR), after=(first,))
    third = add(graph, (y, FOUR), after=(second,))
    first.inputs.append(FromNodes([begin.outputs[0], third.outputs[0]]))
    first.input_specs = (*first.input_specs, SymbolicSpec(FOUR, F32))
    loop(graph, first, second, third)
    elsewhere = add(graph, (x, FOUR))
    ends(graph, first, third, elsewhere)
    expected = [symbolic, begin, first] if goes else [symbolic, begin, first, second, third]
    assert pruned(graph, symbolic) == expected
    wiring = first.inputs[1]
    assert isinstance(wiring, FromNodes)
    found: list[TraceOutput] = wiring.alternatives
    assert found == ([begin.outputs[0]] if goes else [begin.outputs[0], third.outputs[0]])
    assert third.loops == ([] if goes else [(first, second, third)]) or third.removed


def test_a_value_of_the_round_before_is_none_where_the_loop_has_lost_a_node() -> None:
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    first = add(graph, (y, FOUR), after=(symbolic,))
    second = add(graph, (x, FOUR), after=(first,))
    third = add(graph, (y, FOUR), after=(second, first))
    first.inputs.append(FromNodes([symbolic.outputs[0], third.outputs[0]]))
    first.input_specs = (*first.input_specs, SymbolicSpec(N, F32))
    loop(graph, first, second, third)
    ends(graph, third)
    assert pruned(graph, symbolic, first, third) == [symbolic, first, third]
    wiring = first.inputs[1]
    assert isinstance(wiring, FromNodes) and wiring.alternatives == [symbolic.outputs[0]] and third.loops == []


def test_what_goes_makes_further_nodes_go_until_none_does() -> None:
    """The last of a loop led to nothing else; what reads it in the next round is found in a round of its own."""
    graph = TraceGraph()
    x = graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    reader = add(graph, (graph.add_feed(), FOUR))
    last = add(graph, (reader, FOUR), after=(reader,))
    goes = add(graph, (x, FOUR), after=(last,))
    reader.inputs[0] = FromNodes([last.outputs[0]])
    loop(graph, reader, last)
    ends(graph, symbolic, reader, goes)
    assert pruned(graph, symbolic) == [symbolic]


def test_a_number_hides_no_operand_behind_it() -> None:
    graph = TraceGraph()
    x, y = graph.add_feed(), graph.add_feed()
    symbolic = add(graph, (x, N), makes=N)
    reader = add(graph, (y, FOUR), (x, FOUR))
    reader.inputs[0], reader.input_specs = FromScalar(2.0, False), (None, reader.input_specs[1])
    other = add(graph, (y, FOUR))
    other.inputs[0], other.input_specs = FromScalar(2.0, False), (None,)
    ends(graph, symbolic, reader, other)
    assert pruned(graph, symbolic) == [symbolic, other]
