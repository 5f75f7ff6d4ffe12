"""Joined loops: which are joined, and that the program over the same memory means the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from test_poly_examples import program_of

from comprehension.lang.collapse import collapse
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.tree import Number
from comprehension.lang.types import Spec
from comprehension.layout import layout_of
from comprehension.testing import Example, examples

Array = np.ndarray[Any, Any]


def program(text: str, *shapes: tuple[int, ...]) -> LoopProgram:
    (definition,) = load(text).values()
    return infer(definition, [Spec(shape, "float32") for shape in shapes])


def loops(found: LoopProgram) -> list[list[str]]:
    return [[index.name for index in statement.indices] for statement in found.statements]


def shapes(found: LoopProgram) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(int(e.value) for e in t.shape if isinstance(e, Number)) for t in found.tensors}


# --- what is joined -----------------------------------------------------------------------------------------


def test_an_elementwise_program_becomes_one_loop() -> None:
    text = "def f(float(N,C,H,W) X) -> (Y) { t(n,c,h,w) = X(n,c,h,w) * 2.0  Y(n,c,h,w) = t(n,c,h,w) + X(n,c,h,w) }"
    found = collapse(program(text, (2, 3, 5, 7)))
    assert loops(found) == [["n_c_h_w"], ["n_c_h_w"]]
    assert set(shapes(found).values()) == {(210,)}


def test_only_axes_that_every_statement_walks_together() -> None:
    text = """
    def f(float(N,G,D,H,W) I, float(G,D) gamma) -> (O) {
        mean(n,g) +=! I(n,g,d,h,w)
        O(n,g,d,h,w) = I(n,g,d,h,w) * mean(n,g) * gamma(g,d)
    }"""
    found = collapse(program(text, (2, 3, 4, 5, 6), (3, 4)))
    assert loops(found) == [["n", "g", "d", "h_w"], ["n", "g", "d", "h_w"]]
    assert shapes(found) == {"I": (2, 3, 4, 30), "gamma": (3, 4), "O": (2, 3, 4, 30), "mean": (2, 3)}


def test_batches_of_products_are_one_batch() -> None:
    text = "def f(float(B,H,M,K) X, float(B,H,K,N) Y) -> (Z) { Z(b,h,m,n) +=! X(b,h,m,k) * Y(b,h,k,n) }"
    found = collapse(program(text, (2, 3, 4, 5), (2, 3, 5, 6)))
    assert loops(found) == [["b_h", "m", "n", "k"]]
    assert found.statements[0].left == 3


def test_left_and_reduced_loops_stay_apart() -> None:
    found = collapse(program("def f(float(M,N) X) -> (Y) { Y(m) +=! X(m,n) }", (4, 5)))
    assert loops(found) == [["m", "n"]]
    found = collapse(program("def f(float(M,N,K) X) -> (Y) { Y(m) +=! X(m,n,k) }", (4, 5, 6)))
    assert loops(found) == [["m", "n_k"]]
    assert found.statements[0].left == 1


def test_a_scan_over_rows_keeps_its_order() -> None:
    text = """
    def f(float(T,A,B) X) -> (Y) {
        Y(t,a,b) = X(t,a,b) where t in 0:1
        Y(t,a,b) = Y(t-1,a,b) + X(t,a,b) where t in 1:T
    }"""
    assert loops(collapse(program(text, (4, 3, 2)))) == [["t", "a_b"], ["t", "a_b"]]


@pytest.mark.parametrize(
    "text",
    [
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) + n }",  # an index as a value
        "def f(float(M,N) X) -> (Y) { Y(n,m) = X(m,n) }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) +=! X(m,n+k) where k in 0:2 }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) where n in 0:3 }",  # not the whole axis of X
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) where n in m:5 }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) + X(n,m) }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) + (m * 4 + n) }",  # numbers of rows of another length
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) + (n * 5 + m) }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) + (m * 5 + n) * n }",
        "def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,m) + X(m,n) }",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    original = program(text, (5, 5))
    assert collapse(original) is original


def test_an_array_whose_rows_do_not_follow_each_other_is_left_alone() -> None:
    original = program("def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) }", (4, 5))
    wide = original.with_layouts((("X", layout_of((4, 5), (8, 1))),))  # type: ignore[arg-type]
    assert collapse(wide) is wide


def test_an_indirect_target_is_read_through_as_well() -> None:
    text = """
    def f(float(A,B,C) X, int32(A,B) I) -> (float(4,C) Y) {
        Y(i,c) = 0 where i in 0:4, c in 0:C
        Y(I(a,b),c) += X(a,b,c)
    }"""
    (definition,) = load(text).values()
    found = collapse(infer(definition, [Spec((2, 3, 5), "float32"), Spec((2, 3), "int32")]))
    assert shapes(found) == {"X": (6, 5), "I": (6,), "Y": (4, 5)}


NUMBERED = "def f(float(A,B,C) X) -> (Y) { Y(a,b,c) = X(a,b,c) + ((a * 3 + b) * 5 + c) }"


def test_the_number_of_an_element_is_the_joined_index() -> None:
    found = collapse(program(NUMBERED, (2, 3, 5)))
    assert loops(found) == [["a_b_c"]]
    assert to_text(found.statements[0].value) == "X(a_b_c) + float32(a_b_c)"
    text = "def f(float(A,B,C) X, float(A) s) -> (Y) { Y(a,b,c) = X(a,b,c) * s(a) + ((a * 3 + b) * 5 + c) }"
    found = collapse(program(text, (2, 3, 5), (2,)))
    assert loops(found) == [["a", "b_c"]]
    assert "float32(a * 15 + b_c)" in to_text(found.statements[0].value)


def test_symbolic_sizes_are_multiplied() -> None:
    (definition,) = load("def f(float(M,N) X) -> (Y) { Y(m,n) = X(m,n) }").values()
    found = collapse(infer(definition, None, "symbolic"))
    assert loops(found) == [["m_n"]]


# --- what it means ----------------------------------------------------------------------------------------------


def assert_same(original: LoopProgram, arrays: dict[str, Array], scalars: dict[str, Any] | None = None) -> None:
    found = collapse(original)
    joined = {name: array.reshape(shapes(found)[name]) for name, array in arrays.items()}
    expected, received = run(original, arrays, scalars), run(found, joined, scalars)
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name].reshape(value.shape), value)


JOINED = {
    """
    def f(float(N,G,D,H,W) I, float(G,D) gamma) -> (O) {
        mean(n,g) +=! I(n,g,d,h,w)
        O(n,g,d,h,w) = I(n,g,d,h,w) * mean(n,g) * gamma(g,d)
    }""": ((2, 2, 3, 2, 5), (2, 3)),
    """
    def f(float(T,A,B) X) -> (Y) {
        Y(t,a,b) = X(t,a,b) where t in 0:1
        Y(t,a,b) = Y(t-1,a,b) + X(t,a,b) where t in 1:T
    }""": ((4, 3, 2),),
    """
    def f(float(M,A,B) X) -> (Y) {
        Y(m,a,b) = X(m,a,b) where m in 2:4
        Y(m,a,b) = 1 where m in 0:2, a in 0:3, b in 0:2
    }""": ((4, 3, 2),),
    "def f(float(A,B,K) X, float(A,B) s) -> (Y) { Y(k) +=! X(a,b,k) * s(a,b) where k in 1:3 }": ((3, 4, 5), (3, 4)),
    "def f(float(A,B) X) -> (Y) { Y(a,b) = v > 0 ? X(a,b) : -v where v = X(a,b) * 2 }": ((3, 4),),
    "def f(float(A,B) X) -> (Y) { Y(a,b) = X(a,b) }": ((0, 4),),
    NUMBERED: ((2, 3, 5),),
    """
    def f(float(A,B,C) X) -> (Y, Z) {
        Y(a,b,c) = X(a,b,c) + v * 2 where v = (a * 3 + b) * 5 + c
        Z(a) +=! Y(a,b,c)
    }""": ((2, 3, 5),),
}


@pytest.mark.parametrize("text", JOINED)
def test_joined_loops_compute_the_same(text: str) -> None:
    original = program(text, *JOINED[text])
    assert collapse(original) is not original
    draw = np.random.default_rng(1)
    inputs = [t.name for t in original.tensors if t.role is Role.INPUT]
    arrays = [draw.integers(-4, 5, shape).astype(np.float32) for shape in JOINED[text]]
    assert_same(original, dict(zip(inputs, arrays, strict=True)))


@given(examples())
def test_any_program_computes_the_same(example: Example) -> None:
    original, arrays, scalars = program_of(example)

    if not any(t.role is Role.ACCUMULATED for t in original.tensors):  # these need the caller's buffer
        assert_same(original, arrays, scalars)
