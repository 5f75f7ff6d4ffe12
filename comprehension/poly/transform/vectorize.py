"""Vectorisation: an innermost loop becomes the lanes of a tile.

    for i in 0 : n:             for t in 0 : ceil(n / L):
        S(i)            ->          tile of L lanes:  S(L t + lane)
        T(i)                        tile of L lanes:  T(L t + lane)     (statement by statement)

Legal if the loop carries no dependence: then instances of one statement may run side by side, and all of them
before any of the next statement.
"""

from __future__ import annotations

from dataclasses import replace

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree, TileMark
from comprehension.poly.transform.bands import Path, checked, node_at


def vectorize(tree: ScheduleTree, path: Path, lanes: int, dependences: Dependences) -> ScheduleTree:
    """The last member of the innermost band at `path` in tiles of `lanes`.

    Raises IllegalSchedule if the band is not innermost or its last member carries a dependence.
    """
    node = node_at(tree, path)
    what = f"vectorize({lanes}) at {path}"
    if node.get_type() != isl.schedule_node_type.band or not _is_innermost(node):
        raise IllegalSchedule(f"{what}: the node is no innermost band")
    last = node.band_n_member() - 1
    if not node.band_member_get_coincident(last):
        raise IllegalSchedule(f"{what}: the loop carries a dependence")
    if last:
        node = node.band_split(last).child(0)
    sizes = isl.MultiVal.zero(node.band_get_space()).set_val(0, isl.Val(lanes, node.get_ctx()))
    node = node.band_tile(sizes).child(0)
    name = f"tile {len(tree.decisions)}"
    schedule = node.insert_mark(isl.Id(name, context=node.get_ctx())).get_schedule()
    changed = replace(tree, decisions={**tree.decisions, name: TileMark(lanes)})
    return checked(changed, schedule, dependences, what)


def _is_innermost(node: isl.ScheduleNode) -> bool:
    below = node.child(0)
    if below.get_type() == isl.schedule_node_type.sequence:
        return all(below.child(i).child(0).get_type() == isl.schedule_node_type.leaf for i in range(below.n_children()))
    return bool(below.get_type() == isl.schedule_node_type.leaf)
