"""Decompositions and solutions: opaque operations on stacks of matrices.

In: tensors of at least two dimensions.  Out: records.
Invariant: they may fail on values (a singular matrix), so co-execution treats each as a fence.  What is for Hermitian
matrices takes the Hermitian part of its operand, so that it is one function of all elements, with one gradient.
Sources of the derivatives: Giles 2008, "An extended collection of matrix derivative results"; of `qr` and `svd` Walter
and Lehmann 2010 (arXiv 1009.6112) and Townsend 2016, "Differentiating the singular value decomposition".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minitensor.dispatch import apply
from minitensor.dtypes import to_float, to_real
from minitensor.errors import GradientError
from minitensor.ops.contract import matmul, transposed
from minitensor.ops.creation import eye, triangle
from minitensor.ops.elementwise import conj_of, imag, real
from minitensor.ops.movement import reshape
from minitensor.ops.opdef import Attributes, InferRule, OpDef, TensorSpec, VjpRule, register
from minitensor.ops.reduce import sum_
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
    (g,), (x,) = gradients, inputs
    return (apply(reshape, g, shape=(*g.shape, 1, 1)) * conj_of(apply(cofactors, x)),)


def _cofactors_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    """Of det(x) x⁻ᵀ, which is another expression for them where x has an inverse."""
    (g,), (x,), (c,) = gradients, inputs, outputs
    inverse = _adjoint(apply(inv, x))
    met = apply(sum_, g * conj_of(c), axis=(-2, -1), keepdims=True)
    return (met * inverse - _product(inverse, transposed(g), conj_of(c)),)


def _solve_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (a, b), (y,) = gradients, inputs, outputs
    if b.ndim > 1:
        pulled = apply(solve, _adjoint(a), g)
        return (-_product(pulled, _adjoint(y)), pulled)
    column = apply(solve, _adjoint(a), apply(reshape, g, shape=(*g.shape, 1)))
    row = apply(reshape, conj_of(y), shape=(*y.shape[:-1], 1, y.shape[-1]))
    return (-(column * row), apply(reshape, column, shape=g.shape))


def _hermitian_part(x: Tensor) -> Tensor:
    return (x + _adjoint(x)) * 0.5


def _unit(x: Tensor) -> Tensor:
    """The unit matrix for stacks like x."""
    return apply(eye, shape=x.shape[-2:], k=0, dtype=to_real(x.dtype))


def _row(v: Tensor) -> Tensor:
    """One number for each column of a matrix."""
    return apply(reshape, v, shape=(*v.shape[:-1], 1, v.shape[-1]))


def _column(v: Tensor) -> Tensor:
    """One number for each row of a matrix."""
    return apply(reshape, v, shape=(*v.shape, 1))


def _divided_right(x: Tensor, y: Tensor) -> Tensor:
    """x y⁻¹."""
    return _adjoint(apply(solve, _adjoint(y), _adjoint(x)))


def _cholesky_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    lower, g = (_adjoint(t) if attributes["upper"] else t for t in (outputs[0], gradients[0]))
    met = _product(_adjoint(lower), g)
    half = apply(triangle, met, k=0, lower=True) - met * _unit(met) * 0.5
    return (_hermitian_part(_divided_right(apply(solve, _adjoint(lower), half), lower)),)


def _slogdet_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (of_sign, of_log), (x,), (sign, _) = gradients, inputs, outputs
    scale = of_log
    if of_sign is not None and x.dtype.kind == "c":  # d sign = i·sign·Im(tr(x⁻¹ dx)); real signs are steps
        turn = apply(imag, conj_of(of_sign) * sign) * -1j
        scale = turn if scale is None else scale + turn
    if scale is None:
        return (x * 0,)
    return (apply(reshape, scale, shape=(*scale.shape, 1, 1)) * _adjoint(apply(inv, x)),)


def _eigh_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (of_values, of_vectors), (w, v) = gradients, outputs
    unit = _unit(v)
    middle = None if of_values is None else unit * _row(of_values)
    if of_vectors is not None:
        turned = _product(_adjoint(v), of_vectors) / (_row(w) - _column(w) + unit) * (1.0 - unit)
        middle = turned if middle is None else middle + turned
    assert middle is not None
    return (_hermitian_part(_product(v, middle.astype(v.dtype), _adjoint(v))),)


def _qr_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (of_q, of_r), (x,), (q, r) = gradients, inputs, outputs
    if r.shape[-2] != r.shape[-1]:
        raise GradientError(f"qr of {x.shape} in mode {attributes['mode']!r} has no gradient: its R is not square")
    skew = x * 0 if of_q is None else of_q
    met = None if of_r is None else _product(r, _adjoint(of_r))
    if of_q is not None:
        own = _product(_adjoint(of_q), q)
        met = -own if met is None else met - own
    assert met is not None
    below = apply(triangle, met, k=-1, lower=True)
    symmetric = below + _adjoint(below) + apply(real, met * _unit(met))
    return (_divided_right(skew + _product(q, symmetric), _adjoint(r)),)


def _svd_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (of_u, of_s, of_vh), (x,), (u, s, vh) = gradients, inputs, outputs
    if of_u is None and of_vh is None:
        least = s.shape[-1]
        return (_product(u[..., :, :least] * _row(of_s), vh[..., :least, :]),)
    if x.dtype.kind == "c":
        raise GradientError("the singular vectors of complex matrices have no gradient: only their values have")
    if u.shape[-1] != vh.shape[-2]:
        raise GradientError(f"svd of {x.shape} has no gradient with full matrices: use full_matrices=False")
    unit = _unit(_product(vh, transposed(vh)))
    apart = _row(s * s) - _column(s * s) + unit
    middle = unit * _row(s * 0 if of_s is None else of_s)
    beside = None
    if of_u is not None:
        met = _product(transposed(u), of_u)
        middle = middle + (met - transposed(met)) / apart * _row(s)
        beside = _product((of_u - _product(u, met)) / _row(s), vh)
    if of_vh is not None:
        met = _product(vh, transposed(of_vh))
        middle = middle + (met - transposed(met)) / apart * _column(s)
        over = _product(u / _row(s), of_vh - _product(transposed(met), vh))
        beside = over if beside is None else beside + over
    assert beside is not None
    return (_product(u, middle, vh) + beside,)


def _of_hermitian(function: Callable[..., Any]) -> Callable[..., Any]:
    def of_part(x: Any, **attributes: Any) -> Any:
        return function((x + np.conj(np.swapaxes(x, -1, -2))) / 2, **attributes)

    return of_part


def _cofactors(x: Any) -> Any:
    """For x = u s vʰ, of any rank: det(u) det(vʰ) times conj(u) p conj(vʰ), where p has the products of all other s."""
    u, s, vh = np.linalg.svd(x)
    others = np.where(np.eye(s.shape[-1], dtype=bool), 1, s[..., None, :]).prod(axis=-1, dtype=s.dtype)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.conj(u) * others[..., None, :] @ np.conj(vh) * sign[..., None, None]


def _solve(a: Any, b: Any) -> Any:
    return np.linalg.solve(a, b[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


inv = _opaque("inv", _same, np.linalg.inv, _inv_vjp)
cofactors = _opaque("cofactors", _same, _cofactors, _cofactors_vjp)
det = _opaque("det", _scalar, np.linalg.det, _det_vjp)
solve = _opaque("solve", _solve_infer, _solve, _solve_vjp)
cholesky = _opaque("cholesky", lambda x, *, upper: _same(x), _of_hermitian(np.linalg.cholesky), _cholesky_vjp)
slogdet = _opaque("slogdet", _slogdet_infer, np.linalg.slogdet, _slogdet_vjp, outputs=2)
eigh = _opaque("eigh", _eigh_infer, _of_hermitian(np.linalg.eigh), _eigh_vjp, outputs=2)
qr = _opaque("qr", _qr_infer, np.linalg.qr, _qr_vjp, outputs=2)
svd = _opaque("svd", _svd_infer, np.linalg.svd, _svd_vjp, outputs=3)
