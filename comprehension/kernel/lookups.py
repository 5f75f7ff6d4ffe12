"""Rows that index tensors name, asked for ahead: which row a later iteration reads is known long before it does.

    for l: y[:] += T[I[b, l], :]    ->    for l: ask for T[I[b, l + 16], 0], T[I[b, l + 8], :]; y[:] += T[I[b, l], :]

In: a kernel of known sizes and the machine.  Out: the same kernel whose loops ask for rows, and the reasons in words.
Invariant: values, order and addresses are untouched: an `Ask` reads nothing of the table, so it may lie anywhere; the
numbers of rows are read from the index tensor, at places that are within it whatever the loops do (the verifier
checks that).

A row at a random place costs the latency of memory and, the tables being large, a walk through the page tables
before it.  A core looks some fifty operations ahead by itself: to the next rows, but no walk is over by then.  So the
first line of a row is asked for first, which brings the translation of its page, and the rest half as far ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.locality import Around, Placed, is_far, offset_of
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import expression, simplify
from comprehension.machine import LINE_BYTES, Machine

LINES_AHEAD = 32  # of the rows that are on their way: some times the latency of memory over the time for a line
FEWEST_POINTS = 16  # iterations of the loop around; fewer are over before anything asked for comes


def ask_for_rows(placed: Placed, machine: Machine) -> Placed:
    """The kernel with rows asked for, and notes that say of which tables."""
    if placed.kernel.sizes:
        return placed
    stages, notes = [], []
    for stage, note in zip(placed.kernel.stages, placed.notes, strict=True):
        asker = _Asker(placed.kernel, machine)
        around = Around() if stage.parallel is None else Around().loop(stage.parallel)
        stages.append(replace(stage, body=asker.nodes(stage.body, around)))
        notes.append("; ".join([note, *asker.notes]))
    return Placed(replace(placed.kernel, stages=tuple(stages)), tuple(notes))


class _Asker:
    """Adds what each innermost loop asks for."""

    def __init__(self, kernel: ir.Kernel, machine: Machine) -> None:
        self.kernel, self.machine = kernel, machine
        self.notes: list[str] = []

    def nodes(self, nodes: tuple[ir.Node, ...], around: Around) -> tuple[ir.Node, ...]:
        return tuple(self._node(node, around) for node in nodes)

    def _node(self, node: ir.Node, around: Around) -> ir.Node:
        match node:
            case ir.If():
                return replace(node, body=self.nodes(node.body, around))
            case ir.Loop():
                inside = around.loop(node)
                asks = tuple(ask for lookup in self._lookups(node) for ask in self._asks(lookup, inside))
                return replace(node, body=self.nodes(node.body, inside), asks=(*node.asks, *asks))
            case _:
                return node

    def _lookups(self, loop: ir.Loop) -> Iterator[_Lookup]:
        """The rows that tiles directly in a loop look up, each once."""
        found: dict[tuple[str, ir.Load], _Lookup] = {}
        for tile in loop.body:
            if isinstance(tile, ir.Tile) and tile.rows is None:
                for load in nodes_of(tile.body, ir.Load):
                    lookup = self._lookup(load, tile.lanes, loop)
                    if lookup is not None:
                        found.setdefault((load.buffer, lookup.number), lookup)
        yield from found.values()

    def _lookup(self, load: ir.Load, lanes: ir.Axis, loop: ir.Loop) -> _Lookup | None:
        table = self.kernel.buffer(load.buffer)
        if table.space is not ir.Space.INPUT or not is_far(table, self.machine):
            return None
        numbers = [number for s in load.subscripts for number in nodes_of(s, ir.Load)]
        offset = offset_of(table, load)
        if len(numbers) != 1 or offset.coefficient(ir.Var(lanes.variable)) != 1:
            return None
        (number,) = numbers
        index = self.kernel.buffer(number.buffer)
        if index.space is not ir.Space.INPUT or not prod(_extents(index) or [0]) or index.strides is not None:
            return None
        place = offset_of(index, number)
        step = place.coefficient(ir.Var(loop.variable)) * loop.step
        inner = any(isinstance(part, ir.FromValue) for part, _ in place.terms)
        if step == 0 or inner or place.coefficient(ir.Var(lanes.variable)):
            return None
        return _Lookup(table, load, lanes, index, number, step)

    def _asks(self, lookup: _Lookup, around: Around) -> list[ir.Ask]:
        _, count = around.loops[-1]
        if count is None or count < FEWEST_POINTS:
            return []
        elements = lookup.lanes.extent
        lines = -(-elements * lookup.table.dtype.bits // 8 // LINE_BYTES)
        near = max(1, LINES_AHEAD // lines)
        self.notes.append(f"rows of {lookup.table.name} asked for {near} and {2 * near} iterations ahead")
        first = lookup.row(near)
        last = simplify(ir.IntOp("+", first, ir.Int(elements - 1)))  # the line beyond, where rows begin within lines
        name = lookup.table.name
        return [ir.Ask(name, lookup.row(2 * near), 1), ir.Ask(name, first, elements), ir.Ask(name, last, 1)]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A tile's load of a row of `table` whose number is `number`, which is `step` elements further on each time."""

    table: ir.Buffer
    load: ir.Load
    lanes: ir.Axis
    index: ir.Buffer
    number: ir.Load
    step: int

    def row(self, ahead: int) -> ir.IntExpr:
        """Where the row begins that is looked up so many iterations later, or the index tensor's last one."""
        extents = _extents(self.index)
        assert extents is not None
        later = ir.IntOp("+", expression(offset_of(self.index, self.number)), ir.Int(ahead * self.step))
        # Bounds of its own, so that nobody need know where the loops go.
        place: ir.IntExpr = ir.IntOp("min", ir.IntOp("max", later, ir.Int(0)), ir.Int(prod(extents) - 1))
        subscripts: list[ir.IntExpr] = []
        for extent in reversed(extents[1:]):
            subscripts.insert(0, ir.IntOp("%", place, ir.Int(extent)))
            place = ir.IntOp("/", place, ir.Int(extent))
        number = replace(self.number, subscripts=(place, *subscripts))
        load = rewrite(self.load, ir.Load, lambda found: number if found == self.number else found)
        begin = map_integers(load.subscripts, {self.lanes.variable: self.lanes.start})
        return expression(offset_of(self.table, replace(load, subscripts=begin)))


def _extents(buffer: ir.Buffer) -> list[int] | None:
    """The shape, where it is known."""
    known = [extent.value for extent in buffer.shape if isinstance(extent, ir.Int)]
    return known if len(known) == len(buffer.shape) else None
