"""Boxes asked for ahead: what the next iteration of a loop reads again and again, or writes, on its way while this one
computes.

    for n: for h: for c: S(x[n, c, h])    ->    for n: for h: for c: ask for a piece of x[n + 1]; S(x[n, c, h])

In: a kernel, sizes to reckon with where its own are symbolic, the machine.  Out: the same kernel whose loops ask for
lines, and the reasons in words.
Invariant: values, order and addresses are untouched: an `Ask` reads nothing, so it may lie anywhere.  So what is asked
for, and where, is decided by numbers, also where sizes are symbolic; where it begins is an expression over sizes, and
at other sizes than those reckoned with an ask is for a little more or less than the box.

A register tile comes to what it reads many times, in small steps: processors fetch ahead along such steps, but not
to where the next iteration of an outer loop begins.  Its first touches then wait for memory one by one, which costs
as much as the arithmetic where there is little of it for each element (convolutions of few channels).  So the box of
the next iteration is divided evenly among the iterations inside of this one.  Lines that are written are read before,
unless they go past the caches; tiles that stand side by side write one box together.  What an iteration reads once,
to pack it, is asked for in the same way where the iteration computes for long: packing waits for memory while nothing
is computed, and memory is idle while panels are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.large_sizes import at_sizes
from comprehension.kernel.locality import Around, Placed, bytes_of, bytes_text, is_far, offset_of, tiles_in
from comprehension.kernel.rewrite import map_integers, nodes_of
from comprehension.kernel.simplify import Linear, simplify
from comprehension.kernel.walk import accesses_in
from comprehension.machine import LINE_BYTES, Machine

FEWEST_LINES = 8  # of a box: less is on its way before it is missed
SHORTEST = 5_000  # points of an iteration: some hundred cycles, what memory takes to answer
REUSED = 4  # points for each element, so that there is arithmetic to hide behind
COMPUTED = 64  # points of the busiest tile for each element that is read once, to be packed
AT_ONCE = 4  # lines at most that one place asks for: beside arithmetic, but not in the way of the innermost loops
POINTS_A_LINE = 2_048  # of a tile, where no place with so few lines is found: some 64 cycles for each line
RAGGED = 64  # elements that the last tile of a row may seem to read beyond it
LEFT_OUT = 4  # for each line that is left out there are so many others (the last rows of an image, done by themselves)
FAR = 8192  # bytes that lie between what memory brings and what is read, so that it comes in more pages than one
SHARE = 4  # a box takes no more than this part of the second cache

Chain = tuple[tuple[ir.Loop, int], ...]  # loops one in the other, and how often each runs


@dataclass(frozen=True, slots=True)
class _Box:
    """What one iteration of a loop touches of a buffer: `elements` from `first` on, `iterations` later."""

    buffer: str
    loop: int  # the loop's identity
    first: ir.IntExpr
    elements: int
    iterations: int


def ask_for_boxes(placed: Placed, machine: Machine, sizes: Mapping[str, int] | None = None) -> Placed:
    """The kernel with boxes asked for, and notes that say which; `sizes`: those to reckon with, where they are open."""
    numbers = placed.kernel if sizes is None else at_sizes(placed.kernel, sizes)
    stages, notes = [], []
    for stage, counted, note in zip(placed.kernel.stages, numbers.stages, placed.notes, strict=True):
        asked, more = _Asker(numbers, machine, counted, placed.kernel, stage).stage()
        stages.append(asked)
        notes.append("; ".join([note, *more]))
    return Placed(replace(placed.kernel, stages=tuple(stages)), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Touch:
    """An access in a tile: the number of its first element, and how far from one to the next it goes together with
    others of the same kind (`beside`: elements from one to the next, how many there are).

    `general` and `tile`: the access and its tile as the kernel has them, where sizes may be symbolic.
    """

    around: Around
    offset: Linear
    general: ir.Load | ir.Store
    tile: ir.Tile
    beside: tuple[int, int] = (0, 1)
    cycle: int = 1  # of those beside are the lanes of a tile, which go round in so many elements

    @property
    def buffer(self) -> str:
        return self.general.buffer

    @property
    def is_write(self) -> bool:
        return isinstance(self.general, ir.Store)

    @property
    def moves(self) -> tuple[tuple[int, int | None], ...]:
        return tuple((self.around.step(self.offset, name), often) for name, often in self.around.all())

    def inside(self, place: int) -> list[tuple[int, int | None]]:
        """The steps of the loops and axes inside of the loop at a place, and of the accesses beside this one."""
        within = [*self.around.loops[place + 1 :], *self.around.axes]
        return [*((self.around.step(self.offset, name), often) for name, often in within), self.beside]

    def points(self, place: int) -> int:
        """How often the access is made inside of the loop at a place, with those beside it."""
        return prod(often or 1 for _, often in self.inside(place)) // (self.cycle if self.beside[1] > 1 else 1)


@dataclass(frozen=True, slots=True)
class _Asker:
    """Finds what one stage asks for, by numbers: `kernel` and `on` are `general` and `stage_of_it` at known sizes."""

    kernel: ir.Kernel
    machine: Machine
    on: ir.Stage
    general: ir.Kernel
    stage_of_it: ir.Stage
    twins: dict[int, ir.Loop] = field(default_factory=dict)  # of a counted loop, by its identity: the loop in `general`

    def __post_init__(self) -> None:
        self.twins.update(
            (id(counted), general) for counted, general in zip(_loops(self.on), _loops(self.stage_of_it), strict=True)
        )

    def stage(self) -> tuple[ir.Stage, list[str]]:
        stage, notes = self.on, []
        if stage.beyond is not None:
            return self.stage_of_it, []
        done = {load.buffer for load in nodes_of(stage.body, ir.Load) if load.ahead}
        done |= {ask.buffer for ask in nodes_of(stage.body, ir.Ask)}
        outermost = Around() if stage.parallel is None else Around().loop(stage.parallel)
        found: dict[str, _Box] = {}
        touches = [touch for touch in self._touches(outermost) if touch.buffer not in done]
        busiest: dict[int, int] = {}  # points of a loop's tiles, of that which has most
        for touch in touches:
            for place, node in enumerate(touch.around.nodes):
                busiest[node] = max(busiest.get(node, 0), touch.points(place))
        for touch in touches:
            if touch.buffer not in found and (box := self._box(touch, busiest)) is not None:
                found[touch.buffer] = box
        asked: dict[int, tuple[ir.Ask, ...]] = {}  # by the loop's identity, which holds until all are known
        for box in found.values():
            asking = self._asking(box, busiest)
            if asking is not None:
                loop, ask = asking
                asked[id(self.twins[id(loop)])] = (*asked.get(id(self.twins[id(loop)]), ()), ask)
                when = "an iteration" if box.iterations == 1 else f"{box.iterations} iterations"
                notes.append(f"{bytes_text(self._bytes(box))} of {box.buffer} asked for {when} ahead")
        body = tuple(_with_asks(node, asked) for node in self.stage_of_it.body)
        return replace(self.stage_of_it, body=body), notes

    def _bytes(self, box: _Box) -> int:
        return box.elements * self.kernel.buffer(box.buffer).dtype.bits // 8

    # --- what is read again and again, or written -------------------------------------------------------

    def _touches(self, outermost: Around) -> list[_Touch]:
        """The accesses of tiles to what may be asked for: reads first, those that differ by where they begin as one."""
        alike: dict[tuple[object, ...], list[_Touch]] = {}
        counted = _accesses(self.on.body, outermost)
        general = [(each, tile) for tile in nodes_of(self.stage_of_it.body, ir.Tile) for each in accesses_in(tile.body)]
        for (access, around), (twin, tile) in zip(counted, general, strict=True):
            touch = self._touch(access, around, twin, tile)
            if touch is not None:
                alike.setdefault((touch.is_write, touch.buffer, around.nodes, touch.moves), []).append(touch)
        return sorted((_together(group) for group in alike.values()), key=lambda touch: touch.is_write)

    def _touch(
        self, access: ir.Load | ir.Store, around: Around, general: ir.Load | ir.Store, tile: ir.Tile
    ) -> _Touch | None:
        if any(often == 0 for _, often in around.loops):
            return None  # blocks of a reduction, of which there are none at the sizes reckoned with
        buffer, is_write = self.kernel.buffer(access.buffer), isinstance(access, ir.Store)
        shared = ir.Space.OUTPUT if is_write else ir.Space.INPUT
        if buffer.space not in (shared, ir.Space.WORKSPACE) or not is_far(buffer, self.machine):
            return None
        if isinstance(access, ir.Store) and access.streaming:
            return None
        offset, beside = _without_cycle(around.from_starts(offset_of(buffer, access)))
        known = {ir.Var(name) for name, _ in around.all()}
        if any(term not in known for term, _ in offset.terms):
            return None
        return _Touch(around, offset, general, tile, beside, beside[1])

    def _box(self, touch: _Touch, busiest: Mapping[int, int]) -> _Box | None:
        """The box of the innermost loop that leaves one behind for another, and takes long enough."""
        size = self.kernel.buffer(touch.buffer).dtype.bits // 8
        around, offset = touch.around, touch.offset
        for place in reversed(range(len(around.loops))):
            name, count = around.loops[place]
            elements = _dense(touch.inside(place))
            if elements is None:
                continue
            # what is read must be read again, or take little of the time: what others read would come as late
            points, most = touch.points(place), busiest[around.nodes[place]]
            work = most if touch.is_write or most >= COMPUTED * elements else points
            step = around.step(offset, name)
            if elements - RAGGED <= step <= elements + elements // LEFT_OUT:
                elements = step
            lines = elements * size // LINE_BYTES
            if count == 1 or step < elements or lines < FEWEST_LINES or work < SHORTEST:
                continue
            if lines * LINE_BYTES > self.machine.l2_bytes // SHARE or work < REUSED * elements:
                return None
            later = self._iterations(touch, place, step)
            return _Box(touch.buffer, around.nodes[place], self._next(touch, place, later), elements, later)
        return None

    def _iterations(self, touch: _Touch, place: int, step: int) -> int:
        """How many iterations ahead: pages of their own for boxes from memory, if the loop around goes on where the one
        at the place ends.
        """
        buffer, around = self.kernel.buffer(touch.buffer), touch.around
        size, whole = buffer.dtype.bits // 8, bytes_of(buffer)
        if whole is None or whole <= self.machine.kept_bytes or place == 0:
            return 1
        _, count = around.loops[place]
        beyond = (count or 0) * step - around.step(touch.offset, around.loops[place - 1][0])
        return -(-FAR // (step * size)) if count is not None and 0 <= beyond < step else 1

    def _next(self, touch: _Touch, place: int, iterations: int) -> ir.IntExpr:
        """Where the box of a later iteration begins: all inside of the loop at a place at its start."""
        first: ir.IntExpr = ir.Int(0)
        stride: ir.IntExpr = ir.Int(1)
        shape = self.general.buffer(touch.buffer).shape
        for subscript, extent in zip(reversed(touch.general.subscripts), reversed(shape), strict=True):
            first = ir.IntOp("+", first, ir.IntOp("*", stride, subscript))
            stride = ir.IntOp("*", stride, extent)
        loops = [self.twins[node] for node in touch.around.nodes]
        starts = {axis.variable: axis.start for axis in (touch.tile.rows, touch.tile.lanes) if axis is not None}
        starts |= {loop.variable: loop.lower for loop in reversed(loops[place + 1 :])}
        at = loops[place]
        starts[at.variable] = ir.IntOp("+", ir.Var(at.variable), ir.Int(iterations * at.step))
        for name, start in starts.items():  # from the innermost outwards: a start may name those further out
            first = map_integers(first, {name: start})
        return simplify(first)

    # --- where it is asked for --------------------------------------------------------------------------

    def _asking(self, box: _Box, busiest: Mapping[int, int]) -> tuple[ir.Loop, ir.Ask] | None:
        """The box asked for in the innermost of the fewest loops that need not ask for many lines each time."""
        lines, stage = max(1, self._bytes(box) // LINE_BYTES), self.on
        ranges = Around() if stage.parallel is None else Around().loop(stage.parallel)
        is_whole = stage.parallel is not None and id(stage.parallel) == box.loop
        chains = list(_chains(stage.body, ranges, box.loop, inside=is_whole))
        counted = [(prod(count for _, count in chain), chain) for chain in chains]
        few = [each for each in counted if -(-lines // each[0]) <= AT_ONCE]
        more = [(t, chain) for t, chain in counted if lines * POINTS_A_LINE <= t * busiest.get(id(chain[-1][0]), 0)]
        for enough in (few, more):
            # in the loops in which most is done: the last rows of an image come by themselves, and late
            best = min(
                enough, key=lambda each: (-each[1][0][1] * busiest.get(id(each[1][0][0]), 0), each[0]), default=None
            )
            if best is not None and best[0] <= 2 * lines:
                break
        else:
            return None
        times, chain = best
        piece = -(-box.elements // times)
        number: ir.IntExpr = ir.Int(0)  # of the iteration, in all loops of the chain
        for loop in (self.twins[id(loop)] for loop, _ in chain):
            along: ir.IntExpr = ir.IntOp("-", ir.Var(loop.variable), loop.lower)
            if loop.step > 1:
                along = ir.IntOp("/", along, ir.Int(loop.step))
            number = ir.IntOp("+", ir.IntOp("*", number, _trips(loop)), along)
        at = ir.IntOp("+", box.first, ir.IntOp("*", ir.Int(piece), number))
        return chain[-1][0], ir.Ask(box.buffer, simplify(at), piece)


def _without_cycle(offset: Linear) -> tuple[Linear, tuple[int, int]]:
    """An offset without elements that lanes go round in (`kernel.interleave`); how far apart how many of them are."""
    for term, factor in offset.terms:
        match term:
            case ir.IntOp("%", ir.Var(), ir.Int(count)):
                return offset.plus(Linear(0, ((term, factor),)), -1), (factor, count)
    return offset, (0, 1)


def _trips(loop: ir.Loop) -> ir.IntExpr:
    """How often a loop runs."""
    width = ir.IntOp("+", ir.IntOp("-", loop.upper, loop.lower), ir.Int(loop.step - 1))
    return simplify(ir.IntOp("/", width, ir.Int(loop.step)))


def _loops(stage: ir.Stage) -> list[ir.Loop]:
    """The loops of a stage, parents before children."""
    return [*([] if stage.parallel is None else [stage.parallel]), *nodes_of(stage.body, ir.Loop)]


def _dense(moves: Sequence[tuple[int, int | None]]) -> int | None:
    """How many elements loops go through from the first on, where they leave out few lines of them."""
    reach = 1
    for step, count in sorted(moves, key=lambda move: move[0]):
        if step == 0 or count == 1:
            continue
        if count is None or step < 0 or step > reach + max(LINE_BYTES // 4, reach // LEFT_OUT):
            return None
        reach += step * (count - 1)
    return reach


def _accesses(nodes: Sequence[ir.Node], around: Around) -> Iterator[tuple[ir.Load | ir.Store, Around]]:
    """The loads and stores of all tiles, with what stands around them."""
    for tile, inside in tiles_in(nodes, around):
        yield from ((access, inside) for access in accesses_in(tile.body))


def _together(alike: Sequence[_Touch]) -> _Touch:
    """Accesses that differ only by where they begin: as one, where those are evenly apart."""
    first = min(alike, key=lambda touch: touch.offset.constant)
    begins = sorted({touch.offset.constant for touch in alike})
    apart = {after - before for before, after in pairwise(begins)}
    return replace(first, beside=(apart.pop(), len(begins))) if len(apart) == 1 else alike[0]


def _chains(nodes: Sequence[ir.Node], around: Around, loop: int, *, inside: bool, chain: Chain = ()) -> Iterator[Chain]:
    """Loops below the loop `loop`, each with those between: all that run a known number of times."""
    for node in nodes:
        if isinstance(node, ir.If):
            yield from _chains(node.body, around, loop, inside=inside, chain=chain)
        if not isinstance(node, ir.Loop):
            continue
        within = around.loop(node)
        if not inside:
            yield from _chains(node.body, within, loop, inside=id(node) == loop)
            continue
        _, count = within.loops[-1]
        if count:  # a loop over what is left may be empty at the sizes reckoned with
            longer = (*chain, (node, count))
            yield longer
            yield from _chains(node.body, within, loop, inside=True, chain=longer)


def _with_asks(node: ir.Node, asked: Mapping[int, tuple[ir.Ask, ...]]) -> ir.Node:
    """The node with what its loops, known by identity, ask for."""
    if not isinstance(node, ir.Loop | ir.If):
        return node
    body = tuple(_with_asks(part, asked) for part in node.body)
    if isinstance(node, ir.Loop):
        return replace(node, body=body, asks=(*node.asks, *asked.get(id(node), ())))
    return replace(node, body=body)
