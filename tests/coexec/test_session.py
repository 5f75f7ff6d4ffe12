"""The state machine of a step: when its phase changes, what it counts, and that the program goes on whatever comes."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec import rebuild, session
from coexec.config import config
from coexec.graph_side.reference_runner import ReferenceGraph
from coexec.patience import FIRST_REST, TRIES
from coexec.session import Phase
from coexec.traces import lessons
from coexec.traces.follow import Follower
from coexec.traces.merge import Merger
from coexec.traces.record import Trace
from coexec.traces.trace_graph import TraceGraph, verify_trace_graph


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "runner", "reference")


def run(step: Any, steps: int) -> None:
    for i in range(steps):
        x = np.arange(i, i + 4, dtype=np.float32)
        assert float(step(mt.asarray(x))) == float((x * 2.0).sum())
        coexec.wait()


def doubled() -> Any:
    return coexec.coexecute(lambda x: (x * 2.0).sum())


def test_memory_of_eager_steps_goes_back_when_a_graph_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when a graph follows another: nothing was eager in between."""
    phases: list[Phase] = []
    monkeypatch.setattr(session.memory, "release", lambda: phases.append(step.session.phase))
    step = coexec.coexecute(lambda x: (x * 2.0).sum() if float(x[0]) < 8 else (2.0 * x).sum())
    run(step, 16)
    report = step.report()
    assert report.graphs_built == 2 and report.fallbacks == 1 and report.phase == "coexecute"
    assert phases == [Phase.COMPILING]


def test_only_steps_that_leave_the_graph_are_in_vain() -> None:
    step = coexec.coexecute(lambda x: (x * 2.0).sum() if float(x[0]) < 8 else (2.0 * x).sum())
    run(step, 8)
    assert step.report().fallbacks == 0 and step.session._patience.in_vain == 0
    run(step, 9)
    assert step.report().fallbacks == 1 and step.session._patience.in_vain == 1


