"""Shape arithmetic shared by the infer rules: broadcasting, axes, promotion of operands.

In: operands of an infer rule, or shapes and axes as users write them.  Out: shapes and normal axes.
Invariant: dimensions are ints or the names of symbols; a question that a symbol leaves open is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

import numpy as np

from minitensor.dtypes import PROMOTED, scalar_dtype, weak_dtype
from minitensor.errors import AxisError, DTypeError, NoComprehension, ShapeError, shown
from minitensor.ops.opdef import Operand, Scalar, TensorSpec

Dim = int | str
Shape = tuple[Dim, ...]


def promote_operands(operands: Sequence[Operand]) -> np.dtype[Any]:
    """The dtype in which tensors and weak Python scalars meet."""
    dtypes = [x.dtype for x in operands if isinstance(x, TensorSpec)]
    scalars: list[Scalar] = [x for x in operands if not isinstance(x, TensorSpec)]
    if not dtypes:
        dtypes.append(scalar_dtype(scalars[0]))
    result = dtypes[0]
    for dtype in dtypes[1:]:
        result = PROMOTED[result, dtype]
    for scalar in scalars:
        result = weak_dtype(result, scalar)
    return result


def shape_of(operand: Operand) -> Shape:
    return operand.shape if isinstance(operand, TensorSpec) else ()


def broadcast(*shapes: Shape) -> Shape:
    """The common shape by the standard's rules.  Raises ShapeError."""
    rank = max((len(s) for s in shapes), default=0)
    return tuple(
        _broadcast_dim([s[k - rank + len(s)] for s in shapes if k >= rank - len(s)], shapes) for k in range(rank)
    )


def _broadcast_dim(extents: list[Dim], shapes: tuple[Shape, ...]) -> Dim:
    distinct = [e for e in dict.fromkeys(extents) if e != 1]
    if len(distinct) > 1:
        if any(isinstance(e, str) for e in distinct):
            raise NoComprehension(f"whether {distinct[0]} broadcasts against {distinct[1]} depends on a symbolic size")
        raise ShapeError(f"shapes {', '.join(map(str, shapes))} do not broadcast: {distinct[0]} against {distinct[1]}")
    return distinct[0] if distinct else 1


def need_equal(left: Shape, right: Shape, complaint: str) -> None:
    """Raises ShapeError with the complaint where two shapes differ.

    Raises NoComprehension where a symbol leaves that open.
    """
    if left == right:
        return
    if len(left) == len(right) and not any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(left, right, strict=True)
    ):
        raise NoComprehension(f"whether {left} is {right} depends on a symbolic size")
    raise ShapeError(complaint)


def normalize_axis(axis: int, rank: int) -> int:
    """An axis counted from the front.  Raises AxisError for one that is not there."""
    try:
        number = index(axis)
    except TypeError:
        raise DTypeError(f"an axis is an int, not {shown(axis)}") from None
    if not -rank <= number < rank:
        raise AxisError(f"axis {shown(number)} of a tensor with {rank} dimensions{_range_of_axes(rank)}")
    return number % rank


def _range_of_axes(rank: int) -> str:
    return f"; there are {-rank} ... {rank - 1}" if rank else ", which has none"


def normalize_axes(axis: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, in rising order; None is all of them.

    Raises AxisError for one that is not there, ShapeError for a double one.
    """
    if axis is None:
        return tuple(range(rank))
    axes = sorted(normalize_axis(a, rank) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} names a dimension twice")
    return tuple(axes)


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape without `axes`, or with 1 in their places."""
    if keepdims:
        return tuple(1 if k in axes else extent for k, extent in enumerate(shape))
    return tuple(extent for k, extent in enumerate(shape) if k not in axes)


def static(shape: Shape, what: str) -> tuple[int, ...]:
    """The shape, all ints.  Raises NoComprehension: `what` cannot be said with symbolic sizes."""
    if not all(isinstance(extent, int) for extent in shape):
        raise NoComprehension(f"{what} with symbolic sizes {shape}")
    return tuple(int(extent) for extent in shape)


def resolve_shape(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """A target shape of `size` elements with -1 worked out.  Raises ShapeError where it does not fit."""
    try:
        wanted = tuple(index(extent) for extent in shape)
    except TypeError:
        raise DTypeError(f"a shape is an int or several, not {shown(shape)}") from None
    known = prod(extent for extent in wanted if extent != -1)
    if wanted.count(-1) == 1 and known > 0 and size % known == 0:
        wanted = tuple(size // known if extent == -1 else extent for extent in wanted)
    if any(extent < 0 for extent in wanted) or prod(wanted) != size:
        raise ShapeError(f"{size} elements cannot take the shape {shown(tuple(shape), 200)}")
    return wanted
