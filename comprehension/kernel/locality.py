"""Accesses that mind the caches: what is written past them, and what is asked for ahead.

In: a kernel and the machine.  Out: the same kernel with some stores `streaming` and some loads `ahead`, and
the reasons in words.
Invariant: values, order and addresses are untouched; only whole vectors that the loops walk through once are
marked; a stage whose footprint is not known when it is compiled keeps plain accesses.

A plain store reads its line from memory first and pushes another one out of the caches later.  Where what a
stage touches is gone from the last cache before anybody can read it again, both are for nothing: a stream of
stores that go around the caches copies 1.6 times as fast.  The lines that are read on the way then come late:
processors fetch ahead by themselves, but not far enough beside such stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.simplify import Linear, Ranges, bounds_of, linear, varies_with
from comprehension.kernel.walk import accesses_in
from comprehension.machine import LINE_BYTES, Machine

AHEAD_BYTES = 2048  # some 100 ns of copying: what memory takes to answer
BUILTIN_WORK = 12.0  # operations of an exponential, a logarithm, ...
LOAD_WORK = 2.0  # of a vector that is loaded and stored or combined, whatever is done with it
COMPUTED = 32  # points of the busiest tile for each element that is written: most of the stage's time is arithmetic
SHORTEST_RUN = 512  # bytes that are written in one piece of memory: both its ends are parts of lines

_SHARED = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)


@dataclass(frozen=True, slots=True)
class Placed:
    """The kernel, and what was decided for each stage."""

    kernel: ir.Kernel
    notes: tuple[str, ...]


def place_accesses(kernel: ir.Kernel, machine: Machine, usual: ir.Kernel | None = None) -> Placed:
    """Marks the streaming stores and the loads ahead of each stage.

    `usual`: the kernel at other sizes, at which work is weighed against what is written.
    """
    stages, notes = [], []
    for stage, weighed in zip(kernel.stages, (usual or kernel).stages, strict=True):
        marked, note = _Marker(kernel, machine, weighed).stage(stage)
        stages.append(marked)
        notes.append(f"{stage.name}: {note}")
    return Placed(replace(kernel, stages=tuple(stages)), tuple(notes))


@dataclass(frozen=True, slots=True)
class Around:
    """The loops and then the tile axes around a place, with how often each runs (None: unknown).

    `nodes` tell loops apart that have one name; `starts` say where each begins, which may depend on those outside;
    `steps` say by how much each loop's variable grows.
    """

    loops: tuple[tuple[str, int | None], ...] = ()
    axes: tuple[tuple[str, int | None], ...] = ()
    nodes: tuple[int, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()
    starts: tuple[tuple[str, Linear], ...] = ()
    ranges: Ranges = field(default_factory=dict)

    def loop(self, loop: ir.Loop) -> Around:
        low, _ = bounds_of(linear(loop.lower), self.ranges)
        _, high = bounds_of(linear(loop.upper), self.ranges)
        start = linear(loop.lower)
        length = _longest(loop.upper, start, self.ranges)
        count = None if length is None else max(0, -(-length // loop.step))
        ranges = {**self.ranges, loop.variable: (low, None if high is None else high - 1)}
        starts = (*self.starts, (loop.variable, start))
        steps = (*self.steps, (loop.variable, loop.step))
        return Around((*self.loops, (loop.variable, count)), (), (*self.nodes, id(loop)), steps, starts, ranges)

    def tile(self, tile: ir.Tile) -> Around:
        axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None]
        starts = (*self.starts, *((axis.variable, linear(axis.start)) for axis in axes))
        return replace(self, axes=tuple((axis.variable, axis.extent) for axis in axes), starts=starts)

    def from_starts(self, form: Linear) -> Linear:
        """The form with each loop counted from where it begins."""
        for name, start in reversed(self.starts):
            form = form.plus(start, form.coefficient(ir.Var(name)))
        return form

    def step(self, offset: Linear, variable: str) -> int:
        """Elements that an iteration of a loop, or the next point of an axis, moves an access by."""
        return offset.coefficient(ir.Var(variable)) * dict(self.steps).get(variable, 1)

    def moving(self, subscripts: tuple[ir.IntExpr, ...]) -> set[str]:
        """The loops and axes that move an access, by themselves or by where inner ones begin."""
        found = {name for name, _ in self.starts if varies_with(subscripts, name)}
        for name, start in reversed(self.starts):
            if name in found:
                found |= {other for other, _ in self.starts if any(varies_with(a, other) for a, _ in start.terms)}
        return found

    def all(self) -> tuple[tuple[str, int | None], ...]:
        return (*self.loops, *self.axes)


def tiles_in(nodes: Iterable[ir.Node], around: Around) -> Iterator[tuple[ir.Tile, Around]]:
    """The tiles with what stands around their statements."""
    for node in nodes:
        match node:
            case ir.Loop(body=body):
                yield from tiles_in(body, around.loop(node))
            case ir.If(body=body):
                yield from tiles_in(body, around)
            case ir.Tile():
                yield node, around.tile(node)
            case _:
                pass


@dataclass(frozen=True, slots=True)
class _Sweep:
    """A load that the loops walk through: what it asks of its tile, and the work done there for each vector."""

    load: ir.Load
    tile: ir.Tile
    around: Around
    offset: Linear
    work: float

    def step(self, variable: str) -> int:
        """Elements that an iteration of a loop moves it by."""
        return abs(self.around.step(self.offset, variable))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A load that asks for what lies `distance` elements ahead, of some lanes or of all."""

    load: ir.Load
    distance: int
    lanes: tuple[int, int] | None = None

    @property
    def marked(self) -> ir.Load:
        return replace(self.load, ahead=self.distance, ahead_lanes=self.lanes)


