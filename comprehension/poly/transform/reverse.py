"""Reversal: a loop runs from its last iteration to its first.

    for i in 0 : n:  S(i)   ->   for i in 1 - n : 1:  S(-i)

Legal if no dependence is carried by the loop.
"""

from __future__ import annotations

from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.transform.bands import Path, change_band


def reverse(
    tree: ScheduleTree, path: Path, member: int, dependences: Dependences, *, strict: bool = False
) -> ScheduleTree:
    """The band at `path` with one member reversed.  Raises IllegalSchedule if a dependence breaks."""

    def change(node: isl.ScheduleNode) -> isl.ScheduleNode:
        schedule = node.band_get_partial_schedule()
        schedule = schedule.set_union_pw_aff(member, schedule.get_union_pw_aff(member).neg())
        return node.delete().insert_partial_schedule(schedule)

    return change_band(tree, path, dependences, f"reverse({member}) at {path}", change, strict=strict)
