"""`...`, any leading dimensions: what it means at every rank, and what texts that misuse it are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from language_cases import F4, f4, i4, m
from test_language import assert_same, parts

import comprehension as tc
from comprehension.lang.frontend import load
from comprehension.lang.parser import parse
from comprehension.lang.printer import to_text

SCALE = "def f(float(..., K) A, float(K) s) -> (B) { B(..., k) = A(..., k) * s(k) }"
SUM = "def f(float(...) X, float(...) Y) -> (Z) { Z(...) = X(...) + Y(...) }"
A = m(2, 3, 4)

CASES: dict[str, tuple[str, list[Any], Callable[..., Any]]] = {
    "three dimensions": (SCALE, [A, m(4)], lambda a, s: a * s),
    "two": (SCALE, [A[0], m(4)], lambda a, s: a * s),
    "none": (SCALE, [A[0, 0], m(4)], lambda a, s: a * s),
    "empty ones": (SCALE, [A[:0], m(4)], lambda a, s: a * s),
    "all": (SUM, [A, A], lambda x, y: x + y),
    "scalars": (SUM, [2.0, F4(3)], lambda x, y: F4(5)),
    "a reduction of the last": (
        "def f(float(..., N) X) -> (t, Y) { t(...) max=! X(..., j)  Y(..., j) = X(..., j) - t(...) }",
        [A],
        lambda x: (x.max(-1), x - x.max(-1, keepdims=True)),
    ),
    "a reduction of them": (
        "def f(float(..., K) X) -> (S, t) { S +=! X(..., k)  t(k) max=! X(..., k) }",
        [A],
        lambda x: (x.sum(), x.max((0, 1))),
    ),
    "batched products": (
        "def f(float(..., M, K) A, float(..., K, N) B) -> (C) { C(..., i, j) +=! A(..., i, k) * B(..., k, j) }",
        [A, m(2, 4, 3)],
        lambda a, b: a @ b,
    ),
    "a layer": (
        "def f(float(..., K) A, float(N, K) W, float(N) b) -> (float(..., N) C) {"
        " C(..., n) +=! A(..., k) * W(n, k)  C(..., n) += b(n) }",
        [A, m(5, 4), m(5)],
        lambda a, w, b: a @ w.T + b,
    ),
    "a scan": (
        "def f(float(..., T) X) -> (Y) { Y(..., 0) = X(..., 0)  Y(..., t) = Y(..., t - 1) + X(..., t) where t in 1:T }",
        [A],
        lambda x: x.cumsum(-1, dtype=F4),
    ),
    "contents": (
        "def f(float(V, D) E, int32(...) I) -> (O) { O(..., d) = E(I(...), d) }",
        [A[0], i4(0, 2, 1, 1).reshape(2, 2)],
        lambda e, i: e[i],
    ),
    "sizes behind them": ("def f(float(..., K) A) -> (B) { B(..., k) = A(..., k) * A.0 }", [A], lambda a: a * 4),
    "exists": (
        "def f(float(..., K) A) -> (B) { B(..., j) = j where j in 0:3, exists A(..., 0) }",
        [A],
        lambda a: np.broadcast_to(i4(0, 1, 2), (2, 3, 3)),
    ),
    "names that expansion would take": (
        "def f(float(..., D0) d0, float(D0) d1) -> (D1) { D1(..., k) = d0(..., k) * d1(k) }",
        [A, m(4)],
        lambda a, s: a * s,
    ),
    "calls at several ranks": (
        "def g(float(..., N) X) -> (Y) { Y(..., i) = X(..., i) + 1 }\n"
        "def f(float(..., N) A, float(N) b) -> (C) { T = g(A)  U = g(b)  C(..., i) = T(..., i) * U(i) }",
        [A, m(4)],
        lambda a, b: (a + 1) * (b + 1),
    ),
    "calls of calls from a def without": (
        "def g(float(...) X) -> (Y) { Y(...) = X(...) + 1 }\ndef h(float(...) X) -> (Y) { T = g(X)  Y = g(T) }\n"
        "def f(float(M, N) A) -> (C) { C = h(A) }",
        [A[0]],
        lambda a: a + 2,
    ),
}


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
@pytest.mark.parametrize("name", CASES)
def test_leading_dimensions(name: str, sizes: Any) -> None:
    text, inputs, wanted = CASES[name]
    assert to_text(parse(to_text(parse(text)))) == to_text(parse(text))
    f = tc.define(text, sizes=sizes)["f"]
    found = f.reference(*inputs)
    assert_same(
        found, tuple(np.asarray(w).astype(g.dtype) for w, g in zip(parts(wanted(*inputs)), parts(found), strict=True))
    )
    assert_same(f(*inputs), found)
    assert [spec.shape for spec in parts(f.infer(*inputs))] == [np.shape(array) for array in parts(found)]


def test_specs_decide_the_rank() -> None:
    f = tc.define(SCALE)["f"]
    scale = tc.Spec((4,), "float32")
    assert f.infer(tc.Spec((7, 5, 4), "float32"), scale).shape == (7, 5, 4)
    assert [r.index for r in f.ranges(tc.Spec((5, 4), "float32"), scale)] == ["d0", "k"]
    kernel = f.compile(tc.Spec(("P", "Q", "K"), "float32"), tc.Spec(("K",), "float32"))
    assert kernel.certificate
    assert_same(kernel(A, m(4)), A * m(4))
    with pytest.raises(tc.ComprehensionError, match="expected 3 dimensions, found 2"):
        kernel(A[0], m(4))


def test_what_comes_in_is_written_into_out() -> None:
    with pytest.warns(tc.ComprehensionWarning):
        f = tc.define("def f(float(..., K) A) -> (B) { B(..., k) += A(..., k) }")["f"]
    out = A.copy()
    assert f(A, out=out) is out
    assert_same(out, 2 * A)


CALLS = {
    "f: A: expected at least 1 dimensions, found 0": (SCALE, [F4(3), m(4)]),
    "f: Y: '...' is 2 dimensions here and 3 in X": (SUM, [A, A[0]]),
    "f: expected 2 arguments": (SCALE, [A]),
    "f: A: expected an array": (SCALE, [[1.0], m(4)]),
    "K is 5 here": (SCALE, [A, m(5)]),
    "D0 is 3 here": (SUM, [f4(1, 2), f4(1, 2, 3)]),
}


@pytest.mark.parametrize("message", CALLS)
def test_calls_that_do_not_fit(message: str) -> None:
    text, inputs = CALLS[message]
    f = tc.define(text)["f"]
    for way in (f, f.reference, f.infer, f.compile):
        with pytest.raises(tc.ComprehensionError) as caught:
            way(*inputs)
        assert message in str(caught.value)


TEXTS = {
    "'...' needs an input that begins with it": "def f(float(K) A) -> (B) { <<B(..., k)>> = A(k) }",
    "'A' has leading dimensions": "def f(float(..., K) A) -> (B) { B(..., k) = <<A(k)>> }",
    "'B' has leading dimensions": "def f(float(..., K) A) -> (B) { B(..., k) = A(..., k)  <<B(k)>> = 1.0 }",
    "'s' has no leading dimensions": (
        "def f(float(..., K) A, float(K) s) -> (B) { B(..., k) = A(..., k) * <<s(..., k)>> }"
    ),
    "'B' has no leading dimensions": "def f(float(..., K) A) -> (float(K) B) { <<B(..., k)>> = A(..., k) }",
    "stands on the right only": "def f(float(..., K) A) -> (B) { B(k) = <<A(..., k)>> }",
    "stands on the left only": "def f(float(..., K) A) -> (B) { <<B(..., k)>> = k where k in 0:K }",
    "and 'exp' is a function": "def f(float(..., K) A) -> (B) { B(..., k) = exp(<<...>>) }",
    "expected a name or a number but found '...'": "def f(float(K, <<...>>) A) -> (B) { B(..., k) = A(..., k) }",
    "expected an expression but found '...'": "def f(float(..., K) A) -> (B) { B(k, <<...>>) = A(..., k) }",
    "undefined tensor or function 'Q'": "def f(float(..., K) A) -> (B) { B(..., k) = <<Q(..., k)>> }",
    "def 'f' is not defined before this one": "def f(float(..., K) A) -> (B) { B = <<f(A)>> }",
    "def 'g': X: expected at least 2 dimensions, found 1": (
        "def g(float(..., M, N) X) -> (Y) { Y(..., i, j) = X(..., i, j) }\ndef f(float(N) A) -> (B) { B = <<g(A)>> }"
    ),
    "and 'g' is a def": (
        "def g(float(...) X) -> (Y) { Y(...) = X(...) }\ndef f(float(..., N) A) -> (B) { B = <<g(..., A)>> }"
    ),
    "def 'f' is already defined": (
        "def f(float(...) X) -> (Y) { Y(...) = X(...) }\n<<def>> f(float(...) X) -> (Y) { Y(...) = X(...) }"
    ),
}


@pytest.mark.parametrize("message", TEXTS)
def test_texts_that_misuse_them(message: str) -> None:
    before, rest = TEXTS[message].split("<<")
    with pytest.raises(tc.ComprehensionError) as caught:
        load(before + rest.replace(">>", ""))
    assert message in str(caught.value)
    line = before.count("\n") + 1
    assert (caught.value.line, caught.value.column) == (line, len(before) - (before.rfind("\n") + 1) + 1)
    assert len(caught.value.errors) == 1


def test_a_fault_in_a_called_def_is_reported_once() -> None:
    text = (
        "def g(float(...) X) -> (Y) { Y(...) = Q(...) }\ndef h(float(...) X) -> (Y) { Y = g(X) }\n"
        "def f(float(N) A) -> (B) { B = h(A)  C(i) = R(i) }"
    )
    with pytest.raises(tc.ComprehensionError) as caught:
        load(text)
    assert [error.line for error in caught.value.errors] == [1]
