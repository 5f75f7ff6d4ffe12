"""Records of operations, and the observer that makes them while a step runs eagerly.

In: the operations of a step, one by one (`Observer.execute`).  Out: a `Trace`, which `merge` adds to the TraceGraph.
Invariant: a trace holds names of producers, attributes, specs and locations: no tensor, no array, no frame.

Operations that no kernel can do (`why_opaque`) leave no record: they are Python's, like any call of NumPy.  Their
operands are reads and their results come into the trace from outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from coexec.graph.symbolic import ScalarValue
from coexec.location import Location, callers_frame, line_of, location
from coexec.traces.opaque import BEYOND, operands_of, raise_if_impossible, spec_of, values_to_check, why_opaque
from coexec.traces.outside import is_record_from_outside
from coexec.traces.promise import Promise, StepLog, make_promise, origin
from coexec.traces.trace_graph import Kind, Place, TraceFeed, TraceNode
from minitensor.dispatch import run_eager
from minitensor.ops.opdef import OpDef, TensorSpec
from minitensor.value import Value, local

if TYPE_CHECKING:
    from coexec.traces.follow import Follower

# Not frozen, which would triple the price of making them: a step makes some for every operation it records.


@dataclass(slots=True)
class Produced:
    """Output `output` of operation number `index` of the trace."""

    index: int
    output: int


@dataclass(slots=True)
class External:
    """A tensor from outside; equal numbers are the same contents (borrowed memory has a number for every use)."""

    number: int


@dataclass(slots=True)
class Scalar:
    value: ScalarValue


InputRef = Produced | External | Scalar


@dataclass(slots=True, eq=False)
class OpRecord:
    """One operation.  `forward`: the operation whose gradient was being taken, by number in the trace."""

    op: OpDef
    attributes: dict[str, Any]
    inputs: tuple[InputRef, ...]
    input_specs: tuple[TensorSpec | None, ...]  # None for scalars
    output_specs: tuple[TensorSpec, ...]
    location: Location
    forward: int | None
    round_key: Any = None  # see `loops`

    @property
    def where(self) -> str:
        """file:line, for messages."""
        return line_of(self.location)


@dataclass(slots=True)
class Trace:
    """One step: a prefix that was validated against the graph (empty in the tracing phase), then records.

    `feeds` and `symbols`: what the prefix has bound.  `reads`: (number of operations before it, what was read).
    `follower`: who has told the graph already, all but the end; the prefix is then the whole trace.
    """

    prefix: list[TraceNode] = field(default_factory=list)
    feeds: dict[TraceFeed, int] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    records: list[OpRecord] = field(default_factory=list)
    reads: list[tuple[int, Produced]] = field(default_factory=list)
    kept: list[Produced] = field(default_factory=list)
    follower: Follower | None = None


class Recorder:
    """The observer of the tracing phase, and of the rest of a step that left the graph.

    Args:
        root: the frame that called the step; locations end there.
        log: of the whole step, so that values of the validated prefix are known.
        trace: with the prefix, its feeds numbered as in `externals`.
        externals: the values behind those numbers (held until the step ends, so that no identity is reused).
        volatile: kinds of operations that are left to Python.
    """

    __slots__ = ("_numbers", "busy", "externals", "log", "root", "trace", "volatile")

    def __init__(
        self, root: FrameType, log: StepLog, trace: Trace, externals: list[Value], volatile: frozenset[Kind]
    ) -> None:
        self.root: FrameType | None = root
        self.log = log
        self.trace = trace
        self.externals = externals
        self.volatile = volatile
        self.busy = False  # with an operation: another one that comes now is a finaliser's or a signal handler's
        self._numbers = {id(value): number for number, value in enumerate(externals)}

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """Runs the eager rule and records it."""
        if self.busy:
            return run_eager(op, inputs, attributes)
        self.busy = True
        try:
            return self.record(op, inputs, attributes)
        finally:
            self.busy = False

    def record(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        """The same, while nothing else is under way."""
        here = location(callers_frame(), self.root)
        operands = operands_of(inputs)
        because = why_opaque(op, operands, attributes)
        if because is not None or (self.volatile and self._kind(op, here) in self.volatile):
            if because is BEYOND:
                raise_if_impossible(op, inputs, attributes)
            for x in inputs:
                if isinstance(x, Value):
                    self.look(x)
            return run_eager(op, inputs, attributes)
        if op.may_raise:
            self.check(values_to_check(op, inputs))
        outputs = run_eager(op, inputs, attributes)
        self.note(op, inputs, attributes, outputs, here)
        return outputs

    def _kind(self, op: OpDef, here: Location) -> Kind:
        forward, prefix = forward_index(self.log), self.trace.prefix
        of: Place | None = None
        if forward is not None and forward < len(prefix):
            of = prefix[forward].place
        elif forward is not None:
            record = self.trace.records[forward - len(prefix)]
            of = record.op.name, record.location
        return (op.name, here), of

    def note(
        self,
        op: OpDef,
        inputs: tuple[Any, ...],
        attributes: dict[str, Any],
        outputs: tuple[Value, ...],
        here: Location,
    ) -> None:
        """Makes the record of an operation that has been done."""
        log = self.log
        references: list[InputRef] = []
        for x in inputs:
            if type(x) is not Value:
                references.append(Scalar(x))
            elif type(promise := x.pending) is Promise and promise.owner is log:
                references.append(Produced(promise.index, promise.output))
            else:
                references.append(self._external(x))
        record = OpRecord(
            op,
            attributes,
            tuple(references),
            tuple([spec_of(x.shape, x.dtype) if type(x) is Value else None for x in inputs]),
            tuple([spec_of(x.shape, x.dtype) for x in outputs]),
            here,
            None if local.differentiating is None else forward_index(log),
        )
        self._note_record(record, inputs, outputs)

    def _note_record(self, record: OpRecord, inputs: tuple[Any, ...], outputs: tuple[Value, ...]) -> None:
        index = len(self.trace.prefix) + len(self.trace.records)
        self.trace.records.append(record)
        for i, value in enumerate(outputs):
            make_promise(value, self.log, index, i)

    def check(self, values: tuple[Value, ...]) -> None:
        """Notes that Python has to look at these before it goes on."""
        for value in values:
            self.look(value)

    def on_read(self, value: Value) -> None:
        """Python is about to read a value."""
        if not self.busy:
            self.look(value)

    def look(self, value: Value) -> None:
        """Notes that Python sees this value, if it will have to wait for it."""
        promise = origin(value, self.log)
        if promise is not None and not is_record_from_outside(self.trace.prefix, self.trace.records, promise.index):
            position = len(self.trace.prefix) + len(self.trace.records)
            self.trace.reads.append((position, Produced(promise.index, promise.output)))

    def on_rebind(self, tensor: Any, value: Value) -> None:
        """Nothing to note: what a tensor holds when the step ends is alive then."""

    def end(self) -> Trace:
        """The step has ended: notes what is alive and lets go of everything else."""
        for value, promise in self.log.live():
            self.trace.kept.append(Produced(promise.index, promise.output))
            if promise.owner is not None:  # else it has its handle: an interrupt came when the graph was to hand over
                promise.settle(None)
                value.pending = None
        self.externals.clear()
        self.root = None  # the frame holds this recorder: no cycle may outlive the call
        return self.trace

    def _external(self, x: Value) -> External:
        number = self._numbers.get(id(x))
        if number is None:
            number = len(self.externals)
            self.externals.append(x)
            if x.owned:
                self._numbers[id(x)] = number
        return External(number)


def forward_index(log: StepLog) -> int | None:
    """The number of the operation of this step whose gradient is being taken."""
    node = local.differentiating
    if node is None:
        return None
    promise = origin(node.outputs[0], log)
    return None if promise is None else promise.index
