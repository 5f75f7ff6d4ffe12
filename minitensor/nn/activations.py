"""Functions as modules, for use in Sequential."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from minitensor import functional as F
from minitensor.creation import full
from minitensor.elementwise import tanh
from minitensor.errors import ArgumentError, ShapeError
from minitensor.functional.layers import Size
from minitensor.nn.module import Module, Parameter
from minitensor.ops.shapes import normalize_axis, resolve_shape
from minitensor.tensor import Tensor


class Identity(Module):
    """What it is given: a place for a layer that may be absent."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Softmax(Module):
    """exp(x) over its sum along `axis`."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


class ELU(Module):
    """x where it is positive, alpha·(exp(x) − 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)


class SELU(Module):
    """`functional.selu`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.selu(x)


class Softplus(Module):
    """log(1 + exp(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x)


class Hardswish(Module):
    """`functional.hardswish`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(x)


class Hardsigmoid(Module):
    """`functional.hardsigmoid`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.hardsigmoid(x)


class Hardtanh(Module):
    """x within [min_val, max_val], the nearer end elsewhere."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Tensor) -> Tensor:
        return F.hardtanh(x, self.min_val, self.max_val)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softsign(x)


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.logsigmoid(x)


class Mish(Module):
    """x·tanh(softplus(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(x)


class GLU(Module):
    """a·sigmoid(b), a and b the halves of x along `axis`."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(x, self.axis)


class PReLU(Module):
    """x where it is positive, weight·x elsewhere: one weight, or one a channel (He and others 2015)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.weight = Parameter(full(num_parameters, init))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)


class LogSoftmax(Module):
    """x minus the logarithm of the sum of exp(x) along `axis`."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(x, self.axis)


class LeakyReLU(Module):
    """x where it is positive, `negative_slope`·x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)


class GELU(Module):
    """x·Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016), exactly or by "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, self.approximate)


class SiLU(Module):
    """x·sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(−x))."""

    def forward(self, x: Tensor) -> Tensor:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


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
