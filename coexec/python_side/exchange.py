"""What a step and its graph tell each other: symbols and feeds go out, contents come back.

In: validated operations, and values that Python looks at.  Out: words to the GraphRun; filled values.
Invariant: a feed is sent once, as it is when its first user is validated (borrowed memory as a copy); what Python has
without the graph is not asked of it; every wait is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from types import FrameType
from typing import Any

import numpy as np

from coexec.graph.symbolic import Dim, ScalarValue
from coexec.graph_side.runner_protocol import Array, GraphRun, Handle
from coexec.location import users_line
from coexec.python_side.validate import Validator
from coexec.python_side.walk import ExpectFeed, ExpectSame, Walk, WalkNode, WalkOutput
from coexec.traces.outside import is_from_outside
from coexec.traces.promise import Promise, origin
from minitensor.ops.opdef import TensorSpec
from minitensor.value import Value, filled

LEAST_STALL = 5e-6  # seconds: what is there is had in less, and a wait for the graph takes longer


class Exchange(Validator):
    """A step in its walk, with the graph's side of it.

    `sent`: what `bound` has, as it was sent: borrowed memory copied.  `attributes`: by operation, where the graph's
    hold symbols.  `shapes`: of this step, by the dimensions of the graph.  `posted`: what the graph delivers at a point
    passed already.  `stalls`: when Python waited for the graph: begin, end, what for.
    """

    __slots__ = ("attributes", "posted", "run", "sent", "shapes", "stalls")

    def __init__(self, walk: Walk, run: GraphRun, root: FrameType) -> None:
        super().__init__(walk, root)
        self.run = run
        self.attributes: dict[int, dict[str, Any]] = {}
        self.sent: list[Any] = [None] * len(walk.feeds)
        self.shapes: dict[tuple[Dim, ...], tuple[int, ...]] = {}
        self.posted: set[WalkOutput] = set()
        self.stalls: list[tuple[float, float, str]] = []

    def leave(self, reason: str) -> Any:
        """Stops the graph; the rest of the step goes on without it."""
        raise NotImplementedError

    # --- symbols and sizes -------------------------------------------------------------------------------

    def bind(self, fresh: dict[str, int]) -> None:
        """Symbols get their values, for both sides."""
        for name, extent in fresh.items():
            self.symbols[name] = extent
            self.run.bind(self.walk.symbols[name], extent)

    def concrete(
        self, node: WalkNode, index: int, inputs: tuple[Any, ...], attributes: dict[str, Any]
    ) -> tuple[int, ...]:
        """The shape of an output that may have symbols; symbols met here first are bound."""
        if (shape := node.outputs[index].shape) is not None:
            return shape
        dims = node.outputs[index].dims
        if (shape := self.shapes.get(dims)) is not None:
            return shape
        unknown = {d for d in dims if isinstance(d, str) and d not in self.symbols}
        if unknown:
            assert node.op is not None
            operands = [TensorSpec(x.shape, x.dtype) if isinstance(x, Value) else x for x in inputs]
            inferred = node.op.infer(*operands, **attributes)
            spec = inferred[index] if isinstance(inferred, tuple) else inferred
            extents = zip(dims, spec.shape, strict=True)
            self.bind({d: int(extent) for d, extent in extents if isinstance(d, str) and d in unknown})
        shape = self.shapes[dims] = tuple([self.symbols[d] if isinstance(d, str) else d for d in dims])
        return shape

    # --- feeds -------------------------------------------------------------------------------------------

    def feed(self, slot: int, x: Value | ScalarValue) -> None:
        """Sends a feed: a number, an array nobody writes to, or the handle of what an earlier step will deliver.

        Of borrowed memory the copy is what is bound: used again later in the step, it may have other contents.
        """
        self.bound[slot] = x
        try:
            if type(x) is Value and (contents := _as_it_is(x)) is not None:
                self.sent[slot] = x
                self.run.feed(slot, contents)
            else:
                self._send(slot, x)
        except Exception as error:  # the step that owes the value failed: this one's graph would wait for ever
            self.bound[slot] = None
            self.leave(f"a feed failed ({type(error).__name__}: {error}) at {users_line()}")
            raise

    def feed_all(self, fresh: Sequence[tuple[int, Any]]) -> None:
        """The same for several feeds, each (slot, value): the graph is told once."""
        bound, sent = self.bound, self.sent
        together: list[tuple[int, Array | Handle]] = []
        for slot, x in fresh:
            contents: Any = None
            if type(x) is Value:  # `_as_it_is`, written out
                if (contents := x.array) is None:
                    promise = x.pending
                    contents = promise.handle if type(promise) is Promise and promise.owner is None else None
                elif not x.owned:
                    contents = None
            if contents is None:
                self.feed(slot, x)
            else:
                bound[slot] = sent[slot] = x
                together.append((slot, contents))
        try:
            self.run.feed_all(together)
        except Exception as error:  # as above
            for slot, _ in together:
                self.bound[slot] = None
            self.leave(f"a feed failed ({type(error).__name__}: {error}) at {users_line()}")
            raise

    def fresh(self, feeds: Sequence[ExpectFeed], inputs: Sequence[Any]) -> list[tuple[int, Any]] | None:
        """What is used here first, each (slot, value); None where one of them cannot be fed.  Changes nothing.

        `can_feed` for each feed of known shape, written out: steps feed dozens.
        """
        bound, log = self.bound, self.log
        found: list[tuple[int, Any]] = []
        for feed in feeds:
            slot, x = feed.slot, inputs[feed.position]
            if (known := bound[slot]) is not None:
                if x is not known:
                    return None
                continue
            if type(x) is not Value or x.dtype != feed.dtype or x.shape != feed.shape:
                return None
            if type(promise := x.pending) is Promise and promise.owner is log:
                return None
            found.append((slot, x))
        return found

    def _send(self, slot: int, x: Value | ScalarValue) -> None:
        if not isinstance(x, Value):
            self.sent[slot] = x
            self.run.feed(slot, x)
            return
        self._wait(x)
        sent = x.snapshot()
        assert sent.array is not None
        self.sent[slot] = self.bound[slot] = sent
        self.run.feed(slot, sent.array)

    def _wait(self, value: Value) -> None:
        """A value that another step still owes (one of another thread's)."""
        promise = value.pending
        if value.array is None and promise is not None:
            begin = perf_counter()
            promise.fill(value)
            self.stalls.append((begin, perf_counter(), "a value that another step makes"))

    # --- contents ----------------------------------------------------------------------------------------

    def fetch(self, value: Value, source: WalkOutput) -> None:
        """Waits for a value that the graph delivers."""
        begin = perf_counter()
        try:
            array: Array = self.run.fetch(source.output)
        except Exception as error:
            self.leave(f"the graph failed ({type(error).__name__}: {error}) at {users_line()}")
            return
        finally:
            end = perf_counter()
            if end - begin > LEAST_STALL:
                self.stalls.append((begin, end, source.told))
        with self.log.lock:
            if value.array is None:
                value.array = array

    def is_at_hand(self, value: Value) -> bool:
        """Whether the contents are there, or will come from the graph."""
        promise = origin(value, self.log)
        if promise is None or value.array is not None:
            return True
        return promise.source in self.posted and self.made[promise.source.number] is promise

    def compute(self, value: Value, promise: Promise) -> bool:
        """Fills a value whose contents Python has without the graph; whether they are there now."""
        if value.array is not None:
            return True
        node = self.path[promise.index]
        if node.outside is None:
            node.outside = is_from_outside(node.trace)
        if not node.outside:
            return False
        array = self._computed(promise)
        if array is None:
            return False
        with self.log.lock:
            if value.array is None:
                value.array = array
        return True

    def _computed(self, promise: Promise) -> Array | None:
        """What an operation makes of operands from outside; None where a further round of a loop replaced one."""
        node = self.path[promise.index]
        assert node.op is not None
        operands: list[Any] = [None] * node.inputs
        for position, number in node.sources:
            source = self.made[number]
            if type(source) is not Promise or source.index > promise.index:
                return None
            operand = self._computed(source)
            if operand is None:
                return None
            operands[position] = operand
        for position, slot in [*node.fed, *[(e.position, e.slot) for e in node.feeds]]:
            operands[position] = filled(self.sent[slot])
        for position, constant in node.constants:
            operands[position] = constant
        for expected in node.others:
            operands[expected.position] = (
                operands[expected.other] if isinstance(expected, ExpectSame) else self.sent[expected.slot]
            )
        attributes = self.attributes.get(promise.index, node.attributes)
        return np.asarray(node.op.eager(*operands, **attributes))


def _as_it_is(x: Value) -> Array | Handle | None:
    """What can be sent of a value without a copy or a wait: its array, or the handle of what an earlier step owes.

    A step that still runs in another thread has no handle to give yet (`owner`).
    """
    array = x.array
    if array is not None:
        return array if x.owned else None
    promise = x.pending  # read once: whoever fills the value takes it away
    return promise.handle if type(promise) is Promise and promise.owner is None else None
