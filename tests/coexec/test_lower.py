"""Clusters and their comprehensions: what the lowered defs mean, by the language's own interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import GraphBuilder, evaluate
from hypothesis import given
from op_programs import OpProgram, op_programs

import minitensor  # noqa: F401 - registers the operations
from coexec.clusters.lower import Cluster, Lowered, lower, nodes_by_id
from coexec.clusters.partition import partition, verify_partition
from coexec.clusters.steps import Alias
from coexec.graph.symbolic import Constant, Feed, Fetch, OpNode, Output, Phi, Select, Source, SymbolicGraph
from comprehension.api import define
from comprehension.lang import tree
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text

F32 = np.float32


def run_partition(graph: SymbolicGraph, feeds: dict[int, Any], max_nodes: int) -> dict[Output, Any]:
    """The graph's values in memory, each cluster interpreted as its comprehension."""
    nodes = nodes_by_id(graph)
    values: dict[Output, Any] = {}
    phis: dict[int, Any] = {}

    def of(source: Source) -> Any:
        match source:
            case Output():
                return values[source]  # KeyError: a cluster reads what nobody put into memory, or too early
            case Feed(slot=slot):
                return feeds[slot]
            case Constant(value):
                return value
            case Phi(slot=slot):
                return phis[slot]

    parts = partition(graph, max_nodes)
    verify_partition(parts)
    for step in parts.blocks[0]:
        match step:
            case Cluster():
                lowered = lower(step, nodes)
                results = interpret(
                    lowered, [of(p.source)[p.index] if p.index else of(p.source) for p in lowered.parameters]
                )
                values.update(zip(lowered.outputs, results, strict=True))
            case Alias(node):
                values[Output(node.id)] = np.reshape(of(node.inputs[0]), node.outputs[0].shape)
            case Select(phi, source):
                phis[phi] = values[source]
            case Fetch(source):
                assert source in values
    return values


def interpret(lowered: Lowered, arguments: list[Any]) -> list[Any]:
    program = tree.Program((lowered.definition,))
    assert parse(to_text(program)) == program
    pairs = zip(lowered.parameters, arguments, strict=True)
    typed = [p.spec.dtype.numpy.type(a) if not p.spec.shape else a for p, a in pairs]
    results = define(program)[lowered.definition.name].reference(*typed)
    return list(results) if isinstance(results, tuple) else [results]


@given(op_programs())
def test_lowered_clusters_mean_what_the_operations_mean(program: OpProgram) -> None:
    expected = evaluate(program.graph, program.feeds)
    for max_nodes in (16, 3, 1):
        found = run_partition(program.graph, program.feeds, max_nodes)
        for output in program.outputs:
            np.testing.assert_array_equal(found[output], expected[output])
            assert found[output].dtype == expected[output].dtype


def lowered_text(g: GraphBuilder, graph: SymbolicGraph) -> list[str]:
    steps = partition(graph).blocks[0]
    return [to_text(tree.Program((lower(s, g.nodes).definition,))) for s in steps if isinstance(s, Cluster)]


def test_equal_clusters_have_equal_texts_whatever_feeds_and_symbols_are_called() -> None:
    def build(symbol: str, unused: int) -> list[str]:
        g = GraphBuilder()
        for _ in range(unused):
            g.feed((7,))
        a, b = g.feed((symbol, 4)), g.feed((4,))
        c = g.op("exp", g.op("add", g.op("multiply", a, 2.0), b))
        return lowered_text(g, g.graph(kept=(c,), symbols=(symbol,)))

    assert build("n", 0) == build("batch_size", 3)
    assert len(build("n", 0)) == 1


def test_a_size_that_no_operand_has_comes_from_a_parameter_that_nothing_reads() -> None:
    for reduced in (False, True):
        g = GraphBuilder()
        y = g.op("broadcast_to", g.feed(()), shape=("n", 3))
        if reduced:
            y = g.op("sum", y, axis=(0, 1), keepdims=False)
        graph = g.graph(kept=(y,), symbols=("n",))
        (cluster,) = partition(graph).blocks[0]
        assert isinstance(cluster, Cluster)
        lowered = lower(cluster, g.nodes)
        assert (lowered.sizes, lowered.parameters[-1].source) == (("n",), Constant(0.0))
        (result,) = interpret(lowered, [F32(2.0), np.full((5,), np.nan, F32)])
        np.testing.assert_array_equal(result, F32(30.0) if reduced else np.full((5, 3), F32(2.0)))


def test_producers_read_once_leave_no_buffer_behind() -> None:
    g = GraphBuilder()
    a, b = g.feed((8, 4)), g.feed((8, 4))
    c = g.op("sum", g.op("square", g.op("subtract", a, b)), axis=(0, 1), keepdims=False)
    (text,) = lowered_text(g, g.graph(kept=(c,)))
    assert text.count(";") == 0 and text.count("=!") == 1
    assert "square" not in text.split("{")[1]


def test_movement_goes_into_its_readers_and_results_go_where_they_are_moved() -> None:
    g = GraphBuilder()
    a, b = g.feed((8, 4)), g.feed((8, 5))
    product = g.op("matmul", g.op("permute_dims", a, axes=(1, 0)), b)
    moved = g.op("permute_dims", product, axes=(1, 0))
    (text,) = lowered_text(g, g.graph(kept=(moved,)))
    assert text.count("=") == 1, text


