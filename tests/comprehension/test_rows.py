"""Reductions of several rows at once, and rows of a reduction several at a time: proved, right, only where asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_poly_kernels import AVX512

from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.edges import split_edges
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.rows import in_rows
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly import lanes as lane_model, rows as row_model
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop

SUM = "def f(float(M,N) X) -> (Y) { Y(m) {op}=! X(m,n) }"
MOMENTS = """def f(float(M,N) X) -> (Y, Z) {
    Y(m) {op}=! X(m,n)
    Z(m) +=! X(m,n) * X(m,n)
    Y(m) = Y(m) * 2
    Z(m) = Z(m) - Y(m)
}"""
GROUPED = "def f(float(B,M,N) X) -> (Y) { Y(b,m) {op}=! X(b,m,n) }"
OVER_ROWS = "def f(float(M,N) X) -> (Y) { Y(n) {op}=! X(m,n) }"
SOFTMAX = """def f(float(M,N) X) -> (Y) {
    top(m) max=! X(m,n)
    e(m,n) = X(m,n) - top(m)
    total(m) +=! e(m,n)
    Y(m,n) = e(m,n) * total(m)
}"""
CENTRED = """def f(float(B,M,N) X) -> (Y, Z) {
    mean(b,m) +=! X(b,m,n)
    Z(b,m) +=! (X(b,m,n) - mean(b,m)) * X(b,m,n)
    Y(b,m,n) = X(b,m,n) * Z(b,m) - mean(b,m)
}"""
MEAN_OVER_ROWS = "def f(float(M,N) X) -> (Y, Z) { Y(n) {op}=! X(m,n)\n Z(n) +=! X(m,n)\n Y(n) = Y(n) + 1 }"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is far and long in big tensors is so in small ones."""
    monkeypatch.setattr(row_model, "ROWS", (4, 2))
    monkeypatch.setattr(row_model, "UNITS_A_CORE", 1)
    monkeypatch.setattr(lane_model, "PAGE", 8)
    monkeypatch.setattr(row_model, "LINE", 4)
    monkeypatch.setattr(row_model, "SHORT_RUN", 8)
    monkeypatch.setattr(row_model, "LONG_RUN", 16)


def built(text: str, shape: tuple[int, ...] | None, math: Any = "fast") -> tuple[Scop, ir.Kernel]:
    specs = None if shape is None else (Spec(shape, ScalarType.FLOAT32),)
    program = infer(load(text)["f"], specs, "symbolic" if specs is None else "static")
    scop = build_scop(program)
    machine = replace(AVX512, vector_bits=128, cores=1)
    kernel = build_kernel(scop, schedule(scop, find_dependences(scop), machine=machine, math=math), math)
    verify_kernel(kernel)
    return scop, kernel


def rows_of(kernel: ir.Kernel) -> set[int]:
    return {tile.rows.extent for tile in nodes_of(kernel.stages, ir.Tile) if tile.rows is not None}


def check(text: str, scop: Scop, kernel: ir.Kernel, shape: tuple[int, ...]) -> None:
    """Small integers: exact in any order."""
    x = np.random.default_rng(sum(shape)).integers(-2, 3, shape).astype(np.float32)
    wanted = run(infer(load(text)["f"], (Spec(shape, ScalarType.FLOAT32),)), {"X": x})
    split = split_edges(kernel)
    assert certify(scop, None, split)
    named = dict(zip(("BMN" if len(shape) == 3 else "MN"), shape, strict=True)) if scop.program.sizes else {}
    for order in (iter, reversed):
        found = interpret(split, {"X": x}, named, order=order)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("text", [SUM, MOMENTS, GROUPED])
@settings(max_examples=5)
@given(m=st.integers(4, 13), n=st.integers(17, 40), op=st.sampled_from(["+", "max"]), symbolic=st.booleans())
def test_rows_at_once_are_right_and_proved(text: str, m: int, n: int, op: str, symbolic: bool) -> None:
    text, shape = text.replace("{op}", op), (3, m, n) if "B" in text else (m, n)
    scop, kernel = built(text, None if symbolic else shape)
    assert rows_of(kernel) <= {4, 2} and rows_of(kernel)
    check(text, scop, kernel, shape)


@pytest.mark.parametrize("text", [SOFTMAX, CENTRED])
@settings(max_examples=3)
@given(m=st.integers(4, 9), n=st.integers(5, 16), op=st.sampled_from(["+", "max"]))
def test_short_rows_side_by_side_are_right_and_proved(text: str, m: int, n: int, op: str) -> None:
    shape = (3, m, n) if "B" in text else (m, n)
    scop, kernel = built(text.replace("max=!", f"{op}=!"), shape)
    assert rows_of(kernel) <= {4, 2} and rows_of(kernel)
    check(text.replace("max=!", f"{op}=!"), scop, kernel, shape)


def test_folds_of_longer_rows_take_a_small_part_of_the_time() -> None:
    """Of eight vectors where there is much to do with each, of four where there is little."""
    heavy = SOFTMAX.replace("X(m,n) - top(m)", "exp(X(m,n) - top(m))")
    for text, longest in ((SOFTMAX, 16), (heavy, 32)):
        rows = [rows_of(built(text, (9, n))[1]) for n in (longest, longest + 1)]
        assert rows == [{4}, set()]


def test_rows_shorter_than_two_tiles_stay_single() -> None:
    """Vectors of four floats: eight rows of two vectors each, beside one another."""
    rows = [rows_of(built(SUM.replace("{op}", "+"), (2048, n))[1]) for n in (15, 16)]
    assert 8 not in rows[0] and rows[1] == {8}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("text", [OVER_ROWS, MEAN_OVER_ROWS])
