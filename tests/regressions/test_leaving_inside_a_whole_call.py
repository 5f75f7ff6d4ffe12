"""A step that leaves its graph inside `optimizer.step()` or `backward()` makes no second copy of the call.

Each had two calls of its own operations, one for steps whose observer may take the call as a whole: operations of a
step that began in the graph had another location than those traced, so the rest of the call became nodes of its own,
with kernels of its own and numbers that were constants once more: a fallback and a graph for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from minitensor import nn, optim


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def _training(scaled: Callable[[int], bool], clipped: Callable[[int], bool]) -> Callable[[], Any]:
    def make() -> Any:
        mt.random.seed(1)
        model = nn.Linear(3, 2)
        optimizer = optim.AdamW(model.parameters(), lr=0.125)
        x = mt.random.normal((4, 3))

        def step(i: int) -> Any:
            optimizer.lr = 0.125 / (i + 1)
            optimizer.zero_grad()
            loss = (model(x) * 0.5).sum()
            if scaled(i):
                loss = loss * 2.0
            loss.backward()
            if clipped(i):
                for p in model.parameters():
                    assert p.grad is not None
                    p.grad = p.grad * 0.5
            optimizer.step()
            return loss

        return step

    return make


def _late(i: int) -> bool:
    """Twice in the beginning, so that the graph has it, then now and then not."""
    return i < 8 or i % 3 > 0


def _never(i: int) -> bool:
    return False


@pytest.mark.parametrize("make", [_training(_late, _never), _training(_never, _late)], ids=["backward", "update"])
def test_the_call_is_joined(make: Callable[[], Any]) -> None:
    report = assert_equivalent(make, steps=32, fallbacks=1, graphs=2)
    assert report.operations == 13, "as many as the longest of the steps has"
