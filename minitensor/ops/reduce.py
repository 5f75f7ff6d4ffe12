"""Reductions along axes.

In: one tensor, `axis` (a rising tuple of axes, counted from the front) and `keepdims`.  Out: records.
Invariant: the comprehension reduces in the order of the elements; NumPy sums pairwise, so the two agree
within the error bound of a sum, not to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr, ReduceOp
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_accumulator
from minitensor.ops import comprehend as c
from minitensor.ops.elementwise import equal
from minitensor.ops.families import truth
from minitensor.ops.movement import astype, broadcast_to, reshape
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, VjpRule, register
from minitensor.ops.shapes import reduced_shape
from minitensor.tensor import Tensor

Axes = tuple[int, ...]


def reduction(
    name: str,
    function: Callable[..., Any],
    op: ReduceOp,
    vjp: VjpRule | None = None,
    *,
    result: Callable[[DType], DType] = lambda dtype: dtype,
    element: Callable[[Expr, DType], Expr] | None = None,
) -> OpDef:
    """A reduction by an associative operator of the language; `element` prepares each element."""

    def infer(x: TensorSpec, *, axis: Axes, keepdims: bool) -> TensorSpec:
        return TensorSpec(reduced_shape(x.shape, axis, keepdims), result(x.dtype))

    def eager(x: Any, *, axis: Axes, keepdims: bool) -> Any:
        return function(x, axis, keepdims)

    def comprehension(x: TensorSpec, *, axis: Axes, keepdims: bool) -> Def:
        at, to = c.indices(len(x.shape)), result(x.dtype)
        c.need_numbers(name, to)
        value = element(c.access("x0", at), x.dtype) if element else c.cast(to, c.access("x0", at), x.dtype)
        statement = c.reduce(op, "r0", reduced_point(at, axis, keepdims), value)
        return c.definition(name, (x,), [statement])

    return register(OpDef(name, infer, eager, vjp, comprehension))


def reduced_point(at: tuple[Any, ...], axis: Axes, keepdims: bool) -> list[Any]:
    """Where the element at `at` goes to."""
    if keepdims:
        return [c.number(0) if k in axis else index for k, index in enumerate(at)]
    return [index for k, index in enumerate(at) if k not in axis]


def spread(y: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """A reduced tensor with 1 in the places of the reduced axes: it broadcasts against `x`."""
    return y if keepdims else apply(reshape, y, shape=reduced_shape(x.shape, axis, True))


def _sum_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x = inputs[0]
    return (apply(broadcast_to, spread(gradients[0], x, **attributes), shape=x.shape),)


def _sum_eager(x: Any, axis: Any, keepdims: Any) -> Any:
    if axis == ():  # nothing is added up, not even the 0 that NumPy begins with, which takes the sign of -0.0
        return x.astype(to_accumulator(x.dtype))
    return np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=to_accumulator(x.dtype))


sum_ = reduction(
    "sum",
    _sum_eager,
    "+",
    _sum_vjp,
    result=to_accumulator,
)


def _extreme_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    """The gradient goes to the elements that are the extreme, in equal shares."""
    (g,), (x,), (y,) = gradients, inputs, outputs
    hit = apply(astype, apply(equal, x, spread(y, x, **attributes)), dtype=x.dtype)
    count = apply(sum_, hit, axis=attributes["axis"], keepdims=True)
    return (hit * (spread(g, x, **attributes) / count),)


max_ = reduction(
    "max", lambda x, axis, keepdims: np.maximum.reduce(x, axis=axis, keepdims=keepdims), "max", _extreme_vjp
)
min_ = reduction(
    "min", lambda x, axis, keepdims: np.minimum.reduce(x, axis=axis, keepdims=keepdims), "min", _extreme_vjp
)

# --- truth -----------------------------------------------------------------------------------------------


def _quantifier(name: str, function: Callable[..., Any], op: ReduceOp) -> OpDef:
    """`any` and `all`: the language reduces no bool, so 0 and 1 are reduced by max or min."""

    def infer(x: TensorSpec, *, axis: Axes, keepdims: bool) -> TensorSpec:
        return TensorSpec(reduced_shape(x.shape, axis, keepdims), np.dtype(bool))

    def eager(x: Any, *, axis: Axes, keepdims: bool) -> Any:
        return function(x, axis=axis, keepdims=keepdims)

    def comprehension(x: TensorSpec, *, axis: Axes, keepdims: bool) -> Def:
        at = c.indices(len(x.shape))
        point = reduced_point(at, axis, keepdims)
        flag = c.select(truth(c.access("x0", at), x.dtype), c.number(1), c.number(0))
        left = c.indices(len(point), start=len(at))
        extents = reduced_shape(x.shape, axis, keepdims)
        found = c.assign("r0", left, c.binary(">", c.access("t0", left), 0), c.ranges(left, extents))
        return c.definition(name, (x,), [c.reduce(op, "t0", point, flag), found])

    return register(OpDef(name, infer, eager, None, comprehension))


any_ = _quantifier("any", np.any, "max")
all_ = _quantifier("all", np.all, "min")

# --- where the extreme stands ----------------------------------------------------------------------------


def _arg_extreme(name: str, function: Callable[..., Any], op: ReduceOp) -> OpDef:
    """The first position of the extreme along one axis; a NaN counts as the extreme."""

    def infer(x: TensorSpec, *, axis: int, keepdims: bool) -> TensorSpec:
        return TensorSpec(reduced_shape(x.shape, (axis,), keepdims), np.dtype(np.int64))

    def eager(x: Any, *, axis: int, keepdims: bool) -> Any:
        return function(x, axis=axis, keepdims=keepdims)

    def comprehension(x: TensorSpec, *, axis: int, keepdims: bool) -> Def:
        at = c.indices(len(x.shape))
        value, extent = c.access("x0", at), c.ex(x.shape[axis])
        if x.dtype.kind == "b":
            value = c.cast(np.dtype(np.int32), value)
        inner = [i for d, i in enumerate(at) if d != axis]
        best = c.binary("==", value, c.access("t0", inner))
        hit = c.binary("||", best, c.binary("!=", value, value)) if x.dtype.kind == "f" else best
        position = c.cast(np.dtype(np.int64), c.select(hit, at[axis], extent))
        first = c.reduce("min", "r0", reduced_point(at, (axis,), keepdims), position)
        return c.definition(name, (x,), [c.reduce(op, "t0", inner, value), first])

    return register(OpDef(name, infer, eager, None, comprehension))


argmax = _arg_extreme("argmax", np.argmax, "max")
argmin = _arg_extreme("argmin", np.argmin, "min")
