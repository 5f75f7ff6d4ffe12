"""The native loop and its channel, on plans whose kernels are written by hand."""

from __future__ import annotations

import ast
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from graphs import GraphBuilder, looping
from handmade import compile_by_hand, on_cores

import minitensor  # noqa: F401 - registers the operations
from coexec.errors import GraphFailed
from coexec.graph.symbolic import Case, End, Goto, Output
from coexec.graph_side import channel, plan
from comprehension.config import config

F32 = np.float32


@pytest.fixture(autouse=True, params=[1, 2], ids=["one core", "two cores"])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    on_cores(monkeypatch, request.param)
    return int(request.param)


beside_python = pytest.mark.parametrize("cores", [2], indirect=True)


def test_layout_is_one() -> None:
    """`plan_loop` runs in the compiler process only, so its numbers stand twice: here they are compared."""
    path = Path(plan.__file__).with_name("plan_loop.py")
    theirs: dict[str, int] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            names = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            theirs.update({n.id: ast.literal_eval(v) for n, v in zip(names, values, strict=True)})
    compared = {name for name in theirs if hasattr(plan, name) or hasattr(channel, name)}
    assert {"CODE", "RUN", "CASE", "STAGE_WIDTH", "COMPLETED", "WAITERS", "FIRST_WORD"} <= compared
    for name in compared:
        ours = getattr(plan, name) if hasattr(plan, name) else getattr(channel, name)
        assert ours == theirs[name], name


def test_straight_line_feeds_fetches_and_kept() -> None:
    g = GraphBuilder()
    a, b, k = g.feed((3, 4)), g.feed((3, 4)), g.feed((), "float64", scalar=True)
    s = g.op("add", a, b)
    p = g.op("multiply", s, k)
    g.fetch(p)
    n = g.op("negative", p)
    graph = compile_by_hand(g.graph(kept=(n,)))
    rng = np.random.default_rng(0)
    kept = None
    for step in range(5):
        x, y = rng.random((3, 4), F32), rng.random((3, 4), F32)
        run = graph.start()
        run.feed(0, x)
        run.feed(1, y if kept is None else kept)
        expected = (x + (y if kept is None else kept.wait())) * F32(step)
        run.feed(2, float(step))
        fetched = run.fetch(p)
        assert not fetched.flags.writeable
        np.testing.assert_array_equal(fetched, expected)
        (kept,) = run.finish([n])
        np.testing.assert_array_equal(kept.wait(), -expected)


def test_buffers_that_python_holds_are_not_written_again() -> None:
    g = GraphBuilder()
    a = g.feed((2048,))
    graph = compile_by_hand(g.graph(kept=(g.op("negative", a),)))
    held = []
    for step in range(20):
        run = graph.start()
        run.feed(0, np.full(2048, step, F32))
        (handle,) = run.finish([Output(0)])
        held.append(handle.wait() if step % 2 else handle)
    for step, kept in enumerate(held):
        array = kept if step % 2 else kept.wait()
        assert (array == -step).all()


def test_branches_and_phis() -> None:
    g = GraphBuilder()
    a = g.feed((5,))
    first = g.op("negative", a)
    g.close(Case(0, (1, 2)))
    doubled = g.op("add", first, first)
    phi = g.phi(doubled)
    g.close(Goto(3))
    squared = g.op("multiply", first, first)
    g.select(phi, squared)
    g.close(Goto(3))
    result = g.op("add", phi, a)
    g.close(End())
    graph = compile_by_hand(g.graph(kept=(result,)))
    assert [choice.ring for choice in graph.plan.choices] == [1]  # it is made once a step
    x = np.arange(5, dtype=F32)
    for step in range(6):
        run = graph.start()
        run.feed(0, x)
        run.choose(0, step % 2)
        (kept,) = run.finish([result])
        np.testing.assert_array_equal(kept.wait(), (x * x if step % 2 else -2 * x) + x)


@pytest.mark.parametrize("rounds", [0, 1, 7, 400])
@pytest.mark.parametrize("lazy", [False, True])
def test_loops_carry_phis_and_deliver_every_round(rounds: int, lazy: bool) -> None:
    """More rounds than the ring of choice words has places, too."""
    symbolic, _, x, result = looping()
    graph = compile_by_hand(symbolic)
    assert [choice.ring for choice in graph.plan.choices] == [plan.LOOP_RING]
    value = np.arange(5, dtype=F32)
    for read in (False, True):
        run = graph.start(lazy=lazy)
        run.feed(0, value)
        expected = -value
        for _ in range(rounds):
            run.choose(0, 0)
            expected = -expected + value
            if read:
                np.testing.assert_array_equal(run.fetch(x), expected)
        run.choose(0, 1)
        (kept,) = run.finish([result])
        np.testing.assert_array_equal(kept.wait(), expected + expected)


