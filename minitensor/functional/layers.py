"""Layers as functions: linear maps, convolutions, attention, pooling, dropout.

In: tensors, weights.  Out: tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index

from minitensor import random
from minitensor.creation import arange, ones
from minitensor.dispatch import apply, as_tensor
from minitensor.elementwise import where
from minitensor.errors import ArgumentError, ShapeError
from minitensor.functional.activations import softmax
from minitensor.linear_algebra import matmul
from minitensor.manipulation import expand_dims, pad, reshape, squeeze
from minitensor.ops import contract, convolution, pooling
from minitensor.searching import take
from minitensor.tensor import Tensor

Size = int | tuple[int, ...]  # one number for all spatial axes, or one for each


def per_axis(value: Size, count: int) -> tuple[int, ...]:
    """One number for each of `count` axes, or the number of each.  Raises ArgumentError for anything else."""
    given = value if isinstance(value, tuple | list) else (value,) * count
    try:
        numbers = tuple(map(index, given))
    except TypeError:
        numbers = ()
    if len(numbers) != count:
        raise ArgumentError(f"one int for {count} axes or {count} of them, not {value!r:.60}")
    return numbers


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b; weight (out, in), bias (out)."""
    weight = as_tensor(weight)
    return matmul(x, weight.mT) if bias is None else apply(contract.linear, x, weight, bias)


