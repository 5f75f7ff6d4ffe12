"""Reverse-mode differentiation over the tape.

In: a tensor with its tape and the gradient of something with respect to it.  Out: gradients of leaves.
Invariant: nodes are visited in descending `order`, so each once, after all that used it, in the same
sequence in every run; gradients are added in that sequence.  Nothing recurses: depth costs memory only.
The vjp rules are Tensor operations: under `create_graph` they are put on the tape like all others.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any

from minitensor.creation import asarray, ones
from minitensor.dispatch import apply, as_tensor, local
from minitensor.errors import ArgumentError, DTypeError, GradientError, ShapeError
from minitensor.gradient_sums import Gradient, joined, total
from minitensor.ops.elementwise import add, identity, real
from minitensor.ops.movement import astype, reshape
from minitensor.ops.reduce import sum_
from minitensor.ops.slicing import Placed
from minitensor.tape import Leaf, Node, Part, TapeNode
from minitensor.tensor import Tensor, check_differentiable, make_leaf
from minitensor.value import Value, whole_calls


class no_grad(ContextDecorator):
    """Operations inside are not put on the tape; per thread; a context and a decorator.

    >>> import minitensor as mt
    >>> x = mt.asarray([1.0], requires_grad=True)
    >>> with mt.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    enabled = False

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(local.grad_enabled)
        local.grad_enabled = self.enabled

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        local.grad_enabled = self._before.pop()

    def _recreate_cm(self) -> no_grad:  # one fresh context for each call of a decorated function
        return type(self)()


class enable_grad(no_grad):
    """Operations inside are put on the tape again, also within `no_grad`."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether operations of this thread are put on the tape."""
    return local.grad_enabled


# --- walking the tape ------------------------------------------------------------------------------------


class _Walk:
    """Gradients on their way down: a heap of nodes still to visit, the latest made first."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, TapeNode]] = []
        self.gradients: dict[int, Gradient] = {}  # by the `order` of the tape node
        self.parts: dict[int, list[Tensor | None]] = {}  # of multi-output nodes

    def add(self, node: TapeNode, gradient: Tensor | Placed) -> None:
        seen = self.gradients.get(node.order)
        if seen is None:
            heapq.heappush(self.heap, (-node.order, node))
            self.gradients[node.order] = gradient
        else:
            self.gradients[node.order] = joined(seen, gradient)

    def add_part(self, part: Part, gradient: Tensor) -> None:
        node = part.node
        if node.order not in self.parts:
            heapq.heappush(self.heap, (-node.order, node))
            self.parts[node.order] = [None] * node.op.outputs
        of_node = self.parts[node.order]
        seen = of_node[part.index]  # a rule that used this output again gave it a part of its own
        of_node[part.index] = gradient if seen is None else apply(add, seen, gradient)

    def take(self, node: Node) -> tuple[Tensor | None, ...]:
        if node.op.outputs == 1:
            return (self.of(node),)
        return tuple(self.parts.pop(node.order))

    def of(self, node: TapeNode) -> Tensor:
        """The gradient that has come to a node, once all that used it has been visited."""
        return total(self.gradients.pop(node.order))


def _pull(node: Node, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | Placed | None, ...]:
    """The gradients of a node's inputs, in the shapes and dtypes of the inputs."""
    parents = node.parents
    inputs = tuple([Tensor(x, parents[k]) if isinstance(x, Value) else x for k, x in enumerate(node.inputs)])
    if node.op.outputs == 1:
        outputs: tuple[Tensor, ...] = (Tensor(node.outputs[0], node),)
    else:
        outputs = tuple([Tensor(v, Part(node, i)) for i, v in enumerate(node.outputs)])
    assert node.op.vjp is not None
    pulled = node.op.vjp(gradients, inputs, outputs, node.attributes)
    return tuple(
        [None if g is None or parents[k] is None else _conform(g, inputs[k].value) for k, g in enumerate(pulled)]
    )


def _conform(gradient: Tensor | Placed, x: Value) -> Tensor | Placed:
    if isinstance(gradient, Tensor):
        return conform(gradient, x)
    return gradient if gradient.gradient.dtype == x.dtype else conform(gradient.whole(), x)


