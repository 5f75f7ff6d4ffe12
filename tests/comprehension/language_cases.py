"""What the language means, sentence by sentence: texts, inputs, and results computed by NumPy.

A case is `name: (text, inputs, result)`; the result is a function of the inputs (a tuple for several outputs), written
without the package.  `test_language.py` runs each through every way there is to run a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

F4, F8, F2 = np.float32, np.float64, np.float16
I4, I8, U1 = np.int32, np.int64, np.uint8

Case = tuple[str, list[Any], Callable[..., Any]]


def v(count: int, dtype: Any = F4) -> Any:
    """1, 2, 3, ..."""
    return np.arange(1, count + 1).astype(dtype)


def m(*shape: int, dtype: Any = F4) -> Any:
    """0, 1, 2, ... in a shape."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def i4(*values: int) -> Any:
    return np.array(values, I4)


def f4(*values: float) -> Any:
    return np.array(values, F4)


def scattered(zero: Any, where: Any, values: Any) -> Any:
    """`zero` with `values` added at `where`, repeated places included."""
    result = np.array(zero)
    np.add.at(result, where, values)
    return result


def looped(shape: Any, dtype: Any, value: Callable[..., Any]) -> Any:
    """An array from a function of its indices."""
    return np.array([value(*point) for point in np.ndindex(*shape)], dtype).reshape(shape)


GRAMMAR: dict[str, Case] = {
    "comments and CRLF": (
        "# one\r\ndef f(float(N) A) -> (B) { # two }\r\n B(i) = A(i) # three\r\n}# four",
        [v(5)],
        lambda a: a,
    ),
    "numbers": (
        "def f(float(N) A) -> (B) { B(i) = A(i) + 1. + .5 + 1.5e1 + 2.5E-1 + .5e+1 + 1e0 + 3 }",
        [v(5)],
        lambda a: a + F4(25.75),
    ),
    "an exponent makes a float": (
        "def f(int32(N) A) -> (B) { B(i) = A(i) * 1e0 }",
        [v(5, I4)],
        lambda a: a.astype(F4),
    ),
    "a dimension before a product": (
        "def f(float(M, N) A) -> (B) { B(i, j) = A(i, j) + A.1*.5 + A .0 }",
        [m(3, 4)],
        lambda a: a + F4(5),
    ),
    "choices are right-associative": (
        "def f(float(N) A) -> (B) { B(i) = A(i) < 2.0 ? 1. : A(i) < 4.0 ? 2. : 3. }",
        [v(5)],
        lambda a: f4(1, 2, 2, 3, 3),
    ),
    "a choice in a choice": (
        "def f(float(N) A) -> (B) { B(i) = A(i) < 4.0 ? A(i) < 2.0 ? .5 : 2. : 3. }",
        [v(5)],
        lambda a: f4(0.5, 2, 2, 3, 3),
    ),
    "signs": ("def f(float(N) A) -> (B) { B(i) = - -A(i) * -2.0 - -1.0 }", [v(5)], lambda a: 1 - a * 2),
    "logic": ("def f(bool(N) A) -> (B) { B(i) = !!A(i) && !A(i) || A(i) }", [v(5) > 2], lambda a: a),
    "precedence": (
        "def f(int32(N) A) -> (B, C) { B(i) = 100 - A(i) - 8 / 2 % 3 * 2"
        "  C(i) = 1 + A(i) < 2 * 2 && A(i) != 2 || A(i) == 5 }",
        [v(5, I4)],
        lambda a: (98 - a, (a == 1) | (a == 5)),
    ),
    "scalars are bare or with ()": (
        "def f(float() s, float t, float(N) A) -> (float S, T, float() U) {"
        " S +=! A(i)  T() +=! A(i)  U = S() + T * s - t }",
        [2.0, 1, v(5)],
        lambda s, t, a: (F4(15), F4(15), F4(44)),
    ),
    "no parameters": ("def f() -> (B) { B(i) = i where i in 0:4 }", [], lambda: i4(0, 1, 2, 3)),
    "equivalence has no effect": (
        "def f(float(N) A) -> (B) { B(i) = A(i) <=> g(i, 3) where i in 0:2 }",
        [v(5)],
        lambda a: a[:2],
    ),
    "dunder names": (
        "def f(float(__class__) __init__, float(__class__) __import__) -> (_) {"
        " _(_1) = __init__(_1) + __import__(_1) }",
        [v(5), v(5)],
        lambda a, b: a + b,
    ),
    "names that are types elsewhere": ("def f(float(int) uint) -> (half) { half(i) = uint(i) }", [v(5)], lambda a: a),
    "names that generated code uses": (
        "def f(float(buffers) lo, float(dims) hi) -> (scratch, np) {"
        " scratch(range) = lo(range) * 2  np(True) = hi(True) where True in 0:dims }",
        [v(5), v(3)],
        lambda a, b: (2 * a, b),
    ),
    "names that Python keeps": (
        "def f(float(None) self, float(None) class) -> (lambda, yield, async) {"
        " lambda(if) = self(if)  yield(else) = class(else)  async +=! class(for) * self(for) }",
        [v(5), v(5)],
        lambda a, b: (a, b, (a * b).sum(dtype=F4)),
    ),
    "names that C and numba keep": (
        "def f(float(long) vecmath, float(long) numba) -> (restrict, void) {"
        " T_S0(struct) = vecmath(struct)  restrict(c1) = T_S0(c1) * numba(c1)"
        "  void(c0) = numba(c0) + x_S2 where x_S2 = vecmath(c0) }",
        [v(5), v(5)],
        lambda a, b: (a * b, a + b),
    ),
}

