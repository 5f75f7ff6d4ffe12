"""Stochastic gradient descent.

In: parameters with gradients.  Out: parameters rebound to their new values.
Invariant: a step runs in Tensor operations under `no_grad`, so an observer sees it like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable

from minitensor.autograd import no_grad
from minitensor.dispatch import rebind
from minitensor.tensor import Tensor


class SGD:
    """`p -= lr * p.grad`, with momentum if it is not 0.

    `lr` is readable and settable at any time.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0) -> None:
        self.params = list(params)
        self.lr = lr
        self.momentum = momentum
        self.velocity: dict[int, Tensor] = {}

    def zero_grad(self) -> None:
        """Sets the gradient of every parameter to None."""
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        """Updates the parameters that have a gradient."""
        with no_grad():
            for k, p in enumerate(self.params):
                if p.grad is None:
                    continue
                direction = p.grad
                if self.momentum:
                    if k in self.velocity:
                        direction = self.velocity[k] * self.momentum + direction
                    self.velocity[k] = direction
                rebind(p, (p - direction * self.lr).value)
