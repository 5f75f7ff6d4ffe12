"""Shapes of gradients follow the symbols that what they are gradients of has got since.

In: a TraceGraph after a merge.  Out: the same graph; some shape attributes have symbols for numbers.
Invariant: a shape follows only where all readers have come to take its tensor with these symbols already.

On a path of its own (the rounds of a loop, which are so many on no other) an operation is met with one size only, and
keeps the number that it was met with first.
"""

from __future__ import annotations

from coexec.graph.symbolic import Dim
from coexec.traces.node_specs import infer_specs
from coexec.traces.trace_graph import SHAPE_ATTRIBUTE, FromNodes, TraceGraph, TraceNode, TraceOutput, operands_of_node


def follow_forward(graph: TraceGraph) -> None:
    """Gives shapes the symbols of the operations whose gradients are taken."""
    taken: dict[TraceOutput, set[tuple[Dim, ...]]] = {}
    for node in graph.nodes:
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            if isinstance(wiring, FromNodes) and spec is not None:
                for output in wiring.alternatives:
                    taken.setdefault(output, set()).add(spec.shape)
    for output, shapes in taken.items():
        (wanted, *others) = shapes
        if not others and output.node.output_specs[output.index].shape != wanted:
            _follow(graph, output.node, wanted)


def _follow(graph: TraceGraph, node: TraceNode, wanted: tuple[Dim, ...]) -> None:
    """Gives a node's shape the symbols with which its output is `wanted`, if its forward operation has them."""
    forward, shape, origins = node.forward, node.attributes.get(SHAPE_ATTRIBUTE), graph.symbols.origins
    if forward is None or node.op is None or not isinstance(shape, tuple):
        return
    for spec in (*forward.input_specs, *forward.output_specs):
        if spec is None or tuple([origins.get(d) if isinstance(d, str) else d for d in spec.shape]) != shape:
            continue
        attributes = {**node.attributes, SHAPE_ATTRIBUTE: spec.shape}
        made = infer_specs(node.op, operands_of_node(node.inputs, node.input_specs), attributes)
        if made is not None and [each.shape for each in made] == [wanted]:
            node.attributes, node.output_specs, node.form = attributes, made, None
            graph.version += 1
            return
