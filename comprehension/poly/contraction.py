"""Register tiles: which loops of a contraction become rows and lanes, how large, what is packed.

In: a nest with an update that reads two operands, one of which does not move along a loop of the nest and the
other not along another.  Out: a `TilePlan` or None.
Invariant: found from access strides alone: "contraction" is any update of this shape (products of matrices,
convolutions and their gradients, batched or transposed).

The model counts cycles of one core for the whole nest: multiply-adds of full tiles (what masks waste
included), loads that do not fit beside them, the first and last touch of the accumulators, and packing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from comprehension.machine import Machine
from comprehension.poly.access import AccessPattern, AccessPatterns, single_axis_of
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole, ScopStatement

LOADS_PER_CYCLE = 2.0
FEWEST_REDUCED = 4  # shorter reductions are not worth a register tile
PACK_CONTIGUOUS = 3.0  # cycles to move one vector
PACK_TRANSPOSED = 6.0
STRIDED_PENALTY = 3.0  # cycles of a strided lane operand's gather, per lane


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


@dataclass(slots=True)
class ContractionModel:
    """Plans register tiles for the nests of one Scop."""

    scop: Scop
    patterns: AccessPatterns
    extents: Extents
    machine: Machine

    def plan(self, nest: Nest) -> TilePlan | None:
        """The cheapest register tile for the nest's largest contraction, or None where none pays."""
        updates = [name for name in nest.statements() if self._is_candidate(name, nest)]
        if not updates or not all(self.extents.is_box(name) for name in nest.statements()):
            return None
        name = max(updates, key=self.extents.instances)
        plans = [
            self._sized(name, nest, choice, vectors, rows)
            for choice in self._choices(name, nest)
            for vectors in (1, 2)
            for rows in self._row_extents(name, choice, vectors)
        ]
        return min(plans, key=lambda p: p.cost, default=None)

    def _is_candidate(self, name: str, nest: Nest) -> bool:
        statement = self.scop.statement(name)
        target = self.scop.program.tensor(statement.source.target)
        if statement.role is not ScopRole.UPDATE or not target.dtype.is_float:
            return False
        return self._reduced(statement, nest) >= FEWEST_REDUCED

    def _reduced(self, statement: ScopStatement, nest: Nest) -> int:
        own = {m.dim(statement.name) for m in nest.members}
        inner = [d for d in range(len(statement.dims)) if d not in own]
        return prod(self.extents.extent(statement.name, d) for d in inner)

    def _choices(self, name: str, nest: Nest) -> Iterator[_Choice]:
        write, *reads = self.patterns.of(name)
        operands = reads[:-1]
        for lanes in nest.members:
            for rows in nest.members:
                if rows is lanes or not (rows.coincident and lanes.coincident):
                    continue
                row, lane = rows.dim(name), lanes.dim(name)
                by_rows = tuple(r for r in operands if r.depends_on(row) and not r.depends_on(lane))
                by_lanes = tuple(r for r in operands if r.depends_on(lane) and not r.depends_on(row))
                both = any(r.depends_on(row) and r.depends_on(lane) for r in operands)
                if by_rows and by_lanes and not both and single_axis(write, row) and single_axis(write, lane):
                    yield _Choice(rows, lanes, by_rows, by_lanes)

    # --- sizes --------------------------------------------------------------------------------------

    def _sized(self, name: str, nest: Nest, choice: _Choice, vectors: int, row_extent: int) -> TilePlan:
        statement = self.scop.statement(name)
        dtype = self.scop.program.tensor(statement.source.target).dtype
        width = self.machine.lanes(dtype.bits)
        row_count = self.extents.extent(name, choice.rows.dim(name))
        lane_count = self.extents.extent(name, choice.lanes.dim(name))
        lane_extent = vectors * width if lane_count > width // 2 else 1 << max(0, lane_count - 1).bit_length()
        tiles = -(-row_count // row_extent), -(-lane_count // lane_extent)
        reduced = self._reduced(statement, nest)
        others = prod(self.extents.extent(*m.dims[0]) for m in nest.members) // max(1, row_count * lane_count)
        held = max(1, lane_extent // width)
        per_step = max(row_extent * held, (row_extent * len(choice.by_rows) + held) / LOADS_PER_CYCLE)
        pack_lanes = self._pack(name, choice.lanes, choice.by_lanes, lane_extent, reduced, tiles[0], False)
        pack_rows = self._pack(name, choice.rows, choice.by_rows, row_extent, reduced, tiles[1], True)
        strides = [r.strides[choice.lanes.dim(name)] for r in choice.by_lanes]
        if pack_lanes is None and any(s != 1 for s in strides):
            per_step += STRIDED_PENALTY * lane_extent
        outer, inner = self._around(nest, choice)
        block = self._row_block(row_extent, reduced * dtype.bits // 8, tiles[0], pack_lanes is not None)
        blocks = -(-tiles[0] // block)
        few = not outer and blocks < self.machine.cores and tiles[1] > blocks
        lane_block = -(-tiles[1] // min(tiles[1], 2 * self.machine.cores)) if few else None
        write = self.patterns.of(name)[0]
        out = held if write.strides[choice.lanes.dim(name)] == 1 else 1.5 * lane_extent
        cycles = tiles[0] * tiles[1] * (per_step * reduced + 2 * row_extent * out)
        if pack_lanes is not None:
            how = PACK_CONTIGUOUS if strides[0] == 1 else PACK_TRANSPOSED
            cycles += how * held * reduced * tiles[1] * blocks
        if pack_rows is not None:
            cycles += PACK_TRANSPOSED * reduced * row_count / width
        cost = cycles * others
        reason = self._reason(statement, choice, row_extent, lane_extent, block, cost, pack_rows, pack_lanes)
        return TilePlan(
            statement=name,
            rows=choice.rows,
            lanes=choice.lanes,
            row_extent=row_extent,
            lane_extent=lane_extent,
            row_block=block,
            lane_block=lane_block,
            outer=outer,
            inner=inner,
            pack_rows=pack_rows,
            pack_lanes=pack_lanes,
            cost=cost,
            reason=reason,
        )

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
        return sorted({even, *dividing[-1:]})

    def _pack(
        self,
        name: str,
        member: Member,
        reads: Sequence[AccessPattern],
        extent: int,
        reduced: int,
        reuses: int,
        is_rows: bool,
    ) -> Operand | None:
        """Packing pays where panels are used again and the operand's own layout would miss caches or lanes.

        Rows that do not fill their last tile are packed in any case: masks on rows cost more than zeros.
        """
        count = self.extents.extent(name, member.dim(name))
        ragged = is_rows and (count % extent != 0 or not self.extents.is_static(name, member.dim(name)))
        if len(reads) != 1 or (reuses < 2 and not ragged):
            return None
        read = reads[0]
        dim = member.dim(name)
        axis = single_axis_of(read, dim)
        if axis is None or not self.scop.statement(name).accesses[read.number].exact:
            return None
        size = self.scop.program.tensor(read.tensor).dtype.bits // 8
        panel = extent * reduced * size
        if panel > self.machine.l2_bytes:
            return None
        stays_near = panel <= self.machine.l1_bytes // 4
        if (read.strides[dim] == 1 or is_rows) and stays_near and not ragged:
            return None
        return Operand(read.number, read.tensor, axis)

    def _row_block(self, row_extent: int, row_bytes: int, tiles: int, packed: bool) -> int:
        """Row tiles of one unit of parallel work: as many as half the second cache holds of their operand."""
        fits = max(1, self.machine.l2_bytes // 2 // max(1, row_extent * row_bytes))
        units = max(-(-tiles // fits), min(tiles, 2 * self.machine.cores))
        if not packed:
            units = max(units, min(tiles, 4 * self.machine.cores))
        return -(-tiles // units)

    def _reason(
        self,
        statement: ScopStatement,
        choice: _Choice,
        row_extent: int,
        lane_extent: int,
        block: int,
        cost: float,
        pack_rows: Operand | None,
        pack_lanes: Operand | None,
    ) -> str:
        row = statement.dims[choice.rows.dim(statement.name)]
        lane = statement.dims[choice.lanes.dim(statement.name)]
        packed = [o.tensor for o in (pack_rows, pack_lanes) if o is not None]
        return (
            f"{statement.name}: {row_extent} rows of {row} by {lane_extent} lanes of {lane} in registers, "
            f"{block} row tiles a unit, packed: {', '.join(packed) or 'nothing'}; about {cost:.3g} cycles"
        )


def single_axis(pattern: AccessPattern, dim: int) -> bool:
    return single_axis_of(pattern, dim) is not None
