"""Initial values: functions that give a tensor new contents, and return it.

In: tensors, leaves that require grad too.  Out: the same tensors.
Invariant: values are drawn from `mt.random` and nothing else; no gradient sees the change.  A weight is (out, in, ...),
its fan-in the product of all extents but the first.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from minitensor import random
from minitensor.autograd import no_grad
from minitensor.creation import asarray
from minitensor.errors import ArgumentError, DTypeError, ShapeError
from minitensor.tensor import Tensor

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": sqrt(2.0), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """By how much a nonlinearity shrinks the standard deviation, turned round; `param`: of leaky_relu, its slope.

    >>> round(calculate_gain("relu"), 4)
    1.4142

    Raises ValueError for an unknown name.
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2.0 / (1.0 + param**2))
    if nonlinearity not in _GAINS:
        raise ArgumentError(f"nonlinearity is one of {sorted([*_GAINS, 'leaky_relu'])}, not {nonlinearity!r}")
    return _GAINS[nonlinearity]


def constant_(tensor: Tensor, value: float) -> Tensor:
    """One number everywhere."""
    return _filled(tensor, value)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """U(low, high).

    >>> import minitensor as mt
    >>> w = mt.nn.Parameter(mt.zeros((3, 2)))
    >>> bool((mt.nn.init.uniform_(w, 1.0, 2.0) >= 1.0).all())
    True
    """
    return _filled(tensor, random.uniform(_checked(tensor).shape, low, high))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """N(mean, std²)."""
    return _filled(tensor, random.normal(_checked(tensor).shape, mean, std))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0) -> Tensor:
    """N(mean, std²), what lies outside of [low, high] drawn again.

    Raises ValueError unless low < high, or where the interval holds less than a thousandth of all draws.
    """
    if not low < high:
        raise ArgumentError(f"trunc_normal_ needs low < high, found {low} and {high}")
    kept = np.empty(0, np.float32)
    drawn = 0
    while kept.size < _checked(tensor).size:
        values = random.normal((max(2 * (tensor.size - kept.size), 64),), mean, std).numpy()
        drawn += values.size
        kept = np.concatenate([kept, values[(values >= low) & (values <= high)]])
        if drawn > 1000 * (kept.size + 64):
            raise ArgumentError(f"[{low}, {high}] is too far from the mean {mean} for standard deviation {std}")
    return _filled(tensor, asarray(kept[: tensor.size].reshape(tensor.shape)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """U(−b, b), b = gain·√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    bound = gain * sqrt(6.0 / _positive(sum(_fans(tensor))))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, gain²·2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * sqrt(2.0 / _positive(sum(_fans(tensor)))))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(−b, b), b = gain·√(3 / fan) (He and others 2015); `a`: the slope of leaky relu."""
    bound = calculate_gain(nonlinearity, a) * sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, gain² / fan) (He and others 2015); `a`: the slope of leaky relu."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / sqrt(_fan(tensor, mode)))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, of the tensor as (first extent, rest) (Saxe and others 2014).

    >>> import minitensor as mt
    >>> w = mt.nn.init.orthogonal_(mt.zeros((2, 3)))
    >>> bool((abs(w @ w.mT - mt.eye(2)) < 1e-5).all())
    True
    """
    if _checked(tensor).ndim < 2:
        raise ShapeError(f"orthogonal_ needs at least two dimensions, not {tensor.shape}")
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    drawn = random.normal((max(rows, columns), min(rows, columns))).numpy().astype(np.float64)
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # so that each such matrix is equally likely
    return _filled(tensor, asarray((gain * (q if rows >= columns else q.T)).reshape(tensor.shape)))


def _filled(tensor: Tensor, contents: Tensor | float) -> Tensor:
    """The tensor, with these contents from now on."""
    with no_grad():
        _checked(tensor)[...] = contents
    return tensor


def _checked(tensor: Tensor) -> Tensor:
    """Raises DTypeError for what is no tensor: a NumPy array would not be written by all of these."""
    if not isinstance(tensor, Tensor):
        raise DTypeError(f"initial values are given to a tensor, not to {type(tensor).__name__}")
    return tensor


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...)."""
    if _checked(tensor).ndim < 2:
        raise ShapeError(f"fans are those of a weight (out, in, ...), not of a tensor with shape {tensor.shape}")
    field = prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    return _positive(_fans(tensor)[mode == "fan_out"])


def _positive(fan: int) -> int:
    return max(fan, 1)  # of an empty weight any bound will do
