"""Symbolic sizes and the caches: two bodies of one stage, told apart by a condition on sizes at the launch."""

from __future__ import annotations

from dataclasses import replace

import loop_programs as programs
import numpy as np
import pytest
from test_poly_kernels import AVX512, compile_program

import comprehension as tc
from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.divide import divide_reductions
from comprehension.kernel.large_sizes import place_at_launch, unmarked
from comprehension.kernel.locality import Placed
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.size_text import text_of
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.kernel.versions import separate
from comprehension.lang.check import check
from comprehension.lang.loops import LoopProgram
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.poly.typical import typical_sizes

KEPT = AVX512.kept_bytes


def placed(program: LoopProgram) -> Placed:
    found = place_at_launch(compile_program(program), AVX512, typical_sizes(program))
    verify_kernel(found.kernel)
    return found


def holds(condition: ir.Condition, **sizes: int) -> bool:
    return bool(evaluate(text_of(ir.IntSelect(condition, ir.Int(1), ir.Int(0))), sizes))


def test_the_second_body_streams_what_the_first_stores() -> None:
    (stage,) = placed(programs.pointwise_chain("I", "J", 1)).kernel.stages
    assert stage.beyond is not None
    assert not any(store.streaming for store in nodes_of(stage.body, ir.Store))
    assert any(store.streaming for store in nodes_of(stage.beyond.body, ir.Store))
    assert unmarked(stage.body) == unmarked(stage.beyond.body)


def test_a_stage_that_computes_much_for_what_it_writes_has_one_body() -> None:
    """Normalised scores, for rows of 64 and of 8 terms: a whole second stage for what the multiply-adds hide."""
    text = """def f(float(B,L,D) Q, float(B,L,D) K) -> (P) {
        s(b,i,j) +=! Q(b,i,d) * K(b,j,d)
        total(b,i) +=! s(b,i,j)
        P(b,i,j) = s(b,i,j) / total(b,i)
    }"""
    program = infer(check(parse(text), text)["f"], None, "symbolic")
    kernel = compile_program(replace(program, likely=(("B", 32), ("D", 64), ("L", 256))))
    assert len(kernel.stages) == 1, "scores stay in the stage"
    for terms, bodies in ((64, 1), (8, 2)):
        found = place_at_launch(kernel, AVX512, {"B": 32, "L": 256, "D": terms})
        assert len(separate(found.kernel).stages) == bodies


def test_one_of_the_two_runs_at_every_size() -> None:
    plain, large = separate(placed(programs.pointwise_chain("I", "J", 1)).kernel).stages
    assert plain.when is not None and large.when is not None
    assert (plain.is_alternative, large.is_alternative) == (False, True)
    for rows in (0, 1, 1000, KEPT // 8192 - 1, KEPT // 8192 + 1, 10**6):
        assert holds(plain.when, I=rows, J=1024) is not holds(large.when, I=rows, J=1024)
    assert holds(plain.when, I=100, J=1024) and holds(large.when, I=10**4, J=1024)


def test_a_small_result_of_a_large_reduction_has_one_body() -> None:
    (stage,) = placed(programs.column_sum("I", "J")).kernel.stages
    if stage.beyond is not None:  # its rows would have to exceed the second cache
        assert not holds(stage.beyond.condition, I=10**6, J=1024)


def test_rows_are_asked_for_by_the_stride_that_sizes_give() -> None:
    kernel = placed(programs.column_sum("I", "J")).kernel
    distances = {load.ahead for load in nodes_of(kernel.stages, ir.Load) if load.ahead}
    (distance,) = distances
    assert isinstance(distance, ir.IntOp) and isinstance(distance.left, ir.Int), distance
    assert distance == ir.IntOp("*", distance.left, ir.Var("J")) and distance.left.value >= 1  # whole rows


def test_blocks_of_a_column_are_no_rows() -> None:
    """A sum in blocks of rows, and the rows that are left: two sweeps down one column."""
    program = programs.column_sum("I", "J")
    divided = divide_reductions(compile_program(program), typical_sizes(program)).kernel
    kernel = place_at_launch(divided, AVX512, typical_sizes(program)).kernel
    assert len(list(nodes_of(kernel.stages, ir.Loop))) > len(list(nodes_of(compile_program(program).stages, ir.Loop)))
    (distance,) = {load.ahead for load in nodes_of(kernel.stages, ir.Load) if load.ahead}
    assert isinstance(distance, ir.IntOp) and distance.right == ir.Var("J"), distance


def test_transposed_tiles_go_past_the_caches_at_large_sizes() -> None:
    (stage,) = placed(programs.transpose("I", "J")).kernel.stages
    assert stage.beyond is not None
    assert all(store.streaming for store in nodes_of(stage.beyond.body, ir.Store))
    assert holds(stage.beyond.condition, I=4096, J=4096) and not holds(stage.beyond.condition, I=512, J=512)


def test_a_second_body_that_does_something_else_is_malformed() -> None:
    kernel = placed(programs.pointwise_chain("I", "J", 1)).kernel
    (stage,) = kernel.stages
    assert stage.beyond is not None
    broken = replace(stage, beyond=replace(stage.beyond, body=()))
    with pytest.raises(KernelError, match="large sizes does something else"):
        verify_kernel(replace(kernel, stages=(broken,)))


def test_one_kernel_is_right_on_both_sides_of_the_last_cache() -> None:
    scale = tc.define("def f(float(N) X) -> (Y) { Y(i) = 2 * X(i) + 1 }", sizes="symbolic").f
    limit = tc.machine.host().kept_bytes // 8  # elements of X and Y that fill it
    for count in (1000, limit - 5, limit + 5):
        x = np.arange(count, dtype=np.float32)
        np.testing.assert_array_equal(scale(x), 2 * x + 1)
    (kernel,) = scale._kernels.values()
    assert [stage.symbol for stage in kernel.manifest.stages] == ["f_stage0", "f_stage0_large"]
