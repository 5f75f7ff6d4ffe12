"""Indices that Python has without the graph: checked where they are used, and nobody waits for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import data, parameter

import coexec
import minitensor as mt
from coexec.testing import LeaveEverywhere, assert_equivalent


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def _indices(kind: str, i: int) -> mt.Tensor:
    start = mt.asarray((np.arange(6) + i) % 4)
    match kind:
        case "reshaped":
            return mt.reshape(start, (2, 3))
        case "computed":
            return mt.reshape((start + 1) % 4, (3, 2))
        case "wrong at times":
            return mt.reshape(start + (7 if i % 5 == 4 else 0), (6,))
        case "same twice":
            return mt.reshape(start * start % 4, (6,))
        case _:
            return mt.argmax(data(6, 4, offset=i) * 2.0, axis=1)  # of floats: the graph's


KINDS = ["reshaped", "computed", "wrong at times", "same twice", "from floats"]


def _taking(kind: str) -> Any:
    w = parameter(4, 3)

    def step(i: int) -> Any:
        w.grad = None
        try:
            loss = (mt.take(w, mt.reshape(_indices(kind, i), (-1,)), axis=0) * 0.5).sum()
        except IndexError as error:
            return "refused", type(error)
        loss.backward()
        return loss, w.grad

    return step


@pytest.mark.parametrize("kind", KINDS)
def test_indices_are_those_of_the_step(kind: str) -> None:
    report = assert_equivalent(lambda: _taking(kind), steps=16, coexecuted=4)
    waited = any("reshape" in what for what in report.waits)
    assert waited == (kind == "from floats"), report.waits


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_leave(kind: str) -> None:
    assert_equivalent(lambda: _taking(kind), steps=24, trouble=LeaveEverywhere(), coexecuted=1)
