"""Clipping of gradients, between `backward()` and `step()`.

Invariant: nothing is read, so a co-executed step does not wait here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

from minitensor.autograd import no_grad
from minitensor.dispatch import apply
from minitensor.elementwise import add, maximum, minimum, sqrt
from minitensor.errors import ArgumentError
from minitensor.ops.squares import square_sum
from minitensor.tensor import Tensor

_SMALL = 1e-6  # PyTorch's, against a norm of zero


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scales all gradients by one number so that their Euclidean norm, taken together, is at most `max_norm`.

    Returns the norm before (a tensor without dimensions).  Parameters without gradient are passed over.  Norms that
    are not finite make all gradients so, as in PyTorch.  (Pascanu and others 2013.)

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.zeros(2))
    >>> p.grad = mt.asarray([3.0, 4.0])
    >>> float(clip_grad_norm_([p], 1.0))
    5.0
    >>> [round(g, 4) for g in p.grad.tolist()]
    [0.6, 0.8]

    Raises ValueError for a `max_norm` that is negative, or where there is no gradient at all.
    """
    gradients = _gradients(parameters, "max_norm", max_norm)
    alike: dict[Any, list[Tensor]] = {}
    for g in gradients:
        alike.setdefault(g.dtype, []).append(g)
    with no_grad():
        norm = sqrt(reduce(add, [apply(square_sum, *group) for group in alike.values()]))
        scale = minimum(max_norm / (norm + _SMALL), 1.0)
        for g in gradients:
            g *= scale
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limits each number of each gradient to [−clip_value, clip_value].

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.zeros(2))
    >>> p.grad = mt.asarray([3.0, -0.5])
    >>> clip_grad_value_([p], 1.0)
    >>> p.grad.tolist()
    [1.0, -0.5]

    Raises ValueError for a `clip_value` that is negative, or where there is no gradient at all.
    """
    gradients = _gradients(parameters, "clip_value", clip_value)
    with no_grad():
        for g in gradients:
            g[...] = maximum(minimum(g, clip_value), -clip_value)


def _gradients(parameters: Iterable[Tensor], name: str, limit: float) -> list[Tensor]:
    if not limit >= 0.0:
        raise ArgumentError(f"{name} must not be negative, is {limit}")
    found = [p.grad for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]
    if not found:
        raise ArgumentError("no parameter has a gradient: clip between backward() and step()")
    return found
