"""Ancestry: which nodes of a growing TraceGraph come before which, asked often and answered at once.

In: edges, as they are added.  Out: `comes_before`, and `came_before` the trace that is under way.
Invariant: the nodes of a block stand one behind the other, each the only child of the one before it and its only
parent; so whatever leads to one of them from outside leads through the first, and whatever leaves, through the last.

What leads to a block is a number whose bits are blocks: as many as there are forks and joins, few beside the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coexec.traces.trace_graph import TraceNode


class Block:
    """Nodes in a row; `above`: the blocks from which a path leads here, as bits, this one among them.

    `before`: the same without the edges of the trace under way; `is_new`: it has brought these nodes.
    """

    __slots__ = ("above", "before", "bit", "is_new", "nodes")

    def __init__(self, number: int, nodes: list[TraceNode]) -> None:
        self.nodes = nodes
        self.bit = self.above = self.before = 1 << number
        self.is_new = True
        for position, node in enumerate(nodes):
            node.block, node.position = self, position


def comes_before(first: TraceNode, second: TraceNode) -> bool:
    """Whether a path leads from the first to the second, or they are one; loops are gone through once."""
    a, b = first.block, second.block
    if first is second or a is None or b is None:
        return first is second
    return first.position < second.position if a is b else b.above & a.bit != 0


def came_before(first: TraceNode, second: TraceNode) -> bool:
    """The same, as far as other traces than the one under way lead there."""
    a, b = first.block, second.block
    if first is second or a is None or b is None:
        return first is second
    return first.position < second.position and not a.is_new if a is b else b.before & a.bit != 0


class Ancestry:
    """The blocks of a graph."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def begin_trace(self) -> None:
        """Edges so far are older than those to come."""
        for block in self._blocks:
            block.before, block.is_new = block.above, False

    def note_edge(self, parent: TraceNode, child: TraceNode) -> None:
        """The edge has just been added; it closes no cycle."""
        before = parent.block or self._new_block([parent])  # the parent's stays that, whatever is split from it
        is_last = parent.position == len(before.nodes) - 1
        if child.block is None and is_last and before.is_new and len(parent.children) == 1 and not child.children:
            child.block, child.position = before, len(before.nodes)
            before.nodes.append(child)
            return
        if not is_last:
            self._split(before, parent.position + 1)
        if child.block is not None and child.position > 0:
            self._split(child.block, child.position)
        _spread(child.block or self._new_block([child]), before.above)

    def rebuild(self, order: Iterable[TraceNode]) -> None:
        """From the edges that there are; `order`: parents before children."""
        self._blocks.clear()
        for node in order:
            parents = node.parents
            if len(parents) == 1 and len(parents[0].children) == 1 and parents[0].block is not None:
                node.block, node.position = parents[0].block, len(parents[0].block.nodes)
                node.block.nodes.append(node)
            else:
                block = self._new_block([node])
                for parent in parents:
                    assert parent.block is not None
                    block.above |= parent.block.above
        self.begin_trace()

    def _new_block(self, nodes: list[TraceNode]) -> Block:
        block = Block(len(self._blocks), nodes)
        self._blocks.append(block)
        return block

    def _split(self, block: Block, position: int) -> None:
        """The nodes from `position` on become a block of their own, behind the others."""
        rest = self._new_block(block.nodes[position:])
        del block.nodes[position:]
        rest.is_new = block.is_new
        for other in self._blocks:
            if other.above & block.bit and other is not block:
                other.above |= rest.bit
            if other.before & block.bit and other is not block:
                other.before |= rest.bit
        rest.above |= block.above
        if not block.is_new:
            rest.before |= block.before


def _spread(block: Block, above: int) -> None:
    """What leads to the block leads to all that it leads to."""
    pending = [block]
    while pending:
        current = pending.pop()
        if current.above | above != current.above:
            current.above |= above
            pending += [child.block for child in current.nodes[-1].children if child.block is not None]
