"""The one choke point: every operation on tensors passes through `apply`.

In: an OpDef record, tensors and Python scalars, attributes.  Out: new tensors; a tape node where a gradient
is wanted; the observer of this thread, if there is one, decides how the values come about.
Invariant: with no observer, `apply` runs the record's eager rule and nothing else.

`read` (contents for Python) and `rebind` (a name gets new contents) are the two other choke points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from minitensor.dtypes import as_dtype
from minitensor.errors import (
    ArgumentError,
    DTypeError,
    LinAlgError,
    MinitensorError,
    ScalarRangeError,
    ShapeError,
    TensorIndexError,
    shown,
)
from minitensor.ops.opdef import OpDef
from minitensor.tape import Leaf, Node, Part, TapeNode
from minitensor.tensor import Tensor
from minitensor.value import Array, Observer, Value, filled, local, read

__all__ = [
    "Observer",
    "apply",
    "apply_several",
    "as_operand",
    "as_tensor",
    "filled",
    "local",
    "operator_of",
    "read",
    "rebind",
    "run_eager",
]

_SCALARS = frozenset((float, int, bool, complex))
_NO_PARENTS = (None, None)
_ndarray = np.ndarray


def apply(op: OpDef, *inputs: Any, **attributes: Any) -> Tensor:
    """Runs an operation with one output.

    Inputs are tensors, Python scalars (weak), or anything that `as_operand` takes; attributes are hashable.
    Raises what the operation raises, as a MinitensorError with shapes, dtypes and the user's line.
    """
    observer = local.observer
    if observer is not None:
        return _observed(observer, op, inputs, attributes)[0]
    arrays = []
    tracked = False
    for x in inputs:
        if isinstance(x, Tensor):
            array = x.value.array
            arrays.append(filled(x.value) if array is None else array)
            if x.node is not None:
                tracked = True
        elif type(x) in _SCALARS:
            arrays.append(x)
        else:
            return apply(op, *[as_operand(i) for i in inputs], **attributes)
    try:
        result = op.eager(*arrays, **attributes)
    except Exception as error:
        explain_failure(error, op, inputs, attributes)
    if type(result) is not _ndarray or result.base is not None:
        result = _settle(result, inputs)
    value = Value(result)
    if tracked and local.grad_enabled and op.vjp is not None and value.dtype.kind in "fc":
        return Tensor(value, _record(op, inputs, (value,), attributes))
    return Tensor(value)


def operator_of(op: OpDef) -> Callable[[Any, Any], Tensor]:
    """`apply` for an operator between two tensors: the case without tape and observer is spelled out.

    It costs 0.9 µs where `apply` costs 1.3 (benchmarks/eager_price.py).
    """
    eager = op.eager

    def method(self: Any, other: Any) -> Tensor:
        observer = local.observer
        if observer is not None:
            return _observed_pair(observer, op, self, other)
        if type(other) is Tensor and other.node is None and self.node is None:
            left, right = self.value.array, other.value.array
            if left is not None and right is not None:
                try:
                    result = eager(left, right)
                except Exception as error:
                    explain_failure(error, op, (self, other), {})
                if type(result) is not _ndarray or result.base is not None:
                    result = _settle(result, (self, other))
                return Tensor(Value(result))
        return apply(op, self, other)

    return method


def apply_several(op: OpDef, *inputs: Any, **attributes: Any) -> tuple[Tensor, ...]:
    """Runs an operation with several outputs."""
    observer = local.observer
    if observer is not None:
        return _observed(observer, op, inputs, attributes)
    operands = tuple([x if isinstance(x, Tensor) else as_operand(x) for x in inputs])
    arrays = [filled(x.value) if isinstance(x, Tensor) else x for x in operands]
    try:
        results = op.eager(*arrays, **attributes)
    except Exception as error:
        explain_failure(error, op, operands, attributes)
    values = tuple([Value(_settle(result, operands)) for result in results])
    return _tensors(op, operands, values, attributes)


def _observed(observer: Observer, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Tensor, ...]:
    contents = []
    parents = []
    tracked = borrowed = False
    for x in inputs:
        if isinstance(x, Tensor):
            value, node = x.value, x.node
            contents.append(value)
            parents.append(node)
            if node is not None:
                tracked = True
            if not value.owned:
                borrowed = True
        elif type(x) in _SCALARS:
            contents.append(x)
            parents.append(None)
        else:
            return _observed(observer, op, tuple([as_operand(i) for i in inputs]), attributes)
    operands = tuple(contents)
    try:
        values = observer.execute(op, operands, attributes)
    except MinitensorError:
        raise
    except Exception as error:
        explain_failure(error, op, inputs, attributes)
    if len(values) == 1:
        value = values[0]
        if not (tracked and local.grad_enabled and op.vjp is not None and value.dtype.kind in "fc"):
            return (Tensor(value),)
        if not borrowed:  # `_record`, for the price of its two lists
            return (Tensor(value, Node(op, operands, tuple(parents), values, attributes)),)
    return _tensors(op, inputs, values, attributes)


def _observed_pair(observer: Observer, op: OpDef, left: Tensor, right: Any) -> Tensor:
    """`_observed` for an operator between two tensors: without its lists, at a third of their price."""
    if not isinstance(right, Tensor):
        return _observed(observer, op, (left, right), {})[0]
    operands, parents = (left.value, right.value), (left.node, right.node)
    attributes: dict[str, Any] = {}
    try:
        values = observer.execute(op, operands, attributes)
    except MinitensorError:
        raise
    except Exception as error:
        explain_failure(error, op, (left, right), attributes)
    value = values[0]
    if parents == _NO_PARENTS or not (local.grad_enabled and op.vjp is not None and value.dtype.kind in "fc"):
        return Tensor(value)
    if operands[0].owned and operands[1].owned:
        return Tensor(value, Node(op, operands, parents, values, attributes))
    return _tensors(op, (left, right), values, attributes)[0]


def run_eager(op: OpDef, contents: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
    """The eager rule on Values and Python scalars: what an observer calls where it executes nothing itself.

    Raises as `apply` does.
    """
    arrays = []
    for x in contents:
        if type(x) is Value:
            array = x.array
            arrays.append(filled(x) if array is None else array)
        else:
            arrays.append(x)
    try:
        results = op.eager(*arrays, **attributes)
    except Exception as error:
        explain_failure(error, op, contents, attributes)
    if type(results) is _ndarray and results.base is None:
        return (Value(results),)
    several = results if isinstance(results, tuple) else (results,)
    return tuple(Value(settle(result, contents)) for result in several)


def _tensors(
    op: OpDef, inputs: tuple[Any, ...], values: tuple[Value, ...], attributes: dict[str, Any]
) -> tuple[Tensor, ...]:
    """Names for the outputs, on the tape where a gradient is wanted."""
    if op.vjp is None or not local.grad_enabled or all(not isinstance(x, Tensor) or x.node is None for x in inputs):
        return tuple([Tensor(value) for value in values])
    node = _record(op, inputs, values, attributes)
    if op.outputs == 1:
        return (Tensor(values[0], node if values[0].dtype.kind in "fc" else None),)
    return tuple(Tensor(v, Part(node, i) if v.dtype.kind in "fc" else None) for i, v in enumerate(values))


def _record(op: OpDef, inputs: tuple[Any, ...], outputs: tuple[Value, ...], attributes: dict[str, Any]) -> Node:
    contents = tuple([x.value.snapshot() if isinstance(x, Tensor) else x for x in inputs])
    parents: tuple[TapeNode | None, ...] = tuple([x.node if isinstance(x, Tensor) else None for x in inputs])
    return Node(op, contents, parents, outputs, attributes)


def _settle(result: Any, inputs: tuple[Any, ...]) -> Array:
    if type(result) is _ndarray and result.base is None:
        return result
    return settle(result, tuple([x.value if isinstance(x, Tensor) else x for x in inputs]))


def settle(result: Any, contents: tuple[Any, ...]) -> Array:
    """An eager rule's result as an array of our own: NumPy's scalars become arrays, and what looks into
    memory that somebody else may write is copied."""
    array = np.asarray(result)
    for x in contents:
        if isinstance(x, Value) and not x.owned and np.may_share_memory(array, filled(x)):
            return array.copy()
    return array


def as_operand(x: Any) -> Any:
    """A tensor or a Python scalar from whatever an operation was given.

    NumPy arrays and scalars become tensors (copied); Python scalars stay, they are weak.
    Raises DTypeError for anything else.
    """
    if isinstance(x, Tensor) or type(x) in _SCALARS:
        return x
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biufc":
        return _tensor_of(x)
    for kind in (bool, int, float, complex):
        if isinstance(x, kind):
            return kind(x)  # type: ignore[arg-type]
    raise DTypeError(f"an operand is a tensor, a NumPy array or a number, not {_described(x)}")


def as_tensor(x: Any) -> Tensor:
    """What a function of one tensor was given: a tensor, or a NumPy array, of which one is made.

    Raises DTypeError for anything else.  Lists are no tensors: what dtype they have is `asarray`'s to say.
    """
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biufc":
        return _tensor_of(x)
    raise DTypeError(f"a tensor is expected, not {_described(x)}")


def _tensor_of(array: Any) -> Tensor:
    refuse_mask(array)
    return Tensor(Value(np.array(array, dtype=as_dtype(array.dtype))))


def refuse_mask(array: Any) -> None:
    """Raises ArgumentError for an array of numpy.ma that masks something: its contents alone mean something else."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ArgumentError("a tensor has no mask: pass .filled(value) of a masked array, or its .compressed()")


