"""Schedules drawn by a user: legal ones change the kernel and stay right, illegal ones are refused with a pair."""

from __future__ import annotations

import loop_programs as programs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_poly_kernels import AVX512, assert_right

from comprehension.errors import IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.kernel.interpret import interpret
from comprehension.kernel.walk import walk_nodes
from comprehension.lang.loops import LoopProgram
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import Dependences, find_dependences
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.scheduler import plain_schedule
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.transform.bands import bands
from comprehension.poly.transform.fuse import fuse
from comprehension.poly.transform.interchange import interchange
from comprehension.poly.transform.reverse import reverse
from comprehension.poly.transform.tile import tile
from comprehension.poly.transform.vectorize import vectorize


def plain(program: LoopProgram, *, fused: bool = False) -> tuple[Scop, Dependences, ScheduleTree]:
    scop = build_scop(program)
    dependences = find_dependences(scop)
    return scop, dependences, plain_schedule(scop, dependences, machine=AVX512, fuse=fused)


def assert_proved_and_right(program: LoopProgram, scop: Scop, tree: ScheduleTree) -> ir.Kernel:
    kernel = build_kernel(scop, tree)
    certificate = certify(scop, None, kernel, "fast")
    assert certificate, f"{certificate}\n{tree}"
    assert_right(program, kernel)
    return kernel


def test_interchange_changes_the_loops_and_stays_right() -> None:
    program = programs.matmul(5, 6, 7)
    scop, dependences, tree = plain(program)
    outer = bands(tree)[0]
    changed = interchange(tree, outer.path, (1, 0), dependences)
    before, after = build_kernel(scop, tree), assert_proved_and_right(program, scop, changed)
    assert before.stages[0].parallel is not None and after.stages[0].parallel is not None
    assert (before.stages[0].parallel.upper, after.stages[0].parallel.upper) == (ir.Int(5), ir.Int(6))
    assert "interchange(1, 0)" in str(changed)


def test_tiles_bound_their_last_tile() -> None:
    program = programs.matmul(5, 6, 7)
    scop, dependences, tree = plain(program)
    changed = tile(tree, bands(tree)[0].path, (2, 4), dependences)
    kernel = assert_proved_and_right(program, scop, changed)
    assert kernel.stages[0].parallel is not None and kernel.stages[0].parallel.upper == ir.Int(3)


def test_reduction_reversed_only_without_strict_order() -> None:
    program = programs.matmul(3, 4, 5)
    scop, dependences, tree = plain(program)
    reduction = bands(tree)[1]
    assert_proved_and_right(program, scop, reverse(tree, reduction.path, 0, dependences))
    with pytest.raises(IllegalSchedule, match=r"S0\[.*\] -> S0\["):
        reverse(tree, reduction.path, 0, dependences, strict=True)


def test_scan_refuses_to_run_backwards() -> None:
    program = programs.scan(5, 4)
    scop, dependences, tree = plain(program)
    time = next(band for band in bands(tree) if band.coincident == (False,))
    with pytest.raises(IllegalSchedule, match=r"reverse\(0\).*S1\[.*\] -> S1\["):
        reverse(tree, time.path, 0, dependences)
    assert_proved_and_right(program, scop, tree)


def test_parallel_follows_from_dependences_after_each_change() -> None:
    program = programs.column_sum(6, 7)
    scop, dependences, tree = plain(program)
    assert tree.decisions["stage 0"].parallel  # type: ignore[union-attr]
    outer = bands(tree)[0]
    reversed_tree = reverse(tree, outer.path, 0, dependences)
    assert reversed_tree.decisions["stage 0"].parallel  # type: ignore[union-attr]
    assert_proved_and_right(program, scop, reversed_tree)


def test_fusion_of_two_stages() -> None:
    program = programs.pointwise_chain(4, 5, 2)
    scop, dependences, tree = plain(program)
    assert len(build_kernel(scop, tree).stages) == 2
    fused = fuse(tree, (0,), dependences)
    assert len(assert_proved_and_right(program, scop, fused).stages) == 1


def test_fusion_that_breaks_a_dependence_is_refused() -> None:
    backwards = programs.program(
        "backwards",
        [programs.given("X", 8), programs.between("T", 8), programs.made("Y", 8)],
        [
            programs.statement("S0", "T", ("i",), programs.read("X", "i"), {"i": 8}),
            programs.statement("S1", "Y", ("i",), programs.read("T", programs.iop("-", 7, "i")), {"i": 8}),
        ],
    )
    _, dependences, tree = plain(backwards)
    with pytest.raises(IllegalSchedule, match=r"S0\[.*\] -> S1\["):
        fuse(tree, (0,), dependences)


def test_vectorized_loop_becomes_tiles() -> None:
    program = programs.pointwise_chain(4, 21, 3)
    scop, dependences, tree = plain(program, fused=True)
    changed = vectorize(tree, bands(tree)[-1].path, 8, dependences)
    kernel = assert_proved_and_right(program, scop, changed)
    assert any(isinstance(node, ir.Tile) for node in walk_nodes(kernel.stages[0].body))


def test_loop_that_carries_a_dependence_is_no_vector() -> None:
    _, dependences, tree = plain(programs.scan(9, 4))
    with pytest.raises(IllegalSchedule):
        vectorize(tree, next(b for b in bands(tree) if b.coincident == (False,)).path, 8, dependences)


DRAWN = [
    programs.matmul(4, 5, 3),
    programs.softmax(3, 5),
    programs.scan(4, 5),
    programs.triangle(6),
    programs.conv2d(1, 2, 4, 5, 2, 2),
    programs.pointwise_chain(3, 4, 2),
]


@settings(max_examples=max(30, settings().max_examples))
@given(st.data())
def test_any_drawn_schedule_is_right_or_refused(data: st.DataObject) -> None:
    program = data.draw(st.sampled_from(DRAWN))
    scop, dependences, tree = plain(program, fused=data.draw(st.booleans()))
    changed = tree
    for _ in range(data.draw(st.integers(1, 3))):
        band = data.draw(st.sampled_from(bands(changed)))
        members = len(band.members)
        try:
            match data.draw(st.sampled_from(["interchange", "tile", "reverse"])):
                case "interchange":
                    order = tuple(data.draw(st.permutations(range(members))))
                    changed = interchange(changed, band.path, order, dependences)
                case "tile":
                    sizes = tuple(data.draw(st.lists(st.integers(1, 4), min_size=members, max_size=members)))
                    changed = tile(changed, band.path, sizes, dependences)
                case "reverse":
                    member = data.draw(st.integers(0, members - 1))
                    changed = reverse(changed, band.path, member, dependences)
        except IllegalSchedule as refused:
            assert "->" in str(refused)
    assert_proved_and_right(program, scop, changed)


def test_interpretation_tells_two_legal_orders_apart_by_their_trace() -> None:
    program = programs.transpose(2, 3)
    scop, dependences, tree = plain(program)
    swapped = interchange(tree, bands(tree)[0].path, (1, 0), dependences)
    arrays = {"X": np.arange(6, dtype=np.float32).reshape(2, 3)}
    traces: list[list[tuple[str, tuple[int, ...]]]] = [[], []]
    for trace, drawn in zip(traces, (tree, swapped), strict=True):
        interpret(build_kernel(scop, drawn), arrays, trace=trace)
    assert traces[0] != traces[1] and sorted(traces[0]) == sorted(traces[1])
