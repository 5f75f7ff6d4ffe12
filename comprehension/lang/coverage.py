"""Which elements of a tensor the statements write: all, or perhaps only a part.

In: the boxes that statements write, the tensor's shape.  Out: `covers`: surely all of it.
Invariant: `covers` is never true of a tensor with an unwritten element.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.lang.bounds import Ranges
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear, is_nonnegative
from comprehension.lang.tree import Expr

Box = tuple[tuple[Linear, Linear], ...]  # a half-open interval per dimension


def box_of(subscripts: Sequence[Expr], ranges: Ranges, where: Environment) -> Box | None:
    """The box that a statement writes densely, or None where it writes something else.

    Each subscript must be a constant, or `constant + index` or `constant - index` with an index of its own whose
    bounds are free of indices.
    """
    box: list[tuple[Linear, Linear]] = []
    used: set[str] = set()
    for subscript in subscripts:
        form = from_expr(subscript, where)
        if form is None:
            return None
        indices = [name for name in ranges if name in form.names]
        if not indices:
            box.append((form, form + 1))
            continue
        index = indices[0]
        sign = form.coefficient(index)
        if len(indices) > 1 or index in used or abs(sign) != 1:
            return None
        used.add(index)
        this = where.names[index]
        assert this is not None, "indices are forms"
        offset = form - this * sign
        lower, upper = ranges[index]
        if not (offset.names | lower.names | upper.names).isdisjoint(ranges):
            return None
        box.append((lower + offset, upper + offset) if sign == 1 else (offset - upper + 1, offset - lower + 1))
    return tuple(box)


def covers(boxes: Sequence[Box | None], shape: Sequence[Linear]) -> bool:
    """Whether the union of `boxes` is surely the whole of `shape`.

    They must all be whole in every dimension but one, and follow each other without a gap there.
    """
    known = [box for box in boxes if box is not None]
    if any(_is_whole(box, shape, skip=None) for box in known):
        return True
    for axis in range(len(shape)):
        slabs = [box[axis] for box in known if _is_whole(box, shape, skip=axis)]
        if _reaches(slabs, shape[axis]):
            return True
    return False


def _is_whole(box: Box, shape: Sequence[Linear], skip: int | None) -> bool:
    return all(
        axis == skip or (is_nonnegative(-lower) and is_nonnegative(upper - extent))
        for axis, ((lower, upper), extent) in enumerate(zip(box, shape, strict=True))
    )


def _reaches(slabs: Sequence[tuple[Linear, Linear]], extent: Linear) -> bool:
    """Whether intervals cover 0 to `extent`, taken in any order."""
    reached = extent - extent
    waiting = list(slabs)
    while waiting:
        nexts = [s for s in waiting if is_nonnegative(reached - s[0])]
        if not nexts:
            return False
        reached = nexts[0][1]
        if is_nonnegative(reached - extent):
            return True
        waiting.remove(nexts[0])
    return False
