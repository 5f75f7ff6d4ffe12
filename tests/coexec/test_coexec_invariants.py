"""What must hold around a step: threads, exceptions, lifetimes, concurrency of the two runners, states."""

from __future__ import annotations

import gc
import itertools
import json
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from handmade import on_cores
from programs import data

import coexec
import minitensor as mt
from coexec.errors import ConfigError, NotAStep
from coexec.graph_side import channel
from coexec.graph_side.reference_runner import ReferenceGraph
from coexec.testing import assert_equivalent, delayed_python, forced_divergence
from minitensor.value import local


@pytest.fixture(autouse=True, params=["reference", "native", "native, one core"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name, _, cores = request.param.partition(", ")
    monkeypatch.setattr(coexec.config, "runner", name)
    if cores or name == "native":
        on_cores(monkeypatch, 1 if cores else 2)
    yield name
    assert local.observer is None


def warmed(function: Any, calls: int = 3) -> Any:
    """A step whose next calls run in the graph."""
    step = coexec.coexecute(function)
    for _ in range(calls):
        step(data(3))
        coexec.wait()
    assert step.report().phase == "coexecute"
    return step


# --- threads --------------------------------------------------------------------------------------------


def test_another_thread_reads_an_unfilled_tensor_inside_the_step() -> None:
    with ThreadPoolExecutor(1) as pool:

        def function(x: Any) -> float:
            y = x * 2.0 + 1.0
            return pool.submit(lambda: float(y.sum())).result(timeout=10)

        step = warmed(function)
        assert [step(data(3)) for _ in range(3)] == [function(data(3))] * 3


def test_operations_of_other_threads_are_not_part_of_the_step() -> None:
    with ThreadPoolExecutor(1) as pool:

        def function(x: Any) -> Any:
            y = x * 2.0
            z = pool.submit(lambda: y + 5.0).result(timeout=10)
            return y + z

        step = warmed(function)
        for _ in range(3):
            np.testing.assert_array_equal(step(data(3)).numpy(), function(data(3)).numpy())
        assert {node.op.name for node in step.session.traces.nodes} == {"multiply", "add"}
        assert len(step.session.traces.nodes) == 2


def test_a_tensor_read_by_another_thread_after_the_step() -> None:
    step = warmed(lambda x: x * 3.0)
    results = [step(data(3)) for _ in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for seen in pool.map(lambda t: t.tolist(), results):
            assert seen == (data(3) * 3.0).tolist()


def test_two_threads_run_one_step() -> None:
    step = warmed(lambda x: (x * 2.0).sum() + x)
    expected = ((data(3) * 2.0).sum() + data(3)).tolist()
    with ThreadPoolExecutor(2) as pool:
        assert all(seen == expected for seen in pool.map(lambda _: step(data(3)).tolist(), range(40)))
    report = step.report()  # calls that overlapped have a session of their own, eager while its graph is compiled
    assert report.steps == 43
    assert report.coexecuted_steps + report.traced_steps + report.eager_steps == 43
    coexec.wait()
    before = report.coexecuted_steps
    assert step(data(3)).tolist() == expected
    assert step.report().coexecuted_steps > before


# --- exceptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_step_leaves_filled_tensors(interrupt: type[BaseException]) -> None:
    state = {"w": data(3), "raise": False}

    def function(x: Any) -> Any:
        state["w"] = state["w"] + x
        if state["raise"]:
            raise interrupt
        return state["w"] * 2.0

    step = warmed(function)
    before = state["w"].tolist()
    state["raise"] = True
    with pytest.raises(interrupt):
        step(data(3))
    assert state["w"].tolist() == (mt.asarray(np.array(before, np.float32)) + data(3)).tolist()
    state["raise"] = False
    step(data(3))
    assert step.report().coexecuted_steps >= 2


reference_only = pytest.mark.parametrize("runner", ["reference"], indirect=True)


@reference_only
def test_an_error_in_the_graph_falls_back_to_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    step = warmed(lambda x: float((x * 2.0).sum()))

    def fail(self: Any, node: Any) -> None:
        raise MemoryError("planned")

    with monkeypatch.context() as patch:
        patch.setattr("coexec.graph_side.reference_runner.ReferenceRun._operation", fail)
        assert step(data(3)) == float((data(3) * 2.0).sum())
    report = step.report()
    assert report.fallbacks == 1 and "MemoryError: planned" in report.reasons[-1]
    assert __file__ in report.reasons[-1]


def test_shape_errors_are_those_of_eager_execution() -> None:
    wide = {"x": data(3)}

    def function(x: Any) -> Any:
        return x + wide["x"]

    step = warmed(function)
    wide["x"] = data(4)
    with pytest.raises(ValueError) as eager:
        function(data(3))
    with pytest.raises(ValueError) as seen:
        step(data(3))
    assert type(seen.value) is type(eager.value)


# --- lifetimes ------------------------------------------------------------------------------------------


class Payload:
    """Something that can be weakly referenced."""


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize("phase", ["trace", "coexecute", "fallback"])
def test_no_object_of_the_call_outlives_it(phase: str, raising: bool) -> None:
    def function(x: Any, payload: Payload | None = None, fail: bool = False) -> Any:
        y = x * 2.0
        if fail:
            raise ValueError("planned")
        return y + 1.0

    step = coexec.coexecute(function) if phase == "trace" else warmed(function)
    gc.collect()
    gc.disable()
    try:
        payload = Payload()
        alive = weakref.ref(payload)
        x = data(3)
        value = weakref.ref(x.value)
        with forced_divergence(step, operation=1 if phase == "fallback" else None):
            try:
                step(x, payload, raising)
            except ValueError:
                assert raising
        del x, payload
        assert alive() is None and value() is None
    finally:
        gc.enable()


def test_escaped_tensors_keep_their_contents() -> None:
    step = warmed(lambda x: x + x)
    results = [step(data(3)) for _ in range(10)]
    views = [t.numpy() for t in results]
    del results
    for _ in range(10):
        step(data(3, offset=3))
    for view in views:
        np.testing.assert_array_equal(view, (data(3) + data(3)).numpy())


def test_borrowed_memory_is_snapshotted() -> None:
    array = np.ones(3, np.float32)
    borrowed = mt.asarray(array, copy=False)
    state: dict[str, Any] = {}

    def function(x: Any) -> None:
        state["y"] = borrowed + x
        array[:] += 1.0

    def run(step: Any) -> list[Any]:
        array[:] = 1.0
        seen = []
        for _ in range(6):
            step(data(3))
            seen.append(state["y"].tolist())
        return seen

    assert run(coexec.coexecute(function)) == run(function)


# --- the two runners ------------------------------------------------------------------------------------


@reference_only
def test_python_and_the_graph_run_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation of the graph waits for Python to be at the next one, and Python there for the graph."""

    def function(x: Any) -> Any:
        return ((x * 2.0) + 1.0) * 3.0 - x

    step = warmed(function)
    meeting, operations, steps = threading.Barrier(2, timeout=60), 4, 10
    met: list[int] = []

    def meets_but_at(skipped: int) -> Callable[[], float]:
        calls = itertools.count()

        def meet() -> float:
            if next(calls) % operations != skipped:
                met.append(meeting.wait())
            return 0.0

        return meet

    start = ReferenceGraph.start

    in_graph, in_python = meets_but_at(operations - 1), meets_but_at(0)

    def meeting_start(self: ReferenceGraph, *, lazy: bool = False) -> Any:
        run = start(self, lazy=lazy)
        run.delay = in_graph
        return run

    monkeypatch.setattr(ReferenceGraph, "start", meeting_start)
    with delayed_python(step, in_python):
        results = [step(data(3)) for _ in range(steps)]
        assert [r.tolist() for r in results] == [function(data(3)).tolist()] * steps
    assert Counter(met) == {0: 3 * steps, 1: 3 * steps}


@pytest.mark.parametrize("runner", ["native"], indirect=True)
def test_a_native_graph_computes_while_python_does_something_else() -> None:
    """The whole graph of a step is done before Python has left the step, or asked for anything."""
    ends: list[bool] = []

    def function(x: Any) -> Any:
        y = x @ x + 1.0
        if step.report().phase == "coexecute":
            thread = channel.current()
            ends.append(wait_until(lambda: thread.completed == thread.published))
        return y

    step = coexec.coexecute(function)
    x = mt.ones((32, 32))
    for _ in range(10):
        result = step(x)
        coexec.wait()
    assert step.report().coexecuted_steps == len(ends) > 5 and all(ends)
    assert (result.numpy() == 33).all()


def wait_until(condition: Any, seconds: float = 60) -> bool:
    end = monotonic() + seconds
    while not condition() and monotonic() < end:
        sleep(0.001)
    return bool(condition())


def test_lazy_mode_computes_at_the_first_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "mode", "lazy")

    def make() -> Any:
        return lambda i: (data(3, offset=i) * 2.0, float(data(3, offset=i).sum()))

    assert_equivalent(make, steps=8, fallbacks=0)


@pytest.mark.parametrize("mode", ["eager", "trace"])
def test_modes_without_co_execution(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "mode", mode)
    report = assert_equivalent(lambda: lambda i: data(3, offset=i) * 2.0, steps=6, coexecuted=0)
    assert (report.traced_steps, report.coexecuted_steps) == ((0, 0) if mode == "eager" else (6, 0))


def test_a_nested_step_is_part_of_the_outer_one() -> None:
    inner = coexec.coexecute(lambda x: x * 2.0)
    outer = warmed(lambda x: inner(x) + 1.0)
    assert outer(data(3)).tolist() == (data(3) * 2.0 + 1.0).tolist()
    assert inner.report().steps == 0


@reference_only
def test_a_nested_step_is_part_of_the_outer_one_in_every_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = coexec.coexecute(lambda x: x * 2.0)
    outer = coexec.coexecute(lambda x: inner(x) + 1.0)
    monkeypatch.setattr("coexec.api.compile_reference", lambda graph, numerics: Future())  # compiling for ever
    for _ in range(5):
        assert outer(data(3)).tolist() == (data(3) * 2.0 + 1.0).tolist()
    assert outer.report().phase == "compiling" and outer.report().eager_steps == 3
    assert inner.report().steps == 0
    outer.reset()


def test_one_wrapper_serves_all_instances() -> None:
    class Model:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        @coexec.coexecute
        def step(self, x: Any) -> Any:
            return x * self.scale

    models = [Model(1.0), Model(2.0)]
    for _ in range(4):
        for model in models:
            assert model.step(data(3)).tolist() == (data(3) * model.scale).tolist()
            coexec.wait()
    report = Model.step.report()
    assert report.steps == 8 and report.coexecuted_steps >= 4 and report.fallbacks == 0
    assert models[0].step == models[0].step != models[1].step


# --- switching ------------------------------------------------------------------------------------------


def test_generators_and_coroutines_are_refused() -> None:
    async def asynchronous() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    for function, advice in ((asynchronous, "async"), (generator, "loop around it"), (3, "int")):
        with pytest.raises(NotAStep, match=advice):
            coexec.coexecute(function)
    with pytest.raises(ConfigError, match="fast, reproducible"):
        coexec.coexecute(numerics="exact")
    with pytest.raises(ConfigError, match="COEXEC_MODE"):
        coexec.config.mode = "off"


def test_reset_starts_again() -> None:
    step = warmed(lambda x: x * 2.0)
    step.reset()
    assert (step.report().steps, step.report().phase, len(step.session.traces.nodes)) == (0, "trace", 0)
    assert step(data(3)).tolist() == (data(3) * 2.0).tolist()


def test_reproducible_numerics_have_eager_bits_and_fixed_steps() -> None:
    """Arithmetic on arbitrary floats; kernels enter at the same step however long compiling takes."""

    def make() -> Any:
        rng = np.random.default_rng(0)

        def step(i: int) -> Any:
            x, y = (mt.asarray(rng.normal(size=(3, 5)).astype(np.float32)) for _ in range(2))
            z = (x * y + x / 3.0 - y * 0.1) * x + y
            return z, mt.sqrt(z * z + 0.1), z > x, z[:, 1:3] / y[:, :2]

        return step

    wrap = partial(coexec.coexecute, numerics="reproducible")
    report = assert_equivalent(make, steps=8, wrap=wrap, fallbacks=0)
    assert (report.traced_steps, report.coexecuted_steps) == (2, 6)
    step = wrap(make())
    for number in range(8):
        step(number)  # without waiting for the compiler
    assert (step.report().traced_steps, step.report().coexecuted_steps) == (2, 6)


def test_a_loop_of_many_trip_counts_is_folded() -> None:
    """Trip counts that no trace had need no new graph."""

    def make() -> Any:
        def step(i: int) -> Any:
            x = data(3, offset=i)
            for _ in range((i * 5) % 17):
                x = mt.clip(x + x, -64.0, 64.0) - 1.0
            return x

        return step

    report = assert_equivalent(make, steps=40, coexecuted=28)
    assert report.graphs_built <= 3 and report.operations <= 6


def test_a_long_loop_that_cannot_be_folded_is_told() -> None:
    def make() -> Any:
        def step(i: int) -> Any:
            x, every = data(3, offset=i), []
            for _ in range(66):
                x = x * -1.0
                every.append(x)
            return every[10], x

        return step

    report = assert_equivalent(make, steps=6, fallbacks=0)
    assert any("66 rounds around multiply" in reason for reason in report.reasons)


def test_explain_and_dump_show_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "dump", tmp_path)
    step = warmed(lambda x: x * 2.0 + 1.0)
    text = coexec.explain(step)
    for part in ("co-execution of", "# traces", "# symbolic", "# compiled", "multiply(feed0, 2.0)", __file__):
        assert part in text
    files = sorted(path.name for path in tmp_path.rglob("*.txt"))
    assert files == ["001-0-traces.txt", "001-1-symbolic.txt", "001-2-operations.txt", "001-3-compiled.txt"]
    with pytest.raises(TypeError, match="coexecute"):
        coexec.explain(len)


def test_the_report_shows_itself(tmp_path: Path) -> None:
    step = warmed(lambda x: float((x * 2.0).sum()))
    for _ in range(3):  # the graph's part of the latest step may still be under way
        step(data(3))
    report = step.report()
    assert "co-executed" in str(report) and "<svg" in report._repr_html_()
    report.timeline(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {event["name"] for event in events} >= {"step", "thread_name"}
    for name in ("steps", "traced_steps", "coexecuted_steps", "fallbacks", "graphs_built", "transitions", "kernels"):
        assert type(getattr(report, name)) is int
    for name in ("python_run_s", "python_stall_s", "graph_run_s", "graph_stall_s", "coverage"):
        assert type(getattr(report, name)) is float


def test_forty_lengths_need_few_graphs() -> None:
    w = data(4, 2)

    def make() -> Any:
        def step(i: int) -> Any:
            x = data(3 + (i * 7) % 40, 4, offset=i)
            return (x @ w).sum(axis=0), x + 1.0

        return step

    report = assert_equivalent(make, steps=48, coexecuted=44)
    assert report.graphs_built <= 3


def test_size_one_is_not_a_size_like_others() -> None:
    """A symbol never takes extent 1, which broadcasts."""

    def make() -> Any:
        def step(i: int) -> Any:
            n = (4, 6, 1, 5)[i % 4]
            return data(n, 3, offset=i) + data(4 if n == 4 else 1, 1)

        return step

    assert_equivalent(make, steps=16)


def test_a_value_alive_for_the_first_time() -> None:
    """A tensor that earlier steps dropped survives: replayed in that step, kept by the next graph."""

    def make() -> Any:
        kept: list[Any] = []

        def step(i: int) -> Any:
            y = data(3, offset=i) * 2.0
            if i >= 5:
                kept.append(y)
            return (y + 1.0), list(kept)

        return step

    report = assert_equivalent(make, steps=14)
    assert report.fallbacks == 0 and report.graphs_built == 2


def test_a_read_for_the_first_time() -> None:
    """Reading what no trace read is no fallback: the value is replayed, and the next graph delivers it."""

    def make() -> Any:
        def step(i: int) -> Any:
            y = data(3, offset=i) * 2.0
            total = float(y.sum()) if i >= 5 else 0.0
            return y + total

        return step

    report = assert_equivalent(make, steps=14)
    assert report.fallbacks <= 1 and report.graphs_built == 2


@reference_only
def test_the_process_does_not_wait_for_the_graphs_thread() -> None:
    step = warmed(lambda x: x * 2.0)
    step(data(3))
    sleep(0.01)
    named = [t for t in threading.enumerate() if t.name == "coexec reference graph"]
    assert all(t.daemon for t in named)
