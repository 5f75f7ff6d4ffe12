"""The reason of a fallback says what differs where the graph has an operation of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.python_side.mismatch import _written


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def reason(function: Callable[..., Any], first: Any, other: Any) -> str:
    """Why the step falls back at `other` once its graph was made of `first`."""
    step = coexec.coexecute(function)
    for argument in (first, first, first, other):
        step(argument)
        coexec.wait()
    [told] = step.report().reasons
    return told.partition(", where the graph has ")[2]


X = mt.reshape(mt.arange(6.0), (2, 3))


@pytest.mark.parametrize(
    ("function", "first", "other", "told"),
    [
        (lambda axis: X.sum(axis=axis), 0, 1, "sum with axis=(0,) instead of (1,)"),
        (lambda end: X[:end, 1:].sum(), 1, 2, "getitem with key=[0:1, 1:3] instead of [:, 1:3]"),
        (lambda x: x * 2.0, X, X[0], "multiply of float32[2, 3] instead of float32[3]"),
        (lambda x: x * 2.0, X, X[:, 0], "multiply of float32[2, 3] instead of float32[2]"),
        (lambda x: x * 2.0, X, mt.ones((4, 3)), "multiply of float32[2, 3] instead of float32[4, 3]"),
        (lambda x: x * 2.0, X, mt.astype(X, mt.float64), "multiply of float32[2, 3] instead of float64[2, 3]"),
        (lambda x: 2.0 - x, X, X[0], "subtract of float32[2, 3] instead of float32[3]"),
        (lambda k: X * k, 2.0, 3.0, "multiply of 2.0 instead of 3.0"),
        (lambda k: X * k, 2.0, 2, "multiply of 2.0 instead of 2"),
        (lambda i: (X + 1.0, X + 2.0)[i].sum(axis=0), 0, 1, "sum of other operands"),
        (lambda x: X * x, X, 2.0, "multiply of a tensor instead of 2.0"),
        (lambda x: X * x, 2.0, X, "multiply of a number instead of a tensor"),
        (lambda n: mt.concat([X] * n), 2, 3, "concat of 2 operands instead of 3"),
        (lambda swap: (X + 1.0) - (X + 1.0 if swap else X), False, True, "subtract"),
        (lambda swap: subtracted(X + 1.0, X + 2.0, swap), False, True, "subtract of other operands"),
        (lambda more: X + 1.0 if more else None, False, True, "the end"),
    ],
)
def test_the_first_difference(function: Callable[..., Any], first: Any, other: Any, told: str) -> None:
    assert reason(function, first, other) == told


def test_long_values_are_cut() -> None:
    whole, cut = (_written("text", "x" * count) for count in (38, 39))
    assert whole == repr("x" * 38)  # quotes and all, just the 40 characters that may be
    assert len(cut) == 40 and cut == "'" + "x" * 38 + "…"


@pytest.mark.parametrize("last", [2, 6])
def test_a_length_that_varies_is_no_difference(last: int) -> None:
    @coexec.coexecute
    def step(length: int, axis: int) -> mt.Tensor:
        return mt.ones((length, 3)).sum(axis=axis)

    for length, axis in [(2, 0), (3, 0), (4, 0), (5, 0), (last, 1)]:
        step(length, axis)
        coexec.wait()
    assert step.report().reasons[-1].endswith("where the graph has sum with axis=(0,) instead of (1,)")


def test_a_length_of_one_is_no_length_like_others() -> None:
    step = coexec.coexecute(lambda x: mt.exp(x))
    for length in (2, 3, 4, 5, 1):
        step(mt.ones((length, 3)))
        coexec.wait()
    told = step.report().reasons[-1].partition(", where the graph has ")[2]
    assert told.startswith("exp of float32[") and told.endswith(", 3] instead of float32[1, 3]")


def subtracted(a: mt.Tensor, b: mt.Tensor, swap: bool) -> mt.Tensor:
    return b - a if swap else a - b


@pytest.mark.parametrize(
    ("count", "told"), [(3, "exp, sin, cos"), (4, "exp, sin, cos and 1 more"), (5, "exp, sin, cos and 2 more")]
)
def test_of_a_fork_with_many_branches_a_few_are_told(count: int, told: str) -> None:
    names = [mt.exp, mt.sin, mt.cos, mt.tanh, mt.sqrt, mt.abs]

    @coexec.coexecute
    def step(i: int) -> mt.Tensor:
        return names[i](X)

    for i in [*range(count), *range(count), 5]:
        step(i)
        coexec.wait()
    assert step.report().reasons[-1].endswith(f"where the graph has {told}")
