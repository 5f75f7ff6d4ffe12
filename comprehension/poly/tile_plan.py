"""TilePlan: what is decided about a nest that becomes register tiles.

In: made by `contraction` and `model`.  Out: what `mapper` writes as a tree.
Invariant: a plan names loops of its nest only; every plan is a legal order of the nest's instances.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.poly.nest import Member


@dataclass(frozen=True, slots=True)
class Operand:
    """An access of the update, to be kept in panels along axis `axis` of its tensor."""

    access: int
    tensor: str
    axis: int


@dataclass(frozen=True, slots=True)
class Jam:
    """`copies` iterations of the loop `member` side by side: what does not move with it is read once for all of them.

    Index `along` of the reduction of `statement`, which runs innermost, moves an operand by the step that the loop
    does: what one iteration reads, its neighbour has read before.
    """

    member: Member
    copies: int
    statement: str
    along: int


@dataclass(frozen=True, slots=True)
class TilePlan:
    """`rows` × `lanes` accumulators in registers, and the loops around.

    for outer: [for blocks of lanes:] for blocks of `row_block` row tiles: [for blocks of the reduction:]
        pack rows: for tiles of lanes: pack lanes: for inner: for tiles of rows: the tile

    With `rows_first` panels of all lanes are packed at first, and then come the tiles of rows, each with all tiles of
    lanes: what a tile of rows reads is near for all but the first of them, and panels are packed once.

    With `inner_first` the inner loops stand around the tiles of lanes: then nothing is packed for lanes, and what
    neighbouring tiles share is still near.  A block of the reduction (`reduced_block` values of its outermost index
    `reduced_dim`) leaves its sums in memory, and the next one goes on from there: in panels of their own (`held`), from
    which they are copied to the tensor behind the last block, or in the tensor itself.  With `jam` the last loop around
    the tiles, which is `jam.member`, runs several iterations at once.
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
    inner_first: bool = False
    rows_first: bool = False
    reduced_dim: int | None = None
    reduced_block: int = 0
    held: Operand | None = None
    jam: Jam | None = None
