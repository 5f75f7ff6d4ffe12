"""Buffers of a plan: owners, lifetimes, arenas; verifiers of what comes before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import GraphBuilder
from handmade import compile_by_hand, kernel_of
from hypothesis import given
from hypothesis import strategies as st

import minitensor  # noqa: F401 - registers the operations
from coexec.clusters.partition import Partition, partition, verify_partition
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import Case, End, Goto, Output, SymbolicGraph
from coexec.graph_side.buffers import ALIGNMENT, Lifetime, Shape, place_in_arena, plan_buffers
from coexec.graph_side.frame import Arena
from coexec.graph_side.instructions import Launch, PhiSlot, Place
from coexec.graph_side.sequence import Sequence, sequence, verify_sequence

intervals = st.tuples(st.integers(0, 30), st.integers(0, 8), st.integers(0, 500))


@given(st.lists(intervals, max_size=20))
def test_places_that_live_together_lie_apart(drawn: list[tuple[int, int, int]]) -> None:
    lives = [Lifetime(Output(k), first, first + length) for k, (first, length, _) in enumerate(drawn)]
    sizes: dict[Place, int] = {Output(k): size for k, (_, _, size) in enumerate(drawn)}
    offsets, total = place_in_arena(lives, sizes)
    for a in lives:
        start = offsets[a.place]
        assert start % ALIGNMENT == 0 and start + sizes[a.place] <= total
        for b in lives:
            if a is not b and a.overlaps(b) and sizes[a.place] and sizes[b.place]:
                other = offsets[b.place]
                assert start + sizes[a.place] <= other or other + sizes[b.place] <= start


@given(st.lists(intervals, min_size=1, max_size=20))
def test_an_arena_is_no_larger_than_all_its_places_and_no_smaller_than_the_fullest_moment(
    drawn: list[tuple[int, int, int]],
) -> None:
    lives = [Lifetime(Output(k), first, first + length) for k, (first, length, _) in enumerate(drawn)]
    rounded = [-(-size // ALIGNMENT) * ALIGNMENT for _, _, size in drawn]
    _, total = place_in_arena(lives, {Output(k): size for k, (_, _, size) in enumerate(drawn)})
    fullest = max(
        sum(size for life, size in zip(lives, rounded, strict=True) if life.first <= t <= life.last) for t in range(40)
    )
    assert fullest <= total <= sum(rounded)


def program_of(graph: SymbolicGraph) -> Sequence:
    parts = partition(graph, max_nodes=1)
    return sequence(parts, {cluster: kernel_of(cluster, graph) for cluster in parts.clusters})


def test_kept_and_fetched_outputs_are_owned_and_the_rest_shares_an_arena() -> None:
    g = GraphBuilder()
    a = g.feed((8, 4))
    values = [g.op("negative", a)]
    for _ in range(9):
        values.append(g.op("negative", values[-1]))
    g.fetch(values[3])
    graph = g.graph(kept=(values[-1],))
    plan = plan_buffers(graph, program_of(graph))
    assert set(plan.owned) == {values[3], values[-1]}
    assert {life.place for life in plan.arena} == {*values} - {*plan.owned}
    shape = Shape((8, 4), a.spec.dtype)
    _, total = place_in_arena(plan.arena, {life.place: shape.bytes_at({}) for life in plan.arena})
    assert total == 2 * shape.bytes_at({})  # a chain needs two places, whatever its length


def test_a_view_of_a_kept_output_makes_its_buffer_owned() -> None:
    g = GraphBuilder()
    a = g.feed((8, 4))
    n = g.op("negative", a)
    r = g.op("reshape", n, shape=(32,))
    f = g.op("reshape", a, shape=(32,))
    graph = g.graph(kept=(r, f))
    plan = plan_buffers(graph, program_of(graph))
    assert plan.owned == (n,) and plan.view_of == {r: n, f: a}


def looping() -> tuple[SymbolicGraph, Output, Output]:
    g = GraphBuilder()
    a = g.feed((5,))
    outside = g.op("add", a, a)
    phi = g.phi(g.op("negative", a))
    g.close(Goto(1))
    g.close(Case(0, (2, 3)))
    inside = g.op("add", phi, outside)
    g.select(phi, inside)
    g.close(Goto(1))
    result = g.op("negative", phi)
    g.close(End())
    return g.graph(kept=(result,)), outside, inside


def test_lifetimes_cover_the_loops_that_they_touch() -> None:
    graph, outside, inside = looping()
    program = program_of(graph)
    ((begin, end),) = program.loops
    lives = {life.place: life for life in plan_buffers(graph, program).arena}
    for place in (outside, inside, PhiSlot(0)):
        assert lives[place].first <= begin and lives[place].last >= end
    assert all(lives[outside].overlaps(other) for other in lives.values() if other.last >= begin)


def test_blocks_of_a_loop_stand_together() -> None:
    graph, *_ = looping()
    assert [block for block, _ in sorted(program_of(graph).starts.items(), key=lambda x: x[1])] == [0, 1, 2, 3]
    assert compile_by_hand(graph).kernels == 4


def partitioned() -> Partition:
    g = GraphBuilder()
    a, late = g.feed((4,)), g.feed((4,))
    b = g.op("negative", a)
    g.fetch(b)
    c = g.op("add", b, late)
    return partition(g.graph(kept=(c,)))


def test_the_verifier_refuses_a_partition_in_another_order() -> None:
    parts = partitioned()
    verify_partition(parts)
    steps = parts.blocks[0]
    with pytest.raises(MalformedGraph, match="not there yet"):
        verify_partition(replace(parts, blocks=(steps[::-1],)))
    with pytest.raises(MalformedGraph, match="a fetch, runs before it"):
        verify_partition(replace(parts, blocks=((steps[0], steps[2], steps[1]),)))
    with pytest.raises(MalformedGraph, match="kept"):
        verify_partition(replace(parts, blocks=(steps[:2],)))


def test_the_verifier_refuses_a_sequence_without_one_of_its_instructions() -> None:
    graph, *_ = looping()
    program = program_of(graph)
    verify_sequence(program)
    launches = [at for at, i in enumerate(program.instructions) if isinstance(i, Launch)]
    for at in launches[:-1]:  # nobody reads what the last one writes
        left = (*program.instructions[:at], *program.instructions[at + 1 :])
        starts = {block: start - (start > at) for block, start in program.starts.items()}
        with pytest.raises(MalformedGraph):
            verify_sequence(Sequence(left, program.kernels, starts, program.loops, program.looping))


def test_shapes_over_symbols() -> None:
    shape = Shape(("N0*2+1", 3), np.dtype("float32"), (("N0", "batch"),))
    assert shape.at({"batch": 4}) == (9, 3) and shape.bytes_at({"batch": 4}) == 108
    assert shape.symbols == {"batch"}


def test_an_arena_takes_what_is_asked_for_and_keeps_it() -> None:
    arena = Arena()
    for size in (1, 1000, 1 << 20):
        block = arena.at_least(size)
        assert block is not None and size <= block.nbytes <= size + ALIGNMENT
        first = block.ctypes.data
        assert arena.address % ALIGNMENT == 0 and first <= arena.address <= first + block.nbytes - size
    assert arena.at_least(10) is block
