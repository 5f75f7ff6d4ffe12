"""Boxes asked for ahead: all of the next iteration's is asked for, in time, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import loop_programs as programs
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from native_kernels import Native, evaluate
from test_poly_kernels import AVX512, compile_program, inputs_for

from comprehension.kernel import ir
from comprehension.kernel.boxes import ask_for_boxes
from comprehension.kernel.divide import divide_reductions
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interleave import interleave_steps
from comprehension.kernel.locality import Placed, place_accesses
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import KernelError, verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec

SMALL = replace(AVX512, l2_bytes=16 << 10, cores=1)
CONVOLUTION = programs.conv2d(8, 4, 12, 12, 16, 3)
BATCHED = programs.batched_matmul(24, 16, 32, 16)
AGAINST_ROWS = infer(
    load("def f(float(B,M,K) A, float(B,N,K) X) -> (C) { C(b,m,n) +=! A(b,m,k) * X(b,n,k) }")["f"],
    tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((24, 256, 32), (24, 16, 32))),
)
ROWS = infer(
    load("def f(float(E,N) W, float(M,A,N) X) -> (T) { T(m,a,e) +=! X(m,a,b) * W(e,b) }")["f"],
    tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((16, 64), (12, 30, 64))),
)


def asking(program: LoopProgram) -> tuple[ir.Kernel, ir.Kernel]:
    """A program's kernel before and after."""
    placed = place_accesses(compile_program(program, machine=SMALL), SMALL)
    asked = ask_for_boxes(placed, SMALL).kernel
    verify_kernel(asked)
    return placed.kernel, asked


def asks(kernel: ir.Kernel) -> list[ir.Ask]:
    return list(nodes_of(kernel.stages, ir.Ask))


def executed(nodes: Sequence[ir.Node], values: Mapping[str, int]) -> Iterator[tuple[ir.Ask, Mapping[str, int]]]:
    """Every execution of an ask, in order."""
    for node in nodes:
        if isinstance(node, ir.Loop):
            for value in range(evaluate(node.lower, values), evaluate(node.upper, values), node.step):
                inside = {**values, node.variable: value}
                yield from ((ask, inside) for ask in node.asks)
                yield from executed(node.body, inside)
        elif isinstance(node, ir.If):
            yield from executed(node.body, values)


@pytest.mark.parametrize(
    ("program", "buffer"),
    [(CONVOLUTION, "I"), (BATCHED, "A"), (BATCHED, "C"), (AGAINST_ROWS, "X")],
    ids=["convolution", "batched", "what is written", "what is packed"],
)
def test_all_of_the_next_box_is_asked_for(program: LoopProgram, buffer: str) -> None:
    """Image after image (matrix after matrix): while one is computed, each line of the next is asked for."""
    _, kernel = asking(program)
    whole = next(b.shape for b in kernel.buffers if b.name == buffer)
    images, *rest = (evaluate(extent, {}) for extent in whole)
    size = int(np.prod(rest))
    (stage,) = kernel.stages
    loops = [stage.parallel.variable] if stage.parallel is not None else []
    found: set[int] = set()
    asked = 0
    for image in range(images if loops else 1):
        for ask, values in executed(stage.body, {**dict.fromkeys(loops, image)}):
            if ask.buffer == buffer:
                first = evaluate(ask.first, values)
                found |= set(range(first, first + ask.elements))
                asked += ask.elements
    assert found >= set(range(size, images * size))
    assert asked < 2 * images * size


@pytest.mark.parametrize(("last_cache", "ahead"), [(16 << 20, 6 * 64), (64 << 10, 6 * 6 * 64)])
def test_small_boxes_from_memory_are_asked_for_pages_ahead(last_cache: int, ahead: int) -> None:
    """Tiles of 1.5 KB: from the last cache the next one, from memory what lies 8 KB on, in the next matrix, too."""
    machine = replace(SMALL, l3_bytes=last_cache)
    woven = interleave_steps(compile_program(ROWS, machine=machine), machine).kernel
    kernel = ask_for_boxes(place_accesses(woven, machine), machine).kernel
    (stage,) = kernel.stages
    found: set[int] = set()
    for ask, values in executed(stage.body, {}):
        assert ask.buffer == "X"
        found |= set(range(evaluate(ask.first, values), evaluate(ask.first, values) + ask.elements))
    assert min(found) == ahead
    assert found >= set(range(ahead, 12 * 30 * 64))


