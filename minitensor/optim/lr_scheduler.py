"""Learning-rate schedules: plain objects that set an optimiser's `lr`, one `step()` at a time.

Invariant: a schedule acts on nothing but the `lr` of the optimiser's groups, Python numbers: a co-executed step needs
no new graph for it.  Each group goes on from its own rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any

from minitensor.errors import ArgumentError
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
        self.bases: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.factor = factor
        self.count = 0
        self._set()

    def rate(self, count: int, base: float | None = None) -> float:
        """The learning rate after so many calls of `step()`, of a group that began with `base` (None: of the first)."""
        return (self.bases[0] if base is None else base) * self.factor(count)

    def step(self) -> None:
        self.count += 1
        self._set()

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = self.rate(self.count, base)

    def state_dict(self) -> dict[str, Any]:
        """The numbers that a checkpoint keeps."""
        return {"bases": list(self.bases), "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues where `state_dict` gave the state; sets the optimiser's `lr`."""
        if set(state_dict) != {"bases", "count"}:
            raise ArgumentError(f"a schedule's state has the entries 'bases' and 'count', not {sorted(state_dict)}")
        if len(state_dict["bases"]) != len(self.bases):
            raise ArgumentError(
                f"the state is of {len(state_dict['bases'])} groups, the optimiser has {len(self.bases)}"
            )
        self.bases, self.count = list(state_dict["bases"]), state_dict["count"]
        self._set()


class StepLR(LambdaLR):
    """Multiplies the rate by `gamma` after every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _at_least_one("step_size", step_size)
        super().__init__(optimizer, lambda count: gamma ** (count // step_size))


class MultiStepLR(LambdaLR):
    """Multiplies the rate by `gamma` at each of the `milestones`, numbers of steps.

    >>> import minitensor as mt
    >>> schedule = MultiStepLR(mt.optim.SGD([mt.nn.Parameter(mt.zeros(1))], lr=1.0), [2, 3], gamma=0.5)
    >>> [schedule.rate(count) for count in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        kept = sorted(milestones)
        super().__init__(optimizer, lambda count: gamma ** sum(count >= stone for stone in kept))


class ExponentialLR(LambdaLR):
    """Multiplies the rate by `gamma` at each step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, lambda count: gamma**count)


class LinearLR(LambdaLR):
    """From start_factor·base to end_factor·base in `total_iters` equal steps, then constant: a warm-up, say."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        _at_least_one("total_iters", total_iters)
        if start_factor < 0 or end_factor < 0:
            raise ArgumentError(f"factors must not be negative, are {start_factor} and {end_factor}")
        rise = end_factor - start_factor
        super().__init__(optimizer, lambda count: start_factor + rise * min(count / total_iters, 1.0))


class CosineAnnealingLR(LambdaLR):
    """From the base rate down to `eta_min` along half a cosine over `t_max` steps, then constant.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), without restarts.
    """

    def __init__(self, optimizer: Optimizer, t_max: int, eta_min: float = 0.0) -> None:
        _at_least_one("t_max", t_max)
        self.eta_min = eta_min
        super().__init__(optimizer, lambda count: _half_cosine(min(count, t_max) / t_max))

    def rate(self, count: int, base: float | None = None) -> float:
        return self.eta_min + ((self.bases[0] if base is None else base) - self.eta_min) * self.factor(count)


class CosineAnnealingWarmRestarts(LambdaLR):
    """Half a cosine from the base rate to `eta_min` over `t_0` steps, again and again, each `t_mult` times as long.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """

    def __init__(self, optimizer: Optimizer, t_0: int, t_mult: int = 1, eta_min: float = 0.0) -> None:
        _at_least_one("t_0", t_0)
        _at_least_one("t_mult", t_mult)
        self.eta_min = eta_min

        def factor(count: int) -> float:
            length = t_0
            while count >= length:
                count, length = count - length, length * t_mult
                if t_mult == 1:
                    count %= length
            return _half_cosine(count / length)

        super().__init__(optimizer, factor)

    def rate(self, count: int, base: float | None = None) -> float:
        return self.eta_min + ((self.bases[0] if base is None else base) - self.eta_min) * self.factor(count)


class OneCycleLR(LambdaLR):
    """Up from max_lr / div_factor to `max_lr`, then down to a final_div_factor-th of the start, along half cosines.

    Source: Smith and Topin 2018 (arXiv 1708.07120), in PyTorch's form without momentum.

    Args:
        total_steps: in all, at least 2.
        pct_start: the part of them that the rate rises.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps < 2 or not 0.0 < pct_start < 1.0:
            raise ArgumentError(f"total_steps is at least 2 and pct_start in (0, 1), not {total_steps} and {pct_start}")
        start, last = 1.0 / div_factor, 1.0 / div_factor / final_div_factor
        top = pct_start * total_steps - 1

        def factor(count: int) -> float:
            count = min(count, total_steps - 1)
            if top > 0 and count <= top:
                return 1.0 + (start - 1.0) * _half_cosine(count / top)
            return last + (1.0 - last) * _half_cosine((count - top) / (total_steps - 1 - top))

        optimizer.lr = max_lr
        super().__init__(optimizer, factor)


class ReduceLROnPlateau:
    """Multiplies the rate by `factor` when what is watched has not got better for more than `patience` steps.

    Args:
        mode: "min": less is better (a loss); "max": more is (an accuracy).
        threshold: by which part it must get better to count.
        cooldown: steps after a reduction in which nothing is counted.
        min_lr: below which the rate does not go.

    >>> import minitensor as mt
    >>> opt = mt.optim.SGD([mt.nn.Parameter(mt.zeros(1))], lr=1.0)
    >>> schedule = ReduceLROnPlateau(opt, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> opt.lr
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if mode not in ("min", "max"):
            raise ArgumentError(f"mode is 'min' or 'max', not {mode!r}")
        if not 0.0 <= factor < 1.0:
            raise ArgumentError(f"factor must be in [0, 1), is {factor}")
        self.optimizer, self.factor, self.patience = optimizer, factor, patience
        self.threshold, self.cooldown, self.min_lr = threshold, cooldown, min_lr
        self._sign = 1.0 if mode == "min" else -1.0
        self._best = float("inf")
        self._bad = self._resting = 0

    def step(self, metric: Any) -> None:
        """`metric`: a number or a tensor with one element, which is read."""
        value = self._sign * float(metric)
        if value < self._best - self.threshold * abs(self._best) or self._best == float("inf"):
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._resting:
            self._resting, self._bad = self._resting - 1, 0
        if self._bad > self.patience:
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * self.factor, self.min_lr)
            self._resting, self._bad = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The numbers that a checkpoint keeps."""
        return {"best": self._best, "bad": self._bad, "resting": self._resting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues where `state_dict` gave the state."""
        if set(state_dict) != {"best", "bad", "resting"}:
            raise ArgumentError(f"the state has the entries 'best', 'bad' and 'resting', not {sorted(state_dict)}")
        self._best, self._bad, self._resting = (state_dict[name] for name in ("best", "bad", "resting"))


def _half_cosine(part: float) -> float:
    """From 1 at 0 down to 0 at 1."""
    return (1.0 + cos(pi * part)) / 2.0


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ArgumentError(f"{name} must be at least 1, is {value}")
