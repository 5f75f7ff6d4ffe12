"""Following: a step that runs eagerly walks along the TraceGraph, and records only what the graph does not have.

In: the operations of a step, one by one.  Out: the TraceGraph, grown by what was new, and the step's `Trace`.
Invariant: after each operation the path so far is one of the graph's, on which every input's expected producer is
the one that the step had; so a step cut off anywhere leaves a graph as good as before, once the path has its end.

A step that the graph knows costs a comparison an operation, not a record; one that leaves it and comes back costs
records only in between.  As in `validate`, locations decide only where nothing else does.  `merge`, which sees whole
traces, is the slow way to the same (a test holds them against each other), and what folded loops still need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from coexec.graph.keys import same_attributes
from coexec.graph.match import Matcher, make_matcher
from coexec.location import callers_frame, location
from coexec.traces.loops import find_loops
from coexec.traces.merge import Merger, is_folded, note_rounds
from coexec.traces.opaque import values_to_check
from coexec.traces.promise import Promise, StepLog, make_promise
from coexec.traces.record import External, InputRef, OpRecord, Produced, Recorder, Scalar, Trace, forward_index
from coexec.traces.trace_graph import FromFeed, FromNodes, FromScalar, TraceFeed, TraceGraph, TraceNode, TraceOutput
from minitensor.dispatch import run_eager
from minitensor.ops.opdef import OpDef
from minitensor.value import Value, local

_BORROWED: Any = object()  # what a feed has had where the memory was another's: its next use is of another feed


class Form:
    """What an operation must be like to be its node again.

    `fits`: whether the inputs are just the outputs, constants and feeds of this path that are expected; most are.
    Where it says no: `fixed` leaves out the feeds, which may be free yet: (position, feed, dtype, shape).
    `several`: inputs with several producers.  `numbers`: (position, type) of those that vary.
    `only`: the one output, with `shape` and `dtype`, where there is just one.
    """

    __slots__ = (
        "attributes", "count", "dtype", "feeds", "fits", "fixed", "may_raise", "numbers", "only", "op", "outputs",
        "several", "shape", "typed",
    )  # fmt: skip

    def __init__(self, node: TraceNode) -> None:
        assert node.op is not None
        self.op = node.op
        self.may_raise = node.op.may_raise
        self.attributes = node.attributes
        self.typed = any(isinstance(v, bool | int | float | complex) for v in node.attributes.values())
        self.count = len(node.inputs)
        self.outputs = [(o, s.shape, s.dtype) for o, s in zip(node.outputs, node.output_specs, strict=True)]
        self.only: TraceOutput | None = None
        self.shape: Any = None
        self.dtype: np.dtype[Any] | None = None
        if len(self.outputs) == 1:
            self.only, self.shape, self.dtype = self.outputs[0]
        fixed: list[Any] = []
        self.feeds: list[tuple[int, TraceFeed, np.dtype[Any], Any]] = []
        self.several: list[tuple[int, list[TraceOutput]]] = []
        self.numbers: list[tuple[int, type]] = []
        for position, (wiring, spec) in enumerate(zip(node.inputs, node.input_specs, strict=True)):
            if isinstance(wiring, FromFeed):
                assert spec is not None
                self.feeds.append((position, wiring.feed, spec.dtype, spec.shape))
            elif isinstance(wiring, FromScalar):
                if wiring.varies:
                    self.numbers.append((position, type(wiring.value)))
                else:
                    fixed.append(("constant", position, wiring.value))
            elif len(wiring.alternatives) == 1:
                fixed.append(("traced", position, wiring.alternatives[0]))
            else:
                self.several.append((position, wiring.alternatives))
        self.fixed: Matcher = make_matcher(fixed)
        self.fits: Matcher = _never
        if not (self.several or self.numbers):
            self.fits = make_matcher([*fixed, *[("given", position, feed) for position, feed, _, _ in self.feeds]])


def _never(made: Any, bound: Any, inputs: tuple[Any, ...]) -> bool:
    return False


def _form_of(node: TraceNode) -> Form | None:
    """The node's form, made when it is first asked for; None where sizes have symbols: those are for the merger."""
    specs = [spec for spec in (*node.input_specs, *node.output_specs) if spec is not None]
    if node.op is None or any(isinstance(d, str) for spec in specs for d in spec.shape):
        node.form = False
        return None
    form = node.form = Form(node)
    return form


@dataclass(frozen=True, slots=True)
class _Gone:
    """The promise of an output that nobody has held since operation `index` was validated."""

    index: int


