"""Found by the ten programs: sizes that vary from step to step ended co-execution with an internal error."""

from __future__ import annotations

import numpy as np

from coexec.traces.opaque import has_comprehension
from coexec.traces.trace_graph import NodeKey, TraceGraph
from minitensor.ops.contract import matmul
from minitensor.ops.elementwise import relu
from minitensor.ops.opdef import TensorSpec


def test_a_number_is_given_once_whatever_is_pruned() -> None:
    graph = TraceGraph()
    key = NodeKey("relu", (), (), None, ())
    first, second = (graph.add_node(relu, key, {}, (), (), "here") for _ in range(2))
    graph.nodes.remove(first)
    third = graph.add_node(relu, key, {}, (), (), "here")
    assert len({graph.start.number, graph.end.number, first.number, second.number, third.number}) == 5


def test_symbols_that_cannot_be_equal_are_refused() -> None:
    """A symbol against a number: the product ran with both as numbers, so the operation must know its sizes."""
    single = np.dtype(np.float32)
    fitting = [TensorSpec((3, "n0"), single), TensorSpec(("n0", 2), single)]
    assert has_comprehension(matmul, fitting, {})
    assert not has_comprehension(matmul, [fitting[0], TensorSpec((4, 2), single)], {})
