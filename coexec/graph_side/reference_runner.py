"""The reference GraphRunner: a Python thread that interprets a SymbolicGraph with eager rules.

In: a SymbolicGraph.  Out: a `CompiledGraph` of the protocol, for tests (the oracle of the native one) and debugging.
Invariant: it does what the protocol says and nothing clever: one operation after the other, in the order of the
graph, waiting at feeds, symbols and case words exactly where the graph has them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import perf_counter, sleep
from typing import Any, assert_never

from coexec.graph.symbolic import (
    Case,
    Constant,
    End,
    Feed,
    Fetch,
    Goto,
    Item,
    OpNode,
    Output,
    Phi,
    ScalarValue,
    Select,
    Source,
    SymbolicGraph,
    count_arrivals,
)
from coexec.graph_side.runner_protocol import Array, CompiledGraph, Handle, RunTimes
from minitensor.dispatch import run_eager
from minitensor.value import Value

RUN_AHEAD = 1  # unfinished steps before the one that starts


class _Cancelled(Exception):
    """Raised inside the graph's thread when Python has left the graph."""


class ReferenceHandle:
    """A kept output."""

    def __init__(self) -> None:
        self._future: Future[Array] = Future()

    def wait(self) -> Array:
        return self._future.result()

    def put(self, array: Array) -> None:
        self._future.set_result(array)

    def fail(self, error: BaseException) -> None:
        self._future.set_exception(error)


class ReferenceRun:
    """One step, shared by Python's thread (the protocol's methods) and the graph's (`execute`)."""

    def __init__(self, graph: SymbolicGraph, lazy: bool) -> None:
        self._graph = graph
        self._changed = threading.Condition()
        self._feeds: dict[int, Any] = {}
        self._symbols: dict[str, int] = {}
        self._words: dict[int, deque[int]] = {}
        self._results: dict[Output, Value] = {}
        self._handles: dict[Output, ReferenceHandle] | None = None  # set when Python has finished
        self._phis: dict[int, Value] = {}
        self._chosen: list[int] = []
        self._posted: dict[Output, int] = {}  # how many times the graph has come to a fetch
        self._demanded = not lazy
        self._cancelled = False
        self._error: BaseException | None = None
        self._run_s = self._stall_s = self._begin_s = self._end_s = 0.0
        self.ended = threading.Event()
        self.delay: Callable[[], float] | None = None  # seconds before each operation, for tests

    # --- Python's side -----------------------------------------------------------------------------------

    def bind(self, symbol: int, value: int) -> None:
        with self._changed:
            self._symbols[self._graph.symbols[symbol]] = value
            self._changed.notify_all()

    def feed(self, slot: int, value: Array | Handle | ScalarValue) -> None:
        with self._changed:
            self._feeds[slot] = value
            self._changed.notify_all()

    def feed_all(self, values: Sequence[tuple[int, Array | Handle]]) -> None:
        for slot, value in values:
            self.feed(slot, value)

    def choose(self, case: int, target: int) -> None:
        with self._changed:
            self._words.setdefault(case, deque()).append(target)
            self._chosen.append(target)
            self._changed.notify_all()

    def fetch(self, output: Output) -> Array:
        with self._changed:
            self._demanded = True
            self._changed.notify_all()
            arrivals = count_arrivals(self._graph, output, self._chosen)
            self._changed.wait_for(lambda: self._posted.get(output, 0) >= arrivals or self._error is not None)
            if self._error is not None:
                raise self._error
            return _filled(self._results[output])

    def finish(self, kept: Sequence[Output]) -> tuple[Handle, ...]:
        with self._changed:
            self._handles = {output: ReferenceHandle() for output in kept}
            handles = tuple(self._handles.values())
            self._demanded = True
            if self.ended.is_set():
                self._hand_out()
            self._changed.notify_all()
            return handles

    def cancel(self, wanted: Sequence[Output] = ()) -> Callable[[Output], Array | None]:
        with self._changed:
            self._cancelled = True
            self._feeds.clear()
            self._changed.notify_all()
        return lambda _: None  # all is computed again

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled

    @property
    def is_left(self) -> bool:
        """Whether Python has finished or cancelled the step."""
        return self._cancelled or self._handles is not None

    def times(self) -> RunTimes:
        return RunTimes(self._run_s, self._stall_s, self._begin_s, self._end_s)

    # --- the graph's side --------------------------------------------------------------------------------

    def execute(self) -> None:
        """Walks the graph from its entry to an end; errors go to whoever waits for a value."""
        try:
            self._wait(lambda: self._demanded)
            self._begin_s = perf_counter()
            block: int | None = 0
            while block is not None:
                block = self._block(block)
        except _Cancelled:
            pass
        except BaseException as error:  # handed to Python's thread, which raises it where a value is read
            self._fail(error)
        finally:
            with self._changed:
                self._end_s = perf_counter()
                self._feeds.clear()
                self._phis.clear()
                if self._handles is not None:
                    self._hand_out()
                self.ended.set()

    def _hand_out(self) -> None:
        """The graph has ended and so has Python: kept outputs to their handles, the rest is dropped.

        Not earlier: a further round of a loop may replace what is there.
        """
        for output, handle in (self._handles or {}).items():
            if output in self._results and self._error is None:
                handle.put(_filled(self._results[output]))
            else:
                handle.fail(self._error or _Cancelled())
        self._results.clear()

    def _block(self, number: int) -> int | None:
        block = self._graph.blocks[number]
        for item in block.items:
            self._item(item)
        match block.terminator:
            case Goto(target):
                return target
            case Case(slot, targets):
                words = self._words.setdefault(slot, deque())
                self._wait(lambda: bool(words))
                return targets[words.popleft()]
            case End():
                return None
            case _:
                assert_never(block.terminator)

    def _item(self, item: Item) -> None:
        match item:
            case OpNode():
                self._operation(item)
            case Select(phi, source):
                self._phis[phi] = self._results[source]
            case Fetch(source):
                with self._changed:
                    self._posted[source] = self._posted.get(source, 0) + 1
                    self._changed.notify_all()
            case _:
                assert_never(item)

    def _operation(self, node: OpNode) -> None:
        contents = tuple([self._operand(source) for source in node.inputs])
        attributes = {name: self._concrete(value) for name, value in node.attributes.items()}
        if self.delay is not None:
            sleep(self.delay())
        begin = perf_counter()
        results = run_eager(node.op, contents, attributes)
        self._run_s += perf_counter() - begin
        with self._changed:
            if self._cancelled:
                raise _Cancelled
            for index, value in enumerate(results):
                self._results[Output(node.id, index)] = value

    def _operand(self, source: Source) -> Value | ScalarValue:
        match source:
            case Constant(value):
                return value
            case Output():
                return self._results[source]
            case Phi(slot=slot):
                return self._phis[slot]
            case Feed(slot=slot):
                self._wait(lambda: slot in self._feeds)
                return self._contents(self._feeds[slot], source.scalar)
            case _:
                assert_never(source)

    def _contents(self, fed: Any, scalar: bool) -> Value | ScalarValue:
        if scalar:
            number: ScalarValue = fed
            return number
        if hasattr(fed, "wait"):
            begin = perf_counter()
            fed = fed.wait()
            self._stall_s += perf_counter() - begin
        return Value(fed)

    def _concrete(self, attribute: Any) -> Any:
        """An attribute with its symbols replaced by their values."""
        if not (isinstance(attribute, tuple) and any(d in self._graph.symbols for d in attribute)):
            return attribute
        self._wait(lambda: all(d in self._symbols for d in attribute if isinstance(d, str)))
        return tuple([self._symbols[d] if isinstance(d, str) else d for d in attribute])

    def _wait(self, condition: Callable[[], bool]) -> None:
        begin = perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or condition())
            self._stall_s += perf_counter() - begin
            if self._cancelled:
                raise _Cancelled

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()


