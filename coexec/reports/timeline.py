"""Both runners in time, as a Chrome trace: for chrome://tracing and Perfetto.

In: the events of a `Report`.  Out: JSON text, the trace event format's "JSON object" form.
Invariant: times are microseconds since the first event, in ascending order, none negative; intervals of one runner
nest; a flow has one beginning, in a step of Python's, and one end, in the same step of the graph's.

Each session is a process, with the two runners and the compiler as its threads; a fallback is an instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from coexec.reports.report import Event, Lane, Report

_Json = dict[str, Any]
_THREADS: dict[Lane, int] = {"python": 1, "graph": 2, "compiler": 3}


def chrome_trace(report: Report) -> str:
    """The trace of a report.

    >>> event = Event(3, "python", "co-executed", 7.0, 7.5)
    >>> shown = json.loads(chrome_trace(Report("step", events=[event])))["traceEvents"][-1]
    >>> shown["name"], shown["ph"], shown["ts"], shown["dur"]
    ('co-executed', 'X', 0.0, 500000.0)
    """
    events = sorted(report.events, key=lambda event: (event.begin_s, -event.end_s))
    start = events[0].begin_s if events else 0.0
    shown = [*(_shown(event, start) for event in events), *_flows(events, start)]
    shown.sort(key=lambda one: (one["ts"], _RANKS[one["ph"]]))  # stable: an outer interval stays before an inner one
    sessions = sorted({event.session for event in events})
    names = [name for session in sessions for name in _names(report.name, session)]
    return json.dumps({"traceEvents": names + shown, "displayTimeUnit": "ms"})


_RANKS = {"X": 0, "i": 1, "s": 2, "f": 3}  # what stands in an interval that begins at the same time comes after it


def _names(step: str, session: int) -> Iterator[_Json]:
    process = step if session == 0 else f"{step}, overlapping calls {session}"
    yield {"name": "process_name", "ph": "M", "pid": session + 1, "tid": 0, "args": {"name": process}}
    for lane, tid in _THREADS.items():
        place = {"pid": session + 1, "tid": tid}
        yield {"name": "thread_name", "ph": "M", **place, "args": {"name": lane}}
        yield {"name": "thread_sort_index", "ph": "M", **place, "args": {"sort_index": tid}}


def _shown(event: Event, start: float) -> _Json:
    told = {"step": event.step, **({"detail": event.detail} if event.detail else {})}
    common = {
        "name": event.name,
        "cat": event.runner,
        **_place(event),
        "ts": _since(start, event.begin_s),
        "args": told,
    }
    if event.begin_s == event.end_s:
        return {**common, "ph": "i", "s": "t"}
    return {**common, "ph": "X", "dur": _since(event.begin_s, event.end_s)}


def _flows(events: Sequence[Event], start: float) -> Iterator[_Json]:
    """An arrow from each step of Python's to the graph's part of it."""
    steps = {(e.session, e.step): e for e in events if e.runner == "python" and e.name in _WITH_GRAPH}
    for event in events:
        origin = steps.get((event.session, event.step))
        if event.runner == "graph" and origin is not None and origin.begin_s <= event.begin_s:
            common = {"name": "step", "cat": "flow", "id": f"{event.session}.{event.step}"}
            yield {**common, "ph": "s", **_place(origin), "ts": _since(start, origin.begin_s)}
            yield {**common, "ph": "f", "bp": "e", **_place(event), "ts": _since(start, event.begin_s)}


_WITH_GRAPH = ("co-executed", "fell back")


def _place(event: Event) -> _Json:
    return {"pid": event.session + 1, "tid": _THREADS[event.runner]}


def _since(start: float, end: float) -> float:
    """Microseconds, to the nanosecond."""
    return round((end - start) * 1e6, 3)
