"""Every construct of the language (reference 1-3 and 10) as a small text with inputs, for tests of what runs texts.

`CONSTRUCTS`: name -> (text of a def `f`, its inputs, what out= holds or None).  Values are small integers unless a
construct is about other values, so that every order of evaluation gives the same bits.
"""

from __future__ import annotations

import numpy as np

from comprehension.lang.builtins import BUILTINS

_RANDOM = np.random.default_rng(20)
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")


def small(*shape, dtype=np.float32, low=-3, high=4):
    return _RANDOM.integers(low, high, shape).astype(dtype)


def extreme(dtype, count=12):
    """Integers over the whole range of a type, its corners among them."""
    info = np.iinfo(dtype)
    values = _RANDOM.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
    values[:6] = [info.min, info.max, info.min, info.max, 0, 1]
    return values


def special(dtype, count=12):
    values = (_RANDOM.normal(size=count) * 3).astype(dtype)
    values[:5] = [np.nan, np.inf, -np.inf, -0.0, 0.0]
    return values


CONSTRUCTS = {}


def construct(name, text, *inputs, out=None):
    CONSTRUCTS[name] = (text, inputs, out)


# --- types ------------------------------------------------------------------------------------------------------

for _t in INTEGERS:
    _a, _b = extreme(_t), extreme(_t)
    _b[:4] = [0, 1, np.array(-1).astype(_t), 3]
    _operators = {"a": "+", "s": "-", "m": "*", "d": "/", "r": "%", "l": "<", "e": "=="}
    _body = " ".join(f"{name}(i) = A(i) {op} B(i)" for name, op in _operators.items())
    construct(
        f"arithmetic of {_t}",
        f"def f({_t}(N) A, {_t}(N) B) -> ({', '.join(_operators)}, x, n) {{ {_body}"
        " x(i) = min(A(i), B(i)) + max(A(i), B(i))  n(i) = -A(i) }",
        _a,
        _b,
    )
    _casts = [*INTEGERS, *FLOATS, "bool"]
    construct(
        f"casts from {_t}",
        f"def f({_t}(N) A) -> ({', '.join('to_' + u for u in _casts)}) {{"
        + " ".join(f"to_{u}(i) = {u}(A(i))" for u in _casts)
        + " }",
        extreme(_t),
    )
    construct(
        f"mixed with {_t}",
        f"def f({_t}(N) A, {', '.join(f'{u}(N) of_{u}' for u in (*INTEGERS, *FLOATS))})"
        f" -> ({', '.join('with_' + u for u in (*INTEGERS, *FLOATS))}) {{"
        + " ".join(f"with_{u}(i) = A(i) + of_{u}(i) * A(i)" for u in (*INTEGERS, *FLOATS))
        + " }",
        *[small(6, dtype=u, low=0) for u in (_t, *INTEGERS, *FLOATS)],
    )
    construct(
        f"reductions of {_t}",
        f"def f({_t}(M, N) A) -> (s, p, l, g) {{ s(i) +=! A(i, j)  p(i) *=! A(i, j)  l(i) min=! A(i, j)"
        "  g(i) max=! A(i, j) }",
        extreme(_t, 36).reshape(3, 12),
    )
for _t in FLOATS:
    construct(
        f"arithmetic of {_t}",
        f"def f({_t}(N) A, {_t}(N) B) -> (a, s, m, d, l, e, x, n, c) {{"
        " a(i) = A(i) + B(i)  s(i) = A(i) - B(i)  m(i) = A(i) * B(i)  d(i) = A(i) / B(i)  l(i) = A(i) < B(i)"
        "  e(i) = A(i) == B(i)  x(i) = min(A(i), B(i)) - max(A(i), B(i))  n(i) = -A(i)"
        f"  c(i) = A(i) > {_t}(0) ? A(i) : B(i) }}",
        special(_t),
        special(_t)[::-1],
    )
    construct(
        f"casts from {_t}",
        f"def f({_t}(N) A) -> ({', '.join('to_' + u for u in (*INTEGERS, *FLOATS, 'bool'))}) {{"
        + " ".join(f"to_{u}(i) = {u}(A(i))" for u in (*INTEGERS, *FLOATS, "bool"))
        + " }",
        np.array([0.0, 0.5, 1.5, 2.5, 7.0, 99.9]).astype(_t),
    )
    construct(
        f"reductions of {_t}",
        f"def f({_t}(M, N) A) -> (s, p, l, g) {{ s(i) +=! A(i, j)  p(i) *=! A(i, j)  l(i) min=! A(i, j)"
        "  g(i) max=! A(i, j) }",
        small(3, 12, dtype=_t, low=-1, high=3),
    )
    construct(
        f"product of {_t}",
        f"def f({_t}(M, K) A, {_t}(K, N) B) -> (C) {{ C(m, n) +=! A(m, k) * B(k, n) }}",
        small(5, 6, dtype=_t),
        small(6, 7, dtype=_t),
    )
    construct(
        f"literals beside {_t}",
        f"def f({_t}(N) A) -> (B) {{ B(i) = A(i) * 0.25 + 1e-3 - 2 }}",
        small(7, dtype=_t),
    )
