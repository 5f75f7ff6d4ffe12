"""Found by drawn texts: a statement in a register tile whose places are `i % 2`, and one that has one place only."""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc

TEXT = """
def f(uint8(4) A) -> (B) {
    B(i, j) = uint8(0) where i in 0:1, j in 0:2
    B(i / 2, i % 2) = A(2 * i + 1) where i in 0:2
}"""


@pytest.mark.parametrize("fusion", ["min", "max", "preserve"])
@pytest.mark.parametrize("tile", [None, (5,)])
def test_places_that_a_remainder_tells_are_in_no_register_tile(fusion: str, tile: tuple[int, ...] | None) -> None:
    f, a = tc.define(TEXT).f, np.arange(4, dtype=np.uint8)
    kernel = f.compile(a, options=tc.MappingOptions(vectorize=4, fusion=fusion, tile=tile))
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(a), [[1, 3]])


def test_a_statement_that_runs_at_one_point_of_a_register_tile_is_no_part_of_it() -> None:
    """Sizes are such that the second statement has one row: isl made no loop of it, and it changed the whole tile."""
    text = """
    def f(double(1,M) A, double(N) B) -> (O) {
        O(i) = B(i)
        O(i) max= (B(i) > 0.0 ? O(i) : double(1)) - A(i, u) where i in 0:N, u in 0:M
    }"""
    f = tc.define(text, sizes="symbolic").f
    a, b = np.array([[3.0, -1.0, 2.0]]), np.array([2.0])
    kernel = f.compile(a, b)
    assert kernel.certificate and "O_tile is a register tile" in "".join(kernel.report.fallbacks)
    np.testing.assert_array_equal(f(a, b), f.reference(a, b))
