"""Fusion: two neighbouring bands of a sequence become one over both.

    for i: S(i)             for i:
    for i: T(i)     ->          S(i)
                                T(i)

Legal if no instance of T then runs before one of S that it depends on.
"""

from __future__ import annotations

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.transform.bands import Path, checked, node_at


def fuse(tree: ScheduleTree, path: Path, dependences: Dependences, *, strict: bool = False) -> ScheduleTree:
    """The bands of all children of the sequence at `path` as one band around the sequence.

    Stage marks of the children become the first one's.  Raises IllegalSchedule if the node is no sequence, a
    child has no band, the bands differ in size, or a dependence breaks.
    """
    node = node_at(tree, path)
    what = f"fuse at {path}"
    if node.get_type() != isl.schedule_node_type.sequence:
        raise IllegalSchedule(f"{what}: the node is no sequence")
    marks: list[isl.Id] = []
    total: isl.MultiUnionPwAff | None = None
    for position in range(node.n_children()):
        below = node.child(position).child(0)
        if below.get_type() == isl.schedule_node_type.mark:
            marks.append(below.mark_get_id())
            below = below.delete()
        if below.get_type() != isl.schedule_node_type.band:
            raise IllegalSchedule(f"{what}: child {position} begins with no band")
        schedule = below.band_get_partial_schedule()
        if total is not None and total.dim(isl.dim_type.set) != schedule.dim(isl.dim_type.set):
            raise IllegalSchedule(f"{what}: the bands have different numbers of members")
        total = schedule if total is None else total.union_add(schedule)
        node = below.delete().parent().parent()
    assert total is not None
    node = node.insert_partial_schedule(total)
    if marks:
        node = node.insert_mark(marks[0])
    kept = {name: d for name, d in tree.decisions.items() if name not in {m.get_name() for m in marks[1:]}}
    return checked(tree.with_decisions(kept), node.get_schedule(), dependences, what, strict=strict)
