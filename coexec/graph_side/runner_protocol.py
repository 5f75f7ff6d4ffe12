"""What the Python side needs from a GraphRunner, native or not: the border between the two runners.

In: a SymbolicGraph.  Out: a `CompiledGraph`, which runs steps of it, each a `GraphRun`.
Invariant: one thread (Python's, the "sender") calls the methods of a run, in the order in which a path through
the graph uses them; a run computes only pure operations, so cancelling it at any point loses nothing that
Python has committed.  Every method that may block does so without the GIL.

A step, as the sender drives it:

    run = compiled.start(lazy=False)          # may block: at most `run_ahead` unfinished steps before this one
    run.bind(0, 32)                           # symbol 0 is 32: before the first feed or node that uses it
    run.feed(0, array)                        # the validated operation is the first user of feed 0
    run.choose(1, 0)                          # the path takes targets[0] of case 1
    array = run.fetch(Output(7))              # behind a `Fetch(Output(7))` on the path taken
    handles = run.finish([Output(9)])         # the path has ended at `End`; these outputs stay alive
    # or run.cancel([Output(7)]): the path left the graph; the sender fills what is alive, from what the run leaves
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np

from coexec.clusters.placement import Placement
from coexec.graph.symbolic import Output, ScalarValue, SymbolicGraph

Array = np.ndarray[Any, np.dtype[Any]]


class Handle(Protocol):
    """An output of a finished run, perhaps not computed yet; owns its buffer.

    When the last reference to a handle and to the arrays it gave is dropped, the buffer may be used again.
    """

    def wait(self) -> Array:
        """The contents, read-only: blocks until they are there.  May be called by any thread, more than once.

        Raises what the graph met on the way (out of memory, a worker's failure).
        """


class RunTimes(NamedTuple):
    """Seconds that the graph's thread spent on one step: computing, and waiting for Python.

    `begin` and `end` are on the clock of `time.perf_counter`; 0 until the step has ended.
    """

    run: float = 0.0
    stall: float = 0.0
    begin: float = 0.0
    end: float = 0.0


class GraphRun(Protocol):
    """One step under way."""

    def bind(self, symbol: int, value: int) -> None:
        """Gives a symbol its value for this step; once per symbol."""

    def feed(self, slot: int, value: Array | Handle | ScalarValue) -> None:
        """Gives a feed its contents; once per slot.  Never blocks.

        An array is immutable from here on (the sender has snapshotted borrowed ones); it may be strided.
        A handle is a kept output of an earlier step, of this graph or of another, not waited for here.
        A scalar goes to a feed with `scalar` set.
        """

    def feed_all(self, values: Sequence[tuple[int, Array | Handle]]) -> None:
        """The same for several tensors, each (slot, contents)."""

    def choose(self, case: int, target: int) -> None:
        """Sends a choice word: an index into the targets of that case.  Never blocks."""

    def fetch(self, output: Output) -> Array:
        """The contents of an output behind whose `Fetch` the path now stands, read-only; blocks until there."""

    def finish(self, kept: Sequence[Output]) -> tuple[Handle, ...]:
        """The path ended at `End`: one handle for each of `kept` (all have `kept` set in the graph).

        Does not block: the graph may still be running.  No other method is called afterwards.
        """

    def cancel(self, wanted: Sequence[Output] = ()) -> Callable[[Output], Array | None]:
        """The path left the graph: stop as soon as `wanted`, all on the path, are computed or that would take a wait.

        No other method is called afterwards, never fails.  Does not wait for the graph's thread longer than that, or
        for one kernel; feeds given may be dropped on return.
        Returns who gives the contents of an output on the path, read-only, if the graph had computed them and has them
        still; None otherwise.  To be asked before another step begins.
        """

    def times(self) -> RunTimes:
        """So far, or in all once the run has ended."""


class CompiledGraph(Protocol):
    """A graph ready to run; steps of it are started one after the other by one thread at a time."""

    @property
    def graph(self) -> SymbolicGraph: ...

    @property
    def kernels(self) -> int:
        """How many compiled kernels it has."""

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where each operation went and why not elsewhere, in the graph's order; empty without kernels."""

    def start(self, *, lazy: bool = False) -> GraphRun:
        """Begins a step; blocks while too many earlier ones are unfinished.

        lazy: computes nothing before the first `fetch` or `finish` (the LazyTensor control experiment).
        """

    def explain(self) -> str:
        """Clusters, their comprehensions, schedules, certificates and sources as text."""

    def close(self) -> None:
        """No step will be started any more; buffers and threads go when the last handle does."""


class GraphCompiler(Protocol):
    """How a graph becomes ready to run."""

    def __call__(self, graph: SymbolicGraph, *, numerics: str) -> Future[CompiledGraph]:
        """Compiles in the background; `numerics` is "fast" or "reproducible".

        The future fails with CompilationFailed when the graph cannot be compiled.
        """
