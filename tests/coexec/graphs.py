"""Symbolic graphs written by hand, for tests of what comes after them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from coexec.clusters.lower import operand_of
from coexec.graph.symbolic import (
    Block,
    Case,
    Constant,
    End,
    Feed,
    Fetch,
    Goto,
    Item,
    OpNode,
    Output,
    Phi,
    Select,
    Source,
    SymbolicGraph,
    SymbolicSpec,
    verify_symbolic,
)
from minitensor.ops.opdef import REGISTRY, OpDef, TensorSpec


@dataclass
class GraphBuilder:
    """Blocks are opened in order; operations are appended to the last one."""

    items: list[list[Item]] = field(default_factory=lambda: [[]])
    terminators: list[Goto | Case | End] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    nodes: dict[int, OpNode] = field(default_factory=dict)
    phis: int = 0
    cases: int = 0

    def feed(self, shape: tuple[int | str, ...], dtype: Any = "float32", scalar: bool = False) -> Feed:
        feed = Feed(len(self.feeds), SymbolicSpec(shape, np.dtype(dtype)), scalar)
        self.feeds.append(feed)
        return feed

    def op(self, op: OpDef | str, *inputs: Source | float, kept: bool = False, **attributes: Any) -> Output:
        """Appends an operation; numbers become constants.  Several outputs: `.index` selects."""
        record = REGISTRY[op] if isinstance(op, str) else op
        sources = tuple(x if isinstance(x, Source) else Constant(x) for x in inputs)
        specs = record.infer(*[operand_of(source, self.nodes) for source in sources], **attributes)
        outputs = tuple(SymbolicSpec(s.shape, s.dtype) for s in ((specs,) if isinstance(specs, TensorSpec) else specs))
        flags = tuple(False for _ in outputs)
        node = OpNode(len(self.nodes), record, attributes, sources, outputs, flags, (kept,) * len(outputs), "test.py:1")
        self.nodes[node.id] = node
        self.items[-1].append(node)
        return Output(node.id)

    def fetch(self, source: Output) -> None:
        self.items[-1].append(Fetch(source))

    def phi(self, source: Output) -> Phi:
        phi = Phi(self.phis, self.nodes[source.node].outputs[source.index])
        self.phis += 1
        self.items[-1].append(Select(phi.slot, source))
        return phi

    def select(self, phi: Phi, source: Output) -> None:
        self.items[-1].append(Select(phi.slot, source))

    def close(self, terminator: Goto | Case | End) -> None:
        """Ends this block and opens the next."""
        self.terminators.append(terminator)
        self.items.append([])
        if isinstance(terminator, Case):
            self.cases = max(self.cases, terminator.slot + 1)

    def graph(self, kept: tuple[Output, ...] = (), symbols: tuple[str, ...] = ()) -> SymbolicGraph:
        """The graph; a last block still open ends it."""
        if len(self.terminators) < len(self.items) and (self.items[-1] or not self.terminators):
            self.close(End())
        keep = set(kept)
        blocks = tuple(
            Block(i, tuple(map(lambda item: _marked(item, keep), items)), terminator)  # noqa: C417
            for i, (items, terminator) in enumerate(zip(self.items, self.terminators, strict=False))
        )
        graph = SymbolicGraph(blocks, tuple(self.feeds), self.cases, self.phis, symbols)
        verify_symbolic(graph)
        return graph


def _marked(item: Item, keep: set[Output]) -> Item:
    if not isinstance(item, OpNode):
        return item
    kept = tuple(old or Output(item.id, i) in keep for i, old in enumerate(item.kept))
    return replace(item, kept=kept)


def evaluate(graph: SymbolicGraph, feeds: dict[int, Any]) -> dict[Output, np.ndarray[Any, Any]]:
    """All values of a straight-line graph by the records' eager rules."""
    assert len(graph.blocks) == 1
    values: dict[Output, Any] = {}
    phis: dict[int, Any] = {}

    def of(source: Source) -> Any:
        match source:
            case Output():
                return values[source]
            case Feed(slot=slot):
                return feeds[slot]
            case Constant(value):
                return value
            case Phi(slot=slot):
                return phis[slot]

    for item in graph.blocks[0].items:
        if isinstance(item, Select):
            phis[item.phi] = values[item.source]
        elif isinstance(item, OpNode):
            results = item.op.eager(*map(of, item.inputs), **item.attributes)
            results = results if isinstance(results, tuple) else (results,)
            values.update({Output(item.id, i): np.asarray(r) for i, r in enumerate(results)})
    return values


def looping() -> tuple[SymbolicGraph, Output, Output, Output]:
    """x := -(x) + feed, fetched in each round, from -feed on; then x + x.  The graph, its start, x and result."""
    g = GraphBuilder()
    a = g.feed((5,))
    start = g.op("negative", a)
    phi = g.phi(start)
    g.close(Goto(1))
    g.close(Case(0, (2, 3)))
    x = g.op("add", g.op("negative", phi), a)
    g.fetch(x)
    g.select(phi, x)
    g.close(Goto(1))
    result = g.op("add", phi, phi)
    g.close(End())
    return g.graph(kept=(result,)), start, x, result
