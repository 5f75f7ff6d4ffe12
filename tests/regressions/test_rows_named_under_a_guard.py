"""Found by drawn texts: a row named by an index tensor, read where a condition on the other index holds."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc


@pytest.mark.parametrize("columns", [5, 16])
def test_a_row_that_only_some_lanes_read(columns: int) -> None:
    text = (
        "def f(float(K) X, uint8(N) rows, float(R,M) T) -> (O) { O(i,j) = j != 1 ? X(4 - j % 5) : T(rows(N-1-i), j) }"
    )
    f = tc.define(text).f
    x, rows = np.arange(5, dtype=np.float32), np.arange(33, dtype=np.uint8) % 3
    table = np.arange(3 * columns, dtype=np.float32).reshape(3, columns)
    expected = np.broadcast_to(x[4 - np.arange(columns) % 5], (33, columns)).copy()
    expected[:, 1] = table[rows[::-1], 1]
    np.testing.assert_array_equal(f(x, rows, table), expected)
    np.testing.assert_array_equal(f.reference(x, rows, table), expected)
