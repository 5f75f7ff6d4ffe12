"""The array standard's functions that move elements, and `astype`.

In: tensors, shapes and axes as users write them.  Out: tensors; never an alias that can be seen.
Invariant: attributes reach the records resolved: no -1 in shapes, axes counted from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import index
from typing import Any

import numpy as np

from minitensor.creation import as_integer, as_shape, asarray
from minitensor.device import as_device
from minitensor.dispatch import apply, as_tensor, read
from minitensor.dtypes import as_dtype
from minitensor.errors import DTypeError, ShapeError, shown
from minitensor.ops import arrangement, movement as ops
from minitensor.ops.indexing import gather
from minitensor.ops.shapes import broadcast, normalize_axes, normalize_axis, resolve_shape
from minitensor.tensor import Tensor

Axis = int | Sequence[int]


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """The tensor in another dtype; differentiable between floating-point dtypes."""
    x = as_tensor(x)
    as_device(device)
    wanted = as_dtype(dtype)
    if wanted == x.dtype:
        return Tensor(x.value, x.node) if copy else x
    return apply(ops.astype, x, dtype=wanted)


# --- shape -----------------------------------------------------------------------------------------------


def reshape(x: Tensor, /, shape: Sequence[int] | int, *, copy: bool | None = None) -> Tensor:
    """The same elements in row-major order under another shape; one extent may be -1.

    >>> import minitensor as mt
    >>> mt.reshape(mt.zeros((2, 3)), (3, -1)).shape
    (3, 2)
    """
    x = as_tensor(x)
    wanted = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    return apply(ops.reshape, x, shape=resolve_shape(wanted, x.size))


def expand_dims(x: Tensor, /, axis: Axis = 0) -> Tensor:
    """The tensor with new dimensions of extent 1, which stand at `axis` in the result."""
    x = as_tensor(x)
    several = axis if isinstance(axis, Sequence) else (axis,)
    rank = x.ndim + len(several)
    places = normalize_axes(tuple(several), rank)
    extents = iter(x.shape)
    return apply(ops.reshape, x, shape=tuple(1 if k in places else next(extents) for k in range(rank)))


def squeeze(x: Tensor, /, axis: Axis) -> Tensor:
    """The tensor without the dimensions `axis`.  Raises ShapeError for one whose extent is not 1."""
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim)
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(f"axis {a} of shape {x.shape} cannot be squeezed: its extent is {x.shape[a]}")
    return apply(ops.reshape, x, shape=tuple(n for k, n in enumerate(x.shape) if k not in axes))


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """The dimensions in another order: dimension `k` of the result is dimension `axes[k]`."""
    x = as_tensor(x)
    wanted = tuple(normalize_axis(a, x.ndim) for a in axes)
    if sorted(wanted) != list(range(x.ndim)):
        raise ShapeError(f"axes {tuple(axes)} are no permutation of {x.ndim} dimensions")
    return apply(ops.permute_dims, x, axes=wanted)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two dimensions exchanged.  Raises ShapeError for fewer than two."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_transpose of a tensor with shape {x.shape}: it needs two dimensions")
    last = x.ndim - 1
    return apply(ops.permute_dims, x, axes=(*range(last - 1), last, last - 1))


def moveaxis(x: Tensor, source: Axis, destination: Axis, /) -> Tensor:
    """Dimensions `source` put to the places `destination`; the others keep their order."""
    x = as_tensor(x)
    sources = [normalize_axis(a, x.ndim) for a in (source if isinstance(source, Sequence) else (source,))]
    targets = [
        normalize_axis(a, x.ndim) for a in (destination if isinstance(destination, Sequence) else (destination,))
    ]
    if len(sources) != len(targets) or len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise ShapeError(f"moveaxis of {source} to {destination}: as many places as dimensions, each once")
    order = [d for d in range(x.ndim) if d not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return apply(ops.permute_dims, x, axes=tuple(order))


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """The tensor repeated along new and extent-1 dimensions up to `shape`."""
    x = as_tensor(x)
    wanted = as_shape(shape)
    if broadcast(x.shape, wanted) != wanted:
        raise ShapeError(f"shape {x.shape} cannot be broadcast to {wanted}")
    return apply(ops.broadcast_to, x, shape=wanted)


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """All tensors in their common shape."""
    shape = broadcast_shapes(*(x.shape for x in arrays))
    return tuple(broadcast_to(x, shape) for x in arrays)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The common shape of several.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    return as_shape(broadcast(*(tuple(shape) for shape in shapes)))  # type: ignore[arg-type]


# --- arrangement -----------------------------------------------------------------------------------------


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """The tensors one after the other along `axis` (None: all flattened first)."""
    tensors = _several("concat", arrays)
    if axis is None:
        tensors, axis = [reshape(x, (-1,)) for x in tensors], 0
    place = normalize_axis(axis, tensors[0].ndim)
    first = tensors[0].shape
    for x in tensors:
        if x.ndim != len(first) or x.shape[:place] + x.shape[place + 1 :] != first[:place] + first[place + 1 :]:
            raise ShapeError(f"tensors of shapes {first} and {x.shape} do not fit beside each other along axis {axis}")
    return apply(arrangement.concat, *tensors, axis=place)


def _several(what: str, arrays: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that were given in a list.  Raises ShapeError for none, DTypeError for what is no list."""
    if isinstance(arrays, Tensor | np.ndarray) or not hasattr(arrays, "__iter__"):
        raise DTypeError(f"{what} takes a list or tuple of tensors, not {type(arrays).__name__}")
    tensors = [asarray(x) for x in arrays]
    if not tensors:
        raise ShapeError(f"{what} of no tensors")
    return tensors


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """The tensors along a new dimension, which stands at `axis` in the result."""
    tensors = _several("stack", arrays)
    if any(x.shape != tensors[0].shape for x in tensors):
        raise ShapeError(f"stack needs equal shapes, found {[x.shape for x in tensors]}")
    place = normalize_axis(axis, tensors[0].ndim + 1)
    return concat([expand_dims(x, place) for x in tensors], axis=place)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along `axis`."""
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    return tuple(x[(slice(None),) * place + (k,)] for k in range(x.shape[place]))


def flip(x: Tensor, /, *, axis: Axis | None = None) -> Tensor:
    """The elements in reverse order along `axis` (all if None)."""
    x = as_tensor(x)
    return apply(arrangement.flip, x, axes=normalize_axes(axis, x.ndim))


def roll(x: Tensor, /, shift: int | Sequence[int], *, axis: Axis | None = None) -> Tensor:
    """The elements moved along `axis`, those that leave come in at the other end; None rolls the flat order."""
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), x.shape)
    axes = tuple(normalize_axis(a, x.ndim) for a in (axis if isinstance(axis, Sequence) else (axis,)))
    shifts = tuple(shift) if isinstance(shift, Sequence) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll by {shift} along {axis}: as many shifts as axes")
    return apply(arrangement.roll, x, shifts=tuple(as_integer("a shift of roll", s) for s in shifts), axes=axes)


def split(x: Tensor, sizes: int | Sequence[int], /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The tensor cut along `axis`: in parts of that size (the last may be less), or of those sizes.

    >>> import minitensor as mt
    >>> [part.tolist() for part in mt.split(mt.arange(5), 2)], [part.shape for part in mt.split(mt.arange(5), [1, 4])]
    ([[0, 1], [2, 3], [4]], [(1,), (4,)])

    Raises ShapeError (a ValueError) for sizes that do not add up to the extent, or a size below 1.
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    extent = x.shape[place]
    if isinstance(sizes, Sequence):
        each = [index(n) for n in sizes]
        if sum(each) != extent or any(n < 0 for n in each):
            raise ShapeError(
                f"split into {each}, which do not add up to the extent {extent} of axis {place}: {x.shape}"
            )
    else:
        if sizes < 1:
            raise ShapeError(f"split into parts of {sizes} elements: at least 1 is needed")
        each = [min(sizes, extent - start) for start in range(0, extent, sizes)] or [0]
    ends = list(accumulate(each))
    before = (slice(None),) * place
    return tuple(x[(*before, slice(end - n, end))] for n, end in zip(each, ends, strict=True))


def tile(x: Tensor, repetitions: int | Sequence[int], /) -> Tensor:
    """The tensor laid out `repetitions` times along each dimension (missing ones are 1, in front)."""
    x = as_tensor(x)
    several = repetitions if isinstance(repetitions, Sequence) else (repetitions,)
    factors = tuple(as_integer("a number of repetitions", k) for k in several)
    if any(k < 0 for k in factors):
        raise ShapeError(f"tile with {shown(factors)} repetitions: there are none below 0")
    rank = max(x.ndim, len(factors))
    base = reshape(x, (1,) * (rank - x.ndim) + x.shape)
    return apply(arrangement.tile, base, factors=(1,) * (rank - len(factors)) + factors)


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element `repeats` times along `axis` (None: of the flattened tensor).

    A tensor of counts is read by Python, because the result's shape depends on it.
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    place = normalize_axis(axis, x.ndim)
    if isinstance(repeats, int):
        if repeats < 0:
            raise ShapeError(f"repeat of {repeats} times")
        return apply(arrangement.repeat, x, repeats=repeats, axis=place)
    given = asarray(repeats)
    if given.dtype.kind not in "iu" or given.shape not in ((), (1,), (x.shape[place],)):
        raise ShapeError(f"repeat takes an integer or {x.shape[place]} of them, not {given.dtype}{list(given.shape)}")
    counts = np.broadcast_to(read(given.value), (x.shape[place],))
    positions = asarray(np.repeat(np.arange(x.shape[place]), counts))
    return apply(gather, x, positions, axes=(place,), position=place)


def pad(x: Tensor, pad_width: int | Sequence[Any], /, *, constant_values: float = 0) -> Tensor:
    """The tensor with `constant_values` around it.

    `pad_width`: one number, a pair for all dimensions, or a pair for each.
    """
    x = as_tensor(x)
    if isinstance(pad_width, int):
        widths = [(pad_width, pad_width)] * x.ndim
    elif len(pad_width) == 2 and all(isinstance(w, int) for w in pad_width):
        widths = [(pad_width[0], pad_width[1])] * x.ndim
    else:
        widths = [(index(low), index(high)) for low, high in pad_width]
    if len(widths) != x.ndim or any(w < 0 for pair in widths for w in pair):
        raise ShapeError(f"pad widths {pad_width} for a tensor with {x.ndim} dimensions")
    return apply(arrangement.pad, x, constant_values, widths=tuple(widths))
