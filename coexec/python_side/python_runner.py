"""PythonRunner: validates each operation of a step against the walk and runs ahead of the graph.

In: the operations, reads and rebindings of one step (`Observer`).  Out: empty values, feeds and choice words for the
GraphRun; in the end a `Trace` of what the graph did not have.
Invariants: an operation counts only once op, attributes, producers of the inputs and types were compared; the
graph computes nothing but pure operations, so nothing is committed beyond the watermark (`path`); when the step
leaves the graph, every live value of the prefix is filled, and a Recorder goes on from that very operation.  Finalisers
and signal handlers run anywhere, also within these methods: what they do there is eager, and no part of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from types import FrameType
from typing import Any

from coexec.graph.symbolic import Output
from coexec.graph_side.runner_protocol import Array, GraphRun
from coexec.location import callers_frame, location, users_line
from coexec.python_side import macros
from coexec.python_side.draft import Draft
from coexec.python_side.exchange import Exchange
from coexec.python_side.mismatch import describe_expected
from coexec.python_side.replay import Key, OpLog, replay
from coexec.python_side.walk import ExpectFeed, Walk, WalkNode, WalkOutput
from coexec.traces.follow import make_recorder
from coexec.traces.opaque import BEYOND, blank_for, operands_of, raise_if_impossible, values_to_check, why_opaque
from coexec.traces.promise import Promise, empty_value, make_promise, origin
from coexec.traces.record import Produced, Recorder, Trace, forward_index
from coexec.traces.trace_graph import TraceFeed
from minitensor.dispatch import explain_failure, run_eager
from minitensor.ops.opdef import OpDef
from minitensor.value import Value, WholeCalls, filled, local

new_value = Value.__new__
Remains = Callable[[Output], Array | None]  # what a cancelled run still has


def _nothing(_: Output) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: in the graph (`reason` is None) or not, and what the TraceGraph should learn, if anything.

    `pays`: the graph had at least as many operations as Python did itself.
    """

    trace: Trace | None
    reason: str | None
    pays: bool = False


