"""Register tiles: which loops of a contraction become rows and lanes, how large, what is packed.

In: a nest with an update that reads two operands, one of which does not move along a loop of the nest and the
other not along another.  Out: a `TilePlan` or None.
Invariant: found from access strides alone: "contraction" is any update of this shape (products of matrices,
convolutions and their gradients, batched or transposed).

Every choice of rows, lanes, their extents and packing is costed by `tile_cost`; the cheapest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from comprehension.lang.loops import Role
from comprehension.machine import Machine
from comprehension.poly.access import AccessPattern, AccessPatterns, single_axis_of
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole
from comprehension.poly.tile_cost import LINE, NEAR_LINE, TileCost

FEWEST_REDUCED = 4  # shorter reductions are not worth a register tile


@dataclass(frozen=True, slots=True)
class Operand:
    """A read of the update, to be packed into panels along axis `axis` of its tensor."""

    access: int
    tensor: str
    axis: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """`rows` × `lanes` accumulators in registers, and the loops around.

    for outer: [for blocks of lanes:] for blocks of `row_block` row tiles: for tiles of lanes: for inner: for rows
    """

    statement: str
    rows: Member
    lanes: Member
    row_extent: int
    lane_extent: int
    row_block: int
    lane_block: int | None  # lane tiles of a unit of parallel work, where rows are too few to divide
    outer: tuple[Member, ...]
    inner: tuple[Member, ...]
    pack_rows: Operand | None
    pack_lanes: Operand | None
    cost: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """Rows and lanes, and the operands that move along only one of them."""

    rows: Member
    lanes: Member
    by_rows: tuple[AccessPattern, ...]
    by_lanes: tuple[AccessPattern, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A choice with its extents and the loops around; `reduced` are the update's indices that are none of them."""

    name: str
    nest: Nest
    choice: _Choice
    row_extent: int
    lane_extent: int
    outer: tuple[Member, ...]
    inner: tuple[Member, ...]
    reduced: tuple[int, ...]


