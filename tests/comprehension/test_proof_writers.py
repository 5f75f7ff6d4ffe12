"""Last writers found in a simpler way first are those that isl finds among all writes in all iterations."""

from __future__ import annotations

import hand_written as hw
import loop_programs as programs
import pytest
from hypothesis import given, reject, settings, strategies as st
from kernel_mutations import mutants
from test_poly_kernels import AVX512

from comprehension.kernel import ir
from comprehension.kernel.build import build_kernel
from comprehension.lang.loops import LoopProgram
from comprehension.poly.dependence import find_dependences
from comprehension.poly.proof import dataflow
from comprehension.poly.proof.extract import Extraction, NotExtractable, extract
from comprehension.poly.proof.promotion import families
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import Scop, build_scop

LEGAL = (hw.matmul_packed(5, 7, 7, mb=4, mr=2, nr=4, kb=4), hw.softmax_rows(3, 11, lanes=4), hw.softmax_rows("M", "N"))
BROKEN = [(source, broken) for source, kernel in LEGAL for _, broken in list(mutants(kernel))[::7]]


def planned(program: LoopProgram) -> tuple[Scop, ir.Kernel]:
    scop = build_scop(program)
    return scop, build_kernel(scop, schedule(scop, find_dependences(scop), machine=AVX512))


def assert_same_writers(scop: Scop, extraction: Extraction) -> int:
    """Compares both ways for all families; how many memories are written once."""
    taken = 0
    for family in families(scop, extraction):
        buffers = set(family.buffers)
        sinks = dataflow.sinks_of(extraction, buffers)
        for memory in dataflow.memories_of(extraction, sinks, buffers):
            meant = memory.sources_anywhere()
            found = memory.sources_of_single_writes()
            if found is not None:
                taken += 1
                assert found.writers.is_equal(meant.writers)
                assert found.initial.is_equal(meant.initial)
    return taken


@pytest.mark.parametrize(
    "program",
    [programs.matmul("M", "N", "K"), programs.conv2d(2, 2, 6, 7, 3, 3), programs.softmax("I", "J")],
    ids=lambda p: p.name,
)
def test_outputs_are_written_once(program: LoopProgram) -> None:
    scop, kernel = planned(program)
    assert assert_same_writers(scop, extract(kernel, scop.context)) > 0


@settings(max_examples=12)
@given(case=st.sampled_from(BROKEN))
def test_writers_of_broken_kernels_are_the_same_either_way(case: tuple[LoopProgram, ir.Kernel]) -> None:
    """Stale, clobbered and missing copies among them: what an iteration reads may be from another one."""
    source, broken = case
    scop = build_scop(source)
    try:
        assert_same_writers(scop, extract(broken, scop.context))
    except (NotExtractable, dataflow.NotDecided):  # eight of ninety: nothing to compare, so not an example
        reject()
