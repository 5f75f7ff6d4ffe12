"""`mt.linalg`: the array standard's linear algebra extension.

In: stacks of matrices.  Out: tensors, or named tuples of them.
Invariant: decompositions are opaque records of `ops.linalg`; everything else is a composition.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, Never

from minitensor import other_names
from minitensor.creation import arange, as_integer, eye
from minitensor.dispatch import apply, apply_several, as_tensor
from minitensor.dtypes import finfo
from minitensor.elementwise import abs as absolute, conj, sqrt, where
from minitensor.errors import ArgumentError, ShapeError
from minitensor.linear_algebra import matmul, outer, tensordot, vecdot
from minitensor.manipulation import broadcast_arrays, expand_dims, matrix_transpose, moveaxis, reshape, roll
from minitensor.ops import linalg as ops
from minitensor.ops.analytic import power
from minitensor.ops.indexing import gather
from minitensor.ops.shapes import normalize_axes, normalize_axis
from minitensor.statistics import count_nonzero, max as largest, min as smallest, sum as total
from minitensor.tensor import Tensor

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _square(x: Tensor, what: str) -> Tensor:
    """A stack of square matrices.  Raises ShapeError for other shapes."""
    x = as_tensor(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{what} takes square matrices, not shape {x.shape}")
    return x


# --- decompositions and solutions ------------------------------------------------------------------------


def inv(x: Tensor, /) -> Tensor:
    """The inverse matrices.  Raises LinAlgError (a ValueError) for a singular one.

    >>> import minitensor as mt
    >>> mt.linalg.inv(mt.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return apply(ops.inv, _square(x, "inv"))


def det(x: Tensor, /) -> Tensor:
    """The determinants.  Their gradients hold for singular matrices too; second derivatives need an inverse."""
    return apply(ops.det, _square(x, "det"))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solutions of x1 y = x2; x2 is one vector, or a stack of matrices.  Raises LinAlgError."""
    return apply(ops.solve, _square(x1, "solve"), as_tensor(x2))


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor of positive definite matrices.  Raises LinAlgError for another."""
    return apply(ops.cholesky, _square(x, "cholesky"), upper=upper)


def slogdet(x: Tensor, /) -> SlogdetResult:
    """Sign and logarithm of the magnitude of the determinants."""
    return SlogdetResult(*apply_several(ops.slogdet, _square(x, "slogdet")))


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues in rising order and eigenvectors of Hermitian matrices."""
    return EighResult(*apply_several(ops.eigh, _square(x, "eigh")))


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues in rising order of Hermitian matrices."""
    return eigh(x).eigenvalues


def qr(x: Tensor, /, *, mode: str = "reduced") -> QRResult:
    """Orthonormal columns and an upper triangle whose product is x; `mode` is "reduced" or "complete"."""
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f"qr's mode is 'reduced' or 'complete', not {mode!r}")
    return QRResult(*apply_several(ops.qr, x, mode=mode))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values in falling order, with left and (adjoint) right singular vectors."""
    return SVDResult(*apply_several(ops.svd, x, full_matrices=full_matrices))


def svdvals(x: Tensor, /) -> Tensor:
    """Singular values in falling order."""
    return svd(x, full_matrices=False).S


def _threshold(s: Tensor, x: Tensor, rtol: float | Tensor | None) -> Any:
    """Singular values below it count as 0."""
    relative: Any = max(x.shape[-2:]) * finfo(s.dtype).eps if rtol is None else rtol
    if isinstance(relative, Tensor) and relative.ndim:
        relative = expand_dims(relative, -1)
    return largest(s, axis=-1, keepdims=True) * relative if s.shape[-1] else 0.0


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values are larger than `rtol` times the largest."""
    s = svdvals(x)
    return count_nonzero(s > _threshold(s, x, rtol), axis=-1)


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """The Moore-Penrose inverses."""
    u, s, vh = svd(x, full_matrices=False)
    kept = s > _threshold(s, x, rtol)
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    return matmul(conj(matrix_transpose(vh)) * expand_dims(inverse, -2), conj(matrix_transpose(u)))


