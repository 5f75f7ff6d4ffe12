"""The sum of the squares of several tensors: one number, of which the norm over all gradients is the root.

In: tensors of one floating-point dtype, of any shapes.  Out: a record; its result has no dimensions.
Invariant: each tensor's sum is rounded by itself, then they are added in order.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.errors import DTypeError
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.reduce import sum_
from minitensor.ops.rows import need_float
from minitensor.tensor import Tensor


def _infer(*tensors: TensorSpec) -> TensorSpec:
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) != 1:
        raise DTypeError(f"square_sum takes tensors of one dtype, not {', '.join(sorted(map(str, dtypes)))}")
    need_float("square_sum", *dtypes)
    return TensorSpec((), tensors[0].dtype)


def _eager(*tensors: Any) -> Any:
    dtype = _infer(*tensors).dtype
    sums = [np.add.reduce(np.multiply(x, x), axis=None) for x in tensors]
    return np.asarray(reduce(np.add, sums), dtype)


def _composition(*tensors: Tensor) -> Tensor:
    return reduce(lambda a, b: a + b, [apply(sum_, x * x, axis=tuple(range(x.ndim)), keepdims=False) for x in tensors])


def _vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,) = gradients
    return tuple(x * (g * 2.0) if x.requires_grad else None for x in inputs)


def _comprehension(*tensors: TensorSpec) -> Def:
    _infer(*tensors)
    statements, total = [], None
    for k, x in enumerate(tensors):
        at = c.indices(len(x.shape))
        square = c.binary("*", c.access(f"x{k}", at), c.access(f"x{k}", at))
        summed = c.reduce("+", f"t{k}", (), square, c.ranges(at, x.shape))
        statements.append(summed if at else c.assign(f"t{k}", (), square))
        found: Expr = c.access(f"t{k}", ())
        total = found if total is None else c.binary("+", total, found)
    assert total is not None
    return c.definition("square_sum", tensors, [*statements, c.assign("r0", (), total)])


square_sum = register(OpDef("square_sum", _infer, _eager, _vjp, _comprehension, composition=_composition))
