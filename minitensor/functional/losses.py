"""Losses: of predictions and what they should be, one number or one a prediction.

In: tensors; `reduction` is "mean", "sum" or "none".  Out: tensors.
Invariant: a reduction that is none of these is refused.
"""

from __future__ import annotations

import math

from minitensor.dispatch import apply, as_tensor
from minitensor.elementwise import abs, exp, log, maximum, square, where
from minitensor.errors import ArgumentError, DTypeError, ShapeError
from minitensor.functional.activations import as_floats, log_softmax, softplus
from minitensor.linalg import vector_norm
from minitensor.manipulation import astype, expand_dims, reshape
from minitensor.ops import losses, softmax as rows
from minitensor.searching import take, take_along_axis
from minitensor.statistics import mean, sum as total
from minitensor.tensor import Tensor


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return total(loss)
    if reduction == "none":
        return loss
    raise ArgumentError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def _difference(prediction: Tensor, target: Tensor) -> Tensor:
    """prediction − target.

    Raises ShapeError where both would be spread to a shape that neither has, (4, 1) and (4,) to (4, 4): a loss over
    all pairs is hardly ever meant, and nothing else would tell.
    """
    difference = prediction - target
    shapes = [getattr(x, "shape", ()) for x in (prediction, target)]
    if difference.shape not in shapes:
        raise ShapeError(f"a prediction of shape {shapes[0]} and a target of {shapes[1]}: reshape one to the other")
    return difference


def mse_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The squared differences: their mean, their sum, or themselves."""
    difference = _difference(prediction, target)
    return _reduced(difference * difference, reduction)


def l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The magnitudes of the differences: their mean, their sum, or themselves."""
    return _reduced(abs(_difference(prediction, target)), reduction)


