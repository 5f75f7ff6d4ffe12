"""A live view of a run on the terminal: progress, phase, who waits for whom, why steps fell back.

In: co-executed steps, while the program calls them.  Out: a panel for each that `rich` keeps up to date below what the
program prints.
Invariant: the run is only looked at: reports are copies, and what the program prints, raises and returns stays as it
is; where the output is no terminal, the last state is printed once, at the end.  No text of the user is markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from coexec.api import BoundStep, Step
from coexec.reports.report import Report

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

SHOWN = 5  # reasons
REFRESHES = 4  # a second
_COLOURS = {"trace": "yellow", "compiling": "cyan", "coexecute": "green", "eager": "red"}
_PHASES = {"trace": "tracing", "compiling": "compiling", "coexecute": "co-executing", "eager": "given up: eager"}


@contextmanager
def watch(*steps: Any, total: int | None = None, console: Console | None = None) -> Iterator[None]:
    """Shows what co-execution does with `steps` as long as the block runs.

    Args:
        steps: made by `coexecute`.  total: how many calls of each the block will make; unknown if None.
        console: of rich; by default the terminal's.

    Raises TypeError for anything but a co-executed step, ValueError for none, ImportError where `rich` is missing.

    >>> import coexec
    >>> import minitensor as mt
    >>> @coexec.coexecute
    ... def step(x):
    ...     return x * 2.0
    >>> with coexec.watch(step, total=3):                      # doctest: +ELLIPSIS
    ...     for i in range(3):
    ...         y = step(mt.asarray([1.0]))
    ╭─...step...
    """
    try:
        from rich.live import Live
    except ImportError as error:
        raise ImportError("coexec.watch() shows itself with rich: pip install rich") from error
    if not steps:
        raise ValueError("watch() takes one or more steps, found none")
    for step in steps:
        if not isinstance(step, Step | BoundStep):
            raise TypeError(f"watch() takes steps made by coexecute, not {type(step).__name__}")
    view = View(steps, total)
    with Live(get_renderable=view.render, console=console, refresh_per_second=REFRESHES) as live:
        yield
    if not live.console.is_terminal:  # there rich leaves the panel's last line open
        live.console.line()


class View:
    """What is shown of `steps`: of each what happened since the view was made."""

    def __init__(self, steps: tuple[Any, ...], total: int | None) -> None:
        self.steps = steps
        self.total = total
        self._begin = perf_counter()
        self._before = [step.report().steps for step in steps]

    def render(self) -> RenderableType:
        from rich.console import Group

        elapsed = perf_counter() - self._begin
        shown = zip(self.steps, self._before, strict=True)
        return Group(*(panel(step.report(), before, self.total, elapsed) for step, before in shown))


def panel(report: Report, before: int, total: int | None, elapsed: float) -> RenderableType:
    """One step's panel; `before`: calls made when the view began, `elapsed` seconds ago."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    done = max(report.steps - before, 0)
    colour = _COLOURS.get(report.phase, "white")
    parts: list[RenderableType] = [_progress(done, total, elapsed), _numbers(report, colour), _times(report)]
    parts += [Text(reason, style="dim", overflow="fold") for reason in _reasons(report)]
    return Panel(Group(*parts), title=Text(report.name), title_align="left", border_style=colour)


def _progress(done: int, total: int | None, elapsed: float) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rate = f"{done / elapsed:.1f} steps/s" if elapsed > 0 else ""
    row = Table.grid(padding=(0, 2))
    if total is None:
        row.add_row(Text(f"{done} steps"), Text(rate), Text(f"{elapsed:.0f} s"))
    else:
        left = f"{elapsed * max(total - done, 0) / done:.0f} s left" if done else ""
        bar = ProgressBar(total=total, completed=min(done, total), width=30)
        row.add_row(Text(f"{done} of {total} steps"), bar, Text(rate), Text(f"{elapsed:.0f} s"), Text(left))
    return row


def _numbers(report: Report, colour: str) -> RenderableType:
    from rich.text import Text

    counts = [
        (report.coexecuted_steps, "co-executed"),
        (report.traced_steps, "traced"),
        (report.eager_steps, "eager"),
        (report.fallbacks, "fell back"),
    ]
    told = [f"{count} {name}" for count, name in counts if count]
    if report.kernels:
        told.append(f"{report.operations} operations in {report.kernels} kernels")
    if report.gain:
        told.append(f"gain at most {report.gain:.2f} ×")
    return Text.assemble((_PHASES.get(report.phase, report.phase), f"bold {colour}"), "  ", ", ".join(told))


def _times(report: Report) -> Table:
    """Who works and who waits, as bars."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2))
    pairs = [
        ("Python", report.python_run_s, report.python_stall_s),
        ("graph", report.graph_run_s, report.graph_stall_s),
    ]
    for name, run, stall in pairs:
        if run + stall > 0:
            told = f"works {run / (run + stall):.0%} of its {run + stall:.1f} s, waits {stall / (run + stall):.0%}"
            rows.add_row(Text(name), ProgressBar(total=run + stall, completed=run, width=30), Text(told))
    return rows


def _reasons(report: Report) -> list[str]:
    """The reasons for fallbacks, the most frequent first, and what is left to Python."""
    counted = Counter(report.reasons).most_common()
    told = [f"{times} × {reason}" for reason, times in counted[:SHOWN]]
    if len(counted) > SHOWN:
        told.append(f"{len(counted) - SHOWN} more reasons: report().reasons")
    left = [f"left to Python: {name}: {why}" for name, why in sorted(report.left_to_python.items())]
    if len(left) > SHOWN:
        left[SHOWN:] = [f"{len(left) - SHOWN} more left to Python: report().left_to_python"]
    return told + left
