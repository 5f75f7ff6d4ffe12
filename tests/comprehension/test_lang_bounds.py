"""Bounds of forms over ranges: never inside of what enumeration finds, and exact where the module says so."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, strategies as st

import comprehension as tc
from comprehension.jit.expression import evaluate
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang.bounds import Ranges, greatest, least
from comprehension.lang.expressions import Fault
from comprehension.lang.linear import Linear, largest, number, product, quotient, remainder, smallest, to_expr, variable

INDICES = tuple(variable(name, size=False) for name in "ijk")
SIZES = tuple(variable(name) for name in "MN")


def forms(names: tuple[Linear, ...]) -> st.SearchStrategy[Linear]:
    """Sums, products, quotients, remainders and extremes of some names and small numbers."""
    leaves = (
        st.one_of(st.sampled_from(names), st.integers(-3, 4).map(number)) if names else st.integers(0, 4).map(number)
    )

    def larger(inner: st.SearchStrategy[Linear]) -> st.SearchStrategy[Linear]:
        pairs, divisors = st.tuples(inner, inner), st.integers(-2, 3).map(number)
        return st.one_of(
            pairs.map(lambda p: p[0] + p[1]),
            pairs.map(lambda p: p[0] - p[1]),
            pairs.map(lambda p: product(*p)),
            pairs.map(smallest),
            pairs.map(largest),
            st.tuples(inner, divisors | inner).map(lambda p: quotient(*p)),
            st.tuples(inner, divisors | inner).map(lambda p: remainder(*p)),
        )

    return st.recursive(leaves, larger, max_leaves=5)


@st.composite
def loops(draw: st.DrawFn) -> Ranges:
    """A range for each index, whose bounds use sizes and the indices further out."""
    return {
        str(index): (draw(forms((*INDICES[:position], *SIZES))), draw(forms((*INDICES[:position], *SIZES))))
        for position, index in enumerate(INDICES)
    }


def value(form: Linear, names: Mapping[str, int]) -> int:
    return int(evaluate(text_of_tree(to_expr(form)), names))


def points(ranges: Ranges, names: dict[str, int]) -> Iterator[dict[str, int]]:
    """All that the loops run over, sizes being as `names` says."""
    for name, (lower, upper) in ranges.items():
        rest = {other: span for other, span in ranges.items() if other != name}
        for at in range(value(lower, names), min(value(upper, names), value(lower, names) + 5)):
            yield from points(rest, {**names, name: at})
        return
    yield names


@given(forms((*INDICES, *SIZES)), loops(), st.integers(0, 4), st.integers(0, 4))
def test_no_point_is_outside_of_the_bounds(form: Linear, ranges: Ranges, m: int, n: int) -> None:
    sizes = {"M": m, "N": n}
    found = [value(form, point) for point in points(ranges, sizes)]
    if found:
        assert value(least(form, ranges), sizes) <= min(found)
        assert value(greatest(form, ranges), sizes) >= max(found)


i, j, k = INDICES
N = SIZES[1]
WHOLE = {"i": (number(0), N), "j": (number(0), N), "k": (number(0), N)}
TRIANGLE = {"i": (number(0), N), "j": (number(0), i + 1)}
BAND = {"i": (number(0), N), "j": (largest([i - 1, number(0)]), smallest([i + 2, N]))}
UPPER = {"i": (number(0), N), "j": (quotient(i, number(2)), N)}
EXACT = {
    "a product of two": (product(i, j), WHOLE),
    "a product of three": (product(product(i, j), k), WHOLE),
    "a product with itself": (product(i, i) - i, WHOLE),
    "what remains of a size": (product(N - 1 - i, j + 1), WHOLE),
    "a triangle": (product(i, j), TRIANGLE),
    "beside a triangle": (product(i, j) + j - i, TRIANGLE),
    "the rest of a row": (product(i, N) + j, TRIANGLE),
    "a band": (product(i, j), BAND),
    "what is left of a triangle": (product(j, N - 1 - i), {"i": (number(0), N), "j": (i, N)}),
    "half a square": (product(i, j), UPPER),
    "a quotient by a negative number": (quotient(i - 2, number(-2)), WHOLE),
    "an index and a quotient of it": (i - quotient(i + 1, number(3)), WHOLE),
    "a quotient of a difference": (quotient(j - i * 3, number(2)), WHOLE),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_only_grows_is_bounded_exactly(name: str) -> None:
    form, ranges = EXACT[name]
    for n in range(1, 7):
        found = [value(form, point) for point in points(ranges, {"N": n})]
        if n <= 5:  # `points` stops after five values of an index
            assert value(least(form, ranges), {"N": n}) == min(found)
            assert value(greatest(form, ranges), {"N": n}) == max(found)


@pytest.mark.parametrize("subscript", ["i * j", "i * r", "i * i", "(i + 1) * r"])
@pytest.mark.parametrize("range_of_r", ["max(0, i - 1):min(i + 2, N)", "i * 0:i", "0:i + 1", "i:N", "i / 2:N"])
def test_products_of_indices_read_what_is_in_bounds(subscript: str, range_of_r: str) -> None:
    text = f"""
    def f(float(N) X, float(P) A) -> (O) {{
        O(i, j) +=! A({subscript}) where i in 0:N, j in 0:N, r in {range_of_r}
    }}"""
    arrays = np.ones(3, np.float32), np.arange(9, dtype=np.float32)
    found = [tc.define(text, sizes=sizes).f.reference(*arrays) for sizes in ("static", "symbolic")]
    np.testing.assert_array_equal(*found)


def test_many_indices_in_one_product_are_bounded_or_refused_soon() -> None:
    names = [variable(f"i{n}", size=False) for n in range(25)]
    start = time.process_time()
    for count in (5, 8, 25):
        form = number(1)
        for name in names[:count]:
            form = product(form, name)
        with suppress(Fault):
            assert str(least(form, {str(name): (number(0), N) for name in names})) == "0"
        with suppress(Fault):
            greatest(form - names[0], {str(name): (number(-1), N) for name in names})
    assert time.process_time() - start < 5


@pytest.mark.parametrize("subscripts", ["i / 2, i % 2", "i, i % 3", "i % 2, min(i, 0)", "i * 2, i * i"])
def test_reads_of_a_short_range_are_of_what_was_written(subscripts: str) -> None:
    text = f"""
    def f(int32(N) A) -> (T) {{
        T(i, j) = i + 1 where i in 0:3, j in 0:1
        T(p, i) min= T({subscripts}) where p in 0:3, i in 0:1
    }}"""
    assert tc.define(text).f.reference(np.zeros(1, np.int32)).tolist() == [[1], [1], [1]]
