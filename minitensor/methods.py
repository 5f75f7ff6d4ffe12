"""Operators and methods of Tensor: the functions again, with the tensor first.

In: the functions of the namespace.  Out: `Tensor` with all of `Methods` on it.
Invariant: no method does more than its function; `x += y` and `x[i] = v` rebind the name.

They are put on the class here, not written there, because they need `dispatch`, which makes Tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import minitensor.manipulation as manipulation
import minitensor.statistics as statistics
from minitensor import autograd
from minitensor.dispatch import apply
from minitensor.ops import contract
from minitensor.ops import elementwise as el
from minitensor.tensor import Tensor

if TYPE_CHECKING:
    from minitensor.ops.opdef import OpDef
    from minitensor.statistics import Axis


class Methods:
    """What every tensor can do."""

    __slots__ = ()

    def __add__(self, other: Any) -> Tensor:
        return apply(el.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return apply(el.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return apply(el.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return apply(el.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return apply(el.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return apply(el.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return apply(el.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(el.divide, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return apply(contract.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return apply(contract.matmul, other, self)

    def __neg__(self) -> Tensor:
        return apply(el.negative, self)

    def __lt__(self, other: Any) -> Tensor:
        return apply(el.less, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return apply(el.greater, self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return apply(el.equal, self, other)

    def backward(self, gradient: Tensor | None = None, *, create_graph: bool = False) -> None:
        autograd.backward(_tensor(self), gradient, create_graph=create_graph)

    def sum(self, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
        return statistics.sum(_tensor(self), axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.mean(_tensor(self), axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        return manipulation.reshape(_tensor(self), *_one_or_several(shape))

    @property
    def T(self) -> Tensor:  # noqa: N802 - the standard's name
        return manipulation.permute_dims(_tensor(self), (1, 0))

    @property
    def mT(self) -> Tensor:  # noqa: N802
        return manipulation.matrix_transpose(_tensor(self))


def _tensor(x: Any) -> Tensor:
    return cast(Tensor, x)


def _one_or_several(arguments: tuple[Any, ...]) -> tuple[Any]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    return (arguments[0],) if len(arguments) == 1 else (arguments,)


for _name, _member in vars(Methods).items():
    if _name not in ("__module__", "__qualname__", "__doc__", "__slots__", "__hash__", "__dict__", "__weakref__"):
        setattr(Tensor, _name, _member)
