"""Loops changed step by step: legal steps change the kernel and stay right, others are refused with an example.

Everything here happens without machine code: kernels are built, proved and interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from drawn_steps import steps_for
from hypothesis import given, settings, strategies as st
from texts import program_of

from comprehension.errors import ComprehensionError, IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.build import Math, build_kernel
from comprehension.kernel.certificate import Certificate
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.unroll import unroll
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import Dependences, find_dependences
from comprehension.poly.looptree.apply import Stage, change, follow, next_stage
from comprehension.poly.looptree.lower import lower
from comprehension.poly.looptree.tree import LoopTree
from comprehension.poly.schedule_tree import ScheduleTree, StageMark, TileMark
from comprehension.poly.scop import Scop, build_scop
from comprehension.scheduling.steps import Step, parse_steps

NAMES = ["matmul", "softmax", "scan", "stencil", "triangle", "moments", "two_sums", "prefix", "accumulated", "conv"]


@dataclass(frozen=True)
class Case:
    """A text of the corpus, with all that its kernels are compared with."""

    program: LoopProgram
    arrays: dict[str, np.ndarray]
    sizes: dict[str, int]
    scop: Scop
    dependences: Dependences
    expected: dict[str, np.ndarray]

    def follow(self, text: str, math: Math = "fast") -> Stage:
        return follow(self.scop, self.dependences, parse_steps(text), math)[-1]

    def kernel(self, tree: ScheduleTree, math: Math = "fast") -> tuple[ir.Kernel, Certificate]:
        kernel = unroll(build_kernel(self.scop, tree, math), 1)
        verify_kernel(kernel)
        return kernel, certify(self.scop, None, kernel, math)

    def right(self, stage: Stage, math: Math = "fast") -> ir.Kernel:
        """The kernel of the loops: proved, and it computes what the reference does, in any order of its units."""
        kernel, certificate = self.kernel(stage.tree, math)
        assert certificate, f"{certificate}\n{stage.text}"
        for order in (iter, reversed):
            found = interpret(kernel, self.arrays, self.sizes, order=order)
            for name, expected in self.expected.items():
                np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)
        return kernel


@cache
def case(name: str, sizes: str = "static") -> Case:
    static, _, _ = program_of(name)
    program, arrays, values = program_of(name, sizes)
    inputs = {t.name: arrays[t.name] for t in static.tensors if t.role is Role.INPUT}
    given_out = {n: a.copy() for n, a in program_of(name)[1].items() if n not in inputs}
    expected = run(static, inputs, {}, {n: a.copy() for n, a in given_out.items()} or None)
    scop = build_scop(program)
    return Case(program, {**arrays, **given_out}, values, scop, find_dependences(scop), expected)


def loops_of(kernel: ir.Kernel) -> list[ir.Loop]:
    return [loop for stage in kernel.stages for loop in nodes_of((stage.parallel, stage.body), ir.Loop)]


# --- steps, one by one ---------------------------------------------------------------------------------------------


def test_the_loops_of_the_text_are_where_a_schedule_begins() -> None:
    assert case("matmul").follow("").text == (
        "for m in 0:9:\n"
        "    for n in 0:19:\n"
        "        S0_init: C(m, n) = 0\n"
        "        for k in 0:6:\n"
        "            S0: C(m, n) += A(m, k) * B(k, n)"
    )


@pytest.mark.parametrize("text", ["", "fuse('S0.i', 'S1.i')"])
def test_a_full_name_means_its_loop_and_no_other(text: str) -> None:
    loops = case("softmax").follow(text).loops
    paths = [path for path, _ in loops.loops()]
    assert any("." in loops.full_name(path) for path in paths)
    for path in paths:
        assert loops.find(loops.full_name(path)) == path


FUSED_ROWS = "fuse('S0.i', 'S1.i', 'S2.i', 'S3.i')"
TILE = "vectorize({'m': 3, 'n': 8})"
LEGAL = {
    "split": ("matmul", "split('m', 4)", "for m.outer in 0:3:\n    for m.inner in 0:min(4, 9 - 4 * m.outer):"),
    "split twice": ("matmul", "split('m', 4)\nsplit('m.inner', 2)", "for m.inner.outer in"),
    "tile": ("matmul", "tile({'m': 4, 'n': 8})", "    for n.outer in 0:3:\n        for m.inner in"),
    "tile in another order": ("matmul", "tile({'n': 8, 'm': 4})", "for n.outer in 0:3:\n    for m.outer in 0:3:"),
    "reorder": ("matmul", "reorder('n', 'm')", "for n in 0:19:\n    for m in 0:9:"),
    "distribute": ("matmul", "distribute('n')\ndistribute('m')\nreorder('S0.k', 'S0.n')", "    for k in 0:6:\n"),
    "reduction outermost": (
        "matmul", "distribute('n')\ndistribute('m')\nreorder('S0.k', 'S0.m')", "for k in 0:6:\n    for n in 0:19:",
    ),
    "fuse": ("softmax", FUSED_ROWS, "for i in 0:4:\n    S0_init"),
    "fuse twice": ("moments", "fuse('S0.n', 'S1.n')\nfuse('S0.k', 'S1.k')", "var(n) = 0\n    for k in 0:19:\n"),
    "shift and fuse": ("stencil", "shift('C.i', 2)\nfuse('B.i', 'C.i')", "S1: C(i - 2) = B(i - 2) + B(i)"),
    "reverse": ("transpose", "reverse('j')", "for j in -18:1:\n    for i in 0:7:\n        S0: B(-j, i) ="),
    "reverse a reduction": ("matmul", "reverse('k')", "for k in -5:1:"),
    "skew": ("scan", "skew('S1.d', 'S1.t', 2)", "for d in 2 * t:2 * t + 19:"),
    "unroll": ("matmul", "unroll('k', 3)", "for k in 0:6 (unrolled 3 times):"),
    "lanes": ("transpose", "vectorize('i', 4)", "for i.inner in 0:min(4, 7 - 4 * i.outer) at once:"),
    "lanes sink": ("matmul", "vectorize('n', 8)", "for k in 0:6:\n            for n.inner"),
    "lanes of a reduction": ("sum", "vectorize('j', 8)", "with 8 accumulators S0_partial, combined by +:"),
    "rows and lanes": ("matmul", f"{TILE}\npromote('C', 'n.outer')", "with C in register C_tile[3, 8]:"),
    "pack": ("matmul", f"{TILE}\npack('B', 'm.outer')", "with B in scratch B_packed[6, 19]:"),
    "pack rows": ("matmul", f"{TILE}\npack('A', 'm.outer')", "with A in scratch A_packed[3, 6]:"),
    "parallel": ("matmul", "parallelize('m')", "parallel for m in 0:9:"),
    "promote a temporary": ("softmax", f"{FUSED_ROWS}\npromote('E', 'i')", "with E in scratch E_local[1, 19]:"),
    "promote an input": ("matmul", "promote('A', 'm')", "with A in scratch A_local[1, 6]:"),
    "promote an output": ("two_sums", "promote('C', 'S1.n')", "with C in register C_local[1]:"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "seen"), LEGAL.values(), ids=LEGAL)
def test_legal_steps_change_the_loops_and_stay_right(name: str, steps: str, seen: str) -> None:
    stage = case(name).follow(steps)
    assert seen in stage.text, stage.text
    case(name).right(stage)


def test_the_kernel_has_the_loops_of_the_schedule() -> None:
    plain, swapped = (case("matmul").right(case("matmul").follow(s)) for s in ("", "reorder('n', 'm')"))
    assert [loop.upper for loop in loops_of(plain)] == [ir.Int(9), ir.Int(19), ir.Int(6)]
    assert [loop.upper for loop in loops_of(swapped)] == [ir.Int(19), ir.Int(9), ir.Int(6)]


def test_iterations_that_do_little_go_to_workers_together() -> None:
    """Nine short rows are not worth dividing; what does not run in parallel has no chunks."""
    for steps, wanted in (("parallelize('m')", [(True, 9)]), ("", [(False, 1)])):
        decisions = case("matmul").follow(steps).tree.decisions.values()
        assert [(mark.parallel, mark.grain) for mark in decisions if isinstance(mark, StageMark)] == wanted


ILLEGAL = {
    "scan backwards": ("scan", "reverse('S1.t')", "S1(t=1, d=0) writes O(1, 0), which S1(t=2, d=0) reads after it"),
    "scan in parallel": ("scan", "distribute('S1.t')\nparallelize('S1.t')", "in parallel with it"),
    "scan by lanes": ("prefix", "vectorize('S1.i', 4)", "at the same time, in another lane"),
    "use before definition": ("stencil", "fuse('B.i', 'C.i')", "S0(i=2) writes B(2), which S1(i=0) reads after it"),
    "too little shifted": ("stencil", "shift('C.i', 1)\nfuse('B.i', 'C.i')", "it would run before it"),
    "normalised too early": ("softmax", "fuse('S2.i', 'S3.i')\nfuse('S2.j', 'S3.j')", "would run before it"),
    "reduction in parallel": ("total", "distribute('i')\nparallelize('i')", "would run in parallel with it"),
    "anti-dependence": ("shifted", "reverse('S1.i')", "S1(i=0) reads B(1), which S1(i=1) writes after it"),
    "skewed the wrong way": ("scan", "skew('S1.t', 'S1.t', 1)", "names each loop once"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "why"), ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_steps_are_refused_with_an_example(name: str, steps: str, why: str) -> None:
    with pytest.raises(ComprehensionError) as refused:
        case(name).follow(steps)
    assert why in str(refused.value)


def test_the_example_is_a_pair_of_instances() -> None:
    with pytest.raises(IllegalSchedule) as refused:
        case("scan").follow("reverse('S1.t')")
    pair = refused.value.pair
    assert pair is not None
    assert (pair.kind, pair.tensor) == ("raw", "O")
    assert pair.first == ("S1", (("t", 1), ("d", 0))) and pair.second == ("S1", (("t", 2), ("d", 0)))


def test_strict_math_keeps_the_order_of_reductions() -> None:
    assert case("matmul").follow("reverse('k')", "fast")
    for steps in ("reverse('k')", "split('k', 2)\nreverse('k.outer')", "vectorize('k', 2)"):
        with pytest.raises(IllegalSchedule, match="S0"):
            case("matmul").follow(steps, "strict")
    case("matmul").right(case("matmul").follow("tile({'m': 4, 'n': 8})\nsplit('k', 2)", "strict"), "strict")


def test_lanes_that_one_element_meets_one_at_a_time_need_no_accumulators() -> None:
    """Each iteration of i has one j, in another lane than the last one's: i carries the sum, lanes do not."""
    text = "def f(float(M,N,N) A) -> (s) { s(m) +=! A(m, i, j) where i in 0:N, j in i:i + 1 }"
    program = infer(load(text)["f"], [Spec((2, 6, 6), "float32")])
    arrays = {"A": np.arange(72, dtype=np.float32).reshape(2, 6, 6)}
    scop = build_scop(program)
    diagonal = Case(program, arrays, {}, scop, find_dependences(scop), run(program, arrays, {}))
    stage = diagonal.follow("vectorize('j', 4)", "strict")
    assert "accumulators" not in stage.text
    diagonal.right(stage, "strict")


