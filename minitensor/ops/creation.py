"""Creation: operations without tensor inputs.

In: Python scalars and attributes.  Out: records.
Invariant: a constant made inside a co-executed step is an operation of its graph, not something to feed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang.tree import Def
from minitensor.dispatch import apply
from minitensor.dtypes import DType
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Attributes, OpDef, Operand, Scalar, TensorSpec, register
from minitensor.ops.shapes import Shape


def _full_infer(value: Operand, *, shape: Shape, dtype: DType) -> TensorSpec:
    return TensorSpec(tuple(shape), dtype)


def _full_comprehension(value: Scalar, *, shape: Shape, dtype: DType) -> Def:
    at = c.indices(len(shape))
    return c.definition("full", (value,), [c.assign("r0", at, c.ex("x0"), c.ranges(at, shape))], scalar=dtype)


full = register(
    OpDef("full", _full_infer, lambda value, *, shape, dtype: np.full(shape, value, dtype), None, _full_comprehension)
)


# --- sequences and diagonals -----------------------------------------------------------------------------


def _arange_infer(start: Operand, step: Operand, *, length: int, dtype: DType) -> TensorSpec:
    return TensorSpec((length,), dtype)


def _arange_eager(start: Any, step: Any, *, length: int, dtype: DType) -> Any:
    count = np.arange(length, dtype=dtype if dtype.kind in "iu" else np.float64)
    return (start + count * dtype.type(step) if dtype.kind in "iu" else start + count * step).astype(dtype)


def _arange_comprehension(start: Scalar, step: Scalar, *, length: int | str, dtype: DType) -> Def:
    i = c.indices(1)[0]
    work = dtype if dtype.kind in "iu" else np.dtype(np.float64)
    value = c.binary("+", c.ex("x0"), c.binary("*", c.cast(work, i), c.ex("x1")))
    statement = c.assign("r0", (i,), c.cast(dtype, value, work), c.ranges((i,), (length,)))
    return c.definition("arange", (start, step), [statement], scalar=work)


arange = register(OpDef("arange", _arange_infer, _arange_eager, None, _arange_comprehension))


def _eye_comprehension(*, shape: Shape, k: int, dtype: DType) -> Def:
    i, j = c.indices(2)
    value = c.select(c.binary("==", j, c.add(i, k)), c.constant(1, dtype), c.constant(0, dtype))
    return c.definition("eye", (), [c.assign("r0", (i, j), value, c.ranges((i, j), shape))])


eye = register(
    OpDef(
        "eye",
        lambda *, shape, k, dtype: TensorSpec(tuple(shape), dtype),
        lambda *, shape, k, dtype: np.eye(shape[0], shape[1], k=k, dtype=dtype),
        None,
        _eye_comprehension,
    )
)


def _triangle_comprehension(x: TensorSpec, *, k: int, lower: bool) -> Def:
    at = c.indices(len(x.shape))
    inside = c.binary("<=" if lower else ">=", at[-1], c.add(at[-2], k))
    value = c.select(inside, c.access("x0", at), c.constant(0, x.dtype))
    return c.definition("triangle", (x,), [c.assign("r0", at, value)])


def _triangle_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return (apply(triangle, gradients[0], **attributes),)


triangle = register(
    OpDef(
        "triangle",
        lambda x, *, k, lower: x,
        lambda x, *, k, lower: np.tril(x, k) if lower else np.triu(x, k),
        _triangle_vjp,
        _triangle_comprehension,
    )
)