def smooth_l1_loss(prediction: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Of each difference d ½d²/beta where |d| < beta, |d| − beta/2 elsewhere (Girshick 2015): mean, sum, or themselves.

    Raises ValueError unless beta > 0.

    >>> import minitensor as mt
    >>> smooth_l1_loss(mt.asarray([0.5, -3.0]), mt.zeros(2), "none")
    tensor([0.125, 2.5  ])
    """
    if not beta > 0:
        raise ArgumentError(f"smooth_l1_loss's beta must be positive, is {beta}")
    return _reduced(apply(losses.huber, _difference(prediction, target), float(beta)), reduction)


def huber_loss(prediction: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Of each difference d ½d² where |d| < delta, delta·(|d| − delta/2) elsewhere (Huber 1964).

    Raises ValueError unless delta > 0.

    >>> import minitensor as mt
    >>> huber_loss(mt.asarray([0.5, -3.0]), mt.zeros(2), "none", delta=2.0).tolist()
    [0.125, 4.0]
    """
    return smooth_l1_loss(prediction, target, reduction, beta=delta) * delta


# --- of classes ------------------------------------------------------------------------------------------


def nll_loss(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Minus the log-probability of each label; (N, C) or (N, C, ...) with integer targets (N) or (N, ...).

    weight (C): of each class; the mean is then over the sum of the labels' weights.  Labels equal to `ignore_index`
    count for nothing.  Raises TensorIndexError (an IndexError) for any other label that is no class.

    >>> import minitensor as mt
    >>> logs = mt.log(mt.asarray([[0.5, 0.5], [0.25, 0.75]]))
    >>> round(float(nll_loss(logs, mt.asarray([0, -1]), ignore_index=-1)), 4)
    0.6931
    """
    log_probabilities, target = as_tensor(log_probabilities), as_tensor(target)
    axis = _axis_of_classes(log_probabilities, target)
    labels, shares = _shares(target, weight, ignore_index, log_probabilities)
    chosen = reshape(take_along_axis(log_probabilities, expand_dims(labels, axis), axis=axis), target.shape)
    losses = -chosen if shares is None else where(shares > 0, -chosen, 0) * shares
    return _over(losses, shares, reduction)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log-probability that softmax gives each label.

    logits (N, C) or (N, C, ...); integer labels (N) or (N, ...), or probabilities of the logits' shape.
    weight, ignore_index: as in `nll_loss`.  label_smoothing: the part of each label that is spread over all classes
    (Szegedy and others 2016).  Raises TensorIndexError (an IndexError) for a label that is no class.

    >>> import minitensor as mt
    >>> round(float(cross_entropy(mt.asarray([[0.0, 0.0]]), mt.asarray([1]))), 4)
    0.6931
    >>> round(float(cross_entropy(mt.asarray([[0.0, 0.0]]), mt.asarray([[0.5, 0.5]]))), 4)
    0.6931
    """
    logits, target = as_tensor(logits), as_tensor(target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(f"label_smoothing is a part in [0, 1], not {label_smoothing}")
    axis = 1 if logits.ndim > 1 else 0
    if target.dtype.kind == "f":
        if ignore_index is not None:
            raise ArgumentError("ignore_index needs integer labels, the targets are probabilities")
        return _of_probabilities(logits, target, reduction, weight, label_smoothing)
    if weight is None and ignore_index is None and not label_smoothing:
        return _reduced(apply(rows.cross_entropy, as_floats(logits), target, axis=axis), reduction)
    logs = log_softmax(logits, axis)
    hard = nll_loss(logs, target, reduction, weight=weight, ignore_index=ignore_index)
    if not label_smoothing:
        return hard
    spread = -total(logs if weight is None else logs * _beside(weight, logs), axis=axis)
    if ignore_index is not None:
        spread = where(target != ignore_index, spread, 0)
    soft = _over(spread, _shares(target, weight, ignore_index, logs)[1], reduction)
    return hard * (1.0 - label_smoothing) + soft * (label_smoothing / logits.shape[axis])


def _of_probabilities(
    logits: Tensor, target: Tensor, reduction: str, weight: Tensor | None, label_smoothing: float
) -> Tensor:
    """Cross-entropy with a distribution over the classes for each prediction."""
    if target.shape != logits.shape:
        raise ShapeError(f"probabilities of shape {target.shape} for logits of shape {logits.shape}")
    axis = 1 if logits.ndim > 1 else 0
    wanted = target * (1.0 - label_smoothing) + label_smoothing / logits.shape[axis] if label_smoothing else target
    logs = log_softmax(logits, axis)
    return _reduced(-total((logs if weight is None else logs * _beside(weight, logs)) * wanted, axis=axis), reduction)


def _axis_of_classes(scores: Tensor, target: Tensor) -> int:
    """Along which axis the classes are; raises for labels that do not fit."""
    if target.dtype.kind not in "iu":
        raise DTypeError(f"labels are integers, not {target.dtype}")
    axis = 1 if scores.ndim > 1 else 0
    if scores.shape[:axis] + scores.shape[axis + 1 :] != target.shape:
        raise ShapeError(f"labels of shape {target.shape} for log-probabilities of shape {scores.shape}")
    return axis


def _shares(
    labels: Tensor, weight: Tensor | None, ignore_index: int | None, scores: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Labels of which each is a class, and how much each counts (None: all the same)."""
    if weight is not None:
        _beside(weight, scores)
    if ignore_index is None:
        return labels, None if weight is None else take(weight, labels, axis=0)
    counted = labels != ignore_index
    safe = where(counted, labels, 0)
    return safe, astype(counted, scores.dtype) if weight is None else where(counted, take(weight, safe, axis=0), 0)


def _beside(weight: Tensor, scores: Tensor) -> Tensor:
    """Weights of classes as they stand along the classes' axis."""
    axis = 1 if scores.ndim > 1 else 0
    if weight.shape != (scores.shape[axis],):
        raise ShapeError(f"one weight for each of {scores.shape[axis]} classes is needed, not {weight.shape}")
    return reshape(weight, (-1, *[1] * (scores.ndim - axis - 1)))


def _over(losses: Tensor, shares: Tensor | None, reduction: str) -> Tensor:
    """Losses that were multiplied by their shares; the mean is over the shares' sum."""
    return total(losses) / total(shares) if shares is not None and reduction == "mean" else _reduced(losses, reduction)


# --- of probabilities ------------------------------------------------------------------------------------


def binary_cross_entropy(
    probabilities: Tensor, target: Tensor, reduction: str = "mean", *, weight: Tensor | None = None
) -> Tensor:
    """−t·log(p) − (1 − t)·log(1 − p), each logarithm at least −100, as in PyTorch; `weight` is broadcast.

    From logits, `binary_cross_entropy_with_logits` loses nothing near 0 and 1.

    >>> import minitensor as mt
    >>> binary_cross_entropy(mt.asarray([0.5, 0.0]), mt.asarray([1.0, 1.0]), "none").tolist()
    [0.6931471824645996, 100.0]
    """
    each = apply(losses.binary_cross_entropy, probabilities, target)
    return _reduced(each if weight is None else each * weight, reduction)


def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
) -> Tensor:
    """−t·log(sigmoid(x)) − (1 − t)·log(1 − sigmoid(x)), without overflow.

    weight: of each element, broadcast.  pos_weight: of the first of both parts, broadcast, where positive ones are few.

    >>> import minitensor as mt
    >>> x = mt.zeros(2)
    >>> binary_cross_entropy_with_logits(x, mt.asarray([1.0, 0.0]), "none", pos_weight=mt.asarray([3.0])).tolist()
    [2.079441547393799, 0.6931471824645996]
    """
    each = apply(losses.binary_cross_entropy_with_logits, logits, target)
    if pos_weight is not None:  # what a positive one costs, once more for all above the first
        each = each + target * (pos_weight - 1) * softplus(-logits)
    return _reduced(each if weight is None else each * weight, reduction)


def kl_div(log_probabilities: Tensor, target: Tensor, reduction: str = "mean", *, log_target: bool = False) -> Tensor:
    """t·(log(t) − q) of log-probabilities q and probabilities t, or their logarithms; 0 where t is 0.

    "mean" is over all elements as in PyTorch; "batchmean", the sum over the first extent, is the divergence of
    Kullback and Leibler (1951) of each row.

    >>> import minitensor as mt
    >>> same = mt.asarray([[0.5, 0.5]])
    >>> float(kl_div(mt.log(same), same, "batchmean"))
    0.0
    """
    log_probabilities, target = as_tensor(log_probabilities), as_tensor(target)
    if log_target:
        each = exp(target) * (target - log_probabilities)
    else:
        some = target > 0
        each = where(some, target * (log(where(some, target, 1)) - log_probabilities), 0)
    return total(each) / each.shape[0] if reduction == "batchmean" else _reduced(each, reduction)


def gaussian_nll_loss(
    prediction: Tensor, target: Tensor, var: Tensor, reduction: str = "mean", *, full: bool = False, eps: float = 1e-6
) -> Tensor:
    """½·(log(v) + (prediction − target)² / v), v the predicted variance, at least `eps` (Nix and Weigend 1994).

    `full` adds ½·log(2π).  As in PyTorch, no gradient goes through the limit `eps`.
    """
    limited = var + (maximum(var, eps) - var).detach()
    each = (log(limited) + square(prediction - target) / limited) * 0.5
    return _reduced(each + 0.5 * math.log(2 * math.pi) if full else each, reduction)


# --- of distances ----------------------------------------------------------------------------------------


def margin_ranking_loss(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """max(0, −target·(first − second) + margin); the target is 1 where the first should be larger, −1 elsewhere."""
    return _reduced(maximum(margin - target * (first - second), 0), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, reduction: str = "mean", margin: float = 1.0
) -> Tensor:
    """max(0, |anchor − positive| − |anchor − negative| + margin), Euclidean norms along the last axis.

    1e-6 is added to each difference, as in PyTorch.  Source: Schroff and others 2015.
    """
    near, far = (vector_norm(anchor - other + 1e-6, axis=-1) for other in (positive, negative))
    return _reduced(maximum(near - far + margin, 0), reduction)
