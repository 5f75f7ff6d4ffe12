"""`x[key]` and `x[key] = value`: keys as users write them, taken apart into records.

In: ints, slices, `...`, None, integer tensors, boolean masks, lists and NumPy arrays, in any mixture.
Out: tensors; an assignment rebinds the name.
Invariant: a result never aliases; every index is checked here or, for index tensors, by the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np

from minitensor.creation import asarray, asarray_beside
from minitensor.dispatch import apply, as_operand, local, rebind
from minitensor.errors import ArgumentError, DTypeError, GradientError, ShapeError, TensorIndexError, shown
from minitensor.ops import indexing as ops, slicing
from minitensor.ops.elementwise import where
from minitensor.ops.movement import astype, reshape
from minitensor.ops.slicing import Entry, Key, sliced_shape
from minitensor.ops.sorting import nonzero
from minitensor.tensor import Tensor


def getitem(x: Tensor, key: Any) -> Tensor:
    """`x[key]`."""
    basic = _plain_key(x.value.shape, key)
    if basic is None:
        entries = _expanded(x, key)
        if any(isinstance(entry, Tensor) for entry in entries):
            mixed = _split(x, entries)
            return apply(ops.gather, mixed.base, *mixed.tensors, axes=mixed.axes, position=mixed.position)
        basic = _basic_key(x.shape, entries)
    if basic and _is_whole(basic):
        return Tensor(x.value, x.node)  # the same contents under a name of its own
    return apply(slicing.getitem, x, key=basic)


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`: `x` is rebound to a tensor with the new elements.

    Differentiable on a tensor that an operation made; refused on a leaf that requires grad, outside `no_grad`.
    """
    check_writable(x)
    new = as_operand(value) if not isinstance(value, list | tuple) else asarray_beside(value, x.dtype)
    if isinstance(new, Tensor) and new.dtype.kind == "c" and x.dtype.kind != "c":
        raise DTypeError(f"a {new.dtype} value cannot be assigned into a {x.dtype} tensor")
    result = _updated(x, _expanded(x, key), new)
    rebind(x, result.value, result.node)


def check_writable(x: Tensor) -> None:
    """Raises GradientError for a leaf whose old contents the tape may still need to be asked about."""
    if local.grad_enabled and x.node is not None and x.is_leaf:
        raise GradientError("a leaf that requires grad cannot be written in place outside no_grad()")


def _updated(x: Tensor, entries: list[Any], value: Any) -> Tensor:
    if all(not isinstance(entry, Tensor) for entry in entries):
        basic = _basic_key(x.shape, entries)
        target = sliced_shape(x.shape, basic)
        return apply(slicing.setitem, x, _fitted(value, target), key=basic)
    masks = [entry for entry in entries if isinstance(entry, Tensor) and entry.dtype.kind == "b"]
    if len(masks) == len(entries) == 1 and _spreads(value):
        spread = apply(reshape, masks[0], shape=(*masks[0].shape, *[1] * (x.ndim - masks[0].ndim)))
        scalar = apply(reshape, value, shape=()) if isinstance(value, Tensor) else value
        chosen = apply(where, spread, scalar, x)
        return chosen if chosen.dtype == x.dtype else apply(astype, chosen, dtype=x.dtype)
    return _scattered(x, entries, value)


def _spreads(value: Any) -> bool:
    return not isinstance(value, Tensor) or value.size == 1


def _fitted(value: Any, target: Any) -> Any:
    """A value whose leading extents of 1 are no more than the target has dimensions."""
    if isinstance(value, Tensor) and value.ndim > len(target):
        extra = value.ndim - len(target)
        if any(extent != 1 for extent in value.shape[:extra]):
            raise ShapeError(f"a value of shape {value.shape} for a slice of shape {target}")
        return apply(reshape, value, shape=value.shape[extra:])
    return value


def _scattered(x: Tensor, entries: list[Any], value: Any) -> Tensor:
    """Writes through index tensors into the slice that the rest of the key leaves, then the slice into `x`."""
    mixed = _split(x, entries)
    target = ops.gathered_shape(mixed.base.shape, [t.shape for t in mixed.tensors], mixed.axes, mixed.position)
    new = _fitted(value, target)
    updated = apply(ops.scatter_set, mixed.base, new, *mixed.tensors, axes=mixed.axes, position=mixed.position)
    if mixed.extended:
        updated = apply(reshape, updated, shape=updated.shape[1:])
    return updated if _is_whole(mixed.key) else apply(slicing.setitem, x, updated, key=mixed.key)


# --- keys ------------------------------------------------------------------------------------------------


def _plain_key(shape: tuple[int, ...], key: Any) -> Key | None:
    """The normal form of a key of ints and slices, the common case; None for any other."""
    entries = key if type(key) is tuple else (key,)
    if len(entries) > len(shape):
        return None
    basic: list[Entry] = []
    for axis, entry in enumerate(entries):
        if type(entry) is not int and type(entry) is not slice:
            return None
        basic.append(_basic_entry(axis, shape[axis], entry))
    return (*basic, *(None,) * (len(shape) - len(basic)))


