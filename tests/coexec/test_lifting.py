"""Sizes that turn out, further down, to be those of other operands: whose they are, and that they are symbols then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from written import Tensor, Written, place_at

import coexec
import minitensor as mt
from coexec.config import config
from coexec.graph.dims import Symbols, Unifier
from coexec.graph.symbolic import SymbolicSpec
from coexec.session import Phase
from coexec.testing import assert_equivalent
from coexec.traces.lessons import MOST_IN_A_ROW, revised
from coexec.traces.merge import Merger, merge
from coexec.traces.record import Trace
from coexec.traces.trace_graph import SHAPE_ATTRIBUTE, Kind, Lessons, SizeOf, TraceGraph
from minitensor import functional as F, nn


def kind(name: str, at: int) -> Kind:
    return (name, place_at(at)), None


def known(length: int) -> tuple[Written, Any]:
    """What each trace of these tests begins with; two lengths of it are one symbol."""
    written = Written()
    return written, written.op("negative", Tensor(0, (length, 4)), at=0)


def graph_of(lessons: Lessons | None = None) -> TraceGraph:
    graph = TraceGraph(lessons)
    for length in (6, 5):
        merge(graph, known(length)[0].trace)
    return graph


def fresh_operand(length: int) -> Trace:
    """`add` of what is known and of something new, which comes by an operation of its own."""
    written, x = known(length)
    written.op("add", x, written.op("abs", written.op("exp", Tensor(1, (length, 4)), at=1), at=2), at=3)
    return written.trace


def drawn_operand(length: int) -> Trace:
    written, x = known(length)
    noise = written.op("random_uniform", Tensor(1, (2,), "uint64"), at=1, shape=(length, 4))
    written.op("add", x, written.op("multiply", noise, 0.1, at=2), at=3)
    return written.trace


def looked_up(length: int) -> Trace:
    """The weights have as many rows as the batch now and then: only the labels' size is the batch's."""
    written, x = known(length)
    rows = written.op("gather", Tensor(1, (7, 4)), Tensor(2, (length,), "int64"), at=1, axes=(0,), position=0)
    written.op("add", x, rows, at=3)
    return written.trace


def of_square_weights(length: int) -> Trace:
    """Two products with weights of seven rows: the size that varies is the first operand's."""
    written, x = known(length)
    weights = Tensor(2, (7, 4)), Tensor(3, (7,))
    made = written.op("linear", written.op("exp", Tensor(1, (length, 4)), at=1), *weights, at=2)
    written.op("add", made, written.op("linear", x, *weights, at=4), at=3)
    return written.trace


def read_twice(length: int) -> Trace:
    """A new operand that was read by another operation before."""
    written, x = known(length)
    written.op("exp", Tensor(1, (length, 4)), at=1)
    written.op("add", x, written.op("abs", Tensor(1, (length, 4)), at=2), at=3)
    return written.trace


CASES: list[tuple[Callable[[int], Trace], set[SizeOf]]] = [
    (fresh_operand, {(kind("exp", 1), 0, 0)}),
    (drawn_operand, {(kind("random_uniform", 1), SHAPE_ATTRIBUTE, 0)}),
    (looked_up, {(kind("gather", 1), 1, 0)}),
    (of_square_weights, {(kind("exp", 1), 0, 0)}),
    (read_twice, {(kind("exp", 1), 0, 0), (kind("abs", 2), 0, 0)}),
]


@pytest.mark.parametrize(("trace", "expected"), CASES, ids=lambda x: getattr(x, "__name__", ""))
def test_what_brings_the_size_is_found_and_has_the_symbol_then(
    trace: Callable[[int], Trace], expected: set[SizeOf]
) -> None:
    graph = graph_of()
    merge(graph, trace(7))  # as many as the weights have rows
    assert graph.unlifted == expected and not graph.rigid
    lessons, (reason,) = revised(graph)
    assert lessons == Lessons(lifted=frozenset(expected)) and reason.endswith("they have one symbol now")
    graph = graph_of(lessons)
    path = merge(graph, trace(7))
    assert not graph.unlifted and not graph.rigid and revised(graph) == (lessons, [])
    (symbol,) = graph.symbols.origins
    assert {spec.shape[0] for node in path for spec in node.output_specs} == {symbol}
    version = graph.version
    assert merge(graph, trace(9)) == path and graph.version == version, "any other length is known"


