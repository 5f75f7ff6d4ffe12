"""Adagrad: each number of a parameter has its own rate, less by all squared gradients so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minitensor.ops.update import adagrad_update
from minitensor.optim.optimizer import Optimizer, State, apply_update, check_number, plain, zeros_for
from minitensor.tensor import Tensor


@plain
class Adagrad(Optimizer):
    """s ← s + g²;  p ← p − lr / (1 + lr_decay·t)·g / (√s + eps), t the steps before.

    Source: Duchi and others 2011, in PyTorch's form.  `weight_decay` adds weight_decay·p to g.

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.asarray([1.0]))
    >>> p.grad = mt.asarray([4.0])
    >>> mt.optim.Adagrad([p], lr=0.5).step()
    >>> p.tolist()
    [0.5]
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        self.lr_decay, self.weight_decay, self.eps = lr_decay, weight_decay, eps
        super().__init__(params, lr)

    def check(self) -> None:
        super().check()
        for name in ("lr_decay", "weight_decay", "eps"):
            check_number(name, getattr(self, name), 0.0, float("inf"))

    def hyperparameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("lr", "lr_decay", "weight_decay", "eps")}

    def update(self, param: Tensor, grad: Tensor, state: State) -> None:
        if not state:
            state["squares"], state["count"] = zeros_for(param), 0
        numbers = self.numbers(state)
        self.count(state)
        decays = bool(self.weight_decay)
        (state["squares"],) = apply_update(param, adagrad_update, grad, state["squares"], *numbers, decays=decays)

    def numbers(self, state: State) -> tuple[float, ...]:
        return self.lr / (1.0 + state["count"] * self.lr_decay), self.eps, self.weight_decay

    def count(self, state: State) -> None:
        state["count"] += 1
