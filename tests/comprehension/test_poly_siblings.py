"""Reductions side by side: which share a loop, and that they compute what they did."""

from __future__ import annotations

import numpy as np
import pytest
from test_poly_kernels import AVX512, SSE, compile_program, inputs_for

from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.walk import walk_nodes
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.machine import Machine
from comprehension.options import MappingOptions

MOMENTS = """
def f(float(N,K) I) -> (mean, var) {
    mean(n) +=! I(n,k)
    var(n) +=! I(n,k) * I(n,k)
    mean(n) = mean(n) / K
    var(n) = var(n) / K - mean(n) * mean(n)
}"""
BETWEEN = """
def f(float(N,K) I) -> (s, t, q) {
    s(n) +=! I(n,k)
    t(n) = s(n) * 2.0
    q(n) max=! I(n,k)
}"""
CENTRED = """
def f(float(N,K) I) -> (s, q) {
    s(n) +=! I(n,k)
    q(n) +=! (I(n,k) - s(n)) * (I(n,k) - s(n))
}"""
APART = "def f(float(N,K) I, float(N,K) J) -> (s, q) { s(n) +=! I(n,k)  q(n) +=! J(n,k) }"
RANGES = "def f(float(N,K) I) -> (s, q) { s(n) +=! I(n,k)  q(n) +=! I(n,k) where k in 0:7 }"
PRODUCTS = "def f(float(M,K) A, float(K,N) B) -> (C, D) { C(m,n) +=! A(m,k) * B(k,n)  D(m,n) +=! A(m,k) - B(k,n) }"
THREE = "def f(float(N,K) I) -> (s, q, p) { s(n) +=! I(n,k)  q(n) +=! I(n,k) * I(n,k)  p(n) min=! I(n,k) }"


def program(text: str, rows: int = 5, columns: int = 75) -> LoopProgram:
    (definition,) = load(text).values()
    return infer(definition, [Spec((rows, columns), "float32")] * len(definition.parameters))


def sweeps(kernel: ir.Kernel) -> int:
    """Loops whose tiles read an input."""
    loops = [node for stage in kernel.stages for node in walk_nodes(stage.body) if isinstance(node, ir.Loop)]
    return sum(any(isinstance(child, ir.Tile) for child in walk_nodes(loop.body)) for loop in loops)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(MOMENTS, 1), (BETWEEN, 1), (THREE, 1), (CENTRED, 2), (APART, 2), (RANGES, 1)],
    ids=["moments", "what stands between waits", "three", "dependent", "nothing in common", "other ranges"],
)
def test_which_reductions_share_a_sweep(text: str, expected: int) -> None:
    # seven elements are less than a vector: the second loop of RANGES is one tile, and no loop
    assert sweeps(compile_program(program(text))) == expected


def test_contractions_keep_their_registers() -> None:
    (definition,) = load(PRODUCTS).values()
    kernel = compile_program(infer(definition, [Spec((48, 64), "float32"), Spec((64, 64), "float32")]))
    updates = {"S0", "S1"}
    for stage in kernel.stages:
        for node in walk_nodes(stage.body):
            if isinstance(node, ir.Tile):
                run_here = {p.instance.statement for p in node.body if isinstance(p, ir.Store) and p.instance}
                assert not updates <= run_here


@pytest.mark.parametrize("machine", [AVX512, SSE], ids=["wide", "narrow"])
@pytest.mark.parametrize("math", ["fast", "strict"])
@pytest.mark.parametrize("text", [MOMENTS, BETWEEN, CENTRED, APART, RANGES, THREE])
def test_shared_sweeps_compute_what_the_text_says(text: str, math: str, machine: Machine) -> None:
    found = program(text, 3, 75)
    arrays = inputs_for(found)
    kernel = compile_program(found, math, MappingOptions(), machine)  # type: ignore[arg-type]
    expected = run(found, arrays)
    for name, value in interpret(kernel, arrays).items():
        np.testing.assert_allclose(value, expected[name], rtol=2.0**-20, err_msg=name)  # small integers; one division


@pytest.mark.parametrize(("columns", "lanes"), [(4096, 128), (256, 64)], ids=["pages apart", "rows in one page"])
def test_sums_over_far_rows_take_more_of_each(columns: int, lanes: int) -> None:
    kernel = compile_program(program("def f(float(M,N) X) -> (Y) { Y(n) +=! X(m,n) }", 9, columns))
    tiles = [node for stage in kernel.stages for node in walk_nodes(stage.body) if isinstance(node, ir.Tile)]
    assert {tile.lanes.extent for tile in tiles} == {lanes}


def test_what_follows_sums_over_far_rows_is_done_with_the_last_group_of_rows() -> None:
    text = "def f(float(M,N) X) -> (Y, Z) { Y(n) +=! X(m,n)  Z(n) = Y(n) * 0.5 }"
    kernel = compile_program(program(text, 64, 4096))
    tiles = [node for stage in kernel.stages for node in walk_nodes(stage.body) if isinstance(node, ir.Tile)]
    assert {tile.lanes.extent for tile in tiles} == {64}  # without groups of rows there would be 80: five vectors
