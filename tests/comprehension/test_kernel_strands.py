"""Strands asked for ahead, and panels of all lanes packed first: all that is next is asked for, results stay."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from native_kernels import Native, evaluate
from test_kernel_boxes import asks, executed
from test_poly_kernels import AVX512, assert_right, compile_program, inputs_for

from comprehension.kernel import ir
from comprehension.kernel.boxes import ask_for_boxes
from comprehension.kernel.edges import split_edges
from comprehension.kernel.locality import place_accesses
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.strands import ask_for_strands
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.machine import Machine
from comprehension.poly.certificate import certify
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import find_dependences
from comprehension.poly.nest import Nest
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.tile_plan import TilePlan

ONE = replace(AVX512, cores=1)
SMALL = replace(ONE, l2_bytes=8 << 10)  # so that what is read lies beyond
AGAINST_ROWS = "def f(float(M,K) A, float(N,K) X) -> (C) { C(m,n) +=! A(m,k) * X(n,k) }"


def product(m: int, n: int, k: int, text: str = AGAINST_ROWS) -> LoopProgram:
    return infer(load(text)["f"], tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((m, k), (n, k))))


def asking(program: LoopProgram, machine: Machine = ONE) -> tuple[ir.Kernel, tuple[str, ...]]:
    placed = ask_for_strands(place_accesses(compile_program(program, machine=machine), SMALL), SMALL)
    verify_kernel(placed.kernel)
    assert ask_for_boxes(placed, SMALL).kernel == placed.kernel  # nothing is asked for twice
    return placed.kernel, placed.notes


@pytest.mark.parametrize("k", [256, 265], ids=["whole lines", "a piece of a line at the end"])
def test_all_rows_of_the_next_tile_are_asked_for(k: int) -> None:
    kernel, notes = asking(product(32, 40, k))
    assert "rows of X asked for a tile ahead" in notes[0]
    assert_all_asked_for(kernel, 40, k)


def assert_all_asked_for(kernel: ir.Kernel, n: int, k: int) -> None:
    """Each line of `X[n, k]` but for those of the first tile, once."""
    (stage,) = kernel.stages
    found: set[int] = set()
    asked = 0
    for ask, values in executed(stage.body, {}):
        assert ask.buffer == "X"
        for row in range(ask.rows):
            first = evaluate(ask.first, values) + row * ask.apart
            found |= set(range(first, first + ask.elements))
            asked += ask.elements
    assert asked == len(found)
    (rows,) = {tile.rows.extent for tile in nodes_of(kernel.stages, ir.Tile) if tile.rows and tile.rows.extent < 16}
    lines = k // 16 * 16
    assert found >= {row * k + at for row in range(rows, n) for at in range(lines)}


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([32, 48, 70]), st.integers(20, 50), st.integers(255, 274), st.integers(1, 2))
def test_every_instance_runs_once_and_in_order(m: int, n: int, k: int, cores: int) -> None:
    program = product(m, n, k)
    kernel, _ = asking(program, replace(ONE, cores=cores))
    scop = build_scop(program)
    assert certify(scop, find_dependences(scop), split_edges(kernel), "fast")


def test_the_results_are_those_of_the_reference() -> None:
    program = product(32, 40, 265)
    kernel = split_edges(asking(program)[0])
    assert asks(kernel)
    native, arrays = Native(kernel), inputs_for(program)
    memory = native.bind(arrays)
    assert native.run() == 0
    np.testing.assert_array_equal(memory["C"], run(program, arrays)["C"])


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (product(32, 6, 256), "all of it fits the second cache"),
        (product(32, 100, 60), "rows lie near one another"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_comes_by_itself_is_not_asked_for(program: LoopProgram, why: str) -> None:
    assert not asks(asking_without_boxes(program)), why


def asking_without_boxes(program: LoopProgram) -> ir.Kernel:
    return ask_for_strands(place_accesses(compile_program(program, machine=ONE), SMALL), SMALL).kernel


def test_an_ask_of_no_rows_is_malformed() -> None:
    kernel, _ = asking(product(32, 40, 256))
    (ask, *_) = asks(kernel)
    assert ask.rows > 1 and ask.apart == 256
    wrong = replace(kernel, stages=tuple(_with(stage, replace(ask, rows=0)) for stage in kernel.stages))
    with pytest.raises(KernelError, match="0 rows"):
        verify_kernel(wrong)


def _with(stage: ir.Stage, ask: ir.Ask) -> ir.Stage:
    loop = ir.Loop("again", ir.Int(0), ir.Int(1), stage.body, asks=(replace(ask, first=ir.Int(0)),))
    return replace(stage, body=(loop,))


# --- panels of all lanes first ------------------------------------------------------------------------------


def rows_first_if_possible(model: ContractionModel, nest: Nest) -> TilePlan | None:
    return min(model.plans(nest), key=lambda p: (not p.rows_first, p.cost), default=None)


@pytest.fixture
def rows_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where panels of all lanes may be packed first they are, at the least cost."""
    monkeypatch.setattr(ContractionModel, "plan", rows_first_if_possible)


