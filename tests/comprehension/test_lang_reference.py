"""The reference interpreter beside independent NumPy formulations, bit for bit where integers allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from comprehension.errors import ComprehensionError
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.lang.reference import run
from comprehension.lang.types import Spec
from comprehension.lang.verify import verify_program

Array = np.ndarray[Any, Any]


def call(text: str, *inputs: Any, out: dict[str, Array] | None = None) -> Any:
    """The outputs of the text's last def, with static and with symbolic sizes, which must agree."""
    definition = list(load(text).values())[-1]
    named = {p.name: value for p, value in zip(definition.parameters, inputs, strict=True)}
    scalars = {s.name: named.pop(s.name) for s in definition.scalars}
    specs = [
        Spec(np.shape(value), p.type.scalar) for p, value in zip(definition.parameters, inputs, strict=True) if p.type
    ]
    for mode in ("static", "symbolic"):
        verify_program(infer(definition, specs if mode == "static" else None, mode))
    copies = {name: array.copy() for name, array in (out or {}).items()}
    static = run(infer(definition, specs, "static"), named, scalars, out)
    symbolic = run(infer(definition, None, "symbolic"), named, scalars, copies)
    for name, array in static.items():
        np.testing.assert_array_equal(array, symbolic[name])
    return next(iter(static.values())) if len(static) == 1 else tuple(static.values())


def integers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


A, B = integers(3, 4), integers(4, 5, seed=1)
IMAGE, KERNEL = integers(2, 3, 6, 7), integers(4, 3, 2, 3, seed=1)
LINE = integers(9)


def conv2d(x: Array, w: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, w)