def _expanded(x: Tensor, key: Any) -> list[Any]:
    """The key with one entry per dimension: `...` spelled out, missing ones whole, lists as tensors.

    A `...` for no dimension stays where it stands between index tensors, which NumPy takes to be apart.
    """
    entries = [_entry(entry) for entry in (key if isinstance(key, tuple) else (key,))]
    dots = [k for k, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise TensorIndexError("an index holds '...' twice")
    taken = sum(_dimensions(entry) for entry in entries)
    if taken > x.ndim:
        raise TensorIndexError(f"{taken} indices for a tensor with {x.ndim} dimensions")
    at = dots[0] if dots else len(entries)
    before, after = entries[:at], entries[at + 1 :]
    is_parted = all(any(isinstance(entry, Tensor | int) for entry in side) for side in (before, after))
    if is_parted and taken == x.ndim and any(isinstance(entry, Tensor) for entry in entries):
        return entries
    return [*before, *[slice(None)] * (x.ndim - taken), *after]


def _dimensions(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    return entry.ndim if isinstance(entry, Tensor) and entry.dtype.kind == "b" else 1


def _entry(entry: Any) -> Any:
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, list | np.ndarray | bool | np.bool_ | range):
        array = np.asarray(entry)
        entry = asarray(array.astype(int) if array.size == 0 and not isinstance(entry, np.ndarray) else array)
    if isinstance(entry, Tensor):
        if entry.dtype.kind == "b" or (entry.dtype.kind in "iu" and entry.ndim):
            return entry
        if entry.dtype.kind not in "iu":
            raise TensorIndexError(f"an index tensor holds integers or bool, not {entry.dtype}")
    try:
        return index(entry)
    except TypeError:
        raise TensorIndexError(f"an index is an int, a slice, a tensor, None or '...', not {shown(entry)}") from None


def _basic_key(shape: tuple[int, ...], entries: list[Any]) -> Key:
    extents = iter(enumerate(shape))
    return tuple(slicing.NEW if entry is None else _basic_entry(*next(extents), entry) for entry in entries)


def _basic_entry(axis: int, extent: int, entry: Any) -> Entry:
    if isinstance(entry, slice):
        if entry.step == 0:
            raise ArgumentError("the step of a slice cannot be 0")
        try:
            start, stop, step = entry.indices(extent)
        except TypeError:
            raise TensorIndexError(f"the bounds and the step of a slice are ints or None, not {entry}") from None
        count = len(range(start, stop, step))
        if (start, count, step) == (0, extent, 1):
            return None
        return (start, count, step) if count else (0, 0, 1)
    if not -extent <= entry < extent:
        raise TensorIndexError(f"index {shown(entry)} is out of bounds for axis {axis} with {extent} elements")
    return int(entry) % extent


@dataclass(frozen=True, slots=True)
class _Mixed:
    """`x[key]` taken apart: `base` is the slice that the basic part `key` leaves, then come index tensors."""

    base: Tensor
    key: Key
    tensors: list[Tensor]
    axes: tuple[int, ...]
    position: int
    extended: bool = False  # a mask without dimensions: base got one in front


def _split(x: Tensor, entries: list[Any]) -> _Mixed:
    """A key with index tensors or masks taken apart.

    Ints beside index tensors are index tensors without dimensions, as NumPy has it.
    """
    basic: list[Any] = []
    tensors: list[Tensor] = []
    axes: list[int] = []
    axis = 0  # of x, where the next entry starts
    adjacent = True
    for entry in entries:
        if entry is Ellipsis:
            adjacent = False
        elif isinstance(entry, Tensor) and entry.dtype.kind == "b":
            _check_mask(x, entry, axis)
            found = apply(nonzero, entry if entry.ndim else apply(reshape, entry, shape=(1,)))
            axes += range(len(basic), len(basic) + entry.ndim)
            tensors += [apply(slicing.getitem, found, key=(d, None)) for d in range(max(1, entry.ndim))]
            basic += [slice(None)] * entry.ndim
        elif isinstance(entry, Tensor | int):
            axes.append(len(basic))
            tensors.append(entry if isinstance(entry, Tensor) else asarray(_basic_entry(axis, x.shape[axis], entry)))
            basic.append(slice(None))
        else:
            basic.append(entry)
        axis += _dimensions(entry)
    key = _basic_key(x.shape, basic)
    base = x if _is_whole(key) else apply(slicing.getitem, x, key=key)
    if not axes:
        return _Mixed(apply(reshape, base, shape=(1, *base.shape)), key, tensors, (0,), 0, extended=True)
    adjacent = adjacent and all(b == a + 1 for a, b in pairwise(axes))
    return _Mixed(base, key, tensors, tuple(axes), axes[0] if adjacent else 0)


def _is_whole(key: Key) -> bool:
    return all(entry is None for entry in key)


def _check_mask(x: Tensor, mask: Tensor, axis: int) -> None:
    if x.shape[axis : axis + mask.ndim] != mask.shape:
        raise TensorIndexError(f"a mask of shape {mask.shape} for dimensions {x.shape[axis : axis + mask.ndim]}")
