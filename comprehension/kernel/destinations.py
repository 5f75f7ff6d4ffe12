"""Destinations asked for ahead: the lines that a register tile will write, while its reduction runs.

    for m (tiles of rows):                     for m:
        for k: acc += ...               ->         ask for a tile of C, row by row
        tile r, l: C[m + r, l] = acc               for k: acc += ...
                                                   tile r, l: C[m + r, l] = acc

In: a kernel of known sizes and the machine.  Out: the same kernel whose loops ask for lines, and the reasons in words.
Invariant: values, order and addresses are untouched: an `Ask` reads nothing, so it may lie anywhere.

A line that is written in part is read first, and rows of a tile lie in pages of their own, where nothing is fetched
ahead.  Stores wait for that in a queue, and with it all that follows.  What is written in one piece, iteration
after iteration, is asked for an iteration ahead instead (`boxes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from comprehension.kernel import ir
from comprehension.kernel.locality import Around, Placed, is_far, offset_of
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import expression, linear, simplify
from comprehension.machine import LINE_BYTES, Machine

APART = 1024  # bytes from one row to the next
MOST_LINES = 48  # of a tile: no more can be on their way
LONG_ENOUGH = 5_000  # points of the reduction: some hundred cycles, what memory takes to answer


def ask_for_destinations(placed: Placed, machine: Machine) -> Placed:
    """The kernel with destinations asked for, and notes that say which."""
    stages, notes = [], []
    for stage, note in zip(placed.kernel.stages, placed.notes, strict=True):
        asker = _Asker(placed.kernel, machine, stage)
        stages.append(asker.stage())
        notes.append("; ".join([note, *dict.fromkeys(asker.notes)]))
    return Placed(replace(placed.kernel, stages=tuple(stages)), tuple(notes))


@dataclass(slots=True)
class _Asker:
    """Adds what the loops of one stage ask for."""

    kernel: ir.Kernel
    machine: Machine
    on: ir.Stage
    done: set[str] = field(init=False)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.done = {ask.buffer for ask in nodes_of(self.on.body, ir.Ask)}

    def stage(self) -> ir.Stage:
        if self.kernel.sizes or self.on.beyond is not None:
            return self.on
        around = Around() if self.on.parallel is None else Around().loop(self.on.parallel)
        return replace(self.on, body=tuple(self._node(node, around) for node in self.on.body))

    def _node(self, node: ir.Node, around: Around) -> ir.Node:
        match node:
            case ir.If():
                return replace(node, body=tuple(self._node(part, around) for part in node.body))
            case ir.Loop():
                inside = around.loop(node)
                asks = tuple(dict.fromkeys(self._asks(node.body, inside)))
                body = tuple(self._node(part, inside) for part in node.body)
                return replace(node, body=body, asks=(*node.asks, *asks))
            case _:
                return node

    def _asks(self, body: Sequence[ir.Node], around: Around) -> Iterator[ir.Ask]:
        """What tiles behind a long reduction write."""
        points = 0
        for node in body:
            if isinstance(node, ir.Loop):
                points += _points(node, around)
            if isinstance(node, ir.Tile) and points >= LONG_ENOUGH:
                for store in (part for part in node.body if isinstance(part, ir.Store)):
                    ask = self._ask(store, node)
                    if ask is not None:
                        self.notes.append(f"{ask.rows} rows of {ask.buffer} asked for before they are written")
                        yield ask

    def _ask(self, store: ir.Store, tile: ir.Tile) -> ir.Ask | None:
        buffer = self.kernel.buffer(store.buffer)
        if buffer.space not in (ir.Space.OUTPUT, ir.Space.WORKSPACE) or store.streaming or buffer.name in self.done:
            return None
        size, rows, lanes = buffer.dtype.bits // 8, tile.rows, tile.lanes
        if rows is None or not is_far(buffer, self.machine):
            return None
        offset = offset_of(buffer, store)
        apart, along = (offset.coefficient(ir.Var(axis.variable)) for axis in (rows, lanes))
        lines = rows.extent * (lanes.extent * size // LINE_BYTES + 1)
        plain = all(isinstance(term, ir.Var) for term, _ in offset.terms)
        if along != 1 or apart * size < APART or lines > MOST_LINES or not plain:
            return None
        for axis in (rows, lanes):
            offset = offset.at(axis.variable, linear(axis.start))
        return ir.Ask(buffer.name, simplify(expression(offset)), lanes.extent, rows.extent, apart)


def _points(loop: ir.Loop, around: Around) -> int:
    """Points of the tiles in a loop, in all its iterations; 0 where nobody knows how many these are."""
    inside = around.loop(loop)
    _, count = inside.loops[-1]
    each = 0
    for node in loop.body:
        match node:
            case ir.Tile(rows=rows, lanes=lanes):
                each += lanes.extent * (1 if rows is None else rows.extent)
            case ir.Loop():
                each += _points(node, inside)
    return each * (count or 0)
