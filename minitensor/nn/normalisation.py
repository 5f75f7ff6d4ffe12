"""Normalisation as layers, by PyTorch's names, shapes and defaults.

Invariant: running statistics are buffers, rebound by a batch in training mode and by nothing else.
"""

from __future__ import annotations

from minitensor import functional as F
from minitensor.creation import as_shape, ones, zeros
from minitensor.errors import ArgumentError, ShapeError
from minitensor.manipulation import astype
from minitensor.nn.module import Module, Parameter
from minitensor.tensor import Tensor


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


class BatchNorm3d(_BatchNorm):
    """Normalises each channel of (N, C, D, H, W) over N, D, H, W; otherwise as `BatchNorm2d`."""

    _ranks = (5,)


class LayerNorm(Module):
    """Normalises over the last dimensions `normalized_shape` (Ba and others 2016); weight and bias of that shape."""

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape, self.eps = as_shape(normalized_shape), eps
        self.weight = Parameter(ones(normalized_shape)) if elementwise_affine else None
        self.bias = Parameter(zeros(normalized_shape)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}"


class RMSNorm(Module):
    """Divides by the root of the mean square over the last dimensions (Zhang and Sennrich 2019); weight of that shape.

    `eps` is the dtype's own if None.

    >>> import minitensor as mt
    >>> [round(v, 4) for v in mt.nn.RMSNorm(2)(mt.asarray([3.0, 4.0])).tolist()]
    [0.8485, 1.1314]
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float | None = None) -> None:
        self.normalized_shape, self.eps = as_shape(normalized_shape), eps
        self.weight = Parameter(ones(normalized_shape))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Normalises each group of channels of (N, C, ...) by itself (Wu and He 2018); weight and bias of C numbers.

    >>> import minitensor as mt
    >>> mt.nn.GroupNorm(2, 6)(mt.ones((3, 6, 4, 4))).shape
    (3, 6, 4, 4)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(f"num_channels {num_channels} must be a multiple of num_groups {num_groups}")
        self.num_groups, self.eps = num_groups, eps
        self.weight = Parameter(ones(num_channels)) if affine else None
        self.bias = Parameter(zeros(num_channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class _InstanceNorm(GroupNorm):
    """Each channel of each sample normalised by itself: group norm with a group for each channel.

    Without weight and bias unless `affine`, and without running statistics, as in PyTorch by default.
    """

    _rank = 0

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False) -> None:
        super().__init__(num_features, num_features, eps, affine)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self._rank:
            raise ShapeError(f"{type(self).__name__} takes tensors of {self._rank} dimensions, x is {x.shape}")
        return super().forward(x)


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each sample of (N, C, L) (Ulyanov and others 2016)."""

    _rank = 3


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each sample of (N, C, H, W) (Ulyanov and others 2016).

    >>> import minitensor as mt
    >>> x = mt.nn.InstanceNorm2d(3)(mt.random.normal((2, 3, 4, 4)))
    >>> bool(abs(x.mean((2, 3))).max() < 1e-5)
    True
    """

    _rank = 4