construct(
    "a wide accumulator",
    "def f(float16(M, N) A, float(N) B) -> (float(M) s, double(1) t)"
    " { s(i) +=! A(i, j)  t(z) +=! B(j) where z in 0:1 }",
    small(3, 9, dtype=np.float16),
    np.float32([2**24, 1, 1, 1, 0, 0, 0, 0, 0]),
)
_BITS = small(3, 9, dtype=np.bool_, low=0, high=2)
construct(
    "bool",
    "def f(bool(M, N) A, bool(M, N) B) -> (c, n, e) { c(i, j) = A(i, j) && !B(i, j) || A(i, 0)"
    "  n(i) +=! int32(A(i, j))  e(i, j) = A(i, j) == B(i, j) }",
    _BITS,
    ~_BITS,
)

# --- builtins ---------------------------------------------------------------------------------------------------

for _arity in (1, 2, 3, 4):
    for _t in ("float", "double"):
        _names = sorted(name for name, builtin in BUILTINS.items() if builtin.arity == _arity)
        _inputs = "xyzw"[:_arity]
        _dtype = np.float32 if _t == "float" else np.float64
        construct(
            f"builtins of {_arity} {_t}",
            f"def f({', '.join(f'{_t}(N) {x}' for x in _inputs)}) -> ({', '.join('r_' + name for name in _names)}) {{"
            + " ".join(f"r_{name}(i) = {name}({', '.join(f'{x}(i)' for x in _inputs)})" for name in _names)
            + " }",
            *[np.abs(special(_dtype, 9)) * _dtype([1, 1, -1, 1, -1, 0.3, 0.3, 0.3, -0.3]) for _ in _inputs],
        )

construct(
    "random words",
    "def f(uint32(N) A, int64(N) B, int8(N) C, uint32(4) K) -> (w, u) { w(i) = philox(A(i), B(i), C(i), i, K(1), K(0))"
    " u(i, j) = float(philox(i * 3 + j, 0, K(2), K(3), K(0), K(1)) / uint32(256)) * 5.9604645e-08"
    " where i in 0:5, j in 0:3 }",
    extreme("uint32"),
    extreme("int64"),
    extreme("int8"),
    extreme("uint32", 10)[6:],
)

# --- scalars and sizes ------------------------------------------------------------------------------------------

construct(
    "scalars of many types",
    "def f(float(N) A, int32 n, double d, uint8 u, float16 h, bool flag) -> (C)"
    " { C(i) = flag ? A(i) * n + float(d) + u : float(h) where i in 0:4 }",
    small(6), 3, 2.0, 7, np.float16(1.5), True,
)  # fmt: skip
construct("a scalar as a bound", "def f(float(N) A, int32 n) -> (C) { C(i) = A(i) where i in 0:n }", small(6), 4)
construct(
    "a scalar in a subscript", "def f(float(N) A, int32 n) -> (C) { C(i) = A(i + n) where i in 0:3 }", small(6), 2
)
construct("a scalar result", "def f(float(N) A) -> (s, t) { s +=! A(i)  t() max=! A(i) }", small(6))
construct(
    "sizes and indices as values",
    "def f(float(M, N) A) -> (C) { C(i, j) = A(i, j) * M + A.1 + i * 10 + j }",
    small(3, 4),
)
construct("constant dimensions", "def f(float(3, 4) A) -> (C) { C(i) +=! A(i, j) }", small(3, 4))
construct(
    "no elements",
    "def f(float(N, M) A) -> (C, s, t) { C(i, j) = A(i, j)  s(i) +=! A(i, j)  t +=! A(i, j) }",
    np.zeros((0, 3), np.float32),
)
construct(
    "empty rows",
    "def f(float(N, M) A) -> (s, l) { s(i) +=! A(i, j)  l(i) max=! A(i, j) }",
    np.zeros((3, 0), np.float32),
)

