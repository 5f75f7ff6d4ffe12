"""Boxes asked for ahead: what the next iteration of a loop reads again and again, on its way while this one computes.

    for n: for h: for c: S(x[n, c, h])    ->    for n: for h: for c: ask for a piece of x[n + 1]; S(x[n, c, h])

In: a kernel of known sizes and the machine.  Out: the same kernel whose loops ask for lines, and the reasons in words.
Invariant: values, order and addresses are untouched: an `Ask` reads nothing, so it may lie anywhere.

A register tile comes to what it reads many times, in small steps: processors fetch ahead along such steps, but not
to where the next iteration of an outer loop begins.  Its first touches then wait for memory one by one, which costs
as much as the arithmetic where there is little of it for each element (convolutions of few channels).  So the box of
the next iteration is divided evenly among the iterations inside of this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.locality import Around, Placed, offset_of
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import Linear, expression, simplify
from comprehension.machine import Machine

LINE_BYTES = 64
FEWEST_LINES = 8  # of a box: less is on its way before it is missed
SHORTEST = 5_000  # points of an iteration: some hundred cycles, what memory takes to answer
REUSED = 4  # points for each element, so that there is arithmetic to hide behind
MOST_LINES = 8  # that one place asks for at once
RAGGED = 64  # elements that the last tile of a row may seem to read beyond it
SHARE = 4  # a box takes no more than this part of the second cache

Chain = tuple[tuple[ir.Loop, Linear, int], ...]  # loops one in the other, where each begins, how often it runs


@dataclass(frozen=True, slots=True)
class _Box:
    """What one iteration of a loop reads of a buffer: `elements` from `first` on, in the iteration that follows."""

    buffer: str
    loop: int  # the loop's identity
    first: ir.IntExpr
    elements: int


def ask_for_boxes(placed: Placed, machine: Machine) -> Placed:
    """The kernel with boxes asked for, and notes that say which."""
    stages, notes = [], []
    for stage, note in zip(placed.kernel.stages, placed.notes, strict=True):
        asked, more = _Asker(placed.kernel, machine, stage).stage()
        stages.append(asked)
        notes.append("; ".join([note, *more]))
    return Placed(replace(placed.kernel, stages=tuple(stages)), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Asker:
    kernel: ir.Kernel
    machine: Machine
    on: ir.Stage

    def stage(self) -> tuple[ir.Stage, list[str]]:
        stage, notes = self.on, []
        if self.kernel.sizes or stage.beyond is not None:
            return stage, []
        done = {load.buffer for load in nodes_of(stage.body, ir.Load) if load.ahead}
        outermost = Around() if stage.parallel is None else Around().loop(stage.parallel)
        found: dict[str, _Box] = {}
        for load, around in _loads(stage.body, outermost):
            if load.buffer not in done and load.buffer not in found:
                box = self._box(load, around)
                if box is not None:
                    found[load.buffer] = box
        for box in found.values():
            asked = self._asking(stage, box)
            if asked is not None:
                stage = asked
                notes.append(f"{_kib(self._bytes(box))} of {box.buffer} asked for an iteration ahead")
        return stage, notes

    def _bytes(self, box: _Box) -> int:
        return box.elements * self.kernel.buffer(box.buffer).dtype.bits // 8

    # --- what is read again and again -------------------------------------------------------------------

    def _box(self, load: ir.Load, around: Around) -> _Box | None:
        """The box of the innermost loop that leaves one behind for another, and takes long enough."""
        buffer = self.kernel.buffer(load.buffer)
        if buffer.space not in (ir.Space.INPUT, ir.Space.WORKSPACE) or buffer.strides is not None:
            return None
        extents = [extent.value for extent in buffer.shape if isinstance(extent, ir.Int)]
        size = buffer.dtype.bits // 8
        if len(extents) < len(buffer.shape) or prod(extents) * size <= self.machine.l2_bytes:
            return None
        offset = around.from_starts(offset_of(buffer, load))
        known = {ir.Var(name) for name, _ in around.all()}
        if any(term not in known for term, _ in offset.terms):
            return None
        for place in reversed(range(len(around.loops))):
            name, count = around.loops[place]
            inside = [*around.loops[place + 1 :], *around.axes]
            elements = _dense([(around.step(offset, other), often) for other, often in inside])
            if elements is None:
                continue
            points = prod(often or 1 for _, often in inside)
            step = around.step(offset, name)
            if elements - RAGGED <= step:
                elements = min(elements, step)
            lines = elements * size // LINE_BYTES
            if count == 1 or step < elements or lines < FEWEST_LINES or points < SHORTEST:
                continue
            if lines * LINE_BYTES > self.machine.l2_bytes // SHARE or points < REUSED * elements:
                return None
            return _Box(load.buffer, around.nodes[place], _next(offset, around, place, step), elements)
        return None

    # --- where it is asked for --------------------------------------------------------------------------

    def _asking(self, stage: ir.Stage, box: _Box) -> ir.Stage | None:
        """The stage, with the box asked for in the loops that come closest to one line each time."""
        lines = max(1, self._bytes(box) // LINE_BYTES)
        ranges = Around() if stage.parallel is None else Around().loop(stage.parallel)
        body = stage.body if stage.parallel is not None and id(stage.parallel) == box.loop else None
        chains = list(_chains(stage.body, ranges, box.loop, inside=body is not None))
        fitting = [(times, chain) for chain in chains if 2 * lines >= (times := prod(c for _, _, c in chain))]
        if not fitting:
            return None
        times, chain = max(fitting, key=lambda each: each[0])
        if -(-lines // times) > MOST_LINES:
            return None
        piece = -(-box.elements // times)
        at, inner = box.first, times
        for loop, start, count in chain:
            inner //= count
            along = ir.IntOp("-", ir.Var(loop.variable), expression(start))
            at = ir.IntOp("+", at, ir.IntOp("*", ir.Int(piece * inner), along))
        last, _, _ = chain[-1]
        asking = replace(last, asks=(*last.asks, ir.Ask(box.buffer, simplify(at), piece)))
        return replace(stage, body=tuple(_replaced(node, last, asking) for node in stage.body))


def _next(offset: Linear, around: Around, place: int, step: int) -> ir.IntExpr:
    """Where the next iteration's box begins."""
    first: ir.IntExpr = ir.Int(offset.constant + step)
    starts = dict(around.starts)
    for name, _ in around.loops[: place + 1]:
        along = ir.IntOp("-", ir.Var(name), expression(starts[name]))
        first = ir.IntOp("+", first, ir.IntOp("*", ir.Int(offset.coefficient(ir.Var(name))), along))
    return simplify(first)


