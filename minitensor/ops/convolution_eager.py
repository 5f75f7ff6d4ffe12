"""The eager rules of convolution: patches as matrix columns (im2col) and BLAS products.

In: NumPy arrays, window attributes.  Out: NumPy arrays.
Two layouts of the patches, measured (docs/performance.md): with rows of pixels innermost the copy runs along
rows of the picture and the product needs no transposition; with channels innermost it runs along channels,
which is ahead once there are twice as many of them as pixels in a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minitensor.ops.phases import Phase, phases

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]
Rule = Callable[[Array, Array], Array]


def _padded(x: Array, padding: Pair) -> Array:
    """A copy of (N, C, H, W) with zeros around the picture."""
    if padding == (0, 0):
        return x
    (n, channels, height, width), (ph, pw) = x.shape, padding
    result = np.zeros((n, channels, height + 2 * ph, width + 2 * pw), x.dtype)
    result[:, :, ph : ph + height, pw : pw + width] = x
    return result


def _patches(x: Array, kernel: Pair, out: Pair, stride: Pair, dilation: Pair) -> Array:
    """A view (N, C, KH, KW, OH, OW) of a padded picture: no element is copied."""
    n, channels, _, _ = x.shape
    sn, sc, sh, sw = x.strides
    strides = (sn, sc, sh * dilation[0], sw * dilation[1], sh * stride[0], sw * stride[1])
    return as_strided(x, (n, channels, *kernel, *out), strides, writeable=False)


def _positions(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    h, w = ((x.shape[2 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1))
    return h, w


def _channels_innermost(x: Array, out: Pair) -> bool:
    return bool(x.shape[1] >= 2 * out[1])


def _to_channels_last(x: Array) -> Array:
    """(N, C, H, W) stored with the channels innermost."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _by_group(rule: Rule, left: Array, right: Array, groups: int, axes: Pair, join: int) -> Array:
    """Runs the rule of one group on each group's share of both operands, and joins the results."""
    lefts, rights = np.split(left, groups, axes[0]), np.split(right, groups, axes[1])
    return np.concatenate([rule(a, b) for a, b in zip(lefts, rights, strict=True)], axis=join)


