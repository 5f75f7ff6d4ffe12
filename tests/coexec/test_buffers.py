"""Buffers of a plan: owners, lifetimes, arenas; verifiers of what comes before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import GraphBuilder
from handmade import compile_by_hand, kernel_of
from hypothesis import given, strategies as st

import minitensor  # noqa: F401 - registers the operations
from coexec.clusters.partition import Partition, partition, verify_partition
from coexec.errors import MalformedGraph
from coexec.graph.symbolic import Case, End, Goto, Output, SymbolicGraph
from coexec.graph_side.buffers import ALIGNMENT, Lifetime, Shape, _roots, is_in_loop, place_in_arena, plan_buffers
from coexec.graph_side.frame import MOST_FILLINGS, MOST_WAITING, Arena, Array, Frame, FreshBuffers, Memory
from coexec.graph_side.instructions import Launch, PhiSlot, Place
from coexec.graph_side.plan import SCRATCH
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


def test_large_places_come_first() -> None:
    """Small ones find room beside them; the other way round a gap of 128 bytes would be left at the end."""
    drawn = {Output(0): (256, 1, 3), Output(1): (128, 3, 3), Output(2): (256, 2, 2)}
    lives = [Lifetime(output, first, last) for output, (_, first, last) in drawn.items()]
    _, total = place_in_arena(lives, {output: size for output, (size, _, _) in drawn.items()})
    assert total == 512


def test_what_moves_may_lead_to_is_found_whatever_comes_twice() -> None:
    x, b, c = Output(0), Output(1), Output(2)
    assert _roots(Output(9), {Output(9): (x, b, b), b: (c,)}) == {x, c}


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
    less = Shape(("N0-5", 3), np.dtype("float32"), (("N0", "batch"),))  # of a kernel that is not for these sizes
    assert less.at({"batch": 4}) == (-1, 3) and less.bytes_at({"batch": 4}) == 0 and less.bytes_at({"batch": 7}) == 24
    fixed = Shape((2, 3), np.dtype("float64"))
    assert fixed.at({}) == (2, 3) and fixed.bytes_at({}) == 48 and fixed.symbols == frozenset()


def test_intervals_have_both_their_ends() -> None:
    life = Lifetime(Output(0), 3, 5)
    for first, last, expected in ((0, 2, False), (0, 3, True), (4, 4, True), (5, 9, True), (6, 9, False), (0, 9, True)):
        other = Lifetime(Output(1), first, last)
        assert life.overlaps(other) == other.overlaps(life) == expected
    assert [is_in_loop(at, [(8, 8), (3, 5)]) for at in (2, 3, 5, 6, 8, 9)] == [False, True, True, False, True, False]


def test_an_arena_takes_what_is_asked_for_and_keeps_it() -> None:
    arena = Arena()
    for size in (1, 1000, 1 << 20):
        block = arena.at_least(size)
        assert block is not None and size <= block.nbytes <= size + ALIGNMENT
        first = block.ctypes.data
        assert arena.address % ALIGNMENT == 0 and first <= arena.address <= first + block.nbytes - size
    assert arena.at_least(10) is block


# --- frames -------------------------------------------------------------------------------------------------

F32 = np.dtype("float32")


def test_a_fresh_buffer_is_given_again_once_nobody_holds_it() -> None:
    store = FreshBuffers()
    first, at_first = store.take((3,), F32)
    assert (first.shape, first.dtype, first.flags.writeable, first.ctypes.data) == ((3,), F32, False, at_first)
    view = first[1:]
    del first
    second, at_second = store.take((3,), F32)
    assert at_second != at_first
    del view
    assert store.take((3,), F32)[1] == at_first
    del second
    assert store.take((3,), F32)[1] == at_first


@pytest.mark.parametrize("other", [((4,), F32), ((3,), np.dtype("float64")), ((3,), np.dtype("float16"))], ids=str)
def test_a_buffer_of_another_shape_or_type_is_another(other: tuple[tuple[int, ...], np.dtype[np.generic]]) -> None:
    store = FreshBuffers()
    for shape, dtype in (((3,), F32), other, ((3,), F32)):
        for _ in range(2):
            array, _ = store.take(shape, dtype)
            assert (array.shape, array.dtype) == (shape, dtype) and len(store.buffers) == 1
            del array


def test_no_more_buffers_wait_than_are_of_use() -> None:
    store = FreshBuffers()
    held: list[Array] = []
    for number in range(2 * MOST_WAITING):
        held.append(store.take((3,), F32)[0])
        assert len(store.buffers) == min(number + 1, MOST_WAITING)
    assert len({array.ctypes.data for array in held}) == len(held)
    latest = [array.ctypes.data for array in held[-MOST_WAITING:]]
    held.clear()
    assert [address for _, address in store.buffers] == latest


def over_a_symbol() -> Memory:
    g = GraphBuilder()
    a = g.feed(("n",))
    x = g.op("negative", g.op("negative", a))
    return Memory(compile_by_hand(g.graph(kept=(g.op("negative", x),), symbols=("n",))).plan)


def test_a_filling_is_made_once_for_the_same_sizes_as_long_as_there_is_room() -> None:
    memory = over_a_symbol()
    number = next(i for i, group in enumerate(memory.plan.groups) if group.symbols)
    known = memory.filling(number, {"n": 5})
    assert memory.filling(number, {"n": 5}) is known and memory.filling(number, {"n": 6}) is not known
    assert memory.filling(0, {}) is memory.filling(0, {}) is not known
    for n in range(2 * MOST_FILLINGS):
        assert memory.filling(number, {"n": n}).owned[0][2] == (n,)
        assert len(memory._fillings) <= MOST_FILLINGS


def test_a_frame_has_buffers_for_its_step_and_lets_go_of_them() -> None:
    memory = over_a_symbol()
    number = next(i for i, group in enumerate(memory.plan.groups) if group.symbols)
    frame = Frame(memory)
    frame.reset()
    assert frame.owned == {} and frame.held == []
    frame.fill(number, {"n": 1000})
    ((output, (array, address)),) = frame.owned.items()
    assert array.shape == (1000,) and frame.view[memory.plan.slots[output]] == address
    (arena,) = frame.held
    first = arena.ctypes.data
    for life in memory.plan.groups[number].arena:
        assert first <= frame.view[memory.plan.slots[life.place]] <= first + arena.nbytes - 4000
    frame.release()
    assert frame.owned == {} and frame.held == []
    frame.reset()
    assert frame.view[memory.plan.slots[output]] == 0


def test_kernels_share_scratch_memory_of_the_most_that_one_needs() -> None:
    plan = over_a_symbol().plan
    number = next(i for i, group in enumerate(plan.groups) if group.symbols)
    rows = plan.groups[number].stages
    rows[:2] = [replace(rows[0], scratch="N0*8"), replace(rows[1], scratch="N0*2")]
    frame = Frame(Memory(plan))
    frame.reset()
    frame.fill(number, {"n": 1000})
    assert [frame.view[row.word + 3] for row in rows] == [8000, 2000, 0]
    block, address = frame.held[-1], frame.view[SCRATCH]
    assert address == frame.memory.scratch.address
    assert block.ctypes.data <= address <= block.ctypes.data + block.nbytes - 8000
