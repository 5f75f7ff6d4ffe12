"""A new graph from the traces, made beside Python.

In: a TraceGraph and the compiler of the runner in use.  Out: a Future of the Program and its compiled graph.
Invariant: the TraceGraph does not change while it is read: whoever would change it waits (`TraceGraph.settle`), and
reading begins only between steps.

One thread reads for all sessions, started once: starting one takes as long as a small step.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from coexec.build import Program, build
from coexec.config import config
from coexec.graph_side.runner_protocol import CompiledGraph, GraphCompiler
from coexec.traces.trace_graph import Reader, TraceGraph

_MOMENT = 0.001

Rebuilt = tuple[Program, CompiledGraph]


class _Worker:
    """The thread, and what it has to do."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Has `work`, which raises nothing, done after a moment, behind what was put before."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._serve, name="coexec-build", daemon=True)
            self.thread.start()
        self.work.put(work)

    def _serve(self) -> None:
        while True:
            work = self.work.get()
            time.sleep(_MOMENT)  # Python ends its step: a thread that computes keeps the interpreter for 5 ms
            work()


_worker = _Worker()


def rebuild(traces: TraceGraph, compiler: GraphCompiler, numerics: str) -> Future[Rebuilt]:
    """The graph of all traces so far; fails with what building or compiling it raised.

    The reference runner, which is for debugging, gets it before this returns.
    """
    future: Future[Rebuilt] = Future()
    if config.runner == "reference":
        _build_and_compile(traces, compiler, numerics, future)
        return future
    reader = traces.reader = Reader(os.getpid(), threading.Event())

    def work() -> None:
        try:
            _build_and_compile(traces, compiler, numerics, future)
        finally:
            reader.done.set()

    _worker.put(work)
    return future


def _build_and_compile(traces: TraceGraph, compiler: GraphCompiler, numerics: str, future: Future[Rebuilt]) -> None:
    try:
        program = build(traces)
        compiling = compiler(program.graph, numerics=numerics)
    except Exception as error:  # told by whoever asks for the result
        future.set_exception(error)
        return

    def pass_on(compiled: Future[CompiledGraph]) -> None:
        error = compiled.exception()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result((program, compiled.result()))

    compiling.add_done_callback(pass_on)


def _forget_after_fork() -> None:
    """The child has no such thread: it starts its own."""
    global _worker
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
