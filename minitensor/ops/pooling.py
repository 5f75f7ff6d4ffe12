"""Pooling over windows of (N, C, H, W): sums and maxima, with what their gradients are made of.

In: pictures; attributes `kernel`, `stride`, `padding` (pairs).  Out: records.
Invariant: `sum_pool2d`/`spread_pool2d` and `max_pool2d_pick`/`max_pool2d_grad` are transposes of each other, so
the family is closed under differentiation.  Of several equal maxima of a window the first one counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr, Name, Statement, Unary
from minitensor.dispatch import apply
from minitensor.errors import ShapeError
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.phases import Phase, phases
from minitensor.ops.shapes import Shape, static

Pair = tuple[int, int]
Array = np.ndarray[Any, Any]

_N, _C, _H, _W, _U, _V = (Name(letter) for letter in "nchwuv")


def pooled_shape(shape: Shape, kernel: Pair, stride: Pair, padding: Pair) -> Shape:
    """(N, C, OH, OW).  Raises ShapeError for other ranks, and where the window does not fit."""
    if len(shape) != 4:
        raise ShapeError(f"pooling takes (N, C, H, W), not {shape}")
    if min(*kernel, *stride) < 1 or min(padding) < 0:
        raise ShapeError(f"window {kernel} or stride {stride} below 1, or padding {padding} below 0")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(f"padding {padding} is more than half of the window {kernel}")
    sizes = static(shape[2:], "a spatial size of pooling")
    result = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(sizes, kernel, stride, padding, strict=True)]
    if any(n < 1 for n in result):
        raise ShapeError(f"a window {kernel} does not fit into {sizes} padded by {padding}")
    return (*shape[:2], *result)


# --- eager -----------------------------------------------------------------------------------------------


def padded(x: Array, padding: Pair, value: Any) -> Array:
    if padding == (0, 0):
        return x
    (n, channels, height, width), (ph, pw) = x.shape, padding
    result = np.full((n, channels, height + 2 * ph, width + 2 * pw), value, x.dtype)
    result[:, :, ph : ph + height, pw : pw + width] = x
    return result


def window_slices(shape: tuple[int, ...], kernel: Pair, stride: Pair) -> Iterator[tuple[Any, ...]]:
    """For each element of the window, the pixels of a padded picture that it meets (out is `shape`)."""
    for u in range(kernel[0]):
        rows = slice(u, u + (shape[2] - 1) * stride[0] + 1, stride[0])
        for v in range(kernel[1]):
            yield (..., rows, slice(v, v + (shape[3] - 1) * stride[1] + 1, stride[1]))


def _inner(x: Array, padding: Pair) -> Array:
    (ph, pw), (height, width) = padding, x.shape[2:]
    return x if padding == (0, 0) else np.ascontiguousarray(x[:, :, ph : height - ph, pw : width - pw])


def _lowest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        return False
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _sum_eager(x: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    shape = pooled_shape(x.shape, kernel, stride, padding)
    source = padded(x, padding, 0)
    total = np.zeros(static(shape, "eager pooling"), x.dtype)
    for pixels in window_slices(total.shape, kernel, stride):
        total += source[pixels]
    return total


def _spread_eager(g: Array, *, kernel: Pair, stride: Pair, padding: Pair, shape: tuple[int, ...]) -> Array:
    (ph, pw), (height, width) = padding, shape[2:]
    result = np.zeros((*shape[:2], height + 2 * ph, width + 2 * pw), g.dtype)
    for pixels in window_slices(g.shape, kernel, stride):
        result[pixels] += g
    return _inner(result, padding)


def _max_eager(x: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    shape = static(pooled_shape(x.shape, kernel, stride, padding), "eager pooling")
    source = padded(x, padding, _lowest(x.dtype))
    slices = window_slices(shape, kernel, stride)
    best: Array = source[next(slices)].copy()
    for pixels in slices:
        np.maximum(best, source[pixels], out=best)
    return best


def _hits(x: Array, y: Array, kernel: Pair, stride: Pair, padding: Pair) -> Iterator[tuple[Any, Array]]:
    """For each element of the window, its pixels and where it is the first maximum."""
    source = padded(x, padding, _lowest(x.dtype))
    inside = padded(np.ones((1, 1, *x.shape[2:]), bool), padding, False)
    open_ = np.ones(y.shape, bool)
    for pixels in window_slices(y.shape, kernel, stride):
        part = source[pixels]
        hit = ((part == y) | (part != part)) & open_ & inside[pixels]
        open_ &= ~hit
        yield pixels, hit


def _max_grad_eager(x: Array, y: Array, g: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    (ph, pw), (height, width) = padding, x.shape[2:]
    result = np.zeros((*x.shape[:2], height + 2 * ph, width + 2 * pw), g.dtype)
    for pixels, hit in _hits(x, y, kernel, stride, padding):
        result[pixels] += np.where(hit, g, 0)
    return _inner(result, padding)


def _pick_eager(x: Array, y: Array, values: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    source = padded(values, padding, 0)
    result = np.zeros(y.shape, values.dtype)
    for pixels, hit in _hits(x, y, kernel, stride, padding):
        result += np.where(hit, source[pixels], 0)
    return result


# --- comprehensions --------------------------------------------------------------------------------------


def _pixel(axis: int, stride: Pair, padding: Pair) -> Expr:
    """The pixel under element u or v of the window at h or w."""
    position, offset = ((_H, _U), (_W, _V))[axis]
    return c.sub(c.add(c.mul(position, stride[axis]), offset), padding[axis])


def _pixel_inside(shape: Shape, stride: Pair, padding: Pair) -> Expr | None:
    return c.all_of(
        c.within(_pixel(axis, stride, padding), 0, c.ex(shape[2 + axis])) for axis in (0, 1) if padding[axis]
    )


def _read_window(name: str, shape: Shape, stride: Pair, padding: Pair) -> Expr:
    return c.access(name, (_N, _C, _pixel(0, stride, padding), _pixel(1, stride, padding)))


def _offset(kernel: Pair) -> Expr:
    """The number of a window's element, row by row."""
    return c.add(c.mul(_U, kernel[1]), _V)


