"""What a step is embedded in: interrupts, tracers, debuggers, notebooks, coroutines, threads, forks, the end."""

from __future__ import annotations

import asyncio
import bdb
import dis
import gc
import linecache
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import data, mlp_training

import coexec
import minitensor as mt
from coexec.testing import assert_equivalent, assert_same, observe
from coexec.testing.observation import settle
from minitensor.value import local


@pytest.fixture(autouse=True, params=["reference", "native"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(coexec.config, "runner", request.param)
    yield request.param
    assert local.observer is None


def make_accumulating() -> Callable[[int], Any]:
    state = {"w": data(3), "steps": 0}

    def step(i: int) -> Any:
        x = data(3, offset=i)
        state["w"] = mt.clip(state["w"] * 2.0 - x, -8.0, 8.0)
        state["steps"] += 1
        return float(state["w"].sum()), state["w"] + x

    return step


# --- interrupts -----------------------------------------------------------------------------------------


class _InterruptAt:
    """Calls a signal handler at the n-th point where CPython may do so while it executes this package.

    Those are the beginnings of functions, the ends of loops' rounds, and what follows a call: not what follows Python
    3.11's PRECALL, after which a traced call has yet to be made (a lock would never see the end of its `with`).
    """

    POINTS = ("CALL", "RESUME", "JUMP_BACKWARD")

    def __init__(self, at: int, handler: Callable[[], Any]) -> None:
        self.left = at
        self.handler = handler
        self._last: dict[int, int] = {}  # offset of the last instruction, by frame

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if "/coexec/" not in frame.f_code.co_filename or "/testing/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return self._instruction

    def _instruction(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "opcode":
            before = self._last.get(id(frame))
            self._last[id(frame)] = frame.f_lasti
            name = "RESUME" if before is None else dis.opname[frame.f_code.co_code[before]]
            if name.startswith(self.POINTS):
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    self.handler()
        elif event == "return":
            self._last.pop(id(frame), None)
        return self._instruction


def _keyboard() -> None:
    raise KeyboardInterrupt


def _interrupt(
    step: Callable[[int], Any], at: int, number: int, handler: Callable[[], Any] = _keyboard
) -> tuple[int, Any]:
    """Calls the step and interrupts it at that point; how many points before it were not reached, and the result."""
    before, interrupt, result = sys.gettrace(), _InterruptAt(at, handler), None
    sys.settrace(interrupt)
    try:
        result = step(number)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return interrupt.left, result


class _Training:
    """A step in the given phase, whose state can be looked at."""

    def __init__(self, phase: str) -> None:
        self.state: dict[str, Any] = {"w": data(3), "other": False}
        self.step = coexec.coexecute(partial(self.function, self.state))
        for number in range(1 if phase == "trace" else 3):
            self.step(number)
            coexec.wait()
        self.state["other"] = phase == "fallback"

    @staticmethod
    def function(state: dict[str, Any], i: int) -> Any:
        y = state["w"] * 2.0 + data(3, offset=i)
        if state["other"]:
            y = mt.maximum(y, state["w"])
        total = float(y.sum())
        state["w"] = mt.clip(y, -4.0, 4.0)
        return total, state["w"] + 1.0


PLACES = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 12  # interrupted at most, evenly distributed


@pytest.mark.parametrize("runner", ["native"], indirect=True)
@pytest.mark.parametrize("phase", ["trace", "coexecute", "fallback"])
def test_an_interrupt_anywhere(phase: str) -> None:
    """Wherever it hits: what lives can be read, nothing hangs, and the step goes on as the plain one would.

    (The interpreted runner is for debugging: an interrupt within Python's own `Condition` can leave it locked.)
    """
    points = _count_points(phase)
    for at in range(1, points, max(1, points // PLACES)):
        training = _Training(phase)
        if _interrupt(training.step, at, 5)[0] > 0:
            assert at > 0.8 * points  # what is cached meanwhile takes fewer
            break
        assert local.observer is None
        now = mt.asarray(np.array(training.state["w"].tolist(), np.float32))  # readable, whatever was under way
        plain = partial(training.function, {**training.state, "w": now})
        for number in range(6, 9):
            seen = observe(training.step, number).result
            assert_same(observe(plain, number).result, seen, f"interrupted at point {at}")
            coexec.wait()


@pytest.mark.parametrize("runner", ["native"], indirect=True)
@pytest.mark.parametrize("phase", ["trace", "coexecute", "fallback"])
def test_a_handler_that_computes_anywhere(phase: str) -> None:
    """A signal handler or a finaliser reads and computes in the middle of whatever is under way."""
    points = _count_points(phase)
    for at in range(1, points, max(1, points // PLACES)):
        training = _Training(phase)
        state, before, told = training.state, training.state["w"], list[float]()
        plain = partial(training.function, dict(state))
        left, result = _interrupt(training.step, at, 5, partial(_handle, state, told))
        if left > 0:
            assert at > 0.8 * points
            break
        assert_same(observe(plain, 5).result, settle(result), f"interrupted at point {at}")
        assert told in ([_looked_at(before)], [_looked_at(state["w"])])
        for number in range(6, 9):
            coexec.wait()
            assert_same(observe(plain, number).result, observe(training.step, number).result, f"after point {at}")
        assert training.step.report().phase != "eager"


def _handle(state: dict[str, Any], told: list[float]) -> None:
    told.append(_looked_at(state["w"]))


def _looked_at(w: mt.Tensor) -> float:
    return float((w * 2.0 + mt.ones((3,))).sum())


def _caught(i: int) -> Any:
    """An operation at a fork; where it is interrupted, Python goes on with the other branch's."""
    y = data(3, offset=i) * 2.0
    interrupted = False
    try:
        a = y * 3.0 if i % 2 else y + 1.0
    except KeyboardInterrupt:
        interrupted = True
        a = y + 1.0 if i % 2 else y * 3.0
    return interrupted, a, a - 3.0


@pytest.mark.parametrize("runner", ["native"], indirect=True)
def test_an_interrupt_caught_within_the_step() -> None:
    """The graph may have been told of the operation that did not come about."""

    def prepared() -> Any:
        step = coexec.coexecute(_caught)
        for number in range(6):
            step(number)
            coexec.wait()
        return step

    _interrupt(prepared(), 10**9, 7)
    points = 10**9 - _interrupt(prepared(), 10**9, 7)[0]
    caught = 0
    for at in range(1, points, max(1, points // (10 * PLACES))):
        step = prepared()
        _, result = _interrupt(step, at, 7)
        if result is not None:
            interrupted, a, b = settle(result)
            y = data(3, offset=7).numpy() * 2.0
            expected = y + 1.0 if interrupted else y * 3.0
            assert_same([expected, expected - 3.0], [a, b], f"interrupted at point {at}")
            caught += interrupted
        for number in range(8, 10):
            assert_same(observe(_caught, number).result, observe(step, number).result, f"after point {at}")
    assert caught > 0


def _count_points(phase: str) -> int:
    """Where a handler can come in while a step of that phase is under way."""
    _interrupt(_Training(phase).step, 10**9, 5)  # a first time fills caches
    points = 10**9 - _interrupt(_Training(phase).step, 10**9, 5)[0]
    assert points > 30
    return points


def test_an_interrupt_by_a_signal_while_python_waits() -> None:
    """Ctrl-C reaches a program that is blocked on a value of another thread's step."""
    ready = threading.Event()
    step = coexec.coexecute(lambda x, wait: (x * 2.0, wait and ready.wait(0.05)))
    for _ in range(3):
        step(data(3), False)
        coexec.wait()
    previous = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            while True:
                step(data(3), True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert step(data(3), False)[0].tolist() == (data(3) * 2.0).tolist()


# --- tracers, debuggers, notebooks ----------------------------------------------------------------------


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile], ids=["settrace", "setprofile"])
def test_tracing_inside_the_step(install: Callable[[Any], None]) -> None:
    def make() -> Callable[[int], Any]:
        inner = make_accumulating()
        seen: set[str] = set()

        def tracer(frame: Any, event: str, argument: Any) -> Any:
            if frame.f_code.co_filename == __file__:
                seen.add(f"{event} {frame.f_code.co_name}")
            return tracer

        def step(i: int) -> Any:
            before = sys.gettrace() if install is sys.settrace else sys.getprofile()
            install(tracer)
            try:
                return inner(i)
            finally:
                install(before)

        return step

    assert_equivalent(make, steps=10)


class _Stepping(bdb.Bdb):
    """A debugger that steps through every line of the user's and evaluates expressions in the frame."""

    def __init__(self) -> None:
        super().__init__(skip=["coexec.*", "minitensor.*", "comprehension.*"])
        self.values: list[Any] = []

    def user_line(self, frame: Any) -> None:
        if "x" in frame.f_locals:
            self.values.append(float(eval("(x * 2.0).sum()", frame.f_globals, frame.f_locals)))
        self.set_step()


def test_a_debugger_that_looks_at_tensors() -> None:
    """Operations of the debugger are the step's own (they leave the graph); results stay what they are."""

    def make() -> Callable[[int], Any]:
        inner = make_accumulating()

        def step(i: int) -> Any:
            if i % 5 != 4:
                return inner(i)
            debugger, before = _Stepping(), sys.gettrace()
            try:
                return debugger.runcall(inner, i), debugger.values
            finally:
                sys.settrace(before)

        return step

    assert_equivalent(make, steps=15)


def test_a_notebook_cell_run_again() -> None:
    """The cell that defines the step, and the helper that it calls, executed again, changed or not."""
    cells = """
def helper(x):
    return x * {scale} + 1.0

def step(i):
    return helper(data(3, offset=i)), helper(total)
"""

    def cell(number: int, scale: float) -> dict[str, Any]:
        name, source = f"<cell {number}>", cells.format(scale=scale)
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        names: dict[str, Any] = {"data": data, "total": data(3)}
        exec(compile(source, name, "exec"), names)
        return names

    def make() -> Callable[[int], Any]:
        notebook = cell(1, 2.0)

        def step(i: int) -> Any:
            if i in (6, 12):  # 6: executed again as it was; 12: edited
                notebook.update(cell(1 if i == 6 else 2, 2.0 if i == 6 else 3.0))
            return notebook["step"](i)

        return step

    report = assert_equivalent(make, steps=18)
    assert report.graphs_built <= 2  # the same source is the same place


# --- threads and coroutines -----------------------------------------------------------------------------


def test_two_threads_each_with_a_step() -> None:
    def run(wrap: Callable[[Any], Any], start: threading.Barrier | None) -> list[Any]:
        step = wrap(mlp_training())
        seen = []
        for number in range(12):
            if start is not None:
                start.wait(timeout=30)
            seen.append(observe(step, number).result)
            coexec.wait()
        if wrap is coexec.coexecute:
            assert step.report().coexecuted_steps >= 6
        return seen

    expected = run(lambda f: f, None)
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for seen in pool.map(lambda _: run(coexec.coexecute, barrier), range(2)):
            assert_same(expected, seen, "a thread's results")


def test_steps_in_tasks_of_an_event_loop() -> None:
    """Coroutines take turns between steps, each with a step of its own, and one shared by both."""

    async def train(step: Callable[[int], Any], shared: Callable[[Any], Any]) -> list[Any]:
        seen = []
        for number in range(8):
            seen.append((observe(step, number).result, shared(data(3, offset=number)).tolist()))
            await asyncio.sleep(0)
            coexec.wait()
        assert all(s.report().coexecuted_steps >= 4 for s in (step, shared) if isinstance(s, coexec.api.Step))
        return seen

    async def both(wrap: Callable[[Any], Any]) -> list[list[Any]]:
        shared = wrap(lambda x: x * 2.0 + 1.0)
        return list(await asyncio.gather(*[train(wrap(make_accumulating()), shared) for _ in range(2)]))

    assert_same(asyncio.run(both(lambda f: f)), asyncio.run(both(coexec.coexecute)), "tasks")


def test_a_reader_thread_beside_a_training_loop() -> None:
    """A thread that reads parameters all the time sees values of some step, never a mixture or an empty one."""
    w = mt.asarray(np.zeros(64, np.float32))
    holder = {"w": w}
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            values = set(holder["w"].tolist())
            if len(values) != 1:
                wrong.append(values)

    def function(_: int) -> None:
        holder["w"] = (holder["w"] + 1.0) * 1.0

    step = coexec.coexecute(function)
    thread = threading.Thread(target=read)
    thread.start()
    for number in range(60):
        step(number)
        if number < 3:
            coexec.wait()
    stop.set()
    thread.join(timeout=30)
    assert not wrong and holder["w"].tolist() == [60.0] * 64
    assert step.report().coexecuted_steps >= 30


# --- processes ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_step_goes_on_in_both_processes_after_a_fork() -> None:
    """Again and again: whether the graph's thread is still at work when the process forks is a matter of luck."""
    for _ in range(10):
        step = coexec.coexecute(make_accumulating())
        plain = make_accumulating()
        for number in range(5):
            step(number)
            plain(number)
            coexec.wait()
        expected = [observe(plain, number).result for number in range(5, 9)]

        def matches(step: Any = step, expected: list[Any] = expected) -> bool:
            before = step.report().coexecuted_steps
            seen = [observe(step, number).result for number in range(5, 9)]
            if step.report().coexecuted_steps < before + 2:
                return False
            return all(repr(a) == repr(b) for a, b in zip(expected, seen, strict=True))

        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # what the test runner does at an alarm needs the main thread
            signal.alarm(20)
            os._exit(0 if matches() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert matches()


@pytest.mark.parametrize("runner", ["native"], indirect=True)
@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise KeyError('planned')", "os._exit(4)"])
def test_a_program_that_ends_while_kernels_are_compiled(ending: str, tmp_path: Path) -> None:
    """Nothing is compiled yet (an empty cache), and nothing holds the process back or prints."""
    program = f"""
        import os, sys
        import coexec, minitensor as mt
        @coexec.coexecute
        def step(x):
            return (x * 2.0 + {hash(ending) % 97}.0).sum()
        for _ in range(3):
            step(mt.ones((5, 7)))
        assert step.report().phase == "compiling", step.report().phase
        {ending}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "COMPREHENSION_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = {"": 0, "sys.exit(3)": 3, "raise KeyError('planned')": 1, "os._exit(4)": 4}[ending]
    assert done.returncode == expected, done.stderr
    told = [line for line in done.stderr.splitlines() if line and "Traceback" not in line and "planned" not in line]
    assert not [line for line in told if not line.startswith("  File")] and not done.stdout


def test_a_program_that_ends_within_a_step() -> None:
    program = """
        import sys
        import coexec, minitensor as mt
        x = mt.ones((4,))
        @coexec.coexecute
        def step(i):
            y = x * 2.0
            if i == 5:
                sys.exit(7)
            return y + 1.0
        kept = []
        for i in range(9):
            kept.append(step(i))
            coexec.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "COEXEC_RUNNER": coexec.config.runner},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_step_collected_while_its_graph_is_compiled() -> None:
    for _ in range(5):
        step = coexec.coexecute(lambda x: x * 2.0 - 1.0)
        step(data(3))
        result = step(data(3))
        del step
        gc.collect()
        assert result.tolist() == (data(3) * 2.0 - 1.0).tolist()
    coexec.wait()