# --- compositions ----------------------------------------------------------------------------------------


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The n-th power; negative ones are those of the inverse."""
    x = _square(x, "matrix_power")
    n = as_integer("the power of a matrix", n)
    base, result = (x, None) if n >= 0 else (inv(x), None)
    n = abs(n)
    while n:
        if n & 1:
            result = base if result is None else matmul(result, base)
        base, n = (matmul(base, base), n >> 1) if n > 1 else (base, 0)
    if result is None:  # sums of no products: 0 whatever is in x
        result = matmul(x[..., :0], x[..., :0, :]) + eye(x.shape[-1], dtype=x.dtype)
    return result


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The elements on the `offset`-th diagonal of the last two dimensions."""
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"a diagonal of a tensor with shape {x.shape}: it needs two dimensions")
    rows, columns = x.shape[-2:]
    first = max(0, -offset)
    count = max(0, min(rows - first, columns - max(0, offset)))

    at = arange(count)
    last = x.ndim - 1
    return apply(gather, x, at + first, at + max(0, offset), axes=(last - 1, last), position=last - 1)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of a diagonal."""
    return total(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors with three components along `axis`."""
    x1, x2 = as_tensor(x1), as_tensor(x2)
    a, b = broadcast_arrays(x1, x2)
    place = normalize_axis(axis, a.ndim)
    if a.shape[place] != 3 or any(x.shape[normalize_axis(axis, x.ndim)] != 3 for x in (x1, x2)):
        raise ShapeError(f"cross takes three components along {axis}, not shapes {x1.shape} and {x2.shape}")

    def turned(x: Tensor, by: int) -> Tensor:
        return roll(x, by, axis=place)

    return turned(a, -1) * turned(b, -2) - turned(a, -2) * turned(b, -1)


def vector_norm(
    x: Tensor, /, *, axis: int | Sequence[int] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """(Σ |x|^ord)^(1/ord) along `axis`; ±∞ are the extremes, 0 counts.  Where the norm is 0 so is its gradient."""
    x = as_tensor(x)
    size = absolute(x)
    if ord == inf:
        return largest(size, axis=axis, keepdims=keepdims)
    if ord == -inf:
        return smallest(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return total(size != 0, axis=axis, keepdims=keepdims).astype(size.dtype)
    if ord == 1:
        return total(size, axis=axis, keepdims=keepdims)
    sums = total(size * size if ord == 2 else apply(power, size, ord), axis=axis, keepdims=keepdims)
    nothing = sums == 0
    some = where(nothing, 1, sums)  # the branch not taken must have a slope
    return where(nothing, 0, sqrt(some) if ord == 2 else apply(power, some, 1 / ord))


def norm(
    x: Tensor,
    ord: float | str | None = None,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
) -> Tensor:
    """NumPy's norm: of vectors along one axis, of matrices along two, of all elements if neither is given.

    Orders are those of `vector_norm` and `matrix_norm`, which the array standard has instead.

    >>> import minitensor as mt
    >>> x = mt.asarray([[3.0, 4.0], [0.0, 0.0]])
    >>> mt.linalg.norm(x).item(), mt.linalg.norm(x, axis=1).tolist(), mt.linalg.norm(x, "nuc").item()
    (5.0, [5.0, 0.0], 5.0)

    Raises ShapeError (a ValueError) for an order of more than two dimensions without `axis`.
    """
    x = as_tensor(x)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if len(axes) == 1 or (axis is None and ord is None):
        if isinstance(ord, str):
            raise ArgumentError(f"order {ord!r} is of matrices; vectors have a number")
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ShapeError(f"norm of order {ord!r} over {len(axes)} dimensions of shape {x.shape}: give one axis or two")
    result = matrix_norm(moveaxis(x, axes, (-2, -1)), ord="fro" if ord is None else ord)
    return expand_dims(result, tuple(sorted(normalize_axes(axes, x.ndim)))) if keepdims else result


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:
    """Norms of matrices: "fro", "nuc", ±1 (columns), ±∞ (rows), ±2 (singular values)."""
    x = as_tensor(x)
    axes = normalize_axes((-2, -1), x.ndim)
    if ord in ("fro", None):
        return vector_norm(x, axis=axes, keepdims=keepdims)
    if ord in (1, -1, inf, -inf):
        columns = abs(float(ord)) == 1
        sums = total(absolute(x), axis=-2 if columns else -1, keepdims=True)
        extreme = (largest if float(ord) > 0 else smallest)(sums, axis=axes, keepdims=True)
    elif ord in (2, -2, "nuc"):
        rule = {2: largest, -2: smallest, "nuc": total}[ord]
        extreme = expand_dims(rule(svdvals(x), axis=-1, keepdims=True), -1)
    else:
        raise ArgumentError(f"matrix_norm has no order {ord!r}")
    return extreme if keepdims else reshape(extreme, x.shape[:-2])


def __getattr__(name: str) -> Never:
    raise other_names.missing("module 'minitensor.linalg'", name, other_names.LINALG)