EXACT: dict[str, tuple[str, tuple[Any, ...], Callable[..., Any]]] = {
    "matmul": (
        "def f(float(M, K) A, float(K, N) B) -> (C) { C(m, n) +=! A(m, k) * B(k, n) }",
        (A, B),
        lambda a, b: a @ b,
    ),
    "trace": ("def f(float(N, N) A) -> (t) { t +=! A(i, i) }", (integers(5, 5),), np.trace),
    "transpose": ("def f(float(M, N) A) -> (B) { B(n, m) = A(m, n) }", (A,), np.transpose),
    "outer": ("def f(float(M) a, float(N) b) -> (C) { C(m, n) = a(m) * b(n) }", (LINE, LINE), np.outer),
    "contraction of four": (
        "def f(float(A, B, C) X, float(C, D) Y, float(B, D) Z) -> (O) { O(d, a) +=! X(a, b, c) * Y(c, d) * Z(b, d) }",
        (integers(2, 3, 4), integers(4, 5, seed=1), integers(3, 5, seed=2)),
        lambda x, y, z: np.einsum("abc,cd,bd->da", x, y, z),
    ),
    "convolution": (
        "def f(float(N,C,H,W) I, float(O,C,KH,KW) K) -> (R) "
        "{ R(n, o, h, w) +=! I(n, c, h + kh, w + kw) * K(o, c, kh, kw) }",
        (IMAGE, KERNEL),
        conv2d,
    ),
    "strided convolution": (
        "def f(float(H) I, float(K) W, int32 s) -> (O) { O(h) +=! I(s * h + k) * W(k) where h in 0:(H - K) / s + 1 }",
        (LINE, integers(3, seed=1), 2),
        lambda x, w, s: np.correlate(x, w, "valid")[::s],
    ),
    "padded convolution": (
        "def f(float(H) I, float(K) W) -> (O) "
        "{ O(h) +=! (h + k >= 1 && h + k <= H ? I(h + k - 1) : 0.0) * W(k) where h in 0:H }",
        (LINE, integers(3, seed=1)),
        lambda x, w: np.correlate(x, w, "same"),
    ),
    "maximum": ("def f(float(M, N) A) -> (B) { B(m) max=! A(m, n) }", (A,), lambda a: a.max(1)),
    "minimum": ("def f(float(M, N) A) -> (B) { B(n) min=! A(m, n) }", (A,), lambda a: a.min(0)),
    "product": ("def f(float(N) A) -> (B) { B *=! A(i) }", (integers(5),), np.prod),
    "prefix sums": (
        "def f(float(T) X) -> (S) { S(t) = X(0) where t in 0:1  S(t) = S(t - 1) + X(t) where t in 1:T }",
        (LINE,),
        np.cumsum,
    ),
    "guarded scan": (
        "def f(float(T) X) -> (S) { S(t) = t > 0 ? S(t - 1) + X(t) : X(t) where t in 0:T }",
        (LINE,),
        np.cumsum,
    ),
    "triangle": (
        "def f(float(N, N) A) -> (O) { O(i) +=! A(i, j) where j in 0:i + 1 }",
        (integers(5, 5),),
        lambda a: np.tril(a).sum(1),
    ),
    "embedding": (
        "def f(float(V, D) T, int32(B, L) I) -> (O) { O(b, d) +=! T(I(b, l), d) }",
        (A, np.array([[0, 2], [1, 1]], np.int32)),
        lambda t, i: t[i].sum(1),
    ),
    "histogram": (
        "def f(int32(N) I) -> (H) { H(k) = 0.0 where k in 0:5  H(I(i)) += 1.0 }",
        (np.array([1, 1, 4, 0], np.int32),),
        lambda i: np.bincount(i, minlength=5),
    ),
    "reversal": ("def f(float(N) A) -> (B) { B(N - 1 - i) = A(i) }", (LINE,), lambda a: a[::-1]),
    "interleaving": (
        "def f(float(N) A) -> (B) { T(2 * i) = A(i)  T(2 * i + 1) = 0.0 - A(i) where i in 0:N  B(i) = T(i) }",
        (LINE,),
        lambda a: np.stack([a, -a], 1).ravel(),
    ),
    "reshape": ("def f(float(M, N) A) -> (B) { B(N * m + n) = A(m, n) }", (A,), np.ravel),
    "downsampling": ("def f(float(N) A) -> (B) { B(i) = A(2 * i) }", (LINE,), lambda a: a[::2]),
    "calls": (
        "def mm(float(M, K) X, float(K, N) Y) -> (Z) { Z(m, n) +=! X(m, k) * Y(k, n) }\n"
        "def f(float(M, K) A, float(K, N) B) -> (R) { P = mm(A, B)  R(i) +=! P(i, j) }",
        (A, B),
        lambda a, b: (a @ b).sum(1),
    ),
    "call of its own result": (
        "def next(float(N) X) -> (Y) { Y(i) = X(N - 1 - i) + 1.0 }\n"
        "def f(float(N) A) -> (T) { T = next(A)  T = next(T) }",
        (LINE,),
        lambda a: a + 2,
    ),
    "lets": (
        "def f(float(N) A) -> (B) { B(i) = x * x + y where x = A(i + 1), y = x - A(i) }",
        (LINE,),
        lambda a: a[1:] ** 2 + (a[1:] - a[:-1]),
    ),
    "a let that introduces a reduction index": (
        "def f(float(M, N) A) -> (B) { B(i) +=! x where x = A(i, j) }",
        (A,),
        lambda a: a.sum(1),
    ),
    "exists": (
        "def f(float(N) A) -> (B) { B(i) = 1.0 where exists A(i + 1) }",
        (LINE,),
        lambda a: np.ones(len(a) - 1),
    ),
    "sizes as values": ("def f(float(M, N) A) -> (B) { B(i) = A(i, 0) * A.1 + M }", (A,), lambda a: a[:, 0] * 4 + 3),
    "partial write": (
        "def f(float(N) A) -> (B) { B(i) = A(i)  B(i) = 0.0 where i in 2:4 }",
        (LINE,),
        lambda a: np.where((np.arange(9) >= 2) & (np.arange(9) < 4), 0, a),
    ),
    "elements nobody writes": (
        "def f(float(N) A) -> (B) { B(i) = A(i) where i in 2:N }",
        (LINE,),
        lambda a: np.where(np.arange(9) < 2, 0, a),
    ),
    "empty sum": (
        "def f(float(M, N) A) -> (B) { B(m) +=! A(m, n) }",
        (np.ones((2, 0), np.float32),),
        lambda a: a.sum(1),
    ),
    "empty maximum": (
        "def f(float(M, N) A) -> (B) { B(m) max=! A(m, n) }",
        (np.ones((2, 0), np.float32),),
        lambda a: np.full(2, -np.inf),
    ),
    "strides of any kind": (
        "def f(float(M, N) A, float(M, N) B) -> (C) { C(i, j) = A(i, j) + B(i, j) }",
        (np.broadcast_to(np.float32(2), (3, 4)), integers(4, 3)[::-1].T),
        np.add,
    ),
    "scalar parameters": (
        "def f(float(N) A, float alpha, int32 k, bool up) -> (B) { B(i) = (up ? alpha : 0.0) * A(i) + k }",
        (LINE, 2.0, 3, True),
        lambda a, alpha, k, up: alpha * a + k,
    ),
    "bounds by scalar parameters": (
        "def f(float(N) A, int32 lo, int32 hi) -> (B) { B(i) = A(i + lo) where i in 0:hi - lo }",
        (LINE, 2, 5),
        lambda a, lo, hi: a[lo:hi],
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_reference_equals_numpy(name: str) -> None:
    text, inputs, expected = EXACT[name]
    found = call(text, *inputs)
    wanted = np.asarray(expected(*inputs))
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted.astype(found.dtype))


def test_softmax_through_temporaries() -> None:
    text = """
    def softmax(float(N, M) X) -> (Y) {
        top(i) max=! X(i, j)
        E(i, j) = exp(X(i, j) - top(i))
        total(i) +=! E(i, j)
        Y(i, j) = E(i, j) / total(i)
    }"""
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    # one rounding of x - max (error u |x - max| <= 6 u in e), of exp, of each of 6 sums and of the quotient
    bound = (6 + 1 + 6 + 2) * 2.0**-24 * 2
    np.testing.assert_allclose(call(text, x), e / e.sum(1, keepdims=True), rtol=bound)


def test_update_accumulates_into_the_callers_buffer() -> None:
    text = "def f(float(N) A) -> (B) { B(i) += A(i) }"
    buffer = np.ones(9, np.float32)
    assert call(text, LINE, out={"B": buffer}) is buffer
    np.testing.assert_array_equal(buffer, LINE + 1)
    with pytest.raises(ComprehensionError, match="pass it by out="):
        call(text, LINE)


def test_partial_write_leaves_the_rest_of_out_alone() -> None:
    buffer = np.full(9, 7, np.float32)
    call("def f(float(N) A) -> (B) { B(i) = A(i) where i in 2:4 B(i) = 0.0 where i in 8:9 }", LINE, out={"B": buffer})
    np.testing.assert_array_equal(buffer, np.where(np.isin(np.arange(9), [2, 3]), LINE, [7] * 8 + [0]))


def test_indirect_subscripts_are_checked() -> None:
    text = "def f(float(V) T, int32(N) I) -> (O) { O(i) = T(I(i)) }"
    with pytest.raises(ComprehensionError, match="subscript 0 of 'T' is -1, but the size is 9"):
        call(text, LINE, np.array([0, -1], np.int32))
    with pytest.raises(ComprehensionError, match="subscript 0 of 'T' is 9"):
        call(text, LINE, np.array([9], np.int32))


def test_only_the_chosen_branch_reads() -> None:
    text = "def f(float(N) A, int32(M) I) -> (O) { O(i) = I(i) >= 0 ? A(I(i)) : -1.0 }"
    found = call(text, LINE, np.array([2, -5], np.int32))
    np.testing.assert_array_equal(found, [LINE[2], -1])


def test_preconditions_are_checked_at_the_call() -> None:
    text = "def f(float(N) B, float(M) C, float(K) D) -> (O) { O(i) +=! B(i) * C(i + j) * D(j) }"
    one = np.ones(3, np.float32)
    np.testing.assert_array_equal(call(text, one, np.ones(5, np.float32), one), [3, 3, 3])
    np.testing.assert_array_equal(call(text, one[:0], one[:1], one), [])
    with pytest.raises(ComprehensionError, match="the subscript goes up to 4, but the size is 4"):
        call(text, one, np.ones(4, np.float32), one)
    definition = load(text)["f"]
    with pytest.raises(ComprehensionError, match="out of bounds"):
        run(infer(definition, None, "symbolic"), {"B": one, "C": np.ones(4, np.float32), "D": one})
