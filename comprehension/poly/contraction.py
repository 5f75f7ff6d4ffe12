"""Register tiles: which loops of a contraction become rows and lanes, how large, what is packed, what stands around.

In: a nest with an update that reads two operands, one of which does not move along a loop of the nest and the
other not along another.  Out: a `TilePlan` or None.
Invariant: found from access strides alone: "contraction" is any update of this shape (products of matrices,
convolutions and their gradients, batched or transposed).

Every choice of rows, lanes, their extents, packing and the loops around is costed: what a tile does by
`tile_cost`, what its loops fetch from far caches by `tile_traffic`; the cheapest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from comprehension.kernel.interleave import FEWEST_STEPS, STEPS, rows_of
from comprehension.lang import tree
from comprehension.lang.loops import Role
from comprehension.machine import LINE_BYTES, Machine
from comprehension.poly.access import AccessPattern, AccessPatterns, single_axis_of
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.tile_cost import (
    FROM_L2,
    FROM_L3,
    FROM_MEMORY,
    LATE,
    STREAMED,
    STREAMS,
    TILE,
    TileCost,
    is_product,
)
from comprehension.poly.tile_jam import Candidates, is_alone, registers_of
from comprehension.poly.tile_plan import Jam, Operand, TilePlan
from comprehension.poly.tile_sums import WORTH, held_operand, held_tiles
from comprehension.poly.tile_traffic import Level, Touched, fetched

FEWEST_REDUCED = 4  # shorter reductions are not worth a register tile
MOST_CUT = 12  # of the best tiles are considered with their reduction in blocks too
SHORTEST_BLOCK = 64  # steps between two loads of the accumulators
MOST_VECTORS = 6  # along the lanes of a tile
RAGGED = 0.5  # of a tile, that masks add to the last one where rows do not fill it
UNEVEN = 0.05  # of the last unit's time the other workers wait for it
SPARE = 1  # registers that hold neither accumulators nor lanes: the element of the row at hand


@dataclass(frozen=True, slots=True)
class _Choice:
    """Rows and lanes, and the operands that move along only one of them."""

    rows: Member
    lanes: Member
    by_rows: tuple[AccessPattern, ...]
    by_lanes: tuple[AccessPattern, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A choice with its extents and packing; `reduced` are the update's indices that are no loops of the nest."""

    name: str
    nest: Nest
    choice: _Choice
    row_extent: int
    lane_extent: int
    reduced: tuple[int, ...]
    jam: Jam | None = None
    pack_rows: Operand | None = None
    pack_lanes: Operand | None = None
    held: Operand | None = None  # sums between blocks of the reduction
    interleaved: bool = False  # several steps of the reduction stand side by side in a vector

    @property
    def packed(self) -> frozenset[int]:
        return frozenset(o.access for o in (self.pack_rows, self.pack_lanes, self.held) if o is not None)


@dataclass(frozen=True, slots=True)
class _Around:
    """The loops around the tiles, as `TilePlan` names them."""

    outer: tuple[Member, ...]
    inner: tuple[Member, ...]
    row_block: int
    lane_block: int | None
    reduced_block: int  # 0: the reduction is not cut
    rows_first: bool = False  # a tile of rows meets all tiles of lanes, whose panels are packed before


_Loops = Callable[[_Shape, tuple[Member, ...], tuple[Member, ...], int], Iterator[_Around]]


