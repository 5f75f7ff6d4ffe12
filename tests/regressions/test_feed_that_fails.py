"""A feed that fails behind a choice ends co-execution in that step: the graph must not be left waiting for it.

Found after a fork, in a child that read what the parent's graph had not computed yet: the program got the exception,
and the end of its step waited for ever.
"""

from __future__ import annotations

from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.errors import GraphFailed
from coexec.graph_side.graph_runner import NativeRun


def test_the_next_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    @coexec.coexecute
    def step(x: mt.Tensor | None) -> Any:
        return None if x is None else float((x * 2.0 + 1.0).sum())

    x = mt.asarray([1.0, 2.0])
    for number in range(8):  # steps without any operation among them: the first choice is whether there is one
        step(None if number % 4 == 3 else x)
        coexec.wait()
    assert step.report().phase == "coexecute"

    def fails(self: NativeRun, slot: int, value: Any) -> None:
        raise GraphFailed("planned")

    with monkeypatch.context() as patch, pytest.raises(GraphFailed, match="planned"):
        patch.setattr(NativeRun, "feed", fails)
        step(x)
    assert [step(x), step(None), step(x)] == [8.0, None, 8.0]
    assert any("a feed failed" in reason for reason in step.report().reasons)
