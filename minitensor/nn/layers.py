"""Layers with parameters, by PyTorch's names, shapes and initial distributions.

Invariant: initial values are drawn from `mt.random` and nothing else; the arithmetic is `functional`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

from minitensor import functional as F, random
from minitensor.autograd import no_grad
from minitensor.creation import as_shape
from minitensor.errors import ArgumentError
from minitensor.functional.layers import Size, per_axis
from minitensor.nn.module import Module, Parameter
from minitensor.tensor import Tensor


def _uniform(shape: tuple[int, ...], fan_in: int) -> Parameter:
    """U(−1/√fan_in, 1/√fan_in): PyTorch's default (He and others 2015 with a = √5)."""
    bound = 1.0 / sqrt(fan_in) if fan_in else 0.0
    return Parameter(random.uniform(shape, -bound, bound))


class Linear(Module):
    """y = x Wᵀ + b; weight (out_features, in_features), bias (out_features,).

    >>> import minitensor as mt
    >>> mt.nn.Linear(4, 2)(mt.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        out_features, in_features = as_shape((out_features, in_features))
        self.weight = _uniform((out_features, in_features), in_features)
        self.bias = _uniform((out_features,), in_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class _Convolution(Module):
    """What convolutions have in common; each has its number of spatial axes and its function.

    Sizes are one number for all spatial axes, or one for each.
    """

    weight: Parameter
    bias: Parameter | None
    padding: str | tuple[int, ...]
    _axes: int
    _function: Callable[..., Tensor]
    _inputs_first = False  # in the weight

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, kernel_size, groups, bias)
        self.stride, self.dilation = per_axis(stride, self._axes), per_axis(dilation, self._axes)
        self.padding = padding if isinstance(padding, str) else per_axis(padding, self._axes)

    def _make(self, in_channels: int, out_channels: int, kernel_size: Size, groups: int, bias: bool) -> None:
        """Weights and biases, uniform by the fan-in."""
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(f"channels {in_channels} and {out_channels} must be divisible by groups {groups}")
        first, second = (in_channels, out_channels) if self._inputs_first else (out_channels, in_channels)
        shape = (first, second // groups, *per_axis(kernel_size, self._axes))
        fan_in = prod(shape[1:])
        self.weight = _uniform(shape, fan_in)
        self.bias = _uniform((out_channels,), fan_in) if bias else None
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"weight={self.weight.shape}, stride={self.stride}, padding={self.padding}"


class Conv1d(_Convolution):
    """Cross-correlation of (N, C, L); weight (out_channels, in_channels / groups, K).

    padding: zeros on each side, or "same", or "valid".

    >>> import minitensor as mt
    >>> mt.nn.Conv1d(3, 8, 5, padding=2)(mt.ones((2, 3, 16))).shape
    (2, 8, 16)
    """

    _axes = 1
    _function = staticmethod(F.conv1d)


class Conv2d(_Convolution):
    """Cross-correlation of (N, C, H, W); weight (out_channels, in_channels / groups, KH, KW).

    padding: zeros on each side, or "same", or "valid".
    """

    _axes = 2
    _function = staticmethod(F.conv2d)


class Conv3d(_Convolution):
    """Cross-correlation of (N, C, D, H, W); weight (out_channels, in_channels / groups, KD, KH, KW).

    >>> import minitensor as mt
    >>> mt.nn.Conv3d(2, 4, 3, stride=(1, 2, 2), padding=1)(mt.ones((1, 2, 5, 8, 8))).shape
    (1, 4, 5, 4, 4)
    """

    _axes = 3
    _function = staticmethod(F.conv3d)


class _TransposedConvolution(_Convolution):
    """What transposes of convolutions have in common."""

    _inputs_first = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        self._make(in_channels, out_channels, kernel_size, groups, bias)
        self.stride, self.padding = per_axis(stride, self._axes), per_axis(padding, self._axes)
        self.output_padding, self.dilation = per_axis(output_padding, self._axes), per_axis(dilation, self._axes)

    def forward(self, x: Tensor) -> Tensor:
        sizes = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return self._function(x, self.weight, self.bias, *sizes)


class ConvTranspose1d(_TransposedConvolution):
    """The transpose of Conv1d; weight (in_channels, out_channels / groups, K).

    >>> import minitensor as mt
    >>> mt.nn.ConvTranspose1d(8, 3, 4, stride=2, padding=1)(mt.ones((1, 8, 5))).shape
    (1, 3, 10)
    """

    _axes = 1
    _function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of Conv2d, which enlarges pictures; weight (in_channels, out_channels / groups, KH, KW).

    >>> import minitensor as mt
    >>> mt.nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(mt.ones((1, 8, 5, 5))).shape
    (1, 3, 10, 10)
    """

    _axes = 2
    _function = staticmethod(F.conv_transpose2d)


class Embedding(Module):
    """Rows of `weight` (num_embeddings, embedding_dim) by integer index; initially N(0, 1).

    Args:
        padding_idx: a row that is 0 to start, and gets no gradient.

    >>> import minitensor as mt
    >>> mt.nn.Embedding(10, 3, padding_idx=0)(mt.asarray([[0, 4]])).shape
    (1, 2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ArgumentError(f"padding_idx {padding_idx} is none of {num_embeddings} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(random.normal((num_embeddings, embedding_dim)))
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class Dropout(Module):
    """In training mode each element is 0 with probability `p`, otherwise scaled by 1/(1 − p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"p must be a probability in [0, 1], is {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training mode each channel of (N, C, ...) is 0 with probability `p`, otherwise scaled by 1/(1 − p)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, training=self.training)
