"""Found by interrupts at every point: what a step owed could not be read where an interrupt came as it handed over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec.python_side.python_runner import PythonRunner
from minitensor.value import Value, filled


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_what_has_its_handle_keeps_it(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    state = {"w": mt.asarray(np.array([1.0, -2.0, 3.0], np.float32))}

    @coexec.coexecute
    def step() -> None:
        state["w"] = mt.clip(state["w"] * 2.0, -40.0, 40.0)

    for _ in range(3):
        step()
        coexec.wait()
    let_go = PythonRunner._let_go

    def interrupted(self: PythonRunner) -> None:
        monkeypatch.setattr(PythonRunner, "_let_go", let_go)
        raise KeyboardInterrupt

    monkeypatch.setattr(PythonRunner, "_let_go", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step()
    assert PythonRunner._let_go is let_go  # it was in the graph
    assert state["w"].tolist() == [16.0, -32.0, 40.0]
    step()
    assert state["w"].tolist() == [32.0, -40.0, 40.0]


class _FilledMeanwhile(Value):
    """A value that another thread fills between two looks at it: first its contents, then its promise is gone."""

    __slots__ = ()

    @property
    def pending(self) -> Any:  # type: ignore[override]
        self.array = np.ones(2, np.float32)
        return None


def test_a_value_that_is_filled_while_it_is_looked_at() -> None:
    value = _FilledMeanwhile.__new__(_FilledMeanwhile)
    value.array, value.shape, value.dtype, value.owned, value.exported = None, (2,), np.dtype(np.float32), True, False
    assert filled(value).tolist() == [1.0, 1.0]
