"""Python's side of a step alone: its graph only writes down what it is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.build import build
from coexec.config import config
from coexec.graph.symbolic import Output
from coexec.graph_side.runner_protocol import RunTimes
from coexec.python_side.python_runner import PythonRunner
from coexec.python_side.walk import Walk
from minitensor.value import local

OUTSIDE = mt.ones((2, 3))  # no step has made it


class Told:
    """A `GraphRun` that computes nothing; `contents`: what it delivers at a fetch, and has still if it is cancelled."""

    def __init__(self) -> None:
        self.words: list[tuple[Any, ...]] = []
        self.calls: list[str] = []  # by which feeds came
        self.contents: dict[Output, Any] = {}

    def bind(self, symbol: int, value: int) -> None:
        self.words.append(("bind", symbol, value))

    def feed(self, slot: int, value: Any) -> None:
        self.words.append(("feed", slot, value))
        self.calls.append("feed")

    def feed_all(self, values: Sequence[tuple[int, Any]]) -> None:
        self.words += [("feed", slot, value) for slot, value in values]
        self.calls.append("feed_all")

    def choose(self, case: int, target: int) -> None:
        self.words.append(("choose", case, target))

    def fetch(self, output: Output) -> Any:
        self.words.append(("fetch", output))
        return self.contents[output]

    def finish(self, kept: Sequence[Output]) -> tuple[Any, ...]:
        self.words.append(("finish", *kept))
        return tuple(Kept() for _ in kept)

    def cancel(self, wanted: Sequence[Output] = ()) -> Callable[[Output], Any]:
        self.words.append(("cancel", *wanted))
        return self.contents.get

    def times(self) -> RunTimes:
        return RunTimes()

    def kinds(self) -> list[str]:
        """What kinds of words it was told, in order."""
        return [word[0] for word in self.words]


class Kept:
    """The handle of an output that nobody waits for."""

    def wait(self) -> Any:
        raise AssertionError("nobody computes it")


def walk_of(function: Callable[..., Any], *calls: tuple[Any, ...]) -> Walk:
    """The walk of a step that was recorded in these calls, or in one without arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "mode", "trace")
        step = coexec.coexecute(function)
        for arguments in calls or ((),):
            step(*arguments)
    return build(step.session.traces).walk


def begin(walk: Walk, kind: type[PythonRunner] = PythonRunner) -> tuple[PythonRunner, Told]:
    """A step at its beginning, called by whoever calls this."""
    run = Told()
    return kind(walk, run, sys._getframe(1)), run


@contextmanager
def observed(runner: PythonRunner) -> Iterator[None]:
    """Inside, operations are the step's; it does not end with them."""
    local.observer = runner
    try:
        yield
    finally:
        local.observer = None


def placed(k: float, first: bool) -> mt.Tensor:
    """With the number 3 only the place tells which way it is."""
    a = mt.exp(OUTSIDE)
    if first:
        b = a * k
        return mt.tanh(b)
    b = a * k
    return mt.abs(b)
