"""A tensor without dimensions as an index is checked by the kernel, not before the launch: the graph computes it.

Found by a TreeLSTM that looks up one word at a time: its kernels asked for a check of a scalar at launch, the plan
knew sizes only, and the step was eager for good ("internal error: KeyError: 'x1'").
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent


@pytest.mark.parametrize("runner", ["reference", "native"])
def test_rows_looked_up_one_at_a_time(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)

    def make() -> Callable[[int], object]:
        table = mt.nn.Parameter(mt.reshape(mt.arange(12.0), (4, 3)))

        def step(i: int) -> object:
            table.grad = None
            row = mt.take(table, mt.asarray(i % 5), axis=0)  # out of bounds now and then
            best = (table * float(i % 3 - 1))[mt.argmax(table[:, 0])]  # an index that the graph computes
            (row * best).sum().backward()
            return row, best, table.grad

        return step

    assert_equivalent(make, steps=12, graphs=2)
