"""A thread that reads values of a step while Python goes on with it.

The values were computed from the path of the step, which grew meanwhile: an IndexError in the thread that read.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent


def make() -> Callable[[int], Any]:
    def step(i: int) -> Any:
        values = [mt.asarray([1.0, 2.0, float(i)])]
        failed: list[Exception] = []
        done = threading.Event()

        def read() -> None:
            try:
                while not done.is_set():
                    values[-1].tolist()
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(60):
            values.append(values[-1] * 0.5 + 0.25)
        done.set()
        thread.join()
        return values[::10], failed

    return step


def test_a_reader_meets_one_state_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert_equivalent(make, steps=24)
    finally:
        sys.setswitchinterval(before)
