"""Convolution and pooling of volumes (N, C, D, H, W), made of those of pictures.

In: volumes, weights.  Out: volumes.
Invariant: nothing here is a record.  A convolution over depth too is one over pictures whose channels are the channels
at each depth of the kernel; a window's extreme or mean is taken over height and width first, then over depth.
"""

from __future__ import annotations

from minitensor.dispatch import as_tensor
from minitensor.errors import ShapeError
from minitensor.functional.layers import avg_pool2d, conv2d, max_pool2d
from minitensor.manipulation import pad, permute_dims, reshape, stack
from minitensor.tensor import Tensor

Triple = int | tuple[int, int, int]


def as_triple(value: Triple) -> tuple[int, int, int]:
    """One number for all three axes of a volume, or a number for each."""
    return (value, value, value) if isinstance(value, int) else (value[0], value[1], value[2])


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Triple = 1,
    padding: Triple = 0,
    dilation: Triple = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, D, H, W), weight (F, C / groups, KD, KH, KW), bias (F) to (N, F, OD, OH, OW).

    >>> import minitensor as mt
    >>> conv3d(mt.ones((1, 1, 3, 3, 3)), mt.ones((1, 1, 2, 2, 2)), stride=2, padding=1).tolist()[0][0][0]
    [[1.0, 2.0], [2.0, 4.0]]

    Raises ShapeError for other ranks, and where the kernel or the groups do not fit.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if x.ndim != 5 or weight.ndim != 5:
        raise ShapeError(f"conv3d takes (N, C, D, H, W) and (F, C/groups, KD, KH, KW), not {x.shape}, {weight.shape}")
    steps, pads, spread = as_triple(stride), as_triple(padding), as_triple(dilation)
    (n, channels, depth, *size), (filters, share, taps, *kernel) = x.shape, weight.shape
    positions = _positions(depth, taps, steps[0], pads[0], spread[0])
    deep = pad(x, ((0, 0), (0, 0), (pads[0], pads[0]), (0, 0), (0, 0))) if pads[0] else x
    reach = (positions - 1) * steps[0] + 1
    met = stack([deep[:, :, t * spread[0] : t * spread[0] + reach : steps[0]] for t in range(taps)], axis=2)
    pictures = reshape(permute_dims(met, (0, 3, 1, 2, 4, 5)), (n * positions, channels * taps, *size))
    flat = reshape(weight, (filters, share * taps, *kernel))  # a group's channels stay beside each other
    result = conv2d(pictures, flat, bias, steps[1:], pads[1:], spread[1:], groups)
    apart = reshape(result, (n, positions, *result.shape[1:]))
    return permute_dims(apart, (0, 2, 1, 3, 4))


def _positions(extent: int, window: int, step: int, padding: int, spread: int = 1) -> int:
    """How many positions a window has along depth.  Raises ShapeError for none."""
    if min(window, step, spread) < 1 or padding < 0:
        raise ShapeError(f"window {window}, stride {step} or dilation {spread} below 1, or padding {padding} below 0")
    room = extent + 2 * padding - spread * (window - 1) - 1
    if room < 0:
        raise ShapeError(f"a window that reaches over {spread * (window - 1) + 1} does not fit into depth {extent}")
    return room // step + 1


def max_pool3d(x: Tensor, kernel_size: Triple, stride: Triple | None = None, padding: Triple = 0) -> Tensor:
    """The largest element of each window of (N, C, D, H, W); windows are `stride` apart (their own size if None).

    >>> import minitensor as mt
    >>> max_pool3d(mt.reshape(mt.arange(8.0), (1, 1, 2, 2, 2)), 2).tolist()
    [[[[[7.0]]]]]
    """
    x, kernel, step, pads = _pool_arguments(x, kernel_size, stride, padding)
    pictures = max_pool2d(_joined(x), kernel[1:], step[1:], pads[1:])
    columns = max_pool2d(_columns(pictures, x), (kernel[0], 1), (step[0], 1), (pads[0], 0))
    return reshape(columns, (*x.shape[:2], columns.shape[2], *pictures.shape[2:]))


def avg_pool3d(x: Tensor, kernel_size: Triple, stride: Triple | None = None, padding: Triple = 0) -> Tensor:
    """The mean of each window of (N, C, D, H, W), the zeros of the padding counted."""
    x, kernel, step, pads = _pool_arguments(x, kernel_size, stride, padding)
    pictures = avg_pool2d(_joined(x), kernel[1:], step[1:], pads[1:])
    columns = avg_pool2d(_columns(pictures, x), (kernel[0], 1), (step[0], 1), (pads[0], 0))
    return reshape(columns, (*x.shape[:2], columns.shape[2], *pictures.shape[2:]))


def _pool_arguments(
    x: Tensor, kernel_size: Triple, stride: Triple | None, padding: Triple
) -> tuple[Tensor, tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    x, kernel = as_tensor(x), as_triple(kernel_size)
    if x.ndim != 5:
        raise ShapeError(f"pooling of volumes takes (N, C, D, H, W), not {x.shape}")
    return x, kernel, kernel if stride is None else as_triple(stride), as_triple(padding)


def _joined(x: Tensor) -> Tensor:
    """Volumes as pictures, depth among the channels."""
    n, channels, depth, height, width = x.shape
    return reshape(x, (n, channels * depth, height, width))


def _columns(pictures: Tensor, x: Tensor) -> Tensor:
    """(N, C·D, OH, OW) as pictures (N, C, D, OH·OW)."""
    return reshape(pictures, (*x.shape[:3], -1))
