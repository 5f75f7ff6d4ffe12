"""Contractions in a row: they share loops around their register tiles, and hand on what stays near."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st
from test_poly_kernels import AVX512, assert_right, compile_program

from comprehension.kernel import ir
from comprehension.lang.check import check
from comprehension.lang.loops import LoopProgram
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.machine import Machine
from comprehension.poly import cluster

SMALL = replace(AVX512, l1_bytes=1 << 10, l2_bytes=2 << 10)

KRONECKER = """
def f(float(D,N0) V, float(E,N1) W, float(M,N0,N1) X) -> (Y) {
    T(m,a,e) +=! X(m,a,b) * W(e,b)
    Y(m,d,e) +=! T(m,a,e) * V(d,a)
}"""
ATTENTION = """
def f(float(B,I,D) Q, float(B,J,D) K, float(B,J,D) V) -> (O) {
    s(b,i,j) +=! Q(b,i,d) * K(b,j,d)
    top(b,i) max=! s(b,i,j)
    e(b,i,j) = max(s(b,i,j) - top(b,i), -3.0)
    total(b,i) +=! e(b,i,j)
    O(b,i,d) +=! e(b,i,j) * V(b,j,d)
    O(b,i,d) = O(b,i,d) + total(b,i)
}"""


def program_of(text: str, *shapes: tuple[int, ...]) -> LoopProgram:
    return infer(check(parse(text), text)["f"], [Spec(shape, ScalarType.FLOAT32) for shape in shapes])


def kronecker(m: int, n0: int, n1: int, d: int, e: int) -> LoopProgram:
    return program_of(KRONECKER, (d, n0), (e, n1), (m, n0, n1))


def attention(b: int, i: int, j: int, d: int) -> LoopProgram:
    return program_of(ATTENTION, (b, i, d), (b, j, d), (b, j, d))


@pytest.mark.parametrize(
    "program", [kronecker(8, 6, 5, 5, 17), attention(8, 8, 12, 4)], ids=["two products", "attention"]
)
def test_products_in_a_row_share_a_batch_and_hand_on_in_scratch(program: LoopProgram) -> None:
    kernel = compile_program(program, machine=SMALL)
    assert len(kernel.stages) == 1 and kernel.stages[0].parallel is not None
    assert not [b for b in kernel.buffers if b.space is ir.Space.WORKSPACE]
    spaces = {(b.promoted_from, b.space) for b in kernel.buffers}
    handed = "T" if "T" in {t.name for t in program.tensors} else "s"
    assert {(handed, ir.Space.SCRATCH), (handed, ir.Space.REGISTER)} <= spaces  # sums in registers, then scratch
    assert_right(program, kernel)


def test_what_stays_near_anyway_is_handed_on_in_memory() -> None:
    assert len(compile_program(kronecker(8, 6, 5, 5, 17), machine=AVX512).stages) == 2


def test_no_batch_loop_is_shared_that_leaves_workers_idle() -> None:
    assert len(compile_program(kronecker(2, 12, 20, 40, 40), machine=SMALL).stages) == 2


@pytest.fixture(autouse=True)
def any_work_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CHAINED_WORK", 0)  # small sizes: interpreted
    monkeypatch.setattr(cluster, "CHAINED_REUSE", 1)


SIZES = st.integers(1, 9)
MACHINES = st.sampled_from([SMALL, replace(SMALL, l2_bytes=256), replace(SMALL, cores=1, vector_bits=128)])


@settings(max_examples=6)
@given(st.tuples(SIZES, SIZES, SIZES, SIZES, SIZES), MACHINES)
def test_two_products_agree_with_the_reference(sizes: tuple[int, int, int, int, int], machine: Machine) -> None:
    program = kronecker(*sizes)
    assert_right(program, compile_program(program, machine=machine))


@settings(max_examples=6)
@given(st.tuples(SIZES, SIZES, SIZES, SIZES), MACHINES)
def test_attention_agrees_with_the_reference(sizes: tuple[int, int, int, int], machine: Machine) -> None:
    program = attention(*sizes)
    assert_right(program, compile_program(program, machine=machine))


def test_a_second_update_of_a_tensor_keeps_its_sums_in_registers_too() -> None:
    """As taps of a dilated convolution do: each is a nest of its own, with a domain of its own."""
    text = """def f(float(R,T) X, float(D,R) U, float(D,R) V) -> (Y) {
        Y(d,t) +=! X(r,t) * U(d,r)
        Y(d,t) += X(r,t-1) * V(d,r) where t in 1:T
    }"""
    program = program_of(text, (32, 200), (32, 32), (32, 32))
    kernel = compile_program(program)
    tiles = [b for b in kernel.buffers if b.promoted_from == "Y" and b.space is ir.Space.REGISTER]
    assert len(tiles) == 2
    assert_right(program, kernel)
