"""Found by drawn training programs: a sum over no axes lost the sign of -0.0 eagerly, and kept it in the graph."""

from __future__ import annotations

import numpy as np
import pytest

import coexec
import minitensor as mt


@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def test_a_sum_over_no_axes_is_what_it_was(numerics: str) -> None:
    def step(x: mt.Tensor) -> tuple[mt.Tensor, mt.Tensor]:
        return mt.sum(x, axis=()), mt.mean(x, axis=())

    array = np.array([[-0.0, 0.0], [1.5, -np.inf]], dtype=np.float32)
    co = coexec.coexecute(step, numerics=numerics)
    for _ in range(4):
        results = (*step(mt.asarray(array)), *co(mt.asarray(array)))
        coexec.wait()
        assert all(x.numpy().tobytes() == array.tobytes() for x in results)
    assert co.report().coexecuted_steps > 0
    assert mt.sum(mt.asarray([True, False]), axis=()).tolist() == [1, 0]