def test_what_cannot_have_another_size_is_left_to_python_instead_of_its_reader() -> None:
    def sliced(length: int) -> Trace:
        written, x = known(length)
        part = written.op("getitem", Tensor(1, (9, 4)), at=1, key=((0, length, 1), None))
        written.op("add", x, written.op("abs", part, at=2), at=3)
        return written.trace

    graph = graph_of(Lessons(many_sizes=True))
    merge(graph, sliced(7))
    assert graph.rigid == {kind("getitem", 1)} and not graph.unlifted
    lessons, (reason,) = revised(graph)
    assert lessons.volatile == {kind("getitem", 1)} and reason.endswith("left to Python now")
    written, x = known(7)  # as it looks with that left to Python
    written.op("add", x, written.op("abs", Tensor(1, (7, 4)), at=2), at=3)
    graph = graph_of(lessons)
    merge(graph, written.trace)
    assert graph.unlifted == {(kind("abs", 2), 0, 0)}, "an operand like any other"


def test_sizes_that_fit_in_no_way_are_the_operation_s_own_fault() -> None:
    graph = graph_of()
    written, x = known(12)
    written.op("reshape", x, at=1, shape=(3, 4, 4))
    merge(graph, written.trace)
    assert graph.rigid == {kind("reshape", 1)} and not graph.unlifted


def test_a_shape_of_the_forward_operation_s_operand_stays_as_it_is() -> None:
    """The gradient of weights that have as many rows as the batch has, by chance."""
    graph = graph_of()
    written, x = known(7)
    made = written.op("linear", x, Tensor(1, (7, 4)), Tensor(2, (7,)), at=1)
    for at, (number, shape) in enumerate([(3, (7, 4)), (4, (7,))], 2):
        written.op("broadcast_to", Tensor(number, (1,)), at=at, shape=shape)
        written.trace.records[-1] = replace(written.trace.records[-1], forward=made.index)
    path = merge(graph, written.trace)
    (symbol,) = graph.symbols.origins
    assert path[1].output_specs[0].shape == (symbol, 7)
    shapes = [node.attributes["shape"] for node in path[2:]]
    assert shapes == [(symbol, 4), (7,)], "an operand with a symbol comes first, and only the bias has seven elements"


@pytest.mark.parametrize("generations", [1, 2, 3, 4])
def test_another_parameter_s_gradient_is_no_other_size(generations: int) -> None:
    """Found by drawn programs: a loop over parameters of which one has no gradient in some steps."""

    def halved(*lengths: int) -> Trace:
        written = Written()
        gradients = [written.op("sum", Tensor(n, (3, n)), at=n, axis=(0,), keepdims=False) for n in lengths]
        for gradient in gradients:
            for place in range(generations):
                gradient = written.op("multiply", gradient, 0.5, at=20 + place)
        return written.trace

    graph = TraceGraph()
    merge(graph, halved(4, 5))
    path = merge(graph, halved(5))
    assert not graph.symbols.origins and not graph.rigid
    assert [spec.shape for node in path for spec in node.output_specs] == [(5,)] * (1 + generations)


def test_a_slice_of_another_length_is_another_size() -> None:
    """Its operands are the same: what reads it has a symbol, as before."""

    def sliced(length: int) -> Trace:
        written = Written()
        x = written.op("negative", Tensor(0, (9, 4)), at=0)
        written.op("exp", written.op("getitem", x, at=1, key=((0, length, 1), None)), at=2)
        return written.trace

    graph = TraceGraph()
    paths = [merge(graph, sliced(length)) for length in (4, 5)]
    (symbol,) = graph.symbols.origins
    assert paths[0][2] is paths[1][2] and paths[0][2].output_specs[0].shape == (symbol, 4)


def test_one_symbol_for_all_that_have_the_same_extent() -> None:
    """Sizes that fit under other names are no reason to need them as numbers."""
    spec = SymbolicSpec(("n1", "n0", 4, "n2"), np.dtype("float32"))
    unifier = Unifier(Symbols(), {"n0": 5, "n1": 5, "n2": 6})
    (renamed, scalar), shape = unifier.with_fewest_symbols([spec, None], ("n0", "n2", 5))
    assert renamed is not None and renamed.shape == ("n1", "n1", 4, "n2") and scalar is None
    assert shape == ("n1", "n2", 5)
    assert unifier.with_fewest_symbols([None], None) == ((None,), None)