def test_an_interrupt_while_a_step_is_learned_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces may be between two states: they are not used any more."""

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    step = doubled()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session.Session, "_learn_trace", interrupted)
        run(step, 1)
    between = step.session.traces
    run(step, 4)
    assert step.session.traces is not between
    assert step.report().coexecuted_steps == 2


def test_what_was_quiet_before_a_rest_says_nothing_after_it() -> None:
    state = doubled().session
    state._quiet_needed, state._quiet_left, state._futile = 4, 1, 2
    state._take_rest()
    assert (state._quiet_left, state._futile, state.phase) == (4, 0, Phase.RESTING)


def test_a_graph_that_cannot_be_compiled_leaves_the_program_eager() -> None:
    step = doubled()
    asked: list[Any] = []

    def compiler(graph: Any, **options: Any) -> Any:
        asked.append(graph)
        raise MemoryError("planned")

    step.session._compiler = lambda: compiler
    run(step, 8)
    report = step.report()
    assert report.coexecuted_steps == 0 and report.eager_steps > 0
    assert report.reasons == ["the graph could not be compiled: MemoryError: planned"]
    assert len(asked) == 1 and step.session.phase is session.Phase.EAGER


def test_a_graph_in_use_is_described_by_the_report() -> None:
    step = doubled()
    run(step, 8)
    report = step.report()
    assert report.coexecuted_steps > 0 and not report.reasons
    assert (report.graphs_built, report.operations, report.transitions) == (1, 2, 2)
    assert (report.traced_steps, report.eager_steps, report.coexecuted_steps) == (2, 0, 6)
    assert (report.steps, report.fallbacks, report.phase) == (8, 0, "coexecute")


@pytest.mark.parametrize("most", [1, 2])
def test_traces_of_too_many_operations_are_forgotten(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_NODES", most)
    step = doubled()  # two operations
    run(step, 8)
    told = [reason for reason in step.report().reasons if "different operations" in reason]
    assert bool(told) == (step.report().coexecuted_steps == 0) == (most < 2)


def test_coverage_counts_what_is_left_to_python_among_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "runner", "native")
    width = 0

    def sliced(x: Any) -> Any:
        nonlocal width
        width += 1
        return (mt.exp(x) + 1.0)[: width % 40 + 1].sum()  # another slice in each step, which no graph can follow

    step = coexec.coexecute(sliced)
    for _ in range(60):
        step(mt.ones((40,)))
        coexec.wait()
    report = step.report()
    assert step.session.phase is session.Phase.COEXECUTE and len(report.left_to_python) == 1
    assert report.coverage == report.operations / (report.operations + 1) < 1.0


def test_a_graph_without_operations_covers_nothing() -> None:
    step = coexec.coexecute(lambda x: x)
    for _ in range(8):
        step(mt.ones((4,)))
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps > 0 and (report.operations, report.coverage) == (0, 0.0)


# --- phases -----------------------------------------------------------------------------------------------


def new_path() -> Callable[[int], Any]:
    """A step of one operation, another one for each number."""
    x = mt.ones((100,))
    return coexec.coexecute(lambda number: mt.roll(x, number + 1, axis=0))


def phases(step: Any, numbers: list[int]) -> list[Phase]:
    found = []
    for number in numbers:
        step(number)
        coexec.wait()
        found.append(step.session.phase)
    return found


def test_a_trace_that_adds_nothing_ends_the_tracing() -> None:
    step = new_path()
    assert phases(step, [0, 1, 2, 1, 1]) == [Phase.TRACE] * 3 + [Phase.COEXECUTE] * 2
    assert (step.report().traced_steps, step.report().coexecuted_steps) == (4, 1)


def leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """To Python, however much varies."""
    monkeypatch.setattr(lessons, "MOST_IN_A_ROW", 1000)
    monkeypatch.setattr(lessons, "MOST_VARIANTS", 1000)


def test_after_fallbacks_in_a_row_tracing_has_to_be_quieter_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_nothing(monkeypatch)
    step, known, quiet = new_path(), 0, []
    phases(step, [0, 0, 0])
    for _ in range(5):
        new = [known + 1 + i for i in range(session.FUTILE_LIMIT)]
        assert phases(step, new) == [Phase.COEXECUTE] * (session.FUTILE_LIMIT - 1) + [Phase.TRACE]
        known, needed = new[-1], 1
        while phases(step, [known]) == [Phase.TRACE]:
            needed += 1
        quiet.append(needed)
        assert phases(step, [known]) == [Phase.COEXECUTE]  # patience starts over
    assert quiet == [2, 4, 8, 8, 8]
    assert step.report().fallbacks == 5 * session.FUTILE_LIMIT


def test_fallbacks_that_are_not_in_a_row_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_nothing(monkeypatch)
    step = new_path()
    phases(step, [0, 0])
    for turn in range(4):
        new = [10 * turn + 1 + i for i in range(session.FUTILE_LIMIT - 1)]
        assert phases(step, [*new, 0]) == [Phase.COEXECUTE] * session.FUTILE_LIMIT
    report = step.report()
    assert (report.fallbacks, report.coexecuted_steps) == (4 * (session.FUTILE_LIMIT - 1), 4)
    assert report.traced_steps == 2 + report.fallbacks and report.transitions == 2


def test_a_place_that_varies_too_often_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "MOST_IN_A_ROW", 3)
    step = new_path()
    for number in range(3):
        step(number)
        assert not step.report().reasons
    step(3)
    assert [reason for reason in step.report().reasons if "left to Python now" in reason]
    assert {name for (name, _), _ in step.session.traces.lessons.volatile} == {"roll"} and not step.session.traces.nodes
    assert step.report().phase == "trace"
    assert phases(step, [4, 5, 6])[-1] is Phase.COEXECUTE


@pytest.mark.parametrize("mode", ["coexec", "trace"])
def test_recording_rests_but_where_all_steps_are_to_be_recorded(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", mode)
    leave_nothing(monkeypatch)
    step = new_path()
    found = phases(step, list(range(TRIES + FIRST_REST + 1)))
    if mode == "trace":
        assert found == [Phase.TRACE] * len(found)
    else:
        resting = [Phase.RESTING] * FIRST_REST  # from the last step that was recorded in vain on
        assert found == [Phase.TRACE] * (TRIES - 1) + resting + [Phase.TRACE] * 2
    assert step.report().eager_steps == (FIRST_REST if mode == "coexec" else 0)


def test_a_reset_forgets_the_rest_too(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_nothing(monkeypatch)
    step = new_path()
    assert phases(step, list(range(TRIES)))[-1] is Phase.RESTING
    step.reset()
    assert step.session.phase is Phase.TRACE
    assert phases(step, list(range(TRIES))) == [Phase.TRACE] * (TRIES - 1) + [Phase.RESTING]
    report = step.report()
    assert (report.steps, report.traced_steps) == (TRIES, TRIES)


@pytest.mark.parametrize("again", [False, True])
def test_how_often_what_varies_is_tried_before_it_is_left_to_python(again: bool) -> None:
    """The seventh trace that needs yet another node is one too many."""
    step = new_path()
    if again:
        phases(step, [10, 11, 12])
        step.reset()
    for number in range(6):
        step(number)
    assert not step.report().reasons
    step(6)
    (reason,) = step.report().reasons
    assert reason == "roll: attributes or sizes vary that a graph must know; left to Python now"
    report = step.report()
    assert (report.phase, report.transitions, step.session._patience.in_vain) == ("trace", 1, 7)


def test_what_comes_by_again_is_left_to_python_later() -> None:
    """Twelve lengths of a loop, say, each met again now and then."""
    step = new_path()
    for number in range(12):
        phases(step, [number, 0])
    assert not any("left to Python" in reason for reason in step.report().reasons)
    assert step.report().fallbacks == 11
    phases(step, [12])
    assert [reason for reason in step.report().reasons if "left to Python now" in reason]


def sized(n: int) -> mt.Tensor:
    """A step in which a graph must know the size as a number, in two operations."""
    x = mt.ones((2, 1)) * mt.asarray(np.ones((2, n), np.float32))
    return mt.concat([x, x], axis=1).reshape((-1, 4))


SIZES = ["each is traced by itself now", "sizes are symbols now", "left to Python now"]


@pytest.mark.parametrize("again", [False, True])
def test_sizes_are_numbers_then_symbols_and_then_left_to_python(again: bool) -> None:
    step = coexec.coexecute(sized)
    if again:
        phases(step, list(range(2, 12)))
        step.reset()
    seen: list[tuple[bool, int, int]] = []
    found = phases(step, [2, 3])
    seen.append((step.session.traces.lessons.numbers, step.session._patience.in_vain, step.report().transitions))
    found += phases(step, list(range(4, 10)))
    seen.append((step.session.traces.lessons.numbers, step.session._patience.in_vain, step.report().transitions))
    found += phases(step, [10])
    seen.append((step.session.traces.lessons.numbers, step.session._patience.in_vain, step.report().transitions))
    assert seen == [(True, 2, 1), (True, 8, 1), (False, 1, 2)]
    assert found == [Phase.TRACE] * 9 and not step.session.traces.lessons.volatile
    found = phases(step, [11, 12, 13, 14, 15, 16])
    assert found[-1] is Phase.COEXECUTE and not step.session.traces.lessons.numbers
    assert [reason.rpartition("; ")[2] for reason in step.report().reasons] == SIZES
    assert {name for (name, _), _ in step.session.traces.lessons.volatile} == {"concat", "reshape"}
    assert {name.partition(" ")[0] for name in step.report().left_to_python} == {"concat", "reshape"}


def rounds_of(count: int) -> mt.Tensor:
    x = mt.ones((4,))
    for _ in range(count):
        x = mt.sin(mt.abs(x))
    return x


def test_a_loop_is_folded_once_and_then_co_executed() -> None:
    step = coexec.coexecute(rounds_of)
    assert phases(step, [2, 3, 4, 5]) == [Phase.TRACE] * 4
    assert step.session.traces.lessons.folded and not step.session.traces.nodes  # to be traced anew, as a loop
    assert (step.report().phase, step.report().transitions, step.report().reasons) == ("trace", 1, [])
    assert step.session._patience.in_vain == 4
    assert phases(step, [6, 7, 8, 9])[-1] is Phase.COEXECUTE
    assert (step.report().transitions, step.report().reasons) == (3, [])


def test_a_step_that_breaks_off_beside_a_folded_loop_teaches_nothing() -> None:
    """Such steps are recorded as a whole, and merged in the end."""
    breaks = False

    def function(count: int) -> mt.Tensor:
        x = rounds_of(count)
        if breaks:
            mt.exp(x)
            raise KeyboardInterrupt
        return x

    step = coexec.coexecute(function)
    phases(step, [2, 3, 4, 5, 6])
    assert step.session.phase is Phase.TRACE and step.session.traces.lessons.folded
    version, breaks = step.session.traces.version, True
    with pytest.raises(KeyboardInterrupt):
        step(3)
    assert step.session.traces.version == version
    breaks = False
    assert phases(step, [7, 8])[-1] is Phase.COEXECUTE


def test_a_step_that_breaks_off_where_the_graph_knows_it_teaches_nothing() -> None:
    breaks = False

    def function() -> mt.Tensor:
        x = mt.exp(mt.ones((4,)))
        if breaks:
            raise KeyboardInterrupt
        return mt.sin(x)

    step = coexec.coexecute(function)
    step()
    version, breaks = step.session.traces.version, True
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            step()
    assert step.session.traces.version == version and step.report().traced_steps == 3


def test_after_a_fallback_too_many_the_next_ones_are_counted_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_nothing(monkeypatch)
    step, known = new_path(), 0
    phases(step, [0, 0])
    for needed in (2, 4, 8):
        new = [known + 1 + i for i in range(4)]
        assert phases(step, new) == [Phase.COEXECUTE] * 3 + [Phase.TRACE]
        known = new[-1]
        assert phases(step, [known] * needed) == [Phase.TRACE] * (needed - 1) + [Phase.COEXECUTE]
        step.session._patience.start_over()  # another test says when recording rests


def test_what_was_quiet_in_the_mode_that_only_traces_counts_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    step = new_path()
    with monkeypatch.context() as patch:
        patch.setattr(config, "mode", "trace")
        assert phases(step, [0] * 4) == [Phase.TRACE] * 4
    assert phases(step, [0, 0]) == [Phase.COEXECUTE] * 2


@pytest.mark.parametrize(("mode", "lazy"), [("coexec", False), ("lazy", True)])
def test_only_the_lazy_mode_starts_graphs_lazily(mode: str, lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    start = ReferenceGraph.start

    def watched(graph: ReferenceGraph, *, lazy: bool) -> Any:
        asked.append(lazy)
        return start(graph, lazy=lazy)

    monkeypatch.setattr(ReferenceGraph, "start", watched)
    monkeypatch.setattr(config, "mode", mode)
    run(doubled(), 4)
    assert asked == [lazy] * 2


def test_times_are_what_the_clock_has_gone_on_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that goes on by one second whenever it is looked at."""
    caplog.set_level(logging.INFO, "coexec.graphs")
    seconds = itertools.count(100.0)
    monkeypatch.setattr(session, "perf_counter", lambda: next(seconds))
    step = new_path()
    compiler = Compiler(step)
    step(0)
    assert step.report().python_run_s == 1.0 and step.report().step_s["traced"] == [1.0]
    step(0)
    assert step.report().build_s == 1.0
    step(0)
    assert step.report().step_s["eager"] == [1.0]
    compiler.finish()
    (event,) = [event for event in step.report().events if event.name == "compile"]
    assert (event.step, event.runner, event.detail) == (2, "compiler", "graph 1")
    assert event.end_s - event.begin_s == 5.0  # looks: after the build, at two ends and the begin of a step, now
    assert caplog.messages[-1].endswith(": graph 1 comes back after 5.000 s")
    step(0)
    assert step.report().step_s["co-executed"] == [2.0]