class PythonRunner(Exchange, WholeCalls):
    """The observer of a co-executed step.

    Args:
        walk: what is expected; `run`: the graph's side of this step; `root`: the frame that called the step.
    """

    __slots__ = (
        "busy", "draft", "finished", "left_at", "left_to_python", "looks", "reads", "reason", "recorder", "whole_calls",
    )  # fmt: skip

    def __init__(self, walk: Walk, run: GraphRun, root: FrameType) -> None:
        super().__init__(walk, run, root)
        self.finished = False  # the graph may go on to its end by itself
        self.reads: list[tuple[int, Produced]] = []  # reads that the graph does not deliver
        self.looks = 0  # how often Python has asked for contents
        self.busy = False  # with an operation, or the step has left the graph (`_aside`)
        self.draft: Draft | None = None  # of the call under way, to learn it
        self.whole_calls = 0  # that were taken at once
        self.recorder: Recorder | None = None
        self.reason: str | None = None
        self.left_to_python: list[tuple[str, str]] = []  # operations that no graph has to have, and why
        self.left_at: float  # when the step left the graph, if it did
        self.log.fill_pending = self._fill

    # --- the observer ------------------------------------------------------------------------------------

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """Validates one operation and promises its outputs; leaves the graph where it is another one."""
        if self.busy:
            return self._aside(op, inputs, attributes)
        self.busy = True
        try:
            node = self.at.only
            if node is not None and node.op is op and (simple := node.simple) is not None:
                try:  # `matches`, for the price of its call
                    fits = (
                        len(inputs) == node.inputs
                        and attributes == node.attributes
                        and ((types := node.types) is None or tuple(map(type, attributes.values())) == types)
                        and node.fits(self.made, self.bound, inputs)
                    )
                except AttributeError:  # a number, where the graph has a tensor
                    fits = False
                if fits and (not node.feeds or self._feed_fresh(node.feeds, inputs)):
                    return (self._promise_next(node, simple),)
            if node is None or not self.matches(node, op, inputs, attributes):
                node = self.choose(op, inputs, attributes)
                if node is None:
                    return self._outside(op, inputs, attributes)
            elif node.plain is not None:
                return (self._promise_next(node, node.plain),)
            if op.may_raise:
                self._check_contents(op, inputs, attributes)
                if self.recorder is not None:
                    return self.recorder.execute(op, inputs, attributes)
            at = self.at
            try:
                if at.case is not None:
                    self.run.choose(at.case, at.children.index(node))
                    if node in at.rounds:
                        self.posted -= at.rounds[node]
                if node.unifies:
                    self.bind(self.unify(node, inputs, attributes) or {})
                    if node.shape_symbols:
                        self.attributes[len(self.path)] = attributes
                values = self._advance(node, inputs, attributes)
                for slot, output in node.selects:
                    self.phis[slot] = output
                if node.reads:
                    self.posted |= node.reads
                return values
            except BaseException:  # an interruption, or no stack left: the graph was told of it, and Python may go on
                self.leave(f"interrupted in the middle of {op.name}")
                raise
        finally:
            self.busy = self.recorder is not None

    def _aside(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """An operation of a finaliser or a signal handler in the middle of another one, or the other one, where the
        graph was left by what came in between."""
        if self.recorder is not None:
            return self.recorder.execute(op, inputs, attributes)
        return run_eager(op, inputs, attributes)

    def on_read(self, value: Value) -> None:
        """Python is about to read a value."""
        if not self.busy:
            self.look(value)
        elif self.recorder is not None:
            self.recorder.on_read(value)

    def look(self, value: Value) -> None:
        """Python looks at a value: waits for the graph if this step made it, and Python does not have it by itself."""
        self.looks += 1
        promise = value.pending
        if value.array is not None or type(promise) is not Promise or promise.owner is not self.log:
            return
        if self.path[promise.index].outside is not False and self.compute(value, promise):
            return
        source = promise.source
        if source in self.posted and self.made[source.number] is promise:
            self.fetch(value, source)
        else:
            self.reads.append((len(self.path), Produced(promise.index, promise.output)))
            promise.fill(value)

    def on_rebind(self, tensor: Any, value: Value) -> None:
        """Nothing to do: names belong to Python, and Python has validated this."""

    def take_backward(self, tensor: Any, gradient: Any) -> bool:
        return bool(self._alone(macros.take_backward, tensor, gradient))

    def note_backward(self) -> None:
        self._alone(macros.note)

    def take_update(self, optimizer: Any) -> bool:
        return bool(self._alone(macros.take_update, optimizer))

    def note_update(self) -> None:
        self._alone(macros.note)

    def _alone(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Does what operations must not come in between; None, and nothing is done, where it is such work that was."""
        if self.busy:
            return None
        self.busy = True
        try:
            return work(self, *arguments)
        except BaseException:  # as in `execute`
            self.leave("interrupted in the middle of a call")
            raise
        finally:
            self.busy = self.recorder is not None

    def may_take(self, operations: int) -> bool:
        """Whether so many operations may be taken at once; `testing` says no where it has planned something."""
        return True

    # --- advancing ---------------------------------------------------------------------------------------

    def _check_contents(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
        """The fence: what the operation can fail on is read and checked.

        Raises what the operation raises.
        """
        checked, looks = values_to_check(op, inputs), self.looks
        for value in checked:
            self.look(value)
        self.looks = looks  # Python did not ask
        operands: list[Any] = [filled(x) if x in checked else x for x in inputs]  # a former step may still compute one
        try:
            if op.check is None:
                op.eager(*map(blank_for, operands), **attributes)
                return
            try:
                op.check(*operands, **attributes)
            except Exception:  # the rule itself says it in its own words
                op.eager(*map(blank_for, operands), **attributes)
                raise
        except Exception as error:
            explain_failure(error, op, inputs, attributes)

    def _feed_fresh(self, feeds: tuple[ExpectFeed, ...], inputs: tuple[Any, ...]) -> bool:
        """Feeds what an operation is the first to use; False, and nothing has changed, where it cannot be fed."""
        fresh = self.fresh(feeds, inputs)
        if fresh is None:
            return False
        try:
            if len(fresh) == 1:
                self.feed(*fresh[0])
            elif fresh:
                self.feed_all(fresh)
        except BaseException:  # as in `execute`
            self.leave("interrupted in the middle of a feed")
            raise
        return True

    def _advance(self, node: WalkNode, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """The operation is valid: feeds what the graph lacks, and promises the outputs."""
        for slot, position in node.sends:
            if self.bound[slot] is None:
                self.feed(slot, inputs[position])
        if len(node.outputs) == 1 and node.outputs[0].shape is not None:
            return (self._promise_next(node, node.outputs[0]),)
        index = len(self.path)
        values = []
        for i, output in enumerate(node.outputs):
            value = empty_value(self.concrete(node, i, inputs, attributes), output.dtype)
            self.made[output.number] = make_promise(value, self.log, index, i, output)
            values.append(value)
        self.path.append(node)
        self.at = node
        return tuple(values)

    def _promise_next(self, node: WalkNode, output: WalkOutput) -> Value:
        """The end of `_advance` for one output of known shape, written out: calls would double its price."""
        value = new_value(Value)
        value.array, value.owned, value.exported = None, True, False
        value.shape, value.dtype = output.known_shape, output.dtype
        value.pending = self.made[output.number] = promise = Promise(value)
        log, path = self.log, self.path
        promise.owner, promise.index, promise.output, promise.source = log, len(path), 0, output
        log.made.append(promise)
        path.append(node)
        self.at = node
        return value

    # --- leaving the graph -------------------------------------------------------------------------------

    def _outside(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """An operation that the graph does not have here: Python's own, or the end of co-execution in this step."""
        because = why_opaque(op, operands_of(inputs), attributes)
        if because is None and self._is_volatile(op):
            because = "its attributes or sizes vary more than a graph can follow"
        if because is None or because is BEYOND:
            raise_if_impossible(op, inputs, attributes)
        if because is not None:
            for x in inputs:
                if isinstance(x, Value):
                    self.look(x)
            self.left_to_python.append((f"{op.name} at {users_line()}", because))
            return run_eager(op, inputs, attributes)
        expected = describe_expected(self.at.children, op, inputs, attributes)
        recorder = self.leave(f"{op.name} at {users_line()}, where the graph has {expected}")
        return recorder.execute(op, inputs, attributes)

    def _is_volatile(self, op: OpDef) -> bool:
        """Whether it is left to Python wherever it comes by."""
        if not self.walk.volatile:
            return False
        forward = forward_index(self.log)
        of = None if forward is None else self.path[forward].trace.place
        return ((op.name, location(callers_frame(), self.root)), of) in self.walk.volatile

    def leave(self, reason: str) -> Recorder:
        """Stops the graph, fills what is alive, and hands the rest of the step to a Recorder."""
        if self.recorder is None:
            self.left_at = perf_counter()
            made = self.log.made
            while made and made[-1].index >= len(self.path):
                made.pop()  # of an operation that was interrupted: nobody has its outputs
            self._fill_live()
            self.reason = reason
            trace, externals = self._prefix()
            assert self.root is not None
            self.recorder = make_recorder(self.root, self.log, self.walk.traces, trace, externals)
            self.busy = True
            if local.observer is self:
                local.observer = self.recorder
        return self.recorder

    def _prefix(self) -> tuple[Trace, list[Value]]:
        """The validated prefix as the beginning of a trace."""
        numbers: dict[int, int] = {}
        externals: list[Value] = []
        feeds: dict[TraceFeed, int] = {}
        for feed, value in zip(self.walk.feeds, self.bound, strict=True):
            if feed is not None and value is not None:
                if id(value) not in numbers:
                    numbers[id(value)] = len(externals)
                    externals.append(value)
                feeds[feed] = numbers[id(value)]
        prefix = [node.trace for node in self.path]
        return Trace(prefix=prefix, feeds=feeds, symbols=dict(self.symbols), reads=list(self.reads)), externals

    def _fill(self, value: Value) -> None:
        """Computes one value by replay (another thread's demand, or a read that the graph does not deliver)."""
        promise = origin(value, self.log)
        assert promise is not None
        self._fill_all([(value, promise)])

    def _fill_live(self) -> None:
        """Has the graph go on to the last of what is alive and stop there; then all that is alive is filled."""
        with self.log.lock:
            owed = [(value, promise) for value, promise in self.log.live() if promise.owner is not None]  # no handle
            empty = [(value, promise) for value, promise in owed if value.array is None]
            wanted = [p.source.output for _, p in empty if self.made[p.source.number] is p]
            self._fill_all(empty, _nothing if self.finished else self.run.cancel(wanted))

    def _fill_all(self, values: list[tuple[Value, Promise]], remains: Remains = _nothing) -> None:
        """Fills values with what the graph has of them, or else by replay from what it has of their operands."""
        if not values:
            return
        path = list(self.path)  # where another thread asks, Python goes on meanwhile

        def rescued(key: Key) -> Value | None:
            array = remains(path[key[0]].outputs[key[1]].output)
            return None if array is None else Value(array)

        keys = {(promise.index, promise.output): value for value, promise in values}
        live = [(value, p) for value, p in self.log.live() if p.index < len(path)]
        known = {(p.index, p.output): value for value, p in live if value.array is not None}
        log = OpLog(path, self.attributes, self.sent, self.walk.phis)
        for key, result in replay(log, list(keys), known, rescued).items():
            keys[key].array = result.array

    # --- the end -----------------------------------------------------------------------------------------

    def end(self) -> Outcome:
        """The step returned or raised: lets the graph finish, or the recorder."""
        if self.recorder is None and self.at.ends is None:
            expected = ", ".join(str(n.op.name) for n in self.at.children if n.op)
            self.leave(f"the step ended behind {self.at.trace.where}, where the graph has {expected}")
        if self.recorder is not None:
            trace = self.recorder.end()
            self._let_go()
            return Outcome(trace, self.reason or "the step left the graph")
        if self.at.case is not None and self.at.ends is not None:
            self.run.choose(self.at.case, self.at.ends)
        with self.log.lock:
            kept = self._hand_over()
        news: Trace | None = None
        if kept or self.reads:
            news, _ = self._prefix()
            news.kept += kept
        self._let_go()
        return Outcome(news, None, len(self.path) >= len(self.left_to_python))

    @property
    def is_over(self) -> bool:
        """Whether `end` or `abandon` has settled everything."""
        return self.root is None

    def abandon(self) -> Trace:
        """The step was interrupted (KeyboardInterrupt, SystemExit): fills what is alive.

        Returns what there is of its trace.
        """
        trace = self.leave("interrupted").end()
        self._let_go()
        return trace

    def _hand_over(self) -> list[Produced]:
        """Every live value gets its handle, or its contents where the graph did not know that it would live.

        Returns the latter.
        """
        owed: list[Promise] = []
        outputs: list[Output] = []
        unknown: list[tuple[Value, Promise]] = []
        made = self.made
        for promise in self.log.made:
            value = promise()
            if value is None:
                continue
            if value.array is not None:
                promise.settle(None)
                value.pending = None
                continue
            source: WalkOutput = promise.source
            if source.kept and made[source.number] is promise:  # not of an earlier round
                owed.append(promise)
                outputs.append(source.output)
            else:
                unknown.append((value, promise))
        if unknown:
            self._fill_all(unknown)
        handles = self.run.finish(outputs)
        self.finished = True
        for promise, handle in zip(owed, handles, strict=True):
            promise.handle, promise.source, promise.owner = handle, None, None  # `settle`
        for value, promise in unknown:
            promise.settle(None)
            value.pending = None
        return [Produced(promise.index, promise.output) for _, promise in unknown]

    def _let_go(self) -> None:
        """Drops every reference to the step's Python side (the frame holds this runner: no cycle may be left)."""
        self.root = None
        self.recorder = self.draft = None
        self.log.fill_pending = None
        self.log.made.clear()
        self.made.clear()
        self.bound.clear()
        self.sent.clear()
        self.attributes.clear()