def test_patience_begins_anew_where_sizes_are_treated_otherwise() -> None:
    before = Lessons(volatile=frozenset({kind("exp", 1)}))
    assert not replace(before, volatile=frozenset()).treats_sizes_otherwise(before)
    assert not replace(before, numbers=True).treats_sizes_otherwise(before)
    assert replace(before, many_sizes=True).treats_sizes_otherwise(before)
    lifted = replace(before, lifted=frozenset({(kind("exp", 1), 0, 0)}))
    assert lifted.treats_sizes_otherwise(before)
    assert not replace(lifted, lifted=lifted.lifted | {(kind("abs", 2), 0, 0)}).treats_sizes_otherwise(lifted), "again"


def test_alternatives_that_join_are_looked_at_once() -> None:
    """Found by drawn programs: where ways of alternatives join and part, places behind doubled with each operation."""

    def slices(length: Callable[[int], int]) -> Trace:
        written = Written()
        for at in range(24):
            written.op("getitem", Tensor(at, (40,)), at=at, key=((0, length(at), 1),))
        return written.trace

    graph = TraceGraph()
    for number in range(8):
        merge(graph, slices(lambda at, number=number: 2 + number * (at + 1) % 5))  # type: ignore[misc]
    merger = Merger(graph, Trace())
    for record in slices(lambda at: 30).records:
        merger.take(record)
        assert len(merger._beside) <= 5  # as many as there are slices


@pytest.mark.parametrize("differ", [True, False])
def test_what_has_as_many_attributes_as_sizes_is_left_to_python_with_the_change_to_symbols(differ: bool) -> None:
    def rolled(length: int) -> Trace:
        written = Written()
        x = written.op("negative", Tensor(0, (length, 4)), at=0)
        made = written.op("getitem", x, at=1, key=((1, length if differ else 2, 1), None))
        written.op(
            "place",
            Tensor(1, (length - 1 if differ else 1, 4)),
            at=2,
            key=((1, length if differ else 2, 1), None),
            shape=(length, 4),
        )
        written.trace.records[-1] = replace(written.trace.records[-1], forward=made.index)
        return written.trace

    graph = TraceGraph(Lessons(numbers=True))
    for length in range(3, 3 + MOST_IN_A_ROW):
        merge(graph, rolled(length))
        assert revised(graph) == (graph.lessons, [])
    merge(graph, rolled(20))
    lessons, (reason,) = revised(graph)
    assert (lessons.numbers, lessons.many_sizes) == (False, True) and reason.endswith("sizes are symbols now")
    taken, without_forward = ("place", place_at(2)), (("place", place_at(2)), None)
    expected = {kind("getitem", 1), (taken, ("getitem", place_at(1))), without_forward}
    assert lessons.volatile == (expected if differ else set())


# --- whole programs ---------------------------------------------------------------------------------------


def noisy(training: list[int]) -> Callable[[], Callable[[int], Any]]:
    """Batches of seven sizes; in the steps `training` there is noise, and another loss with labels of its own."""

    def make() -> Callable[[int], Any]:
        mt.random.seed(1)
        model, drop = nn.Linear(3, 4), nn.Dropout(0.5)

        def step(i: int) -> Any:
            rows = 2 + i % 7
            h = model(mt.ones((rows, 3)) * float(i % 3))
            if i % 4 in training:
                h = drop(h)
                return F.cross_entropy(h, mt.asarray(np.arange(rows) % 4))
            return (h * h).sum()

        return step

    return make


@pytest.mark.parametrize("training", [[], [1], [0, 3]])
def test_a_branch_with_noise_has_one_graph_for_all_sizes(monkeypatch: pytest.MonkeyPatch, training: list[int]) -> None:
    monkeypatch.setattr(config, "runner", "reference")
    report = assert_equivalent(noisy(training), steps=48, fallbacks=3)
    assert report.coexecuted_steps >= 36 and not report.left_to_python


def test_a_rolled_batch_of_many_sizes_is_soon_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by drawn programs: one by one each operation of the gradient was found to vary, and recording rested."""
    monkeypatch.setattr(config, "runner", "reference")
    weights = mt.ones((4,))
    weights.requires_grad = True

    @coexec.coexecute
    def step(i: int) -> mt.Tensor:
        h = mt.ones((2 + i % 7, 4)) * weights
        h = mt.concat([h[1:], h[:1]], axis=0)
        loss = (h * h).mean()
        weights.grad = None
        loss.backward()
        return loss

    for i in range(24):
        step(i)
        coexec.wait()
    assert step.session.phase is Phase.COEXECUTE and step.report().coexecuted_steps >= 8
    assert not any("is recorded for" in reason for reason in step.report().reasons)
