"""Which integer values may wrap around in their type.

In: exact integer functions of isl, the types in which a statement or a kernel computes them, where it does.
Out: whether the exact numbers are the computed ones there.
Invariant: a comparison of values says something about exact numbers only where both sides fit; one that may wrap is as
unknown as one that reads a tensor.  Subscripts and bounds are exact by meaning and need no room.

    i + 2147483647 < 0 ? T(n - i) : 0     as numbers it never holds; as int32 values it holds from i = 1 on
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from comprehension.lang.limits import LARGEST_USUAL_SIZE, MAX_INT
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.functions import constant


def fits(function: isl.PwAff, dtype: ScalarType, where: isl.Set) -> bool:
    """Whether the exact value of `function` is a number of the type at all points of `where`."""
    return lies_between(function, *dtype.limits, where)


def lies_between(function: isl.PwAff, lowest: int, highest: int, where: isl.Set) -> bool:
    """Whether it is at least `lowest` and at most `highest` at all points of `where`."""
    space = function.domain().get_space()
    inside = function.ge_set(constant(space, lowest)).intersect(function.le_set(constant(space, highest)))
    return bool(where.is_subset(inside))


def within_types(context: isl.Set, sizes: Iterable[str], scalars: Iterable[tuple[str, ScalarType]]) -> isl.Set:
    """`context` with scalars within their types, and sizes as large as sizes may be."""
    scalar_limits = {name: dtype.limits for name, dtype in scalars if dtype.is_integer}
    return _within(context, dict.fromkeys(sizes, (0, MAX_INT)) | scalar_limits)


def of_usual_sizes(points: isl.Set, sizes: Iterable[str]) -> isl.Set:
    """Those points at which sizes are not larger than most: sums of a few are within int32."""
    return _within(points, dict.fromkeys(sizes, (0, LARGEST_USUAL_SIZE)))


def _within(context: isl.Set, limits: Mapping[str, tuple[int, int]]) -> isl.Set:
    for name, (lowest, highest) in limits.items():
        position = context.find_dim_by_name(isl.dim_type.param, name)
        if position >= 0:
            context = context.lower_bound_val(isl.dim_type.param, position, isl.Val(str(lowest), context.get_ctx()))
            context = context.upper_bound_val(isl.dim_type.param, position, isl.Val(str(highest), context.get_ctx()))
    return context
