"""Pictures of other sizes: along one image axis a matrix (out, in).

In: pictures (N, C, H, W).  Out: pictures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from minitensor.creation import asarray
from minitensor.dispatch import as_tensor
from minitensor.errors import ArgumentError, ShapeError
from minitensor.functional.layers import Size, avg_pool2d, per_axis
from minitensor.linear_algebra import matmul
from minitensor.manipulation import broadcast_to, permute_dims, reshape
from minitensor.searching import take
from minitensor.statistics import mean
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """(N, C·r², H, W) to (N, C, H·r, W·r): channels become the pixels of squares (Shi and others 2016).

    >>> import minitensor as mt
    >>> pixel_shuffle(mt.reshape(mt.arange(4.0), (1, 4, 1, 1)), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    x = as_tensor(x)
    r = upscale_factor
    if x.ndim != 4 or r < 1 or x.shape[1] % (r * r):
        raise ShapeError(f"pixel_shuffle by {r} takes (N, C·{r}², H, W), not {x.shape}")
    n, channels, h, w = x.shape
    apart = reshape(x, (n, channels // (r * r), r, r, h, w))
    return reshape(permute_dims(apart, (0, 1, 4, 2, 5, 3)), (n, channels // (r * r), h * r, w * r))


def adaptive_avg_pool2d(x: Tensor, output_size: Size) -> Tensor:
    """(N, C, H, W) to (N, C, OH, OW): element i of an axis is the mean of ⌊i·H/OH⌋ … ⌈(i+1)·H/OH⌉ − 1.

    >>> import minitensor as mt
    >>> adaptive_avg_pool2d(mt.asarray([[[[0.0, 1.0, 2.0]]]]), (1, 2))
    tensor([[[[0.5, 1.5]]]])
    """
    x, out = _pictures("adaptive_avg_pool2d", x, output_size)
    size = x.shape[2:]
    if out == size:
        return x
    if out == (1, 1):
        return mean(x, axis=(-2, -1), keepdims=True)
    if size[0] % out[0] == 0 and size[1] % out[1] == 0:
        return avg_pool2d(x, (size[0] // out[0], size[1] // out[1]))
    return _resampled(x, _averaging(out[0], size[0]), _averaging(out[1], size[1]))


def interpolate(x: Tensor, size: Size, mode: str = "nearest") -> Tensor:
    """(N, C, H, W) to (N, C, *size): "nearest" takes element ⌊i·H/OH⌋, "bilinear" weighs two by distance.

    The conventions are PyTorch's with `align_corners=False`.

    >>> import minitensor as mt
    >>> interpolate(mt.asarray([[[[1.0, 2.0]]]]), (1, 4))
    tensor([[[[1., 1., 2., 2.]]]])
    >>> interpolate(mt.asarray([[[[0.0, 1.0]]]]), (1, 4), "bilinear")
    tensor([[[[0.  , 0.25, 0.75, 1.  ]]]])

    Raises ArgumentError for another mode, ShapeError for a size below 1.
    """
    x, out = _pictures("interpolate", x, size)
    height, width = x.shape[2:]
    if mode == "bilinear":
        return _resampled(x, _bilinear(out[0], height), _bilinear(out[1], width))
    if mode != "nearest":
        raise ArgumentError(f"mode is 'nearest' or 'bilinear', not {mode!r}")
    if out[0] % height == 0 and out[1] % width == 0:  # repetition moves; indices would make the gradient scatter
        n, channels = x.shape[:2]
        apart = reshape(x, (n, channels, height, 1, width, 1))
        wide = broadcast_to(apart, (n, channels, height, out[0] // height, width, out[1] // width))
        return reshape(wide, (n, channels, *out))
    rows, columns = (asarray(np.arange(o) * n // o) for o, n in zip(out, (height, width), strict=True))
    return take(take(x, rows, axis=2), columns, axis=3)


def _pictures(what: str, x: Tensor, size: Size) -> tuple[Tensor, tuple[int, ...]]:
    """Pictures and the size that they are to have.  Raises ShapeError for other ranks and for nothing to see."""
    x, out = as_tensor(x), per_axis(size, 2)
    if x.ndim != 4 or min(*x.shape[2:], *out) < 1:
        raise ShapeError(f"{what} takes (N, C, H, W) to a size (OH, OW), all at least 1, not {x.shape} to {out}")
    return x, out


def _resampled(x: Tensor, rows: Array, columns: Array) -> Tensor:
    """rows · x · columnsᵀ for each picture."""
    kept = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    return matmul(matmul(asarray(rows, dtype=kept), x), asarray(columns.T, dtype=kept))


@lru_cache(maxsize=64)
def _averaging(out: int, size: int) -> Array:
    """float64 (out, size): row i holds the mean of adaptive pooling's window i."""
    matrix = np.zeros((out, size))
    for i in range(out):
        low, high = i * size // out, -((-(i + 1) * size) // out)
        matrix[i, low:high] = 1.0 / (high - low)
    return matrix


@lru_cache(maxsize=64)
def _bilinear(out: int, size: int) -> Array:
    """float64 (out, size): row i holds the weights of the two elements beside the centre of output i."""
    matrix = np.zeros((out, size))
    for i in range(out):
        centre = max((i + 0.5) * size / out - 0.5, 0.0)
        low = min(int(centre), size - 1)
        matrix[i, low] += 1.0 - (centre - low)
        matrix[i, min(low + 1, size - 1)] += centre - low
    return matrix
