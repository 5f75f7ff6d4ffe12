"""Layers with parameters, by PyTorch's names, shapes and initial distributions.

Invariant: initial values are drawn from `mt.random` and nothing else; the arithmetic is `functional`'s.
"""

from __future__ import annotations

from math import prod, sqrt

from minitensor import functional as F
from minitensor import random
from minitensor.creation import ones, zeros
from minitensor.errors import ShapeError
from minitensor.functional import as_pair
from minitensor.manipulation import astype
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
    stride: int | tuple[int, int]
    padding: int | tuple[int, int]
    groups: int
    _inputs_first: bool = False  # in the weight

    def _make(self, in_channels: int, out_channels: int, kernel: tuple[int, ...], groups: int, bias: bool) -> None:
        """Weights and biases, uniform by the fan-in."""
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"channels {in_channels} and {out_channels} must be divisible by groups {groups}")
        first, second = (in_channels, out_channels) if self._inputs_first else (out_channels, in_channels)
        shape = (first, second // groups, *kernel)
        fan_in = prod(shape[1:])
        self.weight = _uniform(shape, fan_in)
        self.bias = _uniform((out_channels,), fan_in) if bias else None
        self.groups = groups

    def extra_repr(self) -> str:
        return f"weight={self.weight.shape}, stride={self.stride}, padding={self.padding}"


class Conv2d(_Convolution):
    """Cross-correlation of (N, C, H, W); weight (out_channels, in_channels / groups, KH, KW)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, as_pair(kernel_size), groups, bias)
        self.stride, self.padding, self.dilation = as_pair(stride), as_pair(padding), as_pair(dilation)

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
    padding: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._make(in_channels, out_channels, (kernel_size,), groups, bias)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose2d(_Convolution):
    """The transpose of Conv2d, which enlarges pictures; weight (in_channels, out_channels / groups, KH, KW).

    >>> import minitensor as mt
    >>> mt.nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(mt.ones((1, 8, 5, 5))).shape
    (1, 3, 10, 10)
    """

    _inputs_first = True

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


class _BatchNorm(Module):
    """What batch norms have in common; they differ in the ranks that they take."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(ones(num_features)) if affine else None
        self.bias = Parameter(zeros(num_features)) if affine else None
        self.register_buffer("running_mean", zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype="int64") if track_running_stats else None)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in self._ranks:
            raise ShapeError(f"{type(self).__name__} takes tensors of {self._ranks} dimensions, x is {x.shape}")
        mean, variance, count = self.running_mean, self.running_var, self.num_batches_tracked
        if not self.training and mean is not None:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.momentum is None and count is not None and mean is not None:
            momentum = 1.0 / astype(count + 1, mean.dtype)
        result = F.batch_norm(x, mean, variance, self.weight, self.bias, True, momentum, self.eps)
        if count is not None:
            count += 1
        return result


class BatchNorm1d(_BatchNorm):
    """Normalises each channel of (N, C) or (N, C, L) over the batch and L; otherwise as `BatchNorm2d`.

    >>> import minitensor as mt
    >>> mt.nn.BatchNorm1d(2)(mt.asarray([[1.0, 0.0], [3.0, 0.0]])).shape
    (2, 2)
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalises each channel of (N, C, H, W) over N, H, W (Ioffe and Szegedy 2015).

    In training mode by the batch's mean and biased variance, which also move the running statistics
    (the variance unbiased); in eval mode by the running statistics.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of a batch in the running statistics; None: all batches count alike.
        affine: whether there are `weight` and `bias`, of C numbers each.
        track_running_stats: whether there are running statistics; without, the batch's are taken in eval mode too.
    """

    _ranks = (4,)


class LayerNorm(Module):
    """Normalises over the last dimensions `normalized_shape` (Ba and others 2016); weight and bias of that shape."""

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(ones(shape))
        self.bias = Parameter(zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Embedding(Module):
    """Rows of `weight` (num_embeddings, embedding_dim) by integer index; initially N(0, 1)."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.weight = Parameter(random.normal((num_embeddings, embedding_dim)))

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight)


class Dropout(Module):
    """In training mode each element is 0 with probability `p`, otherwise scaled by 1/(1 − p)."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be a probability in [0, 1], is {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, training=self.training)