def test_a_graph_that_is_taken_into_use_is_told_with_its_sizes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "coexec.graphs")
    monkeypatch.setattr(ReferenceGraph, "kernels", 5)
    placements = [SimpleNamespace(kernels=kernels) for kernels in ((0, 1), (), (2,))]
    monkeypatch.setattr(ReferenceGraph, "placements", placements)
    step = doubled()
    run(step, 2)
    told = "step 2: a graph of 2 operations, 2 of them in 5 kernels, is taken into use"
    assert any(message.endswith(told) for message in caplog.messages)


@pytest.mark.parametrize("nodes", [20_000, 20_001])
def test_how_many_operations_a_graph_may_have(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = doubled()
    run(step, 1)
    known = step.session.traces.nodes
    known += known[:1] * (nodes - len(known))  # as many as that, for whoever counts
    with monkeypatch.context() as patch:
        patch.setattr(session, "merge", lambda traces, trace: None)
        step.session._merge(Trace())
    told = [reason for reason in step.report().reasons if "more than 20000 different operations" in reason]
    assert bool(told) == (nodes > 20_000) == (step.session.phase is Phase.RESTING)


# --- graphs that take their time ------------------------------------------------------------------------------


class Compiler:
    """Makes a graph ready when it is told to."""

    def __init__(self, step: Any) -> None:
        self.asked: list[tuple[Any, Future[Any]]] = []
        self.graphs: list[ReferenceGraph] = []
        step.session._compiler = lambda: self.compile

    def compile(self, graph: Any, *, numerics: str) -> Future[Any]:
        future: Future[Any] = Future()
        self.asked.append((graph, future))
        return future

    def finish(self) -> None:
        """The graph that was asked for last is ready."""
        graph, future = self.asked[-1]
        self.graphs.append(ReferenceGraph(graph))
        future.set_result(self.graphs[-1])


def counts(step: Any) -> tuple[int, int, int, int]:
    report = step.report()
    return report.traced_steps, report.eager_steps, report.coexecuted_steps, report.fallbacks


def test_while_a_graph_is_compiled_steps_are_eager() -> None:
    step = new_path()
    compiler = Compiler(step)
    for _ in range(5):
        step(0)
    assert step.session.phase is Phase.COMPILING and step.report().phase == "compiling"
    assert counts(step) == (2, 3, 0, 0) and len(compiler.asked) == 1
    compiler.finish()
    step(0)
    assert step.session.phase is Phase.COEXECUTE and counts(step) == (2, 3, 1, 0)


def test_a_graph_is_in_use_until_the_next_is_ready_and_one_is_compiled_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(ReferenceGraph, "close", lambda graph: closed.append(graph))
    step = new_path()
    compiler = Compiler(step)
    for number in (0, 0):
        step(number)
    compiler.finish()
    step(1)  # leaves the first graph
    assert len(compiler.asked) == 2 and counts(step) == (3, 0, 0, 1)
    step(0)
    step(2)
    assert len(compiler.asked) == 2 and counts(step) == (4, 0, 1, 2) and not closed
    compiler.finish()
    step(1)  # the second graph knows it, and not what came after it was asked for
    assert counts(step) == (4, 0, 2, 2) and closed == compiler.graphs[:1]
    assert len(compiler.asked) == 3 and step.report().graphs_built == 3
    compiler.finish()
    step(2)
    assert counts(step) == (4, 0, 3, 2) and closed == compiler.graphs[:2] and len(compiler.asked) == 3
    step.reset()
    assert closed == compiler.graphs


def test_whoever_waits_waits_for_all_that_is_compiled() -> None:
    step = new_path()
    compiler = Compiler(step)
    step(0)
    step(0)
    seen: list[bool] = []

    def wait() -> None:
        coexec.wait()
        seen.append(compiler.asked[0][1].done())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.05)  # one that did not wait has ended by now
    compiler.finish()
    thread.join()
    assert seen == [True]


