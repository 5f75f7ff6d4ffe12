"""Adam and AdamW: adaptive moments, with weight decay in the gradient or decoupled from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

from minitensor.errors import DTypeError
from minitensor.ops.update import adam_update
from minitensor.optim.optimizer import Optimizer, State, apply_update, check_number, plain, zeros_for
from minitensor.tensor import Tensor


@plain
class Adam(Optimizer):
    """m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p − lr·m̂ / (√v̂ + eps), m̂ and v̂ bias-corrected.

    Source: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1.  `weight_decay` adds weight_decay·p to g.

    >>> import minitensor as mt
    >>> p = mt.nn.Parameter(mt.asarray([1.0]))
    >>> p.grad = mt.asarray([4.0])
    >>> mt.optim.Adam([p], lr=0.25).step()
    >>> round(p.item(), 5)
    0.75
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        super().__init__(params, lr)

    def check(self) -> None:
        super().check()
        try:
            first, second = self.betas
        except (TypeError, ValueError):
            raise DTypeError(f"betas must be two numbers, is {self.betas!r}") from None
        check_number("betas[0]", first, 0.0, 1.0)
        check_number("betas[1]", second, 0.0, 1.0)
        check_number("eps", self.eps, 0.0, float("inf"))
        check_number("weight_decay", self.weight_decay, 0.0, float("inf"))

    def hyperparameters(self) -> dict[str, Any]:
        return {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}

    def update(self, param: Tensor, grad: Tensor, state: State) -> None:
        if not state:
            state.update(step=0, mean=zeros_for(param), square=zeros_for(param))
        numbers = self.numbers(state)
        self.count(state)
        decay = "none" if not self.weight_decay else "decoupled" if self.decoupled else "coupled"
        state["mean"], state["square"] = apply_update(
            param, adam_update, grad, state["mean"], state["square"], *numbers, decay=decay
        )

    def numbers(self, state: State) -> tuple[float, ...]:
        beta1, beta2 = self.betas
        step = state["step"] + 1
        decay = 1.0 - self.lr * self.weight_decay if self.decoupled else self.weight_decay
        step_size = self.lr / (1.0 - beta1**step)
        root_scale = 1.0 / sqrt(1.0 - beta2**step)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, decay, step_size, root_scale, self.eps

    def count(self, state: State) -> None:
        state["step"] += 1

    def form(self) -> tuple[Any, ...]:
        return *super().form(), self.decoupled


@plain
class AdamW(Adam):
    """Adam with decoupled weight decay: p ← p·(1 − lr·weight_decay) before Adam's step.

    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay=weight_decay)
