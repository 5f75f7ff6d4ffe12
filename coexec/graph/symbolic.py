"""SymbolicGraph: the operations of all traces so far plus the points where the two runners meet.

In: made by `build` from a `TraceGraph`.  Out: read by `partition`, `lower` and `plan`; drawn by `report`.
Invariant (checked by `verify_symbolic`): blocks form a control-flow graph with one entry; every source that an
item names is defined in a block that can reach it.  More is true on the paths that Python can validate: there,
every source is defined before its use.  (Merging over-approximates: a path that no trace took may lack a
definition; Python never chooses such a path.)

The GraphRunner walks the blocks.  It waits only at the first use of a `Feed` not yet given, of a symbol not yet
bound, and at `Case` words.  All operations are pure: what has effects or cannot be compiled (`opaque`, HOST,
failing on values) runs on the Python side, so its operands are fetched and its results are feeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_never

import numpy as np

from coexec.errors import MalformedGraph
from minitensor.ops.opdef import OpDef

Dim = int | str  # a str names a symbol of the TraceGraph; its value is bound before anything that uses it is fed
ScalarValue = bool | int | float | complex


@dataclass(frozen=True, slots=True)
class SymbolicSpec:
    shape: tuple[Dim, ...]
    dtype: np.dtype[Any]


# --- where an input comes from ------------------------------------------------------------------------


class Output(NamedTuple):
    """Output `index` of op node `node` of this graph (if it ran more than once in a loop: the latest).

    A tuple, because each step looks dozens of them up, and a dataclass's hash costs half a microsecond.
    """

    node: int
    index: int = 0  # type: ignore[assignment]  # hides the method of tuples, which nobody needs here


@dataclass(frozen=True, slots=True)
class Feed:
    """A value that Python sends: a tensor that no recorded op made, or a numeric scalar that varies.

    `scalar`: a weak Python scalar (float64, int64 or bool element, to be converted to the type that the
    operation's rule gives it), not a tensor of rank 0.
    """

    slot: int
    spec: SymbolicSpec
    scalar: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """A Python scalar equal in all traces (weak, like a scalar feed)."""

    value: ScalarValue


@dataclass(frozen=True, slots=True)
class Phi:
    """One of several outputs, chosen by the path taken: `slot` is set by `Select`s on the way here."""

    slot: int
    spec: SymbolicSpec


Source = Output | Feed | Constant | Phi


# --- what stands in a block ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class OpNode:
    """One operation of the graph; `attributes` are equal in all traces (numbers that vary became feeds).

    Dimensions inside attributes (`shape=("n", 4)`) may name symbols.
    `fetched`: outputs that Python read in some trace.  `kept`: outputs alive after the step in some trace
    (weak references, variables).  `where`: file:line of the user's code, for messages and drawings.
    """

    id: int
    op: OpDef
    attributes: dict[str, Any]
    inputs: tuple[Source, ...]
    outputs: tuple[SymbolicSpec, ...]
    fetched: tuple[bool, ...]
    kept: tuple[bool, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Select:
    """On this path, `phi` holds `source` from here on (it stands right behind the node that makes `source`)."""

    phi: int
    source: Output


@dataclass(frozen=True, slots=True)
class Fetch:
    """Python may block here until `source` is there, and sends nothing more before it has it.

    So nothing that `source` depends on may wait for a feed, symbol or case word first used behind this item:
    a cluster must not reach across it with operations that `source` needs.
    """

    source: Output


Item = OpNode | Select | Fetch


# --- how blocks follow each other ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goto:
    block: int


@dataclass(frozen=True, slots=True)
class Case:
    """Python's choice word `slot` (an index into `targets`) selects the next block.

    Loop exits are cases with a target on the way to themselves; there Python sends one word for each arrival.
    """

    slot: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class End:
    pass


Terminator = Goto | Case | End


@dataclass(frozen=True, slots=True)
class Block:
    id: int
    items: tuple[Item, ...]
    terminator: Terminator


@dataclass(frozen=True, slots=True, eq=False)
class SymbolicGraph:
    blocks: tuple[Block, ...]  # blocks[0] is the entry; blocks[i].id == i
    feeds: tuple[Feed, ...]  # feeds[i].slot == i
    cases: int  # how many choice words
    phis: int  # how many phi slots
    symbols: tuple[str, ...]  # bound by index

    def nodes(self) -> Iterator[OpNode]:
        """All operations, block by block."""
        for block in self.blocks:
            for item in block.items:
                if isinstance(item, OpNode):
                    yield item


def successors(terminator: Terminator) -> tuple[int, ...]:
    """The blocks that may follow."""
    match terminator:
        case Goto(block):
            return (block,)
        case Case(targets=targets):
            return targets
        case End():
            return ()
        case _:
            assert_never(terminator)


def count_arrivals(graph: SymbolicGraph, output: Output, chosen: Sequence[int]) -> int:
    """How many times a path has come to a `Fetch` of `output`, by the targets chosen at its cases so far."""
    count = number = taken = 0
    while True:
        block = graph.blocks[number]
        count += sum(isinstance(item, Fetch) and item.source == output for item in block.items)
        match block.terminator:
            case Goto(target):
                number = target
            case Case(targets=targets) if taken < len(chosen):
                number = targets[chosen[taken]]
                taken += 1
            case _:
                return count


# --- verifier -----------------------------------------------------------------------------------------


def verify_symbolic(graph: SymbolicGraph) -> None:
    """Checks the invariant above.

    Raises MalformedGraph naming the block and the item.
    """
    reaching = _reaching_blocks(graph)
    made_in: dict[int, tuple[int, OpNode]] = {}
    selected_in: dict[int, list[int]] = {}
    for block in graph.blocks:
        for item in block.items:
            if isinstance(item, OpNode):
                if item.id in made_in:
                    raise MalformedGraph(f"block {block.id}: a second node with id {item.id} ({item.op.name})")
                made_in[item.id] = (block.id, item)
            elif isinstance(item, Select):
                selected_in.setdefault(item.phi, []).append(block.id)
    for block in graph.blocks:
        _check_terminator(graph, block)
        for item in block.items:
            for source in _sources(item):
                _check_source(graph, block, source, made_in, selected_in, reaching)


def _sources(item: Item) -> tuple[Source, ...]:
    match item:
        case OpNode(inputs=inputs):
            return inputs
        case Select(source=source) | Fetch(source=source):
            return (source,)
        case _:
            assert_never(item)


def _check_terminator(graph: SymbolicGraph, block: Block) -> None:
    for target in successors(block.terminator):
        if not 0 <= target < len(graph.blocks):
            raise MalformedGraph(f"block {block.id} leads to block {target}, and there are {len(graph.blocks)}")
    if isinstance(block.terminator, Case) and not 0 <= block.terminator.slot < graph.cases:
        raise MalformedGraph(f"block {block.id} waits for case word {block.terminator.slot} of {graph.cases}")


def _check_source(
    graph: SymbolicGraph,
    block: Block,
    source: Source,
    made_in: dict[int, tuple[int, OpNode]],
    selected_in: dict[int, list[int]],
    reaching: list[set[int]],
) -> None:
    match source:
        case Constant():
            return
        case Feed(slot=slot):
            if not (slot < len(graph.feeds) and graph.feeds[slot] == source):
                raise MalformedGraph(f"block {block.id} uses {source}, which is not among the graph's feeds")
        case Output(node, index):
            if node not in made_in:
                raise MalformedGraph(f"block {block.id} uses output {index} of node {node}, which does not exist")
            maker, op_node = made_in[node]
            if index >= len(op_node.outputs):
                raise MalformedGraph(f"block {block.id} uses output {index} of {op_node}, which has fewer")
            if maker not in reaching[block.id]:
                raise MalformedGraph(f"block {block.id} uses node {node}, made in block {maker}, which cannot reach it")
        case Phi(slot=slot):
            if not any(maker in reaching[block.id] for maker in selected_in.get(slot, [])):
                raise MalformedGraph(f"block {block.id} uses phi {slot}, and no select of it can reach the block")
        case _:
            assert_never(source)


def _reaching_blocks(graph: SymbolicGraph) -> list[set[int]]:
    """For each block, the blocks from which it can be reached, itself included."""
    reaching = [{block.id} for block in graph.blocks]
    changed = True
    while changed:
        changed = False
        for block in graph.blocks:
            for target in successors(block.terminator):
                if not reaching[block.id] <= reaching[target]:
                    reaching[target] |= reaching[block.id]
                    changed = True
    return reaching


# --- printer ------------------------------------------------------------------------------------------


def to_text(graph: SymbolicGraph) -> str:
    """The graph as readable text, one line an item; the same graph gives the same text."""
    lines = []
    if graph.symbols:
        lines.append("symbols " + ", ".join(graph.symbols))
    for feed in graph.feeds:
        lines.append(f"feed {feed.slot}: {'scalar ' if feed.scalar else ''}{_spec(feed.spec)}")
    for block in graph.blocks:
        lines.append(f"block {block.id}:")
        lines += [f"  {_item(item)}" for item in block.items]
        lines.append(f"  {_terminator(block.terminator)}")
    return "\n".join(lines) + "\n"


def _spec(spec: SymbolicSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _source(source: Source) -> str:
    match source:
        case Output(node, index):
            return f"%{node}" if index == 0 else f"%{node}.{index}"
        case Feed(slot=slot):
            return f"feed{slot}"
        case Constant(value):
            return repr(value)
        case Phi(slot=slot):
            return f"phi{slot}"
        case _:
            assert_never(source)


def _item(item: Item) -> str:
    match item:
        case Select(phi, source):
            return f"phi{phi} := {_source(source)}"
        case Fetch(source):
            return f"fetch {_source(source)}"
        case OpNode():
            parts = [_source(s) for s in item.inputs] + [f"{name}={value!r}" for name, value in item.attributes.items()]
            marks = "".join(" fetched" * any(item.fetched) + " kept" * any(item.kept))
            specs = ", ".join(map(_spec, item.outputs))
            return f"%{item.id} = {item.op.name}({', '.join(parts)}) : {specs}{marks}   # {item.where}"
        case _:
            assert_never(item)


def _terminator(terminator: Terminator) -> str:
    match terminator:
        case Goto(block):
            return f"goto {block}"
        case Case(slot, targets):
            return f"case {slot} -> {', '.join(map(str, targets))}"
        case End():
            return "end"
        case _:
            assert_never(terminator)
