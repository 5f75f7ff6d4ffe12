"""Two-dimensional convolution: a bilinear family closed under differentiation.

In: x (N, C, H, W), weight (F, C / groups, KH, KW), output gradient (N, F, OH, OW); attributes `stride`,
`padding`, `dilation` (pairs) and `groups`.  Out: the records `conv2d` (x, weight), `conv2d_input_grad`
(gradient, weight) and `conv2d_weight_grad` (x, gradient).
Invariant: y = conv2d(x, w) is linear in both; each record's vjp is made of the other two.  The zeros around a padded
picture are values like others, also around the gradient: beside them an infinite weight makes NaN.
The eager rules are in `convolution_eager`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from comprehension.lang.tree import Clause, Def, Expr, Name, Statement
from minitensor.dispatch import apply
from minitensor.dtypes import DType
from minitensor.errors import ShapeError
from minitensor.ops import comprehend as c, convolution_eager as eager
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.phases import Phase, phases
from minitensor.ops.shapes import Dim, Shape, promote_operands, static

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """How the kernel moves: the attributes of all records here."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def extent(self, size: Dim, kernel: Dim, axis: int) -> int:
        """How many positions the kernel has along spatial axis 0 or 1.  Raises ShapeError for none."""
        size, kernel = static((size, kernel), "a spatial size of a convolution")
        return positions(size, kernel, self.stride[axis], self.padding[axis], self.dilation[axis])

    def source(self, position: Expr, offset: Expr, axis: int) -> Expr:
        """Where in x the kernel element `offset` at `position` reads: p·stride + k·dilation − padding."""
        moved = c.add(c.mul(position, self.stride[axis]), c.mul(offset, self.dilation[axis]))
        return c.sub(moved, self.padding[axis])


