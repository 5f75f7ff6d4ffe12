"""Copies between tensors and local buffers, as statements that the schedule gains.

    for i:                              for i:
        ... a[i, j] ...         ->          for j: a_local[j] = a[i, j]
                                            ... a_local[j] ...

In: a node, what the loops above it touch.  Out: the node with a copy grafted before or after it.
isl generates the loops of a copy like those of any statement, so bounds at the edges come out exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comprehension.poly import isl
from comprehension.poly.functions import dimension


@dataclass(frozen=True, slots=True)
class CopyLoop:
    """One loop of a copy over axis `axis` of the tensor: the whole index, its tile or its place in the tile."""

    axis: int
    tile: int | None = None  # floor(index / tile)
    point: int | None = None  # index mod tile, from `lower` on
    lower: isl.PwAff | None = None


def graft_copy(
    node: isl.ScheduleNode,
    touched: isl.Map,
    name: str,
    loops: Sequence[CopyLoop],
    points: Sequence[CopyLoop],
    mark: str | None,
    *,
    before: bool,
) -> isl.ScheduleNode:
    """`node` (below a mark) with statement `name` over the elements `touched`, its `points` under a tile mark.

    Without a mark there are no points, and without loops either the statement is one element.

    The result is the node that stands below the same mark as `node` did.
    """
    depth = node.get_tree_depth()
    elements = touched.set_tuple_name(isl.dim_type.out, name)
    space = elements.get_space().range()
    graft = isl.ScheduleNode.from_extension(isl.UnionMap.from_map(elements)).child(0)
    if loops:
        graft = graft.insert_partial_schedule(_band(loops, space)).child(0)
    if mark is not None:
        graft = graft.insert_partial_schedule(_band(points, space))
        graft = graft.insert_mark(isl.Id(mark, context=node.get_ctx()))
    graft = graft.root()
    node = node.graft_before(graft) if before else node.graft_after(graft)
    while node.get_tree_depth() > depth:
        node = node.parent()
    return node


def _band(loops: Sequence[CopyLoop], space: isl.Space) -> isl.MultiUnionPwAff:
    total: isl.MultiUnionPwAff | None = None
    for loop in loops:
        part = isl.MultiUnionPwAff.from_union_pw_aff(_member(loop, space))
        total = part if total is None else total.flat_range_product(part)
    assert total is not None
    return total


def _member(loop: CopyLoop, space: isl.Space) -> isl.UnionPwAff:
    index = dimension(space, loop.axis)
    if loop.lower is not None:
        index = index.sub(_on(loop.lower, space))
    if loop.tile is not None:
        index = index.scale_down_val(isl.Val(loop.tile, space.get_ctx())).floor()
    if loop.point is not None:
        index = index.mod_val(isl.Val(loop.point, space.get_ctx()))
    return isl.UnionPwAff.from_pw_aff(index)


def _on(value: isl.PwAff, space: isl.Space) -> isl.PwAff:
    """A function of the sizes as one on the elements."""
    return value.insert_domain(space)