def conform(gradient: Tensor, x: Value) -> Tensor:
    """A gradient in the shape and dtype of the input it belongs to: broadcasting is summed away, here only."""
    shape = x.shape
    if gradient.shape != shape:
        lead = gradient.ndim - len(shape)
        repeated = tuple(lead + k for k, extent in enumerate(shape) if extent != gradient.shape[lead + k])
        gradient = apply(sum_, gradient, axis=(*range(lead), *repeated), keepdims=False)
        if repeated:
            gradient = apply(reshape, gradient, shape=shape)
    if gradient.dtype.kind == "c" and x.dtype.kind != "c":
        gradient = apply(real, gradient)
    return gradient if gradient.dtype == x.dtype else apply(astype, gradient, dtype=x.dtype)


def _propagate(walk: _Walk, wanted: frozenset[int], create_graph: bool) -> Iterator[tuple[TapeNode, Tensor]]:
    """Visits the tape; yields (node, gradient) for every leaf, or for the nodes in `wanted` if there are any.

    No node older than the oldest wanted one can lead to one, so the walk ends there.
    """
    enabled, before = local.grad_enabled, local.differentiating
    oldest = min(wanted, default=-1)
    try:
        local.grad_enabled = create_graph
        while walk.heap:
            node = heapq.heappop(walk.heap)[1]
            if node.order < oldest:
                return
            if node.order in wanted or (isinstance(node, Leaf) and not wanted):
                yield node, walk.of(node)
            elif isinstance(node, Part):
                walk.add_part(node, walk.of(node))
            elif isinstance(node, Node):
                local.differentiating = node
                for parent, gradient in zip(node.parents, _pull(node, walk.take(node)), strict=True):
                    if parent is not None and gradient is not None and parent.order >= oldest:
                        walk.add(parent, gradient)
    finally:
        local.grad_enabled, local.differentiating = enabled, before


def _start(tensor: Tensor, gradient: Tensor | None) -> _Walk:
    if tensor.node is None:
        raise GradientError(
            "this tensor has no tape: nothing it came from requires grad, or it was made under no_grad()"
        )
    if gradient is None:
        if tensor.size != 1:
            raise GradientError(
                f"a tensor of shape {tensor.shape} needs an explicit gradient; only one element has one"
            )
        gradient = ones(tensor.shape, dtype=tensor.dtype)
    elif (gradient := as_tensor(gradient)).shape != tensor.shape:
        raise ShapeError(f"gradient of shape {gradient.shape} for a tensor of shape {tensor.shape}")
    walk = _Walk()
    walk.add(tensor.node, gradient)
    return walk


def backward(tensor: Tensor, gradient: Tensor | None = None, *, create_graph: bool = False) -> None:
    """Adds to `.grad` of every leaf that `tensor` was computed from.

    `gradient` (of the tensor's shape) is what flows in; 1 if the tensor has one element.
    Raises GradientError without a tape, or without a gradient for several elements.
    """
    whole = None if create_graph else whole_calls()
    if whole is not None and whole.take_backward(tensor, gradient):
        return
    _add_gradients(tensor, gradient, create_graph)  # from one place only, see `Optimizer.step`
    if whole is not None:
        whole.note_backward()


def _add_gradients(tensor: Tensor, gradient: Tensor | None, create_graph: bool) -> None:
    for leaf, g in list(_propagate(_start(tensor, gradient), frozenset(), create_graph)):
        assert isinstance(leaf, Leaf)
        target = leaf.tensor()
        if target is not None:
            _accumulate(target, g, create_graph)


def _accumulate(target: Tensor, gradient: Tensor, create_graph: bool) -> None:
    if target.grad is None:
        target.grad = gradient
        return
    with enable_grad() if create_graph else no_grad():
        target.grad = apply(add, target.grad, gradient)


# --- gradients of functions ------------------------------------------------------------------------------


