"""Which statements share loops, what stays local, and what the model chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import loop_programs as programs
import pytest
from test_poly_kernels import AVX512, DEFAULT, SSE, assert_right, compile_program

from comprehension.errors import ComprehensionError
from comprehension.kernel import build, ir
from comprehension.kernel.walk import walk_nodes
from comprehension.lang.loops import LoopProgram
from comprehension.options import MappingOptions
from comprehension.poly import cluster, scheduler
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import find_dependences
from comprehension.poly.nest import Nest
from comprehension.poly.scheduler import Math, schedule
from comprehension.poly.scop import build_scop
from comprehension.poly.tile_plan import TilePlan
from comprehension.poly.tile_traffic import Level, Touched, fetched


def tiles(kernel: ir.Kernel) -> list[ir.Tile]:
    return [node for stage in kernel.stages for node in walk_nodes(stage.body) if isinstance(node, ir.Tile)]


def spaces(kernel: ir.Kernel) -> dict[str | None, ir.Space]:
    return {b.promoted_from: b.space for b in kernel.buffers if b.promoted_from is not None}


def steps(program: LoopProgram, options: MappingOptions = DEFAULT) -> tuple[str, ...]:
    scop = build_scop(program)
    return schedule(scop, find_dependences(scop), machine=AVX512, options=options).steps


def test_softmax_is_one_parallel_loop_over_rows_with_private_temporaries() -> None:
    kernel = compile_program(programs.softmax(64, 128))
    assert len(kernel.stages) == 1 and kernel.stages[0].parallel is not None
    assert not [b for b in kernel.buffers if b.space is ir.Space.WORKSPACE]
    assert spaces(kernel)["E"] is ir.Space.SCRATCH and spaces(kernel)["M"] is ir.Space.REGISTER


def test_fusion_min_leaves_statements_apart() -> None:
    kernel = compile_program(programs.softmax(64, 128), options=MappingOptions(fusion="min"))
    assert len(kernel.stages) == 4


def test_epilogue_joins_the_register_tile_of_its_contraction() -> None:
    kernel = compile_program(programs.linear(96, 64, 32))
    assert len(kernel.stages) == 1
    assert spaces(kernel)["T"] is ir.Space.REGISTER
    fused = [tile for tile in tiles(kernel) if tile.rows is not None]
    assert {(tile.rows.extent, tile.lanes.extent) for tile in fused if tile.rows} == {
        (kernel.buffer("T_tile").shape[0].value, kernel.buffer("T_tile").shape[1].value)  # type: ignore[union-attr]
    }


def test_a_reader_of_whole_rows_does_not_break_a_contraction_open() -> None:
    program = programs.program(
        "rows",
        [
            programs.given("A", 64, 32),
            programs.given("B", 32, 64),
            programs.between("T", 64, 64),
            programs.made("S", 64),
        ],
        [
            replace(programs.matmul(64, 64, 32).statements[0], target="T"),
            programs.statement("S1", "S", ("m",), programs.read("T", "m", "n"), {"m": 64, "n": 64}, 1, "+", True),
        ],
    )
    assert len(compile_program(program).stages) == 2


@pytest.mark.parametrize("sizes", [(3, 9, 21, 7, 18), (2, 16, 32, 4, 5), (1, 7, 5, 6, 40)], ids=str)
@pytest.mark.parametrize("math", ["fast", "strict"])
def test_products_in_a_row_share_a_loop_that_keeps_the_intermediate_near(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], math: Math
) -> None:
    monkeypatch.setattr(cluster, "CHAINED_WORK", 1)
    monkeypatch.setattr(cluster, "CHAINED_REUSE", 2)
    program = programs.chained_matmuls(*sizes)
    intermediate = 4 * sizes[1] * sizes[2]
    near = compile_program(program, math, machine=replace(AVX512, l2_bytes=2 * intermediate))
    assert_right(program, near)
    assert len(near.stages) == (1 if sizes[0] > 1 else 2)  # of one batch there is nothing to gain
    assert (("T_local", ir.Space.SCRATCH) in {(b.name, b.space) for b in near.buffers}) == (sizes[0] > 1)
    for l2_bytes in (4, 64 * intermediate):  # not even one iteration's fits; all fits anyway
        apart = compile_program(program, math, machine=replace(AVX512, l2_bytes=l2_bytes))
        assert len(apart.stages) == 2
        assert_right(program, apart)


def test_a_shared_loop_leaves_each_product_its_accumulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CHAINED_WORK", 1)
    kernel = compile_program(programs.chained_matmuls(16, 24, 32, 8, 32), machine=replace(AVX512, l2_bytes=6144))
    held = {(b.name, b.space) for b in kernel.buffers if b.promoted_from in ("T", "C")}
    assert {("T_local", ir.Space.SCRATCH), ("T_tile", ir.Space.REGISTER), ("C_tile", ir.Space.REGISTER)} <= held


def test_a_loop_that_a_product_uses_its_operand_over_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """T(b,i,j) = A B and C = T D: of each b only two rows of T are left to use D again."""
    monkeypatch.setattr(cluster, "CHAINED_WORK", 1)
    few, many = (programs.chained_matmuls(64, rows, 32, 8, 32) for rows in (2, 24))
    assert len(compile_program(few, machine=replace(AVX512, l2_bytes=6144)).stages) == 2
    assert len(compile_program(many, machine=replace(AVX512, l2_bytes=6144)).stages) == 1


def test_strict_keeps_reductions_in_order() -> None:
    def partial_sums(kernel: ir.Kernel) -> bool:
        return any(isinstance(s, ir.Store) and s.role is ir.StoreRole.COMBINE for t in tiles(kernel) for s in t.body)

    assert partial_sums(compile_program(programs.total(8, 64), "fast"))
    assert not partial_sums(compile_program(programs.total(8, 64), "strict"))


def test_transposition_moves_square_tiles() -> None:
    kernel = compile_program(programs.transpose(64, 64))
    assert {(tile.rows.extent, tile.lanes.extent) for tile in tiles(kernel) if tile.rows} == {(16, 16)}


def test_operands_that_miss_caches_are_packed() -> None:
    assert any("B packed" in step for step in steps(programs.matmul(1024, 1024, 1024)))
    assert not any("packed into" in step for step in steps(programs.matmul(32, 32, 16)))


def test_the_steps_say_what_becomes_of_options() -> None:
    program = programs.matmul(8, 8, 8)
    assert steps(program, MappingOptions(unroll=1)) == steps(program)
    assert steps(program, MappingOptions(unroll=16, threads=(32,))) == (
        *steps(program), "innermost loops repeat their bodies up to 16 times, as the options say",
    )  # fmt: skip


def test_narrow_machines_get_narrow_tiles() -> None:
    kernel = compile_program(programs.matmul(32, 32, 16), machine=SSE)
    rows, lanes = (extent.value for extent in kernel.buffer("C_tile").shape if isinstance(extent, ir.Int))
    assert lanes % 4 == 0 and rows * (lanes // 4) + lanes // 4 < SSE.vector_registers


def test_options_tile_the_outer_loops() -> None:
    program = programs.pointwise_chain(64, 64, 2)
    plain, tiled = compile_program(program), compile_program(program, options=MappingOptions(tile=(8, 32)))
    assert plain != tiled
    assert tiled.stages[0].parallel is not None and tiled.stages[0].parallel.upper == ir.Int(8)


def test_serial_option() -> None:
    kernel = compile_program(programs.softmax(64, 128), options=MappingOptions(parallel=False))
    assert all(stage.parallel is None for stage in kernel.stages)


CONTRACTIONS = [
    programs.matmul(9, 33, 20),
    programs.batched_matmul(2, 9, 18, 5),
    programs.conv2d(2, 1, 5, 6, 3, 3),
    programs.conv2d_padded(1, 2, 5, 6, 3, 3),
]


@pytest.mark.parametrize("program", CONTRACTIONS, ids=lambda p: p.name)
def test_every_register_tile_that_the_model_considers_is_right(
    program: LoopProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    considered: list[int] = []

    def nth(number: int) -> Callable[[ContractionModel, Nest], TilePlan | None]:
        def plan(model: ContractionModel, nest: Nest) -> TilePlan | None:
            plans = model.plans(nest)
            considered.append(len(plans))
            return plans[number] if plans else None

        return plan

    monkeypatch.setattr(ContractionModel, "plan", nth(0))
    compile_program(program)
    assert max(considered) > 4
    for number in range(0, max(considered), 5):
        monkeypatch.setattr(ContractionModel, "plan", nth(number))
        assert_right(program, compile_program(program))


@pytest.mark.parametrize(
    "program", [programs.matmul(9, 21, 200), programs.linear(9, 21, 200)], ids=["plain", "epilogue"]
)
def test_reductions_in_blocks_keep_their_order_and_are_right(
    program: LoopProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums wait in memory between blocks; what follows the reduction runs in the last block only."""
    whole = ContractionModel.plans

    def cut(model: ContractionModel, nest: Nest) -> TilePlan | None:
        plans = [plan for plan in whole(model, nest) if plan.reduced_dim is not None]
        return min(plans, key=lambda plan: plan.cost, default=None)

    monkeypatch.setattr(ContractionModel, "plan", cut)
    small = replace(AVX512, l1_bytes=20 << 10, l2_bytes=40 << 10)
    kernel = compile_program(program, math="strict", machine=small)
    loads = [t for t in tiles(kernel) for s in t.body if isinstance(s, ir.Store) and s.role is ir.StoreRole.COPY]
    assert any(
        kernel.buffer(s.buffer).space is ir.Space.REGISTER for t in loads for s in t.body if isinstance(s, ir.Store)
    )
    assert_right(program, kernel)


