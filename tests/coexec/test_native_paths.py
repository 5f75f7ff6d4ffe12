"""Random control flow: the native loop against the reference runner, on kernels written by hand.

Graphs are structured programs (operations, branches, loops, reads) over vectors of one shape; a path is a list of
choices.  Both runners get the same words in the same order and must deliver the same bits at every fetch and in
every output kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from graphs import GraphBuilder
from handmade import compile_by_hand, on_cores
from hypothesis import given, note, strategies as st

import minitensor  # noqa: F401 - registers the operations
from coexec.graph.symbolic import Case, End, Feed, Fetch, Goto, OpNode, Output, Phi, Source, SymbolicGraph, to_text
from coexec.graph_side.reference_runner import ReferenceGraph
from coexec.graph_side.sequence import block_order

SHAPE = (5,)


@dataclass
class Writer:
    """Writes a program into a builder; `values` are the sources that every path to here defines."""

    draw: st.DrawFn
    g: GraphBuilder
    values: list[Source]
    cases: int = 0
    kept: set[Output] = field(default_factory=set)

    @property
    def block(self) -> int:
        return len(self.g.terminators)

    def statements(self, depth: int) -> None:
        kinds = ["operation", "fetch"] + (["branch", "loop"] if depth < 2 else [])
        for kind in self.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
            match kind:
                case "operation":
                    self.operation()
                case "fetch":
                    self.g.fetch(self.operation())
                case "branch":
                    self.branch(depth + 1)
                case "loop":
                    self.loop(depth + 1)

    def operation(self) -> Output:
        pick = st.integers(0, len(self.values) - 1)
        x, y = self.values[self.draw(pick)], self.values[self.draw(pick)]
        match self.draw(st.sampled_from(["add", "multiply", "negative", "reshape"])):
            case "negative":
                made = self.g.op("negative", x)
            case "reshape":
                made = self.g.op("reshape", x, shape=SHAPE)
            case name:
                made = self.g.op(name, x, y)
        self.values.append(made)
        if self.draw(st.integers(0, 3)) == 0:
            self.kept.add(made)
        return made

    def branch(self, depth: int) -> None:
        """if choice: ... else: ...; what both sides made last is chosen by a phi."""
        before, case, at = list(self.values), self.new_case(), self.block
        self.g.close(Case(case, ()))
        first = self.block
        self.statements(depth)
        phi = self.g.phi(self.operation())
        left = self.block
        self.g.close(Goto(0))
        self.values = list(before)
        second = self.block
        self.statements(depth)
        self.g.select(phi, self.operation())
        self.g.close(Goto(self.block + 1))
        self.g.terminators[at] = Case(case, (first, second))
        self.g.terminators[left] = Goto(self.block)
        self.values = [*before, phi]

    def loop(self, depth: int) -> None:
        """while choice: ...; a phi goes round."""
        case, start = self.new_case(), self.operation()
        phi = self.g.phi(start)
        self.g.close(Goto(self.block + 1))
        head = self.block
        self.g.close(Case(case, ()))
        body = self.block
        before = [*self.values, phi]
        self.values = list(before)
        self.statements(depth)
        self.g.select(phi, self.operation())
        self.g.close(Goto(head))
        self.g.terminators[head] = Case(case, (body, self.block))
        self.values = before

    def new_case(self) -> int:
        self.cases += 1
        self.g.cases = self.cases
        return self.cases - 1


@st.composite
def programs(draw: st.DrawFn) -> SymbolicGraph:
    g = GraphBuilder()
    writer = Writer(draw, g, [g.feed(SHAPE), g.feed(SHAPE)])
    writer.statements(0)
    last = writer.operation()
    g.close(End())
    return g.graph(kept=(*writer.kept, last))


def drive(graph: SymbolicGraph, run: Any, choices: list[int], reads: list[bool], feeds: list[Any]) -> list[Any]:
    """Sends a path as Python would, and takes down what is fetched and kept."""
    seen: list[Any] = []
    sent: set[int] = set()
    made: set[Output] = set()
    words, wants = iter(choices), iter(reads)
    block = graph.blocks[0]
    while True:
        for item in block.items:
            if isinstance(item, OpNode):
                for source in item.inputs:
                    if isinstance(source, Feed) and source.slot not in sent:
                        run.feed(source.slot, feeds[source.slot])
                        sent.add(source.slot)
                made.update(Output(item.id, i) for i, kept in enumerate(item.kept) if kept)
            elif isinstance(item, Fetch) and next(wants, True):
                seen.append(run.fetch(item.source).copy())
        match block.terminator:
            case Goto(target):
                block = graph.blocks[target]
            case Case(slot, targets):
                choice = next(words, 1)  # at last every loop is left
                run.choose(slot, choice)
                block = graph.blocks[targets[choice]]
            case End():
                kept = sorted(made, key=lambda o: (o.node, o.index))
                return seen + [handle.wait() for handle in run.finish(kept)]


path = st.tuples(st.lists(st.integers(0, 1), max_size=8), st.lists(st.booleans(), max_size=8))


# Values grow on long paths; NumPy warns in the reference's own thread, which no errstate of this one reaches.
@pytest.mark.filterwarnings("ignore:(overflow|invalid value|underflow) encountered:RuntimeWarning")
@given(programs(), st.lists(path, min_size=1, max_size=4))
def test_every_path_delivers_what_the_reference_delivers(
    graph: SymbolicGraph, paths: list[tuple[list[int], list[bool]]]
) -> None:
    native, alone, reference = compile_by_hand(graph), compile_by_hand(graph), ReferenceGraph(graph)
    note(to_text(graph) + native.explain())
    feeds = [np.arange(5, dtype=np.float32) - 2, np.full(5, 0.5, np.float32)]
    for choices, reads in paths:
        expected = drive(graph, reference.start(), choices, reads, feeds)
        with pytest.MonkeyPatch.context() as patch:
            on_cores(patch, 1)
            in_one_thread = drive(graph, alone.start(), choices, reads, feeds)
        for found in (drive(graph, native.start(), choices, reads, feeds), in_one_thread):
            assert len(found) == len(expected)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        feeds = [feeds[1], expected[-1]]


@pytest.mark.parametrize("cores", [1, 2])
@given(graph=programs(), point=st.integers(0, 30))
def test_a_path_cancelled_anywhere_leaves_the_next_one_right(cores: int, graph: SymbolicGraph, point: int) -> None:
    class Left(Exception):
        pass

    class Leaving:
        """A run that is cancelled before its `point`-th message."""

        def __init__(self, run: Any) -> None:
            self.run, self.count = run, 0

        def __getattr__(self, name: str) -> Any:
            self.count += 1
            if self.count > point:
                raise Left
            return getattr(self.run, name)

    native = compile_by_hand(graph)
    feeds = [np.arange(5, dtype=np.float32), np.ones(5, np.float32)]
    expected = drive(graph, ReferenceGraph(graph).start(), [0, 1], [], feeds)
    with pytest.MonkeyPatch.context() as patch:
        on_cores(patch, cores)
        for _ in range(2):
            run = native.start()
            try:
                drive(graph, Leaving(run), [0, 1], [], feeds)
            except Left:
                run.cancel()
            found = drive(graph, native.start(), [0, 1], [], feeds)
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_the_strategy_draws_branches_and_loops() -> None:
    """The property above is not vacuous."""
    drawn: list[SymbolicGraph] = []

    @given(programs())
    def collect(graph: SymbolicGraph) -> None:
        drawn.append(graph)

    collect()
    with_phis = sum(any(isinstance(s, Phi) for n in graph.nodes() for s in n.inputs) for graph in drawn)
    with_loops = sum(bool(block_order(graph)[1]) for graph in drawn)
    assert with_phis * 4 >= len(drawn) and with_loops * 4 >= len(drawn)


def test_a_view_of_an_earlier_round_keeps_its_contents() -> None:
    """Found by the property above; only graphs made by hand have such loops, those of traces are chains."""
    builder = GraphBuilder()
    x = builder.feed((5,))
    phi = builder.phi(builder.op("add", x, x))
    builder.close(Goto(1))
    builder.close(Case(0, (2, 6)))
    made = builder.op("add", x, phi, kept=True)
    builder.close(Goto(3))
    builder.close(Case(1, (4, 5)))
    builder.op("reshape", made, shape=(5,), kept=True)
    builder.close(Goto(3))
    builder.select(phi, builder.op("multiply", x, x))
    builder.close(Goto(1))
    builder.op("add", x, x, kept=True)
    graph = builder.graph()
    feeds = [np.arange(5, dtype=np.float32) - 2]
    path = [0, 0, 1, 0]  # a view of the first round, and a second round without one
    expected = drive(graph, ReferenceGraph(graph).start(), path, [], feeds)
    for found, meant in zip(drive(graph, compile_by_hand(graph).start(), path, [], feeds), expected, strict=True):
        np.testing.assert_array_equal(found, meant)
