"""Building: from a TraceGraph to the SymbolicGraph that is compiled and the Walk that Python follows.

In: a TraceGraph.  Out: `Program(graph, walk)`.
Invariant: the two agree: same nodes, feeds, phis and case words by number; nothing of the TraceGraph is changed.

Maximal chains become blocks; a node with several children, or the last of a loop, ends its block with a Case.
An input with several producers becomes a phi: behind each producer a Select assigns it, so on every path the last
executed one counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from coexec.graph.match import make_matcher
from coexec.graph.symbolic import (
    Block,
    Case,
    Constant,
    Dim,
    End,
    Feed,
    Fetch,
    Goto,
    Item,
    OpNode,
    Output,
    Phi,
    ScalarValue,
    Select,
    Source,
    SymbolicGraph,
    SymbolicSpec,
    Terminator,
    verify_symbolic,
)
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
from coexec.traces.ahead import waiting_for_python, with_other_dimensions
from coexec.traces.opaque import has_comprehension, integer_limits
from coexec.traces.trace_graph import (
    SHAPE_ATTRIBUTE,
    FromFeed,
    FromNodes,
    FromScalar,
    TraceFeed,
    TraceGraph,
    TraceNode,
    TraceOutput,
    Wiring,
    only_source,
    operands_of_node,
    topological_order,
)

_SCALAR_TYPES = {bool: np.dtype(np.bool_), int: np.dtype(np.int64), float: np.dtype(np.float64)}


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`version`: of the TraceGraph it was built from."""

    graph: SymbolicGraph
    walk: Walk
    version: int


def build(traces: TraceGraph) -> Program:
    """The symbolic graph of all traces so far, and its walk."""
    builder = _Builder(traces)
    walk = builder.walk()
    graph = builder.symbolic()
    verify_symbolic(graph)
    return Program(graph, walk, traces.version)


def unfit(traces: TraceGraph) -> list[TraceNode]:
    """The operations that cannot be compiled, as their operands have other dimensions than they take them with."""
    others = with_other_dimensions(traces.nodes)
    if not others:
        return []
    builder = _Builder(traces)
    return [node for node in others if not builder.fits(node)]


