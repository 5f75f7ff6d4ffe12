"""Several steps of a reduction in a vector: proved, right, refused where a part is lost; chosen where lanes are few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_poly_kernels import AVX512

import comprehension as tc
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interleave import STEPS, interleave_steps, rows_of
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.machine import host
from comprehension.poly.certificate import certify
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import find_dependences
from comprehension.poly.nest import Nest
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.tile_plan import TilePlan

NARROW = """def f(float(A,M,K) X, float(D,K) W, float(D) B) -> (O) {
    O(a,m,d) +=! X(a,m,k) * W(d,k)
    O(a,m,d) = O(a,m,d) + B(d)
}"""
MACHINE = replace(AVX512, vector_bits=128, cores=2)
LANES = MACHINE.lanes(32)
IN_A_VECTOR = "steps of k in a vector"


def specs(a: int, m: int, k: int, d: int) -> tuple[Spec, ...]:
    return tuple(Spec(shape, ScalarType.FLOAT32) for shape in ((a, m, k), (d, k), (d,)))


def built(given: tuple[Spec, ...], math: Any = "fast") -> tuple[Scop, ir.Kernel, tuple[str, ...]]:
    scop = build_scop(infer(load(NARROW)["f"], given, "static"))
    kernel = build_kernel(scop, schedule(scop, find_dependences(scop), machine=MACHINE, math=math), math)
    woven = interleave_steps(kernel, MACHINE)
    verify_kernel(woven.kernel)
    return scop, split_edges(woven.kernel), woven.notes


def integers(given: tuple[Spec, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """Small ones: exact in any order."""
    generator = np.random.default_rng(sum(sum(spec.shape) for spec in given))
    return {n: generator.integers(-3, 4, s.shape).astype(np.float32) for n, s in zip("XWB", given, strict=True)}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steps may stand in a vector they do, at the least cost."""

    def plan(model: ContractionModel, nest: Nest) -> TilePlan | None:
        return min(model.plans(nest), key=lambda p: (IN_A_VECTOR not in p.reason, p.cost), default=None)

    monkeypatch.setattr(ContractionModel, "plan", plan)


@pytest.mark.usefixtures("always")
@settings(max_examples=6)
@given(a=st.integers(1, 2), m=st.integers(2, 15), k=st.integers(4, 6).map(lambda n: STEPS * n))
def test_steps_in_a_vector_are_right_and_proved(a: int, m: int, k: int) -> None:
    given = specs(a, m, k, LANES)
    scop, kernel, notes = built(given)
    assert notes
    assert certify(scop, None, kernel)
    inputs = integers(given)
    wanted = run(scop.program, inputs)["O"]
    for order in (iter, reversed):
        np.testing.assert_array_equal(interpret(kernel, inputs, {}, order=order)["O"], wanted)


@pytest.mark.usefixtures("always")
def test_a_part_that_is_added_twice_is_refused() -> None:
    scop, kernel, _ = built(specs(1, 4, 16, LANES))
    (parts,) = {b.name for b in kernel.buffers if b.name.endswith("_steps")}
    loads = [
        x for x in nodes_of(kernel.stages, ir.Load) if x.buffer == parts and isinstance(x.subscripts[-1], ir.IntOp)
    ]
    first, *_, last = dict.fromkeys(loads)
    wrong = rewrite(kernel, ir.Load, lambda found: first if found == last else found)
    assert not certify(scop, None, wrong)


@pytest.mark.usefixtures("always")
def test_a_step_at_another_place_of_the_panel_is_refused() -> None:
    scop, kernel, _ = built(specs(1, 4, 16, LANES))

    def moved(found: ir.Store) -> ir.Store:
        if found.role is not ir.StoreRole.COPY or not found.buffer.startswith("W"):
            return found
        *outer, last = found.subscripts
        return replace(found, subscripts=(*outer, ir.IntOp("%", ir.IntOp("+", last, ir.Int(1)), ir.Int(16))))

    assert not certify(scop, None, rewrite(kernel, ir.Store, moved))


@pytest.mark.parametrize(
    ("given", "math"),
    [
        (specs(2, 8, 17, LANES), "fast"),
        (specs(2, 8, 16, LANES - 1), "fast"),
        (specs(2, 8, 16, 2 * LANES), "fast"),
        (specs(2, 8, 16, LANES), "strict"),
    ],
    ids=["a step is left over", "lanes are left over", "two vectors of lanes", "terms in the order of the text"],
)
@pytest.mark.usefixtures("always")
def test_steps_stay_one_after_the_other(given: tuple[Spec, ...], math: str) -> None:
    _, kernel, _ = built(given, math)
    if math == "fast":
        assert not any(buffer.name.endswith("_steps") for buffer in kernel.buffers)
    scop = build_scop(infer(load(NARROW)["f"], given, "static"))
    tree = schedule(scop, find_dependences(scop), machine=MACHINE, math=math)
    assert not any(IN_A_VECTOR in step for step in tree.steps)


@pytest.mark.usefixtures("always")
def test_sums_that_are_not_whole_vectors_in_registers_are_left_alone() -> None:
    scop = build_scop(infer(load(NARROW)["f"], specs(1, 4, 16, LANES), "static"))
    kernel = build_kernel(scop, schedule(scop, find_dependences(scop), machine=MACHINE))
    assert interleave_steps(kernel, MACHINE).notes
    elsewhere = [replace(b, space=ir.Space.SCRATCH) if b.space is ir.Space.REGISTER else b for b in kernel.buffers]
    in_part = rewrite(kernel, ir.Tile, lambda tile: replace(tile, lanes=replace(tile.lanes, limit=ir.Int(LANES - 1))))
    later = rewrite(kernel, ir.Tile, lambda tile: replace(tile, lanes=replace(tile.lanes, start=ir.Int(1))))
    for other in (replace(kernel, buffers=tuple(elsewhere)), in_part, later):
        assert interleave_steps(other, MACHINE).kernel == other


def test_the_model_chooses_steps_in_a_vector_where_lanes_are_few() -> None:
    given = specs(8, 96, 128, 16)
    scop = build_scop(infer(load(NARROW)["f"], given, "static"))
    tree = schedule(scop, find_dependences(scop), machine=AVX512)
    (reason,) = [step for step in tree.steps if "in registers" in step]
    assert f"{rows_of(AVX512)} rows of m by 16 lanes of d in registers, {STEPS} {IN_A_VECTOR}" in reason
    assert interleave_steps(build_kernel(scop, tree, "fast"), AVX512).notes


@settings(max_examples=4)
@given(m=st.integers(2, 40), k=st.integers(4, 20).map(lambda n: STEPS * n))
def test_native_kernels_agree_with_the_reference(m: int, k: int) -> None:
    (f,) = tc.define(NARROW)
    inputs = tuple(integers(specs(3, m, k, host().lanes(32))).values())
    np.testing.assert_array_equal(f(*inputs), f.reference(*inputs))
