"""Loops in traces written by hand: which rounds are found, whether one body can stand for them, and when it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from written import Tensor, Written, place_at

from coexec.traces.loops import MOST_TRIP_COUNTS, MOST_UNROLLED, Loop, find_loops, is_foldable
from coexec.traces.merge import merge
from coexec.traces.record import Produced, Trace
from coexec.traces.trace_graph import Lessons, TraceGraph

A, B = ("negative", 0), ("relu", 1)  # operations at places


def in_a_row(*operations: tuple[str, int]) -> Written:
    """Each operation on the result of the one before."""
    written = Written()
    x: Any = Tensor(0)
    for name, place in operations:
        x = written.op(name, x, at=place)
    return written


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], []),
        ([A], []),
        ([A, B], []),
        ([A, A], [Loop(0, 1, 2)]),
        ([A, B] * 3, [Loop(0, 2, 3)]),
        ([("abs", 5), *[A, B] * 3, ("abs", 6)], [Loop(1, 2, 3)]),
        ([*[A, B] * 2, A], [Loop(0, 2, 2)]),  # of the third round only a part
        ([A, A, B, B, B], [Loop(0, 1, 2), Loop(2, 1, 3)]),
        ([A, A, B, A, A, B], [Loop(0, 1, 2), Loop(3, 1, 2)]),  # the innermost
        ([A, B, ("abs", 2), A, ("abs", 2)], []),  # begins alike, and goes on in another way
        ([("negative", 0), ("relu", 0)], []),  # two operations at one place
        ([("negative", 0), ("negative", 1)], []),  # one operation at two places
    ],
)
def test_loops_are_rounds_of_the_same_operations(operations: list[tuple[str, int]], expected: list[Loop]) -> None:
    records = in_a_row(*operations).trace.records
    assert find_loops(records) == expected
    assert find_loops(records) == expected, "with what was noted at the records"


def test_other_attributes_and_other_sizes_are_no_rounds() -> None:
    written = Written()
    for axis in (0, 1):
        written.op("sum", Tensor(0, (3, 3)), at=0, axis=(axis,), keepdims=False)
    for length in (4, 5):
        written.op("negative", Tensor(0, (length,)), at=1)
    assert find_loops(written.trace.records) == []


def test_gradients_are_no_rounds() -> None:
    records = in_a_row(A, A).trace.records
    assert find_loops([replace(record, forward=0) for record in records]) == []


# --- whether one body can stand for the rounds ------------------------------------------------------------

ROUNDS = 4
Round = Callable[[Written, int, list[Any]], list[Any]]  # the trace, the turn, all values so far: what the round makes


def rounds_of(make: Round, before: int) -> tuple[Trace, Loop]:
    """Two operations, then rounds; behind a prefix of so many operations."""
    written = Written(Trace(prefix=[None] * before))  # type: ignore[list-item]  # how many is all that is asked
    values: list[Any] = [written.op("abs", Tensor(0), at=10), written.op("abs", Tensor(1), at=11)]
    for turn in range(ROUNDS):
        values += make(written, turn, values)
    (loop,) = find_loops(written.trace.records)
    assert loop == Loop(2, (len(values) - 2) // ROUNDS, ROUNDS)
    return written.trace, loop


def latest(w: Written, turn: int, values: list[Any]) -> list[Any]:
    x = w.op("negative", values[-1], at=0)
    return [x, w.op("add", x, values[-1], at=1)]


def replaced_in_its_own_round(w: Written, turn: int, values: list[Any]) -> list[Any]:
    """The second operation reads what the first made in the round before."""
    return [w.op("negative", values[-1], at=0), w.op("add", values[-1], values[-2], at=1)]


def with_operand(operand: Callable[[int, list[Any]], Any]) -> Round:
    return lambda w, turn, values: [w.op("add", values[-1], operand(turn, values), at=0)]


INPUTS: dict[str, tuple[Round, bool]] = {
    "this round and the one before": (latest, True),
    "what this round has replaced": (replaced_in_its_own_round, False),
    "its own result of the round before": (with_operand(lambda turn, values: values[-1]), True),
    "a result of two rounds before": (with_operand(lambda turn, values: values[-2]), False),
    "one place outside": (with_operand(lambda turn, values: values[0]), True),
    "another place outside in each round": (with_operand(lambda turn, values: values[turn % 2]), False),
    "another place outside in the first round": (with_operand(lambda turn, values: values[turn > 0]), True),
    "one tensor": (with_operand(lambda turn, values: Tensor(1)), True),
    "another tensor in each round": (with_operand(lambda turn, values: Tensor(turn)), False),
    "another tensor in the first round": (with_operand(lambda turn, values: Tensor(turn > 0)), True),
    "one number": (with_operand(lambda turn, values: 2.0), True),
    "another number in each round": (with_operand(lambda turn, values: float(turn)), False),
    "another number in the last round": (with_operand(lambda turn, values: float(turn == ROUNDS - 1)), False),
    "a tensor, then what is made outside": (with_operand(lambda turn, values: values[0] if turn else Tensor(0)), True),
}


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("name", INPUTS)
def test_inputs_come_from_the_same_places_in_every_round_but_the_first(name: str, before: int) -> None:
    make, expected = INPUTS[name]
    assert is_foldable(*rounds_of(make, before)) == expected


def made_in(turn: int, offset: int, before: int) -> Produced:
    return Produced(before + 2 + 2 * turn + offset, 0)


LASTING = [(turn, offset) for turn in range(ROUNDS) for offset in range(2)]


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(("turn", "offset"), LASTING)
def test_behind_the_loop_only_the_first_and_the_last_round_are_there(turn: int, offset: int, before: int) -> None:
    expected = turn in (0, ROUNDS - 1)
    used, _ = rounds_of(latest, before)
    behind = Written(used)
    behind.op("relu", Tensor(0), at=20)
    behind.op("relu", made_in(turn, offset, before), at=21)
    assert is_foldable(used, Loop(2, 2, ROUNDS)) == expected
    kept, loop = rounds_of(latest, before)
    kept.kept += [made_in(0, 0, before), made_in(turn, offset, before)]
    assert is_foldable(kept, loop) == expected


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(("turn", "offset"), LASTING)
def test_a_value_is_read_before_a_further_round_replaces_it(turn: int, offset: int, before: int) -> None:
    """Just before its operation is done again, which is two operations later, and just behind."""
    for later in (1, 2, 3):
        trace, loop = rounds_of(latest, before)
        read = made_in(turn, offset, before)
        trace.reads.append((read.index + later, read))
        assert is_foldable(trace, loop) == (turn in (0, ROUNDS - 1) or later <= 2)


# --- when one body does stand for them --------------------------------------------------------------------

PLACE = ("negative", place_at(0))


def looping(rounds: int) -> Trace:
    return in_a_row(*[A, B] * rounds).trace


def foldable_after(*trips: int) -> set[Any]:
    graph = TraceGraph()
    for rounds in trips:
        merge(graph, looping(rounds))
    assert graph.trip_counts == {PLACE: set(trips)}
    return graph.foldable


def test_a_loop_is_to_be_folded_once_it_is_long_or_often_different() -> None:
    few = [2 + i for i in range(MOST_TRIP_COUNTS)]
    assert foldable_after(*few, *few) == set()
    assert foldable_after(*few, few[-1] + 1) == {PLACE}
    assert foldable_after(MOST_UNROLLED) == set()
    assert foldable_after(MOST_UNROLLED + 1) == {PLACE}


def test_of_two_rounds_nothing_is_concluded() -> None:
    assert foldable_after(3, 4, 5, 2) == set()
    assert foldable_after(3, 4, 5, 2, 3) == {PLACE}


def test_a_loop_whose_rounds_are_wanted_is_not_to_be_folded() -> None:
    graph = TraceGraph()
    for rounds in (3, 4, 5, 6):
        trace = looping(rounds)
        trace.kept.append(Produced(3, 0))
        merge(graph, trace)
    assert graph.foldable == set()


def test_a_folded_loop_has_its_first_round_and_a_body_for_all_others() -> None:
    graph = TraceGraph(Lessons(folded=frozenset({PLACE})))
    path = merge(graph, looping(3))
    assert len(graph.nodes) == 4 and path == [*graph.nodes, *graph.nodes[2:]]
    assert [node.loops for node in graph.nodes] == [[], [], [], [tuple(graph.nodes[2:])]]
    merge(graph, looping(2))
    version = graph.version
    for rounds in (2, 3, 7):
        assert merge(graph, looping(rounds)) == [*graph.nodes[:2], *graph.nodes[2:] * (rounds - 1)]
    assert graph.version == version and graph.foldable <= {PLACE}
    assert merge(TraceGraph(), looping(3)) != path


def test_rounds_are_no_alternatives_of_each_other() -> None:
    graph = TraceGraph()
    merge(graph, looping(3))
    assert len(graph.nodes) == 6 and {r.times for r in graph.restless.values()} == {1}
