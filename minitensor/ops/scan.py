"""Running sums and products, and the product reduction whose gradient is made of them.

In: one tensor, resolved axes.  Out: records.
Invariant: a scan is two statements - the first element, then each from the one before - in the order of
the text, which is the language's meaning of a statement that reads its own output.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from comprehension.lang.tree import BinaryOp, Clause, Def, Range
from minitensor.dispatch import apply
from minitensor.dtypes import to_accumulator
from minitensor.errors import NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.arrangement import flip, pad
from minitensor.ops.creation import eye, triangle
from minitensor.ops.elementwise import conj_of, multiply, where
from minitensor.ops.movement import permute_dims, reshape
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, VjpRule, register
from minitensor.ops.reduce import reduction, spread, sum_
from minitensor.ops.slicing import getitem
from minitensor.tensor import Tensor


def _scan(name: str, function: np.ufunc, symbol: BinaryOp, vjp: VjpRule) -> OpDef:
    def infer(x: TensorSpec, *, axis: int) -> TensorSpec:
        return TensorSpec(x.shape, to_accumulator(x.dtype))

    def eager(x: Any, *, axis: int) -> Any:
        return function.accumulate(x, axis=axis, dtype=to_accumulator(x.dtype))

    def comprehension(x: TensorSpec, *, axis: int) -> Def:
        if x.shape[axis] == 0:
            raise NoComprehension(f"{name} of no elements: there is no first one to start from")
        at, dtype = c.indices(len(x.shape)), to_accumulator(x.dtype)
        head = [c.number(0) if d == axis else i for d, i in enumerate(at)]
        previous = [c.binary("-", i, 1) if d == axis else i for d, i in enumerate(at)]
        running: tuple[Clause, ...] = (Range(at[axis].id, c.number(1), c.ex(x.shape[axis])),)
        value = c.binary(symbol, c.access("r0", previous), c.cast(dtype, c.access("x0", at), x.dtype))
        first = c.assign("r0", head, c.cast(dtype, c.access("x0", head), x.dtype))
        return c.definition(name, (x,), [first, c.assign("r0", at, value, running)])

    return register(OpDef(name, infer, eager, vjp, comprehension))


def _sum_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    axis = attributes["axis"]
    backwards = apply(flip, gradients[0], axes=(axis,))
    return (apply(flip, apply(cumulative_sum, backwards, axis=axis), axes=(axis,)),)


def _prod_scan_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    """Row k of `others` holds the running products without x[k]: quadratic in the extent, right with zeros."""
    (g,), (x,), axis = gradients, inputs, attributes["axis"]
    order = (*(d for d in range(x.ndim) if d != axis), axis)
    rows, upstream = (apply(permute_dims, t, axes=order) for t in (x, g))
    extent = x.shape[axis]
    wide = apply(reshape, rows, shape=(*rows.shape[:-1], 1, extent))
    diagonal = apply(eye, shape=(extent, extent), k=0, dtype=np.dtype(bool))
    others = apply(cumulative_prod, apply(where, diagonal, 1, wide), axis=x.ndim)
    flow = apply(reshape, upstream, shape=wide.shape) * conj_of(apply(triangle, others, k=0, lower=False))
    total = apply(sum_, flow, axis=(x.ndim,), keepdims=False)
    return (apply(permute_dims, total, axes=tuple(order.index(d) for d in range(x.ndim))),)


cumulative_sum = _scan("cumulative_sum", np.add, "+", _sum_vjp)
cumulative_prod = _scan("cumulative_prod", np.multiply, "*", _prod_scan_vjp)


def _without_self(rows: Tensor) -> Tensor:
    """Running products along the columns of a matrix, each without its own element."""
    before = apply(getitem, rows, key=(None, (0, rows.shape[1] - 1, 1)))
    return apply(cumulative_prod, apply(pad, before, 1, widths=((0, 0), (1, 0))), axis=1)


def _prod_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    """For each element the product of all others, from running products on both sides: right with zeros."""
    (g,), (x,), axis = gradients, inputs, attributes["axis"]
    if x.size == 0:
        return (x * 0,)
    order = (*(d for d in range(x.ndim) if d not in axis), *axis)
    moved = apply(permute_dims, x, axes=order)
    columns = prod(x.shape[a] for a in axis)
    rows = apply(reshape, moved, shape=(x.size // columns, columns))
    after = apply(flip, _without_self(apply(flip, rows, axes=(1,))), axes=(1,))
    others = apply(reshape, apply(multiply, _without_self(rows), after), shape=moved.shape)
    others = apply(permute_dims, others, axes=tuple(order.index(d) for d in range(x.ndim)))
    return (spread(g, x, **attributes) * conj_of(others),)


prod_ = reduction(
    "prod",
    lambda x, axis, keepdims: np.multiply.reduce(x, axis=axis, keepdims=keepdims, dtype=to_accumulator(x.dtype)),
    "*",
    _prod_vjp,
    result=to_accumulator,
)
