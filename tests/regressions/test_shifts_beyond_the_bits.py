"""Found by drawn operands: kernels shifted by distances beyond the bits as if only their last bits counted."""

from __future__ import annotations

import numpy as np
import pytest

import coexec
import minitensor as mt

DISTANCES = [0, 1, 7, 8, 9, 15, 16, 31, 32, 33, 63, 64, 100, 255, -1, -8, -128]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_a_shift_in_the_graph_is_numpys(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = np.array([3, 100, limits.min, limits.max, limits.max // 3 * 2, -5 % limits.max], dtype=dtype)
    distances = np.array([d for d in DISTANCES if limits.min <= d <= limits.max], dtype=dtype)
    x, n = (mt.asarray(array) for array in np.meshgrid(values, distances))

    def step(x: mt.Tensor, n: mt.Tensor) -> tuple[mt.Tensor, mt.Tensor]:
        return (x + 0) << n, (x + 0) >> n

    co = coexec.coexecute(step)
    for _ in range(4):
        left, right = co(x, n)
        coexec.wait()
    assert co.report().coexecuted_steps > 0
    np.testing.assert_array_equal(left.numpy(), np.left_shift(x.numpy(), n.numpy()))
    np.testing.assert_array_equal(right.numpy(), np.right_shift(x.numpy(), n.numpy()))
