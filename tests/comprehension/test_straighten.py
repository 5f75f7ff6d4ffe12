"""Ranges whose bounds are products of indices: the straightened program has affine ones, and computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from texts import TEXTS

import comprehension as tc
from comprehension.errors import ComprehensionError
from comprehension.lang import tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, Role
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.poly.parameters import is_affine
from comprehension.poly.straighten import straighten

SEGMENTS = "O(i) +=! A(j) where i in 0:4, j in i*i:i*i+3"
CASES = {
    "segments of one length": (SEGMENTS, 0),
    "segments that grow": ("O(i) +=! A(j) where i in 0:4, j in i*i:(i+1)*(i+1)", 0),
    "a triangle of squares": ("O(i) +=! A(j) where i in 0:4, j in 0:i*i", 1),
    "two such loops": ("O(i) +=! A(j) * A(k) where i in 0:4, j in 0:i*i, k in i*i:i*i+2", 1),
    "two guards": ("O(i) +=! A(j) * A(k) where i in 0:4, j in 0:i*i, k in 0:i*i+1", 2),
    "a guard of a moved loop": ("O(i) +=! A(j) where i in 0:4, j in i*i:2*i*i+1", 1),
    "the largest": ("O(i) max=! A(j) where i in 1:4, j in 0:i*i", 1),
    "the least": ("O(i) min=! A(j) where i in 1:4, j in 0:i*i", 1),
    "a product": ("O(i) *=! A(j) where i in 1:4, j in 0:i*i", 1),
    "what is stored": ("O(i, j) = A(i + j) where i in 0:4, j in 0:i*i", 1),
    "what is stored over something": (
        "O(i, j) = 0.0 - A(i + j) where i in 0:4, j in 0:9  O(i, j) = A(i + j) where i in 0:4, j in 0:i*i",
        1,
    ),
    "a temporary": (
        "T(i, j) = A(i + j) where i in 0:4, j in 0:i*i  O(i) +=! T(i, j) where i in 0:4, j in 0:9",
        1,
    ),
    "a temporary that nobody reads": (
        "T(i, j) = A(i + j) where i in 0:4, j in 0:i*i  O(i) = A(i) where i in 0:4",
        1,
    ),
    "a temporary, written before": (
        "T(i, j) = 0.0 - A(j) where i in 0:4, j in 0:9  T(i, j) = A(i + j) where i in 0:4, j in 0:i*i"
        "  O(i) +=! T(i, j) where i in 0:4, j in 0:9",
        1,
    ),
    "rows that grow, their largest": ("O(i, j) max=! A(k) where i in 0:4, j in 0:i*i, k in 0:3", 2),
    "rows that grow, their largest, over something": (
        "O(i, j) = 0.0 - A(i + j) where i in 0:4, j in 0:9"
        "  O(i, j) max=! A(j + k) where i in 0:4, j in 0:i*i, k in 0:3",
        2,
    ),
    "rows that grow, sums of as many": ("O(i, j) +=! A(k) where i in 0:4, j in 0:i*i, k in 0:i*i", 3),
    "rows that grow, no sum of any": ("O(i, j) +=! A(k) where i in 0:4, j in 0:i*i, k in 0:0", 2),
    "rows that grow, of a temporary": (
        "T(i, j) *=! A(k) where i in 0:4, j in 0:i*i, k in 0:3  O(i) +=! T(i, j) where i in 0:4, j in 0:9",
        2,
    ),
    "a let that reads": ("O(i) +=! t * t where i in 0:4, j in 0:i*i, t = A(j) + 1.0", 1),
    "a let of indices": ("O(i) +=! A(t) where i in 0:4, j in 0:i*i, t = j + 1", 1),
    "a let that decides": ("O(i) +=! h ? A(j) : 1.0 where i in 0:4, j in 0:i*i, h = A(j) > 0.0", 1),
    "an index as a value": ("O(i) +=! float(j) * A(j) where i in 0:4, j in i*i:i*i+2", 0),
}


def program(body: str, dtype: str = "float") -> LoopProgram:
    definition = load(f"def f({dtype}(N) A) -> (O) {{ {body} }}")["f"]
    return infer(definition, [Spec((20,), "float32" if dtype == "float" else "int32")])


def bounds(found: LoopProgram) -> Iterator[tree.Expr]:
    for statement in found.statements:
        for index in statement.indices:
            yield from (index.lower, index.upper)


@pytest.mark.parametrize("dtype", ["float", "int32"])
@pytest.mark.parametrize(("body", "guards"), CASES.values(), ids=CASES)
def test_straightened_programs_compute_the_same(body: str, guards: int, dtype: str) -> None:
    if dtype == "int32":
        body = body.replace("0.0", "0").replace("1.0", "1").replace("float(j)", "j")
    original = program(body, dtype)
    found = straighten(original)
    assert not all(is_affine(bound) for bound in bounds(original))
    assert all(is_affine(bound) for bound in bounds(found))
    values = np.random.default_rng(5).integers(-4, 5, 20).astype(dtype.replace("float", "float32"))
    expected = run(original, {"A": values})["O"]
    np.testing.assert_array_equal(run(found, {"A": values})["O"], expected)
    assert sum(_guards(statement.value) for statement in found.statements) == guards


def _guards(value: tree.Expr) -> int:
    """How many comparisons stand in the condition around a value that was guarded."""
    if not isinstance(value, tree.Select):
        return 0
    comparisons = [n for n in tree.walk(value.condition) if isinstance(n, tree.Binary) and n.op in ("<=", ">=")]
    return len(comparisons)


@pytest.mark.parametrize("name", TEXTS)
def test_what_isl_can_follow_stays_as_it_is(name: str) -> None:
    assert straighten(infer(load(str(TEXTS[name][0]))["f"], None, "symbolic")) == infer(
        load(str(TEXTS[name][0]))["f"], None, "symbolic"
    )


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("op", ["+=!", "max=!", "min=!", "*=!"])
@pytest.mark.parametrize("range_of_j", ["0:min(i, N*M)", "0:i*i", "i*i:i*i+2", "0:max(0, N*M - i)"])
def test_what_a_reduction_leaves_alone_is_not_initialised(range_of_j: str, op: str, sizes: Any) -> None:
    """Elements beyond rows that grow were, when such rows ran as far as the longest."""
    text = f"""
    def f(float(N,M) A) -> (O) {{
        O(i, j) = 7.0 where i in 0:N, j in 0:N*M + 4
        O(i, j) {op} A(k, 0) where i in 0:N, j in {range_of_j}, k in 0:N
    }}"""
    f = tc.define(text, sizes=sizes).f
    for shape in ((3, 4), (1, 1), (2, 2)):
        a = np.random.default_rng(3).integers(-3, 4, shape).astype(np.float32)
        kernel = f.compile(a)
        assert kernel.certificate
        np.testing.assert_array_equal(kernel(a), f.reference(a))


def test_an_empty_sum_of_negative_zeros_stays_negative() -> None:
    """Beyond the range -0.0 is added: 0.0 would take its sign."""
    body = "O(i) = A(i) where i in 0:4  O(i) += A(j) where i in 0:4, j in 0:i*i"
    original = program(body)
    values = np.full(20, -0.0, np.float32)
    for found in (run(original, {"A": values})["O"], run(straighten(original), {"A": values})["O"]):
        assert np.signbit(found).all()


def test_temporaries_begin_with_zeros_once() -> None:
    found = straighten(program(CASES["a temporary that nobody reads"][0]))
    assert [statement.name for statement in found.statements] == ["S0_zeros", "S0", "S1"]
    again = straighten(program(CASES["a temporary, written before"][0]))
    assert [statement.name for statement in again.statements] == ["S0", "S1", "S2"]
    assert {t.name for t in found.tensors if t.role is Role.TEMPORARY} == {"T"}


def test_a_range_that_nothing_bounds_is_refused() -> None:
    text = "def f(float(N) A, int32 s) -> (O) { O(i) +=! A(0) where i in 0:100000, j in 0:i*i*i }"
    with pytest.raises(ComprehensionError, match="the range of 'j' is too involved to compile"):
        straighten(infer(load(text)["f"], [Spec((20,), "float32"), Spec((), "int32")]))
