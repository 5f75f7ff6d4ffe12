"""A report as HTML: what a notebook shows of it, and a page of its own.

In: a `Report`.  Out: a fragment for any page, or a whole document.
Invariant: that of `comprehension.drawing.html`: self-contained, every text of the user escaped.
"""

from __future__ import annotations

from coexec.reports.pictures import draw_runners
from coexec.reports.report import Report
from comprehension.drawing import svg
from comprehension.drawing.html import bullets, document, folded, fragment, mark, scroll, table
from comprehension.drawing.svg import safe
from comprehension.drawing.theme import hue

_BAR, _LABEL = 420.0, 70.0


def report_page(report: Report) -> str:
    """One HTML document."""
    return document(_title(report), report_fragment(report))


def report_fragment(report: Report) -> str:
    """What matters at a glance, who worked and who waited, all numbers, the reasons."""
    return fragment([f"<h3>{safe(_title(report))}</h3>", *report_parts(report)])


def report_parts(report: Report) -> list[str]:
    """The same without its title and style, to stand in a larger page."""
    remarks = report.remarks()
    parts = [_marks(report), scroll(_bars(report)), table(report.rows())]
    if remarks:
        parts.append(folded("Why not more", bullets(remarks), is_open=True))
    if report.events:
        parts.append(folded("The latest steps in time", scroll(draw_runners(report)), is_open=True))
    return parts


def _title(report: Report) -> str:
    return f"co-execution of {report.name}"


def _marks(report: Report) -> str:
    told = [mark(report.phase, "tc-holds" if report.phase == "coexecute" else "")]
    if report.gain:
        told.append(mark(f"at most {report.gain:.2f} × as fast"))
    told.append(mark(f"{report.coexecuted_steps} of {report.steps} steps co-executed"))
    if report.fallbacks:
        told.append(mark(f"fallbacks: {report.fallbacks}"))
    return f"<div>{''.join(told)}</div>"


def _bars(report: Report) -> str:
    """Two bars: Python's and the graph's seconds, working in full colour and waiting in outline."""
    pairs = [
        ("Python", report.python_run_s, report.python_stall_s),
        ("graph", report.graph_run_s, report.graph_stall_s),
    ]
    longest = max(run + stall for _, run, stall in pairs) or 1.0
    parts = []
    for position, (name, run, stall) in enumerate(pairs):
        y, busy, idle = 6.0 + 26 * position, _BAR * run / longest, _BAR * stall / longest
        parts.append(svg.text(4, y + 14, name))
        parts.append(svg.titled(f"{name} working: {run:.3f} s", [svg.box(_LABEL, y, busy, 18, hue(0), solid=True)]))
        parts.append(svg.titled(f"{name} waiting: {stall:.3f} s", [svg.box(_LABEL + busy, y, idle, 18, hue(1))]))
        parts.append(svg.text(_LABEL + busy + idle + 8, y + 14, f"{run:.3f} s working, {stall:.3f} s waiting", "d"))
    return svg.svg(_LABEL + _BAR + 280, 62, parts, label="who worked and who waited")
