"""Creation: operations without tensor inputs.

In: Python scalars and attributes.  Out: records.
Invariant: a constant made inside a co-executed step is an operation of its graph, not something to feed.
"""

from __future__ import annotations

import numpy as np

from comprehension.lang.tree import Def
from minitensor.dtypes import DType
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Operand, OpDef, Scalar, TensorSpec, register
from minitensor.ops.shapes import Shape


def _full_infer(value: Operand, *, shape: Shape, dtype: DType) -> TensorSpec:
    return TensorSpec(tuple(shape), dtype)


def _full_comprehension(value: Scalar, *, shape: Shape, dtype: DType) -> Def:
    at = c.indices(len(shape))
    return c.definition("full", (value,), [c.assign("y0", at, c.ex("x0"), c.ranges(at, shape))], scalar=dtype)


full = register(
    OpDef("full", _full_infer, lambda value, *, shape, dtype: np.full(shape, value, dtype), None, _full_comprehension)
)