def _described(x: Any) -> str:
    """What is no operand, and what to do about it."""
    if isinstance(x, np.ndarray | np.generic):
        return f"an array of {x.dtype}"
    if isinstance(x, list | tuple | int | float | complex):
        return f"{type(x).__name__} {x!r:.40}: asarray() makes a tensor of it"
    return "None" if x is None else f"{type(x).__name__} {x!r:.40}"


def rebind(tensor: Tensor, value: Value, node: TapeNode | None = None) -> None:
    """`tensor` holds `value` from now on, at `node` of the tape; this thread's observer is told before.

    A leaf stays the same leaf unless another node is given.
    """
    observer = local.observer
    if observer is not None:
        observer.on_rebind(tensor, value)
    tensor.value = value
    if node is not None or type(tensor.node) is not Leaf:
        tensor.node = node


_CLASSES: tuple[tuple[type[Exception], type[MinitensorError]], ...] = (
    (np.linalg.LinAlgError, LinAlgError),
    (OverflowError, ScalarRangeError),
    (IndexError, TensorIndexError),
    (TypeError, DTypeError),
    (ValueError, ShapeError),
)


def explain_failure(error: Exception, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> NoReturn:
    """Raises `error` again with the operation, its operands and the user's line in the message."""
    given = [f"{x.dtype}{list(x.shape)}" if isinstance(x, Tensor | Value) else shown(x) for x in inputs]
    given += [f"{name}={shown(value)}" for name, value in attributes.items()]
    for builtin, ours in _CLASSES:
        if isinstance(error, builtin):
            text = error.message if isinstance(error, MinitensorError) else str(error)
            if text.startswith("ufunc '"):  # NumPy tells of its own inner loops
                kinds = " and ".join(
                    str(x.dtype) if isinstance(x, Tensor | Value) else type(x).__name__ for x in inputs
                )
                text = f"{op.name} does not take {kinds}; astype() makes another dtype of a tensor"
            elif "mismatch in its core dimension" in text:
                shapes = " and ".join(str(x.shape) for x in inputs if isinstance(x, Tensor | Value))
                text = f"shapes {shapes} do not fit: the dimension summed over is not the same in both"
            elif builtin is OverflowError:
                text = "a Python int is beyond what the dtype holds; give a float, or astype() a wider dtype"
            raise ours(f"{op.name}({', '.join(given)}): {text}") from error
    if isinstance(error, AttributeError) and type(error.obj) in _SCALARS:
        raise DTypeError(f"{op.name} takes a tensor, not {error.obj!r}: asarray() makes one") from error
    raise error