def test_with_symbolic_sizes_the_same_is_asked_for_where_the_sizes_are_those_reckoned_with() -> None:
    sizes = {"G": 24, "M": 16, "N": 16, "K": 32}
    program = programs.batched_matmul(*sizes)
    placed = place_accesses(compile_program(program, machine=SMALL), SMALL)
    kernel = ask_for_boxes(placed, SMALL, sizes).kernel
    verify_kernel(kernel)
    found: set[int] = set()
    (stage,) = kernel.stages
    outer = [stage.parallel.variable] if stage.parallel is not None else []
    for matrix in range(24 if outer else 1):
        for ask, values in executed(stage.body, {**sizes, **dict.fromkeys(outer, matrix)}):
            if ask.buffer == "A":
                first = evaluate(ask.first, values)
                found |= set(range(first, first + ask.elements))
    assert found >= set(range(16 * 32, 24 * 16 * 32))


def test_what_is_packed_is_read_once() -> None:
    before, _ = asking(AGAINST_ROWS)
    readers = [tile for tile in nodes_of(before.stages, ir.Tile) for x in nodes_of(tile, ir.Load) if x.buffer == "X"]
    assert [store.buffer for tile in readers for store in nodes_of(tile, ir.Store)] == ["X_packed"]


def test_what_fits_the_cache_or_is_read_once_is_not_asked_for() -> None:
    placed = place_accesses(compile_program(CONVOLUTION), AVX512)
    assert ask_for_boxes(placed, AVX512) == placed
    assert not asks(asking(programs.pointwise_chain(64, 128, 3))[1])


@settings(max_examples=8)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(5, 12), st.integers(5, 12), st.integers(1, 17))
def test_nothing_else_changes(n: int, c: int, h: int, w: int, f: int) -> None:
    before, after = asking(programs.conv2d(n, c, h, w, f, 3))
    assert rewrite(after, ir.Loop, lambda loop: replace(loop, asks=())) == before


def test_the_results_are_those_of_the_reference() -> None:
    kernel = split_edges(asking(CONVOLUTION)[1])
    assert asks(kernel)
    native, arrays = Native(kernel), inputs_for(CONVOLUTION)
    memory = native.bind(arrays)
    assert native.run() == 0
    assert "ahead(" in native.source.text
    np.testing.assert_array_equal(memory["O"], run(CONVOLUTION, arrays)["O"])


def test_an_ask_for_nothing_is_malformed() -> None:
    _, kernel = asking(CONVOLUTION)
    for ask in (ir.Ask("I", ir.Int(0), 0), ir.Ask("nobody", ir.Int(0), 4), ir.Ask("I", ir.Var("nothing"), 4)):
        wrong = rewrite(kernel, ir.Ask, lambda _, ask=ask: ask)
        with pytest.raises(KernelError):
            verify_kernel(wrong)


def test_a_branch_around_loops_hides_none_of_them() -> None:
    before, after = asking(BATCHED)
    (stage,) = before.stages
    always = ir.If(ir.Compare("<=", ir.Int(0), ir.Int(0)), stage.body)
    around = Placed(replace(before, stages=(replace(stage, body=(always,)),)), ("",))
    assert asks(ask_for_boxes(around, SMALL).kernel) == asks(after) != []


def test_what_never_runs_at_the_sizes_reckoned_with_asks_for_nothing() -> None:
    """Sums of symbolic length go in blocks, of which typical sizes have none: their inner loops do not count."""
    text = "def f(float(N,K,L) X) -> (Y, Z) { Y(n) +=! X(n,k,l)  Z(n,k,l) = X(n,k,l) - Y(n) }"
    sizes = {"N": 64, "K": 16, "L": 48}
    program = infer(load(text)["f"], (Spec(("N", "K", "L"), ScalarType.FLOAT32),), "symbolic")
    divided = divide_reductions(compile_program(program, machine=SMALL), sizes).kernel
    blocks = [loop for loop in nodes_of(divided.stages, ir.Loop) if loop.variable.endswith("_block")]
    assert blocks
    assert not asks(ask_for_boxes(Placed(divided, ("",) * len(divided.stages)), SMALL, sizes).kernel)
