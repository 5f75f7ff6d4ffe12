"""The array standard's sorting, searching, set and indexing functions.

In: tensors, axes as users write them.  Out: tensors.
Invariant: sorted values come from `argsort` and a gather, so that gradients flow through them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minitensor.creation import asarray
from minitensor.dispatch import apply, apply_several, as_tensor
from minitensor.elementwise import logical_not
from minitensor.errors import ArgumentError, DTypeError, ShapeError
from minitensor.manipulation import broadcast_to, reshape
from minitensor.ops import indexing, sorting
from minitensor.ops.shapes import normalize_axis
from minitensor.statistics import any as any_
from minitensor.tensor import Tensor

# --- by index tensors ------------------------------------------------------------------------------------


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The slices of `x` along `axis` that the integers `indices` name (negative ones from the end).

    Raises TensorIndexError (an IndexError) for an index out of bounds.

    >>> import minitensor as mt
    >>> mt.take(mt.asarray([10, 20, 30]), mt.asarray([2, 0]), axis=0)
    tensor([30, 10])
    """
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        raise ShapeError(f"take from a tensor with shape {x.shape} needs an axis")
    place = normalize_axis(0 if axis is None else axis, x.ndim)
    return apply(indexing.gather, x, _integers(indices), axes=(place,), position=place)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """For each point of `indices` the element of `x` at that point, its index along `axis` replaced."""
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    wanted = _integers(indices)
    if wanted.ndim != x.ndim:
        raise ShapeError(f"take_along_axis needs equal ranks, not {x.shape} and {wanted.shape}")
    common = tuple(max(a, b) if 1 in (a, b) else a for a, b in zip(x.shape, wanted.shape, strict=True))
    full = (*common[:place], x.shape[place], *common[place + 1 :])
    target = (*common[:place], wanted.shape[place], *common[place + 1 :])
    source = x if full == x.shape else broadcast_to(x, full)
    return apply(
        indexing.take_along_axis, source, wanted if target == wanted.shape else broadcast_to(wanted, target), axis=place
    )


def scatter_add(x: Tensor, indices: Tensor, /, *, axis: int, extent: int) -> Tensor:
    """Zeros with `extent` slices along `axis`, to which the slices of `x` are added where `indices` says.

    The transpose of `take`: several slices may go to one place.

    >>> import minitensor as mt
    >>> rows = mt.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> mt.scatter_add(rows, mt.asarray([0, 2, 0]), axis=0, extent=3)  # add it to a table: table + ...
    tensor([[6., 8.],
            [0., 0.],
            [3., 4.]])
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    where = _integers(indices)
    if where.ndim != 1 or where.shape[0] != x.shape[place]:
        raise ShapeError(f"scatter_add needs one index for each of the {x.shape[place]} slices, not {where.shape}")
    shape = (*x.shape[:place], extent, *x.shape[place + 1 :])
    return apply(indexing.scatter_add, x, where, axes=(place,), position=place, shape=shape)


def _integers(indices: Any) -> Tensor:
    tensor = asarray(indices)
    if tensor.dtype.kind not in "iu":
        raise DTypeError(f"indices are integers, not {tensor.dtype}")
    return tensor


# --- sorting ---------------------------------------------------------------------------------------------


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The positions that sort `x` along `axis`."""
    x = as_tensor(x)
    return apply(sorting.argsort, x, axis=normalize_axis(axis, x.ndim), descending=descending, stable=stable)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements sorted along `axis`; differentiable."""
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    order = argsort(x, axis=place, descending=descending, stable=stable)
    return apply(indexing.take_along_axis, x, order, axis=place)


class TopK(NamedTuple):
    """What `topk` gives."""

    values: Tensor
    indices: Tensor


def topk(x: Tensor, k: int, /, *, axis: int = -1, largest: bool = True) -> TopK:
    """The k largest (or smallest) elements along `axis`, the first of them first, and where they stand.

    Of equal ones the earlier comes first; NaN counts as the largest.  The values are differentiable.

    >>> import minitensor as mt
    >>> mt.topk(mt.asarray([1.0, 4.0, 3.0]), 2)
    TopK(values=tensor([4., 3.]), indices=tensor([1, 2]))

    Raises ShapeError (a ValueError) for k below 0 or above the extent.
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    if not 0 <= k <= x.shape[place]:
        raise ShapeError(f"topk of {k} elements along axis {place} of a tensor with shape {x.shape}")
    order = argsort(x, axis=place, descending=largest)
    first = order[(slice(None),) * place + (slice(k),)]
    return TopK(apply(indexing.take_along_axis, x, first, axis=place), first)


def searchsorted(x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Where the elements of `x2` would have to be put into the sorted `x1` to keep it sorted."""
    if side not in ("left", "right"):
        raise ArgumentError(f"searchsorted's side is 'left' or 'right', not {side!r}")
    x1 = as_tensor(x1)
    if x1.ndim != 1:
        raise ShapeError(f"searchsorted looks in a tensor of one dimension, x1 is {x1.shape}")
    base = x1 if sorter is None else take(x1, sorter, axis=0)
    return apply(sorting.searchsorted, base, asarray(x2), side=side)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The positions of the elements that are not 0: one tensor for each dimension."""
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError("nonzero of a tensor without dimensions")
    found = apply(sorting.nonzero, x)
    return tuple(found[d] for d in range(x.ndim))


# --- sets ------------------------------------------------------------------------------------------------


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """The distinct elements (each NaN by itself), where each first stands, which one each element is, counts."""
    return UniqueAll(*apply_several(sorting.unique, x))


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The distinct elements and how often each occurs."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The distinct elements, and for each element of `x` which of them it is."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements."""
    return unique_all(x).values


def isin(x1: Tensor, x2: Tensor, /, *, invert: bool = False) -> Tensor:
    """For each element of `x1` whether it is an element of `x2`."""
    left, right = asarray(x1), asarray(x2)
    hit = any_(reshape(left, (*left.shape, 1)) == reshape(right, (-1,)), axis=-1)
    return logical_not(hit) if invert else hit