# --- ranges -----------------------------------------------------------------------------------------------------

construct("a minimum above zero", "def f(float(N) A) -> (C) { C(i) = A(i - 1) }", small(6))
construct(
    "exists",
    "def f(float(N) A) -> (C, D) { C(i) = A(i) where exists A(i + 2)  D(i) = i where exists A(i + 1) }",
    small(6),
)
construct("a triangle", "def f(float(N, N) A) -> (C) { C(i, j) = A(i, j) where i in 0:N, j in i:N }", small(5, 5))
construct(
    "triangles of a reduction",
    "def f(float(N, N) A) -> (C) { C(i, j) +=! A(i, k) * A(k, j) where i in 0:N, j in 0:i+1, k in j:i+1 }",
    small(6, 6),
)
construct(
    "bounds by min and max",
    "def f(float(N) A) -> (C) { C(i) +=! A(j) where i in 0:N, j in max(0, i - 2):min(N, i + 3) }",
    small(9),
)
construct(
    "padding",
    "def f(float(H) I, float(K) W) -> (O)"
    " { O(h) +=! (h + k >= 1 && h + k <= H ? I(h + k - 1) : 0.0) * W(k) where h in 0:H }",
    small(6),
    small(3),
)

# --- statements -------------------------------------------------------------------------------------------------

construct(
    "lets", "def f(float(N) A, float(M) B) -> (C) { C(i) = y * x where x = A(i) + 1.0, y = x * x }", small(5), small(3)
)
construct(
    "temporaries",
    "def f(float(N, M) X) -> (Y) { a(i) +=! X(i, j)  b(j) +=! X(i, j)  Y(i, j) = a(i) * b(j) }",
    small(4, 5),
)
construct(
    "calls",
    "def product(float(M, K) A, float(K, N) B) -> (C) { C(m, n) +=! A(m, k) * B(k, n) }"
    " def total(float(M, N) A) -> (t) { t +=! A(i, j) }"
    " def f(float(M, K) A, float(K, N) B, float(N, P) C) -> (D)"
    " { T = product(A, B)  t = total(T)  U = product(T, C)  D(i, j) = U(i, j) - t }",
    small(3, 4), small(4, 5), small(5, 2),
)  # fmt: skip
construct(
    "a scan",
    "def f(float(T, D) X) -> (O) { O(t, d) = X(t, d) where t in 0:1"
    "  O(t, d) = X(t, d) * O(t - 1, d) + 1.0 where t in 1:T }",
    small(5, 6),
)
construct(
    "two steps back",
    "def f(int32(N) A) -> (O) { O(i) = A(i) where i in 0:2  O(i) = O(i - 1) + O(i - 2) where i in 2:N }",
    small(10, dtype=np.int32),
)
construct(
    "a recurrent layer",
    "def f(float(T, D) X, float(D, D) W) -> (H) { H(t, d) = X(t, d) where t in 0:1"
    "  S(t, d) = 0.0 where t in 0:T, d in 0:D  H(t, d) +=! X(t, d) * W(d, e) where t in 1:T }",
    small(4, 3), small(3, 3),
)  # fmt: skip
construct("in place", "def f(float(N) A) -> (C) { C(i) = A(i)  C(i) = C(N - 1 - i) + C(i) where i in 0:N }", small(7))
construct(
    "the position of the largest",
    "def f(float(M, N) A) -> (at) { best(i) max=! A(i, j)  at(i) min=! A(i, j) == best(i) ? j : N }",
    small(4, 9),
)
construct(
    "NaN in a maximum",
    "def f(float(M, N) A) -> (B) { B(i) max=! A(i, j) }",
    np.float32([[1, np.nan, 2] * 6, [4, 5, 6] * 6]),
)

