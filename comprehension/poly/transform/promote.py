"""Promotion: tensors that live in local buffers while an outer iteration runs.

    for i:                                      for i:
        for j: e[i, j] = f(x[i, j])      ->         for j: e_local[j] = f(x[i, j])
        for j: y[i, j] = g(e[i, j])                 for j: y[i, j] = g(e_local[j])

Legal for a temporary that only the statements below the outer loops touch, where no dependence through it
crosses their iterations: then nothing outside sees it and each iteration may have its own.
The box is what one iteration touches: isl's box hull of the footprint, axis by axis.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from comprehension.kernel.ir import Space
from comprehension.lang.loops import Role
from comprehension.poly import isl
from comprehension.poly.access import AccessPattern, AccessPatterns
from comprehension.poly.cluster import at_distance_zero
from comprehension.poly.dependence import Dependences
from comprehension.poly.nest import Member
from comprehension.poly.schedule_tree import Promotion
from comprehension.poly.scop import Scop, ScopAccess


def accesses_of(tensor: str, scop: Scop) -> list[ScopAccess]:
    """All accesses to a tensor, in the order of the text."""
    return [a for s in scop.statements for a in s.accesses if a.tensor == tensor]


def is_private(tensor: str, members: Sequence[Member], names: Collection[str], scop: Scop, deps: Dependences) -> bool:
    """Whether each iteration of `members`, around the statements `names`, may have a temporary of its own."""
    if scop.program.tensor(tensor).role is not Role.TEMPORARY:
        return False
    if any(a.statement not in names or not a.exact for a in accesses_of(tensor, scop)):
        return False
    return all(
        at_distance_zero(edge.relation, member.dim(edge.source), member.dim(edge.sink))
        for edge in deps.edges
        if edge.tensor == tensor
        for member in members
    )


def footprint(node: isl.ScheduleNode, accesses: Sequence[ScopAccess]) -> isl.Map | None:
    """{ prefix schedule -> elements touched below `node` }."""
    prefix = node.get_prefix_schedule_relation()
    total: isl.Map | None = None
    for access in accesses:
        times = prefix.intersect_domain(isl.UnionSet.from_set(access.relation.domain()))
        for part in isl.maps_of(times):
            touched = part.reverse().apply_range(access.relation)
            total = touched if total is None else total.union(touched)
    return None if total is None else total.coalesce()


def box_of(touched: isl.Map) -> tuple[tuple[isl.Aff, ...], tuple[int | None, ...]]:
    """Per axis the offset (over the prefix) and the constant extent of a box around what is touched.

    Where the extent is not constant: offset 0 and None, the whole axis.
    """
    offsets: list[isl.Aff] = []
    extents: list[int | None] = []
    rank = touched.dim(isl.dim_type.out)
    for axis in range(rank):
        line = touched.project_out(isl.dim_type.out, axis + 1, rank - axis - 1).project_out(isl.dim_type.out, 0, axis)
        offset, extent = _interval(line.wrap().flatten())
        offsets.append(offset)
        extents.append(extent)
    return tuple(offsets), tuple(extents)


def _interval(points: isl.Set) -> tuple[isl.Aff, int | None]:
    """The narrowest [offset, offset + extent) with constant extent around the last dimension of `points`.

    Candidates for the offset are the lower bounds of isl's simple hull (islpy has no fixed box hulls).
    """
    last = points.dim(isl.dim_type.set) - 1
    best: tuple[isl.Aff, int] | None = None
    hull = points.simple_hull()
    for position in range(hull.n_constraint()):
        constraint = hull.get_constraint_list().get_at(position)
        step = constraint.get_coefficient_val(isl.dim_type.set, last)
        if not (step.is_one() or (constraint.is_equality() and step.is_negone())):
            continue
        beyond = constraint.get_aff()  # how far the last dimension lies above this bound
        beyond = beyond.neg() if step.is_negone() else beyond
        furthest = points.max_val(beyond)
        if furthest.is_int() and (best is None or int(furthest.to_python()) + 1 < best[1]):
            at = isl.Aff.var_on_domain(beyond.get_domain_local_space(), isl.dim_type.set, last)
            best = at.sub(beyond), int(furthest.to_python()) + 1
    if best is None:
        return isl.Aff.zero_on_domain(isl.LocalSpace.from_space(points.get_space())), None
    return best


def private_box(tensor: str, node: isl.ScheduleNode, scop: Scop) -> Promotion | None:
    """A scratch buffer for what one iteration of the loops above `node` touches of a private temporary."""
    accesses = accesses_of(tensor, scop)
    touched = footprint(node, accesses)
    if touched is None:
        return None
    offsets, extents = box_of(touched)
    names = frozenset(a.statement for a in accesses)
    space = Space.REGISTER if all(e == 1 for e in extents) else Space.SCRATCH
    return Promotion(tensor, f"{tensor}_local", space, offsets, extents, names)


def register_tile(
    tensor: str, members: Sequence[Member], tile: Sequence[tuple[Member, int]], scop: Scop, patterns: AccessPatterns
) -> Promotion | None:
    """A register buffer over the tile's axes, if each tile point touches exactly one element of the tensor.

    `members` are all loops around; `tile` those of them that are the tile's axes, with their extents.
    """
    accesses = accesses_of(tensor, scop)
    touched: isl.Map | None = None
    for access in accesses:
        part = _by_members(access, members)
        touched = part if touched is None else touched.union(part)
    if touched is None or not touched.is_single_valued():
        return None
    first = patterns.of(accesses[0].statement)[accesses[0].number]
    extents = _axes_of_tile(first, tile)
    if extents is None:
        return None
    names = frozenset(a.statement for a in accesses)
    return Promotion(tensor, f"{tensor}_tile", Space.REGISTER, (), extents, names)


def _by_members(access: ScopAccess, members: Sequence[Member]) -> isl.Map:
    """{ values of the loops around -> element }."""
    positions = [member.dim(access.statement) for member in members]
    domain = access.relation.get_space().domain()
    local = isl.LocalSpace.from_space(domain)
    total: isl.Map | None = None
    for position in positions:
        index = isl.Map.from_aff(isl.Aff.var_on_domain(local, isl.dim_type.set, position))
        total = index if total is None else total.flat_range_product(index)
    assert total is not None
    return total.reverse().apply_range(access.relation)


def _axes_of_tile(pattern: AccessPattern, tile: Sequence[tuple[Member, int]]) -> tuple[int, ...] | None:
    """The extents of the register buffer along the tensor's axes: each tile axis steps one of them by one."""
    extents = [1] * len(pattern.subscripts)
    last = -1
    for member, extent in tile:
        dim = member.dim(pattern.statement)
        axes = [axis for axis, row in enumerate(pattern.subscripts) if row[dim] != 0]
        if len(axes) != 1 or pattern.subscripts[axes[0]][dim] != 1 or axes[0] <= last:
            return None
        last = axes[0]
        extents[last] = extent
    return tuple(extents)
