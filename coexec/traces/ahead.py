"""Running ahead: which operations a graph must not run before Python has come to them.

In: the nodes of a TraceGraph in topological order.  Out: those whose operands may be missing, or shorter than they take
them.
Invariant: on every path to an operation that is none of these, each of its operands has been made or is awaited, with
the dimensions that the operation takes it with.

A graph runs on where nothing forks, and Python may turn out to go another way.  What it computes then is wanted by
nobody, but it has to be able to compute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import and_

from coexec.graph.symbolic import SymbolicSpec
from coexec.traces.trace_graph import FromFeed, FromNodes, TraceFeed, TraceNode, TraceOutput


def waiting_for_python(order: Sequence[TraceNode]) -> set[TraceNode]:
    """The operations before which a graph has to wait until Python has validated them."""
    return _with_operands_missing(order) | with_other_dimensions(order)


def with_other_dimensions(nodes: Iterable[TraceNode]) -> set[TraceNode]:
    """Where an operand is told by other dimensions than the operation takes it with: only the sizes that Python has say
    whether it has as many elements."""
    found: set[TraceNode] = set()
    readers: dict[TraceFeed, list[tuple[TraceNode, SymbolicSpec]]] = {}
    for node in nodes:
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            if isinstance(wiring, FromFeed) and spec is not None:
                readers.setdefault(wiring.feed, []).append((node, spec))
            elif isinstance(wiring, FromNodes) and spec is not None:
                made = [output.node.output_specs[output.index].shape for output in wiring.alternatives]
                if any(shape != spec.shape for shape in made):
                    found.add(node)
    for uses in readers.values():
        if any(spec.shape != uses[0][1].shape for _, spec in uses):
            found.update(node for node, _ in uses)
    return found


def _with_operands_missing(order: Sequence[TraceNode]) -> set[TraceNode]:
    """Where some path comes by none of the producers of an operand; no trace did, but paths are combined.

    What was come by on every path to a node, in bits: a bit for each operand's producers.  An operation that has been
    run had its operands, so all that comes before those was come by, too: of a branch in `backward()` the first
    operation tells which branch was taken before.
    """
    bits: dict[frozenset[TraceOutput], int] = {}
    makes: dict[TraceNode, int] = {}
    for node in order:
        for producers in _producers(node):
            if producers not in bits:
                bits[producers] = bit = 1 << len(bits)
                for output in producers:
                    makes[output.node] = makes.get(output.node, 0) | bit
    behind: dict[TraceNode, int] = {}
    found: set[TraceNode] = set()
    for node in order:
        met = _common([behind[parent] for parent in node.parents])
        known = met | makes.get(node, 0)
        for producers in _producers(node):
            if not bits[producers] & met:
                found.add(node)
            # In a folded loop a producer may come later in the round: the round before has run it.
            known |= bits[producers] | _common([behind.get(output.node, 0) for output in producers])
        behind[node] = known
    return found


def _producers(node: TraceNode) -> list[frozenset[TraceOutput]]:
    return [frozenset(wiring.alternatives) for wiring in node.inputs if isinstance(wiring, FromNodes)]


def _common(several: Sequence[int]) -> int:
    return reduce(and_, several) if several else 0
