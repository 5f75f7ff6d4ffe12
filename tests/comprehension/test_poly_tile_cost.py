"""What operands lose to lines that share a set of a cache, and to pages that are forgotten: their distances decide."""

from __future__ import annotations

import pytest
from test_poly_kernels import AVX512

from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.access import AccessPatterns
from comprehension.poly.extents import Extents
from comprehension.poly.scop import build_scop
from comprehension.poly.tile_cost import CONFLICT, PAGE, PAGES, WALK, WAYS, TileCost

TEXT = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
M, N, K = range(3)  # indices of the update
FLOAT = 4  # bytes


def lost(operand: str, apart: int, steps: int, *, rows: int = 4, lanes: int = 32) -> float:
    """Cycles of conflicts of an operand whose rows lie `apart` bytes from one another."""
    inner, columns = (apart // FLOAT, 64) if operand == "A" else (64, apart // FLOAT)
    specs = [Spec(shape, ScalarType.FLOAT32) for shape in ((64, inner), (inner, columns))]
    scop = build_scop(infer(load(TEXT)["f"], specs))
    patterns = AccessPatterns(scop)
    cost = TileCost(scop, patterns, Extents(scop), AVX512, "S0", M, N, rows, lanes)
    (read,) = [pattern for pattern in patterns.of("S0")[1:] if pattern.tensor == operand]
    return cost.conflicts(read, [K], steps)


@pytest.mark.parametrize("share", [1, 2])
def test_lanes_whose_steps_lie_in_a_few_sets_lose_lines(share: int) -> None:
    """PAGE / share bytes apart, so many lines of each set are to be had; of two vectors each loses one a step."""
    apart, fit = PAGE // share, share * WAYS
    assert lost("B", apart, fit) == 0
    assert lost("B", apart, fit + 1) == 2 * CONFLICT * (fit + 1)


def test_steps_in_pages_of_their_own_walk_tables_beyond_those_that_are_kept() -> None:
    apart = PAGE + 64  # lines do not share sets
    assert lost("B", apart, PAGES) == 0
    assert lost("B", apart, PAGES + 1) == WALK * (PAGES + 1)
    assert lost("B", PAGE // 4 + 64, PAGES + 1) == 0  # several steps in each page


def test_rows_that_share_a_set_lose_lines() -> None:
    assert lost("A", PAGE, 100, rows=WAYS) == 0
    assert lost("A", PAGE, 100, rows=WAYS + 1) == CONFLICT * (WAYS + 1) * 100
    assert lost("A", PAGE + 64, 100, rows=WAYS + 1) == 0
    assert lost("A", 64, 100, rows=10 * WAYS) == 0  # one line after the other
