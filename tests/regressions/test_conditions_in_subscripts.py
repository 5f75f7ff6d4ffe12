"""Conditions inside of subscripts: exact like the subscripts that they stand in, whatever they are made of.

A comparison alone was exact; one under `&&`, `||` or `!`, or a bool let, wrapped for the reference and was exact, or
not compiled, in kernels; floats were compared as integers.  A sum of what is read wraps in its type, and was exact in
kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import comprehension as tc

A = np.arange(64, dtype=np.float32)
J = (np.arange(64) % 7).astype(np.int32)


def up_to(most: int) -> Callable[[Any], Any]:
    return lambda i: np.minimum(i, most)


LARGE = 2**31 - 1  # i + LARGE is no int32 from i = 1 on
FIRST = "float(N) A, int32 s"
CONDITIONS = {
    "a comparison": (FIRST, "A(i + s < 10 ? i : i + 1)", "", (LARGE,), lambda i: i + 1),
    "and": (FIRST, "A(i + s < 10 && i < 9 ? i : i + 1)", "", (LARGE,), lambda i: i + 1),
    "not": (FIRST, "A(!(i + s < 10) ? i : i + 1)", "", (LARGE,), lambda i: i),
    "or": (FIRST, "A(i + s < 10 || i == 3 ? 63 - i : i)", "", (LARGE,), lambda i: np.where(i == 3, 60, i)),
    "a bool let": (FIRST, "A(c ? i : i + 1)", "c = i + s < 10, ", (LARGE,), lambda i: i + 1),
    "lets in lets": (FIRST, "A(k)", "c = i + s < 9, d = !c && i < 5, k = d ? i : 5, ", (LARGE,), up_to(5)),
    "as a value it wraps": (FIRST, "c ? 1.0 : 0.0", "c = i + s < 10, ", (LARGE,), lambda i: i > 0),
    "floats": ("float(N) A, float s", "A(s < 2.5 && i > 3 ? i : i + 1)", "", (2.7,), lambda i: i + 1),
    "a float let": ("float(N) A, float s", "A(t < 5.0 ? i : 4)", "t = s * float(i), ", (1.25,), up_to(4)),
    "bools": ("float(N) A, bool s", "A(!s != (i < 3) ? i : i + 1)", "", (False,), lambda i: i + (i < 3)),
    "a builtin": ("float(N) A, float s", "A(floor(s) == 2.0 || i < 2 ? i : i + 1)", "", (1.5,), lambda i: i + (i > 1)),
    "narrow lets": ("float(N) A, int8 s", "A(k / 8 + i)", "k = s * s, ", (16,), lambda i: i + 32),
    "narrow casts": ("float(N) A, int8 s", "A(int8(7) >= s && i < 9 ? i : 63 - i)", "", (16,), lambda i: 63 - i),
    "narrow lets as values": ("float(N) A, int8 s", "float(k)", "k = s * s, ", (16,), lambda i: 0 * i),
}  # fmt: skip


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", CONDITIONS)
def test_they_are_exact(name: str, sizes: Any) -> None:
    parameters, value, where, scalars, expected = CONDITIONS[name]
    f = tc.define(f"def f({parameters}) -> (B) {{ B(i) = {value} where {where}i in 0:20 }}", sizes=sizes).f
    wanted = expected(np.arange(20)).astype(np.float32)
    np.testing.assert_array_equal(f.reference(A, *scalars), wanted)
    np.testing.assert_array_equal(f(A, *scalars), wanted)


READING = {
    "what is read wraps": ("uint32(M) J", "A(J(i) + uint32(2))", np.uint32([2**32 - 1, 3, 2**32 - 2]), [1, 5, 0]),
    "two of them": ("int32(M) J", "A(J(i) + J(i))", np.int32([-(2**31), 3, 2]), [0, 6, 4]),
    "an index beside it": ("int32(M) J", "A(40 + J(i) - i)", np.int32([1, 2, 9]), [41, 41, 47]),
    "a wide index beside it": ("int64(M) J", "A(J(i) + i)", np.int64([1, 2, 9]), [1, 3, 11]),
    "a large number beside it": ("int32(M) J", "A(J(i) + 2147483647 + i + 2147483647)", np.int32([8, 4, 3]), [6, 3, 3]),
    "a condition of it": ("int32(M) J", "A(c && i < 2 ? i : 9)", np.int32([1, 5, 1]), [0, 9, 9]),
    "a scalar beside it": ("int32(M) J", f"A(J(i) + {-LARGE} - 1 + i)", np.int32([-LARGE, -LARGE, -LARGE]), [1, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", READING)
def test_what_is_read_is_a_value(name: str) -> None:
    parameter, value, indices, expected = READING[name]
    where = "c = J(i) < 3, i in 0:3" if "c &&" in value else "i in 0:3"
    f = tc.define(f"def f(float(N) A, {parameter}) -> (B) {{ B(i) = {value} where {where} }}").f
    np.testing.assert_array_equal(f.reference(A, indices), expected)
    np.testing.assert_array_equal(f(A, indices), expected)


def test_a_choice_on_the_left_tells_how_large_the_result_is() -> None:
    text = "B(i) = 0.0 where i in 0:40  B(i < 20 ? i : 59 - i) += A(i) where i in 0:40"
    f = tc.define(f"def f(float(N) A) -> (B) {{ {text} }}").f
    expected = np.concatenate([A[:20], A[39:19:-1]])
    np.testing.assert_array_equal(f.reference(A), expected)
    np.testing.assert_array_equal(f(A), expected)


def text_with(subscript: str, lets: str) -> str:
    return f"def f(float(N) A, int32 s) -> (B) {{ B(i) = A({subscript}) where {lets}, i in 0:9 }}"


def test_lets_that_use_lets_stay_small() -> None:
    """Where a condition has more than a hundred parts it is refused; so many lets of integers cost nothing."""
    lets = "c0 = i < s, " + ", ".join(f"c{n + 1} = c{n} || !c{n}" for n in range(40))
    with pytest.raises(tc.ComprehensionError, match="'c40' has more than 100 parts"):
        tc.define(text_with("c40 ? i : i + 1", lets))
    lets_of_integers = "k0 = i, " + ", ".join(f"k{n + 1} = k{n} + k{n} - k{n}" for n in range(40))
    for text in (text_with("c2 ? i : i + 1", lets), text_with("k40", lets_of_integers)):
        f = tc.define(text).f
        np.testing.assert_array_equal(f.reference(A, 3), A[:9])
        np.testing.assert_array_equal(f(A, 3), A[:9])


CHOSEN = {
    "in the subscript": "A(i - (i < 2 ? i : 3) >= 0 && i - (i < 2 ? i : 3) < N ? i - (i < 2 ? i : 3) : 0)",
    "around the read": "i - (i < 2 ? i : 3) >= 0 ? A(i - (i < 2 ? i : 3)) : 1.0",
    "negated": "!(i - (i < 2 ? i : 3) < 0) ? A(i - (i < 2 ? i : 3)) : 1.0",
    "two of them": "i - (i < 2 ? i : 3) >= (i > 5 ? 1 : 0) ? A(i - (i < 2 ? i : 3)) : 1.0",
    "one in the other": "i - (i < (i > 1 ? 2 : 1) ? i : 3) >= 0 ? A(i - (i < (i > 1 ? 2 : 1) ? i : 3)) : 1.0",
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("value", CHOSEN.values(), ids=CHOSEN)
def test_choices_in_what_a_condition_compares(value: str, sizes: Any) -> None:
    """The condition counted as none, and the read as out of bounds."""
    f = tc.define(f"def f(float(N) A) -> (B) {{ B(i) = {value} where i in 0:N }}", sizes=sizes).f
    for extent in (1, 2, 9):
        a = np.arange(1, extent + 1, dtype=np.float32)
        np.testing.assert_array_equal(f(a), f.reference(a))
