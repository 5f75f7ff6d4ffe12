"""Activations, losses, normalisation, and layers as functions.

In: tensors.  Out: tensors.
Invariant: nothing here is a record; every function is made of operations that have one, so a new function
needs no gradient, no compiler and no test of either.  What every network does many times a step (softmax,
cross-entropy, layer norm, batch norm, gelu, linear) is one record each, and so are element-wise losses: a recorded
operation costs Python more than its arithmetic takes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from minitensor import random
from minitensor.autograd import no_grad
from minitensor.creation import asarray
from minitensor.dispatch import apply, apply_several, rebind
from minitensor.dtypes import to_float
from minitensor.elementwise import exp, log, log1p, where
from minitensor.errors import DTypeError, ShapeError
from minitensor.linear_algebra import matmul
from minitensor.manipulation import astype, broadcast_to, expand_dims, reshape, squeeze
from minitensor.ops import activation, contract, convolution, elementwise, losses, pooling
from minitensor.ops import batch_norm as batch
from minitensor.ops import layer_norm as norm
from minitensor.ops import softmax as rows
from minitensor.ops.shapes import normalize_axis
from minitensor.searching import take, take_along_axis
from minitensor.statistics import max as largest
from minitensor.statistics import mean
from minitensor.statistics import sum as total
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]
Pair = int | tuple[int, int]


def as_pair(value: Pair) -> tuple[int, int]:
    """One number for both axes of an image, or a number for each."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


# --- activations -----------------------------------------------------------------------------------------


