"""`x[key]` and `x[key] = value`: keys as users write them, taken apart into records.

In: ints, slices, `...`, None, integer tensors, boolean masks, lists and NumPy arrays, in any mixture.
Out: tensors; an assignment rebinds the name.
Invariant: a result never aliases; every index is checked here or, for index tensors, by the record.
"""

from __future__ import annotations

from itertools import pairwise
from operator import index
from typing import Any

import numpy as np

from minitensor.creation import asarray
from minitensor.dispatch import apply, as_operand, local, rebind
from minitensor.errors import DTypeError, GradientError, ShapeError, TensorIndexError
from minitensor.ops import indexing as ops
from minitensor.ops.elementwise import where
from minitensor.ops.indexing import Entry, Key, sliced_shape
from minitensor.ops.movement import reshape
from minitensor.ops.sorting import nonzero
from minitensor.tensor import Tensor


def getitem(x: Tensor, key: Any) -> Tensor:
    """`x[key]`."""
    entries = _expanded(x, key)
    if all(not isinstance(entry, Tensor) for entry in entries):
        basic = _basic_key(x.shape, entries)
        return x if all(entry is None for entry in basic) and len(basic) else apply(ops.getitem, x, key=basic)
    base, tensors, axes, position = _split(x, entries)
    return apply(ops.gather, base, *tensors, axes=axes, position=position)


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """`x[key] = value`: `x` is rebound to a tensor with the new elements.

    Differentiable on a tensor that an operation made; refused on a leaf that requires grad, outside `no_grad`.
    """
    check_writable(x)
    new = as_operand(value) if not isinstance(value, list | tuple) else asarray(value)
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
        return apply(ops.setitem, x, _fitted(value, target), key=basic)
    masks = [entry for entry in entries if isinstance(entry, Tensor) and entry.dtype.kind == "b"]
    if len(masks) == len(entries) == 1 and _spreads(value):
        spread = apply(reshape, masks[0], shape=(*masks[0].shape, *[1] * (x.ndim - masks[0].ndim)))
        scalar = apply(reshape, value, shape=()) if isinstance(value, Tensor) else value
        chosen = apply(where, spread, scalar, x)
        return chosen if chosen.dtype == x.dtype else _cast(chosen, x)
    return _scattered(x, entries, value)


def _cast(chosen: Tensor, x: Tensor) -> Tensor:
    from minitensor.manipulation import astype

    return astype(chosen, x.dtype)


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
    """Writes through index tensors; slices beside them are written through as index tensors, too."""
    widened: list[Any] = []
    for k, entry in enumerate(_without_new(entries)):
        widened.append(entry if isinstance(entry, Tensor) else _as_positions(x.shape[_axis_of(entries, k)], entry))
    base, tensors, axes, position = _split(x, widened)
    target = ops.gathered_shape(base.shape, [t.shape for t in tensors], axes, position)
    return apply(ops.scatter_set, base, _fitted(value, target), *tensors, axes=axes, position=position)


def _without_new(entries: list[Any]) -> list[Any]:
    if any(entry is None for entry in entries):
        raise TensorIndexError("an assignment through index tensors takes no new dimensions")
    return entries


def _axis_of(entries: list[Any], k: int) -> int:
    """The dimension that entry `k` starts at: a mask stands for several."""
    return sum(e.ndim if isinstance(e, Tensor) and e.dtype.kind == "b" else 1 for e in entries[:k])


def _as_positions(extent: int, entry: Any) -> Any:
    if isinstance(entry, slice) and entry == slice(None):
        return entry
    raise TensorIndexError(
        f"an assignment through index tensors takes whole dimensions beside them, not {entry!r}; "
        "use an index tensor for it"
    )


# --- keys ------------------------------------------------------------------------------------------------


