"""Covering: whether a node of the TraceGraph can stand for a record too, and what has to change so that it does.

In: a path, a record that comes next on it, nodes.  Out: the node that is like the record as it stands, or the match
that changes least.
Invariant: no node and no symbol of the graph changes before `Match.commit`; afterwards the node covers the record.

A node covers a record if operation, attributes, location, forward node and types of the inputs agree (the `NodeKey`),
and if each of its inputs is wired alike or can be made to cover both: a further producer, where the one executed last
tells the two apart; a scalar that varies; a symbol for a size that differs, where the operation has a comprehension
with symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from operator import itemgetter

from coexec.graph.dims import Unifier
from coexec.graph.keys import attribute_key, same_attributes, same_scalar
from coexec.graph.symbolic import Dim, SymbolicSpec
from coexec.traces.alternatives import hides
from coexec.traces.node_specs import infer_specs
from coexec.traces.record import External, InputRef, OpRecord, Produced, Scalar
from coexec.traces.trace_graph import (
    SHAPE_ATTRIBUTE,
    FromFeed,
    FromNodes,
    FromScalar,
    NodeKey,
    TraceFeed,
    TraceNode,
    TraceOutput,
    Wiring,
    only_source,
    operands_of_node,
)
from coexec.traces.trace_path import TracePath
from minitensor.ops.opdef import TensorSpec

MOST_GENERATIONS = 3  # of operands that tell what an operand is: a gradient, its square, the sum of that


@dataclass(frozen=True, slots=True)
class Wirings:
    """How a node's inputs cover a record's, once `promoted` scalars vary and `added` producers count."""

    feeds: dict[TraceFeed, int]
    added: list[tuple[FromNodes, TraceOutput]]
    promoted: list[FromScalar]

    @property
    def changes(self) -> int:
        return len(self.added) + len(self.promoted)


@dataclass(frozen=True, slots=True)
class Match:
    """How a node covers a record, once its wirings and its specs are these."""

    node: TraceNode
    wirings: Wirings
    input_specs: tuple[SymbolicSpec | None, ...]
    output_specs: tuple[SymbolicSpec, ...]
    shape: tuple[Dim, ...] | None
    unifier: Unifier

    @property
    def changes(self) -> int:
        return self.wirings.changes + self.unifier.changes

    def commit(self, path: TracePath) -> None:
        """The node covers the record, which is the next of the path."""
        node = self.node
        for wiring, output in self.wirings.added:
            wiring.alternatives.append(output)
        for scalar in self.wirings.promoted:
            scalar.varies = True
        node.input_specs, node.output_specs = self.input_specs, self.output_specs
        if self.shape is not None:
            node.attributes = {**node.attributes, SHAPE_ATTRIBUTE: self.shape}
        self.unifier.commit(path.symbols)
        path.feeds = self.wirings.feeds
        if self.changes:
            path.graph.version += 1
            node.form = None


def make_key(path: TracePath, record: OpRecord) -> NodeKey:
    """What must agree between the record and a node that covers it."""
    attributes = dict(record.attributes)
    if isinstance(attributes.get(SHAPE_ATTRIBUTE), tuple):
        attributes[SHAPE_ATTRIBUTE] = len(attributes[SHAPE_ATTRIBUTE])
    signature = tuple(
        [
            (spec.dtype, len(spec.shape)) if spec is not None else type(ref.value) if isinstance(ref, Scalar) else None
            for spec, ref in zip(record.input_specs, record.inputs, strict=True)
        ]
    )
    return NodeKey(record.op.name, attribute_key(attributes), record.location, path.forward(record), signature)


# --- as it stands ---------------------------------------------------------------------------------------


def feeds_as_before(path: TracePath, node: TraceNode, record: OpRecord) -> dict[TraceFeed, int] | None:
    """The feeds that the path meets first here, if nothing tells the record from the one that the node was made for."""
    first = node.first
    if first is None or first.op is not record.op or first.location != record.location:
        return None
    if first.input_specs != record.input_specs or first.output_specs != record.output_specs:
        return None
    if not same_attributes(first.attributes, record.attributes):
        return None
    if node.forward is not path.forward(record):
        return None
    fresh: dict[TraceFeed, int] = {}
    for wiring, x in zip(node.inputs, record.inputs, strict=True):
        if not _is_wired(path, wiring, x, fresh):
            return None
    return fresh


def _is_wired(path: TracePath, wiring: Wiring, x: InputRef, fresh: dict[TraceFeed, int]) -> bool:
    """Whether the wiring covers the input without any change; `fresh` gets a feed that this path has not met."""
    if type(wiring) is FromNodes and type(x) is Produced:
        producer = path.nodes[x.index]
        if len(wiring.alternatives) != 1 or path.place[producer] != x.index:
            return False
        only = wiring.alternatives[0]
        return only.node is producer and only.index == x.output
    if type(wiring) is FromFeed and type(x) is External:
        known = path.feeds.get(wiring.feed)
        return (fresh.setdefault(wiring.feed, x.number) if known is None else known) == x.number
    if type(wiring) is FromScalar and type(x) is Scalar:
        return same_scalar(wiring.value, x.value) if not wiring.varies else type(x.value) is type(wiring.value)
    return False


# --- with changes ---------------------------------------------------------------------------------------


def best_match(path: TracePath, nodes: list[TraceNode], record: OpRecord) -> Match | None:
    """The match that changes least; the oldest node among equals.

    Wirings are counted first: the way through the graph and the sizes, which take longest to compare, are looked
    at only where the count alone does not rule a node out.
    """
    operands = [path.output(x) if type(x) is Produced else x for x in record.inputs]
    counted = [(changes, n.number, n) for n in nodes if (changes := _count_changes(n, operands)) is not None]
    best: Match | None = None
    for changes, _, node in sorted(counted, key=itemgetter(0, 1)):
        if best is not None and changes >= best.changes:
            break
        match = find_match(path, node, record)
        if match is not None and (best is None or match.changes < best.changes):
            best = match
    return best


def _count_changes(node: TraceNode, operands: Sequence[TraceOutput | InputRef]) -> int | None:
    """How many wirings of the node would have to change to cover these; None where none could."""
    changes = 0
    for wiring, x in zip(node.inputs, operands, strict=True):
        if type(wiring) is FromNodes and type(x) is TraceOutput:
            changes += x not in wiring.alternatives
        elif type(wiring) is FromScalar and type(x) is Scalar:
            changes += not wiring.varies and not same_scalar(wiring.value, x.value)
        elif type(wiring) is not FromFeed or type(x) is not External:
            return None
    return changes


def find_match(path: TracePath, node: TraceNode, record: OpRecord) -> Match | None:
    """How `node`, whose key is the record's, covers the record; None where it cannot."""
    wirings = _match_wirings(path, node, record)
    return None if wirings is None else _match_specs(path, node, record, wirings)


