"""The table's products and convolutions: tensor-comprehensions.md section 7, and the batched and depthwise ones.

In: nothing.  Out: `CONTRACTIONS`.  Invariant: a text is what a user would write after reading docs/language.md.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.kernels.bounded import Array, Bounded, contract, lift
from benchmarks.kernels.case import Case, normal
from comprehension.machine import host

TMM = "def tmm(float(M,K) A, float(N,K) B) -> (C) { C(m,n) +=! A(m,k) * B(n,k) }"
TBMM = "def tbmm(float(B,N,M) X, float(B,M,K) Y) -> (Z) { Z(b,n,k) +=! X(b,n,m) * Y(b,m,k) }"
GCONV = """
def gconv(float(N,G,C,H,W) I, float(G,F,C,KH,KW) W1, float(G,F) B) -> (O) {
    O(n,g,f,h,w) +=! I(n,g,c,h+kh,w+kw) * W1(g,f,c,kh,kw)
    O(n,g,f,h,w) = O(n,g,f,h,w) + B(g,f)
}"""
DEPTHWISE = """
def depthwise(float(N,C,H,W) I, float(C,KH,KW) W1) -> (O) {
    O(n,c,h,w) +=! I(n,c,h+kh,w+kw) * W1(c,kh,kw)
}"""
MLP1 = """
def mlp1(float(B,M) I, float(M,N) W1, float(N) B1) -> (O1) {
    O1(b,n) +=! I(b,m) * W1(m,n)
    O1(b,n) = max(O1(b,n) + B1(n), 0.0)
}"""
MLP3 = """
def mlp3(float(B,N) I, float(O,N) W2, float(O) B2, float(P,O) W3, float(P) B3, float(Q,P) W4, float(Q) B4) -> (O4) {
    O2(b,o) +=! I(b,n) * W2(o,n)
    O2(b,o) = max(O2(b,o) + B2(o), 0.0)
    O3(b,p) +=! O2(b,o) * W3(p,o)
    O3(b,p) = max(O3(b,p) + B3(p), 0.0)
    O4(b,q) +=! O3(b,p) * W4(q,p)
    O4(b,q) = max(O4(b,q) + B4(q), 0.0)
}"""
KRONECKER3 = """
def kronecker3(float(D0,N0) W0, float(D1,N1) W1, float(D2,N2) W2, float(M,N0,N1,N2) X) -> (Y) {
    XW2(m,n0,n1,d2) +=! X(m,n0,n1,n2) * W2(d2,n2)
    XW1(m,n0,d1,d2) +=! XW2(m,n0,n1,d2) * W1(d1,n1)
    Y(m,d0,d1,d2)   +=! XW1(m,n0,d1,d2) * W0(d0,n0)
}"""
WAVENET1 = """
def wavenet1(float(B,RES,T) Data, float(DIL,RES,2) FilterW, float(DIL) FilterB, float(DIL,RES,2) GateW,
             float(DIL) GateB, float(RES,DIL) ResW, float(RES) ResB, float(SKIP,DIL) SkipW, float(SKIP) SkipB)
    -> (Res, Skip) {{
    Filter(b,d,t) = FilterB(d) where b in 0:B, t in 0:T
    Filter(b,d,t) += Data(b,r,t) * FilterW(d,r,1)
    Filter(b,d,t) += Data(b,r,t-{dilation}) * FilterW(d,r,0) where t in {dilation}:T
    Gate(b,d,t) = GateB(d) where b in 0:B, t in 0:T
    Gate(b,d,t) += Data(b,r,t) * GateW(d,r,1)
    Gate(b,d,t) += Data(b,r,t-{dilation}) * GateW(d,r,0) where t in {dilation}:T
    NonLin(b,d,t) = tanh(Filter(b,d,t)) / (1.0 + exp(-Gate(b,d,t)))
    Res(b,r,t) +=! NonLin(b,d,t) * ResW(r,d)
    Res(b,r,t) = Res(b,r,t) + Data(b,r,t) + ResB(r)
    Skip(b,s,t) +=! NonLin(b,d,t) * SkipW(s,d)
    Skip(b,s,t) = Skip(b,s,t) + SkipB(s)
}}"""
ATTENTION = """
def attention(float(B,H,L,D) Q, float(B,H,L,D) K, float(B,H,L,D) V) -> (O) {
    s(b,h,i,j) +=! Q(b,h,i,d) * K(b,h,j,d)
    top(b,h,i) max=! s(b,h,i,j) * 0.125
    e(b,h,i,j) = exp(s(b,h,i,j) * 0.125 - top(b,h,i))
    total(b,h,i) +=! e(b,h,i,j)
    O(b,h,i,d) +=! e(b,h,i,j) * V(b,h,j,d)
    O(b,h,i,d) = O(b,h,i,d) / total(b,h,i)
}"""


def _product(a: Array, b: Array) -> Array:
    return a @ b


def _against_rows(a: Array, b: Array) -> Array:
    return a @ np.swapaxes(b, -1, -2)


def tmm(name: str, m: int, n: int, k: int) -> Case:
    def exact(a: Array, b: Array) -> tuple[Bounded, ...]:
        return (contract(_against_rows, a, b, k),)

    return Case(name, "tmm", TMM, normal((m, k), (n, k)), exact, flops=2.0 * m * n * k)


def bmm(name: str, batch: int, n: int, m: int, k: int) -> Case:
    def exact(x: Array, y: Array) -> tuple[Bounded, ...]:
        return (contract(_product, x, y, m),)

    return Case(name, "bmm", TBMM, normal((batch, n, m), (batch, m, k)), exact, flops=2.0 * batch * n * m * k)


def _filling(extent: int) -> float:
    lanes = host().vector_bits // 32
    return extent / (math.ceil(extent / lanes) * lanes)


def _taps(image: Array, weights: Array) -> Array:
    """Grouped 3×3 convolution: image (N,G,C,H,W), weights (G,F,C,3,3)."""
    height, width = image.shape[3] - 2, image.shape[4] - 2
    total: Array | None = None
    for kh in range(3):
        for kw in range(3):
            window = image[..., kh : kh + height, kw : kw + width].reshape(*image.shape[:3], -1)
            term = weights[..., kh, kw] @ window
            total = term if total is None else total + term
    assert total is not None
    return total.reshape(*total.shape[:3], height, width)


def gconv(n: int, groups: int, channels: int, size: int) -> Case:
    out = size - 2

    def exact(image: Array, weights: Array, bias: Array) -> tuple[Bounded, ...]:
        parts = []
        for start in range(0, n, 4):  # a quarter gigabyte at a time
            product = contract(_taps, image[start : start + 4], weights, channels * 9)
            parts.append(product + lift(bias[:, :, None, None]))
        return (Bounded(np.concatenate([p.value for p in parts]), np.concatenate([p.bound for p in parts])),)

    shapes = (n, groups, channels, size, size), (groups, channels, channels, 3, 3), (groups, channels)
    flops = 2.0 * n * groups * channels * channels * 9 * out * out
    lanes = max(_filling(out), _filling(channels))
    return Case(f"gconv C{channels} {size}²", "gconv", GCONV, normal(*shapes), exact, flops=flops, lanes=lanes)


def depthwise(n: int, channels: int, size: int) -> Case:
    def exact(image: Array, weights: Array) -> tuple[Bounded, ...]:
        product = contract(_taps, image[:, :, None], weights[:, None, None], 9)
        return (product[:, :, 0],)

    flops = 2.0 * n * channels * 9 * (size - 2) ** 2
    shapes = (n, channels, size, size), (channels, 3, 3)
    return Case("depthwise 3×3", "depthwise", DEPTHWISE, normal(*shapes), exact, flops=flops, lanes=_filling(size - 2))


def mlp1(b: int, m: int, n: int) -> Case:
    def exact(x: Array, w: Array, bias: Array) -> tuple[Bounded, ...]:
        return ((contract(_product, x, w, m) + lift(bias)).relu(),)

    return Case("MLP1", "mlp1", MLP1, normal((b, m), (m, n), (n,)), exact, flops=2.0 * b * m * n)


def mlp3(b: int, n: int, o: int, p: int, q: int) -> Case:
    def exact(x: Array, *layers: Array) -> tuple[Bounded, ...]:
        found = lift(x)
        for weights, bias in zip(layers[::2], layers[1::2], strict=True):
            found = (contract(_against_rows, found, weights, weights.shape[1]) + lift(bias)).relu()
        return (found,)

    shapes = (b, n), (o, n), (o,), (p, o), (p,), (q, p), (q,)
    return Case("MLP3", "mlp3", MLP3, normal(*shapes), exact, flops=2.0 * b * (n * o + o * p + p * q))


def kronecker3(m: int, d: int, n0: int, n1: int, n2: int) -> Case:
    def exact(w0: Array, w1: Array, w2: Array, x: Array) -> tuple[Bounded, ...]:
        parts = []
        for row in x:
            first = contract(_against_rows, row, w2, n2)
            second = contract(lambda a, b: b @ a, first, w1, n1)
            flat = Bounded(second.value.reshape(n0, -1), np.asarray(second.bound).reshape(n0, -1))
            parts.append(contract(lambda a, b: b @ a, flat, w0, n0))
        shape = (m, d, d, d)
        value, bound = (np.stack([getattr(p, part) for p in parts]).reshape(shape) for part in ("value", "bound"))
        return (Bounded(value, bound),)

    flops = 2.0 * m * d * (n0 * n1 * n2 + n0 * n1 * d + n0 * d * d)
    name = f"Kronecker3 {n0}·{n1}·{n2}"
    shapes = (d, n0), (d, n1), (d, n2), (m, n0, n1, n2)
    return Case(name, "kronecker3", KRONECKER3, normal(*shapes), exact, flops=flops, large=n0 * n1 * n2 >= 1 << 20)


def wavenet1(dilation: int, b: int = 1, res: int = 32, dil: int = 32, skip: int = 256, t: int = 4000) -> Case:

    def exact(
        data: Array, fw: Array, fb: Array, gw: Array, gb: Array, rw: Array, rb: Array, sw: Array, sb: Array
    ) -> tuple[Bounded, ...]:
        earlier = np.zeros_like(data)
        earlier[..., dilation:] = data[..., :-dilation]
        both = np.concatenate([earlier, data], axis=1)

        def layer(weights: Array, x: Bounded | Array, bias: Array) -> Bounded:
            return contract(lambda a, w: w @ a, x, weights, weights.shape[1] + 1) + lift(bias[:, None])

        filtered = layer(np.concatenate([fw[..., 0], fw[..., 1]], axis=1), both, fb)
        gate = layer(np.concatenate([gw[..., 0], gw[..., 1]], axis=1), both, gb)
        passed = filtered.tanh() * gate.sigmoid()
        return layer(rw, passed, rb) + lift(data), layer(sw, passed, sb)

    shapes = (b, res, t), (dil, res, 2), (dil,), (dil, res, 2), (dil,), (res, dil), (res,), (skip, dil), (skip,)
    flops = 2.0 * b * t * (4 * dil * res + dil * res + dil * skip)
    text = WAVENET1.format(dilation=dilation)
    fixed = {"dilation": dilation}
    return Case(f"wavenet1 dilation {dilation}", "wavenet1", text, normal(*shapes), exact, flops=flops, fixed=fixed)


def attention(b: int, h: int, length: int, d: int) -> Case:
    def exact(q: Array, k: Array, v: Array) -> tuple[Bounded, ...]:
        scores = contract(_against_rows, q, k, d) * 0.125
        e = (scores - scores.max(-1, keepdims=True)).exp()
        return (contract(_product, e, v, length) / e.sum(-1, keepdims=True),)

    flops = 4.0 * b * h * length * length * d
    return Case("attention", "attention", ATTENTION, normal(*[(b, h, length, d)] * 3), exact, flops=flops)


CONTRACTIONS: tuple[Case, ...] = (
    tmm("tmm 128×256×32", 128, 256, 32),
    tmm("tmm 128×1024×1024", 128, 1024, 1024),
    tmm("tmm 128×16384×4096", 128, 16384, 4096),
    bmm("tbmm", 500, 26, 72, 26),
    bmm("batched 32×32×32", 1000, 32, 32, 32),
    *(gconv(32, 32, channels, size) for channels, size in ((4, 56), (8, 28), (16, 14), (32, 7))),
    depthwise(8, 64, 56),
    tmm("C3", 128, 1000, 1024),
    mlp1(128, 2000, 128),
    mlp3(128, 128, 64, 32, 2),
    kronecker3(256, 16, 32, 32, 32),
    kronecker3(256, 16, 64, 64, 64),
    kronecker3(256, 16, 64, 128, 128),
    wavenet1(1),
    wavenet1(32),
    attention(4, 8, 256, 64),
)
