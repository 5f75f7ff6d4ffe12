"""The shape of a register tile, and the loops around it, before anything of it is known to pay.

In: rows and lanes of a nest's update, chosen by `contraction`.  Out: how many tiles, steps and blocks they make
(`Lengths`), which `contraction` looks for shapes by and `contraction_cost` counts cycles by.
Invariant: a loop whose length is not known counts with the length that is reckoned with; every length is 1 at least.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from comprehension.machine import Machine
from comprehension.poly.access import AccessPattern
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop
from comprehension.poly.tile_plan import Jam, Operand


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows and lanes, and the operands that move along only one of them."""

    rows: Member
    lanes: Member
    by_rows: tuple[AccessPattern, ...]
    by_lanes: tuple[AccessPattern, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A choice with its extents and packing; `reduced` are the update's indices that are no loops of the nest."""

    name: str
    nest: Nest
    choice: Choice
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
class Around:
    """The loops around the tiles, as `TilePlan` names them."""

    outer: tuple[Member, ...]
    inner: tuple[Member, ...]
    row_block: int
    lane_block: int | None
    reduced_block: int  # 0: the reduction is not cut
    rows_first: bool = False  # a tile of rows meets all tiles of lanes, whose panels are packed before


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long loops are, and how many tiles, steps and blocks a shape makes of them."""

    scop: Scop
    extents: Extents
    machine: Machine

    def bits(self, name: str) -> int:
        """Of an element that the statement writes."""
        return self.scop.program.tensor(self.scop.statement(name).source.target).dtype.bits

    def count(self, member: Member) -> int:
        """Iterations of a loop of the nest."""
        return max(1, self.extents.extent(*member.dims[0]))

    def tiles(self, shape: Shape) -> tuple[int, int]:
        """Along rows and along lanes."""
        rows, lanes = self.count(shape.choice.rows), self.count(shape.choice.lanes)
        return -(-rows // shape.row_extent), -(-lanes // shape.lane_extent)

    def fills(self, shape: Shape) -> bool:
        """Whether the rows fill their last tile."""
        return self.count(shape.choice.rows) % shape.row_extent == 0

    def steps(self, shape: Shape, reduced_block: int) -> int:
        """Steps of the reduction between two loads of a tile's accumulators."""
        counts = [max(1, self.extents.extent(shape.name, d)) for d in shape.reduced]
        return (reduced_block or counts[0]) * prod(counts[1:]) if counts else 1

    def blocks(self, shape: Shape, reduced_block: int) -> int:
        """Of the reduction."""
        return -(-self.extents.extent(shape.name, shape.reduced[0]) // reduced_block) if reduced_block else 1

    def around_the_nest(self, shape: Shape) -> frozenset[int]:
        """The update's indices that are loops further out."""
        own = {*shape.reduced, *(m.dim(shape.name) for m in shape.nest.members)}
        return frozenset(range(len(self.scop.statement(shape.name).dims))) - own

    def cores(self, shape: Shape) -> int:
        """Among how many the nest's own loops are divided: loops further out are, where there are any."""
        return 1 if self.around_the_nest(shape) else self.machine.cores

    def reduced_dims(self, name: str, nest: Nest) -> tuple[int, ...]:
        """The reduction's indices, in the order of its loops."""
        own = {m.dim(name) for m in nest.members}
        loops = [dim for member in _members_inside(nest) for statement, dim in member.dims if statement == name]
        return tuple(d for d in loops if d not in own)


def _members_inside(nest: Nest) -> Iterator[Member]:
    """The loops below a nest's own, outermost first."""
    for child in nest.children:
        if isinstance(child, Nest):
            yield from child.members
            yield from _members_inside(child)
