"""Sums that blocks of a reduction leave in panels: held where tiles are turned round in memory, and right."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from test_chained_contractions import program_of
from test_poly_kernels import AVX512, assert_right, compile_program

from comprehension.kernel import ir
from comprehension.lang.loops import LoopProgram
from comprehension.poly import contraction, tile_sums
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.nest import Nest
from comprehension.poly.tile_plan import TilePlan

SMALL = replace(AVX512, vector_bits=128, vector_registers=8, l1_bytes=256, l2_bytes=512, l3_bytes=64 << 10)

PRODUCT = "def f(float(M,K) A, float(N,K) B) -> (C) { C(m,n) +=! A(m,k) * B(n,k) }"
LAYER = """def f(float(M,K) A, float(N,K) B, float(N) D) -> (C) {
    C(m,n) +=! A(m,k) * B(n,k)
    C(m,n) = max(C(m,n) + D(n), 0.0)
}"""
BATCH = "def f(float(G,M,K) A, float(G,N,K) B) -> (C) { C(g,m,n) +=! A(g,m,k) * B(g,n,k) }"
ADDED = "def f(float(M,K) A, float(N,K) B) -> (C) { C(m,n) += A(m,k) * B(n,k) }"


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes, which are interpreted; of all plans the cheapest with sums in panels, where there is one."""
    monkeypatch.setattr(contraction, "SHORTEST_BLOCK", 4)
    monkeypatch.setattr(tile_sums, "FEWEST_TILES", 1)

    def plan(self: ContractionModel, nest: Nest) -> TilePlan | None:
        return min(self.plans(nest), key=lambda each: (each.held is None, each.cost), default=None)

    monkeypatch.setattr(ContractionModel, "plan", plan)


def held_in(kernel: ir.Kernel) -> list[str]:
    return [buffer.name for buffer in kernel.buffers if buffer.name.endswith("_held")]


def sized(text: str, m: int, n: int, k: int) -> LoopProgram:
    shapes = {PRODUCT: ((m, k), (n, k)), LAYER: ((m, k), (n, k), (n,)), BATCH: ((3, m, k), (3, n, k))}
    return program_of(text, *shapes[text])


@settings(max_examples=4)
@example(PRODUCT, 9, 14, 22, 2)  # tiles and blocks that are not whole
@example(LAYER, 8, 12, 20, 1)  # what stands behind the last block is done in panels, too
@given(
    st.sampled_from([PRODUCT, LAYER, BATCH]),
    st.integers(1, 9),
    st.integers(1, 18),
    st.integers(1, 24),
    st.integers(1, 2),
)
def test_sums_in_panels_agree_with_the_reference(text: str, m: int, n: int, k: int, cores: int) -> None:
    program = sized(text, m, n, k)
    assert_right(program, compile_program(program, machine=replace(SMALL, cores=cores)))


def test_sums_are_held_where_lanes_lie_apart() -> None:
    kernel = compile_program(sized(PRODUCT, 9, 18, 24), machine=SMALL)
    assert held_in(kernel) == ["C_held"]


def test_panels_take_a_part_of_the_last_cache() -> None:
    """Rows come in blocks, and each worker has its own panels."""
    kernel = compile_program(sized(PRODUCT, 8, 60, 24), machine=replace(SMALL, l3_bytes=2 << 10, cores=1))
    (name,) = held_in(kernel)
    assert 4 * prod(extent.value for extent in kernel.buffer(name).shape if isinstance(extent, ir.Int)) <= 512


def test_what_was_there_before_is_added_to_in_place() -> None:
    """Nothing would be copied into panels, so they stand for nothing that is read first."""
    program = program_of(ADDED, (8, 24), (18, 24))
    assert held_in(compile_program(program, machine=SMALL)) == []
