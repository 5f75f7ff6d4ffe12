"""Stochastic gradient descent with momentum, Nesterov's variant and weight decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minitensor.errors import ArgumentError
from minitensor.ops.update import sgd_momentum_update, sgd_update
from minitensor.optim.optimizer import Optimizer, State, apply_update, check_number, plain, zeros_for
from minitensor.tensor import Tensor


@plain
class SGD(Optimizer):
    """v ← momentum·v + (g + weight_decay·p);  p ← p − lr·v  (nesterov: p ← p − lr·(g + momentum·v)).

    Source: Sutskever and others 2013, in PyTorch's form (the learning rate outside the velocity).

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.asarray([1.0, 2.0]))
    >>> p.grad = mt.asarray([1.0, 1.0])
    >>> mt.optim.SGD([p], lr=0.5).step()
    >>> p.tolist()
    [0.5, 1.5]
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        super().__init__(params, lr)

    def check(self) -> None:
        super().check()
        check_number("momentum", self.momentum, 0.0, float("inf"))
        check_number("weight_decay", self.weight_decay, 0.0, float("inf"))
        if self.nesterov and self.momentum == 0.0:
            raise ArgumentError("nesterov needs a momentum above 0")

    def hyperparameters(self) -> dict[str, Any]:
        return {
            "lr": self.lr,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }

    def update(self, param: Tensor, grad: Tensor, state: State) -> None:
        lr, momentum, decay = self.numbers(state)
        decays = bool(decay)
        if not momentum:
            apply_update(param, sgd_update, grad, lr, decay, decays=decays)
            return
        if not state:
            state["velocity"] = zeros_for(param)
        operands = (grad, state["velocity"], lr, momentum, decay)
        (state["velocity"],) = apply_update(
            param, sgd_momentum_update, *operands, decays=decays, nesterov=self.nesterov
        )

    def numbers(self, state: State) -> tuple[float, ...]:
        return self.lr, self.momentum, self.weight_decay
