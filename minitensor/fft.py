"""`mt.fft`: the array standard's Fourier transform extension.

In: tensors, lengths and axes as users write them.  Out: tensors.
Invariant: everything is `ops.fourier.transform` between slices, paddings and conjugations, so every function
here is differentiable, any number of times.
"""

from __future__ import annotations

from collections.abc import Sequence

from minitensor.creation import arange
from minitensor.device import Device
from minitensor.dispatch import apply, as_tensor
from minitensor.dtypes import PROMOTED, DType, complex64, to_float
from minitensor.elementwise import conj, real
from minitensor.errors import ArgumentError, DTypeError, ShapeError
from minitensor.manipulation import astype, concat, flip, pad, roll
from minitensor.ops.fourier import scale_of, transform
from minitensor.ops.shapes import normalize_axis
from minitensor.tensor import Tensor

__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft", "irfftn", "rfft",
    "rfftfreq", "rfftn",
]  # fmt: skip

Axes = Sequence[int] | None


def _fitted(x: Tensor, size: int, axis: int) -> Tensor:
    """The tensor cut or padded with zeros to `size` along `axis`."""
    if size < 1:
        raise ShapeError(f"a Fourier transform of {size} points")
    extent = x.shape[axis]
    if extent > size:
        return x[(slice(None),) * axis + (slice(0, size),)]
    widths = [(0, size - extent if d == axis else 0) for d in range(x.ndim)]
    return x if extent == size else pad(x, widths)


