"""What a step is put down as in the report of its function: how it ended, what it took, who waited for what.

In: a step that has ended, on Python's side; the graph's runs.  Out: the numbers and events of a `Report`.
Invariant: a wait is counted once, on the side that waited; the graph's times are counted when its run has ended, by
whoever comes by.
"""

from __future__ import annotations

import threading

from coexec import logs
from coexec.graph_side.runner_protocol import CompiledGraph, GraphRun
from coexec.python_side.python_runner import PythonRunner
from coexec.reports.report import Event, Report, StepKind

LEAST_WAIT = 5e-5  # seconds: a step that finds the graph ready has begun by then
RUNS_COUNTED = 8  # of the graph, whose times are counted together; whoever asks for the report counts the rest


def account_step(report: Report, kind: StepKind, begin: float, end: float) -> None:
    """Takes down how long a step took Python."""
    report.add_step(kind, end - begin)
    report.add_event(Event(report.steps, "python", kind, begin, end))


def account_coexecuted(
    report: Report, runner: PythonRunner, compiled: CompiledGraph | None, begin: float, started: float, end: float
) -> None:
    """Takes down a step that began in the graph.  `started`: when the graph was there."""
    step, stalls = report.steps, runner.stalls
    stalled = 0.0
    if started - begin > LEAST_WAIT:
        stalls.insert(0, (begin, started, "the graph to end the step before"))
    for since, until, what in stalls:
        stalled += until - since
        report.waits[what] = report.waits.get(what, 0.0) + until - since
        report.add_event(Event(step, "python", "stall", since, until, what))
    report.python_run_s += end - begin - stalled
    report.python_stall_s += stalled
    report.whole_calls += runner.whole_calls
    if compiled is not None:
        operations = report.operations + len(runner.left_to_python)
        report.coverage = len(compiled.placements) / operations if operations else 0.0
    for name, because in runner.left_to_python:
        if name not in report.left_to_python:
            logs.fallbacks.info("%s: left to Python: %s: %s", report.name, name, because)
        report.left_to_python[name] = because
    account_step(report, "co-executed" if runner.reason is None else "fell back", begin, end)
    if runner.reason is not None:
        report.add_event(Event(step, "python", "fallback", runner.left_at, runner.left_at, runner.reason))


class GraphTimes:
    """The runs of a graph whose times are not in the report yet."""

    __slots__ = ("_counting", "_runs")

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._runs: list[tuple[int, GraphRun]] = []  # number of the step, run

    def add(self, step: int, run: GraphRun) -> None:
        self._runs.append((step, run))

    def forget(self) -> None:
        self._runs = []

    def count_some(self, report: Report) -> None:
        """`count`, once that is worth it."""
        if len(self._runs) >= RUNS_COUNTED:
            self.count(report)

    def count(self, report: Report) -> None:
        """Adds what the graph's thread has spent since the last time to the report; any thread may ask."""
        with self._counting:
            under_way = []
            looked_at = list(self._runs)  # meanwhile a step may begin
            for step, run in looked_at:
                times = run.times()
                if times.end:
                    report.add_event(Event(step, "graph", "graph", times.begin, times.end, waiting_s=times.stall))
                    report.graph_run_s += times.run
                    report.graph_stall_s += times.stall
                else:
                    under_way.append((step, run))
            # the graph is at most two steps behind; one cancelled in time never began
            self._runs[: len(looked_at)] = under_way[-2:]
