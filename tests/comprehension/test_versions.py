"""Kernels planned for sizes seen: one artifact with plans for those and for typical sizes, right at all sizes."""

from __future__ import annotations

from functools import cache
from typing import Any

import loop_programs as programs
import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from test_poly_kernels import compile_program
from test_symbolic_sizes import TEXTS

import comprehension as tc
from comprehension import stages
from comprehension.explain import REPORT
from comprehension.jit.client import statistics
from comprehension.jit.expression import evaluate
from comprehension.jit.report import Report
from comprehension.kernel import ir
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.effort import effort
from comprehension.kernel.size_text import text_of
from comprehension.kernel.versions import choice_of
from comprehension.lang.types import Spec
from comprehension.pipeline import SCHEDULE, compile_comprehension
from comprehension.poly.typical import likely_size

EXTENTS = st.sampled_from((0, 1, 3, 8, 15, 16, 31, 33, 64, 130))


@cache
def planned(name: str, extent: int) -> tc.Kernel:
    """The kernel of a text that was first asked for with arrays of this extent."""
    f = tc.define(TEXTS[name], sizes="symbolic").f
    shapes = [tuple(extent for _ in param.type.dims) for param in f.definition.parameters]
    return f.compile(*(np.zeros(shape, np.float32) for shape in shapes))


def runs(kernel: tc.Kernel, **sizes: int) -> set[str]:
    """The stages that a launch at these sizes runs."""
    return {stage.symbol for stage in kernel.manifest.stages if evaluate(stage.extent, sizes) > 0}


@given(m=EXTENTS, k=EXTENTS, n=EXTENTS)
@example(m=3, k=3, n=3)
@example(m=130, k=64, n=130)
@example(m=0, k=3, n=8)
@example(m=3, k=0, n=8)
def test_a_kernel_with_two_plans_is_the_product_at_every_size(m: int, k: int, n: int) -> None:
    kernel = planned("product", 3)
    draw = np.random.default_rng(m + 3 * k + 7 * n)
    a, b = (draw.integers(-3, 4, shape).astype(np.float32) for shape in ((m, k), (k, n)))
    np.testing.assert_array_equal(kernel(a, b), a @ b)
    found = runs(kernel, M=m, K=k, N=n)
    assert len({symbol.endswith("_far") for symbol in found}) <= 1  # of one plan, never of both


def test_each_of_two_plans_runs_where_it_was_made_for() -> None:
    kernel = planned("product", 3)
    assert kernel.certificate
    assert runs(kernel, M=3, K=3, N=3) == {"f_stage0"}
    assert runs(kernel, M=1024, K=1024, N=1024) == {"f_stage0_far"}
    assert kernel.schedule.count("# Planned for") == 2


def test_a_plan_that_does_well_at_typical_sizes_stands_alone() -> None:
    kernel = planned("product", 1024)
    assert [stage.symbol for stage in kernel.manifest.stages] == ["f_stage0"]


def test_one_kernel_serves_later_sizes_whatever_it_was_planned_for() -> None:
    f = tc.define("def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }", sizes="symbolic").f
    first = f.compile(np.zeros((5, 6), np.float32), np.zeros((6, 7), np.float32))
    before = statistics.cache_misses
    assert f.compile(np.zeros((50, 60), np.float32), np.zeros((60, 70), np.float32)) is first
    assert statistics.cache_misses == before
    assert first.request.likely == (("K", 6), ("M", 5), ("N", 7))


def test_a_second_plan_that_cannot_be_proved_is_left_out_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tc.define("def f(float(M,N) A) -> (B) { B(m,n) = A(m,n) + 1 }", sizes="symbolic").f
    request = f.compile(np.zeros((5, 6), np.float32)).request
    honest, calls = stages.certify, []

    def certify(*arguments: Any, budget: int) -> Certificate:
        calls.append(arguments)
        return (
            honest(*arguments, budget=budget)
            if len(calls) == 1
            else Certificate({"bounds": False}, (), ("an example",))
        )

    monkeypatch.setattr(stages, "certify", certify)
    report = Report.from_json(compile_comprehension(request)[REPORT].decode())
    assert report.fallbacks == ("a plan for typical sizes: bounds not proved (an example)",)


