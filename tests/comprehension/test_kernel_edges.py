"""Whole tiles apart from ragged ones: the same instances, proved again, and no mask where a tile is whole."""

from __future__ import annotations

from dataclasses import replace

import loop_programs as programs
import numpy as np
import pytest
from test_poly_kernels import AVX512, PROGRAMS, SIZES, inputs_for

from comprehension.codegen.liveness import overwritable
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.choice import negated
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interpret import interpret
from comprehension.kernel.joined import join_edges
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop


def built(program: LoopProgram) -> tuple[Scop, ir.Kernel]:
    scop = build_scop(program)
    tree = schedule(scop, find_dependences(scop), machine=AVX512)
    return scop, build_kernel(scop, tree)


def sizes_of(program: LoopProgram) -> dict[str, int]:
    return {name: SIZES[name] for name in program.sizes}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: f"{p.name}{'-symbolic' * bool(p.sizes)}")
def test_split_kernels_do_the_same_and_are_proved(program: LoopProgram) -> None:
    scop, kernel = built(program)
    split = split_edges(kernel)
    if not {t.name for t in program.tensors} & set(program.sizes):  # some programs call a size and a tensor B
        verify_kernel(split)
    assert certify(scop, None, split)
    arrays = inputs_for(program)
    plain, apart = (interpret(k, arrays, sizes_of(program)) for k in (kernel, split))
    for name, wanted in plain.items():
        np.testing.assert_array_equal(apart[name], wanted)


def test_a_tile_of_lanes_stands_once_whole_and_once_masked() -> None:
    _, kernel = built(programs.pointwise_chain("I", "J", 1))
    (tile,) = nodes_of(kernel.stages, ir.Tile)
    whole, ragged = nodes_of(split_edges(kernel).stages, ir.If)
    assert [t.lanes.limit for t in nodes_of((whole, ragged), ir.Tile)] == [None, tile.lanes.limit]


def test_registers_are_branched_around_as_a_whole() -> None:
    text = "def f(float(C,H,W) I, float(F,C,P,Q) K) -> (O) { O(f,h,w) +=! I(c,h+p,w+q) * K(f,c,p,q) }"
    _, kernel = built(infer(load(text)["f"], None, "symbolic"))
    loops = list(nodes_of(split_edges(kernel).stages, ir.Loop))
    reducing = [loop for loop in loops if {store.buffer for store in nodes_of(loop, ir.Store)} == {"O_tile"}]
    assert len(reducing) == 6  # three loops, whole and ragged
    assert not list(nodes_of(tuple(reducing), ir.If))


def test_static_tiles_that_are_whole_or_always_ragged_stay_one() -> None:
    for program in (programs.softmax(4, 64), programs.pointwise_chain(4, 7, 1)):
        _, kernel = built(program)
        assert split_edges(kernel) == kernel


@pytest.mark.parametrize("side", [0, 1], ids=["whole", "ragged"])
def test_a_side_that_is_lost_is_an_instance_that_never_runs(side: int) -> None:
    scop, kernel = built(programs.pointwise_chain("I", "J", 1))
    split = split_edges(kernel)
    lost = list(nodes_of(split.stages, ir.If))[side]
    broken = rewrite(split, ir.If, lambda branch: replace(branch, body=()) if branch == lost else branch)
    assert any("never runs" in example for example in certify(scop, None, broken).counterexamples)


def test_a_whole_tile_beyond_its_limit_is_refused() -> None:
    scop, kernel = built(programs.pointwise_chain("I", "J", 1))
    everywhere = rewrite(split_edges(kernel), ir.Axis, lambda axis: replace(axis, limit=None))
    assert not certify(scop, None, everywhere)


# --- read as one again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: f"{p.name}{'-symbolic' * bool(p.sizes)}")
def test_what_was_split_is_read_as_one(program: LoopProgram) -> None:
    _, kernel = built(program)
    assert join_edges(split_edges(kernel)) == join_edges(kernel)


@pytest.mark.parametrize("side", [0, 1], ids=["whole", "ragged"])
@pytest.mark.parametrize("change", ["value", "element", "extent", "condition"])
def test_branches_that_differ_in_more_than_masks_stay_two(side: int, change: str) -> None:
    _, kernel = built(programs.pointwise_chain("I", "J", 1))
    split = split_edges(kernel)
    branch = list(nodes_of(split.stages, ir.If))[side]
    other: ir.If
    match change:
        case "value":
            other = rewrite(branch, ir.Store, lambda store: replace(store, value=ir.Const(0.0, store.value.dtype)))
        case "element":
            other = rewrite(branch, ir.Store, lambda store: replace(store, subscripts=store.subscripts[::-1]))
        case "extent":
            other = rewrite(branch, ir.Axis, lambda axis: replace(axis, extent=axis.extent + 1))
        case _:
            other = rewrite(branch, ir.Int, lambda number: ir.Int(number.value + 1))
    broken = rewrite(split, ir.If, lambda each: other if each == branch else each)
    assert broken != split and join_edges(broken) == broken


def test_branches_that_what_they_write_decides_stay_two() -> None:
    """Y(0) = Y(0) + 6 where Y(0) < 5, and then where Y(0) >= 5: it is done twice if Y(0) is 0."""
    data = ir.FromValue(ir.Load("Y", (ir.Int(0),), ScalarType.INT64))
    value = ir.BinaryOp("+", data.value, ir.Const(6, ScalarType.INT64), ScalarType.INT64)
    body = (ir.Tile(None, ir.Axis("j", ir.Int(0), 1), (ir.Store("Y", (ir.Int(0),), value),)),)
    inside = ir.Compare("<", data, ir.Int(5))
    for condition in inside, ir.Compare("<", ir.Var("i"), ir.Int(5)):
        sides = ir.If(condition, body), ir.If(negated(condition), body)
        kernel = ir.Kernel("f", (), (), (), (ir.Stage("s", (ir.Loop("i", ir.Int(0), ir.Int(9), sides),)),))
        assert (join_edges(kernel) == kernel) == (condition is inside)


def test_ragged_registers_are_not_blended_inside_of_a_reduction() -> None:
    """Whole and ragged tiles use one register buffer; each fills it before it adds to it."""
    _, kernel = built(
        infer(load("def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }")["f"], None, "symbolic")
    )
    split = split_edges(kernel)
    assert [overwritable(split, stage.body) for stage in split.stages] == [frozenset({"C_tile"})]