@settings(max_examples=5)
@given(
    m=st.integers(16, 21),
    n=st.integers(64, 90),
    op=st.sampled_from(["+", "max"]),
    math=st.sampled_from(["fast", "strict"]),
)
def test_groups_of_rows_are_right_and_proved(text: str, m: int, n: int, op: str, math: str) -> None:
    text = text.replace("{op}", op)
    scop, kernel = built(text, (m, n), math)
    groups = [loop for loop in nodes_of(kernel.stages, ir.Loop) if loop.upper == ir.Int(-(-m // 4))]
    assert groups, "groups of four rows"
    check(text, scop, kernel, (m, n))


@pytest.mark.parametrize("text", [SUM, MOMENTS])
def test_strict_sums_keep_their_order(text: str) -> None:
    _, kernel = built(text.replace("{op}", "+"), (64, 4096), "strict")
    assert not rows_of(kernel)


def test_long_sums_over_rows_keep_their_blocks() -> None:
    """One accumulator in memory would take them all."""
    for m in (row_model.BLOCK, row_model.BLOCK + 1):
        _, kernel = built(OVER_ROWS.replace("{op}", "+"), (m, 4096))
        grouped = any(loop.upper == ir.Int(-(-m // 8)) for loop in nodes_of(kernel.stages, ir.Loop))
        assert grouped == (m <= row_model.BLOCK)


# --- what rows cannot be, and what is not let through -------------------------------------------------------------


def by_hand(body: tuple[ir.Node, ...]) -> ir.Loop:
    return ir.Loop("i", ir.Int(0), ir.Int(16), body)


def store(buffer: str, *subscripts: ir.IntExpr) -> ir.Store:
    return ir.Store(buffer, subscripts, ir.Const(0.0, ScalarType.FLOAT32))


def test_what_depends_on_the_row_is_refused() -> None:
    i, lane = ir.Var("i"), ir.Axis("l", ir.Int(0), 8)
    register = ir.Buffer("acc", ScalarType.FLOAT32, (ir.Int(8),), ir.Space.REGISTER)
    scratch = ir.Buffer("row", ScalarType.FLOAT32, (ir.Int(8),), ir.Space.SCRATCH)
    local = {b.name: b for b in (register, scratch)}
    tile = ir.Tile(None, lane, (store("acc", ir.Var("l")),))
    fine = by_hand((store("Y", i), tile))
    assert in_rows(fine, 4, local, "r") is not None
    refused = [
        by_hand((ir.Loop("k", ir.Int(0), i, (tile,)),)),  # a triangle
        by_hand((ir.If(ir.Compare("<", i, ir.Int(3)), (tile,)),)),
        by_hand((replace(tile, lanes=replace(lane, limit=i)),)),
        by_hand((ir.Loop("k", ir.Int(0), ir.Int(3), (store("row", ir.Int(0)),)),)),
        by_hand((store("acc", ir.Int(0)),)),
        replace(fine, step=2),
    ]
    for loop in refused:
        assert in_rows(loop, 4, local, "r") is None


def test_what_an_iteration_keeps_gets_a_row() -> None:
    i, lane = ir.Var("i"), ir.Axis("l", ir.Int(0), 8)
    kept = ir.Buffer("kept", ScalarType.FLOAT32, (ir.Int(8),), ir.Space.SCRATCH)
    single = ir.Buffer("single", ScalarType.FLOAT32, (), ir.Space.REGISTER)
    around = ir.Buffer("around", ScalarType.FLOAT32, (ir.Int(16), ir.Int(8)), ir.Space.SCRATCH)
    tile = ir.Tile(None, lane, (store("kept", ir.Var("l")), store("around", i, ir.Var("l"))))
    seen = ir.Loop("k", ir.Int(0), ir.Int(3), (replace(tile, body=(store("Y", i, ir.Var("l")),)),))
    loop = by_hand((store("single"), tile, seen))
    found = in_rows(loop, 4, {b.name: b for b in (kept, single, around)}, "r")
    assert found is not None
    assert [(b.name, b.shape, b.space) for b in found.buffers] == [
        ("single", (ir.Int(4),), ir.Space.SCRATCH),
        ("kept", (ir.Int(4), ir.Int(8)), ir.Space.SCRATCH),
    ]
    first, together, last = found.loop.body
    assert isinstance(first, ir.Loop) and isinstance(last, ir.Loop), "row by row"
    assert isinstance(together, ir.Tile) and together.rows == ir.Axis("r", ir.Int(0), 4)
    assert last.body == map_integers((seen,), {"i": ir.Var("r")})


@pytest.mark.usefixtures("small")
def test_wrong_rows_are_refused_by_the_certificate() -> None:
    scop, kernel = built(MOMENTS.replace("{op}", "+"), (13, 40))
    assert certify(scop, None, kernel)

    def without_limit(axis: ir.Axis) -> ir.Axis:
        return replace(axis, limit=None) if axis.variable.startswith("row") else axis

    def one_row(load: ir.Load) -> ir.Load:
        return load if load.buffer != "X" else map_integers(load, {name: ir.Int(0) for name in rows})

    rows = {tile.rows.variable for tile in nodes_of(kernel.stages, ir.Tile) if tile.rows is not None}
    header = kernel.stages[0].parallel
    assert header is not None
    wrong = [
        rewrite(kernel, ir.Axis, without_limit),
        rewrite(kernel, ir.Load, one_row),
        replace(kernel, stages=(replace(kernel.stages[0], parallel=replace(header, step=header.step - 1)),)),
    ]
    for each in wrong:
        assert not certify(scop, None, each)