RANGES: dict[str, Case] = {
    "scaled": ("def f(float(N) A) -> (B) { B(i) = A(2 * i) }", [v(7)], lambda a: a[::2]),
    "scaled and shifted": ("def f(float(N) A) -> (B) { B(i) = A(3 * i + 2) }", [v(8)], lambda a: a[2::3]),
    "reversed": ("def f(float(N) A) -> (B) { B(i) = A(N - 1 - i) }", [v(5)], lambda a: a[::-1]),
    "a constant less an index": ("def f(float(N) A) -> (B) { B(i) = A(3 - i) }", [v(8)], lambda a: a[3::-1]),
    "a minimum above zero": (
        "def f(float(N) A) -> (B) { B(i) = A(i - 1) + A(i + 1) }",
        [v(5)],
        lambda a: np.concatenate([[0], a[:-2] + a[2:]]).astype(F4),
    ),
    "convolution": (
        "def f(float(H) I, float(K) W) -> (O) { O(h) +=! I(2 * h + 3 * k) * W(k) }",
        [v(12), v(3)],
        lambda a, w: looped((3,), F4, lambda h: sum(a[2 * h + 3 * k] * w[k] for k in range(3))),
    ),
    "a precondition": (
        "def f(float(N) B, float(M) C, float(K) D) -> (A) { A(i) +=! B(i) * C(i + j) * D(j) }",
        [v(4), v(8), v(3)],
        lambda b, c, d: looped((4,), F4, lambda i: sum(b[i] * c[i + j] * d[j] for j in range(3))),
    ),
    "sizes, products, quotients and T.k": (
        "def f(float(M, N) A) -> (B) { B(i) = i where i in 0:M * N / 2 + A.1 - 1 }",
        [m(3, 4)],
        lambda a: np.arange(9, dtype=I4),
    ),
    "min and max of sizes": (
        "def f(float(M, N) A) -> (B) { B(i) = A(i, i) where i in 0:min(M, max(N, 2)) }",
        [m(3, 4)],
        lambda a: a.diagonal(),
    ),
    "the size of what was computed": (
        "def f(float(N) A) -> (B, C) { B(i) = A(i + 1)  C(i) = B.0 * i where i in 0:B.0 }",
        [v(5)],
        lambda a: (a[1:], i4(0, 4, 8, 12)),
    ),
    "a scalar as a bound": (
        "def f(float(N) A, int64 k, uint8 l) -> (B) { B(i) = A(i + k) where i in 0:N - k - l }",
        [v(8), 3, 2],
        lambda a, k, l: a[k : len(a) - l],
    ),
    "a scalar as a stride": (
        "def f(float(N) A, int32 s) -> (B) { B(i) = A(s * i) where i in 0:(N + s - 1) / s }",
        [v(8), 3],
        lambda a, s: a[::s],
    ),
    "a quotient of sizes": (
        "def f(float(N) A, float(M) W) -> (B) { B(i) = A(i) where i in 0:N / M }",
        [v(8), v(3)],
        lambda a, w: a[:2],
    ),
    "empty ranges": (
        "def f(float(N) A) -> (B, C, D) { B(i) = A(i) where i in 4:4  C *=! A(i) where i in 3:3  D(j) max=! A(i)"
        " where i in 2:2, j in 0:2 }",
        [v(5)],
        lambda a: (np.zeros(0, F4), F4(1), f4(-np.inf, -np.inf)),
    ),
    "a triangle on the left": (
        "def f(float(N) A) -> (B) { B(i, j) = A(i) + j where j in i:N }",
        [v(5)],
        lambda a: np.triu(a[:, None] + np.arange(5, dtype=F4)),
    ),
    "a triangle of reduction indices": (
        "def f(float(N) A) -> (B) { B(i) +=! A(j) where i in 0:N, j in max(i - 2, 0):min(i + 3, N) }",
        [v(7)],
        lambda a: looped((7,), F4, lambda i: a[max(i - 2, 0) : i + 3].sum()),
    ),
    "a triangle of both": (
        "def f(float(N) A) -> (B) { B(i, j) +=! A(k) where i in 0:N, j in 0:i + 1, k in j:i + 1 }",
        [v(5)],
        lambda a: looped((5, 5), F4, lambda i, j: a[j : i + 1].sum()),
    ),
    "a triangle with quotients": (
        "def f(float(N) A) -> (B) { B(i) +=! A(j) where i in 0:N, j in i / 2:(N + i) / 2 }",
        [v(7)],
        lambda a: looped((7,), F4, lambda i: a[i // 2 : (7 + i) // 2].sum()),
    ),
    "a triangle with remainders": (
        "def f(float(N) A) -> (B) { B(i) max=! A(j) where i in 0:N, j in 0:i % 3 + 1 }",
        [v(7)],
        lambda a: looped((7,), F4, lambda i: a[: i % 3 + 1].max()),
    ),
    "a triangle with products of indices": (
        "def f(float(N) A) -> (B) { B(i) +=! A(j) where i in 0:4, j in i * i:N }",
        [v(12)],
        lambda a: looped((4,), F4, lambda i: a[i * i :].sum()),
    ),
    "blocks of a size": (
        "def f(float(L) A, float(M, N) S) -> (B) { B(i) +=! A(j) where i in 0:M, j in i * N:(i + 1) * N }",
        [v(12), m(3, 4)],
        lambda a, s: a.reshape(3, 4).sum(1),
    ),
    "blocks of a scalar": (
        "def f(float(L) A, int32 s) -> (B) { B(i) +=! A(j) where i in 0:L / s, j in i * s:i * s + s }",
        [v(12), 3],
        lambda a, s: a.reshape(4, 3).sum(1),
    ),
    "blocks on the left": (
        "def f(float(L) A, float(M, N) S) -> (B) { B(i, j) = A(j) where i in 0:M, j in i * N:(i + 1) * N }",
        [v(12), m(3, 4)],
        lambda a, s: np.kron(np.eye(3), np.ones(4)) * a,
    ),
    "exists": (
        "def f(float(N) A) -> (B, C) { B(i) = i where exists A(i + 1)  C +=! 1 where exists A(2 * j) }",
        [v(5)],
        lambda a: (i4(0, 1, 2, 3), I4(3)),
    ),
}

SUBSCRIPTS: dict[str, Case] = {
    "quotient": ("def f(float(N) A) -> (B) { B(i) = A(i / 3) where i in 0:3 * N }", [v(4)], lambda a: a.repeat(3)),
    "remainder": (
        "def f(float(N) A) -> (B) { B(i) = A((i - 3) % N) where i in 0:2 * N + 1 }",
        [v(5)],
        lambda a: a[(np.arange(11) - 3) % 5],
    ),
    "remainder by zero": (
        "def f(float(N) A, int32 k) -> (B) { B(i) = A(i % k + i / k) where i in 0:N }",
        [v(5), 0],
        lambda a, k: a[[0] * 5],
    ),
    "minimum and maximum": (
        "def f(float(N) A) -> (B) { B(i) = A(min(max(i - 2, 0), N - 1)) where i in 0:N + 4 }",
        [v(5)],
        lambda a: a[np.clip(np.arange(9) - 2, 0, 4)],
    ),
    "a product of indices": (
        "def f(float(N) A) -> (B) { B(i, j) = A(i * j) where i in 0:3, j in 0:4 }",
        [v(7)],
        lambda a: a[np.outer(range(3), range(4))],
    ),
    "a product with a size": (
        "def f(float(L) A, float(M, N) S) -> (B) { B(i, j) = A((i + 1) * N + j - N) where i in 0:M, j in 0:N }",
        [v(12), m(3, 4)],
        lambda a, s: a.reshape(3, 4),
    ),
    "quotient and remainder by a size": (
        "def f(float(M, K) S) -> (B) { B(i) = S(i / K, i % K) where i in 0:M * K }",
        [m(3, 4)],
        lambda s: s.ravel(),
    ),
    "products with scalars": (
        "def f(float(N) A, int32 s, int32 t) -> (B) { B(i, j) = A((i * s + j * t) % N) where i in 0:N, j in 0:3 }",
        [v(7), 3, -5],
        lambda a, s, t: looped((7, 3), F4, lambda i, j: a[(i * s + j * t) % 7]),
    ),
    "a choice": (
        "def f(float(N) A) -> (B) { B(i) = A(i > 3 && i < 6 ? i - 3 : N - 1 - i) where i in 0:N }",
        [v(8)],
        lambda a: looped((8,), F4, lambda i: a[i - 3 if 3 < i < 6 else 7 - i]),
    ),
    "a cast": (
        "def f(float(N) A) -> (B) { B(i) = A(uint8(int64(i))) where i in 0:N }",
        [v(300)],
        lambda a: a[np.arange(300) % 256],
    ),
    "contents": (
        "def f(float(M, N) A, int64(K) I, uint8(K) J) -> (B) { B(k) = A(I(k), J(k)) }",
        [m(3, 4), np.array([0, 2, 1]), np.array([3, 1, 0], U1)],
        lambda a, i, j: a[i, j],
    ),
    "contents of contents": (
        "def f(float(N) A, int32(K) I, int32(L) J) -> (B) { B(k) = A(I(J(k)) + 1) }",
        [v(8), i4(5, 2), i4(1, 1, 0)],
        lambda a, i, j: a[i[j] + 1],
    ),
    "contents in arithmetic": (
        "def f(float(N) A, int32(M) J) -> (B) { B(i) = A(min(J(i) * 2 % N, 6) + 0 * i) }",
        [v(8), i4(3, 1, 7, -2)],
        lambda a, j: a[np.minimum(j * 2 % 8, 6)],
    ),
    "contents wrap in their type": (
        "def f(float(N) A, uint8(M) J, int32(M) K) -> (B) { B(i) = A((J(i) + J(i)) % N + (K(i) * 1640531527) % 2) }",
        [v(300), np.array([3, 130], U1), i4(5, 12345)],
        lambda a, j, k: a[[6, 4] + (k * I4(1640531527)) % 2],
    ),
    "a row that starts anywhere": (
        "def f(float(N) A, int32(M) S) -> (B, C) { B(i, k) = A(S(i) + k) where k in 0:3"
        "  C(i) +=! A(S(i) + k) where k in 0:3 }",
        [v(8), i4(3, 1, 5)],
        lambda a, s: (a[s[:, None] + np.arange(3)], a[s[:, None] + np.arange(3)].sum(1)),
    ),
    "contents under a guard": (
        "def f(float(N) A, int32(K) I) -> (B) { B(k) = I(k) >= 0 && I(k) < N ? A(I(k)) : 0.0 }",
        [v(8), i4(5, -1, 2, 8)],
        lambda a, i: f4(6, 0, 3, 0),
    ),
    "contents by a let": (
        "def f(float(N) A, int32(K) I) -> (B) { B(k) = A(j) + A(N - 1 - j) where j = I(k) }",
        [v(8), i4(5, 0, 2)],
        lambda a, i: a[i] + a[7 - i],
    ),
}

LETS: dict[str, Case] = {
    "of a reduction": (
        "def f(float(N, M) A) -> (B) { B(i) +=! x * x where x = A(i, j) }",
        [m(3, 4)],
        lambda a: (a * a).sum(1),
    ),
    "before the range of its index": (
        "def f(float(N) A) -> (B) { B(i) +=! x where x = A(i + k), k in 0:2 }",
        [v(5)],
        lambda a: a[:-1] + a[1:],
    ),
    "of earlier lets": (
        "def f(float(N) A) -> (B) { B(i) = d where a = A(i), b = a + a, c = b + b, d = c * a }",
        [v(5)],
        lambda a: 4 * a * a,
    ),
    "of integers": (
        "def f(float(N) A) -> (B) { B(i) = A(k) * j where j = i + 1, k = j * 2, i in 0:N / 2 - 1 }",
        [v(8)],
        lambda a: a[2::2] * f4(1, 2, 3),
    ),
    "as a guard": (
        "def f(float(N) A) -> (B) { B(i) = ok ? A(j) : 0.0 where j = i - 1, ok = j >= 0 && j < N, i in 0:N + 2 }",
        [v(5)],
        lambda a: np.pad(a, 1),
    ),
    "as a guard of guards": (
        "def f(float(N) A) -> (B) { B(i) = (both ? A(i - 1) : 0.0) + (!right ? A(i + 1) : 0.0)"
        " where left = i > 0, right = i >= N - 1, both = left && !right, i in 0:N }",
        [v(5)],
        lambda a: f4(2, 4, 6, 8, 0),
    ),
}

STATEMENTS: dict[str, Case] = {
    "all reductions": (
        "def f(float(N) A) -> (a, b, c, d) { a +=! A(i)  b *=! A(i)  c min=! A(i)  d max=! A(i) }",
        [v(5)],
        lambda a: (F4(15), F4(120), F4(1), F4(5)),
    ),
    "an initialised reduction of nothing is an assignment": (
        "def f(float(N) A) -> (B, C, D) { B(i) +=! A(i)  C(i) max=! A(i)  D(i) *=! A(i) }",
        [v(5)],
        lambda a: (a, a, a),
    ),
    "the order of the text": (
        "def f(float(N) A) -> (T, O) { T(i) = A(i)  O(i) = T(i) * 2  T(i) = O(i) + 1 }",
        [v(5)],
        lambda a: (2 * a + 1, 2 * a),
    ),
    "overwriting in place": (
        "def f(float(N) A) -> (B) { B(i) = A(i)  B(i) = B(N - 1 - i) where i in 0:N }",
        [v(5)],
        lambda a: f4(5, 4, 3, 4, 5),
    ),
    "parts": (
        "def f(float(N) A) -> (B) { B(i) = A(i) where i in 2:4  B(i) = A(i) * 2 where i in 6:7 }",
        [v(8)],
        lambda a: f4(0, 0, 3, 4, 0, 0, 14),
    ),
    "a range taken from the output": (
        "def f(float(N) b) -> (O) { O(i, j) = 1.0 where i in 0:3, j in 0:N  O(i, j) += b(j) }",
        [v(5)],
        lambda b: np.ones((3, 1), F4) + b,
    ),
    "a scan": (
        "def f(float(T, D) X, float(D) a) -> (O) { O(0, d) = X(0, d)"
        "  O(t, d) = a(d) * O(t - 1, d) + X(t, d) where t in 1:T }",
        [m(4, 3), f4(0, 1, 2)],
        lambda x, a: np.stack(
            [x[:, 0], x[:, 1].cumsum(), looped((4,), F4, lambda t: sum(x[s, 2] * 2 ** (t - s) for s in range(t + 1)))],
            1,
        ),
    ),
    "a scan over two steps": (
        "def f(float(N) X) -> (O) { O(0) = X(0)  O(1) = X(1)  O(t) = O(t - 1) + O(t - 2) where t in 2:N }",
        [f4(1, 1, 0, 0, 0, 0, 0)],
        lambda x: f4(1, 1, 2, 3, 5, 8, 13),
    ),
    "a scan backwards": (
        "def f(float(N) X) -> (O) { O(N - 1) = X(N - 1)  O(N - 1 - t) = O(N - t) + X(N - 1 - t) where t in 1:N }",
        [v(5)],
        lambda x: x[::-1].cumsum(dtype=F4)[::-1],
    ),
    "a scan whose start stands under a guard": (
        "def f(float(N) X) -> (O) { O(t) = (t > 0 ? O(t - 1) : 0.0) + X(t) where t in 0:N }",
        [v(5)],
        lambda x: x.cumsum(dtype=F4),
    ),
    "a scan in two dimensions": (
        "def f(float(M, N) X) -> (O) { O(i, 0) = 1.0 where i in 0:M  O(0, j) = 1.0 where j in 0:N"
        "  O(i, j) = O(i - 1, j) + O(i, j - 1) where i in 1:M, j in 1:N }",
        [m(3, 4)],
        lambda x: f4(1, 1, 1, 1, 1, 2, 3, 4, 1, 3, 6, 10).reshape(3, 4),
    ),
    "a recurrent net": (
        "def f(float(T, H) X, float(H, H) W, float(H) h0) -> (O) { O(0, h) = h0(h)"
        "  O(t, h) +=! W(h, g) * O(t - 1, g) where t in 1:T + 1 }",
        [m(3, 2), f4(1, 1, 0, 1).reshape(2, 2), f4(1, 1)],
        lambda x, w, h: f4(1, 1, 2, 1, 3, 1, 4, 1).reshape(4, 2),
    ),
    "scatter through contents": (
        "def f(float(K, D) V, int32(K) I) -> (B) { B(i, d) = 0.0 where i in 0:4, d in 0:D  B(I(k), d) += V(k, d) }",
        [m(3, 2), i4(3, 0, 3)],
        lambda x, i: scattered(np.zeros((4, 2), F4), i, x),
    ),
    "a histogram in two dimensions": (
        "def f(int32(K) I, int32(K) J) -> (H) { H(i, j) = 0 where i in 0:4, j in 0:5  H(I(k), J(k)) += 1 }",
        [i4(3, 0, 3), i4(4, 4, 4)],
        lambda i, j: scattered(np.zeros((4, 5), I4), (i, j), 1),
    ),
}

LEFT: dict[str, Case] = {
    "scaled": ("def f(float(N) A) -> (B) { B(2 * i) = A(i) }", [v(3)], lambda a: f4(1, 0, 2, 0, 3)),
    "shifted": ("def f(float(N) A) -> (B) { B(i + 2) = A(i) }", [v(3)], lambda a: f4(0, 0, 1, 2, 3)),
    "reversed": ("def f(float(N) A) -> (B) { B(N - 1 - i) = A(i) }", [v(5)], lambda a: a[::-1]),
    "constants": (
        "def f(float(N) A) -> (B) { B(i, 2) = A(i)  B(i, 0) = A(i) * 2 }",
        [v(5)],
        lambda a: np.stack([2 * a, 0 * a, a], 1),
    ),
    "a diagonal": ("def f(float(N) A) -> (B) { B(i, i) = A(i) }", [v(4)], np.diag),
    "digits": (
        "def f(float(L, M, N) A) -> (B) { B((M * i + j) * N + k) = A(i, j, k) where i in 0:L, j in 0:M, k in 0:N }",
        [m(2, 3, 4)],
        lambda a: a.ravel(),
    ),
    "repeated": (
        "def f(float(N) A) -> (B) { B(2 * i + k) = A(i) where k in 0:2, i in 0:N }",
        [v(5)],
        lambda a: a.repeat(2),
    ),
    "quotient and remainder by a constant": (
        "def f(float(12) A) -> (B) { B(i / 4, i % 4) = A(i) }",
        [v(12)],
        lambda a: a.reshape(3, 4),
    ),
    "quotient and remainder by a size": (
        "def f(float(L) A, float(M, N) S) -> (B) { B(i / N, i % N) = A(i) where i in 0:M * N }",
        [v(12), m(3, 4)],
        lambda a, s: a.reshape(3, 4),
    ),
    "neighbours change places": (
        "def f(float(8) A) -> (B) { B(i / 2 * 2 + 1 - i % 2) = A(i) }",
        [v(8)],
        lambda a: a.reshape(4, 2)[:, ::-1].ravel(),
    ),
    "rotated": (
        "def f(float(8) A) -> (B) { B((i + 3) % 8) = A(i) }",
        [v(8)],
        lambda a: np.roll(a, 3),
    ),
    "a scalar stride": (
        "def f(float(N) A, int32 s, int32 k) -> (B) { B(s * i + j) = A(i) where j in 0:k }",
        [v(3), 3, 2],
        lambda a, s, k: f4(1, 1, 0, 2, 2, 0, 3, 3),
    ),
    "sums where subscripts meet": (
        "def f(float(N) A, float(K) W) -> (B) { B(n) = 0.0 where n in 0:N + K - 1  B(i + k) += A(i) * W(k) }",
        [v(5), v(3)],
        lambda a, w: np.convolve(a, w).astype(F4),
    ),
    "sums through a minimum": (
        "def f(float(N) A) -> (B) { B(i) = 0.0 where i in 0:4  B(min(i, 3)) += A(i) }",
        [v(6)],
        lambda a: f4(1, 2, 3, 15),
    ),
    "sums through a product": (
        "def f(float(N) A) -> (B) { B(i) = 0.0 where i in 0:20  B(i * j) += A(i) where i in 0:4, j in 0:5 }",
        [v(4)],
        lambda a: scattered(np.zeros(20, F4), np.outer(range(4), range(5)), a[:, None] + np.zeros(5)),
    ),
}

CALLS: dict[str, Case] = {
    "in each other": (
        "def g(float(N) X) -> (Y) { T(i) = X(i) * 2  Y(i) = T(i) + 1 }\n"
        "def f(float(N) A) -> (B) { T = g(A)  U = g(T)  B(i) = T(i) + U(i) }",
        [v(5)],
        lambda a: 6 * a + 4,
    ),
    "in their own arguments": (
        "def g(float(N) X, float(N) Z) -> (Y) { Y(i) = X(i) * Z(N - 1 - i) where i in 0:N }\n"
        "def f(float(N) A) -> (B) { B = g(A, A)  B = g(B, B) }",
        [v(4)],
        lambda a: (a * a[::-1]) ** 2,
    ),
    "with scalars": (
        "def g(float(N) X, float s, int32 k) -> (Y) { Y(i) = X(i) * s where i in 0:k }\n"
        "def f(float(N) A, float t) -> (B, C) { B = g(A, t, N)  C = g(A, -2, 3) }",
        [v(5), 3.0],
        lambda a, t: (3 * a, -2 * a[:3]),
    ),
    "with sizes of other names": (
        "def mm(float(M, K) A, float(K, N) B) -> (C) { C(i, j) +=! A(i, k) * B(k, j) }\n"
        "def f(float(K, M) X, float(N, K) Y) -> (Z) { Z = mm(Y, X) }",
        [m(3, 4), m(5, 3)],
        lambda x, y: y @ x,
    ),
    "of a scalar": (
        "def g(float(N) X) -> (S) { S +=! X(i) }\ndef f(float(N) A) -> (B) { s = g(A)  B(i) = A(i) / s }",
        [v(5)],
        lambda a: a / F4(15),
    ),
    "of calls": (
        "def a(float(N) X) -> (Y) { Y(i) = X(i) + 1 }\ndef b(float(N) X) -> (Y) { T = a(X)  Y = a(T) }\n"
        "def c(float(N) X) -> (Y) { T = b(X)  Y = b(T) }\ndef f(float(N) X) -> (Y) { Y = c(X) }",
        [v(5)],
        lambda x: x + 4,
    ),
}

TYPES: dict[str, Case] = {
    "float literals beside doubles": (
        "def f(double(N) A) -> (B) { B(i) = A(i) + 0.1 }",
        [np.zeros(3)],
        lambda a: a + F8(F4(0.1)),
    ),
    "unsigned bytes": (
        "def f(uint8(N) A) -> (uint8(N) B, C, D) { B(i) = A(i) + A(i)  C(i) = A(i) * 2  D(i) = -A(i) }",
        [np.array([200, 3], U1)],
        lambda a: (np.array([144, 6], U1), i4(400, 6), np.array([56, 253], U1)),
    ),
    "a signed and an unsigned byte": (
        "def f(int8(N) A, uint8(N) B) -> (C) { C(i) = min(A(i), B(i)) }",
        [np.array([-1, 100], np.int8), np.array([5, 200], U1)],
        lambda a, b: np.array([-1, -56], np.int8),
    ),
    "integer quotients and remainders": (
        "def f(int64(N) A, int64(N) B) -> (C, D) { C(i) = A(i) / B(i)  D(i) = A(i) % B(i) }",
        [np.array([-(2**63), -7, 7, -(2**63), 5]), np.array([-1, 2, -2, 0, 0])],
        lambda a, b: (np.array([-(2**63), -4, -4, 0, 0]), np.array([0, 1, -1, 0, 0])),
    ),
    "builtins of mixed types": (
        "def f(int64(N) A, double(N) D, float16(N) H) -> (a, b, c) {"
        " a(i) = fmax(A(i), D(i))  b(i) = fmin(A(i), H(i))  c(i) = fabs(H(i)) }",
        [np.array([-1, 2]), np.array([0.5, 1.5]), np.array([-3, 3], F2)],
        lambda a, d, h: (np.maximum(a, d), f4(-3, 2), f4(3, 3)),
    ),
    "the accumulator of an annotation": (
        "def f(float16(N) A, int8(N) C) -> (float S, int32 T) { S +=! A(i)  T *=! C(i) }",
        [np.ones(3000, F2), np.full(3000, -1, np.int8)],
        lambda a, c: (F4(3000), I4(1)),
    ),
    "float16 is stored": (
        "def f(float(N) A) -> (float16(N) B) { B(i) = float16(A(i)) }",
        [f4(1e-8, 65519, 65520, 1e30, np.nan, -np.inf, 6e-8, 3e-5)],
        lambda a: a.astype(F2),
    ),
    "comparisons of bool": (
        "def f(bool(N) A, bool(N) B) -> (C) { C(i) = A(i) == B(i) || A(i) != B(i) && A(i) < B(i) }",
        [np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)],
        lambda a, b: np.array([1, 1, 0, 1], bool),
    ),
    "casts out of range": (
        "def f(float(N) A) -> (a, b, c) { a(i) = int8(A(i))  b(i) = uint16(A(i))  c(i) = int32(A(i)) }",
        [f4(-1e10, -1.5, 1.5, 1e10, np.nan, np.inf)],
        lambda a: (
            np.array([-128, -1, 1, 127, 0, 127], np.int8),
            np.array([0, 0, 1, 65535, 0, 65535], np.uint16),
            i4(-(2**31), -1, 1, 2**31 - 1, 0, 2**31 - 1),
        ),
    ),
    "NaN in reductions": (
        "def f(float(N) A) -> (a, b, c, d, e) { a +=! A(i)  b *=! A(i)  c min=! A(i)  d max=! A(i)"
        "  e max=! fmax(A(i), 0.0) }",
        [f4(1, np.nan, 3, -5)],
        lambda a: (*[F4(np.nan)] * 4, F4(3)),
    ),
    "of two zeros the second": (
        "def f(float(N) A) -> (B, C, D) { B(i) = -A(i)  C(i) = min(A(i), 0.0)  D(i) = max(0.0, A(i)) }",
        [f4(0.0, -0.0, -1, 1)],
        lambda a: (f4(-0.0, 0.0, 1, -1), f4(0.0, 0.0, -1, 0.0), f4(0.0, -0.0, 0, 1)),
    ),
}

CASES: dict[str, Case] = {
    f"{section}: {name}": case
    for section, cases in {
        "grammar": GRAMMAR,
        "ranges": RANGES,
        "subscripts": SUBSCRIPTS,
        "lets": LETS,
        "statements": STATEMENTS,
        "left": LEFT,
        "calls": CALLS,
        "types": TYPES,
    }.items()
    for name, case in cases.items()
}
