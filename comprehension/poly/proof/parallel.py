"""Property 4: units of a stage, and points of one tile statement, do not meet in memory.

In: an `Extraction`.  Out: findings.
Units share INPUT, OUTPUT and WORKSPACE buffers; two of them may touch one element only if both read it.
Rows and lanes of a tile statement run in any order: no two points write one element (a `Fold` makes one
write of them), and none reads what another writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.verdict import Finding, Property, Violation, must_be_empty


def check_parallel(extraction: Extraction) -> Iterator[Finding]:
    yield from _units(extraction)
    for action in extraction.stores():
        yield from _lanes(action)


def check_barriers(extraction: Extraction) -> Iterator[Finding]:
    """Property 6, on a GPU: no thread depends on another one of its stage, so that none needs to wait."""
    yield from _units(extraction, Property.BARRIERS)
    for buffer in extraction.kernel.buffers:
        if buffer.space is ir.Space.SHARED:
            yield Violation(Property.BARRIERS, f"not proved: threads of a block share {buffer.name}")


def _units(extraction: Extraction, of: Property = Property.PARALLEL) -> Iterator[Finding]:
    for writer in extraction.actions:
        write = writer.write
        if write is None or not writer.parallel or extraction.buffer(write.buffer).space in PRIVATE:
            continue
        for other in extraction.touching(write.buffer):
            if other.stage == writer.stage and other.parallel:
                for access in other.accesses:
                    if access.buffer == write.buffer:
                        yield from _between_units(of, writer, write, other, access)


def _between_units(of: Property, writer: Action, write: Access, other: Action, access: Access) -> Iterator[Finding]:
    meet = write.relation.apply_range(access.relation.reverse())
    verb = "writes" if access is other.write else "reads"
    what = f"{writer.place} and, in another unit, {other.place}: one writes what the other {verb} of {write.buffer}"
    for mine, theirs in zip(writer.parallel, other.parallel, strict=False):
        for compare in (isl.Map.order_lt, isl.Map.order_gt):
            apart = compare(meet, isl.dim_type.in_, mine, isl.dim_type.out, theirs)
            yield from must_be_empty(of, apart, what)


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
