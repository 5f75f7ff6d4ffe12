"""TraceGraph: all traces of a step so far, merged.

In: extended by `merge`.  Out: read by `build`, drawn by `report`.
Invariant (checked by `verify_trace_graph`): a directed acyclic graph from `start` to `end`, but that a folded loop
may run again; every trace merged is a path of it on which each input's expected producer is the one that the trace
had.

An input that differs between paths has several producers; on a path, the one executed last counts (it is the
definition that reaches).  Where that rule cannot tell two wirings apart, they are two nodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from coexec.errors import MalformedGraph
from coexec.graph.dims import Symbols
from coexec.graph.symbolic import ScalarValue, SymbolicSpec
from coexec.location import Location
from coexec.traces.ancestry import Ancestry, Block, comes_before
from minitensor.ops.opdef import OpDef, Operand, TensorSpec

if TYPE_CHECKING:
    from coexec.traces.record import OpRecord

SHAPE_ATTRIBUTE = "shape"  # the attribute that may hold symbols


@dataclass(frozen=True, slots=True, eq=False)
class TraceOutput:
    """Output `index` of `node`; one object for each, compared by identity."""

    node: TraceNode
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class TraceFeed:
    """A tensor that no recorded operation made; two uses of one feed are the same tensor on every path."""

    number: int


# --- wirings: where an input of a node comes from ------------------------------------------------------


@dataclass(slots=True, eq=False)
class FromNodes:
    """One or several outputs; on a path, the one executed last."""

    alternatives: list[TraceOutput]


@dataclass(frozen=True, slots=True, eq=False)
class FromFeed:
    feed: TraceFeed


@dataclass(slots=True, eq=False)
class FromScalar:
    """A Python scalar: `value` in all traces, or a feed of its type once it `varies`."""

    value: ScalarValue
    varies: bool = False


Wiring = FromNodes | FromFeed | FromScalar


def operands_of_node(inputs: Sequence[Wiring], specs: Sequence[SymbolicSpec | None]) -> list[Operand]:
    """What an operation wired so is given: specs of its tensors, which may have symbols, and its Python scalars."""
    operands: list[Operand] = []
    for wiring, spec in zip(inputs, specs, strict=True):
        if spec is not None:
            operands.append(TensorSpec(spec.shape, spec.dtype))
        elif isinstance(wiring, FromScalar):
            operands.append(wiring.value)
    return operands


def only_source(wiring: Wiring) -> SymbolicSpec | None:
    """What the producer has, where there is only one."""
    if isinstance(wiring, FromNodes) and len(wiring.alternatives) == 1:
        return wiring.alternatives[0].node.output_specs[wiring.alternatives[0].index]
    return None


@dataclass(frozen=True, slots=True)
class NodeKey:
    """What must agree for two operations to be one node; `forward` is the node whose gradient is being taken."""

    op: str
    attributes: tuple[Any, ...]
    location: Location
    forward: TraceNode | None
    inputs: tuple[Any, ...]  # per input: dtype and rank, or the scalar's type


class TraceNode:
    """One operation, or the start or the end of the graph (`op` is None).

    `loops`: bodies of loops that this operation ends, each from its first to itself; a path may go back to the first.
    `kin`: equal for alternatives: its place; the kin of `forward`, the node whose gradient is being taken, and how
    many operations of that gradient (`turn`) came before it.
    `first`: the record that it was made for.  `form`: what `follow` compares with, once it has asked; None again when
    the node changes.  `block`, `position`: where `ancestry` has it.
    `removed`: pruned; a path through it leads nowhere.
    """

    __slots__ = (
        "attributes", "block", "children", "fetched", "first", "form", "input_specs", "inputs", "kept", "key", "kin",
        "loops", "number", "op", "output_specs", "outputs", "parents", "place", "position", "reads", "removed", "where",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        op: OpDef | None,
        key: NodeKey | None,
        attributes: dict[str, Any],
        input_specs: tuple[SymbolicSpec | None, ...],
        output_specs: tuple[SymbolicSpec, ...],
        where: str,
        first: OpRecord | None = None,
        turn: int = 0,
    ) -> None:
        self.number = number
        self.op = op
        self.key = key
        self.place: Place | None = None if key is None else (key.op, key.location)
        self.kin: Kin = (self.place, turn, number if key is None else key.forward and key.forward.kin)
        self.first = first
        self.form: Any = None
        self.removed = False
        self.attributes = attributes
        self.inputs: list[Wiring] = []
        self.input_specs = input_specs  # None for scalars
        self.output_specs = output_specs
        self.outputs = tuple(TraceOutput(self, i) for i in range(len(output_specs)))
        self.fetched = [False] * len(output_specs)
        self.kept = [False] * len(output_specs)
        self.reads: list[TraceOutput] = []  # what Python read right behind this node, in some trace
        self.loops: list[tuple[TraceNode, ...]] = []
        self.children: list[TraceNode] = []
        self.parents: list[TraceNode] = []
        self.block: Block | None = None
        self.position = 0
        self.where = where

    @property
    def forward(self) -> TraceNode | None:
        return None if self.key is None else self.key.forward

    @property
    def kind(self) -> Kind:
        """What is left to Python, where it is: all operations of this kind."""
        assert self.place is not None
        return self.place, None if self.forward is None else self.forward.place

    def __repr__(self) -> str:
        return f"<{self.number} {self.op.name if self.op else 'start or end'} at {self.where}>"


Place = tuple[str, Location]  # an operation's name and location
Kind = tuple[Place, Place | None]  # an operation's place, and that of the operation whose gradient is being taken
Kin = tuple[Place | None, int, Any]  # (place, which operation of the gradient, the kin of the node that it is of)

SizeOf = tuple[Kind, int | str, int]  # (an operation's kind, the position of an operand or SHAPE_ATTRIBUTE, an axis)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is known of a program from traces of an earlier graph.

    `volatile`: what is left to Python.  `folded`: where a loop begins that is folded wherever it can be.
    `numbers`: sizes stay numbers, another node for each, instead of becoming symbols where they vary; `many_sizes`:
    those were more than such a graph can hold.
    `lifted`: what brings a size that is another's; it has that symbol from the beginning.
    """

    volatile: frozenset[Kind] = frozenset()
    folded: frozenset[Place] = frozenset()
    numbers: bool = False
    many_sizes: bool = False
    lifted: frozenset[SizeOf] = frozenset()

    def treats_sizes_otherwise(self, before: Lessons) -> bool:
        """Whether what was in vain under those lessons may not be under these: twice in a program's life at most."""
        return (self.many_sizes, bool(self.lifted)) != (before.many_sizes, bool(before.lifted))


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Somebody who reads the graph, in a thread of `process`, until `done`."""

    process: int
    done: Event


@dataclass(slots=True, eq=False)
class Restlessness:
    """Traces that needed another node of a kin: `times` in all, the last `in_a_row` of those that came by.

    One object for each kin, compared by identity: the hash of a kin takes microseconds.
    """

    kin: Kin
    times: int = 0
    in_a_row: int = 0


class TraceGraph:
    """The graph and what it owns.  `version` grows with every change that a symbolic graph must follow.

    `restless`: in how many traces another node of that kin was needed; `in_a_row`: those of which the latest one needed
    another.  `rigid`: kinds whose sizes vary and that have no comprehension with symbolic sizes.
    `unlifted`: what brings sizes that have to be others' (see `lifting`).
    `trip_counts`: of the loops met, by the place of their first operation; `foldable`: places where one can be folded.
    `ancestry`: what comes before what.
    `reader`: who builds from the graph, for which changes have to wait.
    """

    def __init__(self, lessons: Lessons | None = None) -> None:
        self.lessons = lessons or Lessons()
        self.trip_counts: dict[Place, set[int]] = {}
        self.foldable: set[Place] = set()
        self.restless: dict[Kin, Restlessness] = {}
        self.in_a_row: set[Restlessness] = set()
        self.rigid: set[Kind] = set()
        self.unlifted: set[SizeOf] = set()
        self.start = TraceNode(0, None, None, {}, (), (), "start")
        self.end = TraceNode(1, None, None, {}, (), (), "end")
        self.nodes: list[TraceNode] = []
        self.by_key: dict[NodeKey, list[TraceNode]] = {}
        self.by_kin: dict[Kin, list[TraceNode]] = {}
        self.symbols = Symbols()
        self.feeds = 0
        self.made = 1  # the latest node's number; never given again, whatever pruning removes (start and end: 0, 1)
        self.traces = 0
        self.version = 0
        self.reader: Reader | None = None
        self.ancestry = Ancestry()
        self._readers: dict[TraceFeed, dict[TraceNode, None]] = {}  # of the first so many nodes of a list
        self._indexed, self._indexed_of = 0, self.nodes

    def settle(self) -> None:
        """Waits until nobody else reads the graph: to be called before a change (and a fork's child has no reader)."""
        if self.reader is not None:
            if self.reader.process == os.getpid():
                self.reader.done.wait()
            self.reader = None

    def add_node(
        self,
        op: OpDef,
        key: NodeKey,
        attributes: dict[str, Any],
        input_specs: tuple[SymbolicSpec | None, ...],
        output_specs: tuple[SymbolicSpec, ...],
        where: str,
        first: OpRecord | None = None,
        turn: int = 0,
    ) -> TraceNode:
        self.made += 1
        node = TraceNode(self.made, op, key, attributes, input_specs, output_specs, where, first, turn)
        self.nodes.append(node)
        self.by_key.setdefault(key, []).append(node)
        self.by_kin.setdefault(node.kin, []).append(node)
        self.version += 1
        return node

    def add_feed(self) -> TraceFeed:
        self.feeds += 1
        return TraceFeed(self.feeds - 1)

    def readers(self, feed: TraceFeed) -> list[TraceNode]:
        """The nodes that take it as it is, in the order in which they were made."""
        if self._indexed_of is not self.nodes:  # some were pruned
            self._readers, self._indexed, self._indexed_of = {}, 0, self.nodes
        for node in self.nodes[self._indexed :]:
            for wiring in node.inputs:
                if isinstance(wiring, FromFeed):
                    self._readers.setdefault(wiring.feed, {})[node] = None
        self._indexed = len(self.nodes)
        return [*self._readers.get(feed, ())]

    def add_edge(self, parent: TraceNode, child: TraceNode) -> None:
        """Does nothing where the edge is there already."""
        if child not in parent.children:
            parent.children.append(child)
            child.parents.append(parent)
            self.ancestry.note_edge(parent, child)
            self.version += 1

    def add_loop(self, body: tuple[TraceNode, ...]) -> None:
        """`body` is a chain that may run several times."""
        if body not in body[-1].loops:
            body[-1].loops.append(body)
            self.version += 1

    def reaching(self, target: TraceNode, avoiding: TraceNode) -> set[TraceNode]:
        """The nodes from which a step can come to `target` without `avoiding`, by further rounds of loops too."""
        lasts: dict[TraceNode, list[TraceNode]] = {}
        for node in self.nodes:
            for body in node.loops:
                lasts.setdefault(body[0], []).append(node)
        seen = {target, avoiding}
        stack = [target]
        while stack:
            node = stack.pop()
            for before in (*node.parents, *lasts.get(node, ())):
                if before not in seen:
                    seen.add(before)
                    stack.append(before)
        return seen - {avoiding}

    def break_rows(self) -> None:
        """Steps that the graph knew came before the latest trace: it is the first of those in a row."""
        for restless in self.restless.values():
            restless.in_a_row = min(restless.in_a_row, 1)

    def add_read(self, behind: TraceNode, output: TraceOutput) -> None:
        """Python read `output` when it stood behind that node."""
        if output not in behind.reads:
            behind.reads.append(output)
            output.node.fetched[output.index] = True
            self.version += 1

    def add_kept(self, output: TraceOutput) -> None:
        """`output` was alive at the end of a step."""
        if not output.node.kept[output.index]:
            output.node.kept[output.index] = True
            self.version += 1


def reach(sources: set[TraceNode], target: TraceNode, avoiding: TraceNode) -> bool:
    """Whether a path leads from each of `sources` to `target` without `avoiding`; no loop is gone through again.

    Goes from row to row, and only over those behind `avoiding`: no path to anything else leads over it.
    """
    missing = sources - {target}
    if not all(comes_before(source, target) for source in missing):
        return False
    seen: set[Block | None] = set()
    pending = [target]
    while missing and pending:
        node = pending.pop()
        assert node.block is not None  # something comes before it
        is_barred = avoiding.block is node.block and avoiding.position < node.position
        first = avoiding.position + 1 if is_barred else 0
        missing -= {m for m in missing if m.block is node.block and first <= m.position < node.position}
        for parent in () if is_barred else node.block.nodes[0].parents:
            if parent is avoiding or parent.block in seen:
                continue
            seen.add(parent.block)
            missing.discard(parent)
            if comes_before(avoiding, parent):
                pending.append(parent)
            else:
                missing -= {source for source in missing if comes_before(source, parent)}
    return not missing


def topological_order(graph: TraceGraph) -> list[TraceNode]:
    """Start, all operations and the end, parents before children; chains stay together.

    Raises MalformedGraph if there is a cycle.
    """
    waiting = {node: len(node.parents) for node in (graph.start, graph.end, *graph.nodes)}
    ready = [graph.start]
    order: list[TraceNode] = []
    while ready:
        node = ready.pop()
        order.append(node)
        for child in reversed(node.children):
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    if len(order) != len(waiting):
        raise MalformedGraph(f"a cycle among {[n for n in waiting if n not in set(order)][:5]}")
    return order


def verify_trace_graph(graph: TraceGraph) -> None:
    """Checks the invariant above.

    Raises MalformedGraph naming the nodes.
    """
    place = {node: i for i, node in enumerate(topological_order(graph))}
    bodies = [set(body) for node in graph.nodes for body in node.loops]
    for node in graph.nodes:
        _verify_specs(node)
        for child in node.children:
            if node not in child.parents:
                raise MalformedGraph(f"{child!r} does not know its parent {node!r}")
        for output in producers(node):
            if place[output.node] >= place[node] and not any({node, output.node} <= body for body in bodies):
                raise MalformedGraph(f"{node!r} reads {output.node!r}, which does not come before it")


def _verify_specs(node: TraceNode) -> None:
    """Outputs with symbols have those that the operation gives them for its inputs."""
    if node.op is None or not any(isinstance(d, str) for spec in node.output_specs for d in spec.shape):
        return
    inferred = node.op.infer_all(*operands_of_node(node.inputs, node.input_specs), **node.attributes)
    if [spec.shape for spec in inferred] != [spec.shape for spec in node.output_specs]:
        raise MalformedGraph(f"{node!r} has outputs {node.output_specs}, and its inputs make {inferred}")


def producers(node: TraceNode) -> Iterator[TraceOutput]:
    """All outputs that the node may read."""
    for wiring in node.inputs:
        if isinstance(wiring, FromNodes):
            yield from wiring.alternatives


def to_text(graph: TraceGraph) -> str:
    """The graph as readable text, one line an operation, in topological order."""
    lines = [f"{graph.traces} traces, {len(graph.nodes)} operations, {graph.feeds} feeds"]
    for node in topological_order(graph):
        if node.op is None:
            name = "start" if node is graph.start else "end"
        else:
            arguments = [_wiring(w) for w in node.inputs] + [f"{k}={v!r}" for k, v in node.attributes.items()]
            name = f"%{node.number} = {node.op.name}({', '.join(arguments)})"
        reads = "".join(f" read %{o.node.number}.{o.index}" for o in node.reads)
        follow = ", ".join("end" if c is graph.end else f"%{c.number}" for c in node.children)
        follow += "".join(f" or back to %{body[0].number}" for body in node.loops)
        lines.append(f"{name}{reads} -> {follow or '.'}   # {node.where}")
    return "\n".join(lines) + "\n"


def _wiring(wiring: Wiring) -> str:
    if isinstance(wiring, FromNodes):
        return "|".join(f"%{o.node.number}" + (f".{o.index}" if o.index else "") for o in wiring.alternatives)
    if isinstance(wiring, FromFeed):
        return f"feed{wiring.feed.number}"
    return "scalar" if wiring.varies else repr(wiring.value)
