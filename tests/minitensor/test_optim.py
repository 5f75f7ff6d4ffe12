"""Optimisers: convergence, skipping, state, schedules, and what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import minitensor as mt
from minitensor.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from minitensor.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau, StepLR

MAKERS: list[Callable[[list[mt.Tensor]], Optimizer]] = [
    lambda p: SGD(p, 0.1),
    lambda p: SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    lambda p: Adam(p, 0.2),
    lambda p: AdamW(p, 0.2, weight_decay=1e-3),
    lambda p: RMSprop(p, 0.05),
    lambda p: RMSprop(p, 0.01, momentum=0.9, weight_decay=1e-4),
    lambda p: Adagrad(p, 1.0, lr_decay=1e-3, weight_decay=1e-4),
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
        (lambda: SGD(mt.nn.Linear(1, 1), 0.1), TypeError, r"such as model.parameters\(\): 'Linear' object"),
        (lambda: SGD(mt.nn.Parameter(mt.ones(2)), 0.1), TypeError, r"of tensors, \[it\], not as one Parameter"),
        (lambda: SGD([mt.nn.Parameter(mt.ones(1))], "0.1"), TypeError, "lr must be a number, is '0.1'"),
        (lambda: Adam([mt.nn.Parameter(mt.ones(1))], betas=0.9), TypeError, "betas must be two numbers, is 0.9"),
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


GROUP_MAKERS: list[tuple[Callable[..., Optimizer], dict[str, Any]]] = [
    (lambda p, **own: SGD(p, own.pop("lr", 0.1), own.pop("momentum", 0.5), **own), {"lr": 0.03, "momentum": 0.9}),
    (lambda p, **own: AdamW(p, own.pop("lr", 0.2), **own), {"weight_decay": 0.3, "betas": (0.5, 0.6)}),
    (lambda p, **own: RMSprop(p, own.pop("lr", 0.05), **own), {"alpha": 0.5}),
    (lambda p, **own: Adagrad(p, own.pop("lr", 0.3), **own), {"lr": 0.7}),
]


def _pair() -> list[mt.Tensor]:
    return [mt.nn.Parameter(mt.asarray([1.0, -2.0])), mt.nn.Parameter(mt.asarray([0.5]))]


def _descend(optimizers: list[Optimizer], params: list[mt.Tensor], steps: int) -> list[list[float]]:
    for _ in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        mt.concat([(p - 3.0) ** 2 for p in params]).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    return [p.tolist() for p in params]


@pytest.mark.parametrize(("make", "own"), GROUP_MAKERS)
def test_groups_are_optimisers_of_their_own(make: Callable[..., Optimizer], own: dict[str, Any]) -> None:
    """Slow reference: one optimiser for each group.  A checkpoint goes on in the same way."""
    together, apart = _pair(), _pair()
    optimizer = make([{"params": together[0]}, {"params": iter(together[1:]), **own}])
    others = [make(apart[:1]), make(apart[1:], **own)]
    assert _descend([optimizer], together, 4) == _descend(others, apart, 4)
    resumed = make([{"params": together[0]}, {"params": together[1]}])
    resumed.load_state_dict(optimizer.state_dict())
    assert _descend([resumed], together, 3) == _descend(others, apart, 3)
    assert [dict(g) for g in resumed.param_groups] == [dict(g) for g in optimizer.param_groups]


def test_what_is_set_for_one_group_or_for_all() -> None:
    body, head, late = _pair()[0], *_pair()
    optimizer = SGD([{"params": [body]}, {"params": [head], "lr": 0.5}], 0.25)
    assert optimizer.lr == 0.25 and [g["lr"] for g in optimizer.param_groups] == [0.25, 0.5]
    optimizer.param_groups[0]["lr"] = 0.125
    assert optimizer.lr == 0.125 and optimizer.param_groups[1]["lr"] == 0.5
    optimizer.add_param_group({"params": late, "momentum": 0.5})
    assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(0.125, 0.0), (0.5, 0.0), (0.125, 0.5)]
    optimizer.lr = 1.0
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 1.0, 1.0]
    assert optimizer.params == [body, head, late]
    with pytest.raises(ValueError, match="given twice"):
        optimizer.add_param_group({"params": body})
    assert copy.deepcopy(optimizer).param_groups[2]["momentum"] == 0.5


def test_a_plain_optimiser_is_its_only_group_and_may_get_another() -> None:
    first, second = _pair()
    optimizer = Adam([first], 0.1)
    _descend([optimizer], [first], 2)
    (group,) = optimizer.param_groups
    group["lr"] = 0.3
    assert optimizer.lr == 0.3 and group["params"] == [first]
    before = optimizer.state[0]["step"]
    optimizer.add_param_group({"params": [second]})
    _descend([optimizer], [first, second], 1)
    assert [state["step"] for state in optimizer.state] == [before + 1, 1]


def test_schedules_go_on_from_each_groups_own_rate() -> None:
    first, second = _pair()
    optimizer = SGD([{"params": first}, {"params": second, "lr": 0.5}], 1.0)
    schedule = StepLR(optimizer, 1, 0.5)
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    cosine = CosineAnnealingLR(optimizer, 4, eta_min=0.1)
    for _ in range(4):
        cosine.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.1])
    cosine.load_state_dict({"bases": [0.5, 0.25], "count": 0})
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    plateau = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for loss in (1.0, 1.0):
        plateau.step(loss)
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.125]
    with pytest.raises(ValueError, match="1 groups, the optimiser has 2"):
        cosine.load_state_dict({"bases": [0.5], "count": 0})


def test_a_step_of_ones_own_runs_once_whatever_the_groups() -> None:
    calls = []

    class Counted(SGD):
        def step(self) -> None:
            calls.append(self)
            super().step()

    first, second = _pair()
    optimizer = Counted([{"params": first}, {"params": second, "lr": 0.0}], 0.5)
    assert _descend([optimizer], [first, second], 1) == [[3.0, 3.0], [0.5]]
    assert calls == [optimizer]


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        ([{"params": []}], ValueError, "no parameters"),
        ([{"lr": 0.1}], TypeError, "the keys 'lr'"),
        ([mt.nn.Parameter(mt.ones(1)), {"params": []}], TypeError, "found a "),
        (
            [{"params": mt.nn.Parameter(mt.ones(1)), "rate": 1.0}],
            ValueError,
            "no hyperparameter 'rate'; it has lr",
        ),
        ([{"params": mt.nn.Parameter(mt.ones(1)), "lr": -1.0}], ValueError, "lr must be"),
    ],
)
def test_groups_that_are_refused(groups: list[Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        SGD(groups, 0.1)


def test_an_optimiser_that_sets_its_numbers_late_says_so_when_it_gets_groups() -> None:
    class Late(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, 0.1)
            self.decay = 0.5

        def hyperparameters(self) -> dict[str, Any]:
            return {"lr": self.lr, "decay": self.decay}

        def update(self, param: mt.Tensor, grad: mt.Tensor, state: dict[str, Any]) -> None:
            param -= grad * self.lr * self.decay

    assert Late(_pair()).hyperparameters() == {"lr": 0.1, "decay": 0.5}
    with pytest.raises(TypeError, match="before super"):
        Late([{"params": _pair()}])


def test_optimisers_show_their_hyperparameters() -> None:
    first, second = _pair()
    assert repr(RMSprop([first])) == "RMSprop(lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0)"
    shown = repr(SGD([{"params": first}, {"params": second, "lr": 0.5}], 0.1)).splitlines()
    assert shown[0] == "SGD(" and shown[2].startswith("  {'params': 1 tensors of 1 numbers, 'lr': 0.5, ")
