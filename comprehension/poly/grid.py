"""isl's sets and functions at many integer points at once, by NumPy.

In: a set or a piecewise quasi-affine function, a number for each parameter, and numbers or arrays of numbers, which
broadcast against each other, for its dimensions.
Out: for each point whether it is in the set, or the function's value.
Invariant: the same as asking isl point by point, for a thousandth of the time: a constraint is one array operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comprehension.poly import isl

Array = np.ndarray[Any, Any]
Column = Array | int
Sizes = Mapping[str, int]  # of the parameters, by name

UNDEFINED = np.iinfo(np.int64).min  # where a function has no value


def contains(points: isl.Set, sizes: Sizes, columns: Sequence[Column]) -> Array:
    """Whether the points given by `columns` are in the set.

    >>> points = isl.Set.read_from_str(isl.new_context(), "{ [i, j] : 0 <= i <= j and i mod 2 = 0 }")
    >>> contains(points, {}, (np.arange(3)[:, None], np.arange(3))).astype(int)
    array([[1, 1, 1],
           [0, 0, 0],
           [0, 0, 1]])
    """
    shape = np.broadcast_shapes(*map(np.shape, columns))
    found = np.zeros(shape, bool)
    for part in points.compute_divs().get_basic_sets():
        divisions = [part.get_div(position) for position in range(part.dim(isl.dim_type.div))]
        every = _with_divisions((_parameters(part, sizes), columns), divisions)
        inside = np.ones(shape, bool)
        for constraint in part.get_constraints():
            value = _sum(constraint, every, 1)
            inside &= (value == 0) if constraint.is_equality() else (value >= 0)
        found |= inside
    return found


def values(function: isl.PwAff, sizes: Sizes, columns: Sequence[Column]) -> Array:
    """The function's values, `UNDEFINED` outside its domain.

    >>> i = isl.PwAff.read_from_str(isl.new_context(), "{ [i] -> [(floor(i/2))] : i >= 1 }")
    >>> [int(v) if v != UNDEFINED else None for v in values(i, {}, (np.arange(4),))]
    [None, 0, 1, 1]
    """
    shape = np.broadcast_shapes(*map(np.shape, columns))
    result = np.full(shape, UNDEFINED, np.int64)
    for domain, part in function.get_pieces():
        local = part.get_domain_local_space()
        divisions = [local.get_div(position) for position in range(local.dim(isl.dim_type.div))]
        denominator = int(part.get_denominator_val().to_python())
        every = _with_divisions((_parameters(part, sizes), columns), divisions)
        np.copyto(result, _sum(part, every, denominator) // denominator, where=contains(domain, sizes, columns))
    return result


def _parameters(part: isl.BasicSet | isl.Aff, sizes: Sizes) -> list[Column]:
    """The sizes in the order in which `part` has its parameters."""
    return [sizes[name] for name in isl.parameter_names(part)]


Known = tuple[Sequence[Column], Sequence[Column]]  # of the parameters, of the set dimensions
Everything = tuple[Sequence[Column], Sequence[Column], Sequence[Column]]  # and of the integer divisions


def _with_divisions(columns: Known, divisions: Sequence[isl.Aff]) -> Everything:
    """The columns, and those of the integer divisions, which may use each other."""
    found: list[Column] = []
    for division in divisions:
        denominator = int(division.get_denominator_val().to_python())
        found.append(_sum(division, (*columns, found), denominator) // denominator)
    return (*columns, found)


def _sum(linear: isl.Aff | isl.Constraint, columns: Everything, scale: int) -> Any:
    """`scale` times the affine expression; a division not met yet has no column and no coefficient."""
    side = isl.dim_type.set if isinstance(linear, isl.Constraint) else isl.dim_type.in_
    total: Any = _integer(linear.get_constant_val(), scale)
    for kind, members in zip((isl.dim_type.param, side, isl.dim_type.div), columns, strict=True):
        for position, column in enumerate(members):
            coefficient = _integer(linear.get_coefficient_val(kind, position), scale)
            if coefficient:
                total = total + coefficient * column
    return total


def _integer(value: isl.Val, scale: int) -> int:
    return int(value.get_num_si()) * scale // int(value.get_den_val().get_num_si())
