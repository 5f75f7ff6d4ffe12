"""Valid texts that no schedule could be proved for, or whose compilation failed; found by drawn texts.

The kernel knew by the ranges of its loops what parts of a subscript are, and the certificate did not: a choice of
integers in a condition, a quotient that is always 0 in a product, a sum of what is read and of a remainder.  One loop
over two axes did not say that each of them has an element.  Of loops that run once no iterator is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(15, dtype=np.float32).reshape(5, 3)
B = np.arange(100, 105, dtype=np.float32)
J = np.int32([4, 0, 3, 2, 0])
I0, I1 = np.indices(A.shape)

SETTLED: dict[str, tuple[str, Any]] = {
    "a choice of integers in a condition": ("(i <= s ? 0 : i) < 3 ? A(i, j) : B(i)", np.where(I0 < 3, A, B[:, None])),
    "a choice that is always one": ("(i >= i ? 0 : i) < s ? A(i, j) : B(i)", A),
    "an extreme of one number": ("A(i, min(j, j) % M)", A),
    "a product with what is always 0": ("B(min(i, 3) * (j / 3))", np.full(A.shape, B[0])),
    "a quotient of an index and a number": ("B((j + 4) / 2 % N)", B[(I1 + 4) // 2 % 5]),
    "a choice of products": ("B(i >= 0 ? i * j % 5 : 0)", B[I0 * I1 % 5]),
    "a condition on products": ("B(i * j >= 0 && i * j < N ? i * j : 0)", B[np.where(I0 * I1 < 5, I0 * I1, 0)]),
    "a condition on what is read": ("B(A(i, j) > 6.0 ? i * j % 5 : 0)", B[np.where(A > 6, I0 * I1 % 5, 0)]),
    "a corner beside all": ("A(i, j) - A(0, 0)", A - A[0, 0]),
    "the last corner beside all": ("A(i, j) - A(N - 1, M - 1)", A - A[-1, -1]),
    "the last row by a let": ("A(i, j) - B(k) where k = N - 1", A - B[-1]),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", SETTLED)
def test_they_compile(name: str, sizes: Any) -> None:
    value, expected = SETTLED[name]
    where = f"{'' if 'where' in value else ' where '}{', ' if 'where' in value else ''}i in 0:N, j in 0:M"
    text = f"def f(float(N, M) A, float(N) B, int32 s) -> (O) {{ O(i, j) = {value}{where} }}"
    f = tc.define(text, sizes=sizes).f
    np.testing.assert_array_equal(f.reference(A, B, 1), expected)
    np.testing.assert_array_equal(f(A, B, 1), expected)


@pytest.mark.parametrize(
    "value", ["B(i * (j / 2))", "A(i >= 0 ? (1 + j) * i : 0, j)", "A((1 + i) * i >= 0 ? i : 0, j)"]
)
def test_loops_so_short_that_their_indices_are_numbers(value: str) -> None:
    f = tc.define(f"def f(float(N, M) A, float(N) B) -> (O) {{ O(i, j) = {value} where i in 0:1, j in 0:2 }}").f
    expected = {"B": np.full((1, 2), B[0]), "A": A[:1, :2]}[value[0]]
    np.testing.assert_array_equal(f(A, B), expected)


SHORT = {
    "a choice": "A(i < N ? i + i * j : 0, 0) where i in 0:N, j in 0:1",
    "a minimum": "A(min(i, N - 1), min(i * j, M - 1)) where i in 0:1, j in 0:M",
    "a maximum that is one of both": "B(max((1 + j) * i, 0)) where i in 0:N, j in 0:1",
    "a maximum beside a minimum": "A(max(min(j * j, N - 1), i - 4), -1 * j) where i in 0:N, j in 0:1",
    "a quotient": "B((i + i * j) / 2) where i in 0:N, j in 0:1",
    "a remainder": "B((i + i * j + 1) % 3) where i in 0:N, j in 0:1",
    "a condition": "B(i * j + 2 > i || i * j == i * i ? i : 0) where i in 0:N, j in 0:1",
    "a condition on what is read too": "B(J(i) > 2 && i * j < i ? i : 0) where i in 0:N, j in 0:1",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("value", SHORT.values(), ids=SHORT)
def test_operations_that_short_loops_make_affine(value: str, sizes: Any) -> None:
    f = tc.define(f"def f(float(N, M) A, float(N) B, int32(N) J) -> (O) {{ O(i, j) = {value} }}", sizes=sizes).f
    kernel = f.compile(A, B, J)
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(A, B, J), f.reference(A, B, J))


PRODUCTS = {
    "a maximum of a remainder and 0": "A(0, max(i * j % 3, 0) % M)",
    "a remainder of a remainder": "A(i * j % 2 % N, 0)",
    "a minimum in a maximum in a minimum": "A(0, min(max(min(i * j + 1, 5), 0), M - 1))",
    "extremes that know one another": "A(0, min(max(max(i * j, i), 0), M - 1))",
    "quotients a number apart": "A(i * j / 4 % N, (i * j + 4) / 4 % M)",
    "a condition said twice": "A(i * j < N && j * i < 3 ? i * j : 0, 0)",
    "a polynomial": "A(min(i * i * j * j + 3 * i * j, N - 1), 0)",
    "what is read": "A(J(i) * j % 2 % N, max(J(i) % 3, 0))",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("value", PRODUCTS.values(), ids=PRODUCTS)
def test_what_is_known_of_products_of_indices(value: str, sizes: Any) -> None:
    """The kernel is simplified by what remainders and extremes can be, whatever the product is."""
    text = f"def f(float(N, M) A, int32(N) J) -> (O) {{ O(i, j) = {value} where i in 0:N, j in 0:M }}"
    f = tc.define(text, sizes=sizes).f
    kernel = f.compile(A, J)
    assert kernel.certificate and not kernel.report.fallbacks
    np.testing.assert_array_equal(kernel(A, J), f.reference(A, J))


def test_a_choice_between_equal_numbers() -> None:
    f = tc.define(
        "def f(float(N) B) -> (O) { O(i, j) = B(j * j < N ? j : 0) where i in 0:N, j in 0:1 }", sizes="symbolic"
    ).f
    np.testing.assert_array_equal(f(B), np.full((5, 1), B[0]))


BESIDE_WHAT_IS_READ: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a remainder": ("J(i) + i % 2", lambda i: J + i % 2),
    "a quotient": ("J(i) + i / 2", lambda i: J + i // 2),
    "an extreme": ("J(i) + min(i, 2)", lambda i: J + np.minimum(i, 2)),
    "a choice": ("J(i) + (i > 2 ? 1 : 0)", lambda i: J + (i > 2)),
    "two remainders": ("J(i) + i % 2 + i % 3", lambda i: J + i % 2 + i % 3),
    "taken off": ("9 + i % 2 - J(i)", lambda i: 9 + i % 2 - J),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", BESIDE_WHAT_IS_READ)
def test_what_stands_beside_what_is_read(name: str, sizes: Any) -> None:
    subscript, places = BESIDE_WHAT_IS_READ[name]
    table, where = np.arange(20, dtype=np.float32), places(np.arange(5))
    header = "int32(N) J, float(M) T"
    f = tc.define(f"def f({header}) -> (O) {{ O(i) = T({subscript}) }}", sizes=sizes).f
    np.testing.assert_array_equal(f(J, table), table[where])
    f = tc.define(f"def f({header}) -> (O) {{ O(k) = 0.0 where k in 0:M  O({subscript}) += T(i) }}", sizes=sizes).f
    expected = np.zeros(20, np.float32)
    np.add.at(expected, where, table[:5])
    np.testing.assert_array_equal(f(J, table), expected)


def test_a_reduction_of_which_no_loop_is_left() -> None:
    """B(-i) has one row to write, so that the loops over rows and over `min(i + 1, M)` run once."""
    f = tc.define(
        """
        def f(float(N, M) A, float(N) B) -> (O) {
            O(i, j) = B(-1 * i) where j in 0:M
            O(i, M - 1) += 1 where i in 0:N, j in 0:min(i + 1, M), u in 0:min(1, N + M), v in 0:min(N, M)
        }""",
        sizes="symbolic",
    ).f
    kernel = f.compile(A[:1], B[:1], options=tc.MappingOptions(tile=(2, 3), unroll=4))
    np.testing.assert_array_equal(kernel(A[:1], B[:1]), [[100, 100, 101]])


@pytest.mark.filterwarnings("ignore::comprehension.ComprehensionWarning")
@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize(("subscript", "extents"), [("j < N ? j : 0", [0, 1, 4]), ("j < 2 ? j : 7", [0, 1, 8])])
def test_a_choice_on_the_left_that_is_never_made_takes_no_room(subscript: str, extents: list[int], sizes: Any) -> None:
    """The size was 1 where no index is written at all."""
    f = tc.define(f"def f(float(N) A) -> (O) {{ O({subscript}) max= A(j) where j in 0:N }}", sizes=sizes).f
    assert [f.infer(np.zeros(n, np.float32)).shape for n in (0, 1, 4)] == [(extent,) for extent in extents]
