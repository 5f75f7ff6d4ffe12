"""Walking over KernelIR: nodes, and the places that touch buffers.

In: nodes, statements or values.  Out: what is inside of them, each before its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass

from comprehension.kernel import ir


def accesses_in(node: object) -> Iterator[ir.Store | ir.Load]:
    """All stores and loads in statements or values."""
    if isinstance(node, ir.Store | ir.Load):
        yield node
    if isinstance(node, tuple):
        for part in node:
            yield from accesses_in(part)
    elif is_dataclass(node):
        for part in fields(node):
            yield from accesses_in(getattr(node, part.name))


def walk_nodes(nodes: Sequence[ir.Node]) -> Iterator[ir.Node]:
    """All nodes, each before what it contains."""
    for node in nodes:
        yield node
        if isinstance(node, ir.Loop | ir.If | ir.Tile):
            yield from walk_nodes(node.body)