def _expanded(x: Tensor, key: Any) -> list[Any]:
    """The key with one entry per dimension: `...` spelled out, missing ones whole, lists as tensors."""
    entries = [_entry(entry) for entry in (key if isinstance(key, tuple) else (key,))]
    dots = [k for k, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1:
        raise TensorIndexError("an index holds '...' twice")
    taken = sum(_dimensions(entry) for entry in entries)
    if taken > x.ndim:
        raise TensorIndexError(f"{taken} indices for a tensor with {x.ndim} dimensions")
    at = dots[0] if dots else len(entries)
    return [*entries[:at], *[slice(None)] * (x.ndim - taken), *entries[at + 1 :]]


def _dimensions(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    return entry.ndim if isinstance(entry, Tensor) and entry.dtype.kind == "b" else 1


def _entry(entry: Any) -> Any:
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, list | np.ndarray | bool | np.bool_ | range):
        entry = asarray(
            np.asarray(entry) if len(np.shape(entry)) == 0 or np.size(entry) else np.zeros(np.shape(entry), int)
        )
    if isinstance(entry, Tensor):
        if entry.dtype.kind == "b" or (entry.dtype.kind in "iu" and entry.ndim):
            return entry
        if entry.dtype.kind not in "iu":
            raise TensorIndexError(f"an index tensor holds integers or bool, not {entry.dtype}")
    try:
        return index(entry)
    except TypeError:
        raise TensorIndexError(f"an index is an int, a slice, a tensor, None or '...', not {entry!r}") from None


def _basic_key(shape: tuple[int, ...], entries: list[Any]) -> Key:
    extents = iter(enumerate(shape))
    return tuple(ops.NEW if entry is None else _basic_entry(*next(extents), entry) for entry in entries)


def _basic_entry(axis: int, extent: int, entry: Any) -> Entry:
    if isinstance(entry, slice):
        start, stop, step = entry.indices(extent)
        count = len(range(start, stop, step))
        if (start, count, step) == (0, extent, 1):
            return None
        return (start, count, step) if count else (0, 0, 1)
    if not -extent <= entry < extent:
        raise TensorIndexError(f"index {entry} is out of bounds for axis {axis} with {extent} elements")
    return int(entry) % extent


def _split(x: Tensor, entries: list[Any]) -> tuple[Tensor, list[Tensor], tuple[int, ...], int]:
    """A mixed key as a basic one, then index tensors: (sliced x, tensors, their axes, their position).

    Ints beside index tensors are index tensors of one element, as NumPy has it.
    """
    basic: list[Any] = []
    tensors: list[Tensor] = []
    axes: list[int] = []
    for entry in entries:
        if isinstance(entry, Tensor) and entry.dtype.kind == "b":
            _check_mask(x, entry, sum(_dimensions(e) for e in basic))
            found = apply(nonzero, entry)
            axes += range(_rank(basic), _rank(basic) + entry.ndim)
            tensors += [apply(ops.getitem, found, key=(d, None)) for d in range(entry.ndim)]
            basic += [slice(None)] * entry.ndim
        elif isinstance(entry, Tensor | int):
            extent = x.shape[sum(_dimensions(e) for e in basic)]
            axes.append(_rank(basic))
            tensors.append(entry if isinstance(entry, Tensor) else asarray(_basic_entry(len(axes), extent, entry)))
            basic.append(slice(None))
        else:
            basic.append(entry)
    key = _basic_key(x.shape, basic)
    base = x if all(entry is None for entry in key) else apply(ops.getitem, x, key=key)
    if not axes:  # a mask without dimensions
        return apply(reshape, base, shape=(1, *base.shape)), [apply(ops.getitem, found, key=(0, None))], (0,), 0
    adjacent = all(b == a + 1 for a, b in pairwise(axes))
    return base, tensors, tuple(axes), axes[0] if adjacent else 0


def _rank(basic: list[Any]) -> int:
    """How many dimensions the entries so far leave (a slice keeps one, a new one is one)."""
    return len(basic)


def _check_mask(x: Tensor, mask: Tensor, axis: int) -> None:
    if x.shape[axis : axis + mask.ndim] != mask.shape:
        raise TensorIndexError(f"a mask of shape {mask.shape} for dimensions {x.shape[axis : axis + mask.ndim]}")
