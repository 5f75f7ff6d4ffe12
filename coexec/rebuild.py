"""A new graph from the traces, made beside Python.

In: a TraceGraph and the compiler of the runner in use.  Out: a Future of the Program and its compiled graph.
Invariant: the TraceGraph does not change while it is read: whoever would change it waits (`TraceGraph.settle`), and
reading begins only between steps.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from coexec.build import Program, build
from coexec.config import config
from coexec.runner_protocol import CompiledGraph, GraphCompiler
from coexec.trace_graph import TraceGraph

_MOMENT = 0.001

Rebuilt = tuple[Program, CompiledGraph]


def rebuild(traces: TraceGraph, compiler: GraphCompiler, numerics: str) -> Future[Rebuilt]:
    """The graph of all traces so far; fails with what building or compiling it raised.

    The reference runner, which is for debugging, gets it before this returns.
    """
    future: Future[Rebuilt] = Future()
    if config.runner == "reference":
        _build_and_compile(traces, compiler, numerics, future)
    else:
        arguments = (traces, compiler, numerics, future)
        thread = threading.Thread(target=_after_a_moment, args=arguments, name="coexec-build", daemon=True)
        traces.reader = thread
        thread.start()
    return future


def _after_a_moment(*arguments: Any) -> None:
    """Lets Python end its step: a thread that starts computing keeps the interpreter for a switch interval (5 ms)."""
    time.sleep(_MOMENT)
    _build_and_compile(*arguments)


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
