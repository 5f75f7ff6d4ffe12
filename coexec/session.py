"""The state machine of one step function: TRACE, COMPILING, COEXECUTE, and back.

In: the outermost calls of the step.  Out: their results; counted in a `Report`.
Invariants: Python runs each call exactly once; whatever phase it meets, what it observes is what the plain function
would have shown; at most one graph is being compiled at a time, and a graph in use stays in use until the next is
ready, so that a fallback costs one step and not a wait.

    TRACE      every operation runs eagerly and is recorded; a trace that adds nothing ends the phase
    COMPILING  plain eager Python while the graph is compiled
    RESTING    plain eager Python for some steps, after many in a row that brought something new
    COEXECUTE  Python validates and runs ahead, the graph computes; a step that leaves it is recorded from there on
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from time import perf_counter
from types import FrameType
from typing import Any
from weakref import WeakSet

from coexec import logs
from coexec.build import Program, unfit
from coexec.config import config
from coexec.graph_side.runner_protocol import CompiledGraph, GraphCompiler, GraphRun
from coexec.patience import Patience
from coexec.python_side.python_runner import Outcome, PythonRunner
from coexec.rebuild import Rebuilt, rebuild
from coexec.reports.accounting import GraphTimes, account_coexecuted, account_step
from coexec.reports.dump import dump
from coexec.reports.report import Event, Report
from coexec.traces.follow import make_recorder
from coexec.traces.gradient_shapes import follow_forward
from coexec.traces.lessons import revised
from coexec.traces.loops import MOST_UNROLLED
from coexec.traces.merge import merge
from coexec.traces.promise import StepLog
from coexec.traces.record import Trace
from coexec.traces.trace_graph import Lessons, Place, TraceGraph
from comprehension.jit import memory
from minitensor.value import local

MOST_NODES = 20_000  # a graph beyond this is forgotten: every step adds to it
FUTILE_LIMIT = 4  # co-executed steps that fell back one after another before tracing needs to be quieter


RunnerFactory = Callable[[Program, GraphRun, FrameType], PythonRunner]


class Phase(Enum):
    TRACE = "trace"
    COMPILING = "compiling"
    COEXECUTE = "coexecute"
    RESTING = "resting"  # eager for a while: traces that never repeat are not worth recording
    EAGER = "eager"  # given up, for the reason in the report


class Session:
    """One step function's traces, graph and counts.

    Args:
        name: for the report.  numerics: "fast" or "reproducible".
        compiler: makes graphs runnable.
    """

    def __init__(self, name: str, numerics: str, compiler: Callable[[], GraphCompiler]) -> None:
        self.numerics = numerics
        self._compiler = compiler
        self.busy = threading.Lock()
        self.make_runner: RunnerFactory = make_runner
        self.report = Report(name)
        self._patience = Patience()
        self._graph_times = GraphTimes()
        self._forget()
        sessions.add(self)

    def _forget(self, lessons: Lessons | None = None) -> None:
        self.traces = TraceGraph(lessons)
        self.program: Program | None = None
        self.compiled: CompiledGraph | None = None
        self._next: Future[Rebuilt] | None = None
        self._phase = Phase.TRACE
        self._changing = False  # traces or graph are between two states: True afterwards only if interrupted there
        self._long_loops: set[Place] = set()
        self._quiet_needed = 1  # traces in a row that add nothing, for tracing to end
        self._quiet_left = self._quiet_needed  # of those
        self._futile = 0
        self._graph_times.forget()

    @property
    def phase(self) -> Phase:
        return self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        if phase is not self._phase:
            logs.graphs.info("%s, step %d: %s", self.report.name, self.report.steps, phase.value)
            self._phase = phase
            self.report.phase = phase.value
            self.report.transitions += 1

    def reset(self) -> None:
        """Forgets all traces and graphs; the report starts again.  The caller holds `busy`."""
        self._close()
        self._forget()
        self._patience.start_over()
        self.report = Report(self.report.name)

    # --- one call ----------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One outermost call of the step; the caller holds `busy`."""
        self.report.steps += 1
        if config.mode == "eager":
            return self._eager(function, args, kwargs)
        if self._changing:  # an interrupt came while traces or graph were being changed
            self._start_again()
        self._enter()
        self._patience.begin(perf_counter())
        phase = self._phase
        if phase is Phase.COEXECUTE:
            return self._coexecute(function, args, kwargs)
        if phase is Phase.TRACE:
            return self._trace(function, args, kwargs)
        if phase is Phase.RESTING and self._patience.wake():
            self.phase = Phase.TRACE
        return self._eager(function, args, kwargs)

    def _eager(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.report.eager_steps += 1
        begin = perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            account_step(self.report, "eager", begin, perf_counter())

    def _enter(self) -> None:
        """Takes the next graph into use if it is ready."""
        if self._next is not None and (self._next.done() or self.numerics == "reproducible"):
            self._changing = True
            self._take_next()
            self._changing = False

    def _trace(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder = make_recorder(sys._getframe(), StepLog(), self.traces, Trace(), [])
        before = self.traces.version
        begin = perf_counter()
        local.observer = recorder
        try:
            result = function(*args, **kwargs)
        except Exception:
            local.observer = None
            self._learn(recorder.end(), before)
            raise
        except BaseException:
            local.observer = None
            self._break_off(recorder.end())
            raise
        finally:
            local.observer = None
            self.report.traced_steps += 1
            now = perf_counter()
            self.report.python_run_s += now - begin
            account_step(self.report, "traced", begin, now)
        self._learn(recorder.end(), before)
        return result

    def _coexecute(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begin = perf_counter()
        try:
            runner = self._start(sys._getframe())
        except Exception as error:  # no step has begun: the program goes on eagerly
            self._fail(error)
            return self._eager(function, args, kwargs)
        started = perf_counter()
        local.observer = runner
        try:
            try:
                result = function(*args, **kwargs)
            except Exception:
                local.observer = None
                self._conclude(runner.end())
                raise
            finally:
                local.observer = None
                account_coexecuted(self.report, runner, self.compiled, begin, started, perf_counter())
                self._graph_times.count_some(self.report)
            self._conclude(runner.end())
            return result
        except Exception:
            raise
        except BaseException:  # the program's own, or an interrupt of anything above
            local.observer = None
            if not runner.is_over:
                self._break_off(runner.abandon())
            raise

    def _start(self, root: FrameType) -> PythonRunner:
        assert self.program is not None and self.compiled is not None
        run = self.compiled.start(lazy=config.mode == "lazy")
        self._graph_times.add(self.report.steps, run)
        return self.make_runner(self.program, run, root)

    # --- what a step teaches -----------------------------------------------------------------------------

    def _learn(self, trace: Trace, before: int) -> None:
        """After a traced step: merges it, and builds a graph once the traces are quiet.

        `before`: the version of the TraceGraph when the step began.
        """
        self._changing = True
        try:
            self._learn_trace(trace, before)
        except Exception as error:  # a mistake of this package must not become one of the program
            self._fail(error)
        self._changing = False

    def _start_again(self) -> None:
        """Forgets traces and graphs, but not what they taught about single places."""
        self._close()
        self._forget(self.traces.lessons)
        self.report.phase = self.phase.value

    def _break_off(self, trace: Trace) -> None:
        """After an interrupted step: what it brought gets an end in the graph; a graph caught in a change goes."""
        if trace.follower is None or not trace.follower.has_news:
            return
        if trace.follower.is_broken:
            self._start_again()
            return
        try:
            trace.follower.finish()
        except Exception as error:  # as above
            self._fail(error)

    def _learn_trace(self, trace: Trace, before: int) -> None:
        if not self._merge(trace):
            return
        self._quiet_left = self._quiet_left - 1 if self.traces.version == before else self._quiet_needed
        if self._quiet_left <= 0 and config.mode != "trace":
            self.phase = Phase.COMPILING
            self._build()
        else:
            self._note_vain_step()

    def _note_vain_step(self) -> None:
        """One more step was recorded; after so many of them, recording rests."""
        if self._patience.lose(perf_counter()) and config.mode != "trace":
            self._tell(f"{self._patience.in_vain} steps in a row brought something new or left most to Python")
            self._take_rest()

    def _take_rest(self) -> None:
        """Eager steps for a while, longer each time."""
        steps = self._patience.take_rest(self.report.median_s("eager"))
        self._tell(f"nothing is recorded for {steps} steps")
        self._quiet_left, self._futile = self._quiet_needed, 0
        self.phase = Phase.RESTING

    def _conclude(self, outcome: Outcome) -> None:
        """After a co-executed step: merges what was new, and has a graph made that knows it."""
        report = self.report
        if outcome.reason is None:
            report.coexecuted_steps += 1
            self._futile = 0
            if outcome.pays:
                self._patience.start_over()
            else:
                self._note_vain_step()
        else:
            report.fallbacks += 1
            report.traced_steps += 1
            self._tell(outcome.reason)
            self._futile += 1
        self._changing = True
        try:
            self._learn_outcome(outcome)
        except Exception as error:  # as above
            self._fail(error)
        self._changing = False

    def _learn_outcome(self, outcome: Outcome) -> None:
        if outcome.trace is not None and not self._merge(outcome.trace):
            return
        assert self.program is not None
        if self._futile >= FUTILE_LIMIT:
            self._futile = 0
            self._quiet_left = self._quiet_needed = min(2 * self._quiet_needed, 8)
            self.phase = Phase.TRACE
        elif self.traces.version > self.program.version and self._next is None:
            self._build()
        if outcome.reason is not None:
            self._note_vain_step()

    def _merge(self, trace: Trace) -> bool:
        """Adds a trace to the graph; False where that ended the pursuit of this graph."""
        traces = self.traces
        if trace.follower is None:
            merge(traces, trace)
        else:
            trace.follower.finish()
        if self._futile == 1:
            traces.break_rows()
        told = traces.rigid or traces.unlifted  # which is often what makes others unfit
        if traces.symbols.origins and not told:
            follow_forward(traces)
            traces.rigid.update(node.kind for node in unfit(traces))
        lessons, reasons = revised(traces)
        for reason in reasons:
            self._tell(reason)
        if lessons != traces.lessons:
            if lessons.treats_sizes_otherwise(traces.lessons):
                self._patience.hope()
            self._close()
            self._forget(lessons)
            self._note_vain_step()
            self.report.phase = self.phase.value
            self.report.transitions += 1
        elif len(traces.nodes) > MOST_NODES:
            self._tell(f"the traces have more than {MOST_NODES} different operations: they are forgotten")
            self._close()
            self._forget(traces.lessons)
            self._take_rest()
        else:
            self._tell_long_loops()
            return True
        return False

    def _tell_long_loops(self) -> None:
        known = self.traces.lessons.folded | self._long_loops
        for place, counts in self.traces.trip_counts.items():
            if max(counts) > MOST_UNROLLED and place not in known:
                self._long_loops.add(place)
                self._tell(f"a loop of {max(counts)} rounds around {place[0]} cannot be folded: unrolled")

    def _close(self) -> None:
        if self.compiled is not None:
            self.compiled.close()

    def _build(self) -> None:
        """Has a graph of all traces built and compiled in the background."""
        self.report.graphs_built += 1
        begin = perf_counter()
        future = self._next = rebuild(self.traces, self._compiler(), self.numerics)
        self.report.build_s += perf_counter() - begin
        future.add_done_callback(self._compiling(begin, self.report.graphs_built))
        if future.done():
            self._take_next()

    def _compiling(self, begin: float, number: int) -> Callable[[Future[Rebuilt]], None]:
        """Notes that the compiler has a graph; the answer notes, in whatever thread, that it has done with it."""
        report, step = self.report, self.report.steps
        logs.graphs.info("%s, step %d: graph %d goes to the compiler", report.name, step, number)

        def done(_: Future[Rebuilt]) -> None:
            now = perf_counter()
            report.add_event(Event(step, "compiler", "compile", begin, now, f"graph {number}"))
            logs.graphs.info("%s: graph %d comes back after %.3f s", report.name, number, now - begin)

        return done

    def _take_next(self) -> None:
        assert self._next is not None
        future = self._next
        self._next = None
        try:
            program, compiled = future.result()
        except Exception as error:  # reported and counted: the program goes on eagerly
            self._give_up(f"the graph could not be compiled: {type(error).__name__}: {error}")
            return
        self._close()
        self.program, self.compiled = program, compiled
        if config.dump is not None:
            dump(config.dump, self.report.name, self.report.graphs_built, self.traces, compiled)
        self.report.operations = sum(1 for _ in program.graph.nodes())
        self.report.kernels = compiled.kernels
        if self.phase is not Phase.COEXECUTE:
            memory.release()  # what eager steps used: the graph has memory of its own
        told = "%s, step %d: a graph of %d operations, %d of them in %d kernels, is taken into use"
        computed = sum(1 for placement in compiled.placements if placement.kernels)
        sizes = self.report.operations, computed, compiled.kernels
        logs.graphs.info(told, self.report.name, self.report.steps, *sizes)
        self.phase = Phase.COEXECUTE
        if self.traces.version > program.version:
            self._build()

    def _tell(self, reason: str) -> None:
        self.report.add_reason(reason)
        logs.fallbacks.info("%s, step %d: %s", self.report.name, self.report.steps, reason)

    def _give_up(self, reason: str) -> None:
        self._tell(reason)
        self.phase = Phase.EAGER

    def _fail(self, error: Exception) -> None:
        if isinstance(error, RecursionError | MemoryError):  # what the program has used up: no fault of the traces
            self._tell(f"{type(error).__name__} while the step was recorded: the traces are forgotten")
            self._start_again()
            self._note_vain_step()
            return
        logs.graphs.error("co-execution of %s ends", self.report.name, exc_info=error)
        self._give_up(f"internal error: {type(error).__name__}: {error}")

    def count_graph_times(self) -> None:
        """Brings the report's times of the graph up to date; any thread may ask."""
        self._graph_times.count(self.report)

    def wait(self) -> None:
        """Waits until the graph asked for, if any, is compiled."""
        following = self._next
        if following is not None:
            following.exception()  # waits; what went wrong is told by the report


def make_runner(program: Program, run: GraphRun, root: FrameType) -> PythonRunner:
    """The Python side of one step; `testing` puts a runner with a planned divergence in its place."""
    return PythonRunner(program.walk, run, root)


sessions: WeakSet[Session] = WeakSet()


def wait() -> None:
    """Waits until all compilation asked for is done (`coexec.wait`)."""
    for session in list(sessions):
        session.wait()
