"""Modules without parameters that change shapes: flattening, pooling, enlarging."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from minitensor import functional as F
from minitensor.errors import ArgumentError, ShapeError
from minitensor.functional.layers import Size
from minitensor.nn.module import Module
from minitensor.ops.shapes import normalize_axis, resolve_shape
from minitensor.tensor import Tensor


class Flatten(Module):
    """Dimensions start_dim … end_dim made one: (N, ...) to (N, product of the rest) unless told otherwise.

    >>> import minitensor as mt
    >>> mt.nn.Flatten()(mt.ones((2, 3, 4))).shape, mt.nn.Flatten(0, 1)(mt.ones((2, 3, 4))).shape
    ((2, 12), (6, 4))
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        first, last = normalize_axis(self.start_dim, x.ndim), normalize_axis(self.end_dim, x.ndim)
        if first > last:
            raise ShapeError(f"Flatten from {self.start_dim} to {self.end_dim} of shape {x.shape}: none is between")
        return x.reshape((*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


class Unflatten(Module):
    """Dimension `dim` made several, of the extents `unflattened_size`, of which one may be -1.

    >>> import minitensor as mt
    >>> mt.nn.Unflatten(1, (3, -1))(mt.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        place = normalize_axis(self.dim, x.ndim)
        several = resolve_shape(self.unflattened_size, x.shape[place])
        return x.reshape((*x.shape[:place], *several, *x.shape[place + 1 :]))


class _Pool(Module):
    """Windows: `stride` apart (their own size if None), with `padding` around."""

    _function: Callable[..., Tensor]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class MaxPool1d(_Pool):
    """The largest element of each window of (N, C, L)."""

    _function = staticmethod(F.max_pool1d)


class MaxPool2d(_Pool):
    """The largest element of each window of (N, C, H, W)."""

    _function = staticmethod(F.max_pool2d)


class MaxPool3d(_Pool):
    """The largest element of each window of (N, C, D, H, W)."""

    _function = staticmethod(F.max_pool3d)


class AvgPool1d(_Pool):
    """The mean of each window of (N, C, L), the zeros of the padding counted."""

    _function = staticmethod(F.avg_pool1d)


class AvgPool2d(_Pool):
    """The mean of each window of (N, C, H, W), the zeros of the padding counted."""

    _function = staticmethod(F.avg_pool2d)


class AvgPool3d(_Pool):
    """The mean of each window of (N, C, D, H, W), the zeros of the padding counted."""

    _function = staticmethod(F.avg_pool3d)


class AdaptiveAvgPool2d(Module):
    """(N, C, H, W) to (N, C, *output_size), each element the mean of its window."""

    def __init__(self, output_size: Size) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, self.output_size)


class Upsample(Module):
    """(N, C, H, W) enlarged `scale_factor` times, by "nearest" or "bilinear"."""

    def __init__(self, scale_factor: int, mode: str = "nearest") -> None:
        if scale_factor < 1:
            raise ArgumentError(f"scale_factor must be at least 1, is {scale_factor}")
        self.scale_factor, self.mode = scale_factor, mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, (x.shape[2] * self.scale_factor, x.shape[3] * self.scale_factor), self.mode)


class PixelShuffle(Module):
    """(N, C·r², H, W) to (N, C, H·r, W·r), r = `upscale_factor`."""

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.upscale_factor)
