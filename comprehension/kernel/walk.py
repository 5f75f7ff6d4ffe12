"""Walking over KernelIR: nodes, and the places that touch buffers.

In: nodes, statements or values.  Out: what is inside of them, each before its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of


def accesses_in(node: object) -> Iterator[ir.Store | ir.Load]:
    """All stores and loads in statements or values."""
    return (part for part in nodes_of(node, object) if isinstance(part, ir.Store | ir.Load))


def walk_nodes(nodes: Sequence[ir.Node]) -> Iterator[ir.Node]:
    """All nodes, each before what it contains."""
    for node in nodes:
        yield node
        if isinstance(node, ir.Loop | ir.If | ir.Tile):
            yield from walk_nodes(node.body)