# --- subscripts -------------------------------------------------------------------------------------------------

construct("scattered writes", "def f(float(N) A) -> (C) { C(2 * i + 1) = A(i) }", small(5))
construct("a permutation", "def f(float(M, N) A) -> (C) { C(j, M - 1 - i) = A(i, j) }", small(3, 4))
construct(
    "quotients and remainders",
    "def f(float(N) A) -> (C) { C(i) = A(i / 2) + A(i % 3) + A((i + 1) / 3) where i in 0:6 }",
    small(6),
)
construct(
    "extremes of indices",
    "def f(float(N) A) -> (C) { C(i) = A(min(i, N - 1)) + A(max(i - 2, 0)) where i in 0:5 }",
    small(9),
)
construct(
    "products of indices", "def f(float(N) A) -> (C) { C(i, j) = A(i * j + 1) where i in 0:3, j in 0:4 }", small(9)
)
construct("a reshape", "def f(float(M, N) A) -> (C) { C(k) = A(k / N, k % N) where k in 0:M * N }", small(3, 4))
construct(
    "flat rows", "def f(float(K) A, float(M, N) Z) -> (C) { C(i, j) = A(i * N + j) + Z(i, j) }", small(12), small(3, 4)
)
construct(
    "indirect reads",
    "def f(float(M, N) A, int32(K) p, int64(K) q) -> (C) { C(k) = A(p(k), q(k)) }",
    small(5, 6), np.int32([0, 4, 2]), np.int64([5, 0, 3]),
)  # fmt: skip
construct(
    "nested indirect reads",
    "def f(float(N) A, uint8(K) p, int32(K) q) -> (C) { C(k) = A(p(q(k))) }",
    small(5),
    np.uint8([4, 2, 0]),
    np.int32([2, 0, 1]),
)
construct(
    "guarded indirect reads",
    "def f(float(N) A, int32(K) p) -> (C) { C(k) = p(k) >= 0 ? A(p(k)) : 0.0 }",
    small(9),
    np.int32([0, -3, 1]),
)
construct(
    "computed indirect reads",
    "def f(float(N) A, int32(K) p) -> (C) { q(k) = p(k) + 1  C(k) = A(q(k)) }",
    small(9),
    np.int32([0, 3, 1]),
)
construct(
    "indirect reductions",
    "def f(int32(N) I, float(N) v) -> (H, G) { H(k) = 0.0 where k in 0:4  H(I(i)) += v(i)"
    "  G(k) = -1000.0 where k in 0:4  G(I(i)) max= v(i) }",
    np.int32([1, 3, 3, 0, 1]), small(5),
)  # fmt: skip
construct(
    "rows of indirect reductions",
    "def f(int32(N) I, float(N, D) v) -> (H) { H(k, d) = 0.0 where k in 0:4, d in 0:D  H(I(i), d) += v(i, d) }",
    np.int32([1, 3, 3, 0]), small(4, 5),
)  # fmt: skip
construct(
    "reductions at computed places",
    "def f(int32(N) I, float(N) v) -> (H) { J(i) = I(i) % 3  H(k) = 0.0 where k in 0:3  H(J(i)) += v(i) }",
    np.int32([1, 3, 3, 5]), small(4),
)  # fmt: skip

# --- arguments --------------------------------------------------------------------------------------------------

construct("accumulation", "def f(float(N, K) A) -> (C) { C(n) += A(n, k) }", small(3, 4), out=small(3))
construct("a part of an output", "def f(float(N) A) -> (C) { C(n + 2) = A(n) }", small(4), out=small(6))
construct("strided and reversed inputs", "def f(float(M, N) A) -> (C) { C(j, i) = A(i, j) }", small(6, 8)[::2, ::-1])
construct("broadcast inputs", "def f(float(M, N) A) -> (C) { C(j, i) = A(i, j) }", np.broadcast_to(small(5), (3, 5)))
construct("transposed inputs", "def f(float(M, N) A) -> (C) { C(i) +=! A(i, j) }", small(6, 8).T)
construct(
    "names that are Python's",
    "def f(float(N) lambda, float(N) cuda) -> (np) { np(point) = lambda(point) + cuda(point) }",
    small(5),
    small(5),
)
