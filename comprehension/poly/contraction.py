"""Register tiles: which loops of a contraction become rows and lanes, how large, what is packed, what stands around.

In: a nest with an update that reads two operands, one of which does not move along a loop of the nest and the
other not along another.  Out: a `TilePlan` or None.
Invariant: found from access strides alone: "contraction" is any update of this shape (products of matrices,
convolutions and their gradients, batched or transposed).

Every choice of rows, lanes, their extents, packing and the loops around is costed (`contraction_cost`); the cheapest is
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from comprehension.kernel.interleave import FEWEST_STEPS, STEPS, rows_of
from comprehension.lang import tree
from comprehension.machine import Machine
from comprehension.poly.access import AccessPattern, AccessPatterns, single_axis_of
from comprehension.poly.contraction_cost import ContractionCost
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.tile_cost import STREAMS, is_product
from comprehension.poly.tile_jam import Candidates, is_alone, registers_of
from comprehension.poly.tile_plan import Jam, Operand, TilePlan
from comprehension.poly.tile_shape import Around, Choice, Lengths, Shape
from comprehension.poly.tile_sums import held_operand, held_tiles

FEWEST_REDUCED = 4  # shorter reductions are not worth a register tile
MOST_CUT = 12  # of the best tiles are considered with their reduction in blocks too
SHORTEST_BLOCK = 64  # steps between two loads of the accumulators
MOST_VECTORS = 6  # along the lanes of a tile
SPARE = 1  # registers that hold neither accumulators nor lanes: the element of the row at hand

_Loops = Callable[[Shape, tuple[Member, ...], tuple[Member, ...], int], Iterator[Around]]


@dataclass(slots=True)
class ContractionModel:
    """Plans register tiles for the nests of one Scop."""

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    dependences: Dependences
    reorders: bool  # a declared reduction may run in any order
    lengths: Lengths = field(init=False)
    cost: ContractionCost = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = Lengths(self.scop, self.extents, self.machine)
        self.cost = ContractionCost(self.scop, self.patterns, self.extents, self.machine, self.lengths)

    def plan(self, nest: Nest) -> TilePlan | None:
        """The cheapest register tile for the nest's largest contraction, or None where none pays."""
        return min(self.plans(nest), key=lambda p: p.cost, default=None)

    def plans(self, nest: Nest) -> list[TilePlan]:
        """All register tiles that come into question: any of them is right, they differ in cost."""
        updates = [name for name in nest.statements() if self._is_candidate(name, nest)]
        if not updates or not all(self.extents.is_box(name) for name in nest.statements()):
            return []
        name = max(updates, key=self.extents.instances)
        reduced = self.lengths.reduced_dims(name, nest)
        shapes = {
            Shape(name, nest, choice, rows, lanes, reduced, jam): None
            for choice in self._choices(name, nest)
            for lanes in self._lane_extents(name, choice)
            for jam in (None, *self._jams(name, nest, choice, reduced))
            for rows in self._row_extents(name, choice, lanes, jam)
        }
        whole = [
            (packed, around, self.cost.plan(packed, around))
            for shape in shapes
            for packed in self._packings(shape)
            for around in self._arounds(packed)
        ]
        whole.sort(key=lambda each: each[2].cost)
        best: dict[Shape, Around] = {}
        for packed, around, _ in whole:
            best.setdefault(packed, around)
        by_work = sorted(best.items(), key=lambda each: self.cost.work(*each))  # blocks mend what they wait for
        cut = [self.cost.plan(*each) for shape, around in by_work[:MOST_CUT] for each in self._cut(shape, around)]
        return [*(plan for _, _, plan in whole), *cut]

    def _is_candidate(self, name: str, nest: Nest) -> bool:
        statement = self.scop.statement(name)
        target = self.scop.program.tensor(statement.source.target)
        if statement.role is not ScopRole.UPDATE or not target.dtype.is_float:
            return False
        return prod(self.extents.extent(name, d) for d in self.lengths.reduced_dims(name, nest)) >= FEWEST_REDUCED

    def _choices(self, name: str, nest: Nest) -> Iterator[Choice]:
        write, *reads = self.patterns.of(name)
        operands = reads[:-1]
        for lanes in (m for m in nest.members if self.lengths.count(m) > 1):
            for rows in nest.members:
                if rows is lanes or not (rows.coincident and lanes.coincident) or self.lengths.count(rows) < 2:
                    continue
                row, lane = rows.dim(name), lanes.dim(name)
                by_rows = tuple(r for r in operands if r.depends_on(row) and not r.depends_on(lane))
                by_lanes = tuple(r for r in operands if r.depends_on(lane) and not r.depends_on(row))
                both = any(r.depends_on(row) and r.depends_on(lane) for r in operands)
                if by_rows and by_lanes and not both and single_axis(write, row) and single_axis(write, lane):
                    yield Choice(rows, lanes, by_rows, by_lanes)

    # --- sizes of a tile ----------------------------------------------------------------------------

    def _lane_extents(self, name: str, choice: Choice) -> list[int]:
        """One vector up to several; short loops in one tile of their own."""
        width = self.machine.lanes(self.lengths.bits(name))
        count = self.extents.extent(name, choice.lanes.dim(name))
        if count <= width // 2:
            return [1 << (count - 1).bit_length()]
        most = min(MOST_VECTORS, -(-count // width))
        return [vectors * width for vectors in range(1, most + 1)]

    def _row_extents(self, name: str, choice: Choice, lanes: int, jam: Jam | None) -> list[int]:
        """Rows of a tile: as many as registers hold, evened out, or what divides the loop."""
        vectors, registers = -(-lanes // self.machine.lanes(self.lengths.bits(name))), self._registers(name, choice)
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

    def _are_apart(self, name: str, choice: Choice) -> bool:
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

    def _jams(self, name: str, nest: Nest, choice: Choice, reduced: tuple[int, ...]) -> Iterator[Jam]:
        """Loops that may stand side by side around a tile."""
        free = self.reorders and is_alone(nest, name)
        free = free and all(edge.is_reduction for edge in self.dependences.between(name, name))
        lengths = [self.extents.known(name, d) for d in reduced]
        candidates = Candidates(name, self.patterns.of(name)[1:-1], reduced, lengths, free)
        others = [m for m in nest.members if m is not choice.rows and m is not choice.lanes]
        counts = [self.lengths.count(m) for m in others]
        found = list(candidates.of(others, counts))
        if self.lengths.count(choice.lanes) <= self.machine.lanes(self.lengths.bits(name)):
            found += candidates.sharing(others, counts, (choice.by_rows, choice.by_lanes))
        yield from dict.fromkeys(found)

    def _registers(self, name: str, choice: Choice) -> int:
        """Vector registers for accumulators and for the lanes of an operand; an update of more has more to hold."""
        reads = len(self.patterns.of(name)) - 2
        plain = reads == 2 and len(choice.by_rows) == len(choice.by_lanes) == 1
        return self.machine.vector_registers - SPARE if plain else self.machine.vector_registers * 3 // 4

    # --- packing --------------------------------------------------------------------------------------

    def _packings(self, shape: Shape) -> list[Shape]:
        """Operands packed or left in place, in all combinations."""
        rows = self._packs(shape, shape.choice.rows, shape.choice.by_rows)
        vectors = -(-shape.lane_extent // self.machine.lanes(self.lengths.bits(shape.name)))
        crowded = shape.jam is None and shape.row_extent > self._most_apart(vectors)
        if crowded and self._are_apart(shape.name, shape.choice):
            rows = [each for each in rows if each is not None]
        lanes = self._packs(shape, shape.choice.lanes, shape.choice.by_lanes)
        packed = (replace(shape, pack_rows=row, pack_lanes=lane) for row in rows for lane in lanes)
        return [replace(each, interleaved=self._is_interleaved(each)) for each in packed]

    def _is_narrow(self, name: str, choice: Choice, lanes: int) -> bool:
        """Whether all lanes of the loop are one whole vector."""
        count, dim = self.lengths.count(choice.lanes), choice.lanes.dim(name)
        return count == lanes == self.machine.lanes(self.lengths.bits(name)) and self.extents.is_static(name, dim)

    def _is_interleaved(self, shape: Shape) -> bool:
        """Whether steps of the reduction are put side by side in a vector: `kernel.interleave` does it where it can."""
        name, statement = shape.name, self.scop.statement(shape.name)
        reads = self.patterns.of(name)[1:-1]
        if not self.reorders or shape.jam is not None or shape.pack_rows is not None or shape.pack_lanes is None:
            return False
        if len(shape.reduced) != 1 or len(reads) != 2 or not is_product(statement.source.value):
            return False
        steps = self.extents.extent(name, shape.reduced[0]) if self.extents.is_static(name, shape.reduced[0]) else 0
        infos = [self.scop.program.tensor(each.tensor) for each in (statement.write, *reads)]
        if (
            steps < FEWEST_STEPS
            or steps % STEPS
            or len({info.dtype for info in infos}) > 1
            or self.lengths.bits(name) < 32
        ):
            return False
        along = all(r.strides[shape.reduced[0]] == 1 for r in shape.choice.by_rows)
        dense = all(info.layout is None for info in infos)
        few = shape.row_extent <= rows_of(self.machine)
        return few and along and dense and self._is_narrow(name, shape.choice, shape.lane_extent)

    def _packs(self, shape: Shape, member: Member, reads: Sequence[AccessPattern]) -> list[Operand | None]:
        """What may be done with an operand: left in place, or packed into panels.

        Rows of unknown number are packed if possible: edges of every size are many cases, for the proof too.
        """
        if len(reads) != 1:
            return [None]
        read = reads[0]
        axis = single_axis_of(read, member.dim(shape.name))
        if axis is None or not self.scop.is_exact(read.tensor):
            return [None]
        operand = Operand(read.number, read.tensor, axis)
        return [None, operand]

    # --- the loops around -----------------------------------------------------------------------------

    def _arounds(self, shape: Shape) -> Iterator[Around]:
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
        self, shape: Shape, jam: Jam, outer: tuple[Member, ...], inner: tuple[Member, ...]
    ) -> tuple[tuple[Member, ...], tuple[Member, ...]] | None:
        """The same loops with that of the jam last, where nothing is packed inside of it; workers share the first."""
        group = inner or outer
        if jam.member not in group or (not inner and shape.packed):
            return None
        group = (*(m for m in group if m is not jam.member), jam.member)
        if inner:
            return outer, group
        first = next((m for m in group if self.lengths.count(m) > 1), jam.member)
        count, cores = self.lengths.count(first), self.lengths.cores(shape)
        uneven = count % jam.copies or count < 2 * cores * jam.copies
        return None if first is jam.member and uneven and cores > 1 else (group, ())

    def _divided(
        self, shape: Shape, moving: list[Member], within: list[Member]
    ) -> Iterator[tuple[tuple[Member, ...], tuple[Member, ...]]]:
        cores = self.lengths.cores(shape)
        enough = 2 * cores if cores > 1 else 0
        lengths = [self.lengths.count(m) for m in moving]
        if not lengths or lengths[0] >= enough:
            yield tuple(moving), tuple(within)
        else:
            first = lengths.index(max(lengths))
            yield (moving[first], *moving[:first], *moving[first + 1 :]), tuple(within)
        longest = max(within, key=self.lengths.count, default=None)
        if longest is not None and self.lengths.count(longest) > max(lengths, default=1):
            yield (longest, *moving), tuple(m for m in within if m is not longest)

    def _cut(self, shape: Shape, around: Around) -> Iterator[tuple[Shape, Around]]:
        """The same loops with the reduction in blocks, whose panels stay in the second or in the first cache."""
        if not shape.reduced or shape.interleaved or not self._may_be_cut(shape):
            return
        counts = [max(1, self.extents.extent(shape.name, d)) for d in shape.reduced]
        for lanes, loops in self._orders(shape):
            step = (lanes + shape.row_extent) * prod(counts[1:]) * self.lengths.bits(shape.name) // 8
            for cache in (self.machine.l2_bytes // 2, self.machine.l1_bytes * 3 // 4):
                fits = cache // step
                if fits < counts[0] and fits * prod(counts[1:]) >= SHORTEST_BLOCK:
                    block = -(-counts[0] // -(-counts[0] // fits))
                    for each in loops(shape, around.outer, around.inner, block):
                        yield shape, each
                        yield from self._with_held(shape, each)

    def _with_held(self, shape: Shape, around: Around) -> Iterator[tuple[Shape, Around]]:
        """The same loops with sums in panels between blocks, and no more rows than the last cache holds panels of."""
        choice, (write, *_) = shape.choice, self.patterns.of(shape.name)
        held = held_operand(shape.nest, write, choice.lanes.dim(shape.name), self.scop, self.extents)
        if held is None or shape.jam is not None:
            return
        tiles, bits = self.lengths.tiles(shape), self.lengths.bits(shape.name)
        lanes = min(tiles[1], around.lane_block or tiles[1]) * shape.lane_extent
        tile_bytes = shape.row_extent * lanes * prod(self.lengths.count(m) for m in around.inner) * bits // 8
        block = held_tiles(tiles[0], around.row_block, tile_bytes, self.machine.l3_bytes // self.machine.cores)
        if block is not None:
            yield replace(shape, held=held), replace(around, row_block=block)

    def _may_be_cut(self, shape: Shape) -> bool:
        """Whether the update is the nest's only reduction; what stands behind it waits for the last block."""
        own = {m.dim(shape.name) for m in shape.nest.members}
        outermost = next((d for d in range(len(self.scop.statement(shape.name).dims)) if d not in own), None)
        others = [n for n in shape.nest.statements() if n != shape.name and self.lengths.reduced_dims(n, shape.nest)]
        return outermost == shape.reduced[0] and not others and self.extents.is_static(shape.name, shape.reduced[0])

    def _blocked(
        self, shape: Shape, outer: tuple[Member, ...], inner: tuple[Member, ...], reduced_block: int
    ) -> Iterator[Around]:
        """Blocks of row tiles whose operand half the second cache holds; what is divided among workers where no
        outer loop is: blocks of row tiles, or of lane tiles.
        """
        tiles, cores = self.lengths.tiles(shape), self.lengths.cores(shape)
        row_bytes = self.lengths.steps(shape, reduced_block) * self.lengths.bits(shape.name) // 8
        fits = max(1, self.machine.l2_bytes // 2 // max(1, shape.row_extent * row_bytes))
        blocks = -(-tiles[0] // fits)
        if cores == 1 or (outer and self.lengths.count(outer[0]) > 1):
            few = STREAMS // shape.row_extent  # tiles whose rows processors fetch ahead in at once
            several = blocks if shape.pack_lanes is not None else max(blocks, -(-tiles[0] // max(1, few)))
            for units in dict.fromkeys((blocks, several)):
                yield Around(outer, inner, -(-tiles[0] // units), None, reduced_block)
            return
        for units in _units(tiles[0], cores, fewest=blocks, repeated=shape.pack_lanes is not None):
            yield Around(outer, inner, -(-tiles[0] // units), None, reduced_block)
        for units in _units(tiles[1], cores, fewest=1, repeated=shape.pack_rows is not None) if tiles[1] > 1 else ():
            yield Around(outer, inner, -(-tiles[0] // blocks), -(-tiles[1] // units), reduced_block)

    def _orders(self, shape: Shape) -> Iterator[tuple[int, _Loops]]:
        """How tiles of rows and of lanes may stand in one another, with the lanes whose panels must be near at once."""
        yield shape.lane_extent, self._blocked
        tiles = self.lengths.tiles(shape)[1]
        sizes = [*shape.choice.lanes.dims, *((shape.name, dim) for dim in shape.reduced)]
        static = all(self.extents.is_static(*dim) for dim in sizes)  # else nobody knows how large all panels are
        if shape.pack_lanes is not None and shape.jam is None and tiles > 1 and static:
            yield tiles * shape.lane_extent, self._rows_first

    def _rows_first(
        self, shape: Shape, outer: tuple[Member, ...], inner: tuple[Member, ...], reduced_block: int
    ) -> Iterator[Around]:
        """Panels of all lanes, if the second cache holds them, then tiles of rows, shared by the workers."""
        tiles, cores = self.lengths.tiles(shape), self.lengths.cores(shape)
        lane_bytes = self.lengths.steps(shape, reduced_block) * self.lengths.bits(shape.name) // 8
        if tiles[1] * shape.lane_extent * lane_bytes > self.machine.l2_bytes:
            return
        divided = cores > 1 and not (outer and self.lengths.count(outer[0]) > 1)
        for units in _units(tiles[0], cores, fewest=1, repeated=True) if divided else (1,):
            yield Around(outer, inner, -(-tiles[0] // units), None, reduced_block, rows_first=True)


def _units(tiles: int, cores: int, *, fewest: int, repeated: bool) -> list[int]:
    """Into how many units of parallel work tiles are divided: fewer where each of them packs the same again."""
    several = max(fewest, 4 * cores)
    return list(dict.fromkeys(min(tiles, each) for each in ((several, 4 * cores, cores) if repeated else (several,))))


def single_axis(pattern: AccessPattern, dim: int) -> bool:
    return single_axis_of(pattern, dim) is not None
