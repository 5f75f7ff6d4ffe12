"""Property 4: units of a stage, and points of one tile statement, do not meet in memory.

In: an `Extraction`.  Out: findings.
Units share INPUT, OUTPUT and WORKSPACE buffers; two of them may touch one element only if both read it.  On a GPU,
blocks are units, and so are the iterations of one loop that threads divide.
Rows and lanes of a tile statement run in any order: no two points write one element (a `Fold` makes one
write of them), and none reads what another writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.meetings import at_equal, at_unequal, mapping_of, shared_loops
from comprehension.poly.proof.verdict import Finding, Property, must_be_empty


def check_parallel(extraction: Extraction) -> Iterator[Finding]:
    yield from _units(extraction)
    for action in extraction.stores():
        yield from _lanes(action)


def _units(extraction: Extraction) -> Iterator[Finding]:
    for writer in extraction.actions:
        write = writer.write
        if write is None or not writer.parallel:
            continue
        space = extraction.buffer(write.buffer).space
        for other in extraction.touching(write.buffer):
            if other.stage == writer.stage and other.parallel:
                for access in other.accesses:
                    if access.buffer == write.buffer and space not in PRIVATE:
                        yield from _between_units(writer, write, other, access)
                    if access.buffer == write.buffer and (space not in PRIVATE or space is ir.Space.SHARED):
                        yield from _between_threads(writer, write, other, access)


def _between_units(writer: Action, write: Access, other: Action, access: Access) -> Iterator[Finding]:
    meet = write.relation.apply_range(access.relation.reverse())
    for mine, theirs in zip(_units_of(writer), _units_of(other), strict=False):
        for compare in (isl.Map.order_lt, isl.Map.order_gt):
            apart = compare(meet, isl.dim_type.in_, mine, isl.dim_type.out, theirs)
            yield from must_be_empty(Property.PARALLEL, apart, _said(writer, write, other, access))


def _units_of(action: Action) -> list[int]:
    """The dimensions that workers or blocks divide."""
    return [dim for dim in action.parallel if not _is_divided_by_threads(action.loops[dim])]


def _is_divided_by_threads(loop: ir.Loop | ir.Axis) -> bool:
    return (mapping_of(loop) or "").startswith("thread.")


def _between_threads(writer: Action, write: Access, other: Action, access: Access) -> Iterator[Finding]:
    """Iterations of one loop that threads divide; what stands in different loops is in order by barriers."""
    meet = write.relation.apply_range(access.relation.reverse())
    for dim in range(shared_loops(writer.loops, other.loops)):
        if _is_divided_by_threads(writer.loops[dim]):
            apart = at_unequal(at_equal(meet, dim), dim)
            yield from must_be_empty(Property.PARALLEL, apart, _said(writer, write, other, access))


def _said(writer: Action, write: Access, other: Action, access: Access) -> str:
    verb = "writes" if access is other.write else "reads"
    return f"{writer.place} and, in another unit, {other.place}: one writes what the other {verb} of {write.buffer}"


def _lanes(action: Action) -> Iterator[Finding]:
    if not action.tile_axes:
        return
    assert action.write is not None
    mine = _at_time(action, action.write)
    apart = _different(action)
    same = mine.apply_range(mine.reverse()).intersect(apart)
    what = f"{action.place}: two points of the tile write one element of {action.write.buffer}"
    yield from must_be_empty(Property.PARALLEL, same, what)
    for read in action.reads:
        if read.buffer == action.write.buffer:
            crossed = mine.apply_range(_at_time(action, read).reverse()).intersect(apart)
            what = f"{action.place}: a point of the tile reads what another writes of {read.buffer}"
            yield from must_be_empty(Property.PARALLEL, crossed, what)


def _at_time(action: Action, access: Access) -> isl.Map:
    return access.time.range_product(access.relation)


def _different(action: Action) -> isl.Map:
    """{ x -> y } for points of one tile that differ along an axis that is not folded."""
    space = action.domain.get_space().map_from_set()
    pairs = isl.Map.empty(space)
    dims = space.dim(isl.dim_type.in_)
    for position in range(dims - action.tile_axes, dims):
        if position not in action.folded:
            for compare in (isl.Map.order_lt, isl.Map.order_gt):
                pairs = pairs.union(
                    compare(isl.Map.universe(space), isl.dim_type.in_, position, isl.dim_type.out, position)
                )
    return pairs
