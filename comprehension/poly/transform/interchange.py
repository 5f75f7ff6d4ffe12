"""Interchange: the members of a band in another order.

    for i:                      for j:
        for j: S(i, j)   ->         for i: S(i, j)

Legal if every dependence stays lexicographically positive.
"""

from __future__ import annotations

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.transform.bands import Path, change_band


def interchange(
    tree: ScheduleTree, path: Path, order: tuple[int, ...], dependences: Dependences, *, strict: bool = False
) -> ScheduleTree:
    """The band at `path` with member `order[0]` outermost, then `order[1]`, ...

    Raises IllegalSchedule if `order` is no permutation of the members or a dependence breaks.
    """

    def change(node: isl.ScheduleNode) -> isl.ScheduleNode:
        schedule = node.band_get_partial_schedule()
        if sorted(order) != list(range(node.band_n_member())):
            raise IllegalSchedule(f"interchange: {order} is no order of the band's {node.band_n_member()} members")
        members = [schedule.get_union_pw_aff(position) for position in order]
        for position, member in enumerate(members):
            schedule = schedule.set_union_pw_aff(position, member)
        return node.delete().insert_partial_schedule(schedule)

    return change_band(tree, path, dependences, f"interchange{order} at {path}", change, strict=strict)
