"""Destinations asked for: all that tiles write behind a long reduction, where it lies in rows of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from native_kernels import evaluate
from test_kernel_boxes import executed
from test_poly_kernels import AVX512, compile_program

import comprehension as tc
from comprehension.kernel import ir
from comprehension.kernel.boxes import ask_for_boxes
from comprehension.kernel.destinations import ask_for_destinations
from comprehension.kernel.edges import split_edges
from comprehension.kernel.locality import place_accesses
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scop import build_scop

ONE = replace(AVX512, cores=1)
SMALL = replace(ONE, l2_bytes=8 << 10)  # so that what is written lies beyond
TEXT = "def f(float(K,M) A, float(K,N) X) -> (C) { C(m,n) +=! A(k,m) * X(k,n) }"


def product(m: int, n: int, k: int) -> LoopProgram:
    return infer(load(TEXT)["f"], tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((k, m), (k, n))))


def asking(program: LoopProgram) -> tuple[ir.Kernel, tuple[str, ...]]:
    placed = ask_for_destinations(place_accesses(compile_program(program, machine=ONE), SMALL), SMALL)
    verify_kernel(placed.kernel)
    return placed.kernel, placed.notes


@settings(max_examples=2)
@given(m=st.integers(49, 60), n=st.integers(256, 300), k=st.integers(64, 72))  # up to 48 rows can be the lanes
def test_all_that_is_written_was_asked_for(m: int, n: int, k: int) -> None:
    kernel, notes = asking(product(m, n, k))
    assert "rows of C asked for before they are written" in notes[0]
    (stage,) = kernel.stages
    found: set[int] = set()
    whole = stage.body if stage.parallel is None else (replace(stage.parallel, body=stage.body),)
    for ask, values in executed(whole, {}):
        assert ask.buffer == "C"
        for row in range(ask.rows):
            first = evaluate(ask.first, values) + row * ask.apart
            found |= set(range(first, first + ask.elements))
    assert found >= set(range(m * n))


def test_the_proof_is_that_of_the_same_loops() -> None:
    program = product(40, 270, 64)
    kernel, notes = asking(program)
    assert "before they are written" in notes[0]
    scop = build_scop(program)
    assert certify(scop, find_dependences(scop), split_edges(kernel), "fast")


def test_results_are_those_of_numpy() -> None:
    generator = np.random.default_rng(3)
    a, x = (generator.integers(-3, 4, shape).astype(np.float32) for shape in ((24, 300), (24, 1500)))
    (f,) = tc.define(TEXT)
    np.testing.assert_array_equal(f(a, x), a.T @ x)


@pytest.mark.parametrize(
    "program",
    [product(48, 300, 3), product(48, 100, 64), product(6, 300, 64)],
    ids=["short sums", "rows near one another", "what fits the cache"],
)
def test_nothing_is_asked_for_elsewhere(program: LoopProgram) -> None:
    assert not list(nodes_of(asking(program)[0].stages, ir.Ask))


def test_what_boxes_ask_for_is_not_asked_for_twice() -> None:
    placed = ask_for_boxes(place_accesses(compile_program(product(24, 300, 64), machine=ONE), SMALL), SMALL)
    boxed = {ask.buffer for ask in nodes_of(placed.kernel.stages, ir.Ask)}
    asked = ask_for_destinations(placed, SMALL).kernel
    again = [ask for ask in nodes_of(asked.stages, ir.Ask) if ask.buffer in boxed]
    assert len(again) == len([ask for ask in nodes_of(placed.kernel.stages, ir.Ask) if ask.buffer in boxed])