def positions(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many positions a kernel has along one axis.  Raises ShapeError for none."""
    if min(kernel, stride, dilation) < 1 or padding < 0:
        raise ShapeError(
            f"kernel {kernel}, stride {stride} or dilation {dilation} below 1, or padding {padding} below 0"
        )
    reach = dilation * (kernel - 1) + 1
    room = size + 2 * padding - reach
    if room < 0:
        raise ShapeError(f"a kernel that reaches over {reach} does not fit into {size} padded by {padding}")
    return room // stride + 1


def output_shape(x: Shape, weight: Shape, window: Window) -> Shape:
    """(N, F, OH, OW).  Raises ShapeError where the shapes do not fit."""
    if len(x) != 4 or len(weight) != 4:
        raise ShapeError(f"conv2d takes x (N, C, H, W) and weight (F, C/groups, KH, KW), not {x} and {weight}")
    given, channels, filters = static((x[1], weight[1], weight[0]), "the channels of a convolution")
    if given != channels * window.groups or filters % window.groups:
        raise ShapeError(f"{x[1]} channels and a weight of shape {weight} do not fit {window.groups} groups")
    return (x[0], filters, window.extent(x[2], weight[2], 0), window.extent(x[3], weight[3], 1))


def _window(attributes: Attributes) -> Window:
    names = ("stride", "padding", "dilation", "groups")
    return Window(*(attributes[name] for name in names))


# --- comprehensions --------------------------------------------------------------------------------------
#
# Indices: n batch, f filter (of all), c channel (of its group), h w positions or pixels, u v kernel elements.


def _group(index: Expr, size: int, window: Window) -> Expr:
    """The group of a filter or channel; 0 where there is one group."""
    return c.number(0) if window.groups == 1 else c.binary("/", index, size)


def _inside(row: Expr, column: Expr, height: Dim, width: Dim, window: Window) -> Expr | None:
    """Whether a pixel is in x; None where padding cannot leave it."""
    return c.all_of(
        c.within(pixel, 0, c.ex(extent))
        for pixel, extent, padding in ((row, height, window.padding[0]), (column, width, window.padding[1]))
        if padding
    )


def _names(text: str) -> list[Name]:
    return [Name(letter) for letter in text]


def _over(names: list[Name], extents: Shape) -> tuple[list[Expr], tuple[Clause, ...]]:
    """Indices and their ranges; 0 and no range along an extent of 1, so that a 1 by 1 kernel leaves a plain product."""
    one = [extent == 1 for extent in extents]
    indices: list[Expr] = [c.number(0) if alone else name for name, alone in zip(names, one, strict=True)]
    long = [(name, extent) for name, extent, alone in zip(names, extents, one, strict=True) if not alone]
    return indices, c.ranges([name for name, _ in long], [extent for _, extent in long])


def _numbers(left: TensorSpec, right: TensorSpec) -> DType:
    dtype = promote_operands((left, right))
    c.need_numbers("a convolution", dtype)
    return dtype


def _conv_comprehension(x: TensorSpec, weight: TensorSpec, **attributes: Any) -> Def:
    window, dtype = _window(attributes), _numbers(x, weight)
    shape = output_shape(x.shape, weight.shape, window)
    n, f, h, w, ch = _names("nfhwc")
    (u, v), elements = _over(_names("uv"), weight.shape[2:])
    filters = int(shape[1]) // window.groups
    row, column = window.source(h, u, 0), window.source(w, v, 1)
    channel = c.add(c.mul(_group(f, filters, window), int(weight.shape[1])), ch)
    pixel = c.cast(dtype, c.access("x0", (n, channel, row, column)), x.dtype)
    guarded = c.select(_inside(row, column, x.shape[2], x.shape[3], window), pixel, c.constant(0, dtype))
    product = c.binary("*", guarded, c.cast(dtype, c.access("x1", (f, ch, u, v)), weight.dtype))
    where = (*c.ranges((n, f, h, w, ch), (*shape, weight.shape[1])), *elements)
    return c.definition("conv2d", (x, weight), [c.reduce("+", "r0", (n, f, h, w), product, where)])


def _input_comprehension(g: TensorSpec, weight: TensorSpec, *, shape: Shape, **attributes: Any) -> Def:
    """One sum for each phase; where strides leave several, the phases are then put beside each other in the picture.

    Where the kernel meets one phase only (1×1) and all are of one size, that is one pass over the picture.
    """
    window, dtype = _window(attributes), _numbers(g, weight)
    n, ch, h, w = _names("nchw")
    sums: list[Statement] = []
    placed: list[Statement] = []
    for rows, columns in itertools.product(*(_phases_of(axis, shape, weight, window) for axis in (0, 1))):
        extents = (*shape[:2], rows.count, columns.count)
        target = f"t{len(sums)}" if window.stride != (1, 1) else "r0"
        pixels = (c.add(c.mul(h, window.stride[0]), rows.pixel), c.add(c.mul(w, window.stride[1]), columns.pixel))
        value = c.constant(0, dtype)
        if rows.taps and columns.taps:
            sums.append(_phase_sum(target, g, weight, rows, columns, extents, window))
            value = c.access(target, (n, ch, h, w))
        if target != "r0":
            placed.append(c.assign("r0", (n, ch, *pixels), value, c.ranges((n, ch, h, w), extents)))
    height, width = static(shape[2:], "a spatial size of a convolution")
    if len(sums) == 1 < len(placed) and (height % window.stride[0], width % window.stride[1]) == (0, 0):
        placed = [_spread_phase(shape, height, width, weight, window, dtype)]
    return c.definition("conv2d_input_grad", (g, weight), [*sums, *placed])


def _spread_phase(shape: Shape, height: int, width: int, weight: TensorSpec, window: Window, dtype: DType) -> Statement:
    """t0 at the pixels of the one phase that the kernel meets, 0 at the others."""
    n, ch, h, w = _names("nchw")
    (p, q), offsets = _over(_names("pq"), window.stride)
    down, across = window.stride
    (rows,), (columns,) = ([f for f in _phases_of(axis, shape, weight, window) if f.taps] for axis in (0, 1))
    met = c.all_of(c.binary("==", at, f.pixel) for at, f in ((p, rows), (q, columns)) if isinstance(at, Name))
    value = c.select(met, c.access("t0", (n, ch, h, w)), c.constant(0, dtype))
    at = (n, ch, c.add(c.mul(h, down), p), c.add(c.mul(w, across), q))
    whole = c.ranges((n, ch, h, w), (*shape[:2], height // down, width // across))
    return c.assign("r0", at, value, (*whole, *offsets))


def _phases_of(axis: int, shape: Shape, weight: TensorSpec, window: Window) -> tuple[Phase, ...]:
    size, kernel = static((shape[2 + axis], weight.shape[2 + axis]), "a spatial size of a convolution")
    return phases(size, kernel, window.stride[axis], window.padding[axis], window.dilation[axis])


def _phase_sum(
    target: str, g: TensorSpec, weight: TensorSpec, rows: Phase, columns: Phase, extents: Shape, window: Window
) -> Statement:
    """At each pixel of a phase the sum over the filters and the kernel elements that meet it."""
    n, ch, h, w, f = _names("nchwf")
    (u, v), taps = _over(_names("uv"), (rows.taps, columns.taps))
    dtype = promote_operands((g, weight))
    channels, filters = static((weight.shape[1], weight.shape[0]), "the channels of a convolution")
    filters //= window.groups
    positions, elements, inside = [], [], []
    for phase, pixel, tap, extent in ((rows, h, u, g.shape[2]), (columns, w, v, g.shape[3])):
        at = c.sub(c.add(pixel, phase.offset), c.mul(tap, phase.apart))
        positions.append(at)
        elements.append(c.add(c.mul(tap, phase.step), phase.first))
        inside += [c.binary(">=", at, 0)] if phase.lowest < 0 else []
        reached = isinstance(extent, str) or phase.offset + phase.count > extent
        inside += [c.binary("<", at, c.ex(extent))] if reached else []
    source = c.add(c.mul(_group(ch, channels, window), filters), f)
    kernel_channel = ch if window.groups == 1 else c.binary("%", ch, channels)
    upstream = c.cast(dtype, c.access("x0", (n, source, *positions)), g.dtype)
    guarded = c.select(c.all_of(inside), upstream, c.constant(0, dtype))
    factor = c.cast(dtype, c.access("x1", (source, kernel_channel, *elements)), weight.dtype)
    where = (*c.ranges((n, ch, h, w, f), (*extents, filters)), *taps)
    return c.reduce("+", target, (n, ch, h, w), c.binary("*", guarded, factor), where)


def _weight_comprehension(x: TensorSpec, g: TensorSpec, *, shape: Shape, **attributes: Any) -> Def:
    window, dtype = _window(attributes), _numbers(x, g)
    f, ch, n, h, w = _names("fcnhw")
    (u, v), elements = _over(_names("uv"), shape[2:])
    filters = int(static((shape[0],), "the filters of a convolution")[0]) // window.groups
    row, column = window.source(h, u, 0), window.source(w, v, 1)
    channel = c.add(c.mul(_group(f, filters, window), c.ex(shape[1])), ch)
    pixel = c.cast(dtype, c.access("x0", (n, channel, row, column)), x.dtype)
    guarded = c.select(_inside(row, column, x.shape[2], x.shape[3], window), pixel, c.constant(0, dtype))
    product = c.binary("*", guarded, c.cast(dtype, c.access("x1", (n, f, h, w)), g.dtype))
    where = (*c.ranges((f, ch), shape[:2]), *elements, *c.ranges((n, h, w), (g.shape[0], *g.shape[2:])))
    return c.definition("conv2d_weight_grad", (x, g), [c.reduce("+", "r0", (f, ch, u, v), product, where)])


# --- infer and vjp ---------------------------------------------------------------------------------------


def _conv_infer(x: TensorSpec, weight: TensorSpec, **attributes: Any) -> TensorSpec:
    return TensorSpec(output_shape(x.shape, weight.shape, _window(attributes)), promote_operands((x, weight)))


def _grad_infer(left: TensorSpec, right: TensorSpec, *, shape: Shape, **attributes: Any) -> TensorSpec:
    return TensorSpec(tuple(shape), promote_operands((left, right)))


def _conv_eager(x: Any, weight: Any, **attributes: Any) -> Any:
    output_shape(x.shape, weight.shape, _window(attributes))
    return eager.conv2d(x, weight, **attributes)


def _pull(g: Any, left: Any, right: Any, of_left: Any, of_right: Any) -> Any:
    """Gradients for those of the two operands that want one."""
    return (of_left(g) if left.requires_grad else None, of_right(g) if right.requires_grad else None)


def _conv_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x, weight = inputs
    return _pull(
        gradients[0],
        x,
        weight,
        lambda g: apply(conv2d_input_grad, g, weight, shape=x.shape, **attributes),
        lambda g: apply(conv2d_weight_grad, x, g, shape=weight.shape, **attributes),
    )


def _input_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g, weight), window = inputs, {k: v for k, v in attributes.items() if k != "shape"}
    return _pull(
        gradients[0],
        g,
        weight,
        lambda upstream: apply(conv2d, upstream, weight, **window),
        lambda upstream: apply(conv2d_weight_grad, upstream, g, shape=weight.shape, **window),
    )


def _weight_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (x, g), window = inputs, {k: v for k, v in attributes.items() if k != "shape"}
    return _pull(
        gradients[0],
        x,
        g,
        lambda upstream: apply(conv2d_input_grad, g, upstream, shape=x.shape, **window),
        lambda upstream: apply(conv2d, x, upstream, **window),
    )


conv2d = register(OpDef("conv2d", _conv_infer, _conv_eager, _conv_vjp, _conv_comprehension))
conv2d_input_grad = register(
    OpDef("conv2d_input_grad", _grad_infer, eager.input_grad, _input_vjp, _input_comprehension)
)
conv2d_weight_grad = register(
    OpDef("conv2d_weight_grad", _grad_infer, eager.weight_grad, _weight_vjp, _weight_comprehension)
)
