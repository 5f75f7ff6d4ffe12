"""Normalisation: over batches, layers, groups of channels, rows.

In: tensors, and vectors that scale and shift.  Out: tensors of the same shape.
"""

from __future__ import annotations

import math

import numpy as np

from minitensor.autograd import no_grad
from minitensor.creation import Shape, as_shape
from minitensor.dispatch import apply, apply_several, as_tensor, rebind
from minitensor.elementwise import maximum, sqrt
from minitensor.errors import ArgumentError, ShapeError
from minitensor.functional.activations import as_floats
from minitensor.linalg import vector_norm
from minitensor.manipulation import reshape
from minitensor.ops import batch_norm as batch, layer_norm as norm
from minitensor.statistics import mean, sum as total
from minitensor.tensor import Tensor


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x − mean) / √(variance + eps)·weight + bias for each channel of (N, C, ...) (Ioffe and Szegedy 2015).

    In training the mean and the biased variance are the batch's, through which gradients go, and the running
    statistics, where given, are rebound to (1 − momentum)·running + momentum·batch's (the variance unbiased);
    otherwise the running statistics are taken.  Vectors have C numbers.

    >>> import minitensor as mt
    >>> mean, var = mt.zeros(1), mt.ones(1)
    >>> batch_norm(mt.asarray([[1.0], [3.0]]), mean, var, training=True, momentum=0.5, eps=0.0).tolist()
    [[-1.0], [1.0]]
    >>> mean.tolist(), var.tolist()
    ([1.0], [1.5])

    Raises ShapeError (a ValueError) for x that is not (N, C, ...) or, in training, has one value a channel or none,
    ArgumentError where there are no running statistics outside of training.
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"batch_norm takes (N, C, ...), not {x.shape}")
    if (running_mean is None) != (running_var is None) or (running_mean is None and not training):
        raise ArgumentError("batch_norm takes running mean and variance both, or in training neither")
    if training and math.prod(x.shape) < 2 * x.shape[1]:
        raise ShapeError(f"batch norm in training mode needs more than one value a channel, x is {x.shape}")
    if weight is None or bias is None or (training and running_mean is None):
        return _composed_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    assert running_mean is not None and running_var is not None
    if not training:
        return apply(batch.batch_norm_inference, x, weight, bias, running_mean, running_var, eps=eps)
    outputs = apply_several(batch.batch_norm, x, weight, bias, running_mean, running_var, momentum, eps=eps)
    rebind(running_mean, outputs[3].value)
    rebind(running_var, outputs[4].value)
    return outputs[0]


def _composed_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float | Tensor,
    eps: float,
) -> Tensor:
    """Batch norm in smaller operations, all vectors being optional."""
    vector, beside = (x.shape[1],), (1, x.shape[1], *[1] * (x.ndim - 2))
    if not training:
        assert running_mean is not None and running_var is not None
        return batch.normalized(x, reshape(running_mean, beside), reshape(running_var, beside), weight, bias, eps)
    mean, squares, count = batch.moments(x)
    if running_mean is not None and running_var is not None:
        with no_grad():
            for running, new in ((running_mean, mean), (running_var, squares / (count - 1))):
                running *= 1 - momentum
                running += reshape(new, vector) * momentum
    return batch.normalized(x, mean, squares / count, weight, bias, eps)


def layer_norm(
    x: Tensor,
    normalized_shape: Shape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """x normalised over its last dimensions `normalized_shape`, then scaled and shifted."""
    x, axes = _over_last("layer_norm", x, normalized_shape)
    if weight is not None and bias is not None:
        return apply(norm.layer_norm, x, weight, bias, eps=eps)
    return norm.composition(x, weight, bias, axes=axes, eps=eps)


def _over_last(what: str, x: Tensor, normalized_shape: Shape) -> tuple[Tensor, tuple[int, ...]]:
    """The tensor and its last axes, which have this shape.  Raises ShapeError where they have not."""
    x, last = as_tensor(x), as_shape(normalized_shape)
    first = x.ndim - len(last)
    if first < 0 or x.shape[first:] != last:
        raise ShapeError(f"{what} over {last} of a tensor with shape {x.shape}")
    return x, tuple(range(first, x.ndim))


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each group of channels of (N, C, ...) normalised by itself, then scaled and shifted a channel (Wu and He 2018).

    >>> import minitensor as mt
    >>> group_norm(mt.asarray([[1.0, 3.0, 5.0, 5.0]]), 2, eps=0.25).tolist()
    [[-0.8944271802902222, 0.8944271802902222, 0.0, 0.0]]

    Raises ShapeError where the channels are no multiple of `num_groups`.
    """
    x = as_tensor(x)
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm in {num_groups} groups of a tensor with shape {x.shape}, which is (N, C, ...)")
    rows = reshape(x, (x.shape[0], num_groups, -1))
    result = reshape(norm.composition(rows, None, None, axes=(2,), eps=eps), x.shape)
    beside = (-1, *[1] * (x.ndim - 2))
    if weight is not None:
        result = result * reshape(weight, beside)
    return result if bias is None else result + reshape(bias, beside)


def rms_norm(x: Tensor, normalized_shape: Shape, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """x over the root of its mean square along its last dimensions, then scaled (Zhang and Sennrich 2019).

    `eps`, added to the mean square, is the dtype's own if None, as in PyTorch.
    """
    x, axes = _over_last("rms_norm", x, normalized_shape)
    x = as_floats(x)
    least = float(np.finfo(x.dtype).eps) if eps is None else eps
    result = x / sqrt(mean(x * x, axis=axes, keepdims=True) + least)
    return result if weight is None else result * weight


# --- vectors along one axis --------------------------------------------------------------------------------


def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its p-norm along `axis`, or over `eps` where the norm is less.

    >>> import minitensor as mt
    >>> [round(v, 4) for v in normalize(mt.asarray([[3.0, 4.0]])).tolist()[0]]
    [0.6, 0.8]
    """
    x = as_tensor(x)
    return x / maximum(vector_norm(x, ord=p, axis=axis, keepdims=True), eps)


def cosine_similarity(x1: Tensor, x2: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """Σ x1·x2 along `axis` over the product of both norms, each `eps` at least.

    >>> import minitensor as mt
    >>> cosine_similarity(mt.asarray([[3.0, 0.0]]), mt.asarray([[1.0, 0.0]])).tolist()
    [1.0]
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    norms = [maximum(vector_norm(x, axis=axis), eps) for x in (x1, x2)]
    return total(x1 * x2, axis=axis) / (norms[0] * norms[1])