def test_tiles_say_how_many_rows_and_lanes_they_have() -> None:
    def tiles(steps: str) -> set[str]:
        marks = case("matmul").follow(steps).tree.decisions.values()
        return {str(mark) for mark in marks if isinstance(mark, TileMark)}

    assert tiles("vectorize('n', 8)") == {"8 lanes"}
    assert tiles(TILE) == {"3 rows, 8 lanes"}


UNFIT = {
    "tensor": ("matmul", "split('C', 4)", "there is no loop 'C'; there are m, n, k"),
    "unknown loop": ("matmul", "split('x', 4)", "there is no loop 'x'; there are m, n, k"),
    "ambiguous loop": ("softmax", "reverse('i')", "4 loops are called 'i': say which, as in S0.i, S1.i"),
    "tensor written twice": ("two_sums", "reverse('C.n')", "C is written by S0, S1: name the statement, as in S0.n"),
    "imperfect nest": ("matmul", "reorder('k', 'n')", "n has more than one loop in its body (S0_init, loop k)"),
    "loops of two nests": ("softmax", "reorder('S0.i', 'S1.i')", "do not stand one in the other"),
    "not side by side": ("matmul", "fuse('m', 'n')", "do not stand side by side"),
    "inner loop in parallel": ("matmul", "parallelize('n')", "n stands in m; only outermost loops"),
    "lanes twice": ("matmul", "vectorize('n', 8)\nvectorize('m', 4)", "is vectorized already"),
    "lanes are not split": ("transpose", "vectorize('i', 4)\nsplit('i.inner', 2)", "i.inner is the lanes of a tile"),
    "rows inside of lanes": ("matmul", "vectorize({'n': 8, 'm': 4})", "rows' loop must stand around the lanes' loop m"),
    "no such tensor": ("matmul", "promote('X', 'm')", "there is no tensor 'X'; there are A, B, C"),
    "promoted twice": ("matmul", "promote('A', 'm')\npromote('A', 'n')", "A is held below m already"),
    "packed without a tile": ("matmul", "pack('B', 'm')", "B is no operand of a tile below m"),
    "parallel loop moved inwards": ("matmul", "parallelize('m')\nreorder('n', 'm')", "must stay outermost"),
    "indirect": ("gather", "promote('T', 'b')", "T is reached by an indirect subscript"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "why"), UNFIT.values(), ids=UNFIT)
