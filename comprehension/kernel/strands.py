"""Strands asked for ahead: what the next register tile reads, row by row, in the reduction that this tile runs.

    for n (tiles of rows):              for n:
        for k: S(b[n + r, k])   ->          for l in 0:K/16:
                                                ask for a line of b[n + 6 + r, 16 l] for each row r
                                                for k in 16 l:16 l+16: S(b[n + r, k])

In: a kernel of known sizes and the machine.  Out: the same kernel whose reductions ask for lines, and the reasons in
words.
Invariant: values, order and addresses are untouched: an `Ask` reads nothing, so it may lie anywhere; iterations keep
their order.

A tile reads its rows' operand in place, an element a step from each of several rows, pages apart.  Processors fetch
ahead within a page only, and each tile begins in new ones: all its rows then wait for memory at once.  So the
reduction asks for what the next tile reads at the same step: as far ahead as a tile takes, and addresses differ from
those that are read by a constant.  Where several tiles of lanes meet the same rows before the next ones come, each asks
for its share of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.locality import Around, Placed, is_far, offset_of
from comprehension.kernel.rewrite import map_integers, nodes_of
from comprehension.kernel.simplify import Linear, expression, linear, simplify
from comprehension.machine import LINE_BYTES, Machine

FEWEST_LINES = 4  # that the reduction reads of a row
APART = 1024  # bytes from one row to the next: what lies nearer is asked for in one piece (`boxes`)
FEWEST_LANES = 32  # arithmetic for each element, behind which its line arrives


def ask_for_strands(placed: Placed, machine: Machine) -> Placed:
    """The kernel with strands asked for, and notes that say which."""
    stages, notes = [], []
    for stage, note in zip(placed.kernel.stages, placed.notes, strict=True):
        asker = _Asker(placed.kernel, machine, stage)
        stages.append(asker.stage())
        notes.append("; ".join([note, *asker.notes]))
    return Placed(replace(placed.kernel, stages=tuple(stages)), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Strand:
    """`rows` rows of `buffer`, `apart` elements from one to the next, of which a line has `line`; the next tile reads
    element `first` of the first of them where this one reads what the loop is at.
    """

    buffer: str
    first: ir.IntExpr
    line: int
    rows: int
    apart: int
    shares: int = 1  # of the next tile's rows, of which one is asked for here

    @property
    def ask(self) -> ir.Ask:
        return ir.Ask(self.buffer, self.first, self.line, self.rows, self.apart)


def _by_lines(loop: ir.Loop, strands: Sequence[_Strand]) -> Iterator[ir.Loop]:
    """The loop in pieces of a line of its strands, each of which begins by asking for them; then what is left of it."""
    line = min(strand.line for strand in strands)
    pieces = ir.IntOp("/", simplify(ir.IntOp("-", loop.upper, loop.lower)), ir.Int(line))
    number = ir.Var(f"{loop.variable}_line")
    begin = simplify(ir.IntOp("+", loop.lower, ir.IntOp("*", ir.Int(line), number)))
    middle = simplify(ir.IntOp("+", loop.lower, ir.IntOp("*", ir.Int(line), pieces)))
    asks = tuple(map_integers(strand.ask, {loop.variable: begin}) for strand in strands)
    piece = replace(loop, lower=begin, upper=simplify(ir.IntOp("+", begin, ir.Int(line))))
    yield ir.Loop(number.name, ir.Int(0), simplify(pieces), (piece,), asks=asks)
    if middle != simplify(loop.upper):
        yield replace(loop, lower=middle)


class _Asker:
    """Adds what the reductions of one stage ask for."""

    def __init__(self, kernel: ir.Kernel, machine: Machine, on: ir.Stage) -> None:
        self.kernel, self.machine, self.on = kernel, machine, on
        self.done = {load.buffer for load in nodes_of(on.body, ir.Load) if load.ahead}
        self.done |= {ask.buffer for ask in nodes_of(on.body, ir.Ask)}
        self.notes: list[str] = []

    def stage(self) -> ir.Stage:
        if self.kernel.sizes or self.on.beyond is not None:
            return self.on
        around = Around() if self.on.parallel is None else Around().loop(self.on.parallel)
        return replace(self.on, body=self._nodes(self.on.body, around))

    def _nodes(self, nodes: Sequence[ir.Node], around: Around) -> tuple[ir.Node, ...]:
        return tuple(made for node in nodes for made in self._node(node, around))

    def _node(self, node: ir.Node, around: Around) -> tuple[ir.Node, ...]:
        match node:
            case ir.If():
                return (replace(node, body=self._nodes(node.body, around)),)
            case ir.Loop():
                inside = around.loop(node)
                strands = list(dict.fromkeys(self._strands(node, inside)))
                if strands:
                    self.notes += [f"{s.shares * s.rows} rows of {s.buffer} asked for a tile ahead" for s in strands]
                    return tuple(_by_lines(node, strands))
                return (replace(node, body=self._nodes(node.body, inside)),)
            case _:
                return (node,)

    def _strands(self, loop: ir.Loop, around: Around) -> Iterator[_Strand]:
        """What the tiles directly in a loop read of rows that the loop goes along."""
        _, count = around.loops[-1]
        if loop.step != 1 or count is None or not all(isinstance(node, ir.Tile) for node in loop.body):
            return
        for tile in (node for node in loop.body if isinstance(node, ir.Tile)):
            for load in nodes_of(tile.body, ir.Load):
                strand = self._strand(load, tile, around, count) if load.buffer not in self.done else None
                if strand is not None:
                    yield strand

    def _strand(self, load: ir.Load, tile: ir.Tile, around: Around, count: int) -> _Strand | None:
        """A load of one element of each row, which the loop moves along memory, and where the next tile's begins."""
        buffer = self.kernel.buffer(load.buffer)
        if buffer.space not in (ir.Space.INPUT, ir.Space.WORKSPACE) or tile.rows is None:
            return None
        if not is_far(buffer, self.machine):
            return None
        size = buffer.dtype.bits // 8
        offset, line = offset_of(buffer, load), LINE_BYTES // size
        apart, along = (offset.coefficient(ir.Var(axis.variable)) for axis in (tile.rows, tile.lanes))
        name, _ = around.loops[-1]
        if (
            offset.coefficient(ir.Var(name)) != 1
            or along != 0
            or apart * size < APART
            or tile.lanes.extent < FEWEST_LANES
        ):
            return None
        counted = around.tile(tile).from_starts(offset)
        moves = [(around.step(counted, other), other, often) for other, often in around.loops[:-1] if often != 1]
        place = next((at for at in reversed(range(len(moves))) if moves[at][0] != 0), None)
        if place is None or moves[place][0] <= 0 or count < FEWEST_LINES * line:
            return None
        rows = tile.rows.extent
        first = offset.at(tile.rows.variable, linear(tile.rows.start)).plus(Linear(moves[place][0], ()))
        for _, other, often in moves[place + 1 :][-1:]:  # of the loops that meet the same rows the innermost
            if often is not None and rows % often == 0 and dict(around.steps)[other] == 1:
                number = linear(ir.Var(other)).plus(dict(around.starts)[other], -1)
                rows //= often
                first = first.plus(number, rows * apart)
        return _Strand(buffer.name, simplify(expression(first)), line, rows, apart, tile.rows.extent // rows)