class ReferenceGraph:
    """A graph ready to be interpreted."""

    kernels = 0
    placements = ()

    def __init__(self, graph: SymbolicGraph) -> None:
        self.graph = graph
        self._lock = threading.Lock()
        self._waiting: deque[ReferenceRun] = deque()
        self._unfinished: deque[ReferenceRun] = deque()
        self._thread: threading.Thread | None = None
        _graphs.add(self)

    def start(self, *, lazy: bool = False) -> ReferenceRun:
        for run in self._unfinished:
            if not run.is_left:  # its step was interrupted before it had a Python side
                run.cancel()
        while len(self._unfinished) > RUN_AHEAD:
            run = self._unfinished.popleft()
            if not run.is_cancelled:  # perhaps never begun
                run.ended.wait()
        run = self._make_run(lazy)
        self._unfinished.append(run)
        with self._lock:
            self._waiting.append(run)
            if self._thread is None or not self._thread.is_alive():  # not begun where an interrupt came between
                self._thread = threading.Thread(target=self._work, name="coexec reference graph", daemon=True)
                self._thread.start()
        return run

    def explain(self) -> str:
        return "interpreted operation by operation with eager rules: no clusters, no kernels\n"

    def close(self) -> None:
        """Nothing to free: the thread ends by itself."""

    def finish_before_fork(self) -> None:
        """Runs the steps that Python has left to their end: a fork copies no thread that could, but its locks."""
        thread = self._thread
        if thread is not None and all(run.is_left for run in self._unfinished):
            thread.join()

    def _make_run(self, lazy: bool) -> ReferenceRun:
        return ReferenceRun(self.graph, lazy)

    def _work(self) -> None:
        """Runs steps in the order of their start until there are none."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                run = self._waiting.popleft()
            run.execute()


_graphs: weakref.WeakSet[ReferenceGraph] = weakref.WeakSet()


def _finish_before_fork() -> None:
    for graph in list(_graphs):
        graph.finish_before_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_finish_before_fork)


def compile_reference(graph: SymbolicGraph, *, numerics: str) -> Future[CompiledGraph]:
    """The compiler of the reference runner: ready at once, whatever the numerics."""
    future: Future[CompiledGraph] = Future()
    future.set_result(ReferenceGraph(graph))
    return future


def _filled(value: Value) -> Array:
    assert value.array is not None, "eager rules give filled values"
    return value.array