def test_a_compiler_that_fails_is_told_of_by_its_future(monkeypatch: pytest.MonkeyPatch) -> None:
    step = new_path()
    compiler = Compiler(step)
    step(0)
    step(0)
    compiler.asked[-1][1].set_exception(OSError("planned"))
    step(0)
    assert step.session.phase is Phase.EAGER and counts(step) == (2, 1, 0, 0)
    assert step.report().reasons == ["the graph could not be compiled: OSError: planned"]


# --- what goes wrong --------------------------------------------------------------------------------------


def test_a_mistake_while_a_step_is_recorded_ends_co_execution_and_not_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Merger, record: Any) -> None:
        raise ZeroDivisionError("planned")

    monkeypatch.setattr(Merger, "take", broken)
    step = doubled()
    run(step, 4)
    assert step.report().phase == "eager"
    assert step.report().reasons == ["internal error: ZeroDivisionError: planned"]
    assert counts(step) == (1, 3, 0, 0)


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_step_that_breaks_off_leaves_a_graph_in_order(known: int, error: type[BaseException]) -> None:
    x = mt.ones((4,))
    broken = False

    def function() -> Any:
        y = x * 2.0
        if broken:
            z = mt.exp(y)
            raise error(z.shape)
        return y + 1.0

    step = coexec.coexecute(function)
    for _ in range(known):
        step()
    broken, traces = True, step.session.traces
    for _ in range(2):
        with pytest.raises(error):
            step()
    assert step.session.traces is traces
    verify_trace_graph(step.session.traces)
    assert all(node.children or node is step.session.traces.end for node in step.session.traces.nodes)
    broken = False
    for _ in range(4):
        assert step().tolist() == [3.0] * 4
    assert step.session.phase is Phase.COEXECUTE


