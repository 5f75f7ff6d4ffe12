"""Alternatives of operations that follow one another: no combination of them has to be met first."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from programs import Step, data, parameter
from written import Tensor, Written

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent
from coexec.traces.alternatives import LONGEST_WAY, partners
from coexec.traces.merge import merge
from coexec.traces.record import Trace
from coexec.traces.trace_graph import TraceGraph, TraceNode, verify_trace_graph


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def traced(step: Step, numbers: list[int]) -> TraceGraph:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coexec.config, "mode", "trace")
        whole = coexec.coexecute(step)
        for i in numbers:
            whole(i)
        return whole.session.traces


def edges(graph: TraceGraph, first: str, second: str) -> int:
    """How many lead from operations of the one name to such of the other."""

    def is_named(node: TraceNode, name: str) -> bool:
        return node.op is not None and node.op.name == name

    return sum(is_named(c, second) for node in graph.nodes if is_named(node, first) for c in node.children)


def two_choices(i: int, j: int) -> Any:
    x = data(3, 4)
    return mt.flip(x, axis=i), x[j]


def test_as_many_edges_are_enough_as_connect_all_alternatives() -> None:
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0)]  # (1, 1) and (1, 2) were never met
    assert edges(traced(lambda n: two_choices(*pairs[n]), [0, 1, 2]), "flip", "getitem") == 3
    assert edges(traced(lambda n: two_choices(*pairs[n]), [0, 1, 2, 3]), "flip", "getitem") == 6


def test_alternatives_that_always_go_together_stay_together() -> None:
    graph = traced(lambda n: two_choices(n % 2, n % 2), [0, 1, 0, 1])
    assert edges(graph, "flip", "getitem") == 2


def test_an_alternative_of_which_nothing_can_be_made_is_no_way() -> None:
    """What reads the sum of one dtype cannot follow the other's, though both have met a common successor."""

    other = data(3)

    def step(n: int) -> Any:
        x = data(3).astype("float32" if n % 2 else "float64") + 1.0
        return mt.flip(x if n < 2 else other)

    graph = traced(step, [0, 1, 2, 3])
    flips = [node for node in graph.nodes if node.op and node.op.name == "flip"]
    assert sorted(len(node.parents) for node in flips) == [1, 1, 2]


COMBINATIONS = [*itertools.product((0, 1), repeat=3)]


@pytest.mark.parametrize("order", [COMBINATIONS, COMBINATIONS[::-1]], ids=["forth", "back"])
def test_rounds_are_not_passed_over_for_an_alternative_that_a_later_one_has(order: list[tuple[int, ...]]) -> None:
    """Two alternatives in each of three rounds are six nodes (in most orders; some rounds cannot be told apart)."""
    kinds = data(3), data(3).astype("float64")

    def step(n: int) -> Any:
        return [mt.flip(kinds[k]) for k in order[n]]

    graph = traced(step, list(range(8)))
    assert len(graph.nodes) == 6
    assert edges(graph, "flip", "flip") == 8


def make_independent() -> Step:
    w = parameter(3, 4)

    def step(i: int) -> Any:
        w.grad = None
        y = mt.roll(w, i % 5, axis=0) * mt.flip(w, axis=i % 2) + mt.tile(w[i % 3], (3, 1))
        y.sum().backward()
        return y, w.grad

    return step


def test_thirty_combinations_take_no_more_traces_than_the_longest_row_of_alternatives() -> None:
    report = assert_equivalent(make_independent, steps=40, coexecuted=28)
    assert report.traced_steps <= 12


@given(
    choices=st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.integers(0, 3)), min_size=2, max_size=12),
)
def test_the_graph_stays_in_order_whatever_is_chosen_in_loops(choices: list[tuple[int, ...]]) -> None:
    """Rounds, each with alternatives of its own, that may be skipped: every trace stays a path, without a cycle."""

    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            x, out = data(3, 4), []
            a, b, c, rounds = choices[i % len(choices)]
            for k in range(rounds):
                out.append(mt.sum(x, axis=(a + k) % 2))
                if (b + k) % 3 == 0:
                    continue
                out.append(mt.roll(x, (b * k) % 3, axis=0))
                if (c + k) % 4 == 3:
                    break
            return out, x[c]

        return step

    verify_trace_graph(traced(make(), list(range(len(choices)))))
    assert_equivalent(make, steps=2 * len(choices), coexecuted=0)


