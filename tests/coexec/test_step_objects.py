"""A step as an object: bound, copied, pickled and reset as the plain function would be."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec import coexecute


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


@coexecute
def doubled(x: mt.Tensor) -> mt.Tensor:
    return x * 2.0


class Trainer:
    scale = 3.0

    def __init__(self) -> None:
        self.w = mt.asarray([1.0, 2.0])
        self.step = coexecute(self._step)

    def _step(self, x: mt.Tensor) -> mt.Tensor:
        self.w = self.w + x
        return self.w

    @coexecute
    def scaled(self, x: mt.Tensor) -> mt.Tensor:
        return x * self.scale

    @coexecute
    @staticmethod
    def halved(x: mt.Tensor) -> mt.Tensor:
        return x * 0.5

    lowered = coexecute(functools.partial(mt.subtract, mt.asarray([1.0, 1.0])))


X = mt.asarray([1.0, 2.0])


def test_what_does_not_bind_takes_no_instance() -> None:
    trainer = Trainer()
    for owner in (trainer, Trainer):
        assert owner.halved(X).tolist() == [0.5, 1.0]
        assert owner.lowered(X).tolist() == [0.0, -1.0]
    assert trainer.scaled(X).tolist() == [3.0, 6.0]


def test_a_function_is_its_own_copy_and_pickled_by_name() -> None:
    assert copy.copy(doubled) is doubled and copy.deepcopy({"step": doubled})["step"] is doubled
    assert pickle.loads(pickle.dumps(doubled)) is doubled


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copied_object_has_a_step_of_its_own(copied: Any) -> None:
    trainer = Trainer()
    for _ in range(4):
        trainer.step(X)
        coexec.wait()
    twin = copied(trainer)
    assert twin.step(X).tolist() == [6.0, 12.0] and twin.w.tolist() == [6.0, 12.0]
    assert trainer.w.tolist() == [5.0, 10.0] and twin.step.report().steps == 1
    assert copied(twin.scaled)(X).tolist() == [3.0, 6.0]


def test_a_step_that_resets_itself_is_told_so() -> None:
    @coexecute
    def step(x: mt.Tensor) -> mt.Tensor:
        doubled.reset()
        step.reset()
        return x

    with pytest.raises(coexec.CoexecError, match="between its calls"):
        step(X)
    step.reset()
