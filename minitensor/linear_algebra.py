"""Products of tensors: matmul, tensordot, vecdot, outer, einsum.

In: tensors, axes and equations as users write them.  Out: tensors.
Invariant: everything is a `matmul` or an `einsum` of `ops.contract`, between movements.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from minitensor.creation import asarray
from minitensor.dispatch import apply, as_tensor
from minitensor.errors import ShapeError
from minitensor.manipulation import broadcast_shapes, broadcast_to, expand_dims, moveaxis, permute_dims, reshape
from minitensor.ops import contract
from minitensor.ops.creation import eye
from minitensor.ops.elementwise import conj_of
from minitensor.ops.shapes import normalize_axis
from minitensor.tensor import Tensor


def matmul(x1: Any, x2: Any, /) -> Tensor:
    """The matrix product over the last two dimensions; a tensor of one dimension is a row or a column."""
    return apply(contract.matmul, x1, x2)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The product summed over pairs of dimensions: the last `axes` of x1 with the first of x2, or those named.

    >>> import minitensor as mt
    >>> mt.tensordot(mt.ones((2, 3, 4)), mt.ones((4, 3, 5)), axes=((1, 2), (1, 0))).shape
    (2, 5)
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x1.ndim, x2.ndim):
            raise ShapeError(f"tensordot of {x1.shape} and {x2.shape} over {axes} dimensions, which are not there")
        left, right = tuple(range(x1.ndim - axes, x1.ndim)), tuple(range(axes))
    else:
        left = tuple(normalize_axis(a, x1.ndim) for a in axes[0])
        right = tuple(normalize_axis(a, x2.ndim) for a in axes[1])
    if len(left) != len(right) or any(x1.shape[a] != x2.shape[b] for a, b in zip(left, right, strict=True)):
        raise ShapeError(f"tensordot of {x1.shape} and {x2.shape} over {axes}: the extents differ")
    rows = [d for d in range(x1.ndim) if d not in left]
    columns = [d for d in range(x2.ndim) if d not in right]
    shared = prod(x1.shape[a] for a in left)
    outer_shape = (*(x1.shape[d] for d in rows), *(x2.shape[d] for d in columns))
    a = reshape(permute_dims(x1, (*rows, *left)), (prod(x1.shape[d] for d in rows), shared))
    b = reshape(permute_dims(x2, (*right, *columns)), (shared, prod(x2.shape[d] for d in columns)))
    return reshape(matmul(a, b), outer_shape)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The dot product along `axis` of the broadcast tensors; the first is conjugated."""
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if axis >= 0 or axis < -min(x1.ndim, x2.ndim):
        raise ShapeError(f"vecdot's axis counts from the end and lies in both tensors, not {axis}")
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(f"vecdot of {x1.shape} and {x2.shape} along {axis}: the extents differ")
    shape = broadcast_shapes(x1.shape, x2.shape)
    a, b = (moveaxis(broadcast_to(x, shape), axis, -1) for x in (conj_of(x1), x2))
    return reshape(matmul(expand_dims(a, -2), expand_dims(b, -1)), a.shape[:-1])


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of an element of one vector with one of the other."""
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(f"outer takes two tensors of one dimension, not {x1.shape} and {x2.shape}")
    return reshape(x1, (-1, 1)) * x2


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Einstein's sum: letters name dimensions, those missing on the right of `->` are summed over.

    `...` stands for dimensions that are broadcast; a letter twice in one operand takes its diagonal;
    without `->` the result has the letters that stand once, in alphabetical order.

    >>> import minitensor as mt
    >>> mt.einsum("ij,jk->ik", mt.ones((2, 3)), mt.ones((3, 4))).shape
    (2, 4)
    """
    tensors = [asarray(x) for x in operands]
    terms, result = _parse(equation.replace(" ", ""), tensors)
    terms, tensors = _without_diagonals(terms, tensors)
    for letter in result:
        if result.count(letter) > 1 or not any(letter in term for term in terms):
            raise ShapeError(f"einsum {equation!r}: {letter!r} stands twice in the result or nowhere else")
    return apply(contract.einsum, *tensors, labels=(*terms, result))


def _parse(equation: str, tensors: list[Tensor]) -> tuple[list[str], str]:
    """One string of letters for each operand, and that of the result, with `...` spelled out."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ShapeError(f"einsum {equation!r} names {len(terms)} operands; there are {len(tensors)}")
    if set(equation.replace("...", "").replace("->", "").replace(",", "")) - set(ascii_letters):
        raise ShapeError(f"einsum {equation!r} holds something else than letters, ',', '...' and '->'")
    spare = [letter for letter in reversed(ascii_letters) if letter not in equation]
    widths = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, tensors, strict=True) if "..." in term]
    dots = "".join(spare[: max(widths, default=0)])
    spelled = []
    for term, x in zip(terms, tensors, strict=True):
        width = x.ndim - len(term.replace("...", ""))
        if width < 0 or (width and "..." not in term):
            raise ShapeError(f"einsum {equation!r}: {term!r} does not name the dimensions of shape {x.shape}")
        spelled.append(term.replace("...", dots[len(dots) - width :]))
    if arrow:
        return spelled, right.replace("...", dots)
    letters = "".join(terms).replace("...", "")
    return spelled, dots + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))


def _without_diagonals(terms: list[str], tensors: list[Tensor]) -> tuple[list[str], list[Tensor]]:
    """A letter twice in one operand becomes a second letter, and a unit matrix that ties both together.

    Dimensions of extent 1 that are broadcast against larger ones are dropped.
    """
    used = set("".join(terms))
    spare = iter(letter for letter in ascii_letters if letter not in used)
    extents: dict[str, int] = {}
    for term, x in zip(terms, tensors, strict=True):
        for letter, extent in zip(term, x.shape, strict=True):
            known = extents.get(letter, 1)
            if known != extent and 1 not in (known, extent):
                raise ShapeError(f"einsum: {letter!r} is {known} in one operand and {extent} in {term!r} of {x.shape}")
            extents[letter] = known if extent == 1 else extent
    new_terms, new_tensors, ties = [], [], []
    for term, x in zip(terms, tensors, strict=True):
        letters = ""
        kept = [d for d, (n, size) in enumerate(zip(term, x.shape, strict=True)) if size == extents[n]]
        for d in kept:
            letter = term[d]
            if letter in letters:
                twin = next(spare)
                ties.append((letter + twin, x.shape[d], x.dtype))
                letter = twin
            letters += letter
        new_terms.append(letters)
        new_tensors.append(reshape(x, tuple(x.shape[d] for d in kept)))
    units = [apply(eye, shape=(size, size), k=0, dtype=np.dtype(dtype)) for _, size, dtype in ties]
    return [*new_terms, *(letters for letters, _, _ in ties)], [*new_tensors, *units]
