"""Layers with parameters, by PyTorch's names, shapes and initial distributions.

Invariant: initial values are drawn from `mt.random` and nothing else; the arithmetic is `functional`'s.
"""

from __future__ import annotations

from math import prod, sqrt

from minitensor import functional as F
from minitensor import random
from minitensor.autograd import no_grad
from minitensor.creation import as_shape
from minitensor.errors import ArgumentError
from minitensor.functional import as_pair
from minitensor.functional.volumes import Triple, as_triple
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
    """What convolutions and transposed ones have in common."""

    weight: Parameter
    bias: Parameter | None
    stride: int | tuple[int, ...]
    padding: int | str | tuple[int, ...]
    groups: int
    _inputs_first: bool = False  # in the weight

    def _make(self, in_channels: int, out_channels: int, kernel: tuple[int, ...], groups: int, bias: bool) -> None:
        """Weights and biases, uniform by the fan-in."""
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(f"channels {in_channels} and {out_channels} must be divisible by groups {groups}")
        first, second = (in_channels, out_channels) if self._inputs_first else (out_channels, in_channels)
        shape = (first, second // groups, *kernel)
        fan_in = prod(shape[1:])
        self.weight = _uniform(shape, fan_in)
        self.bias = _uniform((out_channels,), fan_in) if bias else None
        self.groups = groups

    def extra_repr(self) -> str:
        return f"weight={self.weight.shape}, stride={self.stride}, padding={self.padding}"


class Conv2d(_Convolution):
    """Cross-correlation of (N, C, H, W); weight (out_channels, in_channels / groups, KH, KW).

    padding: zeros on each side, or "same", or "valid".
    """

    stride: tuple[int, int]
    padding: str | tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, as_pair(kernel_size), groups, bias)
        self.stride, self.dilation = as_pair(stride), as_pair(dilation)
        self.padding = padding if isinstance(padding, str) else as_pair(padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv1d(_Convolution):
    """Cross-correlation of (N, C, L); weight (out_channels, in_channels / groups, K).

    >>> import minitensor as mt
    >>> mt.nn.Conv1d(3, 8, 5, padding=2)(mt.ones((2, 3, 16))).shape
    (2, 8, 16)
    """

    stride: int
    padding: int | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, (kernel_size,), groups, bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(_Convolution):
    """Cross-correlation of (N, C, D, H, W); weight (out_channels, in_channels / groups, KD, KH, KW).

    >>> import minitensor as mt
    >>> mt.nn.Conv3d(2, 4, 3, stride=(1, 2, 2), padding=1)(mt.ones((1, 2, 5, 8, 8))).shape
    (1, 4, 5, 4, 4)
    """

    stride: tuple[int, int, int]
    padding: tuple[int, int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Triple,
        stride: Triple = 1,
        padding: Triple = 0,
        dilation: Triple = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, as_triple(kernel_size), groups, bias)
        self.stride, self.padding, self.dilation = as_triple(stride), as_triple(padding), as_triple(dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose1d(_Convolution):
    """The transpose of Conv1d; weight (in_channels, out_channels / groups, K).

    >>> import minitensor as mt
    >>> mt.nn.ConvTranspose1d(8, 3, 4, stride=2, padding=1)(mt.ones((1, 8, 5))).shape
    (1, 3, 10)
    """

    _inputs_first = True
    stride: int
    padding: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
    ) -> None:
        self._make(in_channels, out_channels, (kernel_size,), groups, bias)
        self.stride, self.padding, self.dilation, self.output_padding = stride, padding, dilation, output_padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class ConvTranspose2d(_Convolution):
    """The transpose of Conv2d, which enlarges pictures; weight (in_channels, out_channels / groups, KH, KW).

    >>> import minitensor as mt
    >>> mt.nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(mt.ones((1, 8, 5, 5))).shape
    (1, 3, 10, 10)
    """

    _inputs_first = True
    stride: tuple[int, int]
    padding: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
    ) -> None:
        self._make(in_channels, out_channels, as_pair(kernel_size), groups, bias)
        self.stride, self.padding, self.dilation = as_pair(stride), as_pair(padding), as_pair(dilation)
        self.output_padding = as_pair(output_padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )


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
