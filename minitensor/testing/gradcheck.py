"""Gradients against directional differences.

In: a function of tensors and float64 (or complex128) inputs.  Out: nothing, or an AssertionError that shows
function, direction, received and expected.
Invariant: the tolerance is derived, not chosen: two central differences with different steps give the
derivative and an estimate of its own error; the comparison allows that estimate and rounding, nothing more.
Source: Richardson extrapolation (Numerical Recipes, section 5.7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minitensor.autograd import grad
from minitensor.creation import asarray
from minitensor.errors import DTypeError
from minitensor.statistics import sum as total
from minitensor.tensor import Tensor

Function = Callable[..., Tensor]
_STEP = 1e-3


def gradcheck(f: Function, inputs: Sequence[Any], *, seed: int = 0, step: float = _STEP) -> None:
    """Checks the gradient of `f` along random directions, one for each floating-point input.

    `f` takes tensors and returns one; inputs are float64 or complex128 arrays or tensors (others are passed on as
    they are, without gradient).  Raises AssertionError, and DTypeError where there is nothing to check.

    >>> import minitensor as mt
    >>> gradcheck(lambda x: mt.exp(x), [np.array([0.5, 1.0])])
    """
    rng = np.random.default_rng(seed)
    arrays = _arrays(inputs)
    weights = rng.standard_normal(_value(f, arrays).shape)
    scalar = _projected(f, weights)
    for k, x in enumerate(arrays):
        if not _is_checked(x):
            continue
        direction = _direction(rng, x)
        gradient = grad(scalar, k)(*map(_as_input, arrays)).numpy()
        received = float(np.sum(gradient.real * direction.real) + np.sum(gradient.imag * direction.imag))
        expected, error = _slope(scalar, arrays, k, direction, step)
        scale = float(np.sum(np.abs(gradient * direction))) + abs(expected)
        allowed = 2 * error + 64 * np.finfo(np.float64).eps * (scale + 1.0) / step
        if not abs(received - expected) <= allowed:
            raise AssertionError(
                f"gradient of input {k} along a random direction: received {received!r}, expected {expected!r} "
                f"± {allowed:.3g}; input shapes {[getattr(a, 'shape', a) for a in arrays]}"
            )


def gradgradcheck(f: Function, inputs: Sequence[Any], *, seed: int = 0, step: float = _STEP) -> None:
    """Checks the gradients of the gradients of `f`, along random directions.  Raises AssertionError."""
    rng = np.random.default_rng(seed + 1)
    arrays = _arrays(inputs)
    weights = rng.standard_normal(_value(f, arrays).shape)
    scalar = _projected(f, weights)
    for k, x in enumerate(arrays):
        if isinstance(x, np.ndarray) and x.dtype == np.float64:
            gradcheck(grad(scalar, k), arrays, seed=seed, step=step)


def _arrays(inputs: Sequence[Any]) -> list[Any]:
    """Tensors as arrays.  Raises DTypeError where none has double precision: such a check could not fail."""
    tensors = (Tensor, np.ndarray, np.generic)
    arrays = [np.asarray(x.detach() if isinstance(x, Tensor) else x) if isinstance(x, tensors) else x for x in inputs]
    if not any(map(_is_checked, arrays)):
        found = [str(getattr(x, "dtype", type(x).__name__)) for x in arrays]
        raise DTypeError(f"gradients are checked in float64 or complex128, inputs are {found}")
    return arrays


def _is_checked(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype in (np.float64, np.complex128)


def _as_input(x: Any) -> Any:
    return asarray(x) if isinstance(x, np.ndarray) else x


def _value(f: Function, arrays: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.asarray(f(*map(_as_input, arrays)).detach())


def _projected(f: Function, weights: np.ndarray[Any, Any]) -> Function:
    """`f` with its result summed up under fixed weights: a scalar that depends on all of it."""

    def scalar(*inputs: Any) -> Tensor:
        result = f(*inputs)
        product = result * asarray(weights.astype(result.dtype if result.dtype.kind != "c" else np.float64))
        if product.dtype.kind == "c":
            from minitensor.elementwise import imag, real

            product = real(product) + imag(product)
        return total(product)

    return scalar


def _direction(rng: np.random.Generator, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    direction = rng.standard_normal(x.shape)
    if x.dtype.kind == "c":
        return np.asarray(direction + 1j * rng.standard_normal(x.shape))
    return np.asarray(direction)


def _slope(
    scalar: Function, arrays: Sequence[Any], k: int, direction: np.ndarray[Any, Any], step: float
) -> tuple[float, float]:
    """The derivative along a direction and an estimate of its error, from steps h and h/2."""

    def difference(h: float) -> float:
        ends = []
        for sign in (1, -1):
            moved = [a + sign * h * direction if j == k else a for j, a in enumerate(arrays)]
            ends.append(float(_value(scalar, moved)))
        return (ends[0] - ends[1]) / (2 * h)

    coarse, fine = difference(step), difference(step / 2)
    better = fine + (fine - coarse) / 3
    return better, abs(better - fine)
