"""Subscripts that are not affine: which spellings the proof takes for the same element, and which not."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from test_poly_kernels import AVX512

from comprehension.kernel.build import build_kernel
from comprehension.lang import tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType, Spec
from comprehension.options import MappingOptions
from comprehension.poly.certificate import certify
from comprehension.poly.dependence import find_dependences
from comprehension.poly.proof.polynomials import (
    MAX_TERMS,
    Polynomial,
    TooInvolved,
    _atom,
    _combined,
    _indivisible,
    _number,
    reads_memory,
)
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

PLAIN = MappingOptions(vectorize=False)


def program(subscript: str, lets: str = "") -> LoopProgram:
    text = (
        "def f(float(1000) A, int32(9) I, int32(9) J, int32 s) -> (O)"
        f" {{ O(i, j) = A({subscript}) where i in 0:9, j in 0:7{lets} }}"
    )
    specs = [
        Spec((1000,), ScalarType.FLOAT32),
        *[Spec((9,), ScalarType.INT32)] * 2,
        Spec((), ScalarType.INT32),
    ]
    return infer(load(text)["f"], specs)


def accepts(meant: LoopProgram, computed: LoopProgram) -> bool:
    scop = build_scop(computed)
    tree_ = schedule(scop, find_dependences(scop), machine=AVX512, options=PLAIN)
    return bool(certify(build_scop(meant), None, build_kernel(scop, tree_, "strict"), "strict"))


ALIKE = [
    ("i * j", "j * i"),
    ("i * j + i", "i * (j + 1)"),
    ("(i + 1) * (j + 1)", "i * j + i + j + 1"),
    ("(i + 1) * (j - 1) + 9", "i * j - i + j + 8"),
    ("2 * (i * j)", "i * j + i * j"),
    ("i * j - i * j + i * i", "i * i"),
    ("-(0 - i * j)", "i * j"),
    ("i * j / 2", "j * i / 2"),
    ("(i * j + 4) / 2", "i * j / 2 + 2"),
    ("(i * j + 5) % 2", "(j * i + 1) % 2"),
    ("min(i * j, 5)", "min(5, j * i)"),
    ("max(i * j, 5)", "max(5, j * i)"),
    ("i * j < 5 ? i : j", "j * i < 5 ? i : j"),
    ("i * j > 5 ? i : j", "5 < i * j ? i : j"),
    ("i * j >= 5 ? i : j", "5 <= i * j ? i : j"),
    ("!(i * j < 5) ? i : j", "5 <= i * j ? i : j"),
    ("!(i * j < 5 || i < 3) ? i : j", "5 <= i * j && 3 <= i ? i : j"),
    ("int64(i) * int64(j)", "i * j"),
    ("int32(i * j)", "i * j"),
    ("i / 2 * j + j / 3 * i", "j / 3 * i + j * (i / 2)"),
    ("I(i) > 3 ? i * j : j", "I(i) > 3 ? j * i : j"),
    ("I(i) + j", "j + I(i)"),
    ("I(i) - j", "I(i) - j"),
    ("I(i) + 2 * j", "j + I(i) + j"),
    ("I(i) * j", "I(i) * j"),
    ("I(i) / 2", "I(i) / 2"),
    ("i * s", "s * i"),
    ("i * s + j", "j + s * i"),
]
APART = [
    ("i * j", "i * i"),
    ("i * j", "i * j + 1"),
    ("i * j", "i * (j + 1)"),
    ("i * j", "2 * (i * j)"),
    ("100 - i * j", "100 + i * j"),
    ("i * j", "i * j * j"),
    ("i * j / 2", "i * j / 3"),
    ("i * j / 2", "i * j % 2"),
    ("(i * j + 1) / 2", "i * j / 2"),
    ("(i * j + 1) % 2", "i * j % 2"),
    ("min(i * j, 5)", "max(i * j, 5)"),
    ("min(i * j, 5)", "min(i * j, 6)"),
    ("i * j < 5 ? i : j", "i * j <= 5 ? i : j"),
    ("i * j < 5 ? i : j", "i * j > 5 ? i : j"),
    ("i * j < 5 ? i : j", "i * j < 6 ? i : j"),
    ("i * j < 5 ? i : j", "i * j < 5 ? j : i"),
    ("i * j == 5 ? i : j", "i * j != 5 ? i : j"),
    ("i * j < 5 && i < 3 ? i : j", "i * j < 5 || i < 3 ? i : j"),
    ("!(i * j < 5 || i < 3) ? i : j", "5 <= i * j || 3 <= i ? i : j"),
    ("!(i * j < 5) ? i : j", "i * j < 5 ? i : j"),
    ("i / 2 * j + j / 2 * i", "j / 2 * j + i / 2 * i"),
    ("i / 2 * j", "j / 2 * j"),
    ("I(i) > 3 ? i * j : j", "I(i) > 4 ? i * j : j"),
    ("I(i) > 3 ? i * j : j", "J(i) > 3 ? i * j : j"),
    ("I(i) > 3 ? i * j : j", "I(i) <= 3 ? i * j : j"),
    ("I(i) > 3 ? i * j : j", "I(i) > 3 ? i * i : j"),
    ("int8(I(i)) + j", "I(i) + j"),
    ("I(i) + j", "I(i)"),
    ("I(i) + j", "I(i) - j"),
    ("I(i) + j", "I(j) + i"),
    ("I(i)", "J(i)"),
    ("I(i) * j", "I(i) + j"),
    ("I(i) / 2", "I(i) / 3"),
    ("I(i)", "I(j)"),
    ("i * s", "j * s"),
    ("i * s", "i * s + s"),
]


@pytest.mark.parametrize(("meant", "computed"), ALIKE)
def test_other_spellings_of_one_integer_are_the_same_place(meant: str, computed: str) -> None:
    assert accepts(program(meant), program(computed))


@pytest.mark.parametrize(("meant", "computed"), APART)
def test_other_integers_are_other_places(meant: str, computed: str) -> None:
    assert accepts(program(meant), program(meant))
    assert not accepts(program(meant), program(computed))


def test_lets_are_looked_into() -> None:
    square = program("t * t", ", t = i + 1")
    assert accepts(square, program("(i + 1) * (i + 1)")) and accepts(program("i * i + 2 * i + 1"), square)
    assert not accepts(square, program("t * t", ", t = i + 2"))
    read = program("t + j", ", t = I(i)")
    assert accepts(read, read) and not accepts(read, program("t + j", ", t = J(i)"))


def test_what_reads_memory_is_found_through_lets() -> None:
    (statement,) = program("u + j", ", t = I(i), u = t * 2, v = i + 1").statements
    lets = {let.name: let.value for let in statement.lets}
    for name, wanted in (("t", True), ("u", True), ("v", False), ("i", False)):
        assert reads_memory(tree.Name(name), lets) is wanted
        assert reads_memory(tree.Binary("+", tree.Number(1), tree.Name(name)), lets) is wanted


# --- polynomials, evaluated -----------------------------------------------------------------------------------------

SMALL = st.integers(-4, 4)
X, Y = _atom("x"), _atom("y")


def value_of(polynomial: Polynomial, x: int, y: int) -> int:
    total = 0
    for monomial, factor in polynomial:
        for atom in monomial:
            factor *= {"x": x, "y": y}[str(atom)]
        total += factor
    return total


@st.composite
def polynomials(draw: st.DrawFn, depth: int = 2) -> Polynomial:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from([X, Y, *map(_number, range(-3, 4))]))
    op = draw(st.sampled_from("+-*"))
    return _combined(op, draw(polynomials(depth - 1)), draw(polynomials(depth - 1)))


@given(st.sampled_from("+-*"), polynomials(), polynomials(), SMALL, SMALL)
def test_sums_and_products_are_those_of_their_values(
    op: str, left: Polynomial, right: Polynomial, x: int, y: int
) -> None:
    one, other = value_of(left, x, y), value_of(right, x, y)
    expected = {"+": one + other, "-": one - other, "*": one * other}[op]
    found = _combined(op, left, right)
    assert value_of(found, x, y) == expected
    assert all(factor for _, factor in found)  # what comes to nothing is left out: equal polynomials are equal


def test_products_of_too_many_terms_are_given_up() -> None:
    assert MAX_TERMS == 1000
    many: Polynomial = frozenset(((name,), 1) for name in range(MAX_TERMS))
    assert len(_combined("*", many, X)) == MAX_TERMS
    with pytest.raises(TooInvolved):
        _combined("*", many, _combined("+", X, Y))
    assert len(_combined("+", many, _combined("+", X, Y))) == MAX_TERMS + 2


def test_division_by_what_is_no_number_is_one_of_its_own() -> None:
    assert _indivisible("/", X, Y) == _atom(("/", X, Y))
    assert _indivisible("/", X, _combined("+", Y, _number(2))) == _atom(("/", X, _combined("+", Y, _number(2))))
    assert _indivisible("/", X, _number(0)) == _indivisible("%", X, _number(0)) == _number(0)
    assert _indivisible("min", X, Y) == _indivisible("min", Y, X) != _indivisible("max", X, Y)
