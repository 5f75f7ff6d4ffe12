"""Loops whose iterations pay to stand side by side around a register tile, and the registers that it takes.

In: an update, its operands, the loops around its tile.  Out: `Jam`s that come into question.
Invariant: found from subscripts alone.  A loop is worth it where an operand stays while it moves (a weight serves
several image rows) and another one moves with it as with an index of the reduction (what one row reads, its neighbour
has read before).  Or where lanes are too few for a wide tile, and what rows read stays: each of its elements, which
takes as long to read as a vector does, then serves the lanes of several iterations, as it would those of a wide tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comprehension.poly.access import AccessPattern
from comprehension.poly.nest import Member, Nest
from comprehension.poly.tile_plan import Jam

COPIES = (2, 3, 4)
SHARING = (3, 4, 5, 6)  # of tiles a vector wide: as many vectors as a wide tile has
LONGEST = 8  # iterations of a loop that LLVM unrolls, so that neighbours' elements are read once


@dataclass(frozen=True, slots=True)
class Candidates:
    """The jams of one update with operands `reads`; `reduced` are its reduction's indices, outermost first.

    `free`: they may run in any order.
    """

    statement: str
    reads: Sequence[AccessPattern]
    reduced: Sequence[int]
    lengths: Sequence[int]  # of the reduced ones
    free: bool

    def of(self, members: Sequence[Member], counts: Sequence[int]) -> Iterator[Jam]:
        """Jams of these loops around the tile, `counts` iterations each."""
        for member, count in zip(members, counts, strict=True):
            along = self._along(member)
            if member.coincident and along is not None:
                yield from (Jam(member, copies, self.statement, along) for copies in COPIES if copies <= count)

    def sharing(
        self, members: Sequence[Member], counts: Sequence[int], sides: tuple[Sequence[AccessPattern], ...]
    ) -> Iterator[Jam]:
        """Jams of loops that move what lanes read and leave what rows read (`sides`: rows, lanes) where it is."""
        by_rows, by_lanes = sides
        for member, count in zip(members, counts, strict=True):
            dim = member.dim(self.statement)
            shared = not any(read.depends_on(dim) for read in by_rows)
            if self.reduced and member.coincident and shared and all(read.depends_on(dim) for read in by_lanes):
                along = self.reduced[-1]  # none left over, which would be that much more to compile and to prove
                yield from (Jam(member, copies, self.statement, along) for copies in SHARING if count % copies == 0)

    def _along(self, member: Member) -> int | None:
        """The index that moves an operand as the loop does, where another operand stays."""
        dim = member.dim(self.statement)
        if all(read.depends_on(dim) for read in self.reads):
            return None
        for along, length in zip(reversed(self.reduced), reversed(self.lengths), strict=True):
            short = 1 < length <= LONGEST and (self.free or along == self.reduced[-1])
            if short and any(moves_alike(read, dim, along) for read in self.reads):
                return along
        return None


def moves_alike(read: AccessPattern, dim: int, along: int) -> bool:
    """Whether two indices move an access by the same step along one axis, and along no other."""
    moved = [(row[dim], row[along]) for row in read.subscripts if row[dim] != 0 or row[along] != 0]
    return len(moved) == 1 and moved[0][0] == moved[0][1] and moved[0][0] is not None


def is_alone(nest: Nest, statement: str) -> bool:
    """Whether the loops of the statement's reduction hold nothing else."""
    child = next((c for c in nest.children if isinstance(c, Nest) and statement in c.names), None)
    return child is None or child.names == {statement}


def registers_of(
    jam: Jam | None,
    statement: str,
    sides: tuple[Sequence[AccessPattern], Sequence[AccessPattern]],
    extents: tuple[int, int],
) -> int:
    """Vector registers of a tile of so many rows and vectors: its accumulators, and what is kept of the operands.

    `sides`: the operands that move along rows, and along lanes.  Of what moves as an index of the reduction does, all
    that the next step reads again is kept; of what stays, all of it.
    """
    rows, vectors = extents
    if jam is None:
        return rows * vectors + vectors
    dim, total = jam.member.dim(statement), jam.copies * rows * vectors
    for reads, extent, least in zip(sides, extents, (1, vectors), strict=True):
        for read in reads:
            if not read.depends_on(dim):
                total += extent
            elif moves_alike(read, dim, jam.along):
                total += max(least, (jam.copies - 1) * extent)
            else:
                total += least
    return total
