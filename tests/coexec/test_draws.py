"""Random draws in the graph: the numbers and the states of eager execution, and Python waits for none that it reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import data, parameter

import coexec
import minitensor as mt
import minitensor.functional as F
from coexec.testing import LeaveEverywhere, assert_equivalent
from minitensor import nn, optim

Step = Any


def raw_draws() -> Step:
    """What is drawn, as it is, in shapes of all ranks."""

    def step(i: int) -> Any:
        return mt.random.uniform((3, 4, 5)), mt.random.normal((2, 33)), mt.random.uniform(), mt.random.normal((0, 2))

    return step


def states_restored_in_mid_step() -> Step:
    def step(i: int) -> Any:
        first = mt.random.uniform((5,)) < 0.5
        saved = mt.random.get_state()
        second = mt.random.uniform((4, 3))
        if i % 3 == 1:
            mt.random.set_state(saved)
        if i % 5 == 2:
            mt.random.seed(i)
        return first, second, mt.random.uniform((4, 3)), mt.random.get_state()

    return step


def drawn_sizes() -> Step:
    """Shapes that vary: the numbers of the elements are computed from symbols."""

    def step(i: int) -> Any:
        x = data(2 + i % 5, 3 + i % 2, offset=i)
        return F.dropout(x, 0.25) + 1.0, mt.random.uniform(x.shape)

    return step


def a_layer_dropped_at_random() -> Step:
    """Python reads draws, and branches on them."""
    w = parameter(3, 3)

    def step(i: int) -> Any:
        x = data(2, 3, offset=i) * 1.0
        depth = 0
        for _ in range(2):
            if mt.random.uniform() < 0.25:
                continue
            x, depth = x @ w, depth + 1
        return x, depth, mt.random.uniform((2,)).tolist()

    return step


def dropout_training() -> Step:
    mt.random.seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    x, y = mt.asarray(rng.normal(size=(8, 6)).astype(np.float32)), mt.asarray(rng.integers(0, 3, 8))

    def step(i: int) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss, mt.random.get_state()

    return step


EXACT = [raw_draws, states_restored_in_mid_step, drawn_sizes, a_layer_dropped_at_random]


@pytest.mark.parametrize("make", [*EXACT, dropout_training])
def test_draws_are_those_of_eager_execution(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(make, steps=24)
    assert not report.left_to_python


@pytest.mark.parametrize("make", EXACT[1:])
def test_draws_of_steps_that_leave(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    assert_equivalent(make, steps=24, trouble=LeaveEverywhere(), coexecuted=1)


@pytest.mark.parametrize("make", EXACT)
def test_compiled_draws_have_the_same_bits(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")
    report = assert_equivalent(make, steps=16, rtol=0.0, atol=0.0)
    assert not report.left_to_python


def test_python_does_not_wait_for_a_draw_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(a_layer_dropped_at_random, steps=24)
    assert not any("random" in what or "less" in what for what in report.waits), report.waits


def test_dropout_is_one_kernel_with_what_it_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")

    @coexec.coexecute
    def step(x: mt.Tensor) -> mt.Tensor:
        return F.dropout(mt.exp(x) + 1.0, 0.5)

    for _ in range(5):
        result = step(data(8, 8))
        coexec.wait()
    assert step.report().kernels == 1, coexec.explain(step)
    assert 0.0 in result.numpy()
