"""Several iterations of a loop at once, as rows of the tiles in it.

    for i in 0:M:                                   for i in 0:M step 8:
        y[i] = 0                                        for r in i : min(i + 8, M): y[r] = 0
        tile l: acc[l] = 0                              tile r, l: acc[r, l] = 0
        for t: tile l: acc[l] += x[i, 16 t + l]   ->    for t: tile r, l: acc[r, l] += x[i + r, 16 t + l]
        tile l: y[i] += fold(acc[l])                    tile r, l: y[i + r] += fold over l (acc[r, l])
        for t: tile l: z[i, l] = x[i, l] / y[i]         for r in i : min(i + 8, M): for t: tile l: z[r, l] = ...

A core waits for memory; several rows that lie far apart keep more lines on their way than one does.  It waits for the
folds of a short row, too, each a chain of operations: those of several rows run side by side.

In: a loop and the local buffers that live in an iteration of it.  Out: the loop of rows and these buffers in their
new shapes, or None where something in the loop cannot be done for several rows.  Accumulators stay in registers, a
single number becomes one for each row, in memory; what others will see is written row by row, in the order of memory.
Invariant: each iteration does what it did, in the same order; only iterations are interleaved.  The mapper asks for
it where they are independent, and the certificate proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeVar

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import simplify, varies_with
from comprehension.kernel.walk import accesses_in

Nodes = tuple[ir.Node, ...]
Tree = TypeVar("Tree")


@dataclass(frozen=True, slots=True)
class Rows:
    """The loop over groups of rows, and the local buffers that have a row for each."""

    loop: ir.Loop
    buffers: tuple[ir.Buffer, ...]


def in_rows(loop: ir.Loop, rows: int, buffers: Mapping[str, ir.Buffer], name: str) -> Rows | None:
    """`rows` iterations of a loop at once; `buffers` are the local ones, `name` is free for the rows."""
    own = _own_buffers(loop, buffers)
    if loop.step != 1 or any(b.space is ir.Space.REGISTER and len(b.shape) > 1 for b in own):
        return None
    accumulators = frozenset(b.name for b in own if b.space is ir.Space.REGISTER and b.shape)
    taker = _Taker(loop, rows, name, frozenset(b.name for b in own), accumulators, frozenset(buffers))
    try:
        body = taker.body(loop.body)
    except _Refused:
        return None
    return Rows(replace(loop, step=rows, body=body), tuple(_widened(buffer, rows) for buffer in own))


def _own_buffers(loop: ir.Loop, buffers: Mapping[str, ir.Buffer]) -> list[ir.Buffer]:
    """The local buffers that each iteration writes anew, all in the same place."""
    touched: dict[str, list[ir.Load | ir.Store]] = {}
    for access in accesses_in(loop.body):
        touched.setdefault(access.buffer, []).append(access)
    return [
        buffers[name]
        for name, accesses in touched.items()
        if name in buffers
        and any(isinstance(access, ir.Store) for access in accesses)
        and not any(varies_with(access.subscripts, loop.variable) for access in accesses)
    ]


def _widened(buffer: ir.Buffer, rows: int) -> ir.Buffer:
    """The buffer with a row for each iteration; single numbers go to memory, where a loop can reach each of them."""
    space = buffer.space if buffer.shape else ir.Space.SCRATCH
    return replace(buffer, shape=(ir.Int(rows), *buffer.shape), space=space)


class _Refused(Exception):
    """Something that only one iteration at a time can do."""


@dataclass(frozen=True, slots=True)
class _Taker:
    loop: ir.Loop
    rows: int
    name: str
    own: frozenset[str]  # buffers that have a row for each iteration
    accumulators: frozenset[str]  # of them, those in registers
    local: frozenset[str]  # all buffers that nobody else sees
    row: ir.Var = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row", ir.Var(self.name))

    def body(self, nodes: Nodes) -> Nodes:
        """What an iteration does: single statements and loops that write for others row by row, all else at once."""
        found: list[ir.Node] = []
        for apart, group in groupby(nodes, self._stands_apart):
            run = tuple(group)
            found += [self._one_by_one(run)] if apart else map(self._together, run)
        return tuple(found)

    def _stands_apart(self, node: ir.Node) -> bool:
        match node:
            case ir.Define() | ir.Store():
                return True
            case ir.Loop() | ir.Tile():
                written = {store.buffer for store in nodes_of(node, ir.Store)}
                accumulates = self.accumulators & {access.buffer for access in accesses_in(node)}
                return not accumulates and self.local.isdisjoint(written)
        return False

    def _one_by_one(self, nodes: Nodes) -> ir.Node:
        if self.accumulators & {access.buffer for access in accesses_in(nodes)}:
            raise _Refused
        first = ir.Var(self.loop.variable)
        end = simplify(ir.IntOp("+", first, ir.Int(self.rows)))
        last = end if self._is_whole else simplify(ir.IntOp("min", end, self.loop.upper))
        moved = map_integers(nodes, {self.loop.variable: self.row})
        return ir.Loop(self.name, first, last, self._in_row(moved, ir.IntOp("-", self.row, first)))

    def _together(self, node: ir.Node) -> ir.Node:
        match node:
            case ir.Loop() if not varies_with((node.lower, node.upper), self.loop.variable):
                return replace(node, body=tuple(self._together(part) for part in node.body))
            case ir.If() if not varies_with(node.condition, self.loop.variable):
                return replace(node, body=tuple(self._together(part) for part in node.body))
            case ir.Tile(rows=None) if not varies_with((node.lanes.start, node.lanes.limit), self.loop.variable):
                return self._tile(node)
        raise _Refused

    def _tile(self, tile: ir.Tile) -> ir.Tile:
        place = simplify(ir.IntOp("+", ir.Var(self.loop.variable), self.row))
        moved = map_integers(tile.body, {self.loop.variable: place})
        body = self._in_row(moved, self.row)
        in_registers = self.accumulators.issuperset(access.buffer for access in accesses_in(body))
        left = simplify(ir.IntOp("-", self.loop.upper, ir.Var(self.loop.variable)))
        limit = None if self._is_whole or in_registers else left  # rows of registers beyond the last one are harmless
        return replace(tile, rows=ir.Axis(self.name, ir.Int(0), self.rows, limit), body=body)

    def _in_row(self, nodes: Tree, row: ir.IntExpr) -> Tree:
        """The nodes with what an iteration has for itself in its row."""

        def moved(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
            return replace(access, subscripts=(row, *access.subscripts)) if access.buffer in self.own else access

        return rewrite(nodes, (ir.Load, ir.Store), moved)

    @property
    def _is_whole(self) -> bool:
        """Whether the rows fill all groups."""
        count = simplify(ir.IntOp("-", self.loop.upper, self.loop.lower))
        return isinstance(count, ir.Int) and count.value % self.rows == 0
