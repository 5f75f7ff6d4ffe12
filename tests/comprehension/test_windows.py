"""Sliding windows of min and max, folded at once: proved, right at every edge, and only what slides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from test_poly_kernels import AVX512

import comprehension as tc
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.verify import verify_kernel
from comprehension.kernel.windows import fold_windows
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop

NUMPY = {"float": np.float32, "double": np.float64, "uint8": np.uint8}
SLIDING = "def f({dtype}(M,N) X) -> (Y) {{ Y(m,n) {op}=! X(m,n+k) where k in 0:{length} }}"


def folded(text: str, shape: tuple[int, ...]) -> tuple[Scop, ir.Kernel]:
    scop = build_scop(infer(load(text)["f"], (Spec(shape, ScalarType.FLOAT32),)))
    machine = replace(AVX512, vector_bits=128)
    kernel = fold_windows(build_kernel(scop, schedule(scop, find_dependences(scop), machine=machine))).kernel
    verify_kernel(kernel)
    return scop, kernel


def windows_of(kernel: ir.Kernel) -> list[int]:
    """Of the tiles whose rows are folded."""
    tiles = [(tile, tile.rows) for tile in nodes_of(kernel.stages, ir.Tile) if tile.rows is not None]
    return [rows.extent for tile, rows in tiles if any(f.axis == rows.variable for f in nodes_of(tile, ir.Fold))]


@settings(max_examples=8)
@given(length=st.integers(4, 9), beyond=st.integers(15, 40), op=st.sampled_from(["min", "max"]))
def test_folded_windows_are_right_and_proved(length: int, beyond: int, op: str) -> None:
    shape = 2, length + beyond
    scop, kernel = folded(SLIDING.format(dtype="float", op=op, length=length), shape)
    assert windows_of(kernel) == [length] and certify(scop, None, kernel)
    x = np.random.default_rng(beyond).integers(-9, 9, shape).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)
    np.testing.assert_array_equal(interpret(kernel, {"X": x}, {})["Y"], getattr(windows, op)(-1))


@pytest.mark.parametrize(
    "statement",
    [
        "Y(m,n) +=! X(m,n+k) where k in 0:8, n in 0:40",  # an element taken twice would count twice
        "Y(m,n) max=! X(m,2*n+k) where k in 0:8, n in 0:20",
        "Y(m,n) max=! X(m,n+2*k) where k in 0:8, n in 0:20",
        "Y(m,n) max=! X(m+k,n) where k in 0:8, m in 0:2",  # down a column: nothing is shared by lanes
        "Y(m,n) max=! X(m,n+k) * 2.0 where k in 0:8, n in 0:40",
        "Y(m,n) max=! X(m,n+k) where k in 0:3, n in 0:40",
    ],
)
def test_what_does_not_slide_stays_a_loop(statement: str) -> None:
    scop, kernel = folded(f"def f(float(M,N) X) -> (Y) {{ {statement} }}", (10, 60))
    assert not windows_of(kernel) and certify(scop, None, kernel)


def test_strict_keeps_the_order_of_a_window() -> None:
    f = tc.define(SLIDING.format(dtype="float", op="max", length=8)).f
    assert "max_window" in f.compile(tc.Spec((2, 90), "float32")).source
    assert "max_window" not in f.compile(tc.Spec((2, 90), "float32"), math="strict").source


def test_wrong_windows_are_refused_by_the_certificate() -> None:
    scop, kernel = folded(SLIDING.format(dtype="float", op="max", length=6), (2, 50))
    assert certify(scop, None, kernel)

    def longer(tile: ir.Tile) -> ir.Tile:
        return tile if tile.rows is None else replace(tile, rows=replace(tile.rows, extent=tile.rows.extent + 1))

    def later(tile: ir.Tile) -> ir.Tile:
        return tile if tile.rows is None else replace(tile, rows=replace(tile.rows, start=ir.Int(1)))

    def other(fold: ir.Fold) -> ir.Fold:
        return replace(fold, op="min")

    for wrong in (rewrite(kernel, ir.Tile, longer), rewrite(kernel, ir.Tile, later), rewrite(kernel, ir.Fold, other)):
        assert not certify(scop, None, wrong)


@pytest.mark.parametrize(("dtype", "op", "length"), [("float", "max", 16), ("double", "min", 5), ("uint8", "max", 33)])
def test_compiled_windows_are_right_at_every_edge(dtype: str, op: str, length: int) -> None:
    f = tc.define(SLIDING.format(dtype=dtype, op=op, length=length), sizes="symbolic").f
    draw = np.random.default_rng(length)
    for columns in (length, length + 1, length + 62, length + 63, length + 64, length + 200):
        x = draw.integers(0, 200, (3, columns)).astype(NUMPY[dtype])
        if x.dtype.kind == "f":
            x[1, columns // 2] = np.nan
        windows = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)
        np.testing.assert_array_equal(f(x), getattr(windows, op)(-1))
    assert f"{op}_window" in f.kernels[0].source
