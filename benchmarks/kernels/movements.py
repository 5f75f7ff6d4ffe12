"""The table's memory-bound cases: lookups, moments, normalisations, elementwise, sums, transposes, windows.

In: nothing.  Out: `MOVEMENTS`.  Invariant: a text is what a user would write after reading docs/language.md.
"""

from __future__ import annotations

import numpy as np

from benchmarks.kernels.bounded import Array, Bounded, lift
from benchmarks.kernels.case import Arrays, Case, Draw, normal

LUT1 = "def lut1(float(E,D) LUT, int32(B,L) I) -> (O) { O(b,d) +=! LUT(I(b,l),d) }"
LUT2 = """
def lut2(float(E1,D) LUT1, float(E2,D) LUT2, int32(B,L) I1, int32(B,L) I2) -> (O1, O2) {
    O1(b,d) +=! LUT1(I1(b,l),d)
    O2(b,d) +=! LUT2(I2(b,l),d)
}"""
MOMENTS = """
def moments(float(N,K) I) -> (mean, var) {
    mean(n) +=! I(n,k)
    var(n) +=! I(n,k) * I(n,k)
    mean(n) = mean(n) / K
    var(n) = var(n) / K - mean(n) * mean(n)
}"""
GROUP_NORM = """
def group_norm(float(N,G,D,H,W) I, float(G,D) gamma, float(G,D) beta) -> (O) {
    mean(n,g) +=! I(n,g,d,h,w)
    mean(n,g) = mean(n,g) / (D * H * W)
    var(n,g) +=! I(n,g,d,h,w) * I(n,g,d,h,w)
    var(n,g) = var(n,g) / (D * H * W) - mean(n,g) * mean(n,g)
    O(n,g,d,h,w) = (I(n,g,d,h,w) - mean(n,g)) * rsqrt(var(n,g) + 1e-5) * gamma(g,d) + beta(g,d)
}"""
GROUP_NORM_TWO = """
def moments(float(N,G,D,H,W) I) -> (mean, var) {
    mean(n,g) +=! I(n,g,d,h,w)
    mean(n,g) = mean(n,g) / (D * H * W)
    var(n,g) +=! I(n,g,d,h,w) * I(n,g,d,h,w)
    var(n,g) = var(n,g) / (D * H * W) - mean(n,g) * mean(n,g)
}
def normalise(float(N,G,D,H,W) I, float(G,D) gamma, float(G,D) beta, float(N,G) mean, float(N,G) var) -> (O) {
    O(n,g,d,h,w) = (I(n,g,d,h,w) - mean(n,g)) * rsqrt(var(n,g) + 1e-5) * gamma(g,d) + beta(g,d)
}"""
SOFTMAX = """
def softmax(float(M,N) X) -> (Y) {
    top(m) max=! X(m,n)
    e(m,n) = exp(X(m,n) - top(m))
    total(m) +=! e(m,n)
    Y(m,n) = e(m,n) / total(m)
}"""
LAYER_NORM = """
def layer_norm(float(M,N) X, float(N) gamma, float(N) beta) -> (Y) {
    mean(m) +=! X(m,n)
    mean(m) = mean(m) / N
    var(m) +=! (X(m,n) - mean(m)) * (X(m,n) - mean(m))
    Y(m,n) = (X(m,n) - mean(m)) * rsqrt(var(m) / N + 1e-5) * gamma(n) + beta(n)
}"""
GELU = "def gelu(float(N) X) -> (Y) { Y(n) = 0.5 * X(n) * (1.0 + erf(X(n) * 0.70710678)) }"
TRANSPOSE = "def transpose(float(M,N) X) -> (Y) { Y(n,m) = X(m,n) }"
SUM_ROWS = "def sum_rows(float(M,N) X) -> (Y) { Y(n) +=! X(m,n) }"
SUM_COLUMNS = "def sum_columns(float(M,N) X) -> (Y) { Y(m) +=! X(m,n) }"
SLIDING = "def sliding(float(M,N) X) -> (Y) { Y(m,n) max=! X(m,n+k) where k in 0:16 }"

_VARIANTS = 64  # 100 MB of rows touched between two calls with the same indices


def _looked_up(table: Array, indices: Array) -> Bounded:
    return lift(table[indices.ravel()].reshape(*indices.shape, -1)).sum(1)


def lut(tables: int, rows: int = 10_000_000, b: int = 128, d: int = 64, length: int = 50) -> Case:

    def draw(drawing: Draw) -> list[Arrays]:
        held = [drawing.normal(rows, d) for _ in range(tables)]
        return [(*held, *(drawing.integers(rows, b, length) for _ in held)) for _ in range(_VARIANTS)]

    def exact(*arrays: Array) -> tuple[Bounded, ...]:
        return tuple(_looked_up(arrays[i], arrays[tables + i]) for i in range(tables))

    return Case(
        f"{tables}LUT", f"lut{tables}", (LUT1, LUT2)[tables - 1], draw, exact,
        moved=4.0 * tables * (b * length * (d + 1) + b * d), blocks=tables * b * length * d // 64, large=True,
    )  # fmt: skip


