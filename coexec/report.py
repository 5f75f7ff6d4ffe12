"""The report of a step: what co-execution did, in numbers and reasons.

In: counted by `session` while the program runs.  Out: `step.report()`, for programs (fields) and people (text, HTML).
Invariant: counts are ints, times floats in seconds, never None; `steps` is the number of outermost calls.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

MOST_REASONS = 100  # older ones are dropped: a program may run for weeks
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Event:
    """One interval of one step on one of the two runners ("python" or "graph"): seconds since the session began."""

    step: int
    runner: str
    name: str
    begin_s: float
    end_s: float


@dataclass(slots=True)
class Report:
    """What happened so far in the outermost calls of one step function.

    traced_steps: recorded from beginning to end or from a fallback on.  coexecuted_steps: ended in the graph.
    graphs_built: full builds.  transitions: changes of phase.  coverage: operations inside compiled clusters, as a
    fraction of the latest graph's and of those that its latest step left to Python.
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
    left_to_python: dict[str, str] = field(default_factory=dict)  # operations that stayed eager, and why
    events: list[Event] = field(default_factory=list, repr=False)

    def add_reason(self, reason: str) -> None:
        """Notes why something did not go the fast way."""
        self.reasons.append(reason)
        del self.reasons[:-MOST_REASONS]

    def add_event(self, event: Event) -> None:
        self.events.append(event)
        del self.events[:-MOST_EVENTS]

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
            ("Python running", f"{self.python_run_s:.3f} s"),
            ("Python stalled", f"{self.python_stall_s:.3f} s"),
            ("graph running", f"{self.graph_run_s:.3f} s"),
            ("graph stalled", f"{self.graph_stall_s:.3f} s"),
            ("building graphs", f"{self.build_s:.3f} s"),
        ]

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"co-execution of {self.name}"]
        lines += [f"  {name:<{width}}  {value}" for name, value in rows]
        return "\n".join(lines + [f"  {remark}" for remark in self._remarks()])

    def _remarks(self) -> list[str]:
        """The latest reasons, and what stayed in Python, as sentences."""
        fallbacks = [f"fell back: {reason}" for reason in self.reasons[-10:]]
        return fallbacks + [f"left to Python: {name}: {why}" for name, why in sorted(self.left_to_python.items())]

    def _repr_html_(self) -> str:
        """A table, and how the two runners shared their time as a picture."""
        cells = "".join(f"<tr><td>{escape(n)}</td><td>{escape(v)}</td></tr>" for n, v in self.rows())
        reasons = "".join(f"<li>{escape(remark)}</li>" for remark in self._remarks())
        return f"<h4>co-execution of {escape(self.name)}</h4>{self._bars()}<table>{cells}</table><ul>{reasons}</ul>"

    def _bars(self) -> str:
        """Two horizontal bars as SVG: run and stall of Python and of the graph."""
        pairs = [("Python", self.python_run_s, self.python_stall_s), ("graph", self.graph_run_s, self.graph_stall_s)]
        longest = max(run + stall for _, run, stall in pairs) or 1.0
        parts = []
        for i, (name, run, stall) in enumerate(pairs):
            y, busy, idle = 4 + 26 * i, 300 * run / longest, 300 * stall / longest
            parts.append(f'<text x="0" y="{y + 14}" font-size="12">{name}</text>')
            parts.append(f'<rect x="60" y="{y}" width="{busy:.1f}" height="18" fill="#4a90d9"/>')
            parts.append(f'<rect x="{60 + busy:.1f}" y="{y}" width="{idle:.1f}" height="18" fill="#e0c080"/>')
        return f'<svg width="380" height="60">{"".join(parts)}</svg>'

    def timeline(self, path: str | Path) -> None:
        """Writes a Chrome trace (chrome://tracing, Perfetto): both runners, one interval a step and a stall."""
        rows = {"python": 1, "graph": 2}
        events = [
            {
                "name": event.name,
                "ph": "X",
                "ts": event.begin_s * 1e6,
                "dur": (event.end_s - event.begin_s) * 1e6,
                "pid": 1,
                "tid": rows[event.runner],
                "args": {"step": event.step},
            }
            for event in self.events
        ]
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": runner}}
            for runner, tid in rows.items()
        ]
        Path(path).write_text(json.dumps({"traceEvents": names + events}), encoding="utf-8")


def merge_reports(reports: list[Report]) -> Report:
    """One report of several sessions of the same step: sums, and phase, operations and coverage of the first."""
    first = reports[0]
    if len(reports) == 1:
        return first
    summed = {name: sum(getattr(report, name) for report in reports) for name in _SUMMED}
    return replace(
        first,
        **summed,
        reasons=[reason for report in reports for reason in report.reasons],
        events=[event for report in reports for event in report.events],
        left_to_python={name: why for report in reports for name, why in report.left_to_python.items()},
    )


_SUMMED = (
    "steps", "traced_steps", "coexecuted_steps", "eager_steps", "fallbacks", "graphs_built", "transitions", "kernels",
    "python_run_s", "python_stall_s", "graph_run_s", "graph_stall_s", "build_s",
)  # fmt: skip
