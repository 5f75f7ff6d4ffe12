"""Instructions in one line: the order of blocks, what is left out, what the verifier refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import GraphBuilder
from handmade import compile_by_hand, kernel_of
from hypothesis import given, strategies as st

import minitensor  # noqa: F401 - registers the operations
from coexec.clusters.partition import partition
from coexec.errors import CompilationFailed, MalformedGraph
from coexec.graph.symbolic import Block, Case, Constant, End, Feed, Goto, Output, SymbolicGraph, SymbolicSpec
from coexec.graph_side.buffers import plan_buffers
from coexec.graph_side.instructions import (
    Await,
    Choose,
    Clear,
    Copy,
    Instruction,
    Jump,
    Launch,
    Move,
    PhiSlot,
    Place,
    Post,
    Scalar,
    Sizes,
    Stop,
    Workspace,
    reads_of,
    to_text,
    writes_of,
)
from coexec.graph_side.plan import STAGE_WIDTH, least_work
from coexec.graph_side.plan_builder import make_plan, shapes_of
from coexec.graph_side.sequence import Sequence, block_order, sequence, to_text as sequence_text, verify_sequence
from comprehension.config import config
from comprehension.jit.manifest import BufferSlot
from comprehension.lang.types import ScalarType

FED = Feed(3, SymbolicSpec((4,), np.dtype("float32")))
A, B, P = Output(7), Output(8, 1), PhiSlot(2)

INSTRUCTIONS: dict[str, tuple[Instruction, tuple[Place, ...], tuple[Place, ...]]] = {
    "await feed3": (Await(FED), (), ()),
    "await sizes m, n": (Await(Sizes(frozenset(("n", "m")))), (), ()),
    "run kernel 5: %7, feed3 -> %8.1, workspace 5.t": (
        Launch(5, (A, B, Workspace(5, "t"), FED), (A, FED), (B, Workspace(5, "t"))),
        (A, FED),
        (B, Workspace(5, "t")),
    ),
    "clear %7": (Clear(A), (), (A,)),
    "phi2 is %7": (Move(P, A), (), ()),
    "phi2 := %8.1": (Copy(P, B), (B,), (P,)),
    "post %8.1": (Post(B), (B,), ()),
    "goto block 4": (Jump(4), (), ()),
    "case 1 -> 2, 3": (Choose(1, (2, 3)), (), ()),
    "end": (Stop(), (), ()),
}


@pytest.mark.parametrize("text", INSTRUCTIONS)
def test_an_instruction_reads_writes_and_is_told(text: str) -> None:
    instruction, reads, writes = INSTRUCTIONS[text]
    assert to_text(instruction) == text
    assert reads_of(instruction) == reads and writes_of(instruction) == writes


def test_numbers_are_told_with_the_type_that_a_kernel_takes_them_in() -> None:
    places: tuple[Place, ...] = (Scalar(Constant(2.5), ScalarType.FLOAT32), Scalar(FED, ScalarType.INT64))
    assert to_text(Launch(0, places, places, (A,))) == "run kernel 0: float32(2.5), int64(feed3) -> %7"


# --- the order of blocks ------------------------------------------------------------------------------------


def flow(following: list[tuple[int, ...]]) -> SymbolicGraph:
    """A graph of empty blocks."""
    ends = [Case(0, targets) if len(targets) > 1 else Goto(*targets) if targets else End() for targets in following]
    return SymbolicGraph(tuple(Block(i, (), end) for i, end in enumerate(ends)), (), 1, 0, ())


def reached_from(block: int, following: list[tuple[int, ...]]) -> set[int]:
    """The blocks that a way of at least one step leads to."""
    found: set[int] = set()
    pending = list(following[block])
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += following[current]
    return found


def drawn_flow(blocks: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(0, blocks - 1), max_size=3), min_size=blocks, max_size=blocks)


@given(st.integers(1, 7).flatmap(drawn_flow))
def test_cycles_stand_together_and_all_else_in_the_order_of_ways(drawn: list[list[int]]) -> None:
    following = [tuple(dict.fromkeys(targets)) for targets in drawn]
    order, cycles = block_order(flow(following))
    reached = {block: reached_from(block, following) for block in range(len(following))}
    assert sorted(order) == sorted({0} | reached[0]) and order[0] == 0
    place = {block: i for i, block in enumerate(order)}
    for a in order:
        for b in order:
            together = a in reached[b] and b in reached[a]
            assert together == any({a, b} <= cycle for cycle in cycles)
            if b in reached[a] and not together:
                assert place[a] < place[b]
    for cycle in cycles:
        places = sorted(place[block] for block in cycle)
        assert places == list(range(places[0], places[0] + len(places)))


def test_the_blocks_of_a_cycle_stand_as_they_were_come_to() -> None:
    assert block_order(flow([(1,), (2, 3), (1,), ()])) == ((0, 1, 2, 3), (frozenset({1, 2}),))
    assert block_order(flow([(2,), (), (3,), (2, 1)])) == ((0, 2, 3, 1), (frozenset({2, 3}),))
    assert block_order(flow([(0, 1), ()])) == ((0, 1), (frozenset({0}),))
    assert block_order(flow([(1,), ()])) == ((0, 1), ())


# --- sequences ----------------------------------------------------------------------------------------------


def sequence_of(graph: SymbolicGraph) -> Sequence:
    parts = partition(graph, max_nodes=1)
    return sequence(parts, {cluster: kernel_of(cluster, graph) for cluster in parts.clusters})


def branching() -> SymbolicGraph:
    """-a, then in one of two blocks a sum with a feed, then a sum of that and the feed again."""
    g = GraphBuilder()
    a, late = g.feed((5,)), g.feed((5,))
    first = g.op("negative", a)
    g.close(Case(0, (1, 2)))
    phi = g.phi(g.op("add", first, late))
    g.close(Goto(3))
    g.select(phi, g.op("multiply", first, late))
    g.close(Goto(3))
    result = g.op("add", phi, late)
    g.close(End())
    return g.graph(kept=(result,))


def test_a_block_that_follows_is_not_jumped_to_and_each_block_waits_for_itself() -> None:
    program = sequence_of(branching())
    names = [type(instruction).__name__ for instruction in program.instructions]
    assert names.count("Jump") == 1  # of the two blocks that end in one, the other stands before it
    assert program.loops == () and program.looping == frozenset()
    waiting = [i.what.slot for i in program.instructions if isinstance(i, Await) and isinstance(i.what, Feed)]
    assert waiting == [0, 1, 1, 1]
    assert names.count("Move") == 2 and "Copy" not in names
    assert list(program.starts) == [0, *[b for b in program.starts if b in (1, 2)], 3]


def test_what_was_waited_for_in_a_block_is_not_waited_for_again() -> None:
    g = GraphBuilder()
    a = g.feed(("n",))
    x = g.op("add", g.op("negative", a), a)
    program = sequence_of(g.graph(kept=(g.op("add", x, a),), symbols=("n",)))
    waited = [i.what for i in program.instructions if isinstance(i, Await)]
    assert waited == [a, Sizes(frozenset("n"))]


def test_the_text_has_the_instructions_by_block() -> None:
    program = sequence_of(branching())
    lines = sequence_text(program).splitlines()
    assert [line for line in lines if line.startswith("block")] == [f"block {block}:" for block in program.starts]
    assert lines[:3] == ["block 0:", "  await feed0", "  run kernel 0: feed0 -> %0"]
    assert lines[-1] == "  end"


@pytest.mark.parametrize("wrong", [Jump(9), Choose(0, (1, 9))])
def test_the_verifier_refuses_a_way_to_nowhere(wrong: Instruction) -> None:
    program = sequence_of(branching())
    verify_sequence(program)
    at = next(i for i, instruction in enumerate(program.instructions) if isinstance(instruction, type(wrong)))
    changed = (*program.instructions[:at], wrong, *program.instructions[at + 1 :])
    with pytest.raises(MalformedGraph, match="in the sequence"):
        verify_sequence(replace(program, instructions=changed))


def test_the_verifier_refuses_what_reads_itself_but_in_a_loop() -> None:
    itself = (Copy(A, A), Stop())
    with pytest.raises(MalformedGraph, match="nothing sets"):
        verify_sequence(Sequence(itself, (), {0: 0}, (), frozenset()))
    verify_sequence(Sequence(itself, (), {0: 0}, ((0, 0),), frozenset({0})))
    later = (Post(A), Copy(A, A), Stop())
    verify_sequence(Sequence(later, (), {0: 0}, ((0, 1),), frozenset({0})))
    for loops in ((), ((0, 0),), ((1, 1),)):
        with pytest.raises(MalformedGraph, match="instruction 0, post %7: nothing sets"):
            verify_sequence(Sequence(later, (), {0: 0}, loops, frozenset({0})))
    moved = (Move(A, FED), Post(A), Stop())
    verify_sequence(Sequence(moved, (), {0: 0}, (), frozenset()))


# --- plans --------------------------------------------------------------------------------------------------


def test_a_kernel_that_asks_for_strides_has_no_place_in_a_plan() -> None:
    g = GraphBuilder()
    graph = g.graph(kept=(g.op("negative", g.feed((5,))),))
    program = sequence_of(graph)
    (kernel,) = program.kernels
    slots = (replace(kernel.manifest.slots[0], layout=()), *kernel.manifest.slots[1:])
    strided = replace(program, kernels=(replace(kernel, manifest=replace(kernel.manifest, slots=slots)),))
    with pytest.raises(CompilationFailed, match="strides"):
        make_plan(graph, strided, plan_buffers(graph, strided), shapes_of(graph, strided))


def test_a_workspace_has_the_shape_that_its_kernel_says_over_the_graphs_symbols() -> None:
    g = GraphBuilder()
    graph = g.graph(kept=(g.op("negative", g.feed(("n", 3))),), symbols=("n",))
    program = sequence_of(graph)
    (kernel,) = program.kernels
    between = (BufferSlot("t", "workspace", "int64", ("N0*2+1", 4)), BufferSlot("u", "workspace", "float32", (7,)))
    manifest = replace(kernel.manifest, slots=(*kernel.manifest.slots, *between))
    shapes = shapes_of(graph, replace(program, kernels=(replace(kernel, manifest=manifest),)))
    first, second = shapes[Workspace(0, "t")], shapes[Workspace(0, "u")]
    assert (first.at({"n": 5}), first.dtype, first.symbols) == ((11, 4), np.dtype("int64"), {"n"})
    assert (second.at({}), second.symbols, second.bytes_at({})) == ((7,), frozenset(), 28)
    assert set(shapes) == {Output(0), Workspace(0, "t"), Workspace(0, "u")}


def test_stages_are_divided_only_where_there_are_workers_and_later_than_by_a_kernel_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "threads", 1)
    assert least_work() == 0
    monkeypatch.setattr(config, "threads", 2)
    assert least_work() > config.parallel_ns
    monkeypatch.setattr(config, "parallel_ns", 0.0)
    assert least_work() == 1


def test_the_words_of_a_plan_are_used_for_one_thing_each() -> None:
    plan = compile_by_hand(branching()).plan
    words = [*plan.slots.values(), *plan.posts.values(), *plan.symbols]
    words += [word for choice in plan.choices for word in range(choice.sent, choice.sent + 2 + choice.ring)]
    words += [word for group in plan.groups for word, _ in group.sizes]
    words += [row.word + k for group in plan.groups for row in group.stages for k in range(STAGE_WIDTH)]
    assert len(set(words)) == len(words) and max(words) < len(plan.template)
    text = plan.to_text()
    assert "owned Output(node=3, index=0)" in text and "arena Output(node=0, index=0): instructions 1 to" in text