def relu(x: Tensor) -> Tensor:
    """max(x, 0); NaN stays NaN, the gradient at 0 is 0.

    >>> import minitensor as mt
    >>> relu(mt.asarray([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return apply(elementwise.relu, x)


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """x where it is positive, `slope`·x elsewhere.

    >>> import minitensor as mt
    >>> leaky_relu(mt.asarray([-1.0, 2.0]), 0.25)
    tensor([-0.25,  2.  ])
    """
    return apply(activation.leaky_relu, x, float(slope))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where it is positive, alpha·(exp(x) − 1) elsewhere."""
    negative = -relu(-x)  # the branch not taken must not overflow
    return where(x > 0, x, (exp(negative) - 1) * alpha)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(−x)), by way of tanh: no overflow on either side."""
    return apply(activation.sigmoid, x)


def silu(x: Tensor) -> Tensor:
    """x·sigmoid(x)."""
    return x * sigmoid(x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return relu(x) + log1p(exp(-abs(x)))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) (Hendrycks and Gimpel 2016), Φ the normal distribution function: exactly, or by "tanh" as in GPT-2.

    >>> import minitensor as mt
    >>> gelu(mt.asarray([0.0])), gelu(mt.asarray([0.0]), "tanh")
    (tensor([0.]), tensor([0.]))

    Raises ShapeError for another `approximate`.
    """
    if approximate not in ("none", "tanh"):
        raise ShapeError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    return apply(activation.gelu if approximate == "none" else activation.gelu_tanh, x)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`; the largest element is subtracted first.

    >>> import minitensor as mt
    >>> softmax(mt.asarray([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return apply(rows.softmax, _floats(x), axis=normalize_axis(axis, x.ndim))


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log(softmax(x)), without the detour over small numbers."""
    return apply(rows.log_softmax, _floats(x), axis=normalize_axis(axis, x.ndim))


def _floats(x: Tensor) -> Tensor:
    """Integers and bool as the default float."""
    return x if x.dtype.kind == "f" else astype(x, to_float(x.dtype))


def logsumexp(x: Tensor, axis: int | tuple[int, ...], keepdims: bool = False) -> Tensor:
    """log(Σ exp(x)) along `axis`, without overflow; −∞ if all elements are."""
    peak = largest(x.detach(), axis=axis, keepdims=True)
    peak = where(abs(peak) < math.inf, peak, 0)
    result = log(total(exp(x - peak), axis=axis, keepdims=True)) + peak
    axes = axis if isinstance(axis, tuple) else (axis,)
    if keepdims:
        return result
    gone = {normalize_axis(a, x.ndim) for a in axes}
    return reshape(result, tuple(n for d, n in enumerate(x.shape) if d not in gone))


# --- losses ----------------------------------------------------------------------------------------------


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return total(loss)
    if reduction == "none":
        return loss
    raise ShapeError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def mse_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The squared differences: their mean, their sum, or themselves."""
    difference = prediction - target
    return _reduced(difference * difference, reduction)


def l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The magnitudes of the differences: their mean, their sum, or themselves."""
    return _reduced(abs(prediction - target), reduction)


def smooth_l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Of each difference d ½d²/beta where |d| < beta, |d| − beta/2 elsewhere (Girshick 2015): mean, sum, or themselves.

    Raises ValueError unless beta > 0.

    >>> import minitensor as mt
    >>> smooth_l1_loss(mt.asarray([0.5, -3.0]), mt.zeros(2), "none")
    tensor([0.125, 2.5  ])
    """
    if not beta > 0:
        raise ValueError(f"smooth_l1_loss's beta must be positive, is {beta}")
    return _reduced(apply(losses.huber, prediction - target, float(beta)), reduction)


def nll_loss(log_probabilities: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Minus the log-probability of each label; (N, C) or (N, C, ...) with integer targets (N) or (N, ...).

    Raises TensorIndexError (an IndexError) for a label that is no class.
    """
    if target.dtype.kind not in "iu":
        raise DTypeError(f"labels are integers, not {target.dtype}")
    axis = 1 if log_probabilities.ndim > 1 else 0
    if log_probabilities.shape[:axis] + log_probabilities.shape[axis + 1 :] != target.shape:
        raise ShapeError(f"labels of shape {target.shape} for log-probabilities of shape {log_probabilities.shape}")
    chosen = take_along_axis(log_probabilities, expand_dims(target, axis), axis=axis)
    return _reduced(-reshape(chosen, target.shape), reduction)


def cross_entropy(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Minus the log-probability that softmax gives each label.

    logits (N, C) or (N, C, ...); integer labels (N) or (N, ...).
    Raises TensorIndexError (an IndexError) for a label that is no class.

    >>> import minitensor as mt
    >>> round(float(cross_entropy(mt.asarray([[0.0, 0.0]]), mt.asarray([1]))), 4)
    0.6931
    """
    losses = apply(rows.cross_entropy, _floats(logits), target, axis=1 if logits.ndim > 1 else 0)
    return _reduced(losses, reduction)


def binary_cross_entropy_with_logits(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """−t·log(sigmoid(x)) − (1 − t)·log(1 − sigmoid(x)), without overflow."""
    return _reduced(apply(losses.binary_cross_entropy, logits, target), reduction)


# --- layers ----------------------------------------------------------------------------------------------


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b; weight (out, in), bias (out)."""
    return matmul(x, weight.mT) if bias is None else apply(contract.linear, x, weight, bias)


def embedding(indices: Tensor, weight: Tensor) -> Tensor:
    """The rows of `weight` that the integers name."""
    return take(weight, indices, axis=0)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training each element is 0 with probability `p`, otherwise scaled by 1 / (1 − p); draws from `mt.random`."""
    if not 0.0 <= p <= 1.0:
        raise ShapeError(f"p is a probability in [0, 1], not {p}")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    keep = random.uniform(x.shape) >= p
    return where(keep, x * (1.0 / (1.0 - p)), 0)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, H, W), weight (F, C / groups, KH, KW), bias (F) to (N, F, OH, OW)."""
    result = apply(
        convolution.conv2d,
        x,
        weight,
        stride=as_pair(stride),
        padding=as_pair(padding),
        dilation=as_pair(dilation),
        groups=groups,
    )
    return result if bias is None else result + reshape(bias, (1, -1, 1, 1))


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, L), weight (F, C / groups, K), bias (F) to (N, F, OL).

    It is `conv2d` of pictures of one row.  Raises ShapeError for other ranks.

    >>> import minitensor as mt
    >>> conv1d(mt.asarray([[[1.0, 2.0, 4.0]]]), mt.asarray([[[1.0, -1.0]]])).tolist()
    [[[-1.0, -2.0]]]
    """
    if x.ndim != 3 or weight.ndim != 3:
        raise ShapeError(f"conv1d takes x (N, C, L) and weight (F, C / groups, K), not {x.shape} and {weight.shape}")
    rows, taps = expand_dims(x, axis=2), expand_dims(weight, axis=2)
    result = conv2d(rows, taps, bias, (1, stride), (0, padding), (1, dilation), groups)
    return squeeze(result, axis=2)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """The transpose of `conv2d` as a linear map: x (N, C, H, W), weight (C, F / groups, KH, KW) to (N, F, OH, OW).

    OH = (H − 1)·stride − 2·padding + dilation·(KH − 1) + output_padding + 1.

    >>> import minitensor as mt
    >>> conv_transpose2d(mt.ones((1, 1, 1, 2)), mt.ones((1, 1, 1, 2)), stride=2)
    tensor([[[[1., 1., 1., 1.]]]])

    Raises ShapeError where the channels do not fit, or `output_padding` is not below stride or dilation.
    """
    steps, pads, extra, spread = as_pair(stride), as_pair(padding), as_pair(output_padding), as_pair(dilation)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"conv_transpose2d takes (N, C, H, W) and (C, F/groups, KH, KW), not {x.shape}, {weight.shape}"
        )
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise ShapeError(f"output_padding {extra} must be below stride {steps} or dilation {spread}")
    size = tuple(
        (x.shape[2 + a] - 1) * steps[a] - 2 * pads[a] + spread[a] * (weight.shape[2 + a] - 1) + extra[a] + 1
        for a in (0, 1)
    )
    result = apply(
        convolution.conv2d_input_grad,
        x,
        weight,
        shape=(x.shape[0], weight.shape[1] * groups, *size),
        stride=steps,
        padding=pads,
        dilation=spread,
        groups=groups,
    )
    return result if bias is None else result + reshape(bias, (1, -1, 1, 1))


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """softmax(Q Kᵀ·scale) V (Vaswani and others 2017): query (..., L, D), key (..., S, D), value (..., S, E).

    mask: bool, broadcast to (..., L, S), true where a query may look; or numbers that are added to the scores.
    scale: 1/√D if None.  A row that may look nowhere gives NaN.

    >>> import minitensor as mt
    >>> q, k, v = mt.zeros((1, 2)), mt.ones((2, 2)), mt.asarray([[1.0], [3.0]])
    >>> scaled_dot_product_attention(q, k, v).tolist()
    [[2.0]]
    >>> scaled_dot_product_attention(q, k, v, mask=mt.asarray([[False, True]])).tolist()
    [[3.0]]
    """
    scores = matmul(query, key.mT) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    return matmul(softmax(scores, -1), value)


def max_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The largest element of each window of (N, C, H, W); windows are `stride` apart (their own size if None)."""
    kernel = as_pair(kernel_size)
    step = kernel if stride is None else as_pair(stride)
    return apply(pooling.max_pool2d, x, kernel=kernel, stride=step, padding=as_pair(padding))


def avg_pool2d(x: Tensor, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Tensor:
    """The mean of each window of (N, C, H, W), the zeros of the padding counted."""
    kernel = as_pair(kernel_size)
    step = kernel if stride is None else as_pair(stride)
    sums = apply(pooling.sum_pool2d, x, kernel=kernel, stride=step, padding=as_pair(padding))
    return sums * (1.0 / (kernel[0] * kernel[1]))


# --- resampling: along one image axis a matrix (out, in) ---------------------------------------------------


def adaptive_avg_pool2d(x: Tensor, output_size: Pair) -> Tensor:
    """(N, C, H, W) to (N, C, OH, OW): element i of an axis is the mean of ⌊i·H/OH⌋ … ⌈(i+1)·H/OH⌉ − 1.

    >>> import minitensor as mt
    >>> adaptive_avg_pool2d(mt.asarray([[[[0.0, 1.0, 2.0]]]]), (1, 2))
    tensor([[[[0.5, 1.5]]]])
    """
    out, size = as_pair(output_size), (x.shape[-2], x.shape[-1])
    if min(out) < 1:
        raise ShapeError(f"adaptive_avg_pool2d to the size {out}: both must be at least 1")
    if out == size:
        return x
    if out == (1, 1):
        return mean(x, axis=(-2, -1), keepdims=True)
    if size[0] % out[0] == 0 and size[1] % out[1] == 0:
        return avg_pool2d(x, (size[0] // out[0], size[1] // out[1]))
    return _resampled(x, _averaging(out[0], size[0]), _averaging(out[1], size[1]))


def interpolate(x: Tensor, size: Pair, mode: str = "nearest") -> Tensor:
    """(N, C, H, W) to (N, C, *size): "nearest" takes element ⌊i·H/OH⌋, "bilinear" weighs two by distance.

    The conventions are PyTorch's with `align_corners=False`.

    >>> import minitensor as mt
    >>> interpolate(mt.asarray([[[[1.0, 2.0]]]]), (1, 4))
    tensor([[[[1., 1., 2., 2.]]]])
    >>> interpolate(mt.asarray([[[[0.0, 1.0]]]]), (1, 4), "bilinear")
    tensor([[[[0.  , 0.25, 0.75, 1.  ]]]])

    Raises ShapeError for another mode or a size below 1.
    """
    out, (height, width) = as_pair(size), x.shape[-2:]
    if min(out) < 1:
        raise ShapeError(f"interpolate to the size {out}: both must be at least 1")
    if mode == "bilinear":
        return _resampled(x, _bilinear(out[0], height), _bilinear(out[1], width))
    if mode != "nearest":
        raise ShapeError(f"mode is 'nearest' or 'bilinear', not {mode!r}")
    if out[0] % height == 0 and out[1] % width == 0:  # repetition moves; indices would make the gradient scatter
        n, channels = x.shape[:2]
        apart = reshape(x, (n, channels, height, 1, width, 1))
        wide = broadcast_to(apart, (n, channels, height, out[0] // height, width, out[1] // width))
        return reshape(wide, (n, channels, *out))
    rows, columns = (asarray(np.arange(o) * n // o) for o, n in zip(out, (height, width), strict=True))
    return take(take(x, rows, axis=2), columns, axis=3)


def _resampled(x: Tensor, rows: Array, columns: Array) -> Tensor:
    """rows · x · columnsᵀ for each picture."""
    kept = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    return matmul(matmul(asarray(rows, dtype=kept), x), asarray(columns.T, dtype=kept))


@lru_cache(maxsize=64)
def _averaging(out: int, size: int) -> Array:
    """float64 (out, size): row i holds the mean of adaptive pooling's window i."""
    matrix = np.zeros((out, size))
    for i in range(out):
        low, high = i * size // out, -((-(i + 1) * size) // out)
        matrix[i, low:high] = 1.0 / (high - low)
    return matrix


@lru_cache(maxsize=64)
def _bilinear(out: int, size: int) -> Array:
    """float64 (out, size): row i holds the weights of the two elements beside the centre of output i."""
    matrix = np.zeros((out, size))
    for i in range(out):
        centre = max((i + 0.5) * size / out - 0.5, 0.0)
        low = min(int(centre), size - 1)
        matrix[i, low] += 1.0 - (centre - low)
        matrix[i, min(low + 1, size - 1)] += centre - low
    return matrix


# --- normalisation ---------------------------------------------------------------------------------------


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
    and where there are no running statistics outside of training.
    """
    if x.ndim < 2:
        raise ShapeError(f"batch_norm takes (N, C, ...), not {x.shape}")
    if (running_mean is None) != (running_var is None) or (running_mean is None and not training):
        raise ShapeError("batch_norm takes running mean and variance both, or in training neither")
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
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """x normalised over its last dimensions `normalized_shape`, then scaled and shifted."""
    if x.shape[x.ndim - len(normalized_shape) :] != tuple(normalized_shape):
        raise ShapeError(f"layer_norm over {normalized_shape} of a tensor with shape {x.shape}")
    if weight is not None and bias is not None:
        return apply(norm.layer_norm, x, weight, bias, eps=eps)
    return norm.composition(x, weight, bias, axes=tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps=eps)


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """float32 (..., classes): 1 where the class is the index, 0 elsewhere."""
    from minitensor.creation import arange

    return (expand_dims(indices, -1) == arange(classes, dtype=indices.dtype)).astype("float32")