def test_a_second_multiply_add_unit_asks_for_wider_tiles() -> None:
    """One unit waits for multiply-adds, two wait for loads: more vectors a row, fewer rows to broadcast."""

    def vectors(units: int) -> int:
        kernel = compile_program(programs.matmul(96, 192, 64), machine=replace(AVX512, fma_units=units))
        extent = kernel.buffer("C_tile").shape[1]
        assert isinstance(extent, ir.Int)
        return extent.value // 16

    assert vectors(2) >= vectors(1)
    assert vectors(2) > 2


def test_lines_are_counted_once_where_they_stay_near() -> None:
    """A(m, k), rows of 64: read once where all of it fits, again for each of 4 tiles of n where it does not."""
    read = Touched(axes=((1, 0, 0), (0, 0, 1)), strides=(64, 1))  # indices m, n, k
    levels = [Level(1, 16, 4), Level(0, 8, 2), Level(2, 1, 64)]
    sizes = {0: 16, 1: 64, 2: 64}
    assert fetched([read], levels, sizes, capacity=1000)[0] == pytest.approx(64, rel=0.1)
    assert fetched([read], levels, sizes, capacity=16)[0] >= 4 * 60


def test_a_spent_budget_leaves_plain_loops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "BUDGET", 10)
    program = programs.softmax(4, 6)
    assert_right(program, compile_program(program))
    assert any("more than 10 isl operations" in step for step in steps(program))


def test_loops_beyond_isl_are_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "AST_BUDGET", 10)
    with pytest.raises(ComprehensionError, match="'softmax' is too involved to compile"):
        compile_program(programs.softmax(4, 6))