def conv2d(x: Array, weight: Array, *, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Array:
    """(N, C, H, W) with (F, C / groups, KH, KW) to (N, F, OH, OW)."""
    rule = partial(_conv, stride=stride, padding=padding, dilation=dilation)
    return _by_group(rule, x, weight, groups, (1, 0), 1) if groups > 1 else rule(x, weight)


def _conv(x: Array, weight: Array, *, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    n, (filters, channels, *kernel) = x.shape[0], weight.shape
    out = _positions(x, (kernel[0], kernel[1]), stride, padding, dilation)
    if _channels_innermost(x, out):
        patches = _patches(_to_channels_last(_padded(x, padding)), (kernel[0], kernel[1]), out, stride, dilation)
        rows = patches.transpose(0, 4, 5, 2, 3, 1).reshape(n * out[0] * out[1], -1)
        product = rows @ weight.transpose(2, 3, 1, 0).reshape(-1, filters)
        return np.ascontiguousarray(product.reshape(n, *out, filters).transpose(0, 3, 1, 2))
    patches = _patches(_padded(x, padding), (kernel[0], kernel[1]), out, stride, dilation)
    columns = patches.reshape(n, channels * kernel[0] * kernel[1], out[0] * out[1])
    product = np.matmul(weight.reshape(filters, -1), columns)
    return np.asarray(product.reshape(n, filters, *out))


def weight_grad(
    x: Array, g: Array, *, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """The gradient of the weight (of the given shape) from x and the output's gradient."""
    rule = partial(_weight_grad, kernel=(shape[2], shape[3]), stride=stride, padding=padding, dilation=dilation)
    return _by_group(rule, x, g, groups, (1, 1), 0) if groups > 1 else rule(x, g)


def _weight_grad(x: Array, g: Array, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    _n, filters, *out = g.shape
    source = _padded(x, padding)
    upstream = g.transpose(1, 0, 2, 3).reshape(filters, -1)
    if _channels_innermost(x, (out[0], out[1])):
        patches = _patches(_to_channels_last(source), kernel, (out[0], out[1]), stride, dilation)
        product = upstream @ patches.transpose(0, 4, 5, 2, 3, 1).reshape(upstream.shape[1], -1)
        return np.ascontiguousarray(product.reshape(filters, *kernel, -1).transpose(0, 3, 1, 2))
    patches = _patches(source, kernel, (out[0], out[1]), stride, dilation)
    columns = patches.transpose(1, 2, 3, 0, 4, 5).reshape(-1, upstream.shape[1])
    return (upstream @ columns.T).reshape(filters, -1, *kernel)


def input_grad(
    g: Array, weight: Array, *, shape: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """The gradient of x (of the given shape) from the output's gradient and the weight."""
    rule = partial(_input_grad, size=(shape[2], shape[3]), stride=stride, padding=padding, dilation=dilation)
    return _by_group(rule, g, weight, groups, (1, 0), 1) if groups > 1 else rule(g, weight)


def _input_grad(g: Array, weight: Array, *, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    # Scattering leaves out the zeros around g, which make NaN of an infinite weight.
    if stride == (1, 1) or not np.isfinite(weight).all():
        return _by_phases(g, weight, size, stride, padding, dilation)
    return _scattered(g, weight, size, stride, padding, dilation)


def _by_phases(g: Array, weight: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Each phase is a convolution of the gradient, zeros around it, with its kernel elements turned round."""
    result = np.zeros((g.shape[0], weight.shape[1], *size), np.result_type(g, weight))
    along = (phases(size[a], weight.shape[2 + a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    for rows, columns in itertools.product(*along):
        if rows.taps and columns.taps:
            elements = weight[:, :, rows.first :: rows.step, columns.first :: columns.step]
            turned = np.ascontiguousarray(elements[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
            apart = (rows.apart, columns.apart)
            part = _conv(_met(g, rows, columns), turned, stride=(1, 1), padding=(0, 0), dilation=apart)
            if stride == (1, 1):
                return part
            result[:, :, rows.pixel :: stride[0], columns.pixel :: stride[1]] = part
    return result


def _met(g: Array, rows: Phase, columns: Phase) -> Array:
    """The positions that the phases meet, zeros where there are none."""
    starts = rows.lowest, columns.lowest
    ends = rows.offset + rows.count, columns.offset + columns.count
    if starts == (0, 0) and ends == g.shape[2:]:
        return g
    result = np.zeros((*g.shape[:2], ends[0] - starts[0], ends[1] - starts[1]), g.dtype)
    cuts = [slice(max(0, start), max(0, min(end, n))) for start, end, n in zip(starts, ends, g.shape[2:], strict=True)]
    to = [slice(cut.start - start, cut.stop - start) for cut, start in zip(cuts, starts, strict=True)]
    if all(cut.start < cut.stop for cut in cuts):
        result[:, :, to[0], to[1]] = g[:, :, cuts[0], cuts[1]]
    return result


def _scattered(g: Array, weight: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Array:
    """Each kernel element's share is added where it was read: KH·KW strided additions."""
    n, filters, oh, ow = g.shape
    _, channels, kh, kw = weight.shape
    shares = np.matmul(weight.reshape(filters, -1).T, g.reshape(n, filters, oh * ow))
    shares = shares.reshape(n, channels, kh, kw, oh, ow)
    result = np.zeros((n, channels, size[0] + 2 * padding[0], size[1] + 2 * padding[1]), shares.dtype)
    for u in range(kh):
        rows = slice(u * dilation[0], u * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
        for v in range(kw):
            columns = slice(v * dilation[1], v * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
            result[:, :, rows, columns] += shares[:, :, u, v]
    inner = result[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return np.ascontiguousarray(inner)