def test_panels_that_fit_are_packed_once(rows_first: None) -> None:
    kernel = compile_program(product(128, 48, 96), machine=ONE)
    packed = next(buffer for buffer in kernel.buffers if buffer.promoted_from and buffer.space is ir.Space.SCRATCH)
    assert evaluate(packed.shape[0], {}) > 1  # several panels at once
    stores = [loop for loop in nodes_of(kernel.stages, ir.Loop) if packed.name in _written(loop)]
    reads = [loop for loop in nodes_of(kernel.stages, ir.Loop) if packed.name in _read(loop)]
    assert stores and reads and not set(map(id, stores)) & set(map(id, reads))  # no loop packs and uses


def test_tiles_of_lanes_that_meet_the_same_rows_ask_for_a_share_of_the_next_ones(rows_first: None) -> None:
    kernel, notes = asking(product(128, 60, 256))
    assert "6 rows of X asked for a tile ahead" in notes[0]
    assert {ask.rows for ask in asks(kernel)} == {3}
    assert_all_asked_for(kernel, 60, 256)


def _written(loop: ir.Loop) -> set[str]:
    return {store.buffer for store in nodes_of(loop.body, ir.Store)}


def _read(loop: ir.Loop) -> set[str]:
    return {found.buffer for found in nodes_of(loop.body, ir.Load)}


BY_COLUMNS = "def f(float(K,M) A, float(N,K) X) -> (C) { C(m,n) +=! A(k,m) * X(n,k) }"
BATCHED = "def f(float(B,M,K) A, float(B,N,K) X) -> (C) { C(b,m,n) +=! A(b,m,k) * X(b,n,k) }"
AFTERWARDS = """def f(float(M,K) A, float(N,K) X) -> (C) {
    C(m,n) +=! A(m,k) * X(n,k)
    C(m,n) = max(C(m,n), 0.0)
}"""


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(
        [AGAINST_ROWS, AFTERWARDS, "def f(float(K,M) A, float(N,K) X) -> (C) { C(m,n) +=! A(k,m) * X(n,k) }"]
    ),
    st.integers(17, 40),
    st.integers(4, 14),
    st.integers(4, 20),
    st.integers(1, 3),
)
def test_either_order_of_tiles_is_right(text: str, m: int, n: int, k: int, cores: int) -> None:
    shapes = ((k, m) if "A(k,m)" in text else (m, k), (n, k))
    program = infer(load(text)["f"], tuple(Spec(shape, ScalarType.FLOAT32) for shape in shapes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContractionModel, "plan", rows_first_if_possible)
        kernel = compile_program(program, machine=replace(ONE, cores=cores))
    assert_right(program, kernel)


def test_panels_of_all_lanes_fit_the_second_cache(rows_first: None) -> None:
    """Else they would be as large as an operand, for each worker."""
    machine = replace(ONE, l2_bytes=64 << 10)
    kernel = compile_program(product(256, 48, 512), machine=machine)
    sizes = [prod(evaluate(e, {}) for e in b.shape) for b in kernel.buffers if b.space is ir.Space.SCRATCH]
    assert sizes and 4 * max(sizes) <= machine.l2_bytes


def test_nobody_knows_how_large_panels_of_any_size_are(rows_first: None) -> None:
    scop = build_scop(infer(load(AGAINST_ROWS)["f"], None, "symbolic"))
    assert not any("panels of all lanes" in step for step in schedule(scop, find_dependences(scop), machine=ONE).steps)


def test_a_batch_packs_its_own_panels(rows_first: None) -> None:
    specs = tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((3, 40, 8), (3, 14, 8)))
    program = infer(load(BATCHED)["f"], specs)
    assert_right(program, compile_program(program, machine=ONE))