@pytest.mark.parametrize("rounds", [64, 65])
def test_a_loop_that_cannot_be_folded_is_told_of_once_if_it_is_long(rounds: int) -> None:
    def function() -> Any:
        x, every = mt.ones((4,)), []
        for _ in range(rounds):
            x = x * -1.0
            every.append(x)
        return every

    step = coexec.coexecute(function)
    for _ in range(4):
        step()
    told = [reason for reason in step.report().reasons if "cannot be folded" in reason]
    assert told == ([f"a loop of {rounds} rounds around multiply cannot be folded: unrolled"] if rounds > 64 else [])


def test_a_mistake_while_a_graph_starts_ends_co_execution_and_not_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    step = doubled()
    run(step, 3)

    def broken(graph: ReferenceGraph, **options: Any) -> None:
        raise OSError("planned")

    monkeypatch.setattr(ReferenceGraph, "start", broken)
    run(step, 2)
    assert step.session.phase is Phase.EAGER and counts(step) == (2, 2, 1, 0)
    assert step.report().reasons == ["internal error: OSError: planned"]


def test_a_mistake_while_a_fallback_is_learned_ends_co_execution_and_not_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Any) -> None:
        raise ZeroDivisionError("planned")

    step = new_path()
    phases(step, [0, 0])
    monkeypatch.setattr(Follower, "finish", broken)
    assert phases(step, [1, 2]) == [Phase.EAGER] * 2
    assert step.report().reasons[1:] == ["internal error: ZeroDivisionError: planned"]
    assert counts(step) == (3, 1, 0, 1)


