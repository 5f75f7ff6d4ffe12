"""Learning-rate schedules: plain objects that set an optimiser's `lr`, one `step()` at a time."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

from minitensor.optim.optimizer import Optimizer


class LambdaLR:
    """lr = base · factor(number of `step()` calls so far).

    >>> import minitensor as mt
    >>> opt = mt.optim.SGD([mt.nn.Parameter(mt.zeros(1))], lr=1.0)
    >>> schedule = mt.optim.lr_scheduler.LambdaLR(opt, lambda n: 0.5 ** n)
    >>> schedule.step(); opt.lr
    0.5
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.optimizer = optimizer
        self.base = optimizer.lr
        self.factor = factor
        self.count = 0
        optimizer.lr = self.base * factor(0)

    def step(self) -> None:
        self.count += 1
        self.optimizer.lr = self.base * self.factor(self.count)


class StepLR(LambdaLR):
    """Multiplies the rate by `gamma` after every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"step_size must be at least 1, is {step_size}")
        super().__init__(optimizer, lambda count: gamma ** (count // step_size))


class CosineAnnealingLR(LambdaLR):
    """From the base rate down to `eta_min` along half a cosine over `t_max` steps, then constant.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), without restarts.
    """

    def __init__(self, optimizer: Optimizer, t_max: int, eta_min: float = 0.0) -> None:
        if t_max < 1:
            raise ValueError(f"t_max must be at least 1, is {t_max}")
        floor = eta_min / optimizer.lr

        def factor(count: int) -> float:
            return floor + (1.0 - floor) * (1.0 + cos(pi * min(count, t_max) / t_max)) / 2.0

        super().__init__(optimizer, factor)
