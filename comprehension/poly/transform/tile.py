"""Tiling: a loop becomes a loop over tiles and a loop within the tile.

    for i in lower : upper:          for t in 0 : ceil((upper - lower) / T):
        S(i)                   ->        for p in 0 : T:
                                             S(lower + T * t + p)

In: one member of a band.  Out: the members over tiles and within a tile, counted from the loop's lower bound.
"""

from __future__ import annotations

from comprehension.poly import isl


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
