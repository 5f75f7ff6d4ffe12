"""Tiling: a loop becomes a loop over tiles and a loop within the tile.

    for i in lower : upper:          for t in 0 : ceil((upper - lower) / T):
        S(i)                   ->        for p in 0 : T:
                                             S(lower + T * t + p)

Legal where the band is permutable (all its dependences have non-negative distance in each member).
"""

from __future__ import annotations

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.transform.bands import Path, change_band


def tile(
    tree: ScheduleTree, path: Path, sizes: tuple[int, ...], dependences: Dependences, *, strict: bool = False
) -> ScheduleTree:
    """The band at `path` in tiles: a band over tiles, and below it one over the points of a tile.

    One size a member, all positive.  Raises IllegalSchedule if a dependence breaks.
    """

    def change(node: isl.ScheduleNode) -> isl.ScheduleNode:
        if len(sizes) != node.band_n_member() or any(size < 1 for size in sizes):
            raise IllegalSchedule(f"tile: {sizes} are no tile sizes for a band of {node.band_n_member()} members")
        values = isl.MultiVal.zero(node.band_get_space())
        for position, size in enumerate(sizes):
            values = values.set_val(position, isl.Val(size, node.get_ctx()))
        return node.band_tile(values)

    return change_band(tree, path, dependences, f"tile{sizes} at {path}", change, strict=strict)


def tile_schedule(schedule: isl.MultiUnionPwAff, lower: isl.PwAff, size: int) -> isl.MultiUnionPwAff:
    """`floor((i - lower) / size)` for a band of one member."""
    shifted = _from_lower(schedule, lower)
    return shifted.scale_down_val(isl.Val(size, schedule.get_ctx())).floor()


def point_schedule(schedule: isl.MultiUnionPwAff, lower: isl.PwAff, size: int) -> isl.MultiUnionPwAff:
    """`(i - lower) mod size` for a band of one member."""
    context = schedule.get_ctx()
    shifted = _from_lower(schedule, lower)
    tiles = shifted.scale_down_val(isl.Val(size, context)).floor()
    return shifted.sub(tiles.scale_val(isl.Val(size, context)))


def _from_lower(schedule: isl.MultiUnionPwAff, lower: isl.PwAff) -> isl.MultiUnionPwAff:
    """The member counted from its lower bound, which depends on sizes only."""
    member = schedule.get_union_pw_aff(0)
    on_domain = isl.UnionPwAff.pw_aff_on_domain(schedule.domain(), lower)
    return schedule.set_union_pw_aff(0, member.sub(on_domain))
