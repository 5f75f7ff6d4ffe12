"""NumPy (and scipy.special.erf): matrix products wherever there is one, `out=` wherever there is a temporary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf

from benchmarks.kernels.case import Arrays, Case
from benchmarks.kernels.formulations import Calls, as_tuple, in_turn

Array = np.ndarray[Any, Any]
Out = tuple[Array, ...] | None


def _first(out: Out) -> Array | None:
    return out[0] if out else None


def _tmm(a: Array, b: Array, out: Out = None) -> Array:
    return np.matmul(a, b.T, out=_first(out))


def _bmm(x: Array, y: Array, out: Out = None) -> Array:
    return np.matmul(x, y, out=_first(out))


def _gconv(image: Array, weights: Array, bias: Array, out: Out = None) -> Array:
    n, groups = image.shape[:2]
    windows = sliding_window_view(image, weights.shape[3:], axis=(3, 4))
    height, width = windows.shape[3:5]
    columns = windows.transpose(0, 1, 2, 5, 6, 3, 4).reshape(n, groups, -1, height * width)
    target = None if out is None else out[0].reshape(n, groups, -1, height * width)
    found = np.matmul(weights.reshape(groups, weights.shape[1], -1), columns, out=target)
    found += bias[..., None]
    return found.reshape(n, groups, -1, height, width)


def _depthwise(image: Array, weights: Array, out: Out = None) -> Array:
    height, width = image.shape[2] - 2, image.shape[3] - 2
    found = np.empty((*image.shape[:2], height, width), np.float32) if out is None else out[0]
    term = np.empty_like(found)
    for kh in range(3):
        for kw in range(3):
            window, factor = image[:, :, kh : kh + height, kw : kw + width], weights[:, kh, kw, None, None]
            if kh == kw == 0:
                np.multiply(window, factor, out=found)
            else:
                np.add(found, np.multiply(window, factor, out=term), out=found)
    return found


def _layer(x: Array, transposed: Array, bias: Array, out: Array | None = None) -> Array:
    found = np.matmul(x, transposed, out=out)
    found += bias
    return np.maximum(found, 0, out=found)


def _mlp1(x: Array, w: Array, bias: Array, out: Out = None) -> Array:
    return _layer(x, w, bias, _first(out))


def _mlp3(x: Array, w2: Array, b2: Array, w3: Array, b3: Array, w4: Array, b4: Array, out: Out = None) -> Array:
    return _layer(_layer(_layer(x, w2.T, b2), w3.T, b3), w4.T, b4, _first(out))


def _kronecker3(w0: Array, w1: Array, w2: Array, x: Array, out: Out = None) -> Array:
    m, n0 = x.shape[:2]
    second = np.matmul(w1, x @ w2.T).reshape(m, n0, -1)
    target = None if out is None else out[0].reshape(m, len(w0), -1)
    return np.matmul(w0, second, out=target).reshape(m, len(w0), len(w1), len(w2))


def _wavenet1(
    data: Array, fw: Array, fb: Array, gw: Array, gb: Array, rw: Array, rb: Array, sw: Array, sb: Array,
    out: Out = None, *, dilation: int,
) -> tuple[Array, ...]:  # fmt: skip
    def dilated(weights: Array, bias: Array) -> Array:
        found: Array = np.matmul(weights[..., 1], data)
        found[..., dilation:] += np.matmul(weights[..., 0], data[..., :-dilation])
        found += bias[:, None]
        return found

    gate, passed = dilated(gw, gb), dilated(fw, fb)
    np.exp(np.negative(gate, out=gate), out=gate)
    np.divide(np.tanh(passed, out=passed), np.add(gate, 1, out=gate), out=passed)
    residual = np.matmul(rw, passed, out=out[0] if out else None)
    residual += data
    residual += rb[:, None]
    skip = np.matmul(sw, passed, out=out[1] if out else None)
    skip += sb[:, None]
    return residual, skip


def _attention(q: Array, k: Array, v: Array, out: Out = None) -> Array:
    scores = np.matmul(q, np.swapaxes(k, -1, -2))
    scores *= np.float32(0.125)
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    found = np.matmul(scores, v, out=_first(out))
    found /= scores.sum(-1, keepdims=True)
    return found


def _lut1(table: Array, indices: Array, out: Out = None) -> Array:
    return np.sum(np.take(table, indices, axis=0), axis=1, out=_first(out))


def _lut2(table1: Array, table2: Array, indices1: Array, indices2: Array, out: Out = None) -> tuple[Array, ...]:
    first, second = (None, None) if out is None else ((out[0],), (out[1],))
    return _lut1(table1, indices1, first), _lut1(table2, indices2, second)


def _moments(x: Array, out: Out = None) -> tuple[Array, ...]:
    mean = x.mean(axis=1, out=out[0] if out else None)
    square = np.einsum("nk,nk->n", x, x, out=out[1]) if out else np.einsum("nk,nk->n", x, x)
    square /= x.shape[1]
    square -= mean * mean
    return mean, square


def _group_norm(x: Array, gamma: Array, beta: Array, out: Out = None) -> Array:
    mean = x.mean(axis=(2, 3, 4), keepdims=True)
    flat = x.reshape(*x.shape[:2], -1)
    var = np.einsum("ngk,ngk->ng", flat, flat) / flat.shape[2] - mean[..., 0, 0, 0] ** 2
    scale = gamma / np.sqrt(var + np.float32(1e-5))[..., None]
    found = np.multiply(x, scale[..., None, None], out=_first(out))
    found += (beta - mean[..., 0, 0] * scale)[..., None, None]
    return found


def _softmax(x: Array, out: Out = None) -> Array:
    found = np.subtract(x, x.max(axis=1, keepdims=True), out=_first(out))
    np.exp(found, out=found)
    found /= found.sum(axis=1, keepdims=True)
    return found


def _layer_norm(x: Array, gamma: Array, beta: Array, out: Out = None) -> Array:
    found = np.subtract(x, x.mean(axis=1, keepdims=True), out=_first(out))
    found /= np.sqrt(np.einsum("mn,mn->m", found, found)[:, None] / np.float32(x.shape[1]) + np.float32(1e-5))
    found *= gamma
    found += beta
    return found


def _gelu(x: Array, out: Out = None) -> Array:
    found = np.multiply(x, np.float32(0.70710678), out=_first(out))
    erf(found, out=found)
    found += 1
    found *= x
    found *= np.float32(0.5)
    return found


def _transpose(x: Array, out: Out = None) -> Array:
    if out is None:
        return np.ascontiguousarray(x.T)
    np.copyto(out[0], x.T)
    return out[0]


def _sum_rows(x: Array, out: Out = None) -> Array:
    return np.sum(x, axis=0, out=_first(out))


def _sum_columns(x: Array, out: Out = None) -> Array:
    return np.sum(x, axis=1, out=_first(out))


def _sliding(x: Array, out: Out = None) -> Array:
    found = x
    for width in (1, 2, 4):
        found = np.maximum(found[:, :-width], found[:, width:])
    return np.maximum(found[:, :-8], found[:, 8:], out=_first(out))


FORMULATIONS: dict[str, Callable[..., Any]] = {
    "tmm": _tmm,
    "bmm": _bmm,
    "gconv": _gconv,
    "depthwise": _depthwise,
    "mlp1": _mlp1,
    "mlp3": _mlp3,
    "kronecker3": _kronecker3,
    "wavenet1": _wavenet1,
    "attention": _attention,
    "lut1": _lut1,
    "lut2": _lut2,
    "moments": _moments,
    "group_norm": _group_norm,
    "group_norm_two": _group_norm,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "transpose": _transpose,
    "sum_rows": _sum_rows,
    "sum_columns": _sum_columns,
    "sliding": _sliding,
}


def prepare(case: Case, variants: list[Arrays]) -> Calls:
    body = FORMULATIONS[case.family]
    held = tuple(np.empty_like(x) for x in as_tuple(body(*variants[0], **case.fixed)))
    fresh = in_turn(lambda *inputs: body(*inputs, **case.fixed), variants)
    into = in_turn(lambda *inputs: body(*inputs, out=held, **case.fixed), variants)
    return Calls(fresh, into, as_tuple)