def _resolved(
    x: Tensor, s: Sequence[int] | None, axes: Axes, least: int = 0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and axes, counted from the front.  Raises ShapeError for fewer than `least`."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    places = tuple(normalize_axis(a, x.ndim) for a in axes)
    sizes = tuple(x.shape[a] for a in places) if s is None else tuple(s)
    if len(sizes) != len(places):
        raise ShapeError(f"{len(sizes)} sizes for {len(places)} axes")
    if len(places) < least:
        raise ShapeError(f"a transform of a real tensor needs an axis, x is {x.shape}")
    return sizes, places


def _transform(x: Tensor, sizes: tuple[int, ...], axes: tuple[int, ...], norm: str, inverse: bool) -> Tensor:
    if norm not in ("backward", "ortho", "forward"):
        raise ArgumentError(f"norm is 'backward', 'ortho' or 'forward', not {norm!r}")
    if x.dtype.kind not in "fc":
        raise DTypeError(f"a Fourier transform takes floating-point tensors, not {x.dtype}")
    for size, axis in zip(sizes, axes, strict=True):
        x = _fitted(x, size, axis)
    wide = PROMOTED[x.dtype, complex64]
    scale = scale_of(norm, sizes, inverse)
    return apply(transform, astype(x, wide, copy=False), axes=axes, inverse=inverse, scale=scale)


# --- complex ---------------------------------------------------------------------------------------------


def fftn(x: Tensor, /, *, s: Sequence[int] | None = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The transform along `axes` (all if None), of `s` points each.

    >>> import minitensor as mt
    >>> mt.real(fftn(mt.ones((2, 2)))).tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    x = as_tensor(x)
    return _transform(x, *_resolved(x, s, axes), norm, inverse=False)


def ifftn(x: Tensor, /, *, s: Sequence[int] | None = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The inverse of `fftn`."""
    x = as_tensor(x)
    return _transform(x, *_resolved(x, s, axes), norm, inverse=True)


def fft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The transform along one axis, of `n` points."""
    return fftn(x, s=None if n is None else (n,), axes=(axis,), norm=norm)


def ifft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `fft`."""
    return ifftn(x, s=None if n is None else (n,), axes=(axis,), norm=norm)


# --- real ------------------------------------------------------------------------------------------------


def _half(x: Tensor, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(0, x.shape[axis] // 2 + 1),)]


def _check_real(x: Tensor, what: str) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(f"{what} takes a real floating-point tensor, not {x.dtype}")


def rfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The first n/2 + 1 points of the transform of a real tensor; the others are their conjugates."""
    x = as_tensor(x)
    _check_real(x, "rfft")
    return _half(fft(x, n=n, axis=axis, norm=norm), normalize_axis(axis, x.ndim))


def _whole(x: Tensor, n: int | None, axis: int) -> tuple[Tensor, int]:
    """All points of the transform of a real tensor from its first half, and how many."""
    size = 2 * (x.shape[axis] - 1) if n is None else n
    half = _fitted(x, size // 2 + 1, axis)
    head = (slice(None),) * axis
    mirrored = flip(conj(half[(*head, slice(1, size - size // 2))]), axis=axis)
    edge = (size + 1) // 2 if size % 2 == 0 else size // 2 + 1
    ends = [half[(*head, slice(0, edge))]]
    if size % 2 == 0:
        ends.append(half[(*head, slice(size // 2, size // 2 + 1))])
    return concat([*ends, mirrored], axis=axis), size


def irfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The real tensor of `n` points (2·(points − 1) if None) whose `rfft` is x."""
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    whole, size = _whole(astype(x, PROMOTED[x.dtype, complex64], copy=False), n, place)
    return real(ifft(whole, n=size, axis=place, norm=norm))


def rfftn(x: Tensor, /, *, s: Sequence[int] | None = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The transform of a real tensor along `axes`; the last one gives its first half."""
    x = as_tensor(x)
    _check_real(x, "rfftn")
    sizes, places = _resolved(x, s, axes, least=1)
    return _half(_transform(x, sizes, places, norm, inverse=False), places[-1])


def irfftn(x: Tensor, /, *, s: Sequence[int] | None = None, axes: Axes = None, norm: str = "backward") -> Tensor:
    """The real tensor whose `rfftn` is x."""
    x = as_tensor(x)
    sizes, places = _resolved(x, s, axes, least=1)
    last = None if s is None else sizes[-1]
    inner = x if len(places) == 1 else _transform(x, sizes[:-1], places[:-1], norm, inverse=True)
    return irfft(inner, n=last, axis=places[-1], norm=norm)


def _other_way(norm: str) -> str:
    return {"backward": "forward", "forward": "backward"}.get(norm, norm)


def hfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The real spectrum of a signal whose first half is x and whose other half are the conjugates."""
    return irfft(conj(x), n=n, axis=axis, norm=_other_way(norm))


def ihfft(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `hfft`."""
    return conj(rfft(x, n=n, axis=axis, norm=_other_way(norm)))


# --- frequencies -----------------------------------------------------------------------------------------


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Device | str | None = None) -> Tensor:
    """The frequency of each point of `fft`, for samples `d` apart."""
    positive = (n + 1) // 2
    steps = concat([arange(positive, device=device), arange(-(n // 2), 0)])
    return astype(steps, to_float(steps.dtype) if dtype is None else dtype) / (n * d)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Device | str | None = None) -> Tensor:
    """The frequency of each point of `rfft`, for samples `d` apart."""
    steps = arange(n // 2 + 1, device=device)
    return astype(steps, to_float(steps.dtype) if dtype is None else dtype) / (n * d)


def fftshift(x: Tensor, /, *, axes: int | Axes = None) -> Tensor:
    """Frequency 0 in the middle along `axes`."""
    x = as_tensor(x)
    places = _shifted_axes(x, axes)
    return roll(x, [x.shape[a] // 2 for a in places], axis=places)


def ifftshift(x: Tensor, /, *, axes: int | Axes = None) -> Tensor:
    """The inverse of `fftshift`."""
    x = as_tensor(x)
    places = _shifted_axes(x, axes)
    return roll(x, [-(x.shape[a] // 2) for a in places], axis=places)


def _shifted_axes(x: Tensor, axes: int | Axes) -> tuple[int, ...]:
    several = range(x.ndim) if axes is None else (axes,) if isinstance(axes, int) else axes
    return tuple(normalize_axis(a, x.ndim) for a in several)