@dataclass(slots=True)
class _Marker:
    """Marks one stage: first its footprint, then its accesses."""

    kernel: ir.Kernel
    machine: Machine
    weighed: ir.Stage
    _bytes: dict[str, int | None] = field(default_factory=dict)  # by buffer, what the stage touches of it
    _read: set[str] = field(default_factory=set)
    _sweeps: dict[str, list[_Sweep]] = field(default_factory=dict)  # by buffer, in program order
    _streamed: set[str] = field(default_factory=set)
    _ahead: dict[int, list[_Asked]] = field(default_factory=dict)  # by tile
    _notes: list[str] = field(default_factory=list)

    def stage(self, stage: ir.Stage) -> tuple[ir.Stage, str]:
        around = Around() if stage.parallel is None else Around().loop(stage.parallel)
        self._measure(stage.body, around)
        self._bytes = {name: self._at_most_all(name, size) for name, size in self._bytes.items()}
        sizes = [size for size in self._bytes.values() if size is not None]
        if len(sizes) < len(self._bytes):
            return stage, "plain accesses: sizes are not known yet"
        footprint, kept = sum(sizes), self.machine.kept_bytes
        if footprint <= self.machine.l2_bytes:
            cache = bytes_text(self.machine.l2_bytes)
            return stage, f"plain accesses: {bytes_text(footprint)} fit the second cache ({cache})"
        for buffer, sweeps in self._sweeps.items():
            self._ask_ahead(buffer, sweeps)
        body = tuple(self._marked(node, footprint > kept, around) for node in stage.body)
        if self._streamed and _is_computed(self.weighed, self._streamed):
            self._streamed.clear()
            body = tuple(self._marked(node, False, around) for node in stage.body)
        if self._streamed:
            self._notes.insert(0, f"{', '.join(sorted(self._streamed))} written past the caches")
        fits = "fit" if footprint <= kept else "do not fit"
        note = f"{bytes_text(footprint)} {fits} our share of the last cache ({bytes_text(kept)})"
        return replace(stage, body=body), "; ".join([note, *self._notes])

    # --- what the stage touches ------------------------------------------------------------------------

    def _measure(self, body: Sequence[ir.Node], around: Around) -> None:
        for node in body:
            match node:
                case ir.Loop():
                    self._measure_values((node.lower, node.upper), around)
                    self._measure(node.body, around.loop(node))
                case ir.If():
                    self._measure_values(node.condition, around)
                    self._measure(node.body, around)
                case ir.Tile():
                    inside = around.tile(node)
                    self._measure(node.body, inside)
                    self._find_sweeps(node, inside)
                case ir.Define() | ir.Store():
                    self._measure_values(node, around)
                case ir.Barrier():
                    pass

    def _measure_values(self, node: object, around: Around) -> None:
        for access in accesses_in(node):
            buffer = self.kernel.buffer(access.buffer)
            if buffer.space not in _SHARED:
                continue
            if isinstance(access, ir.Load):
                self._read.add(access.buffer)
            touched = self._touched(buffer, access, around)
            before = self._bytes.get(access.buffer, 0)
            self._bytes[access.buffer] = None if touched is None or before is None else touched + before

    def _at_most_all(self, name: str, touched: int | None) -> int | None:
        """Of several accesses: they may touch parts of a buffer each, or the same."""
        whole = bytes_of(self.kernel.buffer(name))
        return None if touched is None or whole is None else min(touched, whole)

    def _touched(self, buffer: ir.Buffer, access: ir.Load | ir.Store, around: Around) -> int | None:
        """Bytes at most: the whole buffer, or one element for each iteration that moves the access."""
        if not all(isinstance(extent, ir.Int) for extent in buffer.shape):
            return None
        whole = prod(extent.value for extent in buffer.shape if isinstance(extent, ir.Int))
        moved = around.moving(access.subscripts)
        moving = [count for name, count in around.all() if name in moved]
        known = [count for count in moving if count is not None]
        visits = prod(known) if len(known) == len(moving) else whole
        return min(whole, visits) * buffer.dtype.bits // 8

    def _find_sweeps(self, tile: ir.Tile, around: Around) -> None:
        work = _work(tile)
        for load in nodes_of(tile.body, ir.Load):
            offset = self._walked(load, around)
            if offset is not None:
                self._sweeps.setdefault(load.buffer, []).append(_Sweep(load, tile, around, offset, work))

    def _walked(self, access: ir.Load | ir.Store, around: Around) -> Linear | None:
        """The element's number where the loops come to each element once, whole vectors at a time."""
        buffer = self.kernel.buffer(access.buffer)
        if buffer.space not in _SHARED or buffer.strides is not None:
            return None
        if not all(isinstance(extent, ir.Int) for extent in buffer.shape):
            return None
        offset = around.from_starts(offset_of(buffer, access))
        lane, _ = around.axes[-1]
        moves = [(around.step(offset, name), count) for name, count in around.all() if count != 1]
        if offset.coefficient(ir.Var(lane)) != 1 or len(offset.terms) > len(around.all()):
            return None
        reach, last = 0, 1  # elements that the shorter moves cover; the last tile of a ragged loop covers fewer
        for step, count in sorted(moves, key=lambda move: abs(move[0])):
            if count is None or abs(step) <= reach - (last - 1):
                return None
            reach, last = reach + abs(step) * (count - 1), abs(step)
        return offset

    def _run(self, store: ir.Store, offset: Linear, around: Around) -> int:
        """Bytes of one piece of memory that the loops write: of one row, where its last tile is not whole."""
        reach = 1
        for step, count in sorted((abs(around.step(offset, name)), count or 1) for name, count in around.all()):
            if step == 0 or count == 1:
                continue
            if step != reach:
                reach = min(step, reach)
                break
            reach *= count
        return reach * self.kernel.buffer(store.buffer).dtype.bits // 8

    # --- decisions -------------------------------------------------------------------------------------

    def _ask_ahead(self, buffer: str, sweeps: list[_Sweep]) -> None:
        """A buffer walked once: a little ahead.  Row after row, each several times: a row ahead, a part each time."""
        size = self.kernel.buffer(buffer).dtype.bits // 8
        row = self._shared_row(sweeps)
        if row is not None and 0 < row * size <= self.machine.l2_bytes // 4:
            distance = row
            shares = _shares(sweeps, size) if row * size <= self.machine.l1_bytes // 2 else [(_most_work(sweeps), None)]
            asked = [(sweep, _Asked(sweep.load, row, lanes)) for sweep, lanes in shares]
        else:
            distance = self._soon(sweeps[0], size)
            asked = [(sweeps[0], _Asked(sweeps[0].load, distance))]
        for sweep, each in asked:
            self._ahead.setdefault(id(sweep.tile), []).append(each)
        parts = f" in {len(asked)} parts" if len(asked) > 1 else ""
        self._notes.append(f"{buffer} asked for {bytes_text(distance * size)} ahead{parts}")

    def _soon(self, sweep: _Sweep, size: int) -> int:
        """Some way ahead, in iterations of a loop: as many as bring in so many bytes.

        It is the innermost loop, but where rows are read a piece each, in turn, the loop that goes on along them.
        """
        loops = [(sweep.step(name), count or 1) for name, count in sweep.around.loops if count != 1]
        if not loops:
            return AHEAD_BYTES // size
        _, lanes = sweep.around.axes[-1]
        tile = size * prod(count or 1 for _, count in sweep.around.axes)
        brought = [tile * prod(count for _, count in loops[k + 1 :]) for k in range(len(loops))]
        along = [k for k, (step, _) in enumerate(loops) if step == lanes and brought[k] <= AHEAD_BYTES]
        chosen = along[-1] if along else len(loops) - 1
        return -(-AHEAD_BYTES // brought[chosen]) * loops[chosen][0]

    def _shared_row(self, sweeps: list[_Sweep]) -> int | None:
        """How far apart the rows begin that several sweeps below one loop go through, all in the same way."""
        first, *others = sweeps
        nodes = first.around.nodes
        for sweep in others:
            common = [a for a, b in zip(nodes, sweep.around.nodes, strict=False) if a == b]
            nodes = nodes[: len(common)]
        shared = [name for name, count in first.around.loops[: len(nodes)] if count != 1]
        if not shared or all(sweep.tile is first.tile for sweep in others):
            return None
        rows = {sweep.step(shared[-1]) for sweep in sweeps}
        row = rows.pop() if len(rows) == 1 else 0
        inside = [sweep.step(name) for sweep in sweeps for name, _ in sweep.around.loops[len(nodes) :]]
        return row if row > max(inside, default=0) else None  # else the sweeps go down columns, each part of one

    # --- marks -----------------------------------------------------------------------------------------

    def _marked(self, node: ir.Node, streams: bool, around: Around) -> ir.Node:
        match node:
            case ir.Loop():
                inside = around.loop(node)
                return replace(node, body=tuple(self._marked(part, streams, inside) for part in node.body))
            case ir.If():
                return replace(node, body=tuple(self._marked(part, streams, around) for part in node.body))
            case ir.Tile():
                return self._marked_tile(node, streams, around.tile(node))
            case _:
                return node

    def _marked_tile(self, tile: ir.Tile, streams: bool, around: Around) -> ir.Tile:
        wanted = {asked.load: asked.marked for asked in self._ahead.get(id(tile), ())}

        def load(found: ir.Load) -> ir.Load:
            return wanted.pop(found, found)

        def store(found: ir.Store) -> ir.Store:
            small = (self._bytes.get(found.buffer) or 0) <= self.machine.l2_bytes  # it does not crowd anything out
            offset = self._walked(found, around)
            if small or found.buffer in self._read or offset is None or self._run(found, offset, around) < SHORTEST_RUN:
                return found
            self._streamed.add(found.buffer)
            return replace(found, streaming=True)

        marked = rewrite(tile, ir.Load, load)
        return rewrite(marked, ir.Store, store) if streams else marked


def _is_computed(stage: ir.Stage, buffers: set[str]) -> bool:
    """Whether so much is computed for what is written of these buffers that its way to memory hardly counts.

    As in a product of small matrices: a way past the caches, which is longer where rows begin within lines, only costs.
    """
    around = Around() if stage.parallel is None else Around().loop(stage.parallel)
    tiles = [(tile, prod(often or 1 for _, often in inside.all())) for tile, inside in tiles_in(stage.body, around)]
    written = [points for tile, points in tiles if buffers & {store.buffer for store in nodes_of(tile, ir.Store)}]
    return max(points for _, points in tiles) >= COMPUTED * max(written)


def _shares(sweeps: Sequence[_Sweep], size: int) -> list[tuple[_Sweep, tuple[int, int] | None]]:
    """Which lanes of its tiles each sweep over a row asks for: lines in proportion to the time it takes, where all come
    to the same tiles; else all by the sweep that does most.

    Few lines can be on their way at once: who asks for more waits, while the other sweeps leave memory idle.  (Of rows
    beyond the first cache, sweeps wait for the second one, and asking slows down those that do little.)
    """
    firsts = list({id(sweep.tile): sweep for sweep in reversed(sweeps)}.values())[::-1]
    most = _most_work(sweeps)
    ways = {tuple((sweep.step(name), count) for name, count in sweep.around.all()) for sweep in firsts}
    lines = most.tile.lanes.extent * size // LINE_BYTES
    if len(ways) > 1 or most.tile.rows is not None or lines < 2:
        return [(most, None)]
    found: list[tuple[_Sweep, tuple[int, int] | None]] = []
    total, done = sum(sweep.work + LOAD_WORK for sweep in firsts), 0.0
    for sweep in firsts:
        begin, done = round(done / total * lines), done + sweep.work + LOAD_WORK
        end = round(done / total * lines)
        if begin < end:
            found.append((sweep, (begin * LINE_BYTES // size, end * LINE_BYTES // size)))
    return found


def _most_work(sweeps: Sequence[_Sweep]) -> _Sweep:
    return max(sweeps, key=lambda sweep: sweep.work)


def _longest(upper: ir.IntExpr, start: Linear, ranges: Ranges) -> int | None:
    """How far it is from `start` to an upper bound, at most; to a minimum, as far as to the nearer of two."""
    if isinstance(upper, ir.IntOp) and upper.op == "min":
        found = [_longest(side, start, ranges) for side in (upper.left, upper.right)]
        return min((length for length in found if length is not None), default=None)
    return bounds_of(linear(upper).plus(start, -1), ranges)[1]


def offset_of(buffer: ir.Buffer, access: ir.Load | ir.Store) -> Linear:
    """An element's number as a linear form, in a dense buffer of known shape."""
    total, step = Linear(0, ()), 1
    for subscript, extent in zip(reversed(access.subscripts), reversed(buffer.shape), strict=True):
        assert isinstance(extent, ir.Int)
        total = total.plus(linear(subscript), step)
        step *= extent.value
    return total


def bytes_of(buffer: ir.Buffer) -> int | None:
    """The size of a buffer of known shape."""
    extents = [extent.value for extent in buffer.shape if isinstance(extent, ir.Int)]
    return prod(extents) * buffer.dtype.bits // 8 if len(extents) == len(buffer.shape) else None


def is_far(buffer: ir.Buffer, machine: Machine) -> bool:
    """Whether a dense buffer of known shape does not fit the second cache, so that asking for parts of it may help."""
    size = bytes_of(buffer)
    return buffer.strides is None and size is not None and size > machine.l2_bytes


def _work(tile: ir.Tile) -> float:
    """Vector operations of a tile's statements; what is the same for all lanes is computed once."""
    total = 0.0
    for value in nodes_of(tile.body, object):
        computes = isinstance(value, ir.BinaryOp | ir.Fma | ir.UnaryOp | ir.Builtin | ir.SelectValue)
        if computes and varies_with(value, tile.lanes.variable):
            total += BUILTIN_WORK if isinstance(value, ir.Builtin) else 1.0
    return total


def bytes_text(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
