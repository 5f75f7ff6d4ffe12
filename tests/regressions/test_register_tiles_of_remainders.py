"""Found by drawn texts: two statements shared a register tile, of which one names its places by `i % 2`."""

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