def _window_ranges(out: Shape, kernel: Pair) -> Any:
    return c.ranges((_N, _C, _H, _W, _U, _V), (*out, *kernel))


def _sum_comprehension(x: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair) -> Def:
    c.need_numbers("pooling", x.dtype)
    out = pooled_shape(x.shape, kernel, stride, padding)
    inside = _pixel_inside(x.shape, stride, padding)
    value = c.select(inside, _read_window("x0", x.shape, stride, padding), c.constant(0, x.dtype))
    return c.definition("sum_pool2d", (x,), [c.reduce("+", "r0", (_N, _C, _H, _W), value, _window_ranges(out, kernel))])


def _gathered(
    name: str, g: TensorSpec, target: Shape, kernel: Pair, stride: Pair, padding: Pair, chosen: bool
) -> list[Statement]:
    """r0 at a pixel: the sum over the windows that meet it of `name`, where the window chose it; phase by phase."""
    size = static(target[2:], "a spatial size of pooling")
    sums: list[Statement] = []
    placed: list[Statement] = []
    for rows, columns in itertools.product(*(phases(size[a], kernel[a], stride[a], padding[a]) for a in (0, 1))):
        extents = (*target[:2], rows.count, columns.count)
        pixels = (c.add(c.mul(_H, stride[0]), rows.pixel), c.add(c.mul(_W, stride[1]), columns.pixel))
        value = _from_windows(name, g, rows, columns, kernel, chosen)
        if rows.taps * columns.taps > 1:
            held = "r0" if stride == (1, 1) else f"s{len(sums)}"
            where = _window_ranges(extents, (rows.taps, columns.taps))
            sums.append(c.reduce("+", held, (_N, _C, _H, _W), value, where))
            value = c.access(held, (_N, _C, _H, _W))
            if held == "r0":
                return sums
        placed.append(c.assign("r0", (_N, _C, *pixels), value, c.ranges((_N, _C, _H, _W), extents)))
    return [*sums, *placed]


def _from_windows(name: str, g: TensorSpec, rows: Phase, columns: Phase, kernel: Pair, chosen: bool) -> Expr:
    """What the window whose element (u, v) of the phases meets a pixel gives to it."""
    zero = c.constant(0, g.dtype)
    if rows.taps * columns.taps == 0:
        return zero
    single = rows.taps * columns.taps == 1
    place, element, inside = [], [], []
    for phase, pixel, tap, extent in ((rows, _H, _U, g.shape[2]), (columns, _W, _V, g.shape[3])):
        moved = c.mul(c.number(0) if single else tap, phase.apart)
        at = c.sub(c.add(pixel, phase.offset), moved)
        place.append(at)
        element.append(c.add(c.mul(c.number(0) if single else tap, phase.step), phase.first))
        inside += [c.binary(">=", at, 0)] if phase.lowest < 0 else []
        reached = isinstance(extent, str) or phase.offset + phase.count > extent
        inside += [c.binary("<", at, c.ex(extent))] if reached else []
    value: Expr = c.access(name, (_N, _C, *place))
    if chosen:
        number = c.add(c.mul(element[0], kernel[1]), element[1])
        value = c.select(c.binary("==", c.access("t0", (_N, _C, *place)), number), value, zero)
    return c.select(c.all_of(inside), value, zero)


def _spread_comprehension(g: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair, shape: Shape) -> Def:
    c.need_numbers("pooling", g.dtype)
    return c.definition("spread_pool2d", (g,), _gathered("x0", g, shape, kernel, stride, padding, False))


def _lowest_form(dtype: np.dtype[Any]) -> Expr:
    """`_lowest` as an expression: the language has no literal for an infinity, nor for what is beyond int32."""
    if dtype.kind == "f":
        return c.cast(dtype, Unary("-", c.binary("/", 1.0, 0.0)), np.dtype(np.float32))
    if dtype.kind == "u" or dtype.itemsize < 4:
        return c.constant(int(np.iinfo(dtype).min), dtype)
    lowest = c.binary("-", c.number(-(2**31) + 1), 1)
    if dtype.itemsize == 4:
        return lowest
    return c.binary("*", c.binary("*", c.cast(dtype, lowest), 65536), 65536)