SUMS = "def f(float(M,N) X) -> (Y) { Y(n) +=! X(m,n) }"


@pytest.mark.parametrize("rows", [0, 3, 64, 4096, 4097, 9000])
def test_a_sum_in_groups_of_rows_is_for_so_many_rows_as_one_accumulator_may_take(rows: int) -> None:
    kernel = tc.define(SUMS, sizes="symbolic").f.compile(np.zeros((64, 65536), np.float32))
    assert kernel.certificate
    assert "rows at a time" in kernel.schedule
    x = np.random.default_rng(rows).integers(-3, 4, (rows, 70)).astype(np.float32)
    np.testing.assert_array_equal(kernel(x), x.sum(0))
    if rows:
        assert runs(kernel, M=rows, N=70) == ({"f_stage0_far"} if rows > 4096 else {"f_stage0"})


def test_a_plan_for_some_sizes_alone_gives_way_where_that_for_others_is_not_proved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = tc.define(SUMS, sizes="symbolic").f.compile(np.zeros((64, 65536), np.float32)).request
    honest, calls = stages.certify, []

    def certify(*arguments: Any, budget: int) -> Certificate:
        calls.append(arguments)
        return (
            honest(*arguments, budget=budget)
            if len(calls) != 2
            else Certificate({"bounds": False}, (), ("an example",))
        )

    monkeypatch.setattr(stages, "certify", certify)
    files = compile_comprehension(request)
    assert len(calls) == 3
    assert b"rows at a time" not in files[SCHEDULE]
    assert Report.from_json(files[REPORT].decode()).fallbacks == (
        "a plan for typical sizes: bounds not proved (an example)",
    )


def test_named_dimensions_of_specs_say_nothing_about_sizes() -> None:
    f = tc.define("def f(float(M,N) A) -> (B) { B(m,n) = A(m,n) + 1 }", sizes="symbolic").f
    assert f.compile(Spec(("M", "N"), "float32")).request.likely == ()


@pytest.mark.parametrize(
    "size, likely",
    [(0, 1), (1, 1), (7, 7), (8, 8), (45, 44), (46, 48), (129, 128), (2800, 2048), (3000, 4096), (2**40, 2**40)],
)
def test_sizes_are_planned_for_as_powers_of_two_or_to_four_digits(size: int, likely: int) -> None:
    assert likely_size(size) == likely


def test_loops_without_iterations_take_no_time() -> None:
    def work(extent: int) -> int:
        body = ir.Store("y", (ir.Var("i"),), ir.Const(1.0, ir.ScalarType.FLOAT32), ir.StoreRole.EXECUTE, None)
        loop = ir.Loop("i", ir.Int(0), ir.Int(extent), (body,))
        buffer = ir.Buffer("y", ir.ScalarType.FLOAT32, (ir.Int(9),), ir.Space.OUTPUT)
        kernel = ir.Kernel("f", (), (), (buffer,), (ir.Stage("s", (loop,), None),))
        return int(evaluate(text_of(effort(kernel)), {}))

    assert work(0) == 0 < work(1) < work(2)


@given(st.integers(0, 300), st.integers(0, 300))
def test_effort_counts_tiles_not_points(i: int, j: int) -> None:
    kernel = compile_program(programs.pointwise_chain("I", "J", 1))
    lanes = 64  # of its tiles
    found = evaluate(text_of(effort(kernel)), {"I": i, "J": j})
    whole = evaluate(text_of(effort(kernel)), {"I": i, "J": -(-j // lanes) * lanes})
    assert found == whole >= i * -(-j // 16)


def test_equal_plans_are_no_choice() -> None:
    kernel = compile_program(programs.pointwise_chain("I", "J", 1))
    assert choice_of(kernel, kernel, {"I": 8, "J": 8}, {"I": 1024, "J": 1024}) is None