@dataclass(slots=True)
class ContractionModel:
    """Plans register tiles for the nests of one Scop."""

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine

    def plan(self, nest: Nest) -> TilePlan | None:
        """The cheapest register tile for the nest's largest contraction, or None where none pays."""
        return min(self.plans(nest), key=lambda p: p.cost, default=None)

    def plans(self, nest: Nest) -> list[TilePlan]:
        """All register tiles that come into question: any of them is right, they differ in cost."""
        updates = [name for name in nest.statements() if self._is_candidate(name, nest)]
        if not updates or not all(self.extents.is_box(name) for name in nest.statements()):
            return []
        name = max(updates, key=self.extents.instances)
        shapes = [
            _Shape(
                name,
                nest,
                choice,
                rows,
                self._lane_extent(name, choice, vectors),
                *self._around(nest, choice),
                self._reduced_dims(name, nest),
            )
            for choice in self._choices(name, nest)
            for vectors in (1, 2)
            for rows in self._row_extents(name, choice, vectors)
        ]
        return [self._costed(shape, *packing) for shape in shapes for packing in self._packings(shape)]

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

    # --- sizes --------------------------------------------------------------------------------------

    def _packings(self, shape: _Shape) -> list[tuple[Operand | None, Operand | None]]:
        """Operands packed or left in place, in all combinations."""
        rows = self._packs(shape, shape.choice.rows, shape.choice.by_rows, shape.row_extent, is_rows=True)
        lanes = self._packs(shape, shape.choice.lanes, shape.choice.by_lanes, shape.lane_extent, is_rows=False)
        return [(row, lane) for row in rows for lane in lanes]

    def _lane_extent(self, name: str, choice: _Choice, vectors: int) -> int:
        width = self.machine.lanes(self.scop.program.tensor(self.scop.statement(name).source.target).dtype.bits)
        count = self.extents.extent(name, choice.lanes.dim(name))
        return vectors * width if count > width // 2 else 1 << max(0, count - 1).bit_length()

    def _costed(self, shape: _Shape, pack_rows: Operand | None, pack_lanes: Operand | None) -> TilePlan:
        name, choice = shape.name, shape.choice
        counts = self._count(choice.rows), self._count(choice.lanes)
        tiles = -(-counts[0] // shape.row_extent), -(-counts[1] // shape.lane_extent)
        bits = self.scop.program.tensor(self.scop.statement(name).source.target).dtype.bits
        reduced = prod(self.extents.extent(name, d) for d in shape.reduced)
        row_block = self._row_block(shape.row_extent, reduced * bits // 8, tiles[0], pack_lanes is not None)
        blocks = -(-tiles[0] // row_block)
        few = not shape.outer and blocks < self.machine.cores and tiles[1] > blocks
        lane_block = -(-tiles[1] // min(tiles[1], 2 * self.machine.cores)) if few else None
        outer, inner = (prod(self._count(m) for m in members) for members in (shape.outer, shape.inner))
        each = self._tile_cycles(shape, pack_rows, pack_lanes, reduced, min(tiles[0], row_block))
        cost = outer * inner * tiles[0] * tiles[1] * each
        main = self._cost_of(name, shape)
        inside = [*shape.reduced, *(m.dim(name) for m in shape.inner)]
        patterns = self.patterns.of(name)
        if pack_rows is not None:
            row_dim, times = choice.rows.dim(name), -(-tiles[1] // lane_block) if lane_block else 1
            cost += outer * times * main.packing(patterns[pack_rows.access], row_dim, counts[0], inside)
        if pack_lanes is not None:
            read, lane_dim = patterns[pack_lanes.access], choice.lanes.dim(name)
            cost += outer * blocks * tiles[1] * main.packing(read, lane_dim, shape.lane_extent, inside)
        return TilePlan(
            statement=name,
            rows=choice.rows,
            lanes=choice.lanes,
            row_extent=shape.row_extent,
            lane_extent=shape.lane_extent,
            row_block=row_block,
            lane_block=lane_block,
            outer=shape.outer,
            inner=shape.inner,
            pack_rows=pack_rows,
            pack_lanes=pack_lanes,
            cost=cost,
            reason=self._reason(shape, row_block, cost, pack_rows, pack_lanes),
        )

    def _tile_cycles(
        self, shape: _Shape, pack_rows: Operand | None, pack_lanes: Operand | None, reduced: int, reuses: int
    ) -> float:
        """One tile: its reduction, its other statements, and what is written of it."""
        packed = frozenset(o.access for o in (pack_rows, pack_lanes) if o is not None)
        total = 0.0
        for name in shape.nest.statements():
            cost = self._cost_of(name, shape, packed if name == shape.name else frozenset())
            inner = prod(self.extents.extent(name, d) for d in self._reduced_dims(name, shape.nest))
            total += cost.step() * inner
            if self.scop.statement(name).role is not ScopRole.INIT and not self._stays(name, shape.nest):
                total += cost.store()
        main = self._cost_of(shape.name, shape)
        for read in shape.choice.by_rows:
            near = NEAR_LINE * shape.row_extent * reduced / LINE
            total += main.row_fetches(read, shape.reduced, reduced) if pack_rows is None else near
        for read in shape.choice.by_lanes:
            if pack_lanes is None:
                total += main.lane_fetches(read, shape.reduced, reuses)
        return total

    def _stays(self, name: str, nest: Nest) -> bool:
        """Whether what a statement writes is a temporary that only the nest reads."""
        target = self.scop.statement(name).source.target
        names = set(nest.statements())
        users = {s.name for s in self.scop.statements for a in s.accesses if a.tensor == target}
        return self.scop.program.tensor(target).role is Role.TEMPORARY and users <= names

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
        )

    def _count(self, member: Member) -> int:
        return max(1, self.extents.extent(*member.dims[0]))

    def _reduced_dims(self, name: str, nest: Nest) -> tuple[int, ...]:
        own = {m.dim(name) for m in nest.members}
        return tuple(d for d in range(len(self.scop.statement(name).dims)) if d not in own)

    def _around(self, nest: Nest, choice: _Choice) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
        """The other loops of the nest: one outermost, to be divided among workers, the others inside."""
        others = [m for m in nest.members if m is not choice.rows and m is not choice.lanes]
        if not others:
            return (), ()
        lengths = [self.extents.extent(*m.dims[0]) for m in others]
        first = 0 if lengths[0] >= 2 * self.machine.cores else lengths.index(max(lengths))
        if lengths[first] == 1:
            return (), tuple(others)
        return (others[first],), tuple(others[:first] + others[first + 1 :])

    def _accumulators(self) -> int:
        """Vector registers for accumulators: the rest holds operands."""
        return self.machine.vector_registers * 3 // 4

    def _row_extents(self, name: str, choice: _Choice, vectors: int) -> list[int]:
        """Rows of a tile: as many as registers hold, evened out, or what divides the loop."""
        most = max(1, self._accumulators() // vectors)
        count = self.extents.extent(name, choice.rows.dim(name))
        if not self.extents.is_static(name, choice.rows.dim(name)) or count == 0:
            return [most]
        even = -(-count // -(-count // most))
        dividing = [rows for rows in range(max(1, most // 3), most + 1) if count % rows == 0]
        return sorted({even, *dividing[-1:]} - {1}) or [most]

    def _packs(
        self, shape: _Shape, member: Member, reads: Sequence[AccessPattern], extent: int, *, is_rows: bool
    ) -> list[Operand | None]:
        """What may be done with an operand: left in place, packed into panels, or either.

        Rows that do not fill their last tile are packed if possible: masks on rows cost more than zeros.
        """
        count, dim = self._count(member), member.dim(shape.name)
        ragged = is_rows and (count % extent != 0 or not self.extents.is_static(shape.name, dim))
        if len(reads) != 1:
            return [None]
        read = reads[0]
        axis = single_axis_of(read, dim)
        size = self.scop.program.tensor(read.tensor).dtype.bits // 8
        panel = extent * size * prod(self.extents.extent(shape.name, d) for d in shape.reduced)
        exact = self.scop.statement(shape.name).accesses[read.number].exact
        if axis is None or not exact or panel > self.machine.l2_bytes:
            return [None]
        operand = Operand(read.number, read.tensor, axis)
        return [operand] if ragged else [None, operand]

    def _row_block(self, row_extent: int, row_bytes: int, tiles: int, packed: bool) -> int:
        """Row tiles of one unit of parallel work: as many as half the second cache holds of their operand."""
        fits = max(1, self.machine.l2_bytes // 2 // max(1, row_extent * row_bytes))
        units = max(-(-tiles // fits), min(tiles, 2 * self.machine.cores))
        if not packed:
            units = max(units, min(tiles, 4 * self.machine.cores))
        return -(-tiles // units)

    def _reason(
        self, shape: _Shape, block: int, cost: float, pack_rows: Operand | None, pack_lanes: Operand | None
    ) -> str:
        dims = self.scop.statement(shape.name).dims
        row, lane = dims[shape.choice.rows.dim(shape.name)], dims[shape.choice.lanes.dim(shape.name)]
        packed = [o.tensor for o in (pack_rows, pack_lanes) if o is not None]
        return (
            f"{shape.name}: {shape.row_extent} rows of {row} by {shape.lane_extent} lanes of {lane} in registers, "
            f"{block} row tiles a unit, packed: {', '.join(packed) or 'nothing'}; about {cost:.3g} cycles"
        )


def single_axis(pattern: AccessPattern, dim: int) -> bool:
    return single_axis_of(pattern, dim) is not None
