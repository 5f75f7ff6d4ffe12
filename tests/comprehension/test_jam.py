"""Iterations side by side around register tiles: proved, right, in order where order counts, and refused elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from native_kernels import evaluate
from test_poly_kernels import AVX512

from comprehension.codegen.cpu import generate
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interpret import interpret
from comprehension.kernel.jam import jam
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import find_dependences
from comprehension.poly.nest import Nest
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.tile_plan import TilePlan

CONVOLUTION = """def f(float(N,C,H,W) I, float(F,C,KH,KW) K, float(F) B) -> (O) {
    O(n,f,h,w) +=! I(n,c,h+kh,w+kw) * K(f,c,kh,kw)
    O(n,f,h,w) = O(n,f,h,w) + B(f)
}"""
MACHINE = replace(AVX512, vector_bits=128, cores=2)
Shapes = tuple[tuple[int, ...], ...]


def shapes(n: int, c: int, f: int, h: int, w: int, k: int) -> Shapes:
    return (n, c, h + k - 1, w + k - 1), (f, c, k, k), (f,)


def built(shape: Shapes, math: Any = "fast") -> tuple[Scop, ir.Kernel, tuple[str, ...]]:
    program = infer(load(CONVOLUTION)["f"], tuple(Spec(each, ScalarType.FLOAT32) for each in shape), "static")
    scop = build_scop(program)
    tree = schedule(scop, find_dependences(scop), machine=MACHINE, math=math)
    kernel = build_kernel(scop, tree, math)
    verify_kernel(kernel)
    return scop, kernel, tree.steps


def side_by_side(kernel: ir.Kernel) -> set[str]:
    return {b.name for b in kernel.buffers if b.space is ir.Space.REGISTER}


def arrays(shape: Shapes, *, whole: bool = True) -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(sum(map(sum, shape)))
    draw = (lambda s: generator.integers(-2, 3, s)) if whole else generator.standard_normal
    return {name: np.asarray(draw(s), np.float32) for name, s in zip("IKB", shape, strict=False)}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where iterations may stand side by side they do, at the least cost."""

    def plan(model: ContractionModel, nest: Nest) -> TilePlan | None:
        found = model.plans(nest)
        return min(found, key=lambda p: (p.jam is None, p.cost), default=None)

    monkeypatch.setattr(ContractionModel, "plan", plan)


def check(scop: Scop, kernel: ir.Kernel, shape: Shapes, *, whole: bool = True) -> None:
    program = infer(load(CONVOLUTION)["f"], tuple(Spec(each, ScalarType.FLOAT32) for each in shape), "static")
    inputs = arrays(shape, whole=whole)
    wanted = run(program, inputs)["O"]
    for order in (iter, reversed):
        np.testing.assert_array_equal(interpret(kernel, inputs, {}, order=order)["O"], wanted)


@pytest.mark.usefixtures("always")
@settings(max_examples=6)
@given(
    n=st.integers(1, 2), c=st.integers(1, 2), f=st.integers(2, 5), h=st.integers(2, 7), w=st.integers(3, 10),
    k=st.integers(2, 3), math=st.sampled_from(["fast", "strict"]),
)  # fmt: skip
def test_iterations_side_by_side_are_right_and_proved(
    n: int, c: int, f: int, h: int, w: int, k: int, math: str
) -> None:
    """Small integers are exact in any order; in strict order any numbers are."""
    shape = shapes(n, c, f, h, w, k)
    scop, kernel, steps = built(shape, math)
    whole = split_edges(kernel)
    assert certify(scop, None, whole)
    check(scop, whole, shape, whole=math == "fast")
    if any("side by side" in step for step in steps):
        assert len(side_by_side(kernel)) > 1


def test_the_model_chooses_image_rows_that_share_weights() -> None:
    _, kernel, steps = built(shapes(4, 8, 8, 26, 26, 3))
    assert any("of h side by side, kh innermost" in step for step in steps)
    assert len(side_by_side(kernel)) > 1


@pytest.mark.usefixtures("always")
def test_an_iteration_in_the_wrong_registers_is_refused() -> None:
    scop, kernel, _ = built(shapes(2, 1, 2, 6, 8, 3))
    first, other, *_ = sorted(side_by_side(kernel))
    stores = [s for s in nodes_of(kernel.stages, ir.Store) if s.role is ir.StoreRole.EXECUTE and s.buffer == other]
    assert stores
    for store in stores:
        wrong = rewrite(
            kernel, ir.Store, lambda found, store=store: replace(found, buffer=first) if found == store else found
        )
        assert not certify(scop, None, wrong)