def _match_wirings(path: TracePath, node: TraceNode, record: OpRecord) -> Wirings | None:
    """What covering the record's inputs takes; None where it cannot be done."""
    feeds = dict(path.feeds)
    added: list[tuple[FromNodes, TraceOutput]] = []
    promoted: list[FromScalar] = []
    for wiring, reference in zip(node.inputs, record.inputs, strict=True):
        match wiring, reference:
            case FromNodes(), Produced():
                output = path.output(reference)
                if path.place[output.node] != reference.index or not _reaches(path, wiring, output):
                    return None
                if output not in wiring.alternatives:
                    if hides(path.graph, output, wiring, node):
                        return None
                    added.append((wiring, output))
            case FromFeed(), External():
                if feeds.setdefault(wiring.feed, reference.number) != reference.number:
                    return None
            case FromScalar(), Scalar():
                if not wiring.varies and not same_scalar(wiring.value, reference.value):
                    promoted.append(wiring)
            case _:
                return None
    return Wirings(feeds, added, promoted)


def _reaches(path: TracePath, wiring: FromNodes, output: TraceOutput) -> bool:
    """Whether `output` is the last executed on this path, itself and the known alternatives considered."""
    place = path.place[output.node]
    for known in wiring.alternatives:
        other = path.place.get(known.node, -1)
        if other > place or (other == place and known is not output):
            return False
    return True


