"""Reports: their numbers are those of a known program; table, page and trace tell the same, well formed and escaped."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from html_page import Page
from programs import data

import coexec
import minitensor as mt
from coexec.reports.report import MOST_EVENTS, MOST_REASONS, MOST_TIMES, Event, Report, merge_reports
from coexec.reports.timeline import chrome_trace

HOSTILE = "</style></svg></table><script>alert('1')</script><img src=x onerror=alert(1)>&amp;\x00"


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def known_program() -> coexec.Step[[float], float]:
    """One branch, taken at the fourth of six steps; a draw of integers stays in Python; each step reads one value."""

    @coexec.coexecute
    def step(limit: float) -> float:
        x = data(3) + mt.random.randint(0, 4, (3,))
        y = (x * 2.0).sum()
        if limit > 0.5:
            y = y - 1.0
        return float(y)

    for limit in (0.0, 0.0, 0.0, 1.0, 1.0, 0.0):
        step(limit)
        coexec.wait()
    return step


def test_the_fields_are_those_of_the_program() -> None:
    report = known_program().report()
    assert (report.steps, report.traced_steps, report.eager_steps, report.fallbacks) == (6, 3, 0, 1)
    assert (report.coexecuted_steps, report.graphs_built, report.phase) == (3, 2, "coexecute")
    assert report.transitions == 2  # trace, compiling, coexecute
    assert [reason.partition(" at ")[0] for reason in report.reasons] == ["subtract"]
    assert __file__ in report.reasons[0]
    assert [name.partition(":")[0] for name in report.left_to_python] == [f"random_integers at {__file__}"]
    (kinds, counts) = zip(*((kind, len(times)) for kind, times in report.step_s.items()), strict=True)
    assert (kinds, counts) == (("traced", "co-executed", "fell back"), (2, 3, 1))
    assert report.gain == report.median_s("traced") / report.median_s("co-executed")
    assert any(what.startswith("sum at ") and __file__ in what for what in report.waits)
    assert sum(report.waits.values()) == pytest.approx(report.python_stall_s)


def test_a_report_is_a_copy() -> None:
    step = known_program()
    before = step.report()
    text, events = str(before), len(before.events)
    step(0.0)
    assert (str(before), len(before.events)) == (text, events)
    assert step.report().steps == before.steps + 1


def test_times_add_up() -> None:
    report = known_program().report()
    spent = sum(sum(times) for times in report.step_s.values())
    assert report.python_run_s + report.python_stall_s == pytest.approx(spent)


def test_a_report_may_be_asked_for_while_the_step_runs() -> None:
    step = known_program()
    failures: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                str(step.report())
        except BaseException as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for i in range(60):
        step(float(i % 2))
    done.set()
    asking.join()
    assert not failures
    report = step.report()
    graph = [event for event in report.events if event.runner == "graph"]
    assert len({event.step for event in graph}) == len(graph)  # none counted twice


# --- table and page -------------------------------------------------------------------------------------------


def test_the_table_names_every_count() -> None:
    report = known_program().report()
    text = str(report)
    for name, value in report.rows():
        assert name in text and value in text
    assert "left to Python: random_integers at " in text and f"{report.gain:.2f} ×" in text


def test_equal_reasons_are_told_once() -> None:
    report = Report("step", reasons=["clip at a.py:1, where the graph has add"] * 3 + ["other"])
    assert report.remarks() == ["3 × clip at a.py:1, where the graph has add", "other"]


def test_who_waits_is_told_with_what_for() -> None:
    waits = {"sum at a.py:1": 0.5, "max at a.py:2": 0.25}
    report = Report("step", coexecuted_steps=3, python_run_s=0.25, python_stall_s=0.75, graph_run_s=1.0, waits=waits)
    assert report.remarks() == ["Python waits 75% of its time: 0.500 s for sum at a.py:1; 0.250 s for max at a.py:2"]
    slow = Report("step", coexecuted_steps=3, python_run_s=0.25, python_stall_s=0.75, graph_run_s=0.125)
    assert any("other programs keep the cores busy" in remark for remark in slow.remarks())
    report = Report("step", coexecuted_steps=3, python_run_s=1.0, graph_run_s=0.25, graph_stall_s=0.75)
    assert report.remarks() == ["the graph waits 75% of its time for Python"]


def test_the_page_is_whole_and_escapes_what_is_the_users() -> None:
    events = [Event(1, "python", HOSTILE, 0.0, 1.0, HOSTILE), Event(1, "graph", HOSTILE, 0.5, 1.0, HOSTILE)]
    report = Report(HOSTILE, reasons=[HOSTILE], left_to_python={HOSTILE: HOSTILE}, waits={HOSTILE: 1.0}, events=events)
    page = Page(report.page())
    assert not page.kinds & {"script", "img"}
    shown = "".join(page.content)
    assert shown.count("<script>") >= 6 and "\x00" not in shown
    assert Page(report._repr_html_()).kinds < page.kinds


def test_the_page_shows_numbers_reasons_and_both_runners() -> None:
    report = known_program().report()
    page = Page(report.page())
    shown = "".join(page.content)
    for text in (f"{report.gain:.2f} × as fast", "3 of 6 steps co-executed", "fallbacks: 1", report.reasons[0]):
        assert text in shown
    assert {"svg", "table", "details"} <= page.kinds


# --- the trace ------------------------------------------------------------------------------------------------


def trace(report: Report) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(chrome_trace(report))["traceEvents"]
    return events


def shown(events: list[dict[str, Any]], ph: str) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == ph]


def check_well_formed(events: list[dict[str, Any]]) -> None:
    timed = [event for event in events if event["ph"] != "M"]
    times = [event["ts"] for event in timed]
    assert times == sorted(times) and times[0] == 0.0
    threads = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in timed} <= threads
    for pid, tid in threads:
        open_until: list[float] = []
        for event in shown(timed, "X"):
            if (event["pid"], event["tid"]) == (pid, tid) and tid != 3:  # graphs are compiled beside each other
                while open_until and open_until[-1] <= event["ts"]:
                    open_until.pop()
                end = event["ts"] + event["dur"]
                assert event["dur"] >= 0 and (not open_until or end <= open_until[-1] + 0.002)
                open_until.append(end)
    starts, ends = shown(timed, "s"), shown(timed, "f")
    assert {event["id"] for event in starts} == {event["id"] for event in ends}
    assert len({event["id"] for event in starts}) == len(starts) == len(ends)
    ended = {event["id"]: event["ts"] for event in ends}
    assert all(event["ts"] <= ended[event["id"]] for event in starts)


def test_the_trace_is_well_formed_and_complete(tmp_path: Path) -> None:
    report = known_program().report()
    report.timeline(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"]
    check_well_formed(events)
    steps = [event["name"] for event in shown(events, "X") if event["tid"] == 1 and event["name"] != "stall"]
    assert steps == ["traced", "traced", "co-executed", "fell back", "co-executed", "co-executed"]
    assert {3, 5} <= {event["args"]["step"] for event in shown(events, "X") if event["tid"] == 2}
    assert len([event for event in shown(events, "X") if event["tid"] == 3]) == report.graphs_built
    (fallback,) = shown(events, "i")
    assert fallback["args"] == {"step": 4, "detail": report.reasons[0]} and fallback["tid"] == 1
    (fell,) = [event for event in shown(events, "X") if event["name"] == "fell back"]
    assert fell["ts"] <= fallback["ts"] <= fell["ts"] + fell["dur"]


def test_overlapping_calls_have_a_process_each() -> None:
    barrier = threading.Barrier(2)

    @coexec.coexecute
    def step(i: int) -> float:
        if i == 0:
            barrier.wait(timeout=10)
        return float(data(3).sum())

    def call() -> None:
        for i in range(6):
            step(i)
            coexec.wait()

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = step.report()
    assert report.steps == 12 and sum(map(len, report.step_s.values())) == 12
    events = trace(report)
    check_well_formed(events)
    assert {event["pid"] for event in events} == {1, 2}


def test_nothing_grows_without_bound() -> None:
    report = Report("step")
    for i in range(3 * MOST_EVENTS + 5):
        report.add_event(Event(i, "python", "eager", float(i), i + 0.5))
        report.add_step("eager", 0.5)
        report.add_reason(str(i))
        assert len(report.events) <= 2 * MOST_EVENTS and len(report.step_s["eager"]) <= 2 * MOST_TIMES
    shown = report.snapshot()
    assert (len(shown.events), shown.events[-1].step, len(shown.step_s["eager"])) == (MOST_EVENTS, i, MOST_TIMES)
    assert (len(shown.reasons), shown.reasons[-1]) == (MOST_REASONS, str(i))
    check_well_formed(trace(shown))


def test_merged_reports_sum_up() -> None:
    parts = [Report("s", steps=2, waits={"a": 1.0}, step_s={"eager": [1.0]}), Report("s", steps=3, waits={"a": 0.5})]
    merged = merge_reports(parts)
    assert (merged.steps, merged.waits, merged.step_s) == (5, {"a": 1.5}, {"eager": [1.0]})


def test_an_empty_report_is_told_too() -> None:
    step = coexec.coexecute(lambda: None)
    report = step.report()
    assert report.gain == 0.0 and trace(report) == []
    assert Page(report.page()).opened == [] and "phase" in str(report)
