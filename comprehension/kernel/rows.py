"""Several iterations of a loop at once, as rows of the tiles in it.

    for i in 0:M:                                   for i in 0:M step 8:
        y[i] = 0                                        for r in i : min(i + 8, M): y[r] = 0
        tile l: acc[l] = 0                              tile r, l: acc[r, l] = 0
        for t: tile l: acc[l] += x[i, 16 t + l]   ->    for t: tile r, l: acc[r, l] += x[i + r, 16 t + l]
        tile l: y[i] += fold(acc[l])                    tile r, l: y[i + r] += fold over l (acc[r, l])

A core waits for memory; several rows that lie far apart keep more lines on their way than one does.

In: a loop and the register buffers that live in an iteration of it.  Out: the loop of rows and the buffers in their
new shapes, or None where something in the loop cannot be done for several rows.
Invariant: each iteration does what it did, in the same order; only iterations are interleaved.  The mapper asks for
it where they are independent, and the certificate proves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, rewrite
from comprehension.kernel.simplify import simplify, varies_with
from comprehension.kernel.walk import accesses_in

Nodes = tuple[ir.Node, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The loop over groups of rows, and the register buffers that have a row for each."""

    loop: ir.Loop
    registers: tuple[ir.Buffer, ...]


def in_rows(loop: ir.Loop, rows: int, buffers: Mapping[str, ir.Buffer], name: str) -> Rows | None:
    """`rows` iterations of a loop at once; `buffers` are the local ones, `name` is free for the rows."""
    touched = [buffers[n] for n in dict.fromkeys(a.buffer for a in accesses_in(loop.body)) if n in buffers]
    if loop.step != 1 or any(b.space is not ir.Space.REGISTER or len(b.shape) != 1 for b in touched):
        return None
    taker = _Taker(loop, rows, name, frozenset(buffer.name for buffer in touched))
    try:
        body = taker.body(loop.body)
    except _Refused:
        return None
    widened = tuple(replace(buffer, shape=(ir.Int(rows), *buffer.shape)) for buffer in touched)
    return Rows(replace(loop, step=rows, body=body), widened)


class _Refused(Exception):
    """Something that only one iteration at a time can do."""


@dataclass(frozen=True, slots=True)
class _Taker:
    loop: ir.Loop
    rows: int
    name: str
    registers: frozenset[str]
    row: ir.Var = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row", ir.Var(self.name))

    def body(self, nodes: Nodes) -> Nodes:
        """What an iteration does: runs of single statements row by row, all else for all rows at once."""
        found: list[ir.Node] = []
        for single, group in groupby(nodes, lambda node: isinstance(node, ir.Define | ir.Store)):
            run = tuple(group)
            found += [self._one_by_one(run)] if single else map(self._together, run)
        return tuple(found)

    def _one_by_one(self, statements: Nodes) -> ir.Node:
        if self.registers & {access.buffer for access in accesses_in(statements)}:
            raise _Refused
        first = ir.Var(self.loop.variable)
        end = simplify(ir.IntOp("+", first, ir.Int(self.rows)))
        last = end if self._is_whole else simplify(ir.IntOp("min", end, self.loop.upper))
        return ir.Loop(self.name, first, last, map_integers(statements, {self.loop.variable: self.row}))

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
        body = rewrite(moved, (ir.Load, ir.Store), self._own)
        in_registers = self.registers.issuperset(access.buffer for access in accesses_in(body))
        left = simplify(ir.IntOp("-", self.loop.upper, ir.Var(self.loop.variable)))
        limit = None if self._is_whole or in_registers else left  # rows of registers beyond the last one are harmless
        return replace(tile, rows=ir.Axis(self.name, ir.Int(0), self.rows, limit), body=body)

    def _own(self, access: ir.Load | ir.Store) -> ir.Load | ir.Store:
        """A register buffer's row."""
        if access.buffer not in self.registers:
            return access
        return replace(access, subscripts=(self.row, *access.subscripts))

    @property
    def _is_whole(self) -> bool:
        """Whether the rows fill all groups."""
        count = simplify(ir.IntOp("-", self.loop.upper, self.loop.lower))
        return isinstance(count, ir.Int) and count.value % self.rows == 0
