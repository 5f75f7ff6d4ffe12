"""Errors of calls stand where the text says otherwise: the same place from a call, a kernel and the reference.

A case is a text with `<<` and `>>` around the place; the marks are taken out first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc

ONES = np.ones(8, np.float32)
COPY = "def f(<<float(N)>> A) -> (B) { B(i) = A(i) }"
RESULT = "def f(float(N) A) -> (B) { <<B(i) = A(i)>> }"
ANNOTATED = "def f(float(N) A) -> (float(N) <<B>>) { B(i) = A(i) }"
PAIR = "def f(float(N, 3) A, <<float(N)>> b) -> (C) { C(i) = A(i, 0) * b(i) }"
GATHER = "def f(float(N) A, {kind}(M) J) -> (B) {{ B(i) = <<A(J(i))>> }}"
COMPUTED = "def f(float(N) A, {kind}(M) J) -> (B) {{ q(i) = J(i)  B(i) = <<A(q(i))>> }}"
HISTOGRAM = "def f(int32(N) J) -> (H) { H(k) = 0 where k in 0:4  <<H(J(i)) += 1>> }"
DEEP = "def f(float(K, L, N) A, int32(M) J) -> (B) { B(k, l, i) = 2 * <<A(k, l, J(i))>> }"

ARGUMENTS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "type": (COPY, (np.ones(3),), {}, "expected float32, found float64"),
    "no array": (COPY, ([1.0],), {}, "expected an array, found a list"),
    "rank": (COPY, (np.ones((3, 3), np.float32),), {}, "expected 1 dimensions, found 2"),
    "too few": (PAIR, (np.ones((2, 3), np.float32),), {}, "expected 2 arguments"),
    "size": (PAIR, (np.ones((2, 3), np.float32), ONES), {}, "N is 8 here"),
    "constant size": (
        "def f(<<float(N, 3)>> A) -> (C) { C(i) = A(i, 0) }",
        (np.ones((2, 2), np.float32),),
        {},
        "expected 3 elements along dimension 1",
    ),
    "a scalar": ("def f(float(N) A, <<int8>> s) -> (B) { B(i) = A(i) * s }", (ONES, 300), {}, "300 does not fit int8"),
    "result's type": (RESULT, (ONES,), {"out": np.ones(8)}, "expected float32 of shape"),
    "result's shape": (ANNOTATED, (ONES,), {"out": ONES[:3].copy()}, "expected float32 of shape"),
    "overlap": (RESULT, (ONES[:4],), {"out": ONES[2:6]}, "overlaps A"),
    "read-only": (RESULT, (ONES,), {"out": np.broadcast_to(np.float32(0), 8)}, "is read-only"),
    "no buffer": ("def f(float(N) A) -> (B) { <<B(i) += A(i)>> }", (ONES,), {}, "out="),
    "a precondition": (
        "def f(float(N) A, float(M) B) -> (C) { C(i, j) = <<A(i + j)>> where i in 0:N, j in 0:M }",
        (ONES, ONES[:2]),
        {},
        "out of bounds",
    ),
    "a scalar's precondition": (
        "def f(float(N) A, int32 s) -> (B) { B(i) = <<A(i + s)>> where i in 0:3 }",
        (ONES, 6),
        {},
        "out of bounds",
    ),
    "a result's size": (
        "def f(int32 k) -> (B) { B(i) = 1 where <<i in 0:k * k>> }",
        (70_000,),
        {},
        "the range of 'i' is beyond int32",
    ),
}
SUBSCRIPTS = {
    "an input": (GATHER.format(kind="int32"), (ONES, np.int32([0, 8])), "8"),
    "below 0": (GATHER.format(kind="int8"), (ONES, np.int8([-1, 3])), "-1"),
    "unsigned": (GATHER.format(kind="uint64"), (ONES, np.uint64([0, 2**64 - 1])), "18446744073709551615"),
    "computed": (COMPUTED.format(kind="int64"), (ONES, np.int64([0] * 30 + [8] + [0] * 9)), "8"),
    "the lowest of all": (COMPUTED.format(kind="int64"), (ONES, np.int64([0] * 30 + [-(2**63), 0])), f"-{2**63}"),
    "computed, unsigned": (COMPUTED.format(kind="uint64"), (ONES, np.uint64([0] * 30 + [2**63, 0])), f"{2**63}"),
    "a write": (HISTOGRAM, (np.int32([0, 4]),), "4"),
    "behind joined axes": (DEEP, (np.ones((2, 3, 4), np.float32), np.int32([0, 4])), "4"),
}  # fmt: skip


def marked(text: str) -> tuple[str, int]:
    """The text without marks, and the column of the first."""
    assert text.count("<<") == 1
    return text.replace("<<", "").replace(">>", ""), text.index("<<") + 1


@pytest.mark.filterwarnings("ignore::comprehension.ComprehensionWarning")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_wrong_with_arguments_stands_at_what_they_should_be(name: str) -> None:
    text, inputs, keywords, message = ARGUMENTS[name]
    text, column = marked(text)
    f = tc.define(text, sizes="symbolic" if "precondition" in name else "static").f
    for call in (f, f, f.reference):
        with pytest.raises(tc.ComprehensionError, match=message) as caught:
            call(*inputs, **keywords)
        assert (caught.value.line, caught.value.column) == (1, column)
        assert caught.value.source_line == text


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", SUBSCRIPTS)
def test_a_subscript_out_of_range_stands_at_its_access(name: str, sizes: Any) -> None:
    text, inputs, seen = SUBSCRIPTS[name]
    text, column = marked(text)
    f = tc.define(text, sizes=sizes).f
    for call in (f, f.compile(*inputs), f.reference):
        with pytest.raises(tc.ComprehensionError, match=rf"\b(is|range:) {seen}, ") as caught:
            call(*inputs)
        assert (caught.value.line, caught.value.column) == (1, column)


def test_a_kernel_given_other_sizes_says_where() -> None:
    text, column = marked(PAIR)
    kernel = tc.define(text).f.compile(np.ones((8, 3), np.float32), ONES)
    with pytest.raises(tc.ComprehensionError, match="compiled for shape") as caught:
        kernel(np.ones((8, 3), np.float32), ONES[:4])
    assert (caught.value.line, caught.value.column) == (1, column)


def test_a_name_of_the_text_is_found_in_a_text_of_several_defs() -> None:
    text = "def g(float(N) X) -> (Y) { Y(i) = X(i) }\n"
    text += "def f(float(N) A, int32(M) J) -> (B) {\n  T = g(A)\n  B(i) = T(J(i))\n}"
    f = tc.define(text).f
    for call in (f, f.reference):
        with pytest.raises(tc.ComprehensionError) as caught:
            call(ONES, np.int32([9]))
        assert (caught.value.line, caught.value.column, caught.value.source_line) == (4, 10, "  B(i) = T(J(i))")