def _mean_and_variance(x: Bounded, axes: tuple[int, ...], keepdims: bool) -> tuple[Bounded, Bounded]:
    count = float(np.prod([x.value.shape[axis] for axis in axes]))
    mean = x.sum(axes, keepdims) / count
    return mean, (x * x).sum(axes, keepdims) / count - mean * mean


def _normalised(x: Bounded, mean: Bounded, var: Bounded, gamma: Array, beta: Array) -> Bounded:
    """The wider bound of the two ways to write it: centred first, or one multiply-add an element."""
    scale = (var + 1e-5).rsqrt() * lift(gamma)
    centred, folded = (x - mean) * scale + lift(beta), x * scale + (lift(beta) - mean * scale)
    return Bounded(centred.value, np.maximum(centred.bound, folded.bound))


def moments(n: int, k: int) -> Case:
    def exact(x: Array) -> tuple[Bounded, ...]:
        parts = [_mean_and_variance(lift(rows), (1,), False) for rows in np.array_split(x, max(1, n // 64))]
        return tuple(
            Bounded(np.concatenate([p[i].value for p in parts]), np.concatenate([p[i].bound for p in parts]))
            for i in range(2)
        )

    return Case(f"moments {n}×{k}", "moments", MOMENTS, lambda draw: [(draw.normal(n, k) + 1,)], exact)


def group_norm(n: int, c: int, groups: int, size: int, kernels: int) -> Case:
    shape = n, groups, c // groups, size, size

    def exact(x: Array, gamma: Array, beta: Array) -> tuple[Bounded, ...]:
        parts = []
        for image in x:
            own = lift(image)
            mean, var = _mean_and_variance(own, (1, 2, 3), True)
            parts.append(_normalised(own, mean, var, gamma[..., None, None], beta[..., None, None]))
        return (Bounded(np.stack([p.value for p in parts]), np.stack([p.bound for p in parts])),)

    family, text = (("group_norm", GROUP_NORM), ("group_norm_two", GROUP_NORM_TWO))[kernels - 1]
    name = f"group norm {n}×{c}×{size}², {('one kernel', 'two kernels')[kernels - 1]}"
    return Case(name, family, text, normal(shape, shape[1:3], shape[1:3]), exact)


def softmax(m: int, n: int) -> Case:
    def exact(x: Array) -> tuple[Bounded, ...]:
        own = lift(x)
        e = (own - own.max(1, keepdims=True)).exp()
        return (e / e.sum(1, keepdims=True),)

    return Case("softmax 4096×1024", "softmax", SOFTMAX, normal((m, n)), exact)


def layer_norm(m: int, n: int) -> Case:
    def exact(x: Array, gamma: Array, beta: Array) -> tuple[Bounded, ...]:
        own = lift(x)
        centred = own - own.sum(1, keepdims=True) / float(n)
        var = (centred * centred).sum(1, keepdims=True) / float(n)
        return (_normalised(own, own.sum(1, keepdims=True) / float(n), var, gamma, beta),)

    return Case("layer norm 4096×1024", "layer_norm", LAYER_NORM, normal((m, n), (n,), (n,)), exact)


def gelu(n: int) -> Case:
    def exact(x: Array) -> tuple[Bounded, ...]:
        own = lift(x)
        return (own * 0.5 * ((own * 0.70710678).erf() + 1.0),)

    return Case("gelu 4 M", "gelu", GELU, normal((n,)), exact)


def whole(name: str, family: str, text: str, m: int, n: int) -> Case:
    def exact(x: Array) -> tuple[Bounded, ...]:
        match family:
            case "transpose":
                return (Bounded(np.ascontiguousarray(x.T).astype(np.float64), np.zeros((n, m))),)
            case "sum_rows":
                return (lift(x).sum(0),)
            case "sum_columns":
                return (lift(x).sum(1),)
            case _:
                windows = np.lib.stride_tricks.sliding_window_view(x, 16, axis=1)
                value = windows.max(-1).astype(np.float64)
                return (Bounded(value, np.zeros_like(value)),)

    return Case(name, family, text, normal((m, n)), exact)


MOVEMENTS: tuple[Case, ...] = (
    lut(1),
    lut(2),
    moments(128, 2304),
    moments(1024, 36864),
    *(group_norm(4, 512, 32, 12, kernels) for kernels in (1, 2)),
    *(group_norm(32, 512, 32, 48, kernels) for kernels in (1, 2)),
    softmax(4096, 1024),
    layer_norm(4096, 1024),
    gelu(4_000_000),
    whole("transpose 4096²", "transpose", TRANSPOSE, 4096, 4096),
    whole("sum over rows 4096²", "sum_rows", SUM_ROWS, 4096, 4096),
    whole("sum over columns 4096²", "sum_columns", SUM_COLUMNS, 4096, 4096),
    whole("sliding maximum 16, 4096²", "sliding", SLIDING, 4096, 4096),
)