def _max_comprehension(x: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair) -> Def:
    c.need_numbers("pooling", x.dtype)
    out = pooled_shape(x.shape, kernel, stride, padding)
    pixel, inside = _read_window("x0", x.shape, stride, padding), _pixel_inside(x.shape, stride, padding)
    # Outside the picture the nearest pixel would do as well; being no affine place, it took 30 times as long.
    value = c.select(inside, pixel, _lowest_form(x.dtype))
    return c.definition(
        "max_pool2d", (x,), [c.reduce("max", "r0", (_N, _C, _H, _W), value, _window_ranges(out, kernel))]
    )


def _first_hit(x: TensorSpec, out: Shape, kernel: Pair, stride: Pair, padding: Pair) -> Statement:
    """t0: the number of the first element of each window that is its maximum (x1)."""
    pixel = _read_window("x0", x.shape, stride, padding)
    best = c.binary("==", pixel, c.access("x1", (_N, _C, _H, _W)))
    hit = c.binary("||", best, c.binary("!=", pixel, pixel)) if x.dtype.kind == "f" else best
    number = c.select(hit, _offset(kernel), kernel[0] * kernel[1])
    guarded = c.select(_pixel_inside(x.shape, stride, padding), number, kernel[0] * kernel[1])
    return c.reduce("min", "t0", (_N, _C, _H, _W), guarded, _window_ranges(out, kernel))


def _max_grad_comprehension(
    x: TensorSpec, y: TensorSpec, g: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair
) -> Def:
    c.need_numbers("pooling", x.dtype, y.dtype)
    first = _first_hit(x, y.shape, kernel, stride, padding)
    gathered = _gathered("x2", g, x.shape, kernel, stride, padding, True)
    return c.definition("max_pool2d_grad", (x, y, g), [first, *gathered])


def _pick_comprehension(
    x: TensorSpec, y: TensorSpec, values: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair
) -> Def:
    c.need_numbers("pooling", x.dtype, y.dtype)
    first = _first_hit(x, y.shape, kernel, stride, padding)
    chosen = c.binary("==", c.access("t0", (_N, _C, _H, _W)), _offset(kernel))
    inside = _pixel_inside(x.shape, stride, padding)
    test = chosen if inside is None else c.binary("&&", inside, chosen)
    value = c.select(test, _read_window("x2", x.shape, stride, padding), c.constant(0, values.dtype))
    picked = c.reduce("+", "r0", (_N, _C, _H, _W), value, _window_ranges(y.shape, kernel))
    return c.definition("max_pool2d_pick", (x, y, values), [first, picked])


# --- records ---------------------------------------------------------------------------------------------


def _sum_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(spread_pool2d, gradients[0], shape=inputs[0].shape, **attributes),)


def _spread_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    window = {name: value for name, value in attributes.items() if name != "shape"}
    return (apply(sum_pool2d, gradients[0], **window),)


def _max_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(max_pool2d_grad, inputs[0], outputs[0], gradients[0], **attributes),)


def _max_grad_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (None, None, apply(max_pool2d_pick, inputs[0], inputs[1], gradients[0], **attributes))


def _pick_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (None, None, apply(max_pool2d_grad, inputs[0], inputs[1], gradients[0], **attributes))


def _pooled_infer(x: TensorSpec, *, kernel: Pair, stride: Pair, padding: Pair) -> TensorSpec:
    return TensorSpec(pooled_shape(x.shape, kernel, stride, padding), x.dtype)


def _shaped_infer(g: TensorSpec, *, shape: Shape, **window: Any) -> TensorSpec:
    return TensorSpec(tuple(shape), g.dtype)


def _grad_infer(x: TensorSpec, y: TensorSpec, g: TensorSpec, **window: Any) -> TensorSpec:
    return TensorSpec(x.shape, g.dtype)


def _pick_infer(x: TensorSpec, y: TensorSpec, values: TensorSpec, **window: Any) -> TensorSpec:
    return TensorSpec(y.shape, values.dtype)


sum_pool2d = register(OpDef("sum_pool2d", _pooled_infer, _sum_eager, _sum_vjp, _sum_comprehension))
spread_pool2d = register(OpDef("spread_pool2d", _shaped_infer, _spread_eager, _spread_vjp, _spread_comprehension))
max_pool2d = register(OpDef("max_pool2d", _pooled_infer, _max_eager, _max_vjp, _max_comprehension))
max_pool2d_grad = register(
    OpDef("max_pool2d_grad", _grad_infer, _max_grad_eager, _max_grad_vjp, _max_grad_comprehension)
)
max_pool2d_pick = register(OpDef("max_pool2d_pick", _pick_infer, _pick_eager, _pick_vjp, _pick_comprehension))
