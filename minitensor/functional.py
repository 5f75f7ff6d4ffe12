"""Compositions of operations: activations and losses.

In: tensors.  Out: tensors.
Invariant: nothing here is a record; every function is made of operations that have one.
"""

from __future__ import annotations

from minitensor.dispatch import apply
from minitensor.ops import elementwise as el
from minitensor.elementwise import sqrt
from minitensor.statistics import mean
from minitensor.tensor import Tensor


def relu(x: Tensor) -> Tensor:
    """max(x, 0); NaN stays NaN, the gradient at 0 is 0.

    >>> import minitensor as mt
    >>> relu(mt.asarray([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return apply(el.relu, x)


def mse_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of the squared differences."""
    difference = prediction - target
    return mean(difference * difference)
