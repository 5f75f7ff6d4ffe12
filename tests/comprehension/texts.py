"""Comprehensions of many shapes as texts, and the way from a text to a kernel, for tests of what comes after."""

from __future__ import annotations

import numpy as np

from comprehension.kernel.build import build_kernel
from comprehension.lang.frontend import load
from comprehension.lang.loops import Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.machine import host
from comprehension.poly.dependence import find_dependences
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

TEXTS = {
    "relu": ("def f(float(N) A) -> (B) { B(i) = max(A(i), 0.0) }", [(19,)]),
    "outer": ("def f(float(M) A, float(N) B) -> (C) { C(i, j) = A(i) + B(j) }", [(5,), (19,)]),
    "transpose": ("def f(float(M,N) A) -> (B) { B(j, i) = A(i, j) }", [(7, 19)]),
    "sum": ("def f(float(M,N) A) -> (s) { s(i) +=! A(i, j) }", [(3, 37)]),
    "column_sum": ("def f(float(M,N) A) -> (s) { s(j) +=! A(i, j) }", [(5, 19)]),
    "total": ("def f(float(M,N) A) -> (s) { s +=! A(i, j) }", [(3, 19)]),
    "largest": ("def f(float(M,N) A) -> (s) { s(i) max=! A(i, j) }", [(3, 19)]),
    "matmul": ("def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }", [(9, 6), (6, 19)]),
    "matmul_t": ("def f(float(M,K) A, float(N,K) B) -> (C) { C(m,n) +=! A(m,k) * B(n,k) }", [(9, 6), (19, 6)]),
    "batched": (
        "def f(float(B,N,M) X, float(B,M,K) Y) -> (Z) { Z(b,n,k) +=! X(b,n,m) * Y(b,m,k) }",
        [(2, 3, 5), (2, 5, 7)],
    ),
    "mlp": (
        "def f(float(B,M) I, float(N,M) W, float(N) C) -> (O) {"
        " O(b, n) +=! I(b, m) * W(n, m)  O(b, n) = O(b, n) + C(n)  O(b, n) = max(O(b, n), 0.0) }",
        [(6, 7), (9, 7), (9,)],
    ),
    "softmax": (
        "def f(float(M,N) X) -> (Y) { t(i) max=! X(i, j)  E(i, j) = exp(X(i, j) - t(i))"
        "  s(i) +=! E(i, j)  Y(i, j) = E(i, j) / s(i) }",
        [(4, 19)],
    ),
    "layer_norm": (
        "def f(float(M,N) X) -> (Y) { m(i) +=! X(i, j)  v(i) +=! (X(i, j) - m(i) / N) * (X(i, j) - m(i) / N)"
        "  Y(i, j) = (X(i, j) - m(i) / N) * rsqrt(v(i) / N + 1e-5) }",
        [(4, 19)],
    ),
    "conv": (
        "def f(float(N,C,H,W) I, float(O,C,KH,KW) K) -> (R)"
        " { R(n,o,h,w) +=! I(n,c,h+kh,w+kw) * K(o,c,kh,kw) }",
        [(2, 3, 6, 7), (4, 3, 3, 3)],
    ),
    "strided": (
        "def f(float(C,H,W) I, float(C,KH,KW) K) -> (R) { R(h,w) +=! I(c,2*h+kh,2*w+kw) * K(c,kh,kw) }",
        [(2, 9, 11), (2, 3, 3)],
    ),
    "padded": (
        "def f(float(N) I) -> (O) { O(i) = i < 2 || i - 2 >= N ? 0.0 : I(i - 2) where i in 0:N+4 }",
        [(9,)],
    ),
    "pooled": ("def f(float(H,W) I) -> (O) { O(h,w) max=! I(2*h+a, 2*w+b) where a in 0:2, b in 0:2 }", [(8, 10)]),
    "scan": (
        "def f(float(T,D) X) -> (O) { O(t, d) = X(t, d) where t in 0:1"
        "  O(t, d) = 0.5 * O(t-1, d) + X(t, d) where t in 1:T }",
        [(6, 19)],
    ),
    "filters": (
        "def f(float(C,W,N) I, float(F,C,K) A) -> (O) { O(f, x, n) +=!"
        " (x + k - 1 >= 0 && x + k - 1 < W ? I(c, x + k - 1, n) : 0.0) * A(f, c, k) where x in 0:W }",
        [(2, 3, 16), (5, 2, 3)],
    ),
    "triangle": ("def f(float(N) X) -> (O) { O(i) +=! X(j) where i in 0:N, j in 0:i+1 }", [(11,)]),
    "gather": ("def f(float(R,D) T, int32(B) I) -> (O) { O(b, d) = T(I(b), d) }", [(7, 19), (5,)]),
    "lookup": ("def f(float(R,D) T, int32(B,L) I) -> (O) { O(b, d) +=! T(I(b, l), d) }", [(7, 19), (4, 3)]),
    "scatter": ("def f(float(B) V, int32(B) I) -> (O) { O(r) = 0.0 where r in 0:9  O(I(b)) += V(b) }", [(6,), (6,)]),
    "modulo": ("def f(float(N) A) -> (B) { B(i) = A((i + 3) % N) where i in 0:N }", [(11,)]),
    "reversed": ("def f(float(N) A) -> (B) { B(i) = A(N - 1 - i) where i in 0:N }", [(11,)]),
    "stencil": ("def f(float(N) A) -> (C) { B(i) = A(i) + A(i+1) + A(i+2)  C(i) = B(i) + B(i+2) }", [(33,)]),
    "moments": (
        "def f(float(N,K) I) -> (mean, var) { mean(n) +=! I(n, k)  var(n) +=! I(n, k) * I(n, k)"
        "  mean(n) = mean(n) / K  var(n) = var(n) / K - mean(n) * mean(n) }",
        [(4, 19)],
    ),
    "attention": (
        "def f(float(L,D) Q, float(L,D) K, float(L,D) V) -> (O) { S(i, j) +=! Q(i, d) * K(j, d)"
        "  t(i) max=! S(i, j)  E(i, j) = exp(S(i, j) - t(i))  s(i) +=! E(i, j)  P(i, j) = E(i, j) / s(i)"
        "  O(i, d) +=! P(i, j) * V(j, d) }",
        [(9, 5)] * 3,
    ),
    "wavenet": (
        "def f(float(B,C,T) X, float(C,C) W, float(C,C) G) -> (Y) {"
        " F(b, c, t) +=! X(b, d, t + 2 * k) * W(c, d) where k in 0:2"
        "  H(b, c, t) +=! X(b, d, t + 2 * k) * G(c, d) where k in 0:2"
        "  Y(b, c, t) = tanh(F(b, c, t)) * (1.0 / (1.0 + exp(0.0 - H(b, c, t)))) + X(b, c, t + 2) }",
        [(2, 3, 13), (3, 3), (3, 3)],
    ),
    "accumulated": ("def f(float(N,K) A, float(K) B) -> (C) { C(n) += A(n,k) * B(k) }", [(5, 19), (19,)]),
    "two_sums": ("def f(float(N,K) A, float(N,L) B) -> (C) { C(n) +=! A(n,k)  C(n) += B(n,l) }", [(5, 19), (5, 7)]),
    "in_place": ("def f(float(N) A) -> (C) { C(n) = A(n)  C(n) = C(n) * C(n)  C(n) += A(n) }", [(19,)]),
    "let": ("def f(float(N) A) -> (B) { B(i) = x * x + y where x = A(i) + 1.0, y = x * x }", [(19,)]),
    "halved": ("def f(float(N) A) -> (B) { B(i) = A(i / 2) where i in 0:2*N }", [(9,)]),
    "clamped": ("def f(float(N) A) -> (B) { B(i) = A(min(max(i - 1, 0), N - 1)) where i in 0:N }", [(19,)]),
    "products": ("def f(float(N) A) -> (B) { B(i, j) = A(i * j) where i in 0:3, j in 0:4 }", [(7,)]),
    "integers": ("def f(int32(M,N) A) -> (s) { s(i) +=! A(i, j) * A(i, j) }", [(3, 19)]),
    "product": ("def f(double(M,N) A) -> (s) { s(i) *=! A(i, j) }", [(3, 19)]),
    "mask": ("def f(float(N) A) -> (B) { B(i) = A(i) < 0.0 || A(i) > 1.0 ? 1.0 : A(i) * float(i) }", [(19,)]),
    "prefix": ("def f(float(N) X) -> (O) { O(i) = X(0) where i in 0:1  O(i) = O(i-1) + X(i) where i in 1:N }", [(11,)]),
    "shifted": ("def f(float(N) A) -> (B) { B(i) = A(i)  B(i) = B(i + 1) + A(i) where i in 0:N-1 }", [(19,)]),
    "diagonal": ("def f(float(N,N) A) -> (d, t) { d(i) = A(i, i)  t +=! A(i, i) }", [(11, 11)]),
    "settled": (
        "def f(float(M,N) A) -> (B) { B(i, j) = (i < 4 ? 0 : j) <= j ? A(i >= 0 ? min(i * (j / 20), 3) : 1, j)"
        " : A(i * j < 0 ? 1 : i, 0) where i in 0:M, j in 0:N }",
        [(5, 19)],
    ),
    "beside": (
        "def f(float(N) V, int32(B) I) -> (H) { H(b) = V(I(b) + b % 2) - V(b / 2 + I(b) + (b > 2 ? b : 1)) }",
        [(19,), (6,)],
    ),
    # Rows put together by a sum of choices, each of which settles some of the others: branches whose choices do not
    # become one again.
    "windows": (
        "def f(float(K,N) A, float(K,N) B, float(K,N) C, float(M,N) D) -> (S, T) {"
        " S(i, j) = (i >= 7 && i < 10 ? A(i-7, j) : i >= 4 && i < 7 ? B(i - 4, j) : i >= 1 && i < 4 ? C(i - 1, j) : 0)"
        " + (i >= 6 && i < 9 ? A(i - 6, j) : i >= 3 && i < 6 ? B(i - 3, j) : i >= 0 && i < 3 ? C(i, j) : 0)"
        " + (i >= 5 && i < 8 ? A(i - 5, j) : i >= 2 && i < 5 ? B(i - 2, j) : 0) where i in 0:M, j in 0:N"
        " T(i, j) = D(i, j) - S(i, j) where i in 0:M, j in 0:N }",
        [(3, 4), (3, 4), (3, 4), (10, 4)],
    ),
}  # fmt: skip
BELOW_ZERO = ("largest", "pooled", "product")
"""Of negative numbers only: a reduction that starts from 0 instead of its identity gives another result."""