def _match_specs(path: TracePath, node: TraceNode, record: OpRecord, wirings: Wirings) -> Match | None:
    unifier = Unifier(path.graph.symbols, path.symbols, path.graph.lessons.numbers)
    inputs: list[SymbolicSpec | None] = []
    operands = zip(node.inputs, node.input_specs, record.input_specs, record.inputs, strict=True)
    for wiring, known, seen, reference in operands:
        spec = None if known is None or seen is None else _unify_spec(unifier, known, seen, only_source(wiring))
        if spec is None and known is not None:
            return None
        if spec is not None and any(w is wiring and _is_more_general(made, spec) for w, made in wirings.added):
            return None
        if spec is not None and known is not None and _is_another(path, wiring, reference, known, spec):
            return None
        inputs.append(spec)
    shape = node.attributes.get(SHAPE_ATTRIBUTE)
    if isinstance(shape, tuple):
        shape = unifier.shape(shape, record.attributes[SHAPE_ATTRIBUTE])
        if shape is None:
            return None
    else:
        shape = None
    if unifier.changes:
        outputs = _inferred_outputs(node, tuple(inputs), shape)
        if outputs is None:
            if _inferred_outputs(node, *unifier.with_fewest_symbols(inputs, shape)) is None:
                path.graph.rigid.add(node.kind)
            return None
    else:
        outputs = node.output_specs
    seen_outputs = [(spec.shape, spec.dtype) for spec in record.output_specs]
    if [(unifier.extents(spec.shape), spec.dtype) for spec in outputs] != seen_outputs:
        return None
    return Match(node, wirings, tuple(inputs), outputs, shape, unifier)


def _unify_spec(
    unifier: Unifier, known: SymbolicSpec, seen: TensorSpec, source: SymbolicSpec | None = None
) -> SymbolicSpec | None:
    if known.dtype != seen.dtype:
        return None
    shape = unifier.shape(known.shape, seen.shape, None if source is None else source.shape)
    return None if shape is None else SymbolicSpec(shape, known.dtype)


def _is_more_general(output: TraceOutput, read: SymbolicSpec) -> bool:
    """Whether a producer has symbols where its reader would have numbers still."""
    made = output.node.output_specs[output.index].shape
    return any(isinstance(m, str) and isinstance(r, int) for m, r in zip(made, read.shape, strict=True))


def _is_another(
    path: TracePath, wiring: Wiring, reference: InputRef, known: SymbolicSpec, covering: SymbolicSpec
) -> bool:
    """Whether the operand comes from elsewhere, where it always has this size, which would have to be a symbol here.

    What differs then is not the size of an operand but the operand: another parameter's gradient, say.
    """
    if not isinstance(wiring, FromNodes) or not isinstance(reference, Produced):
        return False
    output = path.output(reference)
    dims = zip(known.shape, covering.shape, output.node.output_specs[output.index].shape, strict=True)
    if not any(k != c and isinstance(k, int) and isinstance(made, int) for k, c, made in dims):
        return False
    return not any(_corresponds(output.node, other.node, MOST_GENERATIONS) for other in wiring.alternatives)


def _corresponds(node: TraceNode, other: TraceNode, generations: int) -> bool:
    """Whether these are one operation of the program, of operands of which the same is true."""
    if node is other or node.kin != other.kin or not generations:
        return node.kin == other.kin
    for mine, its in zip(node.inputs, other.inputs, strict=False):  # of a concatenation some have more
        if isinstance(mine, FromNodes) and isinstance(its, FromNodes):
            pairs = product(mine.alternatives, its.alternatives)
            if not any(_corresponds(a.node, b.node, generations - 1) for a, b in pairs):
                return False
    return True


def _inferred_outputs(
    node: TraceNode, inputs: tuple[SymbolicSpec | None, ...], shape: tuple[Dim, ...] | None
) -> tuple[SymbolicSpec, ...] | None:
    """The output specs for these dimensions; None where the operation has no comprehension for them."""
    assert node.op is not None
    attributes = node.attributes if shape is None else {**node.attributes, SHAPE_ATTRIBUTE: shape}
    return infer_specs(node.op, operands_of_node(node.inputs, inputs), attributes)