def test_symbols_size_buffers_when_bound() -> None:
    g = GraphBuilder()
    a = g.feed(("n", 3))
    b = g.op("negative", a)
    c = g.op("add", b, a)
    g.fetch(c)
    d = g.op("add", c, b)
    graph = compile_by_hand(g.graph(kept=(d,), symbols=("n",)))
    for n in (4, 1, 900, 4, 0, 17):
        x = np.random.default_rng(n).random((n, 3), F32)
        run = graph.start()
        run.bind(0, n)
        run.feed(0, x)
        assert run.fetch(c).shape == (n, 3)
        (kept,) = run.finish([d])
        np.testing.assert_array_equal(kept.wait(), (-x + x) + -x)


def test_aliases_share_the_buffer() -> None:
    g = GraphBuilder()
    a = g.feed((2, 6))
    n = g.op("negative", a)
    r = g.op("reshape", n, shape=(12,))
    s = g.op("add", r, r)
    fed = g.op("reshape", a, shape=(3, 4))
    graph = compile_by_hand(g.graph(kept=(r, s, fed)))
    x = np.arange(12, dtype=F32).reshape(2, 6)
    run = graph.start()
    run.feed(0, x)
    handles = run.finish([r, s, fed])
    for handle, expected in zip(handles, (-x.reshape(12), -2 * x.reshape(12), x.reshape(3, 4)), strict=True):
        np.testing.assert_array_equal(handle.wait(), expected)
        assert not handle.wait().flags.writeable
    assert np.shares_memory(handles[2].wait(), x)


def test_an_error_reaches_reads_handles_and_later_steps() -> None:
    g = GraphBuilder()
    a, b = g.feed((3,)), g.feed((3,))
    r = g.op("reciprocal", a)
    s = g.op("add", r, b)
    g.fetch(s)
    graph = compile_by_hand(g.graph(kept=(s,)))
    bad = graph.start()
    bad.feed(0, np.zeros(3, F32))
    bad.feed(1, np.ones(3, F32))
    with pytest.raises(GraphFailed, match=r"test.py:1 \(reciprocal\): it is zero"):
        bad.fetch(s)
    (handle,) = bad.finish([s])
    after = graph.start()
    after.feed(0, np.ones(3, F32))
    after.feed(1, handle)
    (dependent,) = after.finish([s])
    for lost in (handle, dependent):
        with pytest.raises(GraphFailed):
            lost.wait()
    good = graph.start()
    good.feed(0, np.ones(3, F32))
    good.feed(1, np.ones(3, F32))
    (kept,) = good.finish([s])
    assert (kept.wait() == 2).all()


def test_cancel_at_any_point_and_go_on() -> None:
    g = GraphBuilder()
    a, b = g.feed((3,)), g.feed((3,))
    n = g.op("negative", a)
    g.fetch(n)
    s = g.op("add", n, b)
    graph = compile_by_hand(g.graph(kept=(s,)))
    one = np.ones(3, F32)
    for point in range(40):
        run = graph.start(lazy=point % 5 == 4)
        if point % 4 > 0:
            run.feed(0, one)
        if point % 4 > 1:
            run.fetch(n)
        if point % 4 > 2:
            run.feed(1, one)
        run.cancel()
        assert run.times().run < 1
    run = graph.start()
    run.feed(0, one)
    run.feed(1, one)
    assert (run.finish([s])[0].wait() == 0).all()


def test_lazy_runs_start_when_a_value_is_wanted() -> None:
    g = GraphBuilder()
    a = g.feed((3,))
    n = g.op("negative", a)
    g.fetch(n)
    graph = compile_by_hand(g.graph(kept=(n,)))
    before = channel.current().completed
    run = graph.start(lazy=True)
    run.feed(0, np.ones(3, F32))
    time.sleep(0.01)
    assert channel.current().completed == before
    assert (run.fetch(n) == -1).all()
    run.finish([])


@beside_python
def test_python_runs_ahead_by_one_step() -> None:
    """The second step begins while the first waits for its feed; the third does not before the first has ended."""
    g = GraphBuilder()
    a = g.feed((3,))
    graph = compile_by_hand(g.graph(kept=(g.op("square", a),)))
    first = graph.start()
    begun = first.finish([Output(0)])
    second = graph.start()
    begun += second.finish([Output(0)])
    went_on = threading.Event()

    def feed_later() -> bool:
        time.sleep(0.1)
        was_on = went_on.is_set()
        first.feed(0, np.ones(3, F32))
        return was_on

    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(feed_later)
        graph.start().cancel()
        went_on.set()
        assert not fed.result(timeout=60)
    second.feed(0, np.ones(3, F32))
    assert all((handle.wait() == 1).all() for handle in begun)


