"""Sums between blocks of a reduction: whether they may stay in panels, and in how many blocks of rows.

    for blocks of k:                             for blocks of rows:
        for tiles: load C, add, store C             for blocks of k:
                                        ->              for tiles: load panel, add, store panel
                                                    copy the panels to C

In: a nest whose tiles go through their reduction block by block.  Out: the operand that panels stand for; row tiles.
Invariant: panels stand for what the nest writes before it reads it, so nothing is copied into them.

Where lanes lie apart in memory, a tile's part of the tensor lies in as many places as it has lanes, often in the same
sets of the caches, and each block turns it round twice; in a panel it is one piece of memory, which comes in order.
"""

from __future__ import annotations

from comprehension.poly.access import AccessPattern, single_axis_of
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Nest
from comprehension.poly.scop import Scop
from comprehension.poly.tile_plan import Operand
from comprehension.poly.transform.promote import reads_before_writing

SHARE = 4  # all workers' panels take no more than this part of the last cache
WORTH = 1.03  # times the cost of what holds nothing: memory of its own must bring more than the estimate may err
FEWEST_TILES = 16  # of rows in a block: what is packed inside is packed anew for each


def held_operand(nest: Nest, write: AccessPattern, lane_dim: int, scop: Scop, extents: Extents) -> Operand | None:
    """What the nest's update writes, lanes apart, where each iteration begins by writing it and all sizes are known."""
    own = [access for access in scop.accesses_to(write.tensor) if access.statement in nest.names]
    axis = single_axis_of(write, lane_dim)
    static = all(extents.is_static(*dim) for member in nest.members for dim in member.dims)
    apart = write.strides[lane_dim] not in (1, -1)
    if axis is None or not apart or not static or not all(access.exact for access in own):
        return None
    return None if reads_before_writing(own, nest.members, scop) else Operand(write.number, write.tensor, axis)


def held_tiles(tiles: int, row_block: int, tile_bytes: int, room: int) -> int | None:
    """Row tiles in a block whose panels fit `room` bytes; None where that is too few."""
    fits = room // SHARE // max(1, tile_bytes)
    if fits < min(tiles, FEWEST_TILES):
        return None
    return -(-tiles // max(-(-tiles // row_block), -(-tiles // fits)))
