"""Functions as modules, for use in Sequential."""

from __future__ import annotations

from minitensor import functional as F
from minitensor.creation import full
from minitensor.elementwise import tanh
from minitensor.errors import ArgumentError
from minitensor.nn.module import Module, Parameter
from minitensor.tensor import Tensor

Pair = int | tuple[int, int]


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
    """x·Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)


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
    """(N, ...) to (N, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape((x.shape[0], -1))


class _Pool(Module):
    """Windows of pictures: `stride` apart (their own size if None), with `padding` around."""

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class MaxPool2d(_Pool):
    """The largest element of each window of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool):
    """The mean of each window of (N, C, H, W), the zeros of the padding counted."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class _Pool1d(Module):
    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding


class MaxPool1d(_Pool1d):
    """The largest element of each window of (N, C, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding)


class AvgPool1d(_Pool1d):
    """The mean of each window of (N, C, L), the zeros of the padding counted."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding)


class AdaptiveAvgPool2d(Module):
    """(N, C, H, W) to (N, C, *output_size), each element the mean of its window."""

    def __init__(self, output_size: int | tuple[int, int]) -> None:
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