@beside_python
def test_the_graphs_thread_never_holds_the_gil() -> None:
    """While Python spins without ever giving the GIL away, a plan of many kernels goes from its start to its end."""
    g = GraphBuilder()
    a = g.feed((4,))
    x = g.op("negative", a)
    for _ in range(200):
        x = g.op("negative", x)
    g.fetch(x)
    graph = compile_by_hand(g.graph(kept=()))
    run = graph.start()
    post, view = graph.plan.posts[x], run._frame.view
    interval = channel.threading  # the module is loaded: nothing below imports
    assert interval is threading
    import sys

    old = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        run.feed(0, np.ones(4, F32))
        end = time.perf_counter() + 5
        while not view[post] and time.perf_counter() < end:
            pass
        arrived = view[post]
    finally:
        sys.setswitchinterval(old)
    assert arrived == 1
    run.finish([])


def test_steps_of_two_threads_run_at_the_same_time() -> None:
    g = GraphBuilder()
    a, b = g.feed((3,)), g.feed((3,))
    n = g.op("negative", a)
    g.fetch(n)
    s = g.op("add", n, b)
    built = g.graph(kept=(s,))
    shared, failures = compile_by_hand(built), []
    kept = []
    run = shared.start()
    run.feed(0, np.ones(3, F32))
    run.feed(1, np.ones(3, F32))
    kept += run.finish([s])

    def steps(value: float) -> None:
        try:
            graph = compile_by_hand(built)
            for step in range(50):
                x = np.full(3, value + step, F32)
                run = graph.start()
                run.feed(0, x)
                run.feed(1, kept[0] if step % 2 else x)
                assert (run.fetch(n) == -x).all()
                (handle,) = run.finish([s])
                assert (handle.wait() == (-x if step % 2 else 0)).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=steps, args=(100.0 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_a_forked_child_runs_steps_on_a_thread_of_its_own() -> None:
    g = GraphBuilder()
    a = g.feed((3,))
    n = g.op("negative", a)
    s = g.op("square", n)
    graph = compile_by_hand(g.graph(kept=(s,)))
    run = graph.start()
    run.feed(0, np.ones(3, F32))
    (unfinished,) = run.finish([s])
    left_open = graph.start()  # Python is inside of it: no fork waits for its end
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = graph.start()
            mine.feed(0, np.full(3, 2, F32))
            right = (mine.finish([s])[0].wait() == 4).all()
            right &= (unfinished.wait() == 1).all()  # a fork waits for what Python has left
            with pytest.raises(GraphFailed):
                left_open.wait_ended()
            code = 0 if right else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (unfinished.wait() == 1).all()
    left_open.cancel()


@pytest.mark.parametrize("cores", [1], indirect=True)
def test_with_one_core_no_thread_is_started_and_each_read_goes_only_as_far_as_it_must() -> None:
    g = GraphBuilder()
    a, b = g.feed((3,)), g.feed((3,))
    n = g.op("negative", a)
    g.fetch(n)
    p = g.op("add", n, b)
    g.fetch(p)
    s = g.op("add", p, p)
    graph = compile_by_hand(g.graph(kept=(s,)))
    before = threading.active_count()
    run = graph.start()
    one, view = np.ones(3, F32), run._frame.view
    reached = [view[plan.STOPPED_AT]]
    run.feed(0, one)
    assert (run.fetch(n) == -1).all()
    reached.append(view[plan.STOPPED_AT])
    run.feed(1, one)
    assert (run.fetch(p) == 0).all() and (run.fetch(n) == -1).all()
    reached.append(view[plan.STOPPED_AT])
    assert reached[0] == 0 < reached[1] < reached[2] < len(graph.plan.program.instructions) - 1
    (kept,) = run.finish([s])
    assert run.is_over() and channel.current().completed == channel.current().published
    assert (kept.wait() == 0).all() and threading.active_count() == before
    times = run.times()
    assert times.run >= 0 and times.stall > 0 and times.end - times.begin == pytest.approx(times.run + times.stall)


@pytest.mark.parametrize("cores", [1], indirect=True)
def test_with_one_core_a_read_that_nothing_can_come_to_fails_and_does_not_hang() -> None:
    g = GraphBuilder()
    a = g.feed((3,))
    n = g.op("negative", a)
    g.fetch(n)
    graph = compile_by_hand(g.graph(kept=(n,)))
    run = graph.start()
    with pytest.raises(GraphFailed, match="before the step had ended"):
        run.fetch(n)  # the feed was not sent: the protocol forbids it
    run.feed(0, np.ones(3, F32))
    assert (run.fetch(n) == -1).all()
    run.finish([])


class Divided:
    """A stage of 4 µs by the model, one operation's, and what the loop has learned of it."""

    size = 4096

    def __init__(self, crowded: int) -> None:
        g = GraphBuilder()
        self.output = g.op("negative", g.feed((self.size,)))
        self.graph = compile_by_hand(g.graph(kept=(self.output,)))
        self.learned = self.graph._memory.learned.view
        self.control = channel.current().control.view
        self.control[channel.CROWDED] = crowded
        self.x = np.arange(self.size, dtype=F32)

    def step(self) -> tuple[int, int]:
        run = self.graph.start()
        run.feed(0, self.x)
        (kept,) = run.finish((self.output,))
        assert (kept.wait() == -self.x).all()
        return self.learned[0], self.learned[1]

    def took(self, nanoseconds: float) -> int:
        """As if it had taken so long so far."""
        self.learned[0] = round(nanoseconds * plan_loop_constant("SCALE") / self.size)
        self.learned[1] = plan_loop_constant("FIRST")
        return self.learned[0]


@pytest.fixture
def least(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(config, "threads", 2)
    monkeypatch.setattr(config, "parallel_ns", 1000.0)
    return plan.least_work()


def test_stages_are_divided_where_the_time_that_they_took_recommends_it(least: int) -> None:
    """Alone at first and where they are short, divided and measured again now and then, or divided always."""
    stage = Divided(crowded=1)
    first, again, short = (plan_loop_constant(name) for name in ("FIRST", "AGAIN", "SHORT"))
    measured = [stage.step() for _ in range(first)]
    assert [runs for _, runs in measured] == list(range(1, first + 1))
    times = [known for known, _ in measured]
    assert times == sorted(times, reverse=True) and times[-1] > 0  # the shortest counts
    known = stage.took((short - 1) * least)
    for count in range(1, again + 1):
        assert stage.step() == (known, first + count)
    assert stage.step()[1] == first and stage.learned[0] != known
    known = stage.took(short * least)
    for count in range(1, again + 2):
        assert stage.step() == (known, first + count)
    stage.took(0.5 * least)
    assert stage.step()[1] == first


@pytest.mark.parametrize("cores", [1], indirect=True)  # where only the test says who sleeps
def test_beside_a_python_that_is_awake_stages_are_divided_later(least: int) -> None:
    stage, first = Divided(crowded=5), plan_loop_constant("FIRST")
    for asleep, times, divided in ((0, 4, False), (0, 5, True), (1, 4, True), (1, 0.5, False)):
        stage.control[channel.WAITERS] = asleep
        stage.took(times * least)
        assert stage.step()[1] == first + divided


def test_only_few_cores_are_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, times in ((2, channel.TIMES_IF_CROWDED), (3, 1)):
        on_cores(monkeypatch, cores)
        assert channel.current().control.view[channel.CROWDED] == times > 0


def test_a_measurement_that_is_longer_counts_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have had the core meanwhile; a shorter one is believed at once."""
    monkeypatch.setattr(config, "threads", 2)
    g = GraphBuilder()
    n = g.op("square", g.feed((2,)))  # 20 ms
    compiled = compile_by_hand(g.graph(kept=(n,)))
    monkeypatch.setattr(config, "parallel_ns", 1.0)
    learned = compiled._memory.learned.view

    def step() -> int:
        run = compiled.start()
        run.feed(0, np.ones(2, F32))
        run.finish((n,))[0].wait()
        return learned[0]

    first = step()  # guessed: 2 ns
    assert first >= 20_000_000 * plan_loop_constant("SCALE") // 2
    learned[0], learned[1] = 1, plan_loop_constant("FIRST")  # as if it were short
    known = step()
    assert first // 8 < known < first // 2
    learned[0], learned[1] = 2 * first, plan_loop_constant("FIRST")
    assert step() == 2 * first  # divided: not measured


@pytest.mark.parametrize("more", [0, 1])
def test_what_takes_long_by_any_guess_is_divided_at_once(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    size = 4096  # nanoseconds by the model
    least = size // plan_loop_constant("SURE") + more
    monkeypatch.setattr(config, "threads", 2)
    monkeypatch.setattr(config, "parallel_ns", least / plan._BESIDE_PYTHON)
    assert plan.least_work() == least
    g = GraphBuilder()
    n = g.op("negative", g.feed((size,)))
    compiled = compile_by_hand(g.graph(kept=(n,)))
    run = compiled.start()
    run.feed(0, np.ones(size, F32))
    run.finish((n,))[0].wait()
    assert (compiled._memory.learned.view[0] > 0) == bool(more)  # measured, alone


def plan_loop_constant(name: str) -> int:
    """A number of the native loop, which only the compiler process can import."""
    text = Path(plan.__file__).with_name("plan_loop.py").read_text()
    (value,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    ]
    return int(ast.literal_eval(value))
