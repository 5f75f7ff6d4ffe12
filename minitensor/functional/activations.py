"""Activations, and softmax with its kin.

In: tensors.  Out: tensors.
"""

from __future__ import annotations

import math

from minitensor.dispatch import apply, as_tensor
from minitensor.dtypes import to_float
from minitensor.elementwise import abs, clip, exp, log, log1p, tanh, where
from minitensor.errors import ArgumentError, ShapeError
from minitensor.manipulation import astype, reshape
from minitensor.ops import activation, elementwise, softmax as rows
from minitensor.ops.shapes import normalize_axis
from minitensor.statistics import max as largest, sum as total
from minitensor.tensor import Tensor

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


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
    x = as_tensor(x)
    negative = -relu(-x)  # the branch not taken must not overflow
    return where(x > 0, x, (exp(negative) - 1) * alpha)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(−x)), by way of tanh: no overflow on either side."""
    return apply(activation.sigmoid, x)


def silu(x: Tensor) -> Tensor:
    """x·sigmoid(x)."""
    x = as_tensor(x)
    return x * sigmoid(x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    x = as_tensor(x)
    return relu(x) + log1p(exp(-abs(x)))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x) (Hendrycks and Gimpel 2016), Φ the normal distribution function: exactly, or by "tanh" as in GPT-2.

    >>> import minitensor as mt
    >>> gelu(mt.asarray([0.0])), gelu(mt.asarray([0.0]), "tanh")
    (tensor([0.]), tensor([0.]))

    Raises ArgumentError for another `approximate`.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    return apply(activation.gelu if approximate == "none" else activation.gelu_tanh, x)


def selu(x: Tensor) -> Tensor:
    """1.0507·elu(x, 1.6733): keeps mean 0 and variance 1 through many layers (Klambauer and others 2017)."""
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


def hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """x within [low, high], the nearer end elsewhere.

    Raises ArgumentError (a ValueError) unless low < high.
    """
    if not low < high:
        raise ArgumentError(f"hardtanh needs low < high, found {low} and {high}")
    return clip(x, low, high)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return clip(x, 0.0, 6.0)


def hardsigmoid(x: Tensor) -> Tensor:
    """min(max(x / 6 + 1/2, 0), 1)."""
    x = as_tensor(x)
    return clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)


def hardswish(x: Tensor) -> Tensor:
    """x·hardsigmoid(x) (Howard and others 2019)."""
    x = as_tensor(x)
    return x * hardsigmoid(x)


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    x = as_tensor(x)
    return x / (abs(x) + 1.0)


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    x = as_tensor(x)
    return -softplus(-x)


def mish(x: Tensor) -> Tensor:
    """x·tanh(softplus(x)) (Misra 2019)."""
    x = as_tensor(x)
    return x * tanh(softplus(x))


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, weight·x elsewhere: one weight (1,), or one a channel (C,) of (N, C, ...).

    >>> import minitensor as mt
    >>> prelu(mt.asarray([[-1.0, -1.0]]), mt.asarray([0.5, 0.25])).tolist()
    [[-0.5, -0.25]]
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 1 or (weight.size != 1 and (x.ndim < 2 or weight.size != x.shape[1])):
        raise ShapeError(
            f"prelu takes one weight, or one for each channel of (N, C, ...), not {weight.shape}: {x.shape}"
        )
    beside = weight if weight.size == 1 else reshape(weight, (-1, *[1] * (x.ndim - 2)))
    return apply(activation.leaky_relu, x, beside)


def glu(x: Tensor, axis: int = -1) -> Tensor:
    """a·sigmoid(b), a and b the halves of x along `axis` (Dauphin and others 2017).

    >>> import minitensor as mt
    >>> glu(mt.asarray([2.0, 0.0])).tolist()
    [1.0]
    """
    x = as_tensor(x)
    place = normalize_axis(axis, x.ndim)
    half, odd = divmod(x.shape[place], 2)
    if odd:
        raise ShapeError(f"glu halves axis {place}, whose extent is odd: x is {x.shape}")
    before = (slice(None),) * place
    return x[(*before, slice(half))] * sigmoid(x[(*before, slice(half, None))])


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`; the largest element is subtracted first.

    >>> import minitensor as mt
    >>> softmax(mt.asarray([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return apply(rows.softmax, as_floats(x), axis=normalize_axis(axis, x.ndim))


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log(softmax(x)), without the detour over small numbers."""
    return apply(rows.log_softmax, as_floats(x), axis=normalize_axis(axis, x.ndim))


def as_floats(x: Tensor) -> Tensor:
    """Integers and bool as the default float."""
    x = as_tensor(x)
    return x if x.dtype.kind == "f" else astype(x, to_float(x.dtype))


def logsumexp(x: Tensor, axis: int | tuple[int, ...], keepdims: bool = False) -> Tensor:
    """log(Σ exp(x)) along `axis`, without overflow; −∞ if all elements are."""
    x = as_tensor(x)
    peak = largest(x.detach(), axis=axis, keepdims=True)
    peak = where(abs(peak) < math.inf, peak, 0)
    result = log(total(exp(x - peak), axis=axis, keepdims=True)) + peak
    axes = axis if isinstance(axis, tuple) else (axis,)
    if keepdims:
        return result
    gone = {normalize_axis(a, x.ndim) for a in axes}
    return reshape(result, tuple(n for d, n in enumerate(x.shape) if d not in gone))
