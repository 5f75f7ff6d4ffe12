"""What records that work along axes share: the points of their comprehensions, and how their gradients are taken.

In: a shape and the axes that a row runs along.  Out: statements over points and rows.
Invariant: a gradient record is run only where no gradient of its result is wanted; where one is, its composition
is differentiated instead (`gradient_by`).  That is why gradient records have no vjp rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from comprehension.lang.tree import Expr, ReduceOp, Statement
from minitensor.dispatch import apply, apply_several
from minitensor.errors import DTypeError
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import OpDef, TensorSpec
from minitensor.ops.reduce import sum_
from minitensor.ops.shapes import Shape
from minitensor.tensor import Tensor
from minitensor.value import local


def need_float(name: str, *dtypes: np.dtype[Any]) -> None:
    """Raises DTypeError for anything but floating-point numbers."""
    if any(dtype.kind != "f" for dtype in dtypes):
        raise DTypeError(f"{name} takes floating-point tensors, not {', '.join(map(str, dtypes))}")


def gradient_by(op: OpDef, *inputs: Any, **attributes: Any) -> tuple[Tensor, ...]:
    """The outputs of a gradient record; by its composition where they must be differentiable themselves."""
    if local.grad_enabled:
        assert op.composition is not None
        result = op.composition(*inputs, **attributes)
        return result if isinstance(result, tuple) else (result,)
    return apply_several(op, *inputs, **attributes) if op.outputs > 1 else (apply(op, *inputs, **attributes),)


def total(x: Tensor, axes: Sequence[int], keepdims: bool = True) -> Tensor:
    """The sum along axes."""
    return apply(sum_, x, axis=tuple(axes), keepdims=keepdims)


class Rows:
    """`at`: a point of the shape; `row`: the point without the axes; `inner`: the axes alone.

    Every statement says over which extents it runs, so that a reader of a def need not infer them from temporaries.
    """

    def __init__(self, shape: Shape, axes: Sequence[int]) -> None:
        self.shape = shape
        self.at = c.indices(len(shape))
        self.axes = tuple(axes)
        self.others = tuple(d for d in range(len(shape)) if d not in axes)
        self.row, self.inner = (tuple(self.at[d] for d in some) for some in (self.others, self.axes))

    def each(self, target: str, value: Expr) -> Statement:
        """`target` at every point."""
        return c.assign(target, self.at, value, c.ranges(self.at, self.shape))

    def per_row(self, target: str, value: Expr) -> Statement:
        """`target` for every row."""
        return c.assign(target, self.row, value, c.ranges(self.row, [self.shape[d] for d in self.others]))

    def over_row(self, op: ReduceOp, target: str, value: Expr) -> Statement:
        """`target` for every row, reduced along it."""
        return c.reduce(op, target, self.row, value, c.ranges(self.at, self.shape))

    def over_rows(self, op: ReduceOp, target: str, value: Expr) -> Statement:
        """`target` for every place in a row, reduced over the rows."""
        return c.reduce(op, target, self.inner, value, c.ranges(self.at, self.shape))

    def read(self, name: str, spec: TensorSpec | None = None, to: np.dtype[Any] | None = None) -> Expr:
        """A tensor at the point, an operand in the dtype `to`."""
        return self._read(name, self.at, spec, to)

    def read_row(self, name: str, spec: TensorSpec | None = None, to: np.dtype[Any] | None = None) -> Expr:
        """A tensor at the row."""
        return self._read(name, self.row, spec, to)

    def read_inner(self, name: str, spec: TensorSpec, to: np.dtype[Any]) -> Expr:
        """A tensor at the place in the row."""
        return self._read(name, self.inner, spec, to)

    def _read(self, name: str, at: Sequence[Expr], spec: TensorSpec | None, to: np.dtype[Any] | None) -> Expr:
        value = c.access(name, at)
        return value if spec is None or to is None else c.cast(to, value, spec.dtype)

    def length(self, dtype: np.dtype[Any]) -> Expr:
        """How many elements a row has, in a dtype."""
        extents = [self.shape[a] for a in self.axes]
        known = prod(extent for extent in extents if isinstance(extent, int))
        symbols = [extent for extent in extents if isinstance(extent, str)]
        if not symbols:
            return c.constant(known, dtype)
        result: Expr = c.ex(known)
        for symbol in symbols:
            result = c.mul(result, symbol)
        return c.cast(dtype, result)
