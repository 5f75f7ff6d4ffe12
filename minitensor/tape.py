"""The tape: what autograd remembers of each operation.

In: made by `dispatch.apply` where a gradient is wanted.  Out: walked by `autograd`.
Invariant: nodes refer to Values and to earlier nodes only, never to Tensors (a leaf has a weak reference),
so a tape has no cycles and dies with the last tensor that needs it.  `order` grows with every node made:
descending order is a topological order, the same in every run.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from minitensor.ops.opdef import OpDef
    from minitensor.tensor import Tensor
    from minitensor.value import Value

next_order = count().__next__


class Leaf:
    """The end of the tape at a tensor that requires grad."""

    __slots__ = ("order", "tensor")

    op = None

    def __init__(self, tensor: ref[Tensor]) -> None:
        self.tensor = tensor
        self.order = next_order()


class Node:
    """One operation: `inputs` are Values and Python scalars, `parents` their nodes (None: no gradient).

    A tensor made by an operation with one output has the Node itself; with several, each has a `Part`.
    """

    __slots__ = ("attributes", "inputs", "op", "order", "outputs", "parents")

    def __init__(
        self,
        op: OpDef,
        inputs: tuple[Any, ...],
        parents: tuple[TapeNode | None, ...],
        outputs: tuple[Value, ...],
        attributes: dict[str, Any],
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.parents = parents
        self.outputs = outputs
        self.attributes = attributes
        self.order = next_order()

    def __repr__(self) -> str:
        return f"<tape {self.order} {self.op.name}>"


class Part:
    """Output `index` of a node with several outputs."""

    __slots__ = ("index", "node", "order")

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index
        self.order = next_order()

    @property
    def op(self) -> OpDef:
        return self.node.op


TapeNode = Leaf | Node | Part