def _leaves(start: TapeNode) -> Iterator[Leaf]:
    """The leaves below a node whose tensors still live: nobody can ask for the gradient of the others."""
    seen = {start.order}
    stack = [start]
    while stack:
        node = stack.pop()
        if isinstance(node, Leaf):
            if node.tensor() is not None:
                yield node
            continue
        for parent in (node.node,) if isinstance(node, Part) else node.parents:
            if parent is not None and parent.order not in seen:
                seen.add(parent.order)
                stack.append(parent)


def _entry(argument: Any) -> Tensor:
    """The argument at a place of its own on the tape, still connected to where it came from."""
    tensor = argument if isinstance(argument, Tensor) else asarray(argument)
    check_differentiable(tensor.dtype)
    if tensor.node is not None:
        with enable_grad():
            return apply(identity, tensor)
    entry = Tensor(tensor.value)
    entry.node = make_leaf(entry)
    return entry


def value_and_grad(
    f: Callable[..., Any], argnums: int | tuple[int, ...] = 0
) -> Callable[..., tuple[Tensor, Tensor | tuple[Tensor, ...]]]:
    """A function that returns `f`'s value and its gradient with respect to the arguments `argnums`.

    `f` returns a tensor with one element.  Further arguments are passed on.  The result is differentiable
    again, with respect to its arguments and to whatever `f` closes over.

    >>> import minitensor as mt
    >>> mt.value_and_grad(lambda x: x * x)(mt.asarray(3.0))
    (tensor(9.), tensor(6.))
    """
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if not callable(f):
        raise DTypeError(f"a function is differentiated, not {type(f).__name__}; a tensor has .backward()")

    @functools.wraps(f)
    def differentiated(*arguments: Any, **keywords: Any) -> tuple[Tensor, Tensor | tuple[Tensor, ...]]:
        given = list(arguments)
        if any(not 0 <= i < len(given) for i in wanted):
            raise ArgumentError(f"argnums {argnums} of {len(given)} positional arguments; keywords are passed on only")
        for i in wanted:
            given[i] = _entry(arguments[i])
        entries = [given[i] for i in wanted]
        nodes = [entry.node for entry in entries]
        with enable_grad():
            value = f(*given, **keywords)
        gradients = _gradients_at(value, [n for n in nodes if n is not None], entries)
        keep = local.grad_enabled
        own = {n.order for n in nodes if n is not None}
        result = tuple(_disconnect(g, own, keep) for g in gradients)
        return _disconnect(value, own, keep), result[0] if isinstance(argnums, int) else result

    return differentiated


def grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of `f` with respect to the arguments `argnums`.

    >>> import minitensor as mt
    >>> mt.grad(mt.grad(lambda x: x * x * x))(mt.asarray(2.0))
    tensor(12.)
    """
    both = value_and_grad(f, argnums)

    @functools.wraps(f)
    def differentiated(*arguments: Any, **keywords: Any) -> Any:
        return both(*arguments, **keywords)[1]

    return differentiated


def _gradients_at(value: Any, nodes: list[TapeNode], entries: list[Tensor]) -> list[Tensor]:
    if not isinstance(value, Tensor):
        raise DTypeError(f"a function to differentiate returns a tensor, not {type(value).__name__}")
    if value.size != 1:
        raise GradientError(f"a function to differentiate returns one element, not a tensor of shape {value.shape}")
    zeros = [entry.detach() * 0 for entry in entries]
    if value.node is None:
        return zeros
    own = {node.order for node in nodes}
    outside = any(leaf.order not in own for leaf in _leaves(value.node))
    create_graph = local.grad_enabled and outside
    found = {n.order: g for n, g in _propagate(_start(value, None), frozenset(own), create_graph)}
    return [found.get(node.order, zero) for node, zero in zip(nodes, zeros, strict=True)]


def _disconnect(tensor: Tensor, own: set[int], keep: bool) -> Tensor:
    """The tensor off the tape, if all that it depends on are the entries of this differentiation."""
    if tensor.node is None or (keep and any(leaf.order not in own for leaf in _leaves(tensor.node))):
        return tensor
    return Tensor(tensor.value)
