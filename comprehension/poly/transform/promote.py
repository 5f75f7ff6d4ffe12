"""Promotion: tensors that live in local buffers while an outer iteration runs.

    for i:                                      for i:
        for j: e[i, j] = f(x[i, j])      ->         for j: e_local[j] = f(x[i, j])
        for j: y[i, j] = g(e[i, j])                 for j: y[i, j] = g(e_local[j])

Legal for a temporary that only the statements below the outer loops touch, where no dependence through it
crosses their iterations: then nothing outside sees it and each iteration may have its own.
The box is what one iteration touches: isl's box hull of the footprint, axis by axis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from comprehension.kernel.ir import Space
from comprehension.lang.loops import Role
from comprehension.poly import isl
from comprehension.poly.access import AccessPatterns, single_axis_of
from comprehension.poly.cluster import at_distance_zero
from comprehension.poly.dependence import Dependences
from comprehension.poly.nest import Member
from comprehension.poly.schedule_tree import CopyStatement, Promotion
from comprehension.poly.scop import Scop, ScopAccess
from comprehension.poly.transform.copies import CopyLoop, graft_copy


def is_private(tensor: str, members: Sequence[Member], names: Collection[str], scop: Scop, deps: Dependences) -> bool:
    """Whether each iteration of `members`, around the statements `names`, may have a temporary of its own."""
    if scop.program.tensor(tensor).role is not Role.TEMPORARY:
        return False
    if not scop.is_exact(tensor) or any(a.statement not in names for a in scop.accesses_to(tensor)):
        return False
    return all(
        at_distance_zero(edge.relation, member.dim(edge.source), member.dim(edge.sink))
        for edge in deps.through(tensor)
        for member in members
    )


class Prefix:
    """The schedule above a node, asked of isl once for all tensors: it is as long as there are statements."""

    def __init__(self, node: isl.ScheduleNode, scop: Scop) -> None:
        self.scop = scop
        self._depth = node.get_schedule_depth()
        self._relation = node.get_prefix_schedule_relation()
        self.parts: dict[str, list[isl.Map]] = {}  # { instances -> prefix schedule }, by statement
        for part in isl.maps_of(self._relation):
            self.parts.setdefault(part.get_tuple_name(isl.dim_type.in_), []).append(part)

    @cached_property
    def settled(self) -> tuple[isl.Aff | None, ...]:
        """For each dimension of the prefix schedule its value as a function of those before it, if it is one.

        isl makes no loop for such a dimension; it knows what holds of sizes.
        """
        if self._depth == 0:
            return ()
        times = isl.Set.from_union_set(self._relation.range())
        values: list[isl.Aff | None] = []
        for position in range(self._depth):
            known = times.project_out(isl.dim_type.set, position + 1, self._depth - position - 1)
            known = known.intersect_params(self.scop.context)
            # a statement may run at few of another's times: the hull tells { [0, 0]; [1, 1] } from [i, i] no longer
            values.append(_last_of(known.coalesce()) or _last_of(isl.Set.from_basic_set(known.affine_hull())))
        return tuple(values)


def footprint(prefix: Prefix, accesses: Sequence[ScopAccess]) -> isl.Map | None:
    """{ prefix schedule -> elements touched below a node }."""
    total: isl.Map | None = None
    for access in accesses:
        for part in prefix.parts.get(access.statement, ()):
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


def _last_of(points: isl.Set) -> isl.Aff | None:
    """The last dimension as a function of those before it, if it is one and affine."""
    moved = isl.Map.from_domain(points)
    moved = moved.move_dims(isl.dim_type.out, 0, isl.dim_type.in_, points.dim(isl.dim_type.set) - 1, 1)
    value = moved.dim_max(0) if moved.is_single_valued() else None
    value = None if value is None else value.gist(value.domain())
    return value.as_aff() if value is not None and value.isa_aff() else None


def _interval(points: isl.Set) -> tuple[isl.Aff, int | None]:
    """The narrowest [offset, offset + extent) with constant extent around the last dimension of `points`.

    Candidates for the offset are the lower bounds of isl's simple hull (islpy has no fixed box hulls).
    """
    last = points.dim(isl.dim_type.set) - 1
    best: tuple[isl.Aff, int] | None = None
    hull = points.simple_hull().remove_divs()  # a stride ("x = 2 e + 1") is no bound
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


def private_box(tensor: str, prefix: Prefix) -> Promotion | None:
    """A scratch buffer for what one iteration of the loops above a node touches of a private temporary."""
    accesses = prefix.scop.accesses_to(tensor)
    touched = footprint(prefix, accesses)
    if touched is None:
        return None
    offsets, extents = box_of(touched)
    axes = tuple(axis for axis, extent in enumerate(extents) if extent != 1)
    names = frozenset(a.statement for a in accesses)
    return Promotion(
        tensor,
        f"{tensor}_local",
        Space.SCRATCH if axes else Space.REGISTER,
        offsets,
        extents,
        names,
        axes,
        prefix.settled,
        is_home=True,
    )


@dataclass(frozen=True, slots=True, eq=False)
class RegisterTile:
    """A tensor held in registers over a tile, and what is copied in before and out after.

    `suffix` tells the tiles of one tensor apart where several nests have their own.
    """

    promotion: Promotion
    points: tuple[CopyLoop, ...]
    copied_in: isl.Map | None
    copied_out: isl.Map | None
    suffix: str = ""

    @property
    def copies(self) -> list[CopyStatement]:
        tensor, buffer = self.promotion.tensor, self.promotion.buffer
        found = []
        if self.copied_in is not None:
            found.append(CopyStatement(f"load {tensor}{self.suffix}", buffer, tensor, into_buffer=True))
        if self.copied_out is not None:
            found.append(CopyStatement(f"store {tensor}{self.suffix}", buffer, tensor, into_buffer=False))
        return found

    def graft(self, node: isl.ScheduleNode) -> isl.ScheduleNode:
        """`node` (below the promote mark) with the copies around it."""
        for copy in self.copies:
            touched = self.copied_in if copy.into_buffer else self.copied_out
            assert touched is not None
            node = graft_copy(node, touched, copy.name, (), self.points, f"tile {copy.name}", before=copy.into_buffer)
        return node


@dataclass(frozen=True, slots=True, eq=False)
class TileAxis:
    """A loop of the nest as an axis of its tile."""

    member: Member
    extent: int
    lower: isl.PwAff


def register_tile(
    tensor: str,
    prefix: Prefix,
    names: Collection[str],
    members: Sequence[Member],
    tile: Sequence[TileAxis],
    scop: Scop,
    patterns: AccessPatterns,
    suffix: str = "",
) -> RegisterTile | None:
    """A register buffer over the tile's axes, if each tile point touches exactly one element of the tensor.

    `prefix` is of a node below the tile loops, `names` are the statements below it; `members` are all loops around.
    """
    accesses = [a for a in scop.accesses_to(tensor) if a.statement in names]
    touched = _union(_by_members(access, members) for access in accesses)
    if touched is None or not touched.is_single_valued():
        return None
    found = [patterns.of(access.statement)[access.number] for access in accesses]
    first, *others = found
    axes = [single_axis_of(first, axis.member.dim(first.statement)) for axis in tile]
    if any(axis is None for axis in axes) or len(set(axes)) != len(axes):
        return None
    if any([single_axis_of(p, axis.member.dim(p.statement)) for axis in tile] != axes for p in others):
        return None  # the same places, but told by `i % 2`, of which no lane can be read off
    kept = tuple(axis for axis in axes if axis is not None)
    if not _begin_together(prefix, accesses, kept):
        return None
    extents = [1] * len(first.subscripts)
    for axis, of_tile in zip(kept, tile, strict=True):
        extents[axis] = of_tile.extent
    copies = {f"load {tensor}{suffix}", f"store {tensor}{suffix}"}
    promotion = Promotion(
        tensor,
        f"{tensor}_tile{suffix}",
        Space.REGISTER,
        (isl.Aff.zero_on_domain(isl.LocalSpace.from_space(touched.get_space().domain())),) * len(extents),
        tuple(extents),
        frozenset({*(access.statement for access in accesses), *copies}),
        kept,
    )
    points = tuple(CopyLoop(axis, point=t.extent, lower=t.lower) for axis, t in zip(kept, tile, strict=True))
    stays = scop.program.tensor(tensor).role is Role.TEMPORARY and len(accesses) == len(scop.accesses_to(tensor))
    writes = [a for a in accesses if a.is_write]
    copied_in = footprint(prefix, accesses)
    if not reads_before_writing(accesses, members, scop):
        copied_in = _beyond(copied_in, footprint(prefix, [scop.statement(accesses[0].statement).write]))
    copied_out = None if stays and copied_in is None else footprint(prefix, writes)
    return RegisterTile(promotion, points, copied_in, copied_out, suffix)


def _begin_together(prefix: Prefix, accesses: Sequence[ScopAccess], axes: Sequence[int]) -> bool:
    """Whether each access touches the first places of the tile wherever it touches any: its loops count from there."""
    whole = footprint(prefix, accesses)
    for access in accesses:
        own = footprint(prefix, [access])
        if own is None or whole is None:
            return False
        for axis in axes:
            if not _along(own, axis).lexmin().is_subset(_along(whole, axis).lexmin()):
                return False
    return True


def _along(touched: isl.Map, axis: int) -> isl.Map:
    """Places along one axis of the tensor only."""
    rank = touched.dim(isl.dim_type.out)
    after = touched.project_out(isl.dim_type.out, axis + 1, rank - axis - 1)
    return after.project_out(isl.dim_type.out, 0, axis)


def _beyond(touched: isl.Map | None, first: isl.Map | None) -> isl.Map | None:
    """What an iteration touches of the tensor where it does not begin by writing it; None if there is nothing."""
    if touched is None or first is None:
        return touched
    rest = touched.subtract(first).coalesce()
    return None if rest.is_empty() else rest


def reads_before_writing(accesses: Sequence[ScopAccess], members: Sequence[Member], scop: Scop) -> bool:
    """Whether an iteration may need what the tensor held before it."""
    first = scop.statement(accesses[0].statement)
    if any(read.tensor == accesses[0].tensor for read in first.reads) or not first.write.exact:
        return True
    touched = _union(_by_members(access, members) for access in accesses)
    assert touched is not None
    return not touched.is_subset(_by_members(first.write, members))


def _union(parts: Iterable[isl.Map]) -> isl.Map | None:
    total: isl.Map | None = None
    for part in parts:
        total = part if total is None else total.union(part)
    return total


def _by_members(access: ScopAccess, members: Sequence[Member]) -> isl.Map:
    """{ values of the loops around -> element }."""
    positions = [member.dim(access.statement) for member in members]
    local = isl.LocalSpace.from_space(access.relation.get_space().domain())
    total: isl.Map | None = None
    for position in positions:
        index = isl.Map.from_aff(isl.Aff.var_on_domain(local, isl.dim_type.set, position))
        total = index if total is None else total.flat_range_product(index)
    assert total is not None
    return total.reverse().apply_range(access.relation)
