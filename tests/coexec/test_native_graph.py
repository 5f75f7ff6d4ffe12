"""Whole graphs through the compiler and the native loop: what they compute is what the eager rules compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import GraphBuilder, evaluate
from hypothesis import given, settings
from op_programs import OpProgram, op_programs

import minitensor  # noqa: F401 - registers the operations
from coexec.graph.symbolic import Feed, Output, SymbolicGraph
from coexec.graph_side.graph_compiler import build_native, compile_native
from coexec.graph_side.graph_runner import NativeGraph

F32 = np.float32
Array = np.ndarray[Any, np.dtype[Any]]


def run_native(compiled: NativeGraph, feeds: dict[int, Any], kept: tuple[Output, ...]) -> list[Array]:
    """One step of a straight-line graph."""
    run = compiled.start()
    for slot, value in feeds.items():
        run.feed(slot, value)
    return [handle.wait() for handle in run.finish(kept)]


def check_exactly(
    graph: SymbolicGraph, feeds: dict[int, Any], kept: tuple[Output, ...], numerics: str = "fast"
) -> None:
    compiled = build_native(graph, numerics)
    expected = evaluate(graph, feeds)
    for _ in range(2):
        for output, found in zip(kept, run_native(compiled, feeds, kept), strict=True):
            np.testing.assert_array_equal(found, expected[output])
            assert found.dtype == expected[output].dtype and not found.flags.writeable


@settings(max_examples=6, derandomize=True, database=None)
@given(op_programs(most=8))
def test_random_programs_on_small_integers_bit_for_bit(program: OpProgram) -> None:
    check_exactly(program.graph, program.feeds, program.outputs)


def integers(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-3, 4, shape).astype(F32)


def training_step() -> tuple[GraphBuilder, dict[int, Any], tuple[Output, ...]]:
    """relu(x @ w + b), squared error, gradients and SGD with dyadic numbers: exact in any order."""
    g, rng = GraphBuilder(), np.random.default_rng(1)
    x, w, b, y = g.feed((16, 8)), g.feed((8, 5)), g.feed((5,)), g.feed((16, 5))
    rate = g.feed((), "float64", scalar=True)
    z = g.op("add", g.op("matmul", x, w), b)
    d = g.op("subtract", g.op("relu", z), y)
    loss = g.op("sum", g.op("multiply", d, d), axis=(0, 1), keepdims=False)
    g.fetch(loss)
    gz = g.op("where", g.op("greater", z, 0.0), g.op("multiply", d, 0.25), 0.0)
    gw = g.op("matmul", g.op("permute_dims", x, axes=(1, 0)), gz)
    gb = g.op("sum", gz, axis=(0,), keepdims=False)
    new_w = g.op("subtract", w, g.op("multiply", gw, rate))
    new_b = g.op("subtract", b, g.op("multiply", gb, rate))
    arrays = [integers(rng, *shape) for shape in ((16, 8), (8, 5), (5,), (16, 5))]
    return g, {**dict(enumerate(arrays)), 4: 0.5}, (loss, gw, new_w, new_b)


@pytest.mark.parametrize("numerics", ["fast", "reproducible"])
def test_a_training_step_bit_for_bit(numerics: str) -> None:
    g, feeds, kept = training_step()
    graph = g.graph(kept=kept)
    check_exactly(graph, feeds, kept, numerics)
    compiled = build_native(graph, numerics)
    assert compiled.kernels <= 3 and all(placement.kernels for placement in compiled.placements)


def test_parameters_go_from_step_to_step_without_being_looked_at() -> None:
    g, feeds, kept = training_step()
    graph = g.graph(kept=kept)
    compiled = build_native(graph, "fast")
    state: Any = (feeds[1], feeds[2])
    w, b = state
    for _ in range(4):
        run = compiled.start()
        for slot, value in {**feeds, 1: state[0], 2: state[1]}.items():
            run.feed(slot, value)
        values = evaluate(graph, {**feeds, 1: w, 2: b})
        assert float(run.fetch(kept[0])) == float(values[kept[0]])
        state = run.finish(kept[2:])
        w, b = values[kept[2]], values[kept[3]]
    np.testing.assert_array_equal(state[0].wait(), w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reproducible_arithmetic_is_that_of_eager_rules_to_the_last_bit(dtype: str) -> None:
    """+ − × ÷ sqrt, comparisons, casts and movement, on numbers that round, overflow and are not numbers."""
    g, rng = GraphBuilder(), np.random.default_rng(5)
    a, b, c = g.feed((37, 5), dtype), g.feed((5,), dtype), g.feed((37, 1), dtype)
    rate = g.feed((), "float64", scalar=True)
    s = g.op("add", g.op("multiply", a, b), c)  # must not become one fused operation
    q = g.op("divide", g.op("subtract", s, g.op("multiply", c, rate)), g.op("sqrt", g.op("abs", s)))
    m = g.op(
        "where",
        g.op("less", q, b),
        g.op("maximum", q, 0.1),
        g.op("permute_dims", g.op("reshape", a, shape=(5, 37)), axes=(1, 0)),
    )
    r = g.op("astype", g.op("astype", m, dtype=np.dtype("float64")), dtype=np.dtype(dtype))
    arrays = [
        (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)
        for shape in ((37, 5), (5,), (37, 1))
    ]
    arrays[0][:6, 0] = [np.nan, np.inf, -np.inf, -0.0, 0.0, np.finfo(dtype).max]
    graph = g.graph(kept=(s, q, m, r))
    with np.errstate(all="ignore"):
        check_exactly(graph, {**dict(enumerate(arrays)), 3: 0.3}, (s, q, m, r), "reproducible")


def test_one_kernel_for_all_lengths() -> None:
    g = GraphBuilder()
    x, w = g.feed(("n", 6)), g.feed((6, 4))
    h = g.op("maximum", g.op("matmul", x, w), 0.0)
    s = g.op("sum", h, axis=(1,), keepdims=True)
    r = g.op("subtract", h, s)
    compiled = build_native(g.graph(kept=(r,), symbols=("n",)), "fast")
    rng = np.random.default_rng(2)
    weights = integers(rng, 6, 4)
    for n in (3, 64, 1, 17, 3, 0):
        data = integers(rng, n, 6)
        run = compiled.start()
        run.bind(0, n)
        run.feed(0, data)
        run.feed(1, weights)
        hidden = np.maximum(data @ weights, 0)
        np.testing.assert_array_equal(run.finish([r])[0].wait(), hidden - hidden.sum(1, keepdims=True))


def test_equal_clusters_share_one_kernel() -> None:
    g = GraphBuilder()
    kept = []
    for _ in range(3):
        a, b = g.feed((9, 7)), g.feed((9, 7))
        kept.append(g.op("subtract", a, g.op("multiply", b, 0.5)))
    compiled = build_native(g.graph(kept=tuple(kept)), "fast")
    assert compiled.kernels == 3
    assert len({id(cluster.kernel) for cluster in compiled.clusters}) == 1
    again = build_native(g.graph(kept=tuple(kept)), "fast")
    assert again.clusters[0].kernel is compiled.clusters[0].kernel


def test_softmax_stays_within_a_few_ulps() -> None:
    """exp and its sum of 10 terms: |error| ≤ (4 + γ₁₀/u + 2) ulps of a value in [0, 1]."""
    g = GraphBuilder()
    x = g.feed((33, 10))
    m = g.op("max", x, axis=(1,), keepdims=True)
    e = g.op("exp", g.op("subtract", x, m))
    p = g.op("divide", e, g.op("sum", e, axis=(1,), keepdims=True))
    graph = g.graph(kept=(p,))
    data = np.random.default_rng(3).normal(size=(33, 10)).astype(F32)
    (found,) = run_native(build_native(graph, "fast"), {0: data}, (p,))
    wide = np.exp(data.astype(np.float64) - data.max(1, keepdims=True))
    np.testing.assert_allclose(found, wide / wide.sum(1, keepdims=True), rtol=16 * 2**-24, atol=0)


def test_explanation_shows_every_stage() -> None:
    g = GraphBuilder()
    a = g.feed((5,))
    compiled = build_native(g.graph(kept=(g.op("exp", a),)), "fast")
    text = compiled.explain()
    for part in ("await feed0", "run kernel 0", "owned", "def cluster", "exp(x0(i0))"):
        assert part in text, part


def test_what_cannot_be_compiled_says_so() -> None:
    g = GraphBuilder()
    a = g.feed((5,), "complex64")
    graph = g.graph(kept=(g.op("exp", a),))
    error = compile_native(graph, numerics="fast").exception(timeout=60)
    assert type(error).__name__ == "CompilationFailed" and "test.py:1" in str(error)


def test_feeds_may_be_strided_and_are_not_written() -> None:
    g = GraphBuilder()
    a = g.feed((4, 6))
    c = g.op("add", a, a)
    compiled = build_native(g.graph(kept=(c,)), "fast")
    base = integers(np.random.default_rng(4), 6, 8)
    view = base.T[::2, ::1][:4, :6]
    assert not view.flags.c_contiguous and isinstance(compiled.graph.feeds[0], Feed)
    before = base.copy()
    np.testing.assert_array_equal(run_native(compiled, {0: view}, (c,))[0], 2 * view)
    np.testing.assert_array_equal(base, before)