@dataclass(slots=True)
class ContractionModel:
    """Plans register tiles for the nests of one Scop."""

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    dependences: Dependences
    reorders: bool  # a declared reduction may run in any order

    def plan(self, nest: Nest) -> TilePlan | None:
        """The cheapest register tile for the nest's largest contraction, or None where none pays."""
        return min(self.plans(nest), key=lambda p: p.cost, default=None)

    def plans(self, nest: Nest) -> list[TilePlan]:
        """All register tiles that come into question: any of them is right, they differ in cost."""
        updates = [name for name in nest.statements() if self._is_candidate(name, nest)]
        if not updates or not all(self.extents.is_box(name) for name in nest.statements()):
            return []
        name = max(updates, key=self.extents.instances)
        reduced = self._reduced_dims(name, nest)
        shapes = {
            _Shape(name, nest, choice, rows, lanes, reduced, jam): None
            for choice in self._choices(name, nest)
            for lanes in self._lane_extents(name, choice)
            for jam in (None, *self._jams(name, nest, choice, reduced))
            for rows in self._row_extents(name, choice, lanes, jam)
        }
        whole = [
            (packed, around, self._costed(packed, around))
            for shape in shapes
            for packed in self._packings(shape)
            for around in self._arounds(packed)
        ]
        whole.sort(key=lambda each: each[2].cost)
        best: dict[_Shape, _Around] = {}
        for packed, around, _ in whole:
            best.setdefault(packed, around)
        fewest = sorted(best.items(), key=lambda each: self._work(*each))[:MOST_CUT]  # blocks mend what they wait for
        cut = [self._costed(*each) for shape, around in fewest for each in self._cut(shape, around)]
        return [*(plan for _, _, plan in whole), *cut]

    def _is_candidate(self, name: str, nest: Nest) -> bool:
        statement = self.scop.statement(name)
        target = self.scop.program.tensor(statement.source.target)
        if statement.role is not ScopRole.UPDATE or not target.dtype.is_float:
            return False
        return prod(self.extents.extent(name, d) for d in self._reduced_dims(name, nest)) >= FEWEST_REDUCED

    def _choices(self, name: str, nest: Nest) -> Iterator[_Choice]:
        write, *reads = self.patterns.of(name)
        operands = reads[:-1]
        for lanes in (m for m in nest.members if self._count(m) > 1):
            for rows in nest.members:
                if rows is lanes or not (rows.coincident and lanes.coincident) or self._count(rows) < 2:
                    continue
                row, lane = rows.dim(name), lanes.dim(name)
                by_rows = tuple(r for r in operands if r.depends_on(row) and not r.depends_on(lane))
                by_lanes = tuple(r for r in operands if r.depends_on(lane) and not r.depends_on(row))
                both = any(r.depends_on(row) and r.depends_on(lane) for r in operands)
                if by_rows and by_lanes and not both and single_axis(write, row) and single_axis(write, lane):
                    yield _Choice(rows, lanes, by_rows, by_lanes)

    # --- sizes of a tile ----------------------------------------------------------------------------

    def _bits(self, name: str) -> int:
        return self.scop.program.tensor(self.scop.statement(name).source.target).dtype.bits

    def _lane_extents(self, name: str, choice: _Choice) -> list[int]:
        """One vector up to several; short loops in one tile of their own."""
        width = self.machine.lanes(self._bits(name))
        count = self.extents.extent(name, choice.lanes.dim(name))
        if count <= width // 2:
            return [1 << max(0, count - 1).bit_length()]
        most = min(MOST_VECTORS, -(-count // width))
        return [vectors * width for vectors in range(1, most + 1)]

    def _row_extents(self, name: str, choice: _Choice, lanes: int, jam: Jam | None) -> list[int]:
        """Rows of a tile: as many as registers hold, evened out, or what divides the loop."""
        vectors, registers = -(-lanes // self.machine.lanes(self._bits(name))), self._registers(name, choice)
        if jam is None:
            most = max(1, (registers - vectors) // vectors)
        else:
            sides = choice.by_rows, choice.by_lanes
            held = (
                r for r in range(registers, 1, -1) if registers_of(jam, name, sides, (r, vectors)) <= registers + SPARE
            )
            most = next(held, 0)
            if most == 0:
                return []
        count = self.extents.extent(name, choice.rows.dim(name))
        if count == 0:
            return [most]
        fits = (
            (most, min(most, self._most_apart(vectors))) if jam is None and self._are_apart(name, choice) else (most,)
        )
        interleaves = jam is None and self.reorders and self._is_narrow(name, choice, lanes)
        few = (min(most, rows_of(self.machine)),) if interleaves else ()
        even = {-(-count // -(-count // rows)) for rows in (*fits, *few) if rows > 0}
        dividing = [
            max((rows for rows in range(max(1, each // 3), each + 1) if count % rows == 0), default=1)
            for each in (most, *few)
        ]
        return sorted({*even, *dividing} - {1}) or [most]

    def _most_apart(self, vectors: int) -> int:
        """Rows whose elements may all be in registers at once, besides the accumulators; of one vector none need be."""
        registers = self.machine.vector_registers
        return registers if vectors == 1 else (registers - vectors) // (vectors + 1)

    def _are_apart(self, name: str, choice: _Choice) -> bool:
        """Whether the launch says how far rows lie apart in memory.

        Then each has an address to compute, LLVM does so for all rows first, and loads their elements along the way.
        """
        row = choice.rows.dim(name)
        for read in choice.by_rows:
            extents = self.scop.program.tensor(read.tensor).shape
            moved = [axis for axis, factors in enumerate(read.subscripts) if factors[row] != 0]
            if any(not isinstance(extent, tree.Number) for extent in extents[min(moved) + 1 :]):
                return True
        return False

    def _jams(self, name: str, nest: Nest, choice: _Choice, reduced: tuple[int, ...]) -> Iterator[Jam]:
        """Loops that may stand side by side around a tile."""
        free = self.reorders and is_alone(nest, name)
        free = free and all(edge.is_reduction for edge in self.dependences.between(name, name))
        lengths = [self.extents.known(name, d) for d in reduced]
        candidates = Candidates(name, self.patterns.of(name)[1:-1], reduced, lengths, free)
        others = [m for m in nest.members if m is not choice.rows and m is not choice.lanes]
        counts = [self._count(m) for m in others]
        found = list(candidates.of(others, counts))
        if self._count(choice.lanes) <= self.machine.lanes(self._bits(name)):
            found += candidates.sharing(others, counts, (choice.by_rows, choice.by_lanes))
        yield from dict.fromkeys(found)

    def _registers(self, name: str, choice: _Choice) -> int:
        """Vector registers for accumulators and for the lanes of an operand; an update of more has more to hold."""
        reads = len(self.patterns.of(name)) - 2
        plain = reads == 2 and len(choice.by_rows) == len(choice.by_lanes) == 1
        return self.machine.vector_registers - SPARE if plain else self.machine.vector_registers * 3 // 4

    # --- packing --------------------------------------------------------------------------------------

    def _packings(self, shape: _Shape) -> list[_Shape]:
        """Operands packed or left in place, in all combinations."""
        rows = self._packs(shape, shape.choice.rows, shape.choice.by_rows)
        vectors = -(-shape.lane_extent // self.machine.lanes(self._bits(shape.name)))
        crowded = shape.jam is None and shape.row_extent > self._most_apart(vectors)
        if crowded and self._are_apart(shape.name, shape.choice):
            rows = [each for each in rows if each is not None]
        lanes = self._packs(shape, shape.choice.lanes, shape.choice.by_lanes)
        packed = (replace(shape, pack_rows=row, pack_lanes=lane) for row in rows for lane in lanes)
        return [replace(each, interleaved=self._is_interleaved(each)) for each in packed]

    def _is_narrow(self, name: str, choice: _Choice, lanes: int) -> bool:
        """Whether all lanes of the loop are one whole vector."""
        count, dim = self._count(choice.lanes), choice.lanes.dim(name)
        return count == lanes == self.machine.lanes(self._bits(name)) and self.extents.is_static(name, dim)

    def _is_interleaved(self, shape: _Shape) -> bool:
        """Whether steps of the reduction are put side by side in a vector: `kernel.interleave` does it where it can."""
        name, statement = shape.name, self.scop.statement(shape.name)
        reads = self.patterns.of(name)[1:-1]
        if not self.reorders or shape.jam is not None or shape.pack_rows is not None or shape.pack_lanes is None:
            return False
        if len(shape.reduced) != 1 or len(reads) != 2 or not is_product(statement.source.value):
            return False
        steps = self.extents.extent(name, shape.reduced[0]) if self.extents.is_static(name, shape.reduced[0]) else 0
        infos = [self.scop.program.tensor(each.tensor) for each in (statement.write, *reads)]
        if steps < FEWEST_STEPS or steps % STEPS or len({info.dtype for info in infos}) > 1 or self._bits(name) < 32:
            return False
        along = all(r.strides[shape.reduced[0]] == 1 for r in shape.choice.by_rows)
        dense = all(info.layout is None for info in infos)
        few = shape.row_extent <= rows_of(self.machine)
        return few and along and dense and self._is_narrow(name, shape.choice, shape.lane_extent)

    def _packs(self, shape: _Shape, member: Member, reads: Sequence[AccessPattern]) -> list[Operand | None]:
        """What may be done with an operand: left in place, or packed into panels.

        Rows of unknown number are packed if possible: edges of every size are many cases, for the proof too.
        """
        if len(reads) != 1:
            return [None]
        read = reads[0]
        axis = single_axis_of(read, member.dim(shape.name))
        exact = self.scop.statement(shape.name).accesses[read.number].exact
        if axis is None or not exact:
            return [None]
        operand = Operand(read.number, read.tensor, axis)
        return [None, operand]

    # --- the loops around -----------------------------------------------------------------------------

    def _arounds(self, shape: _Shape) -> Iterator[_Around]:
        """What a panel depends on stands around its packing, what it does not depend on reuses it.

        The outermost loop is divided among workers: a long one may be taken out of those that reuse panels.
        """
        others = [m for m in shape.nest.members if m is not shape.choice.rows and m is not shape.choice.lanes]
        reads = [r for r in self.patterns.of(shape.name) if r.number in shape.packed]
        moving = [m for m in others if not reads or any(r.depends_on(m.dim(shape.name)) for r in reads)]
        within = [m for m in others if m not in moving]
        for outer, inner in self._divided(shape, moving, within):
            if shape.jam is None:
                for _, loops in self._orders(shape):
                    yield from loops(shape, outer, inner, 0)
            elif (jammed := self._jammed(shape, shape.jam, outer, inner)) is not None:
                yield from self._blocked(shape, *jammed, 0)

    def _jammed(
        self, shape: _Shape, jam: Jam, outer: tuple[Member, ...], inner: tuple[Member, ...]
    ) -> tuple[tuple[Member, ...], tuple[Member, ...]] | None:
        """The same loops with that of the jam last, where nothing is packed inside of it; workers share the first."""
        group = inner or outer
        if jam.member not in group or (not inner and shape.packed):
            return None
        group = (*(m for m in group if m is not jam.member), jam.member)
        if inner:
            return outer, group
        first = next((m for m in group if self._count(m) > 1), jam.member)
        uneven = self._count(first) % jam.copies or self._count(first) < 2 * self._cores(shape) * jam.copies
        return None if first is jam.member and uneven and self._cores(shape) > 1 else (group, ())

    def _divided(
        self, shape: _Shape, moving: list[Member], within: list[Member]
    ) -> Iterator[tuple[tuple[Member, ...], tuple[Member, ...]]]:
        enough = 2 * self._cores(shape) if self._cores(shape) > 1 else 0
        lengths = [self._count(m) for m in moving]
        if not lengths or lengths[0] >= enough:
            yield tuple(moving), tuple(within)
        else:
            first = lengths.index(max(lengths))
            yield (moving[first], *moving[:first], *moving[first + 1 :]), tuple(within)
        longest = max(within, key=self._count, default=None)
        if longest is not None and self._count(longest) > max(lengths, default=1):
            yield (longest, *moving), tuple(m for m in within if m is not longest)

    def _cut(self, shape: _Shape, around: _Around) -> Iterator[tuple[_Shape, _Around]]:
        """The same loops with the reduction in blocks, whose panels stay in the second or in the first cache."""
        if not shape.reduced or shape.interleaved or not self._may_be_cut(shape):
            return
        counts = [max(1, self.extents.extent(shape.name, d)) for d in shape.reduced]
        for lanes, loops in self._orders(shape):
            step = (lanes + shape.row_extent) * prod(counts[1:]) * self._bits(shape.name) // 8
            for cache in (self.machine.l2_bytes // 2, self.machine.l1_bytes * 3 // 4):
                fits = cache // step
                if fits < counts[0] and fits * prod(counts[1:]) >= SHORTEST_BLOCK:
                    block = -(-counts[0] // -(-counts[0] // fits))
                    for each in loops(shape, around.outer, around.inner, block):
                        yield shape, each
                        yield from self._with_held(shape, each)

    def _with_held(self, shape: _Shape, around: _Around) -> Iterator[tuple[_Shape, _Around]]:
        """The same loops with sums in panels between blocks, and no more rows than the last cache holds panels of."""
        choice, (write, *_) = shape.choice, self.patterns.of(shape.name)
        held = held_operand(shape.nest, write, choice.lanes.dim(shape.name), self.scop, self.extents)
        if held is None or shape.jam is not None:
            return
        tiles, bits = self._tiles(shape), self._bits(shape.name)
        lanes = min(tiles[1], around.lane_block or tiles[1]) * shape.lane_extent
        tile_bytes = shape.row_extent * lanes * prod(self._count(m) for m in around.inner) * bits // 8
        block = held_tiles(tiles[0], around.row_block, tile_bytes, self.machine.l3_bytes // self.machine.cores)
        if block is not None:
            yield replace(shape, held=held), replace(around, row_block=block)

    def _may_be_cut(self, shape: _Shape) -> bool:
        """Whether the update is the nest's only reduction; what stands behind it waits for the last block."""
        own = {m.dim(shape.name) for m in shape.nest.members}
        outermost = next((d for d in range(len(self.scop.statement(shape.name).dims)) if d not in own), None)
        others = [n for n in shape.nest.statements() if n != shape.name and self._reduced_dims(n, shape.nest)]
        return outermost == shape.reduced[0] and not others and self.extents.is_static(shape.name, shape.reduced[0])

    def _blocked(
        self, shape: _Shape, outer: tuple[Member, ...], inner: tuple[Member, ...], reduced_block: int
    ) -> Iterator[_Around]:
        """Blocks of row tiles whose operand half the second cache holds; what is divided among workers where no
        outer loop is: blocks of row tiles, or of lane tiles.
        """
        tiles, cores = self._tiles(shape), self._cores(shape)
        row_bytes = self._steps(shape, reduced_block) * self._bits(shape.name) // 8
        fits = max(1, self.machine.l2_bytes // 2 // max(1, shape.row_extent * row_bytes))
        blocks = -(-tiles[0] // fits)
        if cores == 1 or (outer and self._count(outer[0]) > 1):
            few = STREAMS // shape.row_extent  # tiles whose rows processors fetch ahead in at once
            several = blocks if shape.pack_lanes is not None else max(blocks, -(-tiles[0] // max(1, few)))
            for units in dict.fromkeys((blocks, several)):
                yield _Around(outer, inner, -(-tiles[0] // units), None, reduced_block)
            return
        for units in _units(tiles[0], cores, fewest=blocks, repeated=shape.pack_lanes is not None):
            yield _Around(outer, inner, -(-tiles[0] // units), None, reduced_block)
        for units in _units(tiles[1], cores, fewest=1, repeated=shape.pack_rows is not None) if tiles[1] > 1 else ():
            yield _Around(outer, inner, -(-tiles[0] // blocks), -(-tiles[1] // units), reduced_block)

    def _orders(self, shape: _Shape) -> Iterator[tuple[int, _Loops]]:
        """How tiles of rows and of lanes may stand in one another, with the lanes whose panels must be near at once."""
        yield shape.lane_extent, self._blocked
        tiles, sizes = self._tiles(shape)[1], [*shape.choice.lanes.dims, *((shape.name, dim) for dim in shape.reduced)]
        static = all(self.extents.is_static(*dim) for dim in sizes)  # else nobody knows how large all panels are
        if shape.pack_lanes is not None and shape.jam is None and tiles > 1 and static:
            yield tiles * shape.lane_extent, self._rows_first

    def _rows_first(
        self, shape: _Shape, outer: tuple[Member, ...], inner: tuple[Member, ...], reduced_block: int
    ) -> Iterator[_Around]:
        """Panels of all lanes, if the second cache holds them, then tiles of rows, shared by the workers."""
        tiles, cores = self._tiles(shape), self._cores(shape)
        panels = tiles[1] * shape.lane_extent * self._steps(shape, reduced_block) * self._bits(shape.name) // 8
        if panels > self.machine.l2_bytes:
            return
        divided = cores > 1 and not (outer and self._count(outer[0]) > 1)
        for units in _units(tiles[0], cores, fewest=1, repeated=True) if divided else (1,):
            yield _Around(outer, inner, -(-tiles[0] // units), None, reduced_block, rows_first=True)

    # --- cost -----------------------------------------------------------------------------------------

    def _costed(self, shape: _Shape, around: _Around) -> TilePlan:
        choice = shape.choice
        cost = (self._work(shape, around) + self._traffic(shape, around)) * self._idle(shape, around)
        cost *= 1.0 if shape.held is None else WORTH
        return TilePlan(
            statement=shape.name,
            rows=choice.rows,
            lanes=choice.lanes,
            row_extent=shape.row_extent,
            lane_extent=shape.lane_extent,
            row_block=around.row_block,
            lane_block=around.lane_block,
            outer=around.outer,
            inner=around.inner,
            pack_rows=shape.pack_rows,
            pack_lanes=shape.pack_lanes,
            cost=cost,
            reason=self._reason(shape, around, cost),
            inner_first=shape.pack_lanes is None,
            rows_first=around.rows_first,
            reduced_dim=shape.reduced[0] if around.reduced_block else None,
            reduced_block=around.reduced_block,
            held=shape.held,
            jam=shape.jam,
        )

    def _work(self, shape: _Shape, around: _Around) -> float:
        """Cycles of all tiles and of packing, were everything near."""
        tiles = self._tiles(shape)
        batch = prod(self._count(m) for m in (*around.outer, *around.inner))
        ragged = RAGGED if shape.pack_rows is None and not self._fills(shape) else 0.0
        each = self._tile_cycles(shape, around.reduced_block)
        return batch * (tiles[0] + ragged) * tiles[1] * each + self._packing(shape, around)

    def _tiles(self, shape: _Shape) -> tuple[int, int]:
        rows, lanes = self._count(shape.choice.rows), self._count(shape.choice.lanes)
        return -(-rows // shape.row_extent), -(-lanes // shape.lane_extent)

    def _fills(self, shape: _Shape) -> bool:
        """Whether the rows fill their last tile."""
        return self._count(shape.choice.rows) % shape.row_extent == 0

    def _steps(self, shape: _Shape, reduced_block: int) -> int:
        """Steps of the reduction between two loads of a tile's accumulators."""
        counts = [max(1, self.extents.extent(shape.name, d)) for d in shape.reduced]
        return (reduced_block or counts[0]) * prod(counts[1:]) if counts else 1

    def _blocks(self, shape: _Shape, reduced_block: int) -> int:
        return -(-self.extents.extent(shape.name, shape.reduced[0]) // reduced_block) if reduced_block else 1

    def _tile_cycles(self, shape: _Shape, reduced_block: int) -> float:
        """One tile, of those that stand side by side its part."""
        if shape.jam is None:
            return self._cycles_beside(shape, reduced_block, 1)
        count, copies = self._count(shape.jam.member), shape.jam.copies
        total = count // copies * self._cycles_beside(shape, reduced_block, copies)
        if count % copies:
            total += self._cycles_beside(shape, reduced_block, count % copies)
        return total / count

    def _cycles_beside(self, shape: _Shape, reduced_block: int, copies: int) -> float:
        """Tiles side by side: their reduction, their other statements, and what is written of them."""
        blocks = self._blocks(shape, reduced_block)
        total = TILE * blocks
        for name in shape.nest.statements():
            cost = self._cost_of(name, shape, shape.packed if name == shape.name else frozenset())
            inner = prod(self.extents.extent(name, d) for d in self._reduced_dims(name, shape.nest))
            if name == shape.name:
                total += replace(cost, copies=copies).step() * inner + copies * 2 * (blocks - 1) * cost.store()
                total += cost.ending()
            else:
                total += copies * cost.step() * inner
            if self.scop.statement(name).role is not ScopRole.INIT and not self._stays(name, shape.nest):
                total += copies * cost.store()
        main = self._cost_of(shape.name, shape, shape.packed)
        for read in (*shape.choice.by_rows, *shape.choice.by_lanes):
            if read.number not in shape.packed:
                total += copies * blocks * main.conflicts(read, shape.reduced, self._steps(shape, reduced_block))
        return total

    def _packing(self, shape: _Shape, around: _Around) -> float:
        """Panels, as often as they are made, and what is held in some, copied to memory."""
        main, choice = self._cost_of(shape.name, shape), shape.choice
        tiles = self._tiles(shape)
        inside = [*shape.reduced, *(m.dim(shape.name) for m in around.inner)]
        patterns, outer = self.patterns.of(shape.name), prod(self._count(m) for m in around.outer)
        total = 0.0
        if shape.pack_rows is not None:
            times = -(-tiles[1] // around.lane_block) if around.lane_block else 1
            read, row_dim = patterns[shape.pack_rows.access], choice.rows.dim(shape.name)
            total += outer * times * main.packing(read, row_dim, self._count(choice.rows), inside)
        if shape.pack_lanes is not None:
            times = -(-tiles[0] // around.row_block) * tiles[1]
            read, lane_dim = patterns[shape.pack_lanes.access], choice.lanes.dim(shape.name)
            total += outer * times * main.packing(read, lane_dim, shape.lane_extent, inside)
        if shape.held is not None:
            inside = [m.dim(shape.name) for m in (choice.rows, *around.inner)]
            lane_dim = choice.lanes.dim(shape.name)
            total += outer * main.packing(patterns[shape.held.access], lane_dim, self._count(choice.lanes), inside)
        return total

    def _traffic(self, shape: _Shape, around: _Around) -> float:
        """Cycles for lines from beyond the first cache, in all loops together."""
        main, name = self._cost_of(shape.name, shape, shape.packed), shape.name
        still = self._around_the_nest(shape)
        dims = range(len(self.scop.statement(name).dims))
        sizes = {d: 1 if d in still else max(1, self.extents.extent(name, d)) for d in dims}
        levels = list(self._levels(shape, around, sizes))
        tiles = levels[: -len(shape.reduced)] if shape.reduced else levels  # what is written stays in registers inside
        write, *reads = (main.touched(access) for access in self.patterns.of(name)[:-1])
        l1, l2, l3 = (
            size / LINE_BYTES for size in (self.machine.l1_bytes, self.machine.l2_bytes, self.machine.l3_bytes)
        )
        near = zip(reads, fetched(reads, levels, sizes, l1), strict=True)
        total = sum(lines * (STREAMED if self._is_streamed(shape, read) else FROM_L2) for read, lines in near)
        tile = {**sizes, **{level.dim: level.piece for level in tiles}}
        run = {**tile, shape.choice.rows.dim(name): around.row_block * shape.row_extent}  # one after the other
        late = [
            LATE if self._is_late(access, sizes, at, l2) else 0.0
            for access, at in [*((r, tile) for r in reads), (write, run)]
        ]
        for lines, cycles in ((l2, FROM_L3), (l3, FROM_MEMORY)):
            far = (*fetched(reads, levels, sizes, lines), *fetched([write], tiles, sizes, lines))
            total += sum(each * (cycles + more) for each, more in zip(far, late, strict=True))
            if shape.held is not None:
                total += 2 * write.lines(sizes)[0] * cycles  # once more, to memory
        return total

    def _is_streamed(self, shape: _Shape, read: Touched) -> bool:
        """Whether the reduction goes through an operand line after line."""
        if read.dense or not shape.reduced:
            return read.dense
        innermost = shape.reduced[-1]
        steps = [abs(step) for row, step in zip(read.axes, read.strides, strict=True) if row[innermost]]
        return steps == [1] and self.extents.extent(shape.name, innermost) >= SHORTEST_BLOCK

    @staticmethod
    def _is_late(access: Touched, sizes: Mapping[int, int], at_once: Mapping[int, int], cache: float) -> bool:
        """Whether an access comes from beyond the cache, in more places at once than processors fetch ahead in."""
        return access.streams(at_once) > STREAMS and access.lines(sizes)[0] > cache

    def _levels(self, shape: _Shape, around: _Around, sizes: dict[int, int]) -> Iterator[Level]:
        """The loops of the plan from outermost to innermost, those of the reduction last."""
        name, choice = shape.name, shape.choice
        row, lane = choice.rows.dim(name), choice.lanes.dim(name)
        tiles = self._tiles(shape)
        for member in around.outer:
            yield self._level(member, shape)
        if around.lane_block is not None:
            yield Level(lane, around.lane_block * shape.lane_extent, -(-tiles[1] // around.lane_block))
        yield Level(row, around.row_block * shape.row_extent, -(-tiles[0] // around.row_block))
        if around.reduced_block:
            yield Level(shape.reduced[0], around.reduced_block, self._blocks(shape, around.reduced_block))
        inner = [self._level(member, shape) for member in around.inner]
        if shape.pack_lanes is None:
            yield from inner
        lanes = Level(lane, shape.lane_extent, min(tiles[1], around.lane_block or tiles[1]))
        if not around.rows_first:
            yield lanes
        if shape.pack_lanes is not None:
            yield from inner
        yield Level(row, shape.row_extent, min(tiles[0], around.row_block))
        if around.rows_first:
            yield lanes
        for dim in shape.reduced:
            yield Level(
                dim, 1, around.reduced_block if around.reduced_block and dim == shape.reduced[0] else sizes[dim]
            )

    def _level(self, member: Member, shape: _Shape) -> Level:
        copies = shape.jam.copies if shape.jam is not None and member is shape.jam.member else 1
        return Level(member.dim(shape.name), copies, -(-self._count(member) // copies))

    def _idle(self, shape: _Shape, around: _Around) -> float:
        """How much longer it takes because the units of parallel work do not come out even."""
        tiles, cores = self._tiles(shape), self._cores(shape)
        if around.outer and self._count(around.outer[0]) > 1:
            units = self._count(around.outer[0])
        elif around.lane_block is not None:
            units = -(-tiles[1] // around.lane_block)
        else:
            units = -(-tiles[0] // around.row_block)
        return -(-units // cores) * cores / units * (1.0 + UNEVEN * (cores - 1) / units)

    def _stays(self, name: str, nest: Nest) -> bool:
        """Whether what a statement writes is a temporary that only the nest reads."""
        target = self.scop.statement(name).source.target
        users = {a.statement for a in self.scop.accesses_to(target)}
        return self.scop.program.tensor(target).role is Role.TEMPORARY and users <= nest.names

    def _cost_of(self, name: str, shape: _Shape, packed: frozenset[int] = frozenset()) -> TileCost:
        return TileCost(
            self.scop,
            self.patterns,
            self.extents,
            self.machine,
            name,
            shape.choice.rows.dim(name),
            shape.choice.lanes.dim(name),
            shape.row_extent,
            shape.lane_extent,
            packed,
            self._innermost(name, shape),
            None if shape.jam is None else shape.jam.member.dim(name),
            interleaved=shape.interleaved and name == shape.name,
        )

    def _innermost(self, name: str, shape: _Shape) -> int | None:
        """The last index of a statement's reduction."""
        if name == shape.name and shape.jam is not None:
            return shape.jam.along
        reduced = self._reduced_dims(name, shape.nest)
        return reduced[-1] if reduced else None

    def _around_the_nest(self, shape: _Shape) -> frozenset[int]:
        """The update's indices that are loops further out."""
        own = {*shape.reduced, *(m.dim(shape.name) for m in shape.nest.members)}
        return frozenset(range(len(self.scop.statement(shape.name).dims))) - own

    def _cores(self, shape: _Shape) -> int:
        """Among how many the nest's own loops are divided: loops further out are, where there are any."""
        return 1 if self._around_the_nest(shape) else self.machine.cores

    def _count(self, member: Member) -> int:
        return max(1, self.extents.extent(*member.dims[0]))

    def _reduced_dims(self, name: str, nest: Nest) -> tuple[int, ...]:
        """The reduction's indices, in the order of its loops."""
        own = {m.dim(name) for m in nest.members}
        loops = [dim for member in _members_inside(nest) for statement, dim in member.dims if statement == name]
        return tuple(d for d in loops if d not in own)

    def _reason(self, shape: _Shape, around: _Around, cost: float) -> str:
        dims = self.scop.statement(shape.name).dims
        row, lane = dims[shape.choice.rows.dim(shape.name)], dims[shape.choice.lanes.dim(shape.name)]
        packed = [o.tensor for o in (shape.pack_rows, shape.pack_lanes) if o is not None]
        cut = f"{dims[shape.reduced[0]]} in blocks of {around.reduced_block}, " if around.reduced_block else ""
        beside = "panels of all lanes first, " if around.rows_first else ""
        if shape.interleaved:
            beside += f"{STEPS} steps of {dims[shape.reduced[0]]} in a vector, "
        if shape.jam is not None:
            jammed, along = (dims[d] for d in (shape.jam.member.dim(shape.name), shape.jam.along))
            beside += f"{shape.jam.copies} of {jammed} side by side, {along} innermost, "
        return (
            f"{shape.name}: {shape.row_extent} rows of {row} by {shape.lane_extent} lanes of {lane} in registers, "
            f"{beside}{around.row_block} row tiles a unit, {cut}packed: {', '.join(packed) or 'nothing'}; "
            f"about {cost:.3g} cycles"
        )


def _members_inside(nest: Nest) -> Iterator[Member]:
    """The loops below a nest's own, outermost first."""
    for child in nest.children:
        if isinstance(child, Nest):
            yield from child.members
            yield from _members_inside(child)


def _units(tiles: int, cores: int, *, fewest: int, repeated: bool) -> list[int]:
    """Into how many units of parallel work tiles are divided: fewer where each of them packs the same again."""
    several = max(fewest, 4 * cores)
    return list(dict.fromkeys(min(tiles, each) for each in ((several, 4 * cores, cores) if repeated else (several,))))


def single_axis(pattern: AccessPattern, dim: int) -> bool:
    return single_axis_of(pattern, dim) is not None
