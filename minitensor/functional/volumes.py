"""Convolution and pooling of volumes (N, C, D, H, W), made of those of pictures.

In: volumes, weights.  Out: volumes.
Invariant: nothing here is a record.  A convolution over depth too is one over pictures whose channels are the channels
at each depth of the kernel; a window's extreme or mean is taken over height and width first, then over depth.
"""

from __future__ import annotations

from collections.abc import Callable

from minitensor.dispatch import as_tensor
from minitensor.errors import ShapeError
from minitensor.functional.layers import Size, avg_pool2d, conv2d, max_pool2d, padded, per_axis
from minitensor.manipulation import pad, permute_dims, reshape, stack
from minitensor.ops.convolution import positions
from minitensor.tensor import Tensor


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, D, H, W), weight (F, C / groups, KD, KH, KW), bias (F) to (N, F, OD, OH, OW).

    >>> import minitensor as mt
    >>> conv3d(mt.ones((1, 1, 3, 3, 3)), mt.ones((1, 1, 2, 2, 2)), stride=2, padding=1).tolist()[0][0][0]
    [[1.0, 2.0], [2.0, 4.0]]

    padding: as of `conv2d`.  Raises ShapeError for other ranks, and where the kernel or the groups do not fit.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim != 5 or weight.ndim != 5:
        raise ShapeError(f"conv3d takes (N, C, D, H, W) and (F, C/groups, KD, KH, KW), not {x.shape}, {weight.shape}")
    steps, spread = per_axis(stride, 3), per_axis(dilation, 3)
    x, pads = padded(x, padding, weight.shape[2:], steps, spread)
    (n, channels, depth, *size), (filters, share, taps, *kernel) = x.shape, weight.shape
    count = positions(depth, taps, steps[0], pads[0], spread[0])
    deep = pad(x, ((0, 0), (0, 0), (pads[0], pads[0]), (0, 0), (0, 0))) if pads[0] else x
    reach = (count - 1) * steps[0] + 1
    met = stack([deep[:, :, t * spread[0] : t * spread[0] + reach : steps[0]] for t in range(taps)], axis=2)
    pictures = reshape(permute_dims(met, (0, 3, 1, 2, 4, 5)), (n * count, channels * taps, *size))
    flat = reshape(weight, (filters, share * taps, *kernel))  # a group's channels stay beside each other
    result = conv2d(pictures, flat, bias, steps[1:], pads[1:], spread[1:], groups)
    apart = reshape(result, (n, count, *result.shape[1:]))
    return permute_dims(apart, (0, 2, 1, 3, 4))


def max_pool3d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The largest element of each window of (N, C, D, H, W); windows are `stride` apart (their own size if None).

    >>> import minitensor as mt
    >>> max_pool3d(mt.reshape(mt.arange(8.0), (1, 1, 2, 2, 2)), 2).tolist()
    [[[[[7.0]]]]]
    """
    return _pool(max_pool2d, x, kernel_size, stride, padding)


def avg_pool3d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The mean of each window of (N, C, D, H, W), the zeros of the padding counted."""
    return _pool(avg_pool2d, x, kernel_size, stride, padding)


def _pool(pool: Callable[..., Tensor], x: Tensor, kernel_size: Size, stride: Size | None, padding: Size) -> Tensor:
    x = as_tensor(x)
    if x.ndim != 5:
        raise ShapeError(f"pooling of volumes takes (N, C, D, H, W), not {x.shape}")
    (deep, *kernel), (pad_deep, *pads) = per_axis(kernel_size, 3), per_axis(padding, 3)
    (step_deep, *step) = (deep, *kernel) if stride is None else per_axis(stride, 3)
    n, channels, depth, height, width = x.shape
    pictures = pool(reshape(x, (n, channels * depth, height, width)), tuple(kernel), tuple(step), tuple(pads))
    columns = pool(reshape(pictures, (n, channels, depth, -1)), (deep, 1), (step_deep, 1), (pad_deep, 0))
    return reshape(columns, (n, channels, columns.shape[2], *pictures.shape[2:]))