def sums_of_rounds(rounds: tuple[int, ...]) -> Any:
    """One round has one of two alternatives, or none; the gradient adds what they give."""
    w = parameter(3, 4)
    parts = [mt.flip(w, axis=k) if k < 2 else w for k in rounds]
    total = mt.sum(mt.stack(parts))
    total.backward()
    return total, w.grad


def test_what_alternatives_read_they_may_all_read() -> None:
    """The second round's gradient is added to either of the first round's, in whichever combination that was met."""
    pairs = [*itertools.product(range(2), repeat=2)]
    some = traced(lambda n: sums_of_rounds(pairs[n]), [0, 1, 2])
    every = traced(lambda n: sums_of_rounds(pairs[n % 4]), [0, 1, 2, 3])
    assert some.version == every.version, "the fourth combination brought something new"


def test_what_follows_one_way_from_a_fork_to_a_join_follows_the_other() -> None:
    """The loop ends behind a round of either kind, once it has ended behind one of them."""

    def step(n: int) -> Any:
        x, kinds = data(3, 4), ([0, 0], [1, 0], [0], [1])[n]
        return [mt.flip(x, axis=k) for k in kinds], x * 2.0

    graph = traced(step, [0, 1, 2])
    assert edges(graph, "flip", "multiply") == 3
    assert graph.version == traced(step, [0, 1, 2, 3]).version


def test_ways_that_go_side_by_side_stay_apart() -> None:
    """Two operations in a row that change together: two ways, with no edge between them."""

    def step(n: int) -> Any:
        x = data(3, 4)
        return x * 2.0, mt.flip(x, axis=n % 2), mt.roll(x, n % 2, axis=0), x + 1.0

    graph = traced(step, [0, 1, 0, 1])
    assert edges(graph, "flip", "roll") == 2 and edges(graph, "multiply", "flip") == 2


