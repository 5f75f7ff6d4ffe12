"""A program that runs into the recursion limit while a step of it is recorded.

The error came up in the middle of merging, was taken for a fault of this package, and co-execution ended for good.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent


def make() -> Callable[[int], Any]:
    def halve(x: mt.Tensor) -> mt.Tensor:
        return halve(x * 0.5)

    def step(i: int) -> Any:
        x = mt.asarray([1.0, 2.0, float(i)])
        if i < 6:
            before = sys.getrecursionlimit()
            gc.disable()  # other tests' finalisers have their own needs of stack
            sys.setrecursionlimit(len(inspect.stack()) + 60 + i)
            try:
                halve(x)
            except RecursionError:
                pass
            finally:
                sys.setrecursionlimit(before)
                gc.enable()
        return x * 3.0

    return step


def test_what_has_used_up_the_stack_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")
    report = assert_equivalent(make, steps=24)
    assert any("RecursionError" in reason for reason in report.reasons)