def program_of(name, sizes="static"):
    """The loops of a text, and arrays for its inputs: small integers, so that sums are exact."""
    text, shapes = TEXTS[name]
    definition = load(text)["f"]
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    specs = [Spec(shape, tensor.dtype) for shape, tensor in zip(shapes, inputs, strict=True)]
    program = infer(definition, None if sizes == "symbolic" else specs, sizes)
    generator = np.random.default_rng(3)
    arrays = {}
    for tensor, spec in zip((t for t in program.tensors if t.role is Role.INPUT), specs, strict=True):
        low, high = (0, 4) if spec.dtype.is_integer else (-5, 0) if name in BELOW_ZERO else (-3, 4)
        arrays[tensor.name] = generator.integers(low, high, spec.shape).astype(spec.dtype.numpy)
    for tensor in program.tensors:
        if tensor.role is Role.ACCUMULATED and sizes == "static":
            shape = [extent.value for extent in tensor.shape]
            arrays[tensor.name] = generator.integers(-3, 4, shape).astype(tensor.dtype.numpy)
    values = {}
    if sizes == "symbolic":
        for tensor in program.tensors:
            if tensor.role is Role.INPUT:
                pairs = zip(tensor.shape, arrays[tensor.name].shape, strict=True)
                values |= {extent.id: number for extent, number in pairs}
    return program, arrays, values


def kernel_of(program, math="fast"):
    """The Scop and the kernel of a program."""
    scop = build_scop(program)
    dependences = find_dependences(scop)
    return scop, build_kernel(scop, schedule(scop, dependences, machine=host(), math=math), math)