def _dense(moves: Sequence[tuple[int, int | None]]) -> int | None:
    """How many elements loops go through from the first on, where they leave out no line of them."""
    reach = 1
    for step, count in sorted(moves, key=lambda move: move[0]):
        if step == 0 or count == 1:
            continue
        if count is None or step < 0 or step > reach + LINE_BYTES // 4:
            return None
        reach += step * (count - 1)
    return reach


def _loads(nodes: Sequence[ir.Node], around: Around) -> Iterator[tuple[ir.Load, Around]]:
    """The loads of all tiles, with what stands around them."""
    for node in nodes:
        match node:
            case ir.Loop(body=body):
                yield from _loads(body, around.loop(node))
            case ir.If(body=body):
                yield from _loads(body, around)
            case ir.Tile(body=statements):
                inside = around.tile(node)
                yield from ((load, inside) for load in nodes_of(statements, ir.Load))
            case _:
                pass


def _chains(nodes: Sequence[ir.Node], around: Around, loop: int, *, inside: bool, chain: Chain = ()) -> Iterator[Chain]:
    """Loops below the loop `loop`, each with those between: all that run a known number of times in steps of one."""
    for node in nodes:
        if not isinstance(node, ir.Loop):
            continue
        within = around.loop(node)
        if not inside:
            yield from _chains(node.body, within, loop, inside=id(node) == loop)
            continue
        (_, count), (_, start) = within.loops[-1], within.starts[-1]
        if count is not None and node.step == 1:
            longer = (*chain, (node, start, count))
            yield longer
            yield from _chains(node.body, within, loop, inside=True, chain=longer)


def _replaced(node: ir.Node, old: ir.Loop, new: ir.Loop) -> ir.Node:
    """The node with one loop in it, known by identity, replaced."""
    if node is old:
        return new
    if isinstance(node, ir.Loop | ir.If):
        return replace(node, body=tuple(_replaced(part, old, new) for part in node.body))
    return node


def _kib(count: int) -> str:
    return f"{count / 2**10:.1f} KiB"
