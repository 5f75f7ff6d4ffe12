"""Tensor: a name for contents (a Value) and for their place on the tape.

In: values made by operations.  Out: what users hold.
Invariant: a Tensor is rebound (`x[i] = v`, `x += y`, an optimiser's step), never written through.  So
results of slices and reshapes may share memory inside, and nobody can tell.  The tape refers to Values and
to other tape nodes, never to Tensors: there are no reference cycles, and what the forward pass saw stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from minitensor import other_names
from minitensor.device import CPU, Device
from minitensor.dtypes import DType
from minitensor.errors import ArgumentError, DTypeError, GradientError, ShapeError
from minitensor.tape import Leaf, TapeNode
from minitensor.value import Array, Value, read

if TYPE_CHECKING:
    from minitensor.methods import Methods
else:
    Methods = object  # `methods` adds its functions to Tensor at import: they need dispatch, which needs Tensor

__all__ = ["Tensor", "Value", "check_differentiable", "make_leaf", "read_only", "rebuild"]


class Tensor(Methods):
    """An n-dimensional array with gradients; made by `asarray`, `zeros` and all operations.

    `grad` is the accumulated gradient of a leaf (None to start; settable).

    >>> import minitensor as mt
    >>> x = mt.asarray([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_grad", "node", "value")

    # NumPy leaves mixed expressions to us: `ndarray + tensor` calls `Tensor.__radd__`.
    __array_ufunc__ = None
    __array_priority__ = 1000

    value: Value
    node: TapeNode | None
    _grad: Tensor | None

    def __init__(self, value: Value, node: TapeNode | None = None) -> None:
        self.value = value
        self.node = node
        self._grad = None

    # --- what it is ----------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        total = 1
        for extent in self.value.shape:
            total *= extent
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of the contents."""
        return self.size * self.value.dtype.itemsize

    @property
    def device(self) -> Device:
        return CPU

    def __len__(self) -> int:
        if not self.value.shape:
            raise DTypeError("len() of a tensor without dimensions")
        return self.value.shape[0]

    # --- gradients -----------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are put on the tape; settable on leaves."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if not self.is_leaf:
            raise GradientError("requires_grad can be set on leaves only; use .detach() for a tensor without gradient")
        if wanted and self.node is None:
            check_differentiable(self.value.dtype)
            self.node = make_leaf(self)
        elif not wanted:
            self.node = None

    @property
    def is_leaf(self) -> bool:
        """Whether no operation on the tape made this tensor."""
        return self.node is None or self.node.op is None

    @property
    def grad(self) -> Tensor | None:
        return self._grad

    @grad.setter
    def grad(self, gradient: Tensor | None) -> None:
        if gradient is not None:
            if not isinstance(gradient, Tensor):
                raise DTypeError(f"a gradient is a tensor or None, not {type(gradient).__name__}")
            if gradient.shape != self.shape:
                raise ShapeError(f"gradient of shape {gradient.shape} for a tensor of shape {self.shape}")
        self._grad = gradient

    def detach(self) -> Tensor:
        """A snapshot of the contents, off the tape."""
        return Tensor(self.value.snapshot())

    # --- reading -------------------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The contents as a read-only NumPy array.

        Raises GradientError (a RuntimeError) on a tensor that requires grad: `.detach()` first.
        """
        if self.node is not None:
            raise GradientError("numpy() on a tensor that requires grad would lose the tape: use .detach().numpy()")
        return read_only(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ArgumentError(f"a {array.dtype} tensor cannot be had as {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element as a Python scalar.  Raises ShapeError (a ValueError) if there are more or none."""
        if self.size != 1:
            raise ShapeError(f"item() needs exactly one element; this tensor has shape {self.shape}")
        return read(self.value).item()

    def tolist(self) -> Any:
        """The elements as nested Python lists (a scalar for a tensor without dimensions)."""
        return read(self.value).tolist()

    def _scalar(self, what: str) -> Any:
        if self.size != 1:
            raise ShapeError(f"{what} of a tensor with shape {self.shape} is ambiguous: it needs one element")
        return read(self.value).item()

    def __bool__(self) -> bool:
        return bool(self._scalar("the truth value"))

    def __float__(self) -> float:
        return float(self._real_scalar("float()"))

    def __int__(self) -> int:
        return int(self._real_scalar("int()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def _real_scalar(self, what: str) -> Any:
        if self.value.dtype.kind == "c":
            raise DTypeError(f"{what} of a {self.value.dtype} tensor would lose its imaginary part")
        return self._scalar(what)

    def __index__(self) -> int:
        if self.value.dtype.kind not in "iu" or self.value.shape != ():
            raise DTypeError(f"an index is an integer without dimensions, not {self.value.dtype}{list(self.shape)}")
        return int(self._scalar("an index"))

    def __format__(self, spec: str) -> str:
        if self.value.shape == ():
            return format(self.item(), spec)
        if not spec:
            return str(self)
        try:
            return np.array2string(read(self.value), separator=", ", formatter={"all": lambda x: format(x, spec)})
        except ValueError as error:
            raise ArgumentError(f"format {spec!r} of a {self.dtype} tensor: {error}") from None

    def __iter__(self) -> Iterator[Tensor]:
        if not self.value.shape:
            raise DTypeError("iteration over a tensor without dimensions")
        return (self[i] for i in range(self.value.shape[0]))

    def __repr__(self) -> str:
        body = np.array2string(read(self.value), separator=", ", prefix="tensor(")
        plain = self.value.dtype.name in ("float32", "int64", "bool")
        notes = ("" if plain else f", dtype={self.value.dtype}") + (
            ", requires_grad=True" if self.requires_grad else ""
        )
        return f"tensor({body}{notes})"

    def __str__(self) -> str:
        return repr(self)

    if not TYPE_CHECKING:  # a type checker is to know what is not there

        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there: says by which name it is, to users of PyTorch and NumPy."""
            # `Tensor([1.0])` is refused here, where its first property failed: operations make many Tensors.
            if name != "value" and not isinstance(self.value, Value):
                raise DTypeError(f"Tensor(...) is what operations call; asarray({self.value!r:.40}) makes a tensor")
            raise other_names.missing(f"{type(self).__name__!r} object", name, other_names.TENSOR, self)

    # --- identity, copies ----------------------------------------------------------------------------

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin = self._like(self.value.snapshot())
        memo[id(self)] = twin
        if self._grad is not None:
            twin._grad = self._grad.detach()
        return twin

    def _like(self, value: Value) -> Tensor:
        twin = type(self).__new__(type(self))
        Tensor.__init__(twin, value)
        if self.node is not None:
            twin.node = make_leaf(twin)
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return rebuild, (type(self), np.array(read(self.value)), self.requires_grad, self._grad)


def rebuild(cls: type[Tensor], array: Array, requires_grad: bool, grad: Tensor | None) -> Tensor:
    """A tensor from its pickled parts."""
    tensor = cls.__new__(cls)
    Tensor.__init__(tensor, Value(array))
    if requires_grad:
        tensor.node = make_leaf(tensor)
    tensor._grad = grad
    return tensor


def check_differentiable(dtype: DType) -> None:
    """Raises GradientError for a dtype that has no gradients."""
    if dtype.kind not in "fc":
        raise GradientError(f"only floating-point and complex tensors have gradients, not {dtype}")


def make_leaf(tensor: Tensor) -> Leaf:
    """The tape's end for a tensor that requires grad; it does not keep the tensor alive."""
    return Leaf(ref(tensor))


def read_only(value: Value) -> Array:
    """The contents for code outside: a view that cannot be written, or a copy of borrowed memory."""
    array = read(value)
    if not value.owned:
        array = array.copy()
    else:
        value.exported = True
    array.flags.writeable = False  # on the owner too: a view can be made writable again only if its base is
    return array.view()