def test_steps_that_do_not_fit_say_why(name: str, steps: str, why: str) -> None:
    with pytest.raises(ComprehensionError) as refused:
        case(name).follow(steps)
    assert why in str(refused.value) and not isinstance(refused.value, IllegalSchedule)


def test_symbolic_loops_are_scheduled_for_all_sizes() -> None:
    symbolic = case("matmul", "symbolic")
    stage = symbolic.follow("vectorize({'m': 4, 'n': 8})\npromote('C', 'n.outer')\nparallelize('m.outer')")
    assert "for m.inner in 0:min(4, M - 4 * m.outer) at once:" in stage.text
    symbolic.right(stage)
    with pytest.raises(IllegalSchedule, match=r"\(for T=3, D=1\)"):
        case("scan", "symbolic").follow("reverse('S1.t')")


# --- any steps ------------------------------------------------------------------------------------------------------


def drawn(data: st.DataObject, of: Case, most: int) -> tuple[Stage, list[tuple[LoopTree, Step, ComprehensionError]]]:
    """Loops after some steps, and the steps that were refused on the way, with the loops that they were refused of."""
    stage = of.follow("")
    refused = []
    for _ in range(data.draw(st.integers(1, most))):
        step = data.draw(steps_for(stage.loops))
        try:
            stage = next_stage(stage.loops, of.dependences, step, "fast")
        except ComprehensionError as error:
            refused.append((stage.loops, step, error))
    return stage, refused


@settings(max_examples=max(60, settings().max_examples))
@given(st.data(), st.sampled_from(NAMES), st.sampled_from(["static", "symbolic"]))
def test_any_steps_are_right_or_refused(data: st.DataObject, name: str, sizes: str) -> None:
    of = case(name, sizes)
    stage, _ = drawn(data, of, most=5)
    of.right(stage)


@settings(max_examples=max(60, settings().max_examples))
@given(st.data(), st.sampled_from(NAMES))
def test_the_certificate_refuses_what_the_steps_refuse(data: st.DataObject, name: str) -> None:
    """Illegal schedules, lowered as if they were legal: no kernel of theirs has a certificate."""
    of = case(name)
    _, refused = drawn(data, of, most=4)
    for loops, step, error in refused:
        if not isinstance(error, IllegalSchedule) or any(loop.holds for _, loop in loops.loops()):
            continue
        if error.pair is None:
            continue  # the certificate itself refused it
        kernel, certificate = of.kernel(lower(change(loops, step), of.dependences))
        if "would run in parallel" in str(error) and all(stage.parallel is None for stage in kernel.stages):
            continue  # not one loop: it runs serially
        assert not certificate, f"{step} was refused ({error}), its kernel was not"
        assert certificate.counterexamples
