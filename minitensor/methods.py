"""Operators and methods of Tensor: the functions again, with the tensor first.

In: the functions of the namespace.  Out: `Tensor` with all of `Methods` on it.
Invariant: no method does more than its function; `x += y` and `x[i] = v` rebind the name.

They are put on the class here, not written there, because they need `dispatch`, which makes Tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minitensor import (
    autograd,
    elementwise,
    indexing,
    linear_algebra,
    manipulation,
    namespace,
    searching,
    statistics,
)
from minitensor.device import CPU, Device, as_device
from minitensor.dispatch import apply, as_tensor, operator_of, rebind
from minitensor.errors import ArgumentError, DTypeError, ShapeError
from minitensor.ops import analytic, bits, contract, elementwise as el
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor, read_only
from minitensor.value import read

if TYPE_CHECKING:
    from minitensor.statistics import Axis


def _tensor(x: Any) -> Tensor:
    return cast(Tensor, x)


def _reflected(op: OpDef) -> Any:
    def method(self: Any, other: Any) -> Tensor:
        return apply(op, other, self)

    return method


def _in_place(op: OpDef) -> Any:
    def method(self: Any, other: Any) -> Tensor:
        return _rebound(_tensor(self), apply(op, self, other))

    return method


def _rebound(x: Tensor, result: Tensor) -> Tensor:
    """`x` with the contents of `result`, in its own dtype.

    Raises ShapeError for another shape, DTypeError for another kind, GradientError for a leaf.
    """
    indexing.check_writable(x)
    if result.shape != x.shape:
        raise ShapeError(f"an in-place operation cannot change shape {x.shape} to {result.shape}")
    if result.dtype != x.dtype:
        if result.dtype.kind != x.dtype.kind:
            raise DTypeError(f"an in-place operation cannot put {result.dtype} into a {x.dtype} tensor")
        result = manipulation.astype(result, x.dtype)
    rebind(x, result.value, result.node)
    return x


def _power(x: Any, exponent: Any) -> Tensor:
    """x ** exponent; squares are multiplied, as NumPy does it."""
    if type(exponent) is int and exponent == 2:
        return apply(el.square, x)
    return apply(analytic.power, x, exponent)


# What a tensor is compared with elementwise; anything else, such as None, is another object.  Lists are refused by
# `apply`: for Python they would never be equal, where NumPy looks at their elements.
_COMPARED = (Tensor, np.ndarray, np.generic, int, float, complex, list, tuple)


class Methods:
    """What every tensor can do."""

    __slots__ = ()

    __add__, __radd__, __iadd__ = operator_of(el.add), _reflected(el.add), _in_place(el.add)
    __sub__, __rsub__, __isub__ = operator_of(el.subtract), _reflected(el.subtract), _in_place(el.subtract)
    __mul__, __rmul__, __imul__ = operator_of(el.multiply), _reflected(el.multiply), _in_place(el.multiply)
    __truediv__, __rtruediv__, __itruediv__ = operator_of(el.divide), _reflected(el.divide), _in_place(el.divide)
    __floordiv__, __rfloordiv__ = operator_of(el.floor_divide), _reflected(el.floor_divide)
    __ifloordiv__ = _in_place(el.floor_divide)
    __mod__, __rmod__, __imod__ = operator_of(el.remainder), _reflected(el.remainder), _in_place(el.remainder)
    __matmul__, __rmatmul__ = operator_of(contract.matmul), _reflected(contract.matmul)
    __imatmul__ = _in_place(contract.matmul)
    __rpow__ = _reflected(analytic.power)
    __and__, __rand__, __iand__ = (f(bits.bitwise_and) for f in (operator_of, _reflected, _in_place))
    __or__, __ror__, __ior__ = (f(bits.bitwise_or) for f in (operator_of, _reflected, _in_place))
    __xor__, __rxor__, __ixor__ = (f(bits.bitwise_xor) for f in (operator_of, _reflected, _in_place))
    __lshift__, __rlshift__, __ilshift__ = (f(bits.left_shift) for f in (operator_of, _reflected, _in_place))
    __rshift__, __rrshift__, __irshift__ = (f(bits.right_shift) for f in (operator_of, _reflected, _in_place))
    __lt__, __le__, __gt__, __ge__ = (operator_of(op) for op in (el.less, el.less_equal, el.greater, el.greater_equal))

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return apply(el.equal, self, other) if isinstance(other, _COMPARED) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return apply(el.not_equal, self, other) if isinstance(other, _COMPARED) else NotImplemented

    def __neg__(self) -> Tensor:
        return apply(el.negative, self)

    def __pos__(self) -> Tensor:
        return apply(el.identity, self)

    def __abs__(self) -> Tensor:
        return apply(el.abs_, self)

    def __invert__(self) -> Tensor:
        return apply(bits.bitwise_invert, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return _power(self, exponent)

    def __ipow__(self, exponent: Any) -> Tensor:
        return _rebound(_tensor(self), _power(self, exponent))

    def __getitem__(self, key: Any) -> Tensor:
        return indexing.getitem(_tensor(self), key)

    def __setitem__(self, key: Any, value: Any) -> None:
        indexing.setitem(_tensor(self), key, value)

    # --- gradients -----------------------------------------------------------------------------------

    def backward(self, gradient: Tensor | None = None, *, create_graph: bool = False) -> None:
        """Adds to `.grad` of every leaf this tensor was computed from."""
        autograd.backward(_tensor(self), gradient, create_graph=create_graph)

    @property
    def data(self) -> Tensor:
        """The contents off the tape; assignable, whatever the tape knows."""
        return _tensor(self).detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        x, source = _tensor(self), as_tensor(new)
        if source.shape != x.shape or source.dtype != x.dtype:
            raise ShapeError(f"data of {x.dtype}{list(x.shape)} cannot become {source.dtype}{list(source.shape)}")
        rebind(x, source.value.snapshot())

    def copy_(self, source: Tensor) -> Tensor:
        """Rebinds this tensor to the contents of another of the same shape."""
        new = manipulation.astype(source, _tensor(self).dtype, copy=False)
        return _rebound(_tensor(self), new)

    # --- reductions ----------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
        return statistics.sum(_tensor(self), axis=axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
        return statistics.prod(_tensor(self), axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.mean(_tensor(self), axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        return statistics.var(_tensor(self), axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        return statistics.std(_tensor(self), axis=axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.max(_tensor(self), axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.min(_tensor(self), axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.any(_tensor(self), axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return statistics.all(_tensor(self), axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        return statistics.argmax(_tensor(self), axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        return statistics.argmin(_tensor(self), axis=axis, keepdims=keepdims)

    def cumulative_sum(self, axis: int | None = None, *, include_initial: bool = False) -> Tensor:
        return statistics.cumulative_sum(_tensor(self), axis=axis, include_initial=include_initial)

    # --- elementwise ---------------------------------------------------------------------------------

    def abs(self) -> Tensor:
        return elementwise.abs(self)

    def exp(self) -> Tensor:
        return elementwise.exp(self)

    def log(self) -> Tensor:
        return elementwise.log(self)

    def sqrt(self) -> Tensor:
        return elementwise.sqrt(self)

    def tanh(self) -> Tensor:
        return elementwise.tanh(self)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        return elementwise.clip(_tensor(self), min, max)

    def matmul(self, other: Any) -> Tensor:
        return linear_algebra.matmul(self, other)

    # --- movement ------------------------------------------------------------------------------------

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        return manipulation.reshape(_tensor(self), *_one_or_several(shape))

    def flatten(self) -> Tensor:
        """All elements in one dimension."""
        return manipulation.reshape(_tensor(self), (-1,))

    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        return manipulation.permute_dims(_tensor(self), *_one_or_several(axes))

    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        """The dimensions in the order `axes`; reversed if none is given."""
        x = _tensor(self)
        return (
            manipulation.permute_dims(x, *_one_or_several(axes))
            if axes
            else manipulation.permute_dims(x, tuple(reversed(range(x.ndim))))
        )

    def squeeze(self, axis: int | Sequence[int]) -> Tensor:
        return manipulation.squeeze(_tensor(self), axis)

    def expand_dims(self, axis: int) -> Tensor:
        return manipulation.expand_dims(_tensor(self), axis)

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        return manipulation.broadcast_to(_tensor(self), shape)

    def flip(self, axis: int | Sequence[int] | None = None) -> Tensor:
        return manipulation.flip(_tensor(self), axis=axis)

    def take(self, indices: Tensor, *, axis: int | None = None) -> Tensor:
        return searching.take(_tensor(self), indices, axis=axis)

    def astype(self, dtype: Any, *, copy: bool = True) -> Tensor:
        return manipulation.astype(_tensor(self), dtype, copy=copy)

    def sort(self, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        return searching.sort(_tensor(self), axis=axis, descending=descending, stable=stable)

    def argsort(self, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        return searching.argsort(_tensor(self), axis=axis, descending=descending, stable=stable)

    @property
    def T(self) -> Tensor:
        """The transposed matrix.  Raises ShapeError for other than two dimensions."""
        x = _tensor(self)
        if x.ndim != 2:
            raise ShapeError(f".T is for two dimensions, this tensor has shape {x.shape}; use .mT or permute_dims")
        return manipulation.permute_dims(x, (1, 0))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return manipulation.matrix_transpose(_tensor(self))

    # --- protocols -----------------------------------------------------------------------------------

    def to_device(self, device: Device | str, /, *, stream: Any = None) -> Tensor:
        """The tensor on another device (here: the CPU, which is where it is)."""
        as_device(device)
        if stream is not None:
            raise ArgumentError("the CPU has no streams")
        return _tensor(self)

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        return namespace.array_namespace(api_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        """A DLPack capsule: of the memory itself, read-only, or of a copy where the reader knows no read-only."""
        x = _tensor(self)
        if dl_device not in (None, (1, 0)):
            raise BufferError(f"this tensor is on {CPU}, not on device {dl_device}")
        array = x.numpy() if x.node is None else read_only(x.value)
        old = max_version is None or max_version[0] < 1
        if old and copy is False:
            raise BufferError("a reader of DLPack before 1.0 cannot be told that memory is read-only: it needs a copy")
        if old or copy:
            return np.array(read(x.value)).__dlpack__()
        return array.__dlpack__(max_version=max_version)


def _one_or_several(arguments: tuple[Any, ...]) -> tuple[Any]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    return (arguments[0],) if len(arguments) == 1 else (arguments,)


def put_on(target: type[Tensor]) -> None:
    """Gives `target` all methods of `Methods`."""
    own = {"__module__", "__qualname__", "__doc__", "__slots__", "__hash__", "__dict__", "__weakref__"}
    for name, member in vars(Methods).items():
        if name not in own:
            if isinstance(member, FunctionType) and member.__qualname__.startswith("Methods."):
                member.__qualname__ = f"{target.__name__}.{name}"  # as Python names it when arguments do not fit
            setattr(target, name, member)


put_on(Tensor)

_in_gradients_and_updates = attrgetter(
    *("__add__", "__radd__", "__sub__", "__rsub__", "__isub__", "__mul__", "__rmul__", "__imul__", "__truediv__"),
    *(
        "__rtruediv__",
        "__pow__",
        "__neg__",
        "__matmul__",
        "__getitem__",
        "__lt__",
        "__gt__",
        "__le__",
        "__ge__",
        "__eq__",
        "__ne__",
        "__mod__",
    ),
    *("shape", "dtype", "grad"),
)
_written = _in_gradients_and_updates(Tensor)


def are_as_written(kind: type[Tensor]) -> bool:
    """Whether this class has the operators of Tensor, and none that rules of gradients and updates use was replaced."""
    return bool(_in_gradients_and_updates(kind) == _written)
