"""Decompositions and solutions: opaque operations on stacks of matrices.

In: tensors of at least two dimensions.  Out: records, those with one output differentiable.
Invariant: they may fail on values (a singular matrix), so co-execution treats each as a fence.
Source of the derivatives: Giles 2008, "An extended collection of matrix derivative results".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.dispatch import apply
from minitensor.dtypes import to_float, to_real
from minitensor.ops.contract import matmul, transposed
from minitensor.ops.elementwise import conj_of
from minitensor.ops.movement import reshape
from minitensor.ops.opdef import Attributes, InferRule, OpDef, TensorSpec, VjpRule, register
from minitensor.ops.shapes import Shape, broadcast, promote_operands
from minitensor.tensor import Tensor

_BECAUSE = "a decomposition: its pivots or iterations depend on values"


def _opaque(
    name: str, infer: InferRule, function: Callable[..., Any], vjp: VjpRule | None = None, outputs: int = 1
) -> OpDef:
    def eager(*operands: Any, **attributes: Any) -> Any:
        floats = [x.astype(to_float(x.dtype), copy=False) for x in operands]
        result = function(*floats, **attributes)
        return tuple(result) if outputs > 1 else result

    return register(OpDef(name, infer, eager, vjp, None, _BECAUSE, may_raise=True, outputs=outputs))


def _adjoint(x: Tensor) -> Tensor:
    """The transposed matrices, conjugated."""
    result: Tensor = conj_of(transposed(x))
    return result


def _product(*factors: Tensor) -> Tensor:
    result = factors[0]
    for factor in factors[1:]:
        result = apply(matmul, result, factor)
    return result


# --- shapes ----------------------------------------------------------------------------------------------


def _same(x: TensorSpec) -> TensorSpec:
    return TensorSpec(x.shape, to_float(x.dtype))


def _scalar(x: TensorSpec) -> TensorSpec:
    return TensorSpec(x.shape[:-2], to_float(x.dtype))


def _thin(x: TensorSpec) -> tuple[Shape, Any, Any, Any]:
    rows, columns = x.shape[-2:]
    return x.shape[:-2], rows, columns, min(int(rows), int(columns))


def _solve_infer(a: TensorSpec, b: TensorSpec) -> TensorSpec:
    dtype = to_float(promote_operands((a, b)))
    if len(b.shape) == 1:
        return TensorSpec(a.shape[:-1], dtype)
    return TensorSpec((*broadcast(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), dtype)


def _slogdet_infer(x: TensorSpec) -> tuple[TensorSpec, TensorSpec]:
    dtype = to_float(x.dtype)
    return TensorSpec(x.shape[:-2], dtype), TensorSpec(x.shape[:-2], to_real(dtype))


def _eigh_infer(x: TensorSpec) -> tuple[TensorSpec, TensorSpec]:
    dtype = to_float(x.dtype)
    return TensorSpec(x.shape[:-1], to_real(dtype)), TensorSpec(x.shape, dtype)


def _qr_infer(x: TensorSpec, *, mode: str) -> tuple[TensorSpec, TensorSpec]:
    (stack, rows, columns, least), dtype = _thin(x), to_float(x.dtype)
    inner = rows if mode == "complete" else least
    return TensorSpec((*stack, rows, inner), dtype), TensorSpec((*stack, inner, columns), dtype)


def _svd_infer(x: TensorSpec, *, full_matrices: bool) -> tuple[TensorSpec, TensorSpec, TensorSpec]:
    (stack, rows, columns, least), dtype = _thin(x), to_float(x.dtype)
    left, right = (rows, columns) if full_matrices else (least, least)
    return (
        TensorSpec((*stack, rows, left), dtype),
        TensorSpec((*stack, least), to_real(dtype)),
        TensorSpec((*stack, right, columns), dtype),
    )


# --- derivatives -----------------------------------------------------------------------------------------


def _inv_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    y = _adjoint(outputs[0])
    return (-_product(y, gradients[0], y),)


def _det_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x,), (y,) = gradients, inputs, outputs
    scale = apply(reshape, g * conj_of(y), shape=(*y.shape, 1, 1))
    return (scale * _adjoint(apply(inv, x)),)


def _solve_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (a, b), (y,) = gradients, inputs, outputs
    if b.ndim > 1:
        pulled = apply(solve, _adjoint(a), g)
        return (-_product(pulled, _adjoint(y)), pulled)
    column = apply(solve, _adjoint(a), apply(reshape, g, shape=(*g.shape, 1)))
    row = apply(reshape, conj_of(y), shape=(*y.shape[:-1], 1, y.shape[-1]))
    return (-(column * row), apply(reshape, column, shape=g.shape))


def _solve(a: Any, b: Any) -> Any:
    return np.linalg.solve(a, b[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


inv = _opaque("inv", _same, np.linalg.inv, _inv_vjp)
det = _opaque("det", _scalar, np.linalg.det, _det_vjp)
solve = _opaque("solve", _solve_infer, _solve, _solve_vjp)
cholesky = _opaque("cholesky", lambda x, *, upper: _same(x), lambda x, *, upper: np.linalg.cholesky(x, upper=upper))
slogdet = _opaque("slogdet", _slogdet_infer, np.linalg.slogdet, outputs=2)
eigh = _opaque("eigh", _eigh_infer, np.linalg.eigh, outputs=2)
qr = _opaque("qr", _qr_infer, np.linalg.qr, outputs=2)
svd = _opaque("svd", _svd_infer, np.linalg.svd, outputs=3)
