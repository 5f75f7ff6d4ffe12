"""Value: immutable contents of tensors, and the one place where contents are read.

In: NumPy arrays made by eager rules, or promises of an observer.  Out: filled arrays.
Invariant: a Value never changes once filled, and refers to no tape.  Every look at contents from outside
the operations goes through `read`, so that an observer knows what Python has seen.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from minitensor.dtypes import DType

if TYPE_CHECKING:
    from minitensor.ops.opdef import OpDef

Array = np.ndarray[Any, np.dtype[Any]]


class Observer(Protocol):
    """What co-execution implements.  All methods run on the thread that set the observer.

    `inputs` are `Value`s and Python scalars.  Tape nodes are made by `apply` afterwards, from what
    `execute` returns, so that an observer sees the vjp's operations like all others.
    """

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
        """Returns the outputs as `Value`s, filled or not; raises what the eager rule would raise."""

    def on_read(self, value: Any) -> None:
        """Python is about to read the contents of `value` (after this returns it must be filled)."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """`tensor` is about to hold `value` (in-place operation, optimiser update, `.data` assignment)."""


class WholeCalls:
    """An Observer that may do all of a call at once, when it knows what the call's operations are."""

    __slots__ = ()

    def take_backward(self, tensor: Any, gradient: Any) -> bool:
        """`backward` of `tensor` is about to begin, without `create_graph`.

        True if all of it is done already, and everything is as the operations one by one would have left it.
        """
        raise NotImplementedError

    def note_backward(self) -> None:
        """The `backward` that was not taken has ended, without an error."""

    def take_update(self, optimizer: Any) -> bool:
        """As `take_backward`, for `step` of an optimiser."""
        raise NotImplementedError

    def note_update(self) -> None:
        """As `note_backward`, for `step` of an optimiser."""


class _Local(threading.local):
    observer: Observer | None = None
    grad_enabled: bool = True
    differentiating: Any = None  # the tape node whose vjp rule is running


local = _Local()


def whole_calls() -> WholeCalls | None:
    """This thread's observer, if it may do whole calls at once."""
    observer: Any = local.observer
    return observer if isinstance(observer, WholeCalls) else None


class Pending(Protocol):
    """Who promised to fill a value."""

    def fill(self, value: Value) -> None:
        """Sets `value.array`; may block.  Raises what the operation raised."""


class Value:
    """Contents: `array` (None while pending), `shape`, `dtype`.

    `owned` is False for memory that somebody else may write (`asarray(copy=False)`): whoever keeps such a
    value beyond the call takes a `snapshot`.  `exported` is True once code outside has seen the buffer.
    """

    __slots__ = ("__weakref__", "array", "dtype", "exported", "owned", "pending", "shape")

    array: Array | None
    shape: tuple[int, ...]
    dtype: DType
    pending: Pending | None
    owned: bool
    exported: bool

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.pending = None
        self.owned = True
        self.exported = False

    @classmethod
    def promise(cls, shape: tuple[int, ...], dtype: DType, pending: Pending) -> Value:
        """A value whose contents `pending` will fill in."""
        value = cls.__new__(cls)
        value.array, value.shape, value.dtype, value.pending = None, shape, dtype, pending
        value.owned, value.exported = True, False
        return value

    @classmethod
    def borrow(cls, array: Array) -> Value:
        """A value in memory that somebody else may write."""
        view = array.view()
        view.flags.writeable = False
        value = cls(view)
        value.owned, value.exported = False, True
        return value

    def snapshot(self) -> Value:
        """This value if nobody can write its memory, otherwise a copy that nobody can."""
        if self.owned or self.array is None:
            return self
        return Value(self.array.copy())

    def __repr__(self) -> str:
        state = "pending" if self.array is None else "owned" if self.owned else "borrowed"
        return f"<Value {self.dtype}{list(self.shape)} {state}>"


def filled(value: Value) -> Array:
    """The array of a value, waiting for it if it is pending.  Not a read: operations use it."""
    if value.array is None:
        promise = value.pending  # read once: another thread or a signal handler may fill the value, and takes it away
        if promise is not None:
            promise.fill(value)
        if value.array is None:
            raise RuntimeError(f"{value!r} is empty and nobody has promised to fill it")
    return value.array


def read(value: Value) -> Array:
    """The contents for Python; this thread's observer is told before."""
    observer = local.observer
    if observer is not None:
        observer.on_read(value)
    return value.array if value.array is not None else filled(value)
