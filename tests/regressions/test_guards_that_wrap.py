"""Conditions that wrap around: a guard was proved for exact numbers, but computed in its type: it let reads through.

The proof of a kernel took them for exact too: it saw no dependence where a guard holds only because it wraps, and loops
were joined that must not be; a choice for a whole tile was made by the exact number.

`i + s` of a uint32 `s` is an int32 value: for 2³² - 1 it is i - 1, while the subscript `i + s` is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(8, dtype=np.float32)
GUARDED = "def f(float(N) A, {kind} s) -> (B) {{ B(i) = i + s < N && i + s >= 0 ? A(i + s) : -1.0 where i in 0:2 }}"
WRAPPING = {
    "uint32": (GUARDED.format(kind="uint32"), 2**32 - 1),
    "uint64": (GUARDED.format(kind="uint64"), 2**64 - 1),
    "a let": (
        "def f(float(N) A, uint32 s) -> (B) { B(i) = ok ? A(k) : -1.0"
        " where k = i + s, ok = k < N && k >= 0, i in 0:2 }",
        2**32 - 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", WRAPPING)
def test_a_guard_that_wraps_around_is_refused(name: str, sizes: Any) -> None:
    text, scalar = WRAPPING[name]
    f = tc.define(text, sizes=sizes).f
    for call in (f, f.reference):
        with pytest.raises(tc.ComprehensionError, match="would wrap around"):
            call(A, scalar)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_guards_of_scalars_are_taken_where_they_do_not_wrap(kind: str) -> None:
    f = tc.define(GUARDED.format(kind=kind)).f
    for scalar in (0, 3, 7, 100):
        np.testing.assert_array_equal(f(A, scalar), f.reference(A, scalar))


def test_a_constant_that_makes_a_guard_wrap_is_no_guard() -> None:
    with pytest.raises(tc.ComprehensionError, match="out of bounds"):
        tc.define("def f(float(8) A) -> (B) { B(i) = i + 2147483647 < 0 ? A(i) : 0.0 where i in 0:99 }")


def test_what_a_guard_that_wraps_lets_through_has_been_written() -> None:
    text = """
    def f(float(N) A, int32 s) -> (B) {
        T(i) = A(i) where i in 0:8
        T(15) = A(0)
        B(i) = s >= 0 && i + s < 8 ? T(i) : 0.0 where i in 0:16
    }"""
    f, a = tc.define(text).f, np.arange(1, 17, dtype=np.float32)
    s = 2**31 - 12  # i + s is negative from i = 12 on
    expected = [*[0] * 15, 1]
    np.testing.assert_array_equal(f.reference(a, s), expected)
    np.testing.assert_array_equal(f(a, s), expected)


ROWS = "T(i, j) = X(i, j) * 2  O(i, j) = {guard} ? T(N - 1 - i, j) : X(i, j)"
HIDDEN = {
    "a constant": ("", "i + 2147483647 < 0", (), 1),
    "a let": (" where k = i + 2147483647, ok = k < 0", "ok", (), 1),
    "a quotient": ("", "(i + 2147483647) / 2 < 0", (), 1),
    "a narrow type": ("", "int8(i) * int8(100) < int8(0)", (), (2, 5)),
    "a scalar": ("", "s - uint8(200) < uint8(100) && s < uint8(199)", (50,), ()),
    "a wide scalar": ("", "i - s > 0 && s > 0", (2**31 - 1,), ()),
}  # fmt: skip


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_a_guard_lets_through_by_wrapping_is_a_dependence(name: str, sizes: Any) -> None:
    where, guard, scalars, _ = HIDDEN[name]
    kind = {0: "", 50: ", uint8 s"}.get(scalars[0] if scalars else 0, ", int32 s")
    text = f"def f(float(N, N) X{kind}) -> (O) {{ {ROWS.format(guard=guard)}{where} }}"
    f, x = tc.define(text, sizes=sizes).f, np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(f(x, *scalars), f.reference(x, *scalars))


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize(
    "guard",
    [
        "int16(s) >= 3 && i >= 1",  # wraps, and says nothing of i
        "i + s >= 7 && i >= 1",  # wraps, and nothing comes of it
        "int16(s) >= int16(philox(i, 0, 1, 2, 3, 4)) && i >= 1",  # compares with what no form stands for
        "(i - s < 5 || i < 3) && i >= 1",
    ],
)
def test_a_condition_that_no_bound_comes_of_may_wrap(guard: str, sizes: Any) -> None:
    text = f"def f(float(N) A, int32 s) -> (B) {{ B(i) = {guard} ? A(i - 1) : -1.0 where i in 0:N }}"
    f = tc.define(text, sizes=sizes).f
    for scalar in (2**31 - 2, -(2**31), 70_000, 5):
        np.testing.assert_array_equal(f(A, scalar), f.reference(A, scalar))


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_a_condition_whose_cases_all_have_one_bound_may_wrap(sizes: Any) -> None:
    text = "def f(float(N) A, int32 s) -> (B) { B(i) = i < 1 && s * s == 7 ? -1.0 : A(i) where i in 0:3 }"
    f = tc.define(text, sizes=sizes).f
    for scalar in (70_000, 5):
        np.testing.assert_array_equal(f(A, scalar), f.reference(A, scalar))


def test_a_guard_that_wraps_around_for_large_sizes_alone_is_refused_at_the_launch() -> None:
    """It was taken not to: sizes up to 2**24 do not make `100 * i` wrap, and larger ones read far out of bounds."""
    f = tc.define(
        "def f(int8(N) A, int8(K) T) -> (B) { B(i) = 100 * i < K ? T(100 * i) : A(i) where i in 0:N }", sizes="symbolic"
    ).f
    ones = np.ones(50, np.int8)
    np.testing.assert_array_equal(f(np.zeros(3, np.int8), ones), [1, 0, 0])
    large = np.broadcast_to(np.int8(0), (30_000_000,))
    with pytest.raises(tc.ComprehensionError, match=r"would wrap around in its type \(N = 30000000, K = 50\)"):
        f(large, ones)


PRODUCT = "def f(float(N,M) A) -> (B) { B(i, j) = i * j < M ? A(0, i * j) : -1.0 where i in 0:N, j in 0:M }"


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_a_product_of_indices_is_a_guard_where_it_does_not_wrap(sizes: Any) -> None:
    """For all sizes it was none, and calls were refused whose every read is guarded."""
    f = tc.define(PRODUCT, sizes=sizes).f
    for n, m in ((3, 4), (1, 1), (40, 30)):
        a = np.arange(n * m, dtype=np.float32).reshape(n, m)
        np.testing.assert_array_equal(f(a), f.reference(a))
    large = np.broadcast_to(np.float32(0), (2**17, 2**17))
    with pytest.raises(tc.ComprehensionError, match="would wrap around|out of bounds"):
        f(large)