class _Builder:
    def __init__(self, traces: TraceGraph) -> None:
        self.traces = traces
        self.order = topological_order(traces)
        self.operations = [node for node in self.order if node.op is not None]
        self.symbols = {name: i for i, name in enumerate(traces.symbols.origins)}
        self.feeds: list[Feed] = []
        self.trace_feeds: list[TraceFeed | None] = []
        self._feed_slots: dict[TraceFeed | FromScalar, int] = {}
        self.phis: dict[frozenset[TraceOutput], Phi] = {}
        self.selects: dict[TraceOutput, list[int]] = {}
        self.cases: dict[TraceNode, int] = {}
        self._sent: dict[TraceNode, frozenset[int]] = {}
        self.fetches = _place_fetches(self.order)
        self._allocate()

    def _allocate(self) -> None:
        """Numbers feeds, phis and case words in topological order."""
        waiting = waiting_for_python(self.order)
        for node in self.order:
            if len(node.children) > 1 or node.loops or not waiting.isdisjoint(node.children):
                self.cases[node] = len(self.cases)
            for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
                match wiring:
                    case FromFeed(feed) if spec is not None:
                        self._add_feed(feed, spec)
                    case FromScalar() if wiring.varies:
                        self._add_feed(wiring, SymbolicSpec((), _SCALAR_TYPES[type(wiring.value)]))
                    case FromNodes() if len(wiring.alternatives) > 1 and spec is not None:
                        self._add_phi(wiring, spec)

    def _add_feed(self, origin: TraceFeed | FromScalar, spec: SymbolicSpec) -> None:
        slot = self._feed_slots.get(origin)
        if slot is None:
            self._feed_slots[origin] = len(self.feeds)
            self.feeds.append(Feed(len(self.feeds), spec, scalar=isinstance(origin, FromScalar)))
            self.trace_feeds.append(origin if isinstance(origin, TraceFeed) else None)
        else:
            self.feeds[slot] = Feed(slot, _more_general(self.feeds[slot].spec, spec), self.feeds[slot].scalar)

    def _add_phi(self, wiring: FromNodes, spec: SymbolicSpec) -> None:
        alternatives = frozenset(wiring.alternatives)
        known = self.phis.get(alternatives)
        if known is None:
            slot = len(self.phis)
            self.phis[alternatives] = Phi(slot, spec)
            for output in wiring.alternatives:
                self.selects.setdefault(output, []).append(slot)
        else:
            self.phis[alternatives] = Phi(known.slot, _more_general(known.spec, spec))

    # --- the symbolic graph ------------------------------------------------------------------------------

    def symbolic(self) -> SymbolicGraph:
        chains = self._chains()
        block_of = {chain[0]: i for i, chain in enumerate(chains)}
        blocks = []
        for i, chain in enumerate(chains):
            items: list[Item] = [item for node in chain for item in self._items(node)]
            blocks.append(Block(i, tuple(items), self._terminator(chain[-1], block_of)))
        return SymbolicGraph(tuple(blocks), tuple(self.feeds), len(self.cases), len(self.phis), tuple(self.symbols))

    def _chains(self) -> list[list[TraceNode]]:
        """Maximal chains in topological order; the first one begins at the start."""
        chains: list[list[TraceNode]] = []
        chain_of: dict[TraceNode, list[TraceNode]] = {}
        heads = {body[0] for node in self.operations for body in node.loops}
        for node in self.order:
            if len(node.parents) == 1 and node.parents[0] not in self.cases and node not in heads:
                chain = chain_of[node.parents[0]]
            else:
                chain = []
                chains.append(chain)
            chain.append(node)
            chain_of[node] = chain
        return chains

    def _items(self, node: TraceNode) -> list[Item]:
        items: list[Item] = []
        if node.op is not None:
            items.append(
                OpNode(
                    id=node.number,
                    op=node.op,
                    attributes=node.attributes,
                    inputs=tuple([self._source(w, s) for w, s in zip(node.inputs, node.input_specs, strict=True)]),
                    outputs=node.output_specs,
                    fetched=tuple(node.fetched),
                    kept=tuple(node.kept),
                    where=node.where,
                )
            )
        for output in node.outputs:
            items += [Select(phi, Output(node.number, output.index)) for phi in self.selects.get(output, [])]
        items += [Fetch(Output(read.node.number, read.index)) for read in self.fetches.get(node, [])]
        return items

    def _source(self, wiring: Wiring, spec: SymbolicSpec | None) -> Source:
        """What an input is, which the node takes with `spec`."""
        match wiring:
            case FromFeed(feed):
                return self.feeds[self._feed_slots[feed]]
            case FromScalar():
                return self.feeds[self._feed_slots[wiring]] if wiring.varies else Constant(wiring.value)
            case FromNodes([only]):
                return Output(only.node.number, only.index)
            case FromNodes(alternatives):
                phi = self.phis[frozenset(alternatives)]
                return phi if spec is None else Phi(phi.slot, spec)
            case _:
                assert_never(wiring)

    def fits(self, node: TraceNode) -> bool:
        """Whether the operation has a comprehension for its operands as the graph tells of them."""
        told: list[SymbolicSpec | None] = []
        for wiring, spec in zip(node.inputs, node.input_specs, strict=True):
            if isinstance(wiring, FromFeed):
                told.append(self.feeds[self._feed_slots[wiring.feed]].spec)
            else:
                told.append(only_source(wiring) or spec)
        assert node.op is not None
        return has_comprehension(node.op, operands_of_node(node.inputs, told), node.attributes)

    def _terminator(self, node: TraceNode, block_of: dict[TraceNode, int]) -> Terminator:
        if node is self.traces.end:
            return End()
        if node in self.cases:
            return Case(self.cases[node], tuple([block_of[child] for child in _following(node)]))
        return Goto(block_of[node.children[0]])

    # --- the walk ----------------------------------------------------------------------------------------

    def walk(self) -> Walk:
        outputs: dict[TraceOutput, WalkOutput] = {}
        for node in self.order:
            for output in node.outputs:
                outputs[output] = WalkOutput(len(outputs), output)
        nodes = {node: WalkNode(node, tuple([outputs[o] for o in node.outputs])) for node in self.order}
        for node, walk_node in nodes.items():
            self._fill_flow(node, walk_node, nodes, outputs)
            self._fill_inputs(node, walk_node, outputs)
            if _is_plain(walk_node):
                if not walk_node.sends:
                    walk_node.plain = walk_node.outputs[0]
                if not walk_node.others:
                    walk_node.simple = walk_node.outputs[0]
        return Walk(
            self.traces,
            nodes[self.traces.start],
            tuple(outputs.values()),
            tuple(self.trace_feeds),
            len(self.phis),
            self.symbols,
            self.traces.lessons.volatile,
            may_have_macros=not any(node.loops for node in self.order),
        )

    def _fill_flow(
        self,
        node: TraceNode,
        walk_node: WalkNode,
        nodes: dict[TraceNode, WalkNode],
        outputs: dict[TraceOutput, WalkOutput],
    ) -> None:
        walk_node.children = tuple([nodes[child] for child in _following(node)])
        walk_node.case = self.cases.get(node)
        if self.traces.end in node.children:
            walk_node.ends = node.children.index(self.traces.end)
        elif len(walk_node.children) == 1 and walk_node.case is None:
            walk_node.only = walk_node.children[0]
        for body in node.loops:
            replaced = {outputs[o] for member in body for o in member.outputs}
            walk_node.rounds[nodes[body[0]]] = walk_node.rounds.get(nodes[body[0]], frozenset()) | replaced
        walk_node.reads = frozenset([outputs[read] for read in self.fetches.get(node, [])])
        walk_node.selects = tuple([(phi, o) for o in walk_node.outputs for phi in self.selects.get(o.trace, [])])

    def _fill_inputs(self, node: TraceNode, walk_node: WalkNode, outputs: dict[TraceOutput, WalkOutput]) -> None:
        sources: list[tuple[int, int]] = []
        feeds: dict[int, ExpectFeed] = {}  # by slot
        constants: list[tuple[int, ScalarValue]] = []
        others: list[Expectation] = []
        for position, (wiring, spec) in enumerate(zip(node.inputs, node.input_specs, strict=True)):
            match wiring:
                case FromNodes([only]):
                    sources.append((position, outputs[only].number))
                case FromNodes(alternatives):
                    among = frozenset([outputs[output].number for output in alternatives])
                    others.append(ExpectPhi(position, self.phis[frozenset(alternatives)].slot, among))
                case FromFeed(feed):
                    slot = self._feed_slots[feed]
                    if slot in feeds:
                        others.append(ExpectSame(position, feeds[slot].position))
                    elif spec is not None:
                        static = None if _has_symbols(spec) else _static(spec)
                        feeds[slot] = ExpectFeed(position, slot, spec.dtype, static)
                case FromScalar(value, varies):
                    if varies:
                        slot = self._feed_slots[wiring]
                        others.append(ExpectScalar(position, slot, type(value), *_limits(node, position)))
                    else:
                        constants.append((position, value))
                case _:
                    assert_never(wiring)
        walk_node.sources, walk_node.constants, walk_node.others = tuple(sources), tuple(constants), tuple(others)
        before = self._sent_before(node)
        walk_node.fed = tuple([(e.position, e.slot) for e in feeds.values() if e.slot in before])
        walk_node.feeds = tuple([e for e in feeds.values() if e.slot not in before])
        sent: list[ExpectFeed | ExpectScalar] = [*walk_node.feeds, *[e for e in others if isinstance(e, ExpectScalar)]]
        walk_node.sends = tuple([(e.slot, e.position) for e in sent])
        self._sent[node] = before | {e.slot for e in sent}
        walk_node.symbolic = self._symbolic_inputs(node)
        walk_node.fits = make_matcher(
            [
                *[("source", position, number) for position, number in walk_node.sources],
                *[("fed", position, slot) for position, slot in walk_node.fed],
                *[("constant", position, value) for position, value in walk_node.constants],
            ]
        )
        shape = node.attributes.get(SHAPE_ATTRIBUTE)
        walk_node.shape_symbols = isinstance(shape, tuple) and any(isinstance(d, str) for d in shape)
        walk_node.unifies = bool(walk_node.symbolic) or walk_node.shape_symbols
        walk_node.fits_all = not (walk_node.feeds or walk_node.others or walk_node.unifies)

    def _sent_before(self, node: TraceNode) -> frozenset[int]:
        """The feeds that every path to `node` has sent."""
        parents = [self._sent[parent] for parent in node.parents]
        return frozenset.intersection(*parents) if parents else frozenset()

    def _symbolic_inputs(self, node: TraceNode) -> tuple[tuple[int, tuple[Dim, ...]], ...]:
        """The inputs whose dimensions validation must compare.

        None where an input has the very dimensions that all its producers promise, which were compared when those
        were made.  A feed is also compared with the dimensions that the graph gives it: their symbols get bound.
        """
        compared: list[tuple[int, tuple[Dim, ...]]] = []
        for i, (wiring, spec) in enumerate(zip(node.inputs, node.input_specs, strict=True)):
            if spec is None:
                continue
            around = [spec]
            if isinstance(wiring, FromFeed):
                around.append(self.feeds[self._feed_slots[wiring.feed]].spec)
            elif isinstance(wiring, FromNodes):
                around += [output.node.output_specs[output.index] for output in wiring.alternatives]
                if all(other.shape == spec.shape for other in around):
                    continue
            if any(_has_symbols(other) for other in around):
                compared.append((i, spec.shape))
                if isinstance(wiring, FromFeed):
                    compared.append((i, around[1].shape))
        return tuple(compared)


