"""Rows of tables asked for ahead: those that later iterations look up, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import loop_programs as programs
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from native_kernels import Native, evaluate
from test_poly_kernels import AVX512, compile_program, inputs_for

from comprehension.jit.describe import manifest_of
from comprehension.kernel import ir
from comprehension.kernel.locality import place_accesses
from comprehension.kernel.lookups import ask_for_rows
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.simplify import simplify
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.lang.loops import LoopProgram
from comprehension.lang.reference import run

SMALL = replace(AVX512, l2_bytes=1 << 10)
ROWS, WIDTH = 300, 64
LOOKUP = programs.lookup(3, 20, ROWS, WIDTH)
NEAR = 8  # rows of four lines


def asking(program: LoopProgram) -> tuple[ir.Kernel, ir.Kernel]:
    """A program's kernel before and after."""
    placed = place_accesses(compile_program(program, machine=SMALL), SMALL)
    asked = ask_for_rows(placed, SMALL).kernel
    verify_kernel(asked)
    return placed.kernel, asked


def asks(kernel: ir.Kernel) -> list[ir.Ask]:
    return list(nodes_of(kernel.stages, ir.Ask))


def asked_elements(kernel: ir.Kernel, indices: Any, b: int) -> Iterator[set[int]]:
    """What each iteration of the loop over lookups asks for, while the stage is at `b`."""
    (stage,) = kernel.stages
    assert stage.parallel is not None
    (loop,) = (node for node in nodes_of(stage.body, ir.Loop) if node.asks)

    def row_numbers(expression: ir.IntExpr, values: dict[str, int]) -> ir.IntExpr:
        def number(found: ir.FromValue) -> ir.IntExpr:
            (load,) = nodes_of(found, ir.Load)
            return ir.Int(int(indices[tuple(evaluate(s, values) for s in load.subscripts)]))

        return simplify(rewrite(expression, ir.FromValue, number))

    for l in range(evaluate(loop.lower, {}), evaluate(loop.upper, {})):
        values = {stage.parallel.variable: b, loop.variable: l}
        firsts = [(evaluate(row_numbers(ask.first, values), values), ask.elements) for ask in loop.asks]
        yield {element for first, elements in firsts for element in range(first, first + elements)}


def test_the_rows_of_later_iterations_are_asked_for() -> None:
    """Going on in the next row of the index tensor where one ends, and staying at its last element."""
    _, kernel = asking(LOOKUP)
    indices = np.random.default_rng(1).integers(0, ROWS, (3, 20))
    flat = indices.ravel()
    for b in range(3):
        for l, found in enumerate(asked_elements(kernel, indices, b)):
            near, far = (flat[min(20 * b + l + ahead, 59)] * WIDTH for ahead in (NEAR, 2 * NEAR))
            assert found == {far, *range(near, near + WIDTH)}


def test_small_tables_and_short_loops_are_left_alone() -> None:
    placed = place_accesses(compile_program(LOOKUP), AVX512)
    assert ask_for_rows(placed, AVX512).kernel == placed.kernel  # fits the second cache
    assert not asks(asking(programs.lookup(3, 4, ROWS, WIDTH))[1])
    assert not asks(asking(programs.matmul(24, 64, 40))[1])


@settings(max_examples=8)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 90))
def test_nothing_else_changes(b: int, n: int, width: int) -> None:
    before, after = asking(programs.lookup(b, n, ROWS, width))
    assert rewrite(after, ir.Loop, lambda loop: replace(loop, asks=())) == before


def test_the_results_are_those_of_the_reference() -> None:
    kernel = asking(LOOKUP)[1]
    native, arrays = Native(kernel), inputs_for(LOOKUP)
    memory = native.bind(arrays)
    assert native.run() == 0
    assert "ahead(" in native.source.text
    (output,) = (b.name for b in kernel.buffers if b.space is ir.Space.OUTPUT)
    np.testing.assert_array_equal(memory[output], run(LOOKUP, arrays)[output])


@pytest.mark.parametrize("bound", ["min", "max"])
def test_an_index_that_may_lie_outside_is_malformed(bound: str) -> None:
    kernel = asking(LOOKUP)[1]

    def unbounded(ask: ir.Ask) -> ir.Ask:
        return rewrite(ask, ir.IntOp, lambda found: found.left if found.op == bound else found)

    with pytest.raises(KernelError, match="may be read out of bounds"):
        verify_kernel(rewrite(kernel, ir.Ask, unbounded))


def test_a_large_table_is_worth_several_workers() -> None:
    """Rows at random places wait for memory; the same rows of a small table do not."""

    def work(rows: int) -> float:
        program = programs.lookup(64, 20, rows, WIDTH)
        kernel = compile_program(program)
        entries = [stage.name for stage in kernel.stages]
        (stage,) = manifest_of(kernel, program, "cpu", entries, 0).stages
        assert isinstance(stage.work, float)
        return stage.work

    assert work(1 << 20) > 20 * 4 * 10  # nanoseconds a unit: 20 rows of 4 lines, 10 each at least
    assert work(1 << 8) < work(1 << 20) / 10
