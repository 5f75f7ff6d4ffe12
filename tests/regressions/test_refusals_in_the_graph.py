"""Found by drawn training programs: what eager execution refuses had another class in a step that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from coexec.testing.trouble import delayed_graph
from minitensor import functional as F

HALF = mt.asarray([1.0, 2.0], dtype="float16")


@pytest.mark.parametrize("shift", ["__lshift__", "__rshift__"])
def test_half_precision_is_shifted_nowhere(shift: str) -> None:
    def told(i: int) -> str:
        with pytest.raises(TypeError) as refused:
            getattr(HALF + float(i), shift)(mt.asarray([1, 2]))
        return str(refused.value)

    assert coexec.coexecute(told)(0) == told(0)


def test_what_a_rule_refuses_is_told_with_the_operands() -> None:
    def told(i: int) -> str:
        with pytest.raises(TypeError) as refused:
            F.cross_entropy(mt.ones((2, 3)) * float(i), mt.asarray([True, False]))
        return str(refused.value)

    assert coexec.coexecute(told)(0) == told(0)
    assert told(0).startswith("cross_entropy(float32[2, 3], bool[2], axis=1): labels are integers, not bool")


def looked_up() -> Callable[[int], Any]:
    """Integers that the step before made, and may still be making, at places that are not always there."""
    table = mt.asarray([[1, 2, 3], [4, 5, 6]])

    def step(i: int) -> Any:
        nonlocal table
        rows = mt.asarray([i % 3, 0])
        try:
            result = table[rows, rows] + 1 if i % 2 else table[rows, rows[:1]] * 2
        except IndexError as error:
            result = mt.asarray([len(str(error).partition(" (at ")[0])])
        table = (table * 5 + 1) % 7
        return result

    return step


def test_integers_of_the_step_before_are_awaited_where_an_index_is_out_of_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    assert_equivalent(looked_up, steps=12, lag=2, trouble=delayed)


def delayed(step: coexec.Step[..., Any], number: int) -> AbstractContextManager[None]:
    return delayed_graph(step, late)


def late() -> float:
    return 0.005
