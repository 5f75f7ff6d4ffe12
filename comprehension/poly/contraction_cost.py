"""What a register tile costs with the loops around it, in cycles: its own work, packing, and waiting for caches.

In: a `Shape` and what stands `Around` it.  Out: a `TilePlan` with its cost and the reason that `explain` prints.
Invariant: costs are comparable among the shapes of one nest; nothing is decided here.

What a tile does is counted by `tile_cost`, what its loops fetch from far caches by `tile_traffic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from comprehension.kernel.interleave import STEPS
from comprehension.lang.loops import Role
from comprehension.machine import LINE_BYTES, Machine
from comprehension.poly.access import AccessPatterns
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.tile_cost import FROM_L2, FROM_L3, FROM_MEMORY, LATE, STREAMED, STREAMS, TILE, TileCost
from comprehension.poly.tile_plan import TilePlan
from comprehension.poly.tile_shape import Around, Lengths, Shape
from comprehension.poly.tile_sums import WORTH
from comprehension.poly.tile_traffic import Level, Touched, fetched

SHORTEST_RUN = 64  # steps of the reduction in which processors find out that an operand is read line after line
RAGGED = 0.5  # of a tile, that masks add to the last one where rows do not fill it
UNEVEN = 0.05  # of the last unit's time the other workers wait for it


@dataclass(frozen=True, slots=True)
class ContractionCost:
    """Costs of shapes for the nests of one Scop."""

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    lengths: Lengths

    def plan(self, shape: Shape, around: Around) -> TilePlan:
        choice = shape.choice
        cost = (self.work(shape, around) + self._traffic(shape, around)) * self._idle(shape, around)
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

    def work(self, shape: Shape, around: Around) -> float:
        """Cycles of all tiles and of packing, were everything near."""
        tiles = self.lengths.tiles(shape)
        batch = prod(self.lengths.count(m) for m in (*around.outer, *around.inner))
        ragged = RAGGED if shape.pack_rows is None and not self.lengths.fills(shape) else 0.0
        each = self._tile_cycles(shape, around.reduced_block)
        return batch * (tiles[0] + ragged) * tiles[1] * each + self._packing(shape, around)

    def _tile_cycles(self, shape: Shape, reduced_block: int) -> float:
        """One tile, of those that stand side by side its part."""
        if shape.jam is None:
            return self._cycles_beside(shape, reduced_block, 1)
        count, copies = self.lengths.count(shape.jam.member), shape.jam.copies
        total = count // copies * self._cycles_beside(shape, reduced_block, copies)
        if count % copies:
            total += self._cycles_beside(shape, reduced_block, count % copies)
        return total / count

    def _cycles_beside(self, shape: Shape, reduced_block: int, copies: int) -> float:
        """Tiles side by side: their reduction, their other statements, and what is written of them."""
        blocks = self.lengths.blocks(shape, reduced_block)
        total = TILE * blocks
        for name in shape.nest.statements():
            cost = self._cost_of(name, shape, shape.packed if name == shape.name else frozenset())
            inner = prod(self.extents.extent(name, d) for d in self.lengths.reduced_dims(name, shape.nest))
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
                total += copies * blocks * main.conflicts(read, shape.reduced, self.lengths.steps(shape, reduced_block))
        return total

    def _packing(self, shape: Shape, around: Around) -> float:
        """Panels, as often as they are made, and what is held in some, copied to memory."""
        main, choice = self._cost_of(shape.name, shape), shape.choice
        tiles = self.lengths.tiles(shape)
        inside = [*shape.reduced, *(m.dim(shape.name) for m in around.inner)]
        patterns, outer = self.patterns.of(shape.name), prod(self.lengths.count(m) for m in around.outer)
        total = 0.0
        if shape.pack_rows is not None:
            times = -(-tiles[1] // around.lane_block) if around.lane_block else 1
            read, row_dim = patterns[shape.pack_rows.access], choice.rows.dim(shape.name)
            total += outer * times * main.packing(read, row_dim, self.lengths.count(choice.rows), inside)
        if shape.pack_lanes is not None:
            times = -(-tiles[0] // around.row_block) * tiles[1]
            read, lane_dim = patterns[shape.pack_lanes.access], choice.lanes.dim(shape.name)
            total += outer * times * main.packing(read, lane_dim, shape.lane_extent, inside)
        if shape.held is not None:
            inside = [m.dim(shape.name) for m in (choice.rows, *around.inner)]
            lane_dim = choice.lanes.dim(shape.name)
            total += outer * main.packing(
                patterns[shape.held.access], lane_dim, self.lengths.count(choice.lanes), inside
            )
        return total

    def _traffic(self, shape: Shape, around: Around) -> float:
        """Cycles for lines from beyond the first cache, in all loops together."""
        main, name = self._cost_of(shape.name, shape, shape.packed), shape.name
        still = self.lengths.around_the_nest(shape)
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

    def _is_streamed(self, shape: Shape, read: Touched) -> bool:
        """Whether the reduction goes through an operand line after line."""
        if read.dense or not shape.reduced:
            return read.dense
        innermost = shape.reduced[-1]
        steps = [abs(step) for row, step in zip(read.axes, read.strides, strict=True) if row[innermost]]
        return steps == [1] and self.extents.extent(shape.name, innermost) >= SHORTEST_RUN

    @staticmethod
    def _is_late(access: Touched, sizes: Mapping[int, int], at_once: Mapping[int, int], cache: float) -> bool:
        """Whether an access comes from beyond the cache, in more places at once than processors fetch ahead in."""
        return access.streams(at_once) > STREAMS and access.lines(sizes)[0] > cache

    def _levels(self, shape: Shape, around: Around, sizes: dict[int, int]) -> Iterator[Level]:
        """The loops of the plan from outermost to innermost, those of the reduction last."""
        name, choice = shape.name, shape.choice
        row, lane = choice.rows.dim(name), choice.lanes.dim(name)
        tiles = self.lengths.tiles(shape)
        for member in around.outer:
            yield self._level(member, shape)
        if around.lane_block is not None:
            yield Level(lane, around.lane_block * shape.lane_extent, -(-tiles[1] // around.lane_block))
        yield Level(row, around.row_block * shape.row_extent, -(-tiles[0] // around.row_block))
        if around.reduced_block:
            yield Level(shape.reduced[0], around.reduced_block, self.lengths.blocks(shape, around.reduced_block))
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

    def _level(self, member: Member, shape: Shape) -> Level:
        copies = shape.jam.copies if shape.jam is not None and member is shape.jam.member else 1
        return Level(member.dim(shape.name), copies, -(-self.lengths.count(member) // copies))

    def _idle(self, shape: Shape, around: Around) -> float:
        """How much longer it takes because the units of parallel work do not come out even."""
        tiles, cores = self.lengths.tiles(shape), self.lengths.cores(shape)
        if around.outer and self.lengths.count(around.outer[0]) > 1:
            units = self.lengths.count(around.outer[0])
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

    def _cost_of(self, name: str, shape: Shape, packed: frozenset[int] = frozenset()) -> TileCost:
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

    def _innermost(self, name: str, shape: Shape) -> int | None:
        """The last index of a statement's reduction."""
        if name == shape.name and shape.jam is not None:
            return shape.jam.along
        reduced = self.lengths.reduced_dims(name, shape.nest)
        return reduced[-1] if reduced else None

    def _reason(self, shape: Shape, around: Around, cost: float) -> str:
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
