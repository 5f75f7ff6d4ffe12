"""A step that the TraceGraph knows is followed: nothing of it is recorded again.

That the graph comes out the same either way is held by properties in `test_merge.py`; here it is what following is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.config import config
from coexec.traces.record import Recorder
from minitensor.ops.opdef import OpDef

X = mt.reshape(mt.arange(6.0), (2, 3))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of operations as they are recorded."""
    monkeypatch.setattr(config, "mode", "trace")
    names: list[str] = []
    record = Recorder.record

    def watched(self: Recorder, op: OpDef, *operands: Any) -> Any:
        names.append(op.name)
        return record(self, op, *operands)

    monkeypatch.setattr(Recorder, "record", watched)
    return names


def fork_and_join(i: int) -> mt.Tensor:
    y = X + 1.0 if i % 2 else X * 2.0
    return mt.exp(y).sum()


def alike_but_for_the_place(i: int) -> mt.Tensor:
    if i % 2:
        return mt.exp(X) * 2.0
    return mt.exp(X) - 1.0


def two_of_one_kind(i: int) -> mt.Tensor:
    y = mt.exp(X)
    for _ in range(i % 2):
        y = y - 1.0
    return y * mt.sin(X)


STEPS: dict[str, Callable[[int], mt.Tensor]] = {
    "attributes that are numbers": lambda i: mt.sum(X[0], axis=0, keepdims=True),
    "a number that varies": lambda i: X * float(i),
    "a fork and a join": fork_and_join,
    "branches that begin alike": alike_but_for_the_place,
    "a value with two producers, one round": two_of_one_kind,
    "tensors made anew": lambda i: mt.asarray([1.0, float(i)]) + mt.asarray([2.0, float(i)]),
    "one tensor twice": lambda i: (lambda x: x * x)(mt.asarray([float(i)])),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_the_graph_knows_is_not_recorded(name: str, recorded: list[str]) -> None:
    step = coexec.coexecute(STEPS[name])
    for i in range(4):
        step(i)
    assert recorded, "the first steps are new"
    recorded.clear()
    for i in range(4, 8):
        step(i)
    assert recorded == []