def test_a_mistake_while_an_interrupted_step_is_learned_hides_no_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> None:
        raise ZeroDivisionError("planned")

    def interrupted() -> None:
        mt.exp(mt.ones((4,)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "finish", broken)
    step = coexec.coexecute(interrupted)
    with pytest.raises(KeyboardInterrupt):
        step()
    assert step.session.phase is Phase.EAGER
    assert step.report().reasons == ["internal error: ZeroDivisionError: planned"]


@pytest.mark.parametrize(("where", "known"), [("_take_next", [0, 0]), ("_learn_outcome", [0, 0, 0])])
def test_an_interrupt_between_two_states_starts_again(
    where: str, known: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    step = new_path()
    compiler = Compiler(step)
    for number in known:
        step(number)
        if step.session.phase is Phase.COMPILING:
            compiler.finish()
    between = step.session.traces
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session.Session, where, interrupted)
        step(0)
    step(0)
    assert step.session.traces is not between and step.session.phase is Phase.TRACE
    again = step.session.traces
    step(0)
    assert step.session.traces is again


def test_traces_are_kept_where_nothing_came_between() -> None:
    step = new_path()
    for _ in range(2):
        traces = step.session.traces
        phases(step, [0, 0, 1, 1])
        assert step.session.traces is traces
        step.reset()


# --- who builds -------------------------------------------------------------------------------------------


def test_one_thread_does_all_work_in_the_order_in_which_it_comes() -> None:
    worker, done = rebuild._Worker(), threading.Event()
    seen: list[tuple[int, threading.Thread]] = []
    assert worker.thread is None
    for number in range(3):
        worker.put(lambda number=number: seen.append((number, threading.current_thread())))  # type: ignore[misc]
    worker.put(done.set)
    assert done.wait(60)
    assert seen == [(number, worker.thread) for number in range(3)]
    assert worker.thread is not None and worker.thread.daemon


def test_before_it_builds_it_lets_python_end_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is enough: much less than the 5 ms for which a thread that computes keeps the interpreter."""
    worker, done, slept = rebuild._Worker(), threading.Event(), list[float]()
    monkeypatch.setattr(rebuild.time, "sleep", slept.append)
    worker.put(done.set)
    assert done.wait(60)
    assert len(slept) == 1 and 0 < slept[0] < 0.005


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_starts_a_thread_of_its_own() -> None:
    done = threading.Event()
    rebuild._worker.put(done.set)
    assert done.wait(60) and rebuild._worker.thread is not None
    child = os.fork()
    if child == 0:
        os._exit(0 if rebuild._worker.thread is None else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("runner", ["native", "reference"])
def test_the_graph_may_change_once_it_was_read_however_that_ended(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(traces: Any) -> Any:
        raise ZeroDivisionError("planned")

    monkeypatch.setattr(rebuild, "build", broken)
    monkeypatch.setattr(config, "runner", runner)
    traces = TraceGraph()
    future = rebuild.rebuild(traces, lambda *_, **__: Future(), "fast")
    assert future.done() or runner == "native"
    assert (traces.reader is not None) == (runner == "native")
    assert isinstance(future.exception(60), ZeroDivisionError)
    traces.settle()
    assert traces.reader is None
