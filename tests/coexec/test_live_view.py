"""The live view shows progress, phase and reasons, changes nothing in the run, and says what it needs."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import pytest
from programs import data
from rich.console import Console

import coexec
from coexec.live_view import SHOWN, View, panel
from coexec.reports.report import Report


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def recorded(*, terminal: bool = True) -> Console:
    return Console(record=True, file=io.StringIO(), force_terminal=terminal, width=160)


def shown(renderable: Any) -> str:
    console = recorded()
    console.print(renderable)
    return console.export_text()


def branching(limit: float) -> float:
    y = data(3) * 2.0
    if limit > 0.5:
        y = y - 1.0
    return float(y.sum())


def test_a_run_is_shown_from_beginning_to_end() -> None:
    step = coexec.coexecute(branching)
    step(0.0)  # before the view
    console = recorded()
    threads = threading.active_count()
    with coexec.watch(step, total=6, console=console):
        for limit in (0.0, 0.0, 1.0, 1.0, 0.0):
            step(limit)
            coexec.wait()
    assert threading.active_count() <= threads + 1  # the graph's; the view's has ended
    text = console.export_text()
    assert "branching" in text and "5 of 6 steps" in text and "co-executing" in text
    assert "1 fell back" in text and f"1 × subtract at {__file__}:" in text.replace("\n", "")
    assert "Python" in text and "graph" in text and "waits" in text


def test_every_phase_has_its_words() -> None:
    for phase, words in (("trace", "tracing"), ("compiling", "compiling"), ("eager", "given up: eager")):
        assert words in shown(panel(Report("step", phase=phase), 0, None, 1.0))


def test_progress_is_counted_from_when_the_view_began() -> None:
    report = Report("step", steps=30)
    assert "10 of 40 steps" in (text := shown(panel(report, 20, 40, 5.0)))
    assert "2.0 steps/s" in text and "15 s left" in text
    assert "10 steps" in (text := shown(panel(report, 20, None, 5.0))) and "left" not in text
    assert "0 of 40 steps" in shown(panel(Report("step"), 20, 40, 5.0))  # forgotten by `reset`


def test_the_program_prints_and_raises_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    @coexec.coexecute
    def step() -> None:
        print("from the step")
        raise KeyError("k")

    with pytest.raises(KeyError, match="k"), coexec.watch(step, console=recorded(terminal=False)):
        step()
    assert capsys.readouterr().out == "from the step\n"


def test_texts_of_the_user_are_no_markup() -> None:
    report = Report("[red]step[/red]", reasons=["[bold]x[/bold] at [/a.py]:1"], left_to_python={"[x]": "[/y]"})
    text = shown(panel(report, 0, None, 1.0))
    assert "[red]step[/red]" in text and "1 × [bold]x[/bold] at [/a.py]:1" in text and "[x]: [/y]" in text


def test_many_reasons_are_counted_and_cut() -> None:
    reasons = [f"reason {i}" for i in range(SHOWN + 2)] + ["often"] * 3
    text = shown(panel(Report("step", reasons=reasons), 0, None, 1.0))
    assert "3 × often" in text and "3 more reasons" in text


def test_several_steps_have_a_panel_each() -> None:
    first, second = coexec.coexecute(lambda: None), coexec.coexecute(branching)
    text = shown(View((first, second), None).render())
    assert "<lambda>" in text and "branching" in text


def test_what_it_cannot_show_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="made by coexecute, not function"), coexec.watch(branching):
        raise AssertionError("not reached")
    with pytest.raises(ValueError, match="one or more steps"), coexec.watch():
        raise AssertionError("not reached")
    monkeypatch.setitem(sys.modules, "rich.live", None)
    with pytest.raises(ImportError, match="pip install rich"), coexec.watch(coexec.coexecute(branching)):
        raise AssertionError("not reached")
