"""Tensors that a loop holds in local buffers: which buffer, and what is copied in before and out after.

    for i: .. a[i, j] ..     ->     for i:
                                        a_local[j] = a[i, j]
                                        .. a_local[j] ..
                                        a[i, j] = a_local[j]

In: a node of isl's tree below the loop, the statements in it.  Out: a `Held`.
What is held, in this order: a temporary that stays in an iteration needs no copies; a tensor of which each point of a
tile touches one element lives in registers; anything else is the box around what an iteration touches, if that has
a constant size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from comprehension.errors import ComprehensionError
from comprehension.kernel.ir import Space
from comprehension.lang.loops import Role
from comprehension.poly import isl
from comprehension.poly.access import AccessPatterns, single_axis_of
from comprehension.poly.dependence import Dependences
from comprehension.poly.looptree.legality import same_value
from comprehension.poly.looptree.tree import Lanes, Loop, LoopTree, Node, statements_of
from comprehension.poly.schedule_tree import CopyStatement, Promotion, TileMark
from comprehension.poly.scop import Scop, ScopAccess
from comprehension.poly.tile_plan import Operand
from comprehension.poly.transform.copies import CopyLoop, graft_copy
from comprehension.poly.transform.pack import pack
from comprehension.poly.transform.promote import Prefix, box_of, footprint, private_box

COPIED_LANES = 16
MOST_ELEMENTS = 1 << 22  # of a buffer that each worker has


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """A copy between a tensor and its buffer, over the elements `touched`; `mark` where its points are a tile."""

    statement: CopyStatement
    touched: isl.Map
    loops: tuple[CopyLoop, ...]
    points: tuple[CopyLoop, ...]
    mark: TileMark | None

    @property
    def mark_name(self) -> str | None:
        return None if self.mark is None else f"tile {self.statement.name}"

    def graft(self, node: isl.ScheduleNode) -> isl.ScheduleNode:
        before = self.statement.into_buffer
        name = self.statement.name
        return graft_copy(node, self.touched, name, self.loops, self.points, self.mark_name, before=before)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A buffer that stands for a tensor below a loop, and its copies."""

    promotion: Promotion
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a loop holds tensors: the schedule above its body, the loops around (it included), its body."""

    tree: LoopTree
    prefix: Prefix
    around: Sequence[Loop]
    body: Sequence[Node]
    number: int  # told apart by this: buffers and copies of one tensor at several places

    @property
    def scop(self) -> Scop:
        return self.tree.scop

    def accesses(self, tensor: str) -> list[ScopAccess]:
        names = set(statements_of(self.body))
        return [access for access in self.scop.accesses_to(tensor) if access.statement in names]

    def named(self, what: str) -> str:
        return what if self.number == 0 else f"{what} {self.number + 1}"


def hold(place: Place, tensor: str, dependences: Dependences, patterns: AccessPatterns) -> Held:
    """The buffer for a tensor.

    Raises ComprehensionError where no buffer can stand for it.
    """
    accesses = place.accesses(tensor)
    if not all(access.exact for access in accesses):
        raise ComprehensionError(f"schedule: promote: {tensor} is reached by an indirect subscript")
    if _stays(place, tensor, dependences) and (box := private_box(tensor, place.prefix)) is not None:
        return Held(box)
    registers = _registers(place, tensor, patterns)
    return registers if registers is not None else _box(place, tensor)


def hold_packed(place: Place, tensor: str, patterns: AccessPatterns) -> Held:
    """Panels of an operand of a tile.  Raises ComprehensionError where the tensor is none, or is written."""
    accesses = place.accesses(tensor)
    if any(access.is_write for access in accesses):
        raise ComprehensionError(f"schedule: pack: {tensor} is written below {place.around[-1].label}: promote it")
    for access in accesses:
        pattern = patterns.of(access.statement)[access.number]
        for lanes in reversed(_tile_around(place.body, access.statement)):
            dim = lanes.dims[access.statement]
            axis = None if dim is None else single_axis_of(pattern, dim)
            if axis is None:
                continue
            operand = Operand(access.number, tensor, axis)
            made = pack(place.prefix, access.statement, operand, lanes.extent, lanes.lower)
            if made is not None:
                copy = Copy(made.copy, made.touched, made.loops, made.points, made.mark)
                return Held(made.promotion, (copy,))
    raise ComprehensionError(
        f"schedule: pack: {tensor} is no operand of a tile below {place.around[-1].label}: vectorize a loop that it"
        " moves with"
    )


def _stays(place: Place, tensor: str, dependences: Dependences) -> bool:
    """Whether each iteration of the loops around may have a temporary of its own."""
    everywhere = place.scop.accesses_to(tensor)
    if place.scop.program.tensor(tensor).role is not Role.TEMPORARY or len(place.accesses(tensor)) < len(everywhere):
        return False
    return all(
        bool(edge.relation.is_subset(same_value(loop, edge.source, edge.sink)))
        for edge in dependences.through(tensor)
        for loop in place.around
    )


# --- registers ----------------------------------------------------------------------------------------------------


def _tile_around(body: Sequence[Node], statement: str) -> list[Lanes]:
    """The rows and lanes of the tile in which a statement runs; none where it runs in no tile."""
    for node in body:
        if isinstance(node, Loop) and statement in node.values:
            inner = _tile_around(node.body, statement)
            return inner if node.lanes is None else [node.lanes, *inner]
    return []


def _tile_loops(body: Sequence[Node], statement: str) -> list[Loop]:
    for node in body:
        if isinstance(node, Loop) and statement in node.values:
            inner = _tile_loops(node.body, statement)
            return inner if node.lanes is None else [node, *inner]
    return []


def _registers(place: Place, tensor: str, patterns: AccessPatterns) -> Held | None:
    """A register buffer over a tile, if each point of it touches exactly one element."""
    accesses = place.accesses(tensor)
    tiles = [_tile_around(place.body, access.statement) for access in accesses]
    shape = [lanes.extent for lanes in tiles[0]]
    if not shape or any([lanes.extent for lanes in tile] != shape for tile in tiles):
        return None
    touched = _joined([_by_place(place, access) for access in accesses])
    if not touched.is_single_valued():
        return None
    first = accesses[0]
    pattern = patterns.of(first.statement)[first.number]
    dims = [lanes.dims[first.statement] for lanes in tiles[0]]
    axes = [None if dim is None else single_axis_of(pattern, dim) for dim in dims]
    kept = tuple(axis for axis in axes if axis is not None)
    if len(set(kept)) < len(shape):
        return None
    extents = [1] * len(pattern.subscripts)
    for axis, extent in zip(kept, shape, strict=True):
        extents[axis] = extent
    points = tuple(CopyLoop(axis, point=t.extent, lower=t.lower) for axis, t in zip(kept, tiles[0], strict=True))
    mark = TileMark(shape[-1], shape[0] if len(shape) > 1 else None)
    buffer = f"{tensor}_tile" if place.number == 0 else f"{tensor}_tile{place.number + 1}"
    copies = _copies(place, tensor, buffer, (), points, mark)
    nowhere = isl.Aff.zero_on_domain(isl.LocalSpace.from_space(touched.get_space().domain()))
    promotion = Promotion(
        tensor,
        buffer,
        Space.REGISTER,
        (nowhere,) * len(extents),
        tuple(extents),
        _redirected(accesses, copies),
        kept,
    )
    return Held(promotion, copies)


def _by_place(place: Place, access: ScopAccess) -> isl.Map:
    """{ values of the loops around, and of the tile -> element }."""
    loops = [*place.around, *_tile_loops(place.body, access.statement)]
    total: isl.Map | None = None
    for loop in loops:
        part = isl.Map.from_pw_aff(loop.values[access.statement])
        total = part if total is None else total.flat_range_product(part)
    assert total is not None
    return total.reverse().apply_range(access.relation)


# --- boxes -----------------------------------------------------------------------------------------------------------


def _box(place: Place, tensor: str) -> Held:
    accesses = place.accesses(tensor)
    label = place.around[-1].label
    touched = footprint(place.prefix, accesses)
    if touched is None:
        raise ComprehensionError(f"schedule: promote: nothing of {tensor} is touched below {label}")
    offsets, extents = box_of(touched)
    if any(extent is None for extent in extents):
        raise ComprehensionError(
            f"schedule: promote: what an iteration of {label} touches of {tensor} has no constant size; split a loop"
        )
    sizes = [extent for extent in extents if extent is not None]
    if prod(sizes) > MOST_ELEMENTS:
        raise ComprehensionError(
            f"schedule: promote: an iteration of {label} touches {prod(sizes)} elements of {tensor}, more than"
            f" {MOST_ELEMENTS}"
        )
    axes = tuple(axis for axis, extent in enumerate(sizes) if extent > 1)
    loops, points, mark = _copy_loops(axes, sizes)
    buffer = f"{tensor}_local" if place.number == 0 else f"{tensor}_local{place.number + 1}"
    copies = _copies(place, tensor, buffer, loops, points, mark)
    space = Space.SCRATCH if axes else Space.REGISTER
    settled = place.prefix.settled
    redirected = _redirected(accesses, copies)
    return Held(Promotion(tensor, buffer, space, offsets, extents, redirected, axes, settled), copies)


def _copy_loops(
    axes: Sequence[int], extents: Sequence[int]
) -> tuple[tuple[CopyLoop, ...], tuple[CopyLoop, ...], TileMark | None]:
    """Loops over a box, its last axis by lanes where it is long enough."""
    if not axes or extents[axes[-1]] < COPIED_LANES // 2:
        return tuple(CopyLoop(axis) for axis in axes), (), None
    *outer, last = axes
    loops = (*(CopyLoop(axis) for axis in outer), CopyLoop(last, tile=COPIED_LANES))
    return loops, (CopyLoop(last, point=COPIED_LANES),), TileMark(COPIED_LANES)


def _copies(
    place: Place,
    tensor: str,
    buffer: str,
    loops: tuple[CopyLoop, ...],
    points: tuple[CopyLoop, ...],
    mark: TileMark | None,
) -> tuple[Copy, ...]:
    """In, unless all is written first; out, if anything is written that somebody else sees."""
    accesses = place.accesses(tensor)
    writes = [access for access in accesses if access.is_write]
    found = []
    if _needs_old(place, accesses) and (read := footprint(place.prefix, accesses)) is not None:
        into = CopyStatement(place.named(f"load {tensor}"), buffer, tensor, into_buffer=True)
        found.append(Copy(into, read, loops, points, mark))
    own = place.scop.program.tensor(tensor).role is Role.TEMPORARY
    stays = own and len(accesses) == len(place.scop.accesses_to(tensor))
    if writes and not stays and (written := footprint(place.prefix, writes)) is not None:
        out = CopyStatement(place.named(f"store {tensor}"), buffer, tensor, into_buffer=False)
        found.append(Copy(out, written, loops, points, mark))
    return tuple(found)


def _needs_old(place: Place, accesses: Sequence[ScopAccess]) -> bool:
    """Whether an iteration may use what the tensor held before it: not if its first statement writes all of it."""
    first = statements_of(place.body)
    earliest = min(accesses, key=lambda access: (first.index(access.statement), not access.is_write))
    if not earliest.is_write or any(a.statement == earliest.statement and not a.is_write for a in accesses):
        return True
    prefix = [access for access in accesses if access is earliest]
    return not _touched(place, accesses).is_subset(_touched(place, prefix))


def _touched(place: Place, accesses: Sequence[ScopAccess]) -> isl.Map:
    touched = footprint(place.prefix, accesses)
    assert touched is not None
    return touched


def _redirected(accesses: Sequence[ScopAccess], copies: Sequence[Copy]) -> frozenset[str]:
    return frozenset({*(access.statement for access in accesses), *(copy.statement.name for copy in copies)})


def _joined(parts: Sequence[isl.Map]) -> isl.Map:
    total = parts[0]
    for part in parts[1:]:
        total = total.union(part)
    return total