@pytest.mark.usefixtures("always")
@settings(max_examples=5)
@given(a=st.sampled_from([4, 5, 6, 8, 9]), d=st.integers(2, 9), e=st.integers(2, 4), k=st.integers(4, 6))
def test_iterations_that_share_what_rows_read_are_right_and_proved(a: int, d: int, e: int, k: int) -> None:
    """Lanes too few for a wide tile: elements of W serve several a; what they make is handed on in scratch."""
    text = """def f(float(B,A,K,E) X, float(D,K) W, float(C,D) V) -> (O) {
        T(b,a,d,e) +=! X(b,a,k,e) * W(d,k)
        O(b,a,c,e) +=! T(b,a,d,e) * V(c,d)
    }"""
    given = tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((2, a, k, e), (d, k), (5, d)))
    scop = build_scop(infer(load(text)["f"], given, "static"))
    tree = schedule(scop, find_dependences(scop), machine=replace(MACHINE, l2_bytes=256))
    kernel = split_edges(build_kernel(scop, tree, "fast"))
    assert any("of a side by side, k innermost" in step for step in tree.steps)
    assert certify(scop, None, kernel)
    generator = np.random.default_rng(a * d * e)
    inputs = {n: generator.integers(-2, 3, s.shape).astype(np.float32) for n, s in zip("XWV", given, strict=True)}
    np.testing.assert_array_equal(interpret(kernel, inputs, {})["O"], run(scop.program, inputs)["O"])


def test_what_iterations_keep_apart_in_scratch_may_stand_side_by_side() -> None:
    box = ir.Buffer("box", ScalarType.FLOAT32, (ir.Int(5), ir.Int(9)), ir.Space.SCRATCH)
    zero = ir.Const(0.0, ScalarType.FLOAT32)
    for first, alone in ((ir.Var("h"), True), (ir.Int(0), False), (ir.IntOp("*", ir.Int(2), ir.Var("h")), False)):
        loop = ir.Loop("h", ir.Int(0), ir.Int(5), (ir.Store("box", (first, ir.Int(0)), zero),))
        assert (jam(loop, 2, {"box": box}, str) is not None) == alone
    stores = []
    for back in (0, 1):
        before = ir.IntOp("-", ir.Var("h"), ir.Int(back))
        read = ir.Load("box", (before, ir.Int(0)), ScalarType.FLOAT32)
        stores.append(ir.Store("box", (ir.Var("h"), ir.Int(back)), read))
    assert jam(ir.Loop("h", ir.Int(1), ir.Int(5), tuple(stores)), 2, {"box": box}, str) is None


@settings(max_examples=4)
@given(c=st.integers(2, 3), h=st.integers(2, 9), w=st.integers(8, 21), k=st.integers(2, 3))
def test_lanes_side_by_side_are_right_and_proved(c: int, h: int, w: int, k: int) -> None:
    """Depthwise: no register tile, but weights stay while image rows move."""
    text = "def f(float(C,H,W) I, float(C,KH,KW) K) -> (O) { O(c,h,w) +=! I(c,h+kh,w+kw) * K(c,kh,kw) }"
    shape = (c, h + k - 1, w + k - 1), (c, k, k)
    program = infer(load(text)["f"], tuple(Spec(each, ScalarType.FLOAT32) for each in shape), "static")
    scop = build_scop(program)
    tree = schedule(scop, find_dependences(scop), machine=MACHINE)
    kernel = split_edges(build_kernel(scop, tree, "fast"))
    assert any("of h side by side" in step for step in tree.steps)
    assert certify(scop, None, kernel)
    inputs = arrays(shape)
    np.testing.assert_array_equal(interpret(kernel, inputs, {})["O"], run(program, inputs)["O"])


def test_what_is_packed_in_a_loop_keeps_its_iterations_apart() -> None:
    store = ir.Store("panel", (ir.Int(0),), ir.Const(0.0, ScalarType.FLOAT32))
    loop = ir.Loop("h", ir.Int(0), ir.Int(5), (store,))
    panel = ir.Buffer("panel", ScalarType.FLOAT32, (ir.Int(1),), ir.Space.SCRATCH)
    assert jam(loop, 2, {"panel": panel}, str) is None
    found = jam(loop, 2, {}, str)
    assert found is not None
    assert [type(node) for node in found.nodes] == [ir.Loop, ir.Store]


@pytest.mark.parametrize("copies", [2, 3])
def test_a_loop_of_unknown_length_goes_on_alone_after_its_last_group(copies: int) -> None:
    store = ir.Store("row", (ir.Var("h"),), ir.Const(0.0, ScalarType.FLOAT32))
    loop = ir.Loop("h", ir.Int(1), ir.Var("H"), (store,))
    found = jam(loop, copies, {}, str)
    assert found is not None
    for end in range(9):
        rows = [
            evaluate(store.subscripts[0], {"h": h, "H": end})
            for part in nodes_of(found.nodes, ir.Loop)
            for h in range(evaluate(part.lower, {"H": end}), evaluate(part.upper, {"H": end}), part.step)
            for store in nodes_of(part.body, ir.Store)
        ]
        assert rows == list(range(1, end))


@pytest.mark.usefixtures("always")
def test_a_ragged_tile_needs_no_blend_on_either_side_of_its_branch() -> None:
    _, kernel, _ = built(shapes(2, 1, 2, 6, 29, 3))
    split = split_edges(kernel)
    assert list(nodes_of(split.stages, ir.If))
    assert "keep(" not in generate(split, MACHINE).text