def embedding(indices: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` that the integers name; row `padding_idx` gets no gradient."""
    weight = as_tensor(weight)
    rows = take(weight, indices, axis=0)
    return rows if padding_idx is None else where(expand_dims(indices == padding_idx, -1), rows.detach(), rows)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training each element is 0 with probability `p`, otherwise scaled by 1 / (1 − p); draws from `mt.random`."""
    x = as_tensor(x)
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"p is a probability in [0, 1], not {p}")
    if not training or p == 0.0:
        return x
    if p == 1.0:
        return x * 0.0
    keep = random.uniform(x.shape) >= p
    return where(keep, x * (1.0 / (1.0 - p)), 0)


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """In training each channel of (N, C, ...) is 0 with probability `p`, otherwise scaled (Tompson and others 2015)."""
    x = as_tensor(x)
    if x.ndim < 3:
        raise ShapeError(f"dropout2d takes (N, C, ...), not {x.shape}")
    kept = dropout(ones((*x.shape[:2], *[1] * (x.ndim - 2)), dtype=x.dtype), p, training)
    return x * kept if training and p else x


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, H, W), weight (F, C / groups, KH, KW), bias (F) to (N, F, OH, OW).

    padding: zeros on each side; "valid" is none, "same" as many as give pictures of the same size (stride 1 only).

    >>> import minitensor as mt
    >>> conv2d(mt.ones((1, 1, 2, 2)), mt.ones((1, 1, 2, 2)), padding="same").tolist()
    [[[[4.0, 2.0], [2.0, 1.0]]]]
    """
    steps, spread = per_axis(stride, 2), per_axis(dilation, 2)
    x, pads = padded(x, padding, as_tensor(weight).shape[2:], steps, spread)
    result = apply(convolution.conv2d, x, weight, stride=steps, padding=pads, dilation=spread, groups=groups)
    return result if bias is None else result + reshape(bias, (1, -1, 1, 1))


def padded(
    x: Tensor, padding: Size | str, kernel: tuple[int, ...], steps: tuple[int, ...], spread: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """x and the zeros still to put around it; where "same" needs an odd number of them, the end has one more."""
    if not isinstance(padding, str):
        return x, per_axis(padding, len(steps))
    if padding not in ("same", "valid") or (padding == "same" and set(steps) != {1}):
        what = f"not {padding!r}, stride {steps}"
        raise ArgumentError(f"padding is a number, one for each axis, 'valid', or with stride 1 'same'; {what}")
    reach = [d * (k - 1) if padding == "same" else 0 for d, k in zip(spread, kernel, strict=False)]
    if any(r % 2 for r in reach):
        x = pad(x, ((0, 0), (0, 0), *[(0, r % 2) for r in reach]))
    return x, tuple(r // 2 for r in reach)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation: x (N, C, L), weight (F, C / groups, K), bias (F) to (N, F, OL).

    It is `conv2d` of pictures of one row.  Raises ShapeError for other ranks.

    >>> import minitensor as mt
    >>> conv1d(mt.asarray([[[1.0, 2.0, 4.0]]]), mt.asarray([[[1.0, -1.0]]])).tolist()
    [[[-1.0, -2.0]]]
    """
    rows, taps = _as_rows("conv1d takes (N, C, L) and (F, C/groups, K)", x, weight)
    around = padding if isinstance(padding, str) else _in_row(padding, 0)
    return squeeze(conv2d(rows, taps, bias, _in_row(stride), around, _in_row(dilation), groups), axis=2)


def _as_rows(what: str, *tensors: Tensor) -> list[Tensor]:
    """(N, C, L) as pictures of one row, (N, C, 1, L).  Raises ShapeError for other ranks."""
    given = [as_tensor(x) for x in tensors]
    if any(x.ndim != 3 for x in given):
        raise ShapeError(f"{what}, not {', '.join(str(x.shape) for x in given)}")
    return [expand_dims(x, axis=2) for x in given]


def _in_row(value: Size, across: int = 1) -> tuple[int, ...]:
    """A number along a row as that of both axes of a picture."""
    return (across, *per_axis(value, 1))


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The transpose of `conv2d` as a linear map: x (N, C, H, W), weight (C, F / groups, KH, KW) to (N, F, OH, OW).

    OH = (H − 1)·stride − 2·padding + dilation·(KH − 1) + output_padding + 1.

    >>> import minitensor as mt
    >>> conv_transpose2d(mt.ones((1, 1, 1, 2)), mt.ones((1, 1, 1, 2)), stride=2)
    tensor([[[[1., 1., 1., 1.]]]])

    Raises ShapeError where the channels do not fit, or `output_padding` is not below stride or dilation.
    """
    x, weight = as_tensor(x), as_tensor(weight)
    steps, pads, extra, spread = (per_axis(value, 2) for value in (stride, padding, output_padding, dilation))
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"conv_transpose2d takes (N, C, H, W) and (C, F/groups, KH, KW), not {x.shape}, {weight.shape}"
        )
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, steps, spread, strict=True)):
        raise ShapeError(f"output_padding {extra} must be below stride {steps} or dilation {spread}")
    size = tuple(
        (x.shape[2 + a] - 1) * steps[a] - 2 * pads[a] + spread[a] * (weight.shape[2 + a] - 1) + extra[a] + 1
        for a in (0, 1)
    )
    result = apply(
        convolution.conv2d_input_grad,
        x,
        weight,
        shape=(x.shape[0], weight.shape[1] * groups, *size),
        stride=steps,
        padding=pads,
        dilation=spread,
        groups=groups,
    )
    return result if bias is None else result + reshape(bias, (1, -1, 1, 1))


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The transpose of `conv1d`: x (N, C, L), weight (C, F / groups, K) to (N, F, OL), by `conv_transpose2d`."""
    rows, taps = _as_rows("conv_transpose1d takes (N, C, L) and (C, F/groups, K)", x, weight)
    around, extra = _in_row(padding, 0), _in_row(output_padding, 0)
    result = conv_transpose2d(rows, taps, bias, _in_row(stride), around, extra, groups, _in_row(dilation))
    return squeeze(result, axis=2)


def causal_mask(queries: int, keys: int) -> Tensor:
    """bool (queries, keys): whether query i may look at key j, which is j ≤ i.

    >>> causal_mask(2, 3).tolist()
    [[True, False, False], [True, True, False]]
    """
    return expand_dims(arange(queries), 1) >= arange(keys)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    *,
    is_causal: bool = False,
) -> Tensor:
    """softmax(Q Kᵀ·scale) V (Vaswani and others 2017): query (..., L, D), key (..., S, D), value (..., S, E).

    mask: bool, broadcast to (..., L, S), true where a query may look; or numbers that are added to the scores.
    scale: 1/√D if None.  is_causal: query i looks at keys 0 … i, of those that the mask lets it see.  A row that may
    look nowhere gives NaN.

    >>> import minitensor as mt
    >>> q, k, v = mt.zeros((1, 2)), mt.ones((2, 2)), mt.asarray([[1.0], [3.0]])
    >>> scaled_dot_product_attention(q, k, v).tolist()
    [[2.0]]
    >>> scaled_dot_product_attention(q, k, v, mask=mt.asarray([[False, True]])).tolist()
    [[3.0]]
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    if is_causal:
        past = causal_mask(query.shape[-2], key.shape[-2])
        mask = past if mask is None else mask & past if mask.dtype.kind == "b" else where(past, mask, -math.inf)
    scores = matmul(query, key.mT) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    return matmul(softmax(scores, -1), value)


def max_pool1d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The largest element of each window of (N, C, L): `max_pool2d` of pictures of one row."""
    return _pool_rows(max_pool2d, x, kernel_size, stride, padding)


def avg_pool1d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The mean of each window of (N, C, L), the zeros of the padding counted."""
    return _pool_rows(avg_pool2d, x, kernel_size, stride, padding)


def _pool_rows(pool: Callable[..., Tensor], x: Tensor, kernel_size: Size, stride: Size | None, padding: Size) -> Tensor:
    (rows,) = _as_rows("pooling of rows takes (N, C, L)", x)
    step = None if stride is None else _in_row(stride)
    return squeeze(pool(rows, _in_row(kernel_size), step, _in_row(padding, 0)), axis=2)


def max_pool2d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The largest element of each window of (N, C, H, W); windows are `stride` apart (their own size if None)."""
    kernel = per_axis(kernel_size, 2)
    step = kernel if stride is None else per_axis(stride, 2)
    return apply(pooling.max_pool2d, x, kernel=kernel, stride=step, padding=per_axis(padding, 2))


def avg_pool2d(x: Tensor, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> Tensor:
    """The mean of each window of (N, C, H, W), the zeros of the padding counted."""
    kernel = per_axis(kernel_size, 2)
    step = kernel if stride is None else per_axis(stride, 2)
    sums = apply(pooling.sum_pool2d, x, kernel=kernel, stride=step, padding=per_axis(padding, 2))
    return sums * (1.0 / (kernel[0] * kernel[1]))


def one_hot(indices: Tensor, classes: int) -> Tensor:
    """float32 (..., classes): 1 where the class is the index, 0 elsewhere."""
    indices = as_tensor(indices)
    return (expand_dims(indices, -1) == arange(classes, dtype=indices.dtype)).astype("float32")
