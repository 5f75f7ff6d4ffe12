"""The report of a step: what co-execution did, in numbers and reasons.

In: counted by `session` while the program runs.  Out: `step.report()`, for programs (fields) and people: text
here, HTML in `report_page`, a Chrome trace in `timeline`.
Invariant: counts are ints, times floats in seconds, never None; `steps` is the number of outermost calls.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

MOST_REASONS = 100  # older ones are dropped: a program may run for weeks
MOST_EVENTS = 10_000
MOST_TIMES = 200  # of each kind of step
SHOWN = 10  # remarks of one kind in a table
LEAST_WAIT = 0.05  # of the longest one: what is less is not shown
NOTABLE = 0.2  # share of the time from which on waiting is worth a remark

Lane = Literal["python", "graph", "compiler"]
StepKind = Literal["eager", "traced", "co-executed", "fell back"]


class Event(NamedTuple):
    """One interval of one step on one of the two runners, or at the compiler; an instant where both ends are equal.

    Times are in seconds on the clock of `time.perf_counter`.  name: what was done: a kind of step, "stall", "compile",
    "fallback".  detail: why, or for what.  session: which one, where calls overlapped in several threads.
    waiting_s: of the time of a graph's step, which is put into words in a snapshot: each step notes one.
    """

    step: int
    runner: Lane
    name: str
    begin_s: float
    end_s: float
    detail: str = ""
    session: int = 0
    waiting_s: float | None = None


def _in_words(event: Event) -> Event:
    if event.waiting_s is None:
        return event
    working = event.end_s - event.begin_s - event.waiting_s
    told = f"{working * 1e3:.3f} ms working, {event.waiting_s * 1e3:.3f} ms waiting"
    return event._replace(detail=told, waiting_s=None)


@dataclass(slots=True, repr=False)
class Report:
    """What happened so far in the outermost calls of one step function.

    traced_steps: recorded from beginning to end or from a fallback on.  coexecuted_steps: ended in the graph.
    graphs_built: full builds.  transitions: changes of phase.  coverage: operations of the latest compiled
    graph, as a fraction of them and of those that its latest step left to Python.
    left_to_python: operations that stayed eager, and why.  waits: seconds that Python waited, by what for.
    step_s: seconds that Python spent in the latest steps of each kind, stalls included.
    """

    name: str
    phase: str = "trace"
    steps: int = 0
    traced_steps: int = 0
    coexecuted_steps: int = 0
    eager_steps: int = 0
    fallbacks: int = 0
    graphs_built: int = 0
    transitions: int = 0
    reasons: list[str] = field(default_factory=list)
    python_run_s: float = 0.0
    python_stall_s: float = 0.0
    graph_run_s: float = 0.0
    graph_stall_s: float = 0.0
    build_s: float = 0.0
    kernels: int = 0
    coverage: float = 0.0
    operations: int = 0
    whole_calls: int = 0
    left_to_python: dict[str, str] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    step_s: dict[StepKind, list[float]] = field(default_factory=dict, repr=False)
    events: list[Event] = field(default_factory=list, repr=False)

    # --- counting ----------------------------------------------------------------------------------------

    def add_reason(self, reason: str) -> None:
        """Notes why something did not go the fast way."""
        self.reasons.append(reason)
        del self.reasons[:-MOST_REASONS]

    def add_event(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) >= 2 * MOST_EVENTS:  # seldom: it moves all that stay
            del self.events[:-MOST_EVENTS]

    def add_step(self, kind: StepKind, seconds: float) -> None:
        times = self.step_s.setdefault(kind, [])
        times.append(seconds)
        if len(times) >= 2 * MOST_TIMES:
            del times[:-MOST_TIMES]

    def snapshot(self) -> Report:
        """A copy that no later step changes."""
        return replace(
            self,
            reasons=list(self.reasons),
            left_to_python=dict(self.left_to_python),
            waits=dict(self.waits),
            step_s={kind: times[-MOST_TIMES:] for kind, times in list(self.step_s.items())},
            events=[_in_words(event) for event in self.events[-MOST_EVENTS:]],
        )

    # --- reading -----------------------------------------------------------------------------------------

    def median_s(self, kind: StepKind) -> float:
        """The median time of the latest steps of a kind, in seconds; 0 where there were none.

        >>> Report("step", step_s={"eager": [0.5, 0.25, 0.75]}).median_s("eager")
        0.5
        """
        return median(self.step_s.get(kind, ())) if self.step_s.get(kind) else 0.0

    @property
    def gain(self) -> float:
        """How many times as long a step takes eagerly: medians of eager (or else traced) and co-executed steps.

        0 until both are known.  Eager steps run mostly beside the compiler, traced ones are recorded, and both are
        slower for it, on a busy machine by much: so it is shown as "at most".  To compare to the letter, time the
        program with `COEXEC_MODE=eager`.

        >>> Report("step", step_s={"eager": [0.5], "co-executed": [0.25]}).gain
        2.0
        """
        before = self.median_s("eager") or self.median_s("traced")
        after = self.median_s("co-executed")
        return before / after if before and after else 0.0

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of every number, as text."""
        return [
            ("phase", self.phase),
            ("steps", f"{self.steps}"),
            ("  traced", f"{self.traced_steps}"),
            ("  co-executed", f"{self.coexecuted_steps}"),
            ("  eager", f"{self.eager_steps}"),
            ("fallbacks", f"{self.fallbacks}"),
            ("graphs built", f"{self.graphs_built}"),
            ("transitions", f"{self.transitions}"),
            ("operations in the graph", f"{self.operations}"),
            ("coverage", f"{self.coverage:.1%}"),
            ("kernels", f"{self.kernels}"),
            *([("backward() and step() at once", f"{self.whole_calls}")] if self.whole_calls else []),
            *((f"a step {kind}", _milliseconds(self.median_s(kind))) for kind in self.step_s),
            *([("gain", f"at most {self.gain:.2f} ×")] if self.gain else []),
            ("Python running", f"{self.python_run_s:.3f} s"),
            ("Python stalled", f"{self.python_stall_s:.3f} s"),
            ("graph running", f"{self.graph_run_s:.3f} s"),
            ("graph stalled", f"{self.graph_stall_s:.3f} s"),
            ("building graphs", f"{self.build_s:.3f} s"),
        ]

    def remarks(self) -> list[str]:
        """Why it did not gain more, as sentences: reasons with their number, what stayed in Python, who waited."""
        reasons = Counter(self.reasons).most_common(SHOWN)
        told = [reason if times == 1 else f"{times} × {reason}" for reason, times in reasons]
        if self.phase == "compiling" and not self.coexecuted_steps:
            told.append("the first graph is still being compiled: longer runs gain, and so does the next one")
        told += [f"left to Python: {name}: {why}" for name, why in sorted(self.left_to_python.items())]
        return told + self._on_waiting()

    def _on_waiting(self) -> list[str]:
        """Who waits for whom, where that is a notable part of the time."""
        told = []
        python, graph = self.python_run_s + self.python_stall_s, self.graph_run_s + self.graph_stall_s
        if self.coexecuted_steps and self.python_stall_s > NOTABLE * python:
            longest = sorted(self.waits.items(), key=lambda wait: -wait[1])[:3]
            least = LEAST_WAIT * longest[0][1] if longest else 0.0
            shown = "; ".join(f"{seconds:.3f} s for {what}" for what, seconds in longest if seconds >= least)
            told.append(f"Python waits {self.python_stall_s / python:.0%} of its time: {shown}")
            if self.python_stall_s > 3 * self.graph_run_s:
                told.append("that is more than the graph works: other programs keep the cores busy, or waking up does")
        if self.coexecuted_steps and self.graph_stall_s > NOTABLE * graph:
            told.append(f"the graph waits {self.graph_stall_s / graph:.0%} of its time for Python")
        return told

    def __repr__(self) -> str:
        counts = f"{self.coexecuted_steps} of {self.steps} steps co-executed, {self.fallbacks} fallbacks"
        return f"<report of {self.name}: {self.phase}, {counts}>"

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"co-execution of {self.name}"]
        lines += [f"  {name:<{width}}  {value}" for name, value in rows]
        return "\n".join(lines + [f"  {remark}" for remark in self.remarks()])

    def _repr_html_(self) -> str:
        from coexec.reports.report_page import report_fragment  # pages are rare: a program that only runs stays small

        return report_fragment(self)

    def page(self) -> str:
        """The same as one HTML document, with pictures: nothing is loaded from anywhere, no scripts.

        >>> Report("a<b").page().count("co-execution of a&lt;b")
        2
        """
        from coexec.reports.report_page import report_page

        return report_page(self)

    def timeline(self, path: str | Path) -> None:
        """Writes a Chrome trace (chrome://tracing, https://ui.perfetto.dev): see `coexec.reports.timeline`.

        Raises OSError where `path` cannot be written.
        """
        from coexec.reports.timeline import chrome_trace

        Path(path).write_text(chrome_trace(self), encoding="utf-8")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def merge_reports(reports: list[Report]) -> Report:
    """One report of several sessions of the same step: sums, and phase, operations and coverage of the first."""
    first = reports[0]
    if len(reports) == 1:
        return first
    waits: Counter[str] = Counter()
    step_s: dict[StepKind, list[float]] = {}
    for report in reports:
        waits.update(report.waits)
        for kind, times in report.step_s.items():
            step_s.setdefault(kind, []).extend(times)
    summed = {name: sum(getattr(report, name) for report in reports) for name in _SUMMED}
    return replace(
        first,
        **summed,
        reasons=[reason for report in reports for reason in report.reasons],
        events=[event._replace(session=at) for at, report in enumerate(reports) for event in report.events],
        left_to_python={name: why for report in reports for name, why in report.left_to_python.items()},
        waits=dict(waits),
        step_s=step_s,
    )


_SUMMED = (
    "steps", "traced_steps", "coexecuted_steps", "eager_steps", "fallbacks", "graphs_built", "transitions", "kernels",
    "whole_calls",
    "python_run_s", "python_stall_s", "graph_run_s", "graph_stall_s", "build_s",
)  # fmt: skip