def _is_plain(node: WalkNode) -> bool:
    """Whether a valid operation needs its feeds and a promise for its one output, and nothing else."""
    if node.op is None or node.op.may_raise or len(node.outputs) != 1 or node.outputs[0].shape is None:
        return False
    return not (node.selects or node.reads or node.unifies)


def _place_fetches(nodes: Iterable[TraceNode]) -> dict[TraceNode, list[TraceOutput]]:
    """Behind which node each output that Python reads is fetched: where it is read if that is one place, otherwise
    right behind the node that makes it.  So no path fetches an output twice between two rounds of its node."""
    behind: dict[TraceOutput, list[TraceNode]] = {}
    for node in nodes:
        for read in node.reads:
            behind.setdefault(read, []).append(node)
    fetches: dict[TraceNode, list[TraceOutput]] = {}
    for read, places in behind.items():
        fetches.setdefault(places[0] if len(places) == 1 else read.node, []).append(read)
    return fetches


def _following(node: TraceNode) -> list[TraceNode]:
    """What a choice word of this node selects from: the children, then further rounds of its loops."""
    return [*node.children, *dict.fromkeys(body[0] for body in node.loops)]


def _limits(node: TraceNode, position: int) -> tuple[int, int]:
    """What a Python int may be that is an operand of the node; no graph has others (`why_opaque`)."""
    assert node.op is not None
    operands = operands_of_node(node.inputs, node.input_specs)
    limits = {k: (least, greatest) for k, least, greatest in integer_limits(node.op, operands, node.attributes)}
    return limits.get(position, (0, 0))


def _has_symbols(spec: SymbolicSpec) -> bool:
    return any(isinstance(d, str) for d in spec.shape)


def _static(spec: SymbolicSpec) -> tuple[int, ...]:
    return tuple([d for d in spec.shape if isinstance(d, int)])


def _more_general(left: SymbolicSpec, right: SymbolicSpec) -> SymbolicSpec:
    """Symbols where either has one: the tensor is the same, so they agree on every path that meets both."""
    shape = tuple([b if isinstance(a, int) else a for a, b in zip(left.shape, right.shape, strict=True)])
    return SymbolicSpec(shape, left.dtype)
