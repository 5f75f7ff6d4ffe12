"""Validation: is this operation the one that the walk has here?

In: an operation as Python is about to do it, and how far the step has come.  Out: the node, or None.
Invariant: nothing changes before an operation is known to be a node's.  Compared are the record, attributes, the
producers of the inputs (by identity), types and sizes; the location only where all that does not decide.
"""

from __future__ import annotations

from types import FrameType
from typing import Any, assert_never

from coexec.graph.keys import same_scalar
from coexec.graph.symbolic import Dim
from coexec.location import callers_frame, location
from coexec.python_side.walk import (
    Expectation,
    ExpectFeed,
    ExpectPhi,
    ExpectSame,
    ExpectScalar,
    Walk,
    WalkNode,
    WalkOutput,
)
from coexec.traces.promise import StepLog, origin
from coexec.traces.record import forward_index
from coexec.traces.trace_graph import SHAPE_ATTRIBUTE
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

_NOBODY = object()  # the promise of an output that this step has not made


class Validator:
    """How far a step has come in its walk.

    `path`: the validated operations.  `made[number]`: the promise of that output in this step.  `bound[slot]`: the
    tensor or number that the step has for a feed.  `phis[slot]`: the output selected last.  `symbols`: their values.
    `located`: the operations of the path that their locations decided.
    """

    __slots__ = ("at", "bound", "located", "log", "made", "path", "phis", "root", "symbols", "walk")

    def __init__(self, walk: Walk, root: FrameType) -> None:
        self.walk = walk
        self.root: FrameType | None = root
        self.at = walk.start
        self.path: list[WalkNode] = []
        self.made: list[Any] = [_NOBODY] * len(walk.outputs)
        self.bound: list[Any] = [None] * len(walk.feeds)
        self.phis: list[WalkOutput | None] = [None] * walk.phis
        self.symbols: dict[str, int] = {}
        self.located: set[int] = set()
        self.log = StepLog()

    def matches(self, node: WalkNode, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> bool:
        """Whether the operation is `node`; changes nothing."""
        if op is not node.op or len(inputs) != node.inputs:
            return False
        if (attributes != node.attributes or node.types) and not self._same_attributes(node, attributes):
            return False
        try:
            if not node.fits(self.made, self.bound, inputs):
                return False
        except AttributeError:  # a number, where the graph has a tensor
            return False
        if node.fits_all:
            return True
        for feed in node.feeds:
            if not self.can_feed(feed, inputs[feed.position]):
                return False
        for expected in node.others:
            if not self._meets(expected, inputs):
                return False
        return not node.unifies or self.unify(node, inputs, attributes) is not None

    def can_feed(self, feed: ExpectFeed, x: Any) -> bool:
        """Whether `x` is what was fed already, or a tensor of the right type from outside the step."""
        if self.bound[feed.slot] is not None:
            return x is self.bound[feed.slot]
        if type(x) is not Value or x.dtype != feed.dtype or origin(x, self.log) is not None:
            return False
        return feed.shape is None or x.shape == feed.shape

    def _same_attributes(self, node: WalkNode, attributes: dict[str, Any]) -> bool:
        """Attributes with numbers (1 is not True) or with symbols in their shape."""
        if attributes.keys() != node.attributes.keys():
            return False
        for name, known in node.attributes.items():
            seen = attributes[name]
            if name == SHAPE_ATTRIBUTE and node.shape_symbols:
                if not isinstance(seen, tuple) or len(seen) != len(known):
                    return False
            elif type(seen) is not type(known) or seen != known:
                return False
        return True

    def _meets(self, expected: Expectation, inputs: tuple[Any, ...]) -> bool:
        x: Any = inputs[expected.position]
        match expected:
            case ExpectPhi(slot=slot):
                output = self.phis[slot]
                return output is not None and type(x) is Value and x.pending is self.made[output.number]
            case ExpectSame(other=other):
                return x is inputs[other]
            case ExpectScalar():
                return self.can_send(expected, x)
            case _:
                assert_never(expected)

    def can_send(self, expected: ExpectScalar, x: Any) -> bool:
        """Whether `x` is a number that the feed can have."""
        known = self.bound[expected.slot]  # sent already only in a further round of a loop
        return expected.admits(x) and (known is None or same_scalar(known, x))

    def unify(self, node: WalkNode, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> dict[str, int] | None:
        """The symbols that this operation would bind; None where its dimensions are not the graph's."""
        fresh: dict[str, int] = {}
        for position, dims in node.symbolic:
            if not self._unify_dims(dims, inputs[position].shape, fresh):
                return None
        if node.shape_symbols:
            shape: tuple[Dim, ...] = node.attributes[SHAPE_ATTRIBUTE]
            if not self._unify_dims(shape, attributes[SHAPE_ATTRIBUTE], fresh):
                return None
        return fresh

    def _unify_dims(self, dims: tuple[Dim, ...], shape: tuple[int, ...], fresh: dict[str, int]) -> bool:
        if len(dims) != len(shape):
            return False
        for dim, extent in zip(dims, shape, strict=True):
            if isinstance(dim, str):
                known = self.symbols.get(dim)
                if known is None:
                    known = fresh.setdefault(dim, extent)
                if known != extent or extent < 2:
                    return False
            elif dim != extent:
                return False
        return True

    def choose(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> WalkNode | None:
        """The child that the operation is, at a fork; locations decide only where nothing else does."""
        matching = [n for n in self.at.children if n.op is not None and self.matches(n, op, inputs, attributes)]
        if len(matching) > 1:
            here = location(callers_frame(), self.root)
            forward = forward_index(self.log)
            place = here, None if forward is None else self.path[forward].trace
            keys = [(n, n.trace.key) for n in matching]
            placed = [n for n, key in keys if key and (key.location, key.forward) == place]
            if len(placed) == 1:
                self.located.add(len(self.path))
            matching = placed or matching
        return matching[0] if matching else None
