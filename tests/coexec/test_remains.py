"""What a cancelled step leaves: outputs that the graph had computed, and only while they are in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import GraphBuilder, looping
from handmade import compile_by_hand, on_cores

import coexec
import minitensor as mt
from coexec.graph.symbolic import Output
from coexec.graph_side.channel import QUEUED, RUNNING, GraphThread
from coexec.graph_side.graph_runner import NativeGraph, NativeRun
from coexec.graph_side.plan import STATE, STOPPED_AT, Filling, table_of
from coexec.graph_side.remains import lost_from
from coexec.python_side import replay

F32 = np.float32
LENGTH = 6


def chain(waiting_at: int | None = None) -> NativeGraph:
    """x, then -x, 2 x, 4 x ..., all in an arena; operation `waiting_at` adds a feed of its own."""
    g = GraphBuilder()
    a, late = g.feed((4,)), g.feed((4,))
    x = g.op("negative", a)
    for number in range(1, LENGTH):
        x = g.op("add", x, late if number == waiting_at else x)
    if waiting_at is None:
        x = g.op("add", x, late)
    return compile_by_hand(g.graph(kept=(g.op("negative", x),)))


@pytest.fixture(autouse=True, params=[1, 2], ids=["one core", "two cores"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cores(monkeypatch, request.param)


def outputs_of(graph: NativeGraph) -> list[Output]:
    return [Output(node.id) for node in graph.graph.nodes()]


def value(number: int, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return -x * F32(2**number)


@pytest.mark.parametrize("wanted", range(LENGTH))
def test_the_graph_goes_on_to_what_is_wanted(wanted: int) -> None:
    graph = chain(wanted + 1 if wanted + 1 < LENGTH else None)  # further it cannot go
    outputs = outputs_of(graph)
    for step in range(3):
        x = np.arange(4, dtype=F32) + step
        run = graph.start()
        run.feed(0, x)
        remains = run.cancel([outputs[wanted]])
        found = [remains(output) for output in outputs[:LENGTH]]
        assert found[wanted] is not None
        for number, array in enumerate(found):
            assert array is None or (not array.flags.writeable and (array == value(number, x)).all()), number
        run = graph.start()  # uses the arena again
        run.feed(0, x * 5)
        run.feed(1, x)
        run.finish([outputs[-1]])[0].wait()
        assert (found[wanted] == value(wanted, x)).all()


def test_what_lies_where_something_else_was_written_is_not_given() -> None:
    graph = chain()
    outputs = outputs_of(graph)
    run = graph.start()
    run.feed(0, np.ones(4, F32))
    remains = run.cancel([outputs[LENGTH - 1]])
    assert remains(outputs[0]) is None  # its place went to a later one
    assert graph.plan.needed_to[outputs[0]] < graph.plan.written[outputs[LENGTH - 1]][0]


@pytest.mark.parametrize("waiting_at", range(1, LENGTH))
def test_a_graph_that_would_wait_stops_there(waiting_at: int) -> None:
    graph = chain(waiting_at)
    outputs = outputs_of(graph)
    run = graph.start()
    x = np.arange(4, dtype=F32)
    run.feed(0, x)
    remains = run.cancel(outputs[:LENGTH])  # the feed never comes
    assert (remains(outputs[waiting_at - 1]) == value(waiting_at - 1, x)).all()  # type: ignore[union-attr]
    assert all(remains(output) is None for output in outputs[waiting_at:])


def test_a_step_that_was_never_begun_leaves_nothing() -> None:
    graph = chain()
    run = graph.start(lazy=True)
    run.feed(0, np.ones(4, F32))
    remains = run.cancel(outputs_of(graph))
    assert all(remains(output) is None for output in outputs_of(graph))


def in_its_loop() -> tuple[NativeGraph, NativeRun, Output, Output]:
    """A graph with a loop, a run that has made one round, what stands before the loop and what the round made."""
    symbolic, start, x, _ = looping()
    graph = compile_by_hand(symbolic)
    run = graph.start()
    run.feed(0, np.ones(5, F32))
    run.choose(0, 0)
    run.fetch(x)
    return graph, run, start, x


def test_outputs_of_loops_are_not_given() -> None:
    _, run, start, x = in_its_loop()
    remains = run.cancel([start])
    assert remains(x) is None
    before = remains(start)  # its place may have gone to the loop's
    assert before is None or (before == -1).all()


@pytest.mark.parametrize("cores", [1], indirect=True)
def test_what_a_loop_wrote_over_is_not_given_when_the_graph_stands_at_its_head() -> None:
    graph, run, start, _ = in_its_loop()
    run.thread.leave(run._frame.words)  # on to where the next round is chosen
    ((head, _),) = graph.plan.program.loops
    assert run._frame.view[STOPPED_AT] == head
    remains = run.cancel([start])
    before = remains(start)
    assert before is None or (before == -1).all()


def diverging() -> Callable[[bool], tuple[mt.Tensor, mt.Tensor]]:
    x = mt.asarray(np.arange(6, dtype=F32).reshape(2, 3))

    def step(leave: bool) -> tuple[mt.Tensor, mt.Tensor]:
        a = x * 2.0
        b = mt.exp(a).sum(axis=0)
        if leave:
            b = mt.sqrt(b)
        return a + 1.0, b

    return step


def test_what_the_graph_has_computed_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = diverging()
    step = coexec.coexecute(plain)
    for _ in range(3):
        step(False)
        coexec.wait()
    replayed: list[str] = []

    def run_eager(op: Any, contents: Any, attributes: Any) -> Any:
        replayed.append(op.name)
        return mt.dispatch.run_eager(op, contents, attributes)

    monkeypatch.setattr(replay, "run_eager", run_eager)
    found, expected = step(True), plain(True)
    assert step.report().fallbacks == 1
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    assert "exp" not in replayed and "sum" not in replayed


class Changing:
    """A view of a frame whose state is QUEUED to the first look and RUNNING to the next."""

    def __init__(self, view: Any) -> None:
        self.view, self.looks = view, 0

    def __getitem__(self, word: int) -> Any:
        if word != STATE:
            return self.view[word]
        self.looks += 1
        return QUEUED if self.looks == 1 else RUNNING


@pytest.mark.parametrize("cores", [2], indirect=True)
def test_a_step_taken_up_while_it_is_cancelled_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # found once in some hundred runs: the state was read twice, before and after the graph's thread took the step up
    g = GraphBuilder()
    kept = g.op("negative", g.feed((4,)))
    graph = compile_by_hand(g.graph(kept=(kept,)))
    run = graph.start()
    run.feed(0, np.ones(4, np.float32))
    waited = []

    def wait(self: GraphThread, frame: Any, word: int, least: int) -> None:
        waited.append(word)
        waits(self, frame, word, least)

    waits = GraphThread.wait_word
    monkeypatch.setattr(GraphThread, "wait_word", wait)
    monkeypatch.setattr(run._frame, "view", Changing(run._frame.view))
    remains = run.cancel([kept])
    assert waited == [STATE]
    assert (remains(kept) == -np.ones(4, np.float32)).all()  # type: ignore[union-attr]


def test_a_place_is_lost_to_the_first_that_is_written_later_where_it_lies() -> None:
    rows = [  # slot, offset, size, first and last instruction that writes it
        (10, 0, 64, 0, 1),
        (11, 64, 64, 0, 3),  # beside the first
        (12, 0, 128, 2, 2),  # over both, but written before the second is
        (13, 32, 64, 5, 6),  # over all three
        (14, 96, 64, 3, 4),  # begins with the instruction that ends the second
        (15, 0, 0, 9, 9),
    ]
    words, begin, size, first, last = (table_of(list(column)) for column in zip(*rows, strict=True))
    written = np.stack([first, last], axis=1)
    nothing = table_of([])
    lost = lost_from(Filling(nothing, nothing, words, begin, size, written, 160, (), 0))
    never = np.iinfo(np.int64).max
    assert lost == {10: 2, 11: 5, 12: 3, 13: never, 14: never, 15: never}
    none = Filling(nothing, nothing, nothing, nothing, nothing, written[:0], 0, (), 0)
    assert lost_from(none) == {}
