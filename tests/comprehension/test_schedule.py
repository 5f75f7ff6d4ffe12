"""User schedules from the outside: steps, kernels, replays, refusals that leave everything as it was, hostile texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

import comprehension as tc
from comprehension.config import statistics
from comprehension.scheduling.steps import (
    Distribute,
    Fuse,
    Pack,
    Parallelize,
    Promote,
    Reorder,
    Reverse,
    Shift,
    Skew,
    Split,
    Step,
    Tile,
    Unroll,
    Vectorize,
    parse_steps,
    to_text,
)

MATMUL = "def matmul(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
SCAN = (
    "def scan(float(T,D) X) -> (O) { O(t, d) = X(t, d) where t in 0:1"
    "  O(t, d) = 0.5 * O(t-1, d) + X(t, d) where t in 1:T }"
)
STENCIL = "def f(float(N) A) -> (C) { B(i) = A(i) + A(i+1) + A(i+2)  C(i) = B(i) + B(i+2) }"


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


# --- kernels -------------------------------------------------------------------------------------------------------


def test_a_product_by_register_tiles() -> None:
    matmul = tc.define(MATMUL).matmul
    a, b = floats(37, 29), floats(29, 50, seed=1)
    schedule = (
        matmul.schedule(a, b)
        .vectorize(m=6, n=16)
        .promote("C", at="n.outer")
        .pack("B", at="m.outer")
        .unroll("k", 2)
        .parallelize("m.outer")
    )
    kernel = schedule.compile()
    assert kernel.certificate
    np.testing.assert_array_equal(kernel(a, b), a @ b)
    np.testing.assert_array_equal(schedule(a, b), a @ b)
    assert schedule.compile() is kernel
    assert matmul.compile(a, b) is not kernel and matmul.compile(a, b).source != kernel.source
    assert "tile(6, 16)" in kernel.source
    assert "parallelize('m.outer'):\nparallel for m.outer in 0:7:" in kernel.schedule


def test_a_schedule_without_inputs_is_for_all_sizes() -> None:
    matmul = tc.define(MATMUL).matmul
    kernel = matmul.schedule().tile(m=8, n=16).parallelize("m.outer").compile()
    for m, k, n in ((5, 3, 40), (16, 1, 16), (0, 4, 3)):
        a, b = floats(m, k), floats(k, n, seed=1)
        np.testing.assert_array_equal(kernel(a, b), a @ b)


def test_a_stencil_follows_what_it_reads_in_one_loop() -> None:
    f = tc.define(STENCIL).f
    a = floats(33)
    plain = f.schedule(a)
    with pytest.raises(tc.IllegalSchedule, match=r"S0\(i=2\) writes B\(2\), which S1\(i=0\) reads after it"):
        plain.fuse("B.i", "C.i")
    fused = plain.shift("C.i", 2).fuse("B.i", "C.i")
    np.testing.assert_array_equal(fused(a), f.reference(a))
    assert len(fused.compile().manifest.stages) == 1 and len(plain.compile().manifest.stages) == 2


def test_strict_schedules_keep_the_order_of_sums() -> None:
    f = tc.define("def f(float(M,K) A) -> (s) { s(m) +=! A(m, k) }").f
    a = np.random.default_rng(0).standard_normal((5, 100)).astype(np.float32)
    strict = f.schedule(a, math="strict").split("k", 8).parallelize("m")
    np.testing.assert_array_equal(strict(a), f.reference(a))
    with pytest.raises(tc.IllegalSchedule):
        strict.reverse("k.outer")
    assert np.abs(f.schedule(a).vectorize("k", 16)(a) - a.astype(np.float64).sum(1)).max() < 1e-4


# --- schedules are values -----------------------------------------------------------------------------------------


def test_a_refused_step_leaves_the_schedule_as_it_was() -> None:
    scan = tc.define(SCAN).scan
    x = floats(6, 5)
    schedule = scan.schedule(x).split("S1.d", 2)
    before, steps = str(schedule), schedule.steps
    with pytest.raises(tc.IllegalSchedule) as refused:
        schedule.reverse("S1.t")
    pair = refused.value.pair
    assert pair is not None and pair.tensor == "O" and pair.first[0] == pair.second[0] == "S1"
    assert dict(pair.second[1])["t"] == dict(pair.first[1])["t"] + 1
    assert (str(schedule), schedule.steps) == (before, steps)
    np.testing.assert_allclose(schedule(x), scan.reference(x), rtol=1e-6)


def test_printing_shows_the_loops_before_and_after_each_step() -> None:
    schedule = tc.define(MATMUL).matmul.schedule(floats(4, 3), floats(3, 6)).interchange("m", "n").split("n", 4)
    assert str(schedule) == (
        "matmul, as written:\n"
        "for m in 0:4:\n"
        "    for n in 0:6:\n"
        "        S0_init: C(m, n) = 0\n"
        "        for k in 0:3:\n"
        "            S0: C(m, n) += A(m, k) * B(k, n)\n"
        "\n"
        "reorder('n', 'm'):\n"
        "for n in 0:6:\n"
        "    for m in 0:4:\n"
        "        S0_init: C(m, n) = 0\n"
        "        for k in 0:3:\n"
        "            S0: C(m, n) += A(m, k) * B(k, n)\n"
        "\n"
        "split('n', 4):\n"
        "for n.outer in 0:2:\n"
        "    for n.inner in 0:min(4, 6 - 4 * n.outer):\n"
        "        for m in 0:4:\n"
        "            S0_init: C(m, 4 * n.outer + n.inner) = 0\n"
        "            for k in 0:3:\n"
        "                S0: C(m, 4 * n.outer + n.inner) += A(m, k) * B(k, 4 * n.outer + n.inner)"
    )
    assert repr(schedule) == "<schedule of matmul: reorder('n', 'm'); split('n', 4)>"


def test_steps_are_replayed_on_other_sizes_and_other_defs() -> None:
    matmul = tc.define(MATMUL).matmul
    schedule = matmul.schedule(floats(8, 8), floats(8, 8)).vectorize(m=4, n=8).promote("C", at="n.outer")
    a, b = floats(19, 7), floats(7, 33, seed=1)
    np.testing.assert_array_equal(matmul.schedule(a, b).replay(schedule.steps)(a, b), a @ b)
    other = tc.define("def g(double(P,K) A, double(K,Q) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }").g
    x, y = a.astype(np.float64), b.astype(np.float64)
    np.testing.assert_array_equal(other.schedule(x, y).replay(schedule.text)(x, y), x @ y)


def test_following_steps_compiles_nothing_and_is_cached(fresh_client) -> None:
    matmul = tc.define(MATMUL).matmul
    specs = tc.Spec((40, 50), "float32"), tc.Spec((50, 60), "float32")
    schedule = matmul.schedule(*specs).tile(m=8, n=8)
    compiled = statistics.compiled
    again = matmul.schedule(*specs).tile(m=8, n=8)
    assert again.loops == schedule.loops and statistics.compiled == compiled


# --- steps as data --------------------------------------------------------------------------------------------------

NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}(\.(inner|outer)){0,2}", fullmatch=True)
NAMES = st.lists(NAME, min_size=2, max_size=4, unique=True).map(tuple)
SIZES = st.lists(st.tuples(NAME, st.integers(1, 32)), min_size=1, max_size=2, unique_by=lambda p: p[0]).map(tuple)
STEPS = st.one_of(
    st.builds(Split, NAME, st.integers(1, 64)),
    st.builds(Tile, SIZES),
    st.builds(Reorder, NAMES),
    st.builds(Fuse, NAMES),
    st.builds(Distribute, NAME),
    st.builds(Shift, NAME, st.integers(-9, 9)),
    st.builds(Reverse, NAME),
    st.builds(lambda pair, by: Skew(*pair[:2], by), NAMES, st.integers(-3, 3)),
    st.builds(Unroll, NAME, st.integers(2, 8)),
    st.builds(Vectorize, SIZES),
    st.builds(Parallelize, NAME),
    st.builds(Promote, NAME, NAME),
    st.builds(Pack, NAME, NAME),
)


@given(st.lists(STEPS, max_size=6))
def test_steps_are_what_their_text_says(steps: list[Step]) -> None:
    assert parse_steps(to_text(steps)) == tuple(steps)


@pytest.mark.parametrize(
    "text",
    [
        "split('m')",
        "split('m', 0)",
        "split('m', 2**70)",
        "split('m', True)",
        "split(m, 4)",
        "split(*['m', 4])",
        "split('m', __import__('os').getpid())",
        "os.system('true')",
        "import os",
        "tile({'m': 'n'})",
        "tile(['m'])",
        "tile()",
        "reorder('m')",
        "reorder('m', 'm')",
        "vectorize({'a': 1, 'b': 2, 'c': 3})",
        "vectorize('m', 4096)",
        "unroll('m', 1)",
        "skew('t', 't', 1)",
        "promote('C', at=3)",
        "nothing('m')",
        "(" * 500,
        "split('" + "m" * 1000 + "', 4)",
        "x = 3",
    ],
)
def test_texts_that_are_no_steps_are_refused(text: str) -> None:
    with pytest.raises(tc.ComprehensionError, match="schedule: "):
        parse_steps(text)


def test_arguments_of_steps_are_checked_where_they_are_given() -> None:
    schedule = tc.define(MATMUL).matmul.schedule(floats(4, 3), floats(3, 6))
    for wrong in (
        lambda: schedule.split("m", -1),
        lambda: schedule.split(3, 4),  # type: ignore[arg-type]
        lambda: schedule.tile(),
        lambda: schedule.tile(m=0),
        lambda: schedule.reorder("m"),
        lambda: schedule.vectorize("m"),
        lambda: schedule.replay("split('x', 4)"),
    ):
        with pytest.raises(tc.ComprehensionError, match="schedule: "):
            wrong()


def test_rows_of_a_tile_are_nothing_that_is_reduced() -> None:
    a = floats(8, 16)
    schedule = tc.define("def f(float(M,K) A) -> (S) { S +=! A(m,k) }").f.schedule(a)
    with pytest.raises(tc.ComprehensionError, match="S0 reduces over m") as refused:
        schedule.vectorize(m=2, k=8)
    assert "unroll('m', 2).vectorize('k', 8)" in str(refused.value)
    assert abs(schedule.unroll("m", 2).vectorize("k", 8)(a) - a.astype(np.float64).sum()) < 1e-4