class Follower(Recorder):
    """A Recorder that goes along with the graph.

    Args:
        root, log, trace, externals: as for `Recorder`; graph: grows as the step goes on.

    `failure`: a mistake of this package, after which nothing more is recorded.
    """

    __slots__ = ("_began", "_bound", "_fresh", "_made", "_merging", "failure", "graph", "merger", "path")

    def __init__(self, root: FrameType, log: StepLog, graph: TraceGraph, trace: Trace, externals: list[Value]) -> None:
        super().__init__(root, log, trace, externals, graph.lessons.volatile)
        self.graph = graph
        self.merger = Merger(graph, trace)
        self.path = trace.prefix = self.merger.path.nodes
        trace.follower = self
        self.failure: Exception | None = None
        self._began = graph.version
        self._merging = False
        self._bound: dict[TraceFeed, Value] = {feed: externals[number] for feed, number in trace.feeds.items()}
        self._fresh: dict[TraceFeed, Value] = {}
        # Outputs of a call taken at once have no promise, but what they replace on the path is the latest no longer.
        path, self._made = self.path, dict[TraceOutput, Promise | _Gone]()
        if len(log.made) < sum([len(node.outputs) for node in path]):
            self._made = {o: _Gone(i) for i, node in enumerate(path) for o in node.outputs}
        for promise in log.made:
            self._made[path[promise.index].outputs[promise.output]] = promise

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """Runs the eager rule, and goes on to the node that the operation is, made if there is none."""
        if self.busy:
            return run_eager(op, inputs, attributes)
        self.busy = True
        try:
            if self.merger.generalised:  # until it is pruned, the graph has readers with fewer symbols than producers
                return self.record(op, inputs, attributes)
            path = self.path
            children = path[-1].children if path else self.graph.start.children
            if len(children) == 1:
                node: TraceNode | None = children[0]
                form: Any = children[0].form
                try:  # `is_node` of most operations, for the price of its call
                    is_it = form and form.op is op and not form.typed and len(inputs) == form.count
                    is_it = is_it and attributes == form.attributes and form.fits(self._made, self._bound, inputs)
                except AttributeError:  # a number, where the node has a tensor
                    is_it = False
                if is_it:
                    self._fresh = {}
                elif not self.is_node(children[0], op, inputs, attributes):
                    node = None
            else:
                node = self._choose(children, op, inputs, attributes)
            if node is None:
                return self.record(op, inputs, attributes)
            form = node.form
            if form.may_raise:
                self.check(values_to_check(op, inputs))
            results = run_eager(op, inputs, attributes)
            if form.only is not None:
                value = results[0]
                if (
                    value.shape == form.shape and value.dtype is form.dtype
                ):  # most operations: written out for its price
                    if self._fresh:
                        self._bind()
                    value.pending = self._made[form.only] = promise = Promise(value)
                    promise.owner, promise.index, promise.output, promise.source = self.log, len(path), 0, None
                    self.log.made.append(promise)
                    path.append(node)
                    return results
            return self._arrive(node, op, inputs, attributes, results)
        finally:
            self.busy = False

    def _arrive(
        self,
        node: TraceNode,
        op: OpDef,
        inputs: tuple[Any, ...],
        attributes: dict[str, Any],
        results: tuple[Value, ...],
    ) -> tuple[Value, ...]:
        """The step goes on from `node`, if the operation's results are such as the node has."""
        outputs = node.form.outputs
        for (_, shape, dtype), value in zip(outputs, results, strict=True):
            if value.shape != shape or value.dtype != dtype:
                self.note(op, inputs, attributes, results, location(callers_frame(), self.root))
                return results
        if self._fresh:
            self._bind()
        for (output, _, _), value in zip(outputs, results, strict=True):
            self._made[output] = make_promise(value, self.log, len(self.path), output.index)
        self.path.append(node)
        return results

    def is_node(self, node: TraceNode, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> bool:
        """Whether the operation is `node` without any change to it; leaves in `_fresh` the feeds that it binds."""
        form = node.form or (node.form is None and _form_of(node))
        if not form or form.op is not op or len(inputs) != form.count:
            return False
        if attributes != form.attributes or (form.typed and not same_attributes(attributes, form.attributes)):
            return False
        if self._fresh:
            self._fresh = {}
        try:
            if form.fits(self._made, self._bound, inputs):
                return True
            if not form.fixed(self._made, None, inputs):
                return False
        except AttributeError:  # a number, where the node has a tensor
            return False
        for position, feed, dtype, shape in form.feeds:
            if not self._can_feed(inputs[position], feed, dtype, shape):
                return False
        for position, several in form.several:
            if not self._is_latest(inputs[position], several):
                return False
        return all(type(inputs[position]) is kind for position, kind in form.numbers)

    def _can_feed(self, x: Any, feed: TraceFeed, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        known = self._bound.get(feed) or self._fresh.get(feed)
        if known is not None:
            return x is known and bool(x.owned)
        if type(x) is not Value or x.dtype != dtype or x.shape != shape:
            return False
        if type(promise := x.pending) is Promise and promise.owner is self.log:
            return False
        self._fresh[feed] = x
        return True

    def _is_latest(self, x: Any, alternatives: list[TraceOutput]) -> bool:
        """Whether `x` comes from that producer, among those possible, that was executed last."""
        promise = x.pending if type(x) is Value else None
        if type(promise) is not Promise or promise.owner is not self.log:
            return False
        output = self.path[promise.index].outputs[promise.output]
        if self._made.get(output) is not promise or output not in alternatives:
            return False
        others = [self._made[other].index for other in alternatives if other is not output and other in self._made]
        return max(others, default=-1) < promise.index

    def _choose(
        self, children: list[TraceNode], op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]
    ) -> TraceNode | None:
        """The child that the operation is, at a fork."""
        matching = [node for node in children if self.is_node(node, op, inputs, attributes)]
        if len(matching) > 1:
            here = location(callers_frame(), self.root)
            forward = None if local.differentiating is None else forward_index(self.log)
            place = here, None if forward is None else self.path[forward]
            matching = [n for n in matching if n.key and (n.key.location, n.key.forward) == place] or matching
        if not matching or not self.is_node(matching[0], op, inputs, attributes):  # again, for the feeds
            return None
        return matching[0]

    def _bind(self) -> None:
        for feed, value in self._fresh.items():
            self._bound[feed] = value if value.owned else _BORROWED
            self.merger.path.feeds[feed] = self._external(value).number
        self._fresh = {}

    def _note_record(self, record: OpRecord, inputs: tuple[Any, ...], outputs: tuple[Value, ...]) -> None:
        """Merges the operation, which the graph does not have here as it stands."""
        index = len(self.path)
        self.graph.settle()
        self._merging = True
        try:
            self.merger.take(record)
        except Exception as error:  # a mistake of this package must not become one of the program
            self.failure = error
            local.observer = None
            return
        self._merging = False
        node = self.path[-1]
        for wiring, x in zip(node.inputs, inputs, strict=True):
            if isinstance(wiring, FromFeed):
                self._bound[wiring.feed] = x if x.owned else _BORROWED
        for i, value in enumerate(outputs):
            self._made[node.outputs[i]] = make_promise(value, self.log, index, i)

    def end(self) -> Trace:
        """The step has ended: as in `Recorder`; `finish` tells the graph."""
        trace = super().end()
        self._bound.clear()
        self._made.clear()
        return trace

    @property
    def is_broken(self) -> bool:
        """Whether the graph was left in the middle of a change."""
        return self._merging

    @property
    def has_news(self) -> bool:
        """Whether the graph has grown."""
        return self.graph.version != self._began

    def finish(self) -> None:
        """The graph learns how the step ended.

        Raises what went wrong while it was recorded.
        """
        if self.failure is not None:
            raise self.failure
        self.graph.settle()
        self.merger.finish(self.trace)
        if self.has_news:
            _count_rounds(self.graph, self.trace, self.merger)


def make_recorder(root: FrameType, log: StepLog, graph: TraceGraph, trace: Trace, externals: list[Value]) -> Recorder:
    """Who records a step, or the rest of one whose `trace` has a prefix: a Follower wherever one can.

    Bodies of loops need to be seen as a whole, and a path through nodes that were pruned since leads nowhere.
    """
    if graph.lessons.folded or any(node.removed for node in trace.prefix):
        return Recorder(root, log, trace, externals, graph.lessons.volatile)
    return Follower(root, log, graph, trace, externals)


def _count_rounds(graph: TraceGraph, trace: Trace, merger: Merger) -> None:
    """Notes the loops of a path that is new to the graph."""
    if len({node.place for node in trace.prefix}) == len(trace.prefix):
        return
    records = _first_records(graph, trace.prefix)  # loops are found without looking at inputs
    loops = [loop for loop in find_loops(records) if note_rounds(graph, records[loop.begin], loop)]
    if loops:
        whole = Trace(records=_records_of(trace.prefix, merger.path.feeds), reads=trace.reads, kept=trace.kept)
        for loop in loops:
            is_folded(graph, whole, loop)


def _first_records(graph: TraceGraph, path: list[TraceNode]) -> list[OpRecord]:
    """Records like those of the path but for their inputs.

    They are those that the nodes were made for, unless sizes have become symbols since.
    """
    first = [node.first for node in path if node.first is not None]
    return first if len(first) == len(path) and not graph.symbols.origins else _records_of(path, {})


def _records_of(path: list[TraceNode], feeds: Mapping[TraceFeed, int]) -> list[OpRecord]:
    """A path as the records that it would have been."""
    place: dict[TraceNode, int] = {}
    same: dict[Any, Any] = {}  # one object for equal specs, as records have it
    records = []
    for index, node in enumerate(path):
        key = node.key
        assert node.op is not None and key is not None
        inputs: list[InputRef] = []
        for wiring in node.inputs:
            if isinstance(wiring, FromNodes):
                several = wiring.alternatives
                latest = max(several, key=lambda o: place.get(o.node, -1)) if len(several) > 1 else several[0]
                inputs.append(Produced(place.get(latest.node, -1), latest.index))
            elif isinstance(wiring, FromFeed):
                inputs.append(External(feeds.get(wiring.feed, -1)))
            else:
                inputs.append(Scalar(wiring.value))
        specs: Any = tuple([s and same.setdefault((s.shape, id(s.dtype)), s) for s in node.input_specs])
        outputs: Any = node.output_specs
        forward = None if key.forward is None else index
        records.append(OpRecord(node.op, node.attributes, tuple(inputs), specs, outputs, key.location, forward))
        place[node] = index
    return records
