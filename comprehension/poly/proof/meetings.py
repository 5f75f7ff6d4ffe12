"""Where two accesses of one stage meet in memory, and who performs them on a GPU.

In: an `Extraction`.  Out: `Meeting`s: pairs of points at which two actions touch one element and one of them writes,
the earlier one (in the order of the loops) first; positions along loops that threads or blocks divide.
Invariant: iterations at equal positions of a divided loop, counted in steps from its lower bound, run on the same
thread or block whatever the shapes of block and grid; iterations at unequal positions may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction, Wait
from comprehension.poly.proof.verdict import NotDecided

DIMENSIONS = "xyz"
Loop = ir.Loop | ir.Axis
DividedBy = Callable[[Loop], str | None]
"""What divides the iterations of a loop: "thread.x", "block.y", ..., or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """`pairs`: points of `first` -> points of `second`, at a later time, that touch one element of `buffer`."""

    first: Action
    second: Action
    buffer: str
    pairs: isl.Map
    what: str

    @property
    def shared_loops(self) -> int:
        """How many loops stand around both."""
        return shared_loops(self.first.loops, self.second.loops)


def mapping_of(loop: Loop) -> str | None:
    """What the kernel says of a loop."""
    return loop.mapping if isinstance(loop, ir.Loop) else None


def meetings(extraction: Extraction, stage: int) -> Iterator[Meeting]:
    """All of a stage, buffer by buffer."""
    for buffer in extraction.kernel.buffers:
        actions = [action for action in extraction.touching(buffer.name) if action.stage == stage]
        for first in actions:
            for second in actions:
                yield from _between(first, second, buffer.name)


def _between(first: Action, second: Action, buffer: str) -> Iterator[Meeting]:
    mine = [a for a in first.accesses if a.buffer == buffer]
    theirs = [a for a in second.accesses if a.buffer == buffer]
    for a in mine:
        for b in theirs:
            if a is first.write or b is second.write:
                touch = a.relation.apply_range(b.relation.reverse())
                pairs = touch.intersect(a.time.lex_lt_map(b.time))
                if not pairs.is_empty():
                    verbs = [_verb(first, a), _verb(second, b)]
                    what = f"{first.place} {verbs[0]} {buffer}, {second.place} {verbs[1]} it later"
                    yield Meeting(first, second, buffer, pairs, what)


def _verb(action: Action, access: Access) -> str:
    return "writes" if access is action.write else "reads"


# --- pairs of points ------------------------------------------------------------------------------------------------


def shared_loops(first: Sequence[Loop], second: Sequence[Loop]) -> int:
    """How many loops of two nests, from the outermost, are the same nodes of the kernel."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a is not b:
            break
        count += 1
    return count


def at_equal(pairs: isl.Map, dims: int) -> isl.Map:
    """Those whose first `dims` loops have equal values."""
    for dim in range(dims):
        pairs = pairs.equate(isl.dim_type.in_, dim, isl.dim_type.out, dim)
    return pairs


def at_unequal(pairs: isl.Map, dim: int) -> isl.Map:
    """Those whose values of one loop differ."""
    before = pairs.order_lt(isl.dim_type.in_, dim, isl.dim_type.out, dim)
    return before.union(pairs.order_gt(isl.dim_type.in_, dim, isl.dim_type.out, dim))


def carried_by(meeting: Meeting, dim: int) -> isl.Map:
    """Pairs in one iteration of the loops around loop `dim`, which both have, and in different ones of it."""
    return at_unequal(at_equal(meeting.pairs, dim), dim)


# --- who runs it ----------------------------------------------------------------------------------------------------


def positions(node: Action | Wait, level: str, divided_by: DividedBy = mapping_of) -> isl.Map:
    """Points -> positions along x, y, z of `level` ("block" or "thread"); 0 along what no loop divides."""
    total: isl.Map | None = None
    for dimension in DIMENSIONS:
        along = isl.Map.from_pw_aff(_position(node, f"{level}.{dimension}", divided_by))
        total = along if total is None else total.flat_range_product(along)
    assert total is not None
    return total.set_tuple_name(isl.dim_type.out, level).intersect_domain(node.domain)


def _position(node: Action | Wait, mapping: str, divided_by: DividedBy) -> isl.PwAff:
    found = [loop for loop in node.loops if divided_by(loop) == mapping]
    if not found:
        return node.scope.constant(0)
    loop = found[0]
    if len(found) > 1 or not isinstance(loop, ir.Loop):
        raise NotDecided(f"{node.place}: {mapping} divides {len(found)} loops around it")
    lower = node.scope.function(loop.lower)
    if lower is None:
        raise NotDecided(f"{node.place}: the lower bound of {loop.variable} is not affine")
    distance = node.scope.variables[loop.variable].sub(lower)
    if loop.step == 1:
        return distance
    return distance.scale_down_val(isl.Val(loop.step, lower.get_ctx())).floor()


def at_one(first: isl.Map, second: isl.Map) -> isl.Map:
    """Pairs of points at equal positions."""
    return first.apply_range(second.reverse())


def between(early: Action, late: Action, waits: Sequence[Wait]) -> isl.Map:
    """Pairs with a barrier in between that the block of one of them comes to."""
    space = early.domain.get_space().map_from_domain_and_range(late.domain.get_space())
    found = isl.Map.empty(space)
    here, there = positions(early, "block"), positions(late, "block")
    for wait in waits:
        before, after = early.time.lex_lt_map(wait.time), wait.time.lex_lt_map(late.time)
        where = positions(wait, "block")
        found = found.union(before.intersect(at_one(here, where)).apply_range(after))
        found = found.union(before.apply_range(after.intersect(at_one(where, there))))
    return found