@example([(0,), (1, 2, 2), (0, 1), (0, 0), (0, 0, 1), (0, 0, 2), (0, 2, 0)])  # seven slices of one place
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple), min_size=2, max_size=8))
def test_a_trace_is_a_path_whatever_alternatives_share(choices: list[tuple[int, ...]]) -> None:
    """Met once more at once, it brings nothing new: sharing has hidden no producer of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coexec.config, "mode", "trace")
        step = coexec.coexecute(sums_of_rounds)
        for rounds in choices:
            step(rounds)
            if step.session.traces.version == 0:  # a place that varies too much was left to Python: traced anew
                step(rounds)
            version = step.session.traces.version
            step(rounds)
            assert step.session.traces.version == version > 0
        verify_trace_graph(step.session.traces)
    assert_equivalent(lambda: lambda i: sums_of_rounds(choices[i % len(choices)]), steps=2 * len(choices), coexecuted=0)


def test_every_pair_was_met_or_connected() -> None:
    """Of a full grid of combinations no further one is new."""
    pairs = [*itertools.product(range(2), range(3))]
    some = traced(lambda n: two_choices(*pairs[n]), [0, 1, 2, 3])
    every = traced(lambda n: two_choices(*pairs[n]), list(range(6)))
    assert edges(some, "flip", "getitem") == edges(every, "flip", "getitem") == 6


# --- partners, on traces written by hand ------------------------------------------------------------------


def way(shift: int, length: int, gradient: bool = False) -> Trace:
    """Between a fork and a join: so many operations that go by the shift, and perhaps the gradient of the first."""
    written = Written()
    x = written.op("negative", Tensor(0), at=0)
    for place in range(1, length + 1):
        x = written.op("roll", x, at=place, shifts=(shift,), axes=(0,))
    written.op("negative", x, at=1000)
    if gradient:
        written.op("roll", Tensor(1), at=1001, shifts=(-shift,), axes=(0,))
        written.trace.records[-1] = replace(written.trace.records[-1], forward=1)
    return written.trace


@pytest.mark.parametrize("length", [1, 2, LONGEST_WAY, LONGEST_WAY + 1])
def test_operations_beside_each_other_are_partners_as_far_as_is_looked(length: int) -> None:
    graph = TraceGraph()
    first, second, third = (merge(graph, way(shift, length)) for shift in (1, 2, 3))
    for at in (1, length):
        found = partners(graph, first[at])
        assert found == ([second[at], third[at]] if length <= LONGEST_WAY else [])
        assert partners(graph, second[at]) == ([first[at], third[at]] if length <= LONGEST_WAY else [])
    assert partners(graph, first[0]) == [] and partners(graph, first[-1]) == []


def test_gradients_of_partners_are_partners() -> None:
    graph = TraceGraph()
    first, second = merge(graph, way(1, 1, gradient=True)), merge(graph, way(2, 1, gradient=True))
    assert first[-1] is not second[-1]
    assert partners(graph, first[-1]) == [second[-1]] and partners(graph, second[-1]) == [first[-1]]


def with_gradient(shift: int, rows: int) -> Trace:
    """A gradient of equal operations, as many as there are rows; then what reads the last of them."""
    written = Written()
    x = written.op("negative", Tensor(0), at=0)
    x = written.op("roll", x, at=1, shifts=(shift,), axes=(0,))
    written.op("negative", x, at=2)
    for row in range(rows):
        made = written.op("roll", Tensor(1), at=3, shifts=(10 * shift + row,), axes=(0,))
        written.trace.records[-1] = replace(written.trace.records[-1], forward=1)
    written.op("abs", made, at=4)
    return written.trace


def test_operations_of_two_gradients_are_partners_by_their_turn() -> None:
    """The gradient of a stack of rows: each row's is that row's alternative, whatever the others are."""
    graph = TraceGraph()
    first, second = merge(graph, with_gradient(1, 2)), merge(graph, with_gradient(2, 3))
    assert second[-1] is first[-1] and len(second) == len(first) + 1
    for turn in (3, 4):
        assert partners(graph, first[turn]) == [second[turn]] and partners(graph, second[turn]) == [first[turn]]
    assert partners(graph, second[5]) == []


def accumulated(rounds: int, read: int) -> Trace:
    """So many operations, one behind the other, and one that reads that of this number."""
    written = Written()
    made = [written.op("negative", Tensor(0), at=0)]
    for number in range(1, rounds):
        made.append(written.op("exp", made[-1], at=number))
    written.op("abs", made[read], at=100)
    return written.trace


def test_a_producer_is_not_added_where_a_known_trace_may_have_come_by_it() -> None:
    """Each length reads another round, and longer ones come by that of shorter ones."""
    graph = TraceGraph()
    calls = [(2, 0), (4, 2), (3, 1), (5, 3)]
    paths = [merge(graph, accumulated(*call)) for call in calls]
    version = graph.version
    assert [merge(graph, accumulated(*call)) for call in calls] == paths and graph.version == version


def test_a_producer_may_be_added_where_only_this_trace_comes_by_it() -> None:
    """Two gradients, clipped in some steps: the way to the second update leads through both clips and the first."""
    graph = TraceGraph()
    for clipped in (False, True):
        written = Written()
        made = [written.op("exp", Tensor(number), at=number) for number in (0, 1)]
        if clipped:
            made = [written.op("negative", x, at=2 + number) for number, x in enumerate(made)]
        for number, x in enumerate(made):
            written.op("abs", x, at=4 + number)
        path = merge(graph, written.trace)
    assert len(graph.nodes) == 6
    assert [len(wiring.alternatives) for node in path[-2:] for wiring in node.inputs] == [2, 2]  # type: ignore[union-attr]


def test_operations_of_other_places_or_other_names_are_no_partners() -> None:
    graph = TraceGraph()
    paths = []
    for name, place in (("relu", 1), ("abs", 1), ("relu", 2)):
        written = Written()
        x = written.op("negative", Tensor(0), at=0)
        written.op("negative", written.op(name, x, at=place), at=3)
        paths.append(merge(graph, written.trace))
    assert len({path[1] for path in paths}) == 3
    assert all(partners(graph, path[1]) == [] for path in paths)


def test_ways_that_do_not_join_are_no_alternatives() -> None:
    graph = TraceGraph()
    paths = []
    for shift in (1, 2):
        written = Written()
        x = written.op("roll", Tensor(0), at=0, shifts=(shift,), axes=(0,))
        for place in range(shift):
            x = written.op("abs", x, at=10 * shift + place)
        paths.append(merge(graph, written.trace))
    assert partners(graph, paths[0][0]) == []


def test_rounds_one_behind_the_other_are_no_partners() -> None:
    graph = TraceGraph()
    for shifts in ((1, 2), (2, 1), (1,), (2,)):
        written = Written()
        x: Any = Tensor(0)
        for shift in shifts:
            x = written.op("roll", x, at=0, shifts=(shift,), axes=(0,))
        written.op("negative", x, at=1)
        path = merge(graph, written.trace)
        verify_trace_graph(graph)
        assert not set(partners(graph, path[0])) & set(path)