def test_what_is_moved_between_two_operations_keeps_them_together() -> None:
    """Movement is taken into its readers: it is no third kernel that would stand between."""
    g = GraphBuilder()
    x = g.feed((8, 4))
    moved = g.op("permute_dims", g.op("exp", x), axes=(1, 0))
    (text,) = lowered_text(g, g.graph(kept=(g.op("add", moved, 1.0),)))
    assert "add_2(i0, i1) = exp(x0(i1, i0)) + 1.0" in text
    g = GraphBuilder()
    x = g.feed((8, 4))
    total = g.op("sum", x, axis=(1,), keepdims=False)
    widened = g.op("getitem", total, key=(None, "new"))
    (text,) = lowered_text(g, g.graph(kept=(g.op("divide", x, widened),)))
    assert "x0(i0, i1) / sum_0(i0)" in text


def test_a_cluster_does_not_wait_for_what_is_sent_behind_a_fetch() -> None:
    """Python reads `b` before it sends feed 1: an addition that needs feed 1 must not stand in b's cluster."""
    g = GraphBuilder()
    a, late = g.feed((4,)), g.feed((4,))
    b = g.op("negative", a)
    g.fetch(b)
    c = g.op("add", b, late)
    steps = partition(g.graph(kept=(c,))).blocks[0]
    kinds = [[n.op.name for n in s.nodes] if isinstance(s, Cluster) else type(s).__name__ for s in steps]
    assert kinds == [["negative"], "Fetch", ["add"]]


def test_a_cluster_never_waits_for_itself_through_another() -> None:
    """Two reductions of one value and a product around them: merging the ends would enclose the middle."""
    g = GraphBuilder()
    a, w = g.feed((4, 4)), g.feed((4, 4))
    b = g.op("negative", a)
    m = g.op("matmul", b, w)
    c = g.op("add", b, m)
    graph = g.graph(kept=(c,))
    steps = [s for s in partition(graph).blocks[0] if isinstance(s, Cluster)]
    assert [[n.op.name for n in s.nodes] for s in steps] == [["negative"], ["matmul", "add"]]


def test_weak_scalars_that_no_literal_can_write_become_parameters() -> None:
    g = GraphBuilder()
    a = g.feed((3,), "float64")
    c = g.op("multiply", g.op("add", g.op("maximum", a, float("-inf")), 0.1), 0.5)
    graph = g.graph(kept=(c,))
    (cluster,) = partition(graph).clusters
    lowered = lower(cluster, g.nodes)
    constants = [p.source for p in lowered.parameters if isinstance(p.source, Constant)]
    assert constants == [Constant(float("-inf")), Constant(0.1)]
    x = np.array([1.0, 2.0, -0.0])
    (found,) = interpret(lowered, [x if isinstance(p.source, Feed) else p.source.value for p in lowered.parameters])
    np.testing.assert_array_equal(found, (x + 0.1) * 0.5)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 3.4e38, -1.5, 1e-8, 16777217.0])
def test_literals_keep_every_bit_of_a_float32(value: float) -> None:
    g = GraphBuilder()
    a = g.feed((1,))
    c = g.op("multiply", a, value)
    (cluster,) = partition(g.graph(kept=(c,))).clusters
    (found,) = interpret(lower(cluster, g.nodes), [np.ones(1, F32)])
    assert found.tobytes() == F32([value]).tobytes()


def test_values_are_rounded_where_the_operation_rounds_them() -> None:
    """float16 in between: the lowered sum reads rounded products, as the eager one does."""
    g = GraphBuilder()
    a = g.feed((64,), "float16")
    c = g.op("astype", g.op("multiply", a, a), dtype=np.dtype("float32"))
    graph = g.graph(kept=(c,))
    x = np.linspace(0.1, 3, 64).astype(np.float16)
    found = run_partition(graph, {0: x}, 16)[c]
    np.testing.assert_array_equal(found, (x * x).astype(F32))


def test_every_operation_stands_in_one_cluster_but_movement() -> None:
    g = GraphBuilder()
    a, w = g.feed((4, 4)), g.feed((4, 4))
    t = g.op("permute_dims", w, axes=(1, 0))
    x = g.op("relu", g.op("matmul", a, t))
    y = g.op("matmul", x, t)
    graph = g.graph(kept=(y,))
    placed: dict[int, int] = {}
    for cluster in partition(graph).clusters:
        for node in cluster.nodes:
            placed[node.id] = placed.get(node.id, 0) + 1
    nodes: dict[int, OpNode] = nodes_by_id(graph)
    assert {nodes[n].op.name for n, times in placed.items() if times > 1} == {"permute_dims"}
    assert set(placed) == set(nodes)


def test_a_chain_of_views_ends_in_memory_whole() -> None:
    """A view that stays in memory takes no movement in: what it shows is put there before it."""
    g = GraphBuilder()
    a = g.feed((1, 3))
    x = g.op("reshape", g.op("reshape", a, shape=(1, 3)), shape=(1, 3))
    kept = g.op("permute_dims", x, axes=(0, 1))
    other = g.op("maximum", x, a)
    graph = g.graph(kept=(kept, other))
    data = np.array([[2.0, 0.0, 1.0]], F32)
    found = run_partition(graph, {0: data}, 16)
    np.testing.assert_array_equal(found[kept], data)
    np.testing.assert_array_equal(found[other], data)
