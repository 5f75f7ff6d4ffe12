"""RMSprop: steps scaled by a moving mean of squared gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minitensor.ops.update import rmsprop_momentum_update, rmsprop_update
from minitensor.optim.optimizer import Optimizer, State, apply_update, check_number, plain, zeros_for
from minitensor.tensor import Tensor


@plain
class RMSprop(Optimizer):
    """s ← α·s + (1−α)·g²;  v ← momentum·v + g / (√s + eps);  p ← p − lr·v  (without momentum v is the quotient).

    Source: Tieleman and Hinton 2012 (lecture 6.5 of "Neural networks for machine learning"), in PyTorch's form.
    `weight_decay` adds weight_decay·p to g.

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.asarray([1.0]))
    >>> p.grad = mt.asarray([4.0])
    >>> mt.optim.RMSprop([p], lr=0.05, alpha=0.75).step()
    >>> round(p.item(), 5)
    0.9
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        self.alpha, self.eps = alpha, eps
        self.weight_decay, self.momentum = weight_decay, momentum
        super().__init__(params, lr)

    def check(self) -> None:
        super().check()
        check_number("alpha", self.alpha, 0.0, 1.0)
        for name in ("eps", "weight_decay", "momentum"):
            check_number(name, getattr(self, name), 0.0, float("inf"))

    def hyperparameters(self) -> dict[str, Any]:
        names = ("lr", "alpha", "eps", "weight_decay", "momentum")
        return {name: getattr(self, name) for name in names}

    def update(self, param: Tensor, grad: Tensor, state: State) -> None:
        names = ("square", "velocity") if self.momentum else ("square",)
        for name in names:
            if name not in state:
                state[name] = zeros_for(param)
        op = rmsprop_momentum_update if self.momentum else rmsprop_update
        operands = (grad, *[state[name] for name in names], *self.numbers(state))
        following = apply_update(param, op, *operands, decays=bool(self.weight_decay))
        state.update(zip(names, following, strict=True))

    def numbers(self, state: State) -> tuple[float, ...]:
        common = self.lr, self.alpha, 1.0 - self.alpha, self.eps, self.weight_decay
        return (*common, self.momentum) if self.momentum else common
