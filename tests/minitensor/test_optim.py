"""Optimisers: convergence, skipping, state, schedules, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import minitensor as mt
from minitensor.optim import SGD, Adam, AdamW, Optimizer
from minitensor.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR

MAKERS: list[Callable[[list[mt.Tensor]], Optimizer]] = [
    lambda p: SGD(p, 0.1),
    lambda p: SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    lambda p: Adam(p, 0.2),
    lambda p: AdamW(p, 0.2, weight_decay=1e-3),
]


def _minimise(optimizer: Optimizer, param: mt.Tensor, steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((param - 3.0) ** 2).sum()
        loss.backward()
        optimizer.step()
    return float(((param.detach() - 3.0) ** 2).sum())


@pytest.mark.parametrize("make", MAKERS)
def test_converges_in_place(make: Callable[[list[mt.Tensor]], Optimizer]) -> None:
    param = mt.nn.Parameter(mt.zeros(4))
    assert _minimise(make([param]), param, 200) < 1e-2


@pytest.mark.parametrize("make", MAKERS)
def test_checkpoint_continues_the_same_run(make: Callable[[list[mt.Tensor]], Optimizer]) -> None:
    first = mt.nn.Parameter(mt.zeros(4))
    optimizer = make([first])
    _minimise(optimizer, first, 5)
    second = mt.nn.Parameter(first.detach())
    resumed = make([second])
    resumed.load_state_dict(optimizer.state_dict())
    _minimise(optimizer, first, 5)
    _minimise(resumed, second, 5)
    assert first.tolist() == second.tolist()


def test_parameters_without_gradient_are_skipped() -> None:
    used, unused = mt.nn.Parameter(mt.ones(2)), mt.nn.Parameter(mt.ones(2))
    optimizer = Adam([used, unused], 0.1)
    used.grad = mt.ones(2)
    optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    assert optimizer.state[1] == {}
    optimizer.zero_grad()
    assert used.grad is None


def test_learning_rate_is_settable_at_any_time() -> None:
    param = mt.nn.Parameter(mt.asarray([1.0]))
    optimizer = SGD(iter([param]), 1.0)
    param.grad = mt.asarray([1.0])
    optimizer.lr = 0.25
    optimizer.step()
    assert param.item() == 0.75


def test_schedules() -> None:
    optimizer = SGD([mt.nn.Parameter(mt.zeros(1))], 1.0)
    step = StepLR(optimizer, 2, 0.5)
    rates = []
    for _ in range(5):
        rates.append(optimizer.lr)
        step.step()
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25]
    optimizer.lr = 2.0
    cosine = CosineAnnealingLR(optimizer, 4, eta_min=1.0)
    for _ in range(6):
        cosine.step()
    assert optimizer.lr == 1.0
    optimizer.lr = 1.0
    LambdaLR(optimizer, lambda n: 2.0 + n).step()
    assert optimizer.lr == 3.0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SGD([], 0.1), ValueError, "no parameters"),
        (lambda: SGD([1.0], 0.1), TypeError, "float"),
        (lambda: SGD([mt.ones(2)], 0.1), ValueError, "requires grad"),
        (lambda: SGD([mt.nn.Parameter(mt.ones(1))] * 2, 0.1), ValueError, "twice"),
        (lambda: SGD([mt.nn.Parameter(mt.ones(1))], -0.1), ValueError, "-0.1"),
        (lambda: SGD([mt.nn.Parameter(mt.ones(1))], 0.1, nesterov=True), ValueError, "momentum"),
        (lambda: Adam([mt.nn.Parameter(mt.ones(1))], betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda: StepLR(SGD([mt.nn.Parameter(mt.ones(1))], 1.0), 0), ValueError, "step_size"),
    ],
)
def test_refusals(make: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_state_of_another_optimiser_is_refused() -> None:
    one, two = mt.nn.Parameter(mt.ones(1)), mt.nn.Parameter(mt.ones(1))
    with pytest.raises(ValueError, match="another optimiser"):
        Adam([one]).load_state_dict(SGD([two], 0.1).state_dict())
    with pytest.raises(ValueError, match="2 parameters"):
        SGD([one], 0.1).load_state_dict(SGD([one, two], 0.1).state_dict())
