"""The TraceGraph by itself: what grows its version, who comes before whom, what its verifier refuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minitensor  # noqa: F401 - registers the operations
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import SymbolicSpec
from coexec.traces.ancestry import comes_before
from coexec.traces.trace_graph import (
    FromFeed,
    FromNodes,
    FromScalar,
    NodeKey,
    Reader,
    TraceGraph,
    TraceNode,
    Wiring,
    operands_of_node,
    reach,
    to_text,
    topological_order,
    verify_trace_graph,
)
from minitensor.ops.opdef import REGISTRY, TensorSpec

SPEC = SymbolicSpec((4,), np.dtype("float32"))


def add(
    graph: TraceGraph, name: str, *inputs: Wiring, after: tuple[TraceNode, ...] = (), **attributes: Any
) -> TraceNode:
    """A node behind others, at a place of its own."""
    place = len(graph.nodes)
    key = NodeKey(name, (), (0, place), None, ())
    specs = tuple([None if isinstance(wiring, FromScalar) else SPEC for wiring in inputs])
    node = graph.add_node(REGISTRY[name], key, attributes, specs, (SPEC,), f"step.py:{place}")
    node.inputs = list(inputs)
    for parent in after or (graph.start,):
        graph.add_edge(parent, node)
    return node


def fed(graph: TraceGraph) -> FromFeed:
    return FromFeed(graph.add_feed())


def diamond() -> tuple[TraceGraph, list[TraceNode]]:
    """a, then b or c and then e, then d."""
    graph = TraceGraph()
    a = add(graph, "negative", fed(graph))
    b = add(graph, "relu", FromNodes([a.outputs[0]]), after=(a,))
    c = add(graph, "abs", FromNodes([a.outputs[0]]), after=(a,))
    e = add(graph, "exp", FromNodes([c.outputs[0]]), after=(c,))
    d = add(graph, "negative", FromNodes([b.outputs[0], e.outputs[0]]), after=(b, e))
    graph.add_edge(d, graph.end)
    return graph, [a, b, c, d, e]


def test_who_comes_before_whom() -> None:
    graph, (a, b, c, d, e) = diamond()
    start = graph.start
    every = {start, a, b, c, d, e}
    assert {n for n in every if comes_before(n, d)} == every
    assert {n for n in every if comes_before(n, e)} == {start, a, c, e}
    assert {n for n in every if comes_before(n, start)} == {start}
    assert reach({a}, d, avoiding=b) and reach({a}, d, avoiding=e) and reach({b}, d, avoiding=c)
    assert reach({d}, d, avoiding=b) and reach({a, b, c}, d, avoiding=start)
    assert not reach({start}, d, avoiding=a) and not reach({c}, d, avoiding=e)
    assert not reach({a, b}, e, avoiding=start) and not reach({a}, d, avoiding=a)
    assert graph.reaching(d, avoiding=a) == {b, c, d, e}
    assert graph.reaching(d, avoiding=e) == {start, a, b, d}
    assert graph.reaching(e, avoiding=c) == {e}


def test_a_loop_may_be_gone_through_again_where_it_counts() -> None:
    graph, (a, _, c, d, e) = diamond()
    assert graph.reaching(c, avoiding=a) == {c}
    graph.add_loop((c, e))
    assert graph.reaching(c, avoiding=a) == {c, e}
    assert not comes_before(e, c) and not reach({e}, c, avoiding=d)


def test_the_readers_of_a_feed_are_known_also_once_some_were_pruned() -> None:
    graph = TraceGraph()
    x, y = fed(graph), fed(graph)
    a, b, c = (add(graph, "add", x, other) for other in (x, y, y))
    assert graph.readers(x.feed) == [a, b, c] and graph.readers(y.feed) == [b, c]
    graph.nodes = [node for node in graph.nodes if node is not b]
    d, e = add(graph, "exp", y), add(graph, "exp", x)
    assert graph.readers(x.feed) == [a, c, e] and graph.readers(y.feed) == [c, d]


def test_the_order_is_that_of_ways_and_ways_stay_together() -> None:
    graph, (a, b, c, d, e) = diamond()
    assert topological_order(graph) == [graph.start, a, b, c, e, d, graph.end]


def test_a_cycle_has_no_order() -> None:
    graph, (_, _, c, _, e) = diamond()
    graph.add_edge(e, c)
    with pytest.raises(MalformedGraph, match="a cycle"):
        topological_order(graph)


def test_the_verifier_knows_edges_from_both_ends() -> None:
    graph, (a, *_, e) = diamond()
    verify_trace_graph(graph)
    e.parents.append(a)
    a.children.append(e)
    verify_trace_graph(graph)
    e.parents.remove(a)
    with pytest.raises(MalformedGraph, match="does not know its parent"):
        verify_trace_graph(graph)


@pytest.mark.parametrize("later", [2, 4], ids=["itself", "one behind it"])
def test_the_verifier_lets_only_a_loop_read_what_comes_later(later: int) -> None:
    graph, nodes = diamond()
    c, e = nodes[2], nodes[4]
    c.inputs = [FromNodes([nodes[0].outputs[0], nodes[later].outputs[0]])]
    with pytest.raises(MalformedGraph, match="does not come before it"):
        verify_trace_graph(graph)
    graph.add_loop((e,))  # which has one of them only, or none
    with pytest.raises(MalformedGraph, match="does not come before it"):
        verify_trace_graph(graph)
    graph.add_loop((c, e))
    verify_trace_graph(graph)


CHANGES: dict[str, Callable[[TraceGraph, list[TraceNode]], None]] = {
    "an edge": lambda graph, nodes: graph.add_edge(nodes[0], nodes[3]),
    "a loop": lambda graph, nodes: graph.add_loop((nodes[2], nodes[4])),
    "a read": lambda graph, nodes: graph.add_read(nodes[3], nodes[0].outputs[0]),
    "what is kept": lambda graph, nodes: graph.add_kept(nodes[0].outputs[0]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_version_grows_with_what_is_new_and_not_with_what_is_known(name: str) -> None:
    graph, nodes = diamond()
    before, text = graph.version, to_text(graph)
    CHANGES[name](graph, nodes)
    version, changed = graph.version, to_text(graph)
    assert version == before + 1
    assert (changed != text) == (name != "what is kept")
    CHANGES[name](graph, nodes)
    assert graph.version == version and to_text(graph) == changed


def test_what_is_read_and_what_is_kept_is_marked_at_its_own_node() -> None:
    graph, (a, b, _, d, _) = diamond()
    graph.add_read(d, a.outputs[0])
    graph.add_kept(b.outputs[0])
    assert d.reads == [a.outputs[0]] and a.reads == []
    assert [node.fetched for node in (a, b, d)] == [[True], [False], [False]]
    assert [node.kept for node in (a, b, d)] == [[False], [True], [False]]


def test_nodes_are_found_by_key_and_by_kin_and_have_numbers_of_their_own() -> None:
    graph, nodes = diamond()
    for node in nodes:
        assert node.key is not None
        assert graph.by_key[node.key] == [node] and graph.by_kin[node.kin] == [node]
    every = [graph.start, graph.end, *graph.nodes]
    assert len({node.number for node in every}) == len({node.kin for node in every}) == len(every)
    before = graph.version
    again = graph.add_node(REGISTRY["negative"], nodes[0].key, {}, (SPEC,), (SPEC,), "step.py:0")  # type: ignore[arg-type]
    assert graph.by_key[again.key] == [nodes[0], again] == graph.by_kin[again.kin]  # type: ignore[index]
    assert graph.version == before + 1 and again.number > max(node.number for node in every)


def test_operands_are_specs_of_tensors_and_numbers_as_they_are() -> None:
    graph = TraceGraph()
    wirings = [fed(graph), FromScalar(2.5), FromNodes([])]
    spec = TensorSpec((4,), np.dtype("float32"))
    assert operands_of_node(wirings, [SPEC, None, SPEC]) == [spec, 2.5, spec]


def test_a_change_waits_for_who_reads_the_graph() -> None:
    graph = TraceGraph()
    reader = graph.reader = Reader(os.getpid(), threading.Event())
    seen: list[bool] = []

    def change() -> None:
        graph.settle()
        seen.append(reader.done.is_set())

    thread = threading.Thread(target=change)
    thread.start()
    thread.join(0.05)  # a change that did not wait has been made by now
    reader.done.set()
    thread.join()
    assert seen == [True] and graph.reader is None
    graph.settle()


def test_no_change_waits_for_a_reader_of_another_process() -> None:
    graph = TraceGraph()
    graph.reader = Reader(os.getpid() + 1, threading.Event())
    graph.settle()
    assert graph.reader is None


def test_the_text_has_each_operation_with_its_inputs_and_what_follows() -> None:
    graph, (a, b, c, d, e) = diamond()
    scaled = add(graph, "multiply", FromNodes([d.outputs[0]]), FromScalar(2.0), after=(d,))
    varied = add(graph, "add", FromNodes([scaled.outputs[0]]), FromScalar(1, varies=True), after=(scaled,), shape=(4,))
    graph.add_edge(varied, graph.end)
    graph.add_loop((c, e))
    graph.add_read(b, a.outputs[0])
    assert to_text(graph).splitlines() == [
        "0 traces, 7 operations, 1 feeds",
        "start -> %2   # start",
        "%2 = negative(feed0) -> %3, %4   # step.py:0",
        "%3 = relu(%2) read %2.0 -> %6   # step.py:1",
        "%4 = abs(%2) -> %5   # step.py:2",
        "%5 = exp(%4) -> %6 or back to %4   # step.py:3",
        "%6 = negative(%3|%5) -> end, %7   # step.py:4",
        "%7 = multiply(%6, 2.0) -> %8   # step.py:5",
        "%8 = add(%7, scalar, shape=(4,)) -> end   # step.py:6",
        "end -> .   # end",
    ]
