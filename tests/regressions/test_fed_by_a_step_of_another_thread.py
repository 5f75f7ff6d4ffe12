"""A step in a thread of a pool is given a tensor that the step in the main thread has not filled yet.

Found by `tasks_that_hand_steps_to_threads` (tests/coexec/odd_mixtures.py): while the step that owes it is running, a
promise has no handle, which was asked for all the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import coexec
import minitensor as mt


@pytest.mark.parametrize("runner", ["reference", "native"])
@pytest.mark.parametrize("operands", [1, 2])
def test_a_step_waits_for_what_a_running_step_owes(runner: str, operands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", runner)
    inner = coexec.coexecute(lambda *x: sum(x[1:], x[0]) * 2.0)

    with ThreadPoolExecutor(1) as pool:

        @coexec.coexecute
        def outer(x: Any) -> Any:
            y = [x + float(k) for k in range(operands)]
            return pool.submit(inner, *y).result(timeout=60) + y[0]

        for i in range(8):
            x = mt.asarray([float(i), 1.0])
            expected = sum((x.numpy() + k) * 2.0 for k in range(operands)) + x.numpy()
            assert outer(x).tolist() == expected.tolist()
            coexec.wait()
    assert outer.report().coexecuted_steps >= 4 and inner.report().coexecuted_steps >= 4
