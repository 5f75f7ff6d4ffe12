"""Bands: where they stand in a schedule tree, and how to change one.

In: a ScheduleTree and a path (positions of children from the root).  Out: nodes, descriptions, changed trees.
Invariant: a changed tree is checked against the dependences, and its stage marks are made anew: whether the
outermost loop of a stage may run in parallel follows from the dependences, never from before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from comprehension.errors import IllegalSchedule
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.schedule_tree import ScheduleTree, StageMark, coincident_dimensions
from comprehension.poly.transform.legality import check_legal, is_coincident

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BandInfo:
    """A band: its path, its members as isl prints them, and which are coincident."""

    path: Path
    members: tuple[str, ...]
    coincident: tuple[bool, ...]


def bands(tree: ScheduleTree) -> tuple[BandInfo, ...]:
    """All bands, outer before inner, in order."""
    return tuple(_info(node, path) for node, path in _walk(tree.schedule.get_root(), ()) if _is_band(node))


def _walk(node: isl.ScheduleNode, path: Path) -> Iterator[tuple[isl.ScheduleNode, Path]]:
    yield node, path
    for position in range(node.n_children()):
        yield from _walk(node.child(position), (*path, position))


def _is_band(node: isl.ScheduleNode) -> bool:
    return bool(node.get_type() == isl.schedule_node_type.band)


def _info(node: isl.ScheduleNode, path: Path) -> BandInfo:
    schedule = node.band_get_partial_schedule()
    count = node.band_n_member()
    members = tuple(str(schedule.get_union_pw_aff(i)) for i in range(count))
    return BandInfo(path, members, tuple(bool(node.band_member_get_coincident(i)) for i in range(count)))


def node_at(tree: ScheduleTree, path: Path) -> isl.ScheduleNode:
    """The node at a path.  Raises IllegalSchedule where the tree has none."""
    node = tree.schedule.get_root()
    for position in path:
        if position >= node.n_children():
            raise IllegalSchedule(f"the schedule has no node at {path}")
        node = node.child(position)
    return node


def change_band(
    tree: ScheduleTree,
    path: Path,
    dependences: Dependences,
    what: str,
    change: Callable[[isl.ScheduleNode], isl.ScheduleNode],
    *,
    strict: bool = False,
) -> ScheduleTree:
    """The tree with `change` applied to the band at `path`.

    Raises IllegalSchedule if there is no band or a dependence would break.
    """
    node = node_at(tree, path)
    if not _is_band(node):
        raise IllegalSchedule(f"{what}: the node at {path} is no band")
    return checked(tree, change(node).get_schedule(), dependences, what, strict=strict)


def checked(
    tree: ScheduleTree, schedule: isl.Schedule, dependences: Dependences, what: str, *, strict: bool = False
) -> ScheduleTree:
    """The tree with another schedule, proved legal, coincidence and stage marks made anew."""
    check_legal(schedule, dependences, what, strict=strict)
    schedule = schedule.map_schedule_node_bottom_up(lambda node: _with_coincidence(node, dependences.strict))
    changed = tree.with_schedule(schedule, what)
    return replace(changed, decisions={**tree.decisions, **dict(_stage_marks(changed))})


def _with_coincidence(node: isl.ScheduleNode, dependences: isl.UnionMap) -> isl.ScheduleNode:
    if not _is_band(node):
        return node
    schedule = node.band_get_partial_schedule()
    prefix = node.get_prefix_schedule_union_map()
    same = prefix.apply_range(prefix.reverse())
    inside = dependences.intersect(same)
    for position in range(node.band_n_member()):
        free = is_coincident(schedule.get_union_pw_aff(position), inside)
        node = node.band_member_set_coincident(position, int(free))
    return node


def _stage_marks(tree: ScheduleTree) -> Iterator[tuple[str, StageMark]]:
    for node, _ in _walk(tree.schedule.get_root(), ()):
        if node.get_type() != isl.schedule_node_type.mark:
            continue
        name = node.mark_get_id().get_name()
        decision = tree.decisions[name]
        if isinstance(decision, StageMark):
            coincident = coincident_dimensions(node.child(0))
            yield name, replace(decision, parallel=coincident > 0, coincident=coincident)
