"""Measures one program: own eager, co-executed, lazy, PyTorch eager and torch.compile, in turn in one process.

In: a `Program` and the sides wanted.  Out: a row of `benchmarks/results/programs.json`.
Invariant: all sides start from the same weights and see the same batches; their first losses agree within what rounding
can do (`rounding_bounds`) before any clock runs.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import coexec
from benchmarks.programs.census import census
from benchmarks.programs.program import Program, Step, Weights, rounding_bounds
from benchmarks.timing import Timings, in_the_project, time_sides
from coexec.reports.report import Report

OURS = ("eager", "co-executed", "lazy")
SIDES = (*OURS, "torch", "torch.compile")
CHECKED = 6  # steps whose losses are compared
BLOCK = 10  # steps in one timed sample: a whole period of the features that have one
WARM = 60  # steps before the clock, with waits for the compiler in between
TIMES = ("python_run_s", "python_stall_s", "graph_run_s", "graph_stall_s")
Row = dict[str, Any]


class Side:
    """A step and the number of the next one."""

    def __init__(self, step: Step, mode: str = "coexec") -> None:
        self._step, self._mode, self._number = step, mode, 0

    def run(self, count: int) -> list[float]:
        """The losses of the next `count` steps."""
        coexec.config.mode = self._mode
        try:
            losses = [self._step(self._number + k) for k in range(count)]
        finally:
            coexec.config.mode = "coexec"
        self._number += count
        return losses


def measure(program: Program, names: tuple[str, ...], rounds: int) -> Row:
    """One row; the row says why a side is missing."""
    row: Row = {"title": program.title, "feature": program.feature, "why_missing": {}}
    row["census"] = census(program, program.full).as_row()
    weights = program.start(program.full).weights()
    with contextlib.redirect_stdout(io.StringIO()):  # one of the programs prints
        bounds = rounding_bounds(program, program.full, CHECKED)
        eager = program.start(program.full).step
        expected = [eager(number) for number in range(CHECKED)]
    sides: dict[str, Side] = {}
    steps: dict[str, Any] = {}
    for name in names:
        try:
            side, steps[name] = _side(program, name, weights)
            with contextlib.redirect_stdout(io.StringIO()), _draws(name):
                row.setdefault("largest_difference_in_bounds", {})[name] = _agree(side.run(CHECKED), expected, bounds)
            with contextlib.redirect_stdout(io.StringIO()):
                row.setdefault("warm_up_s", {})[name] = _warm(side, ours=name in OURS)
            sides[name] = side
        except Exception as error:
            if name in OURS:
                raise
            row["why_missing"][name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
    if "torch.compile" in sides:
        row["torch.compile"] = _dynamo()
    before = {name: _totals(step.report()) for name, step in steps.items() if name in ("co-executed", "lazy")}
    with contextlib.redirect_stdout(io.StringIO()):
        timings = time_sides({name: _block(side) for name, side in sides.items()}, rounds=rounds, warmup=1)
    row["steps_per_second"] = {name: BLOCK / timings.median(name) for name in sides}
    row["faster_by"] = _ratios(timings, tuple(sides))
    for name, start in before.items():
        row[name] = _of_report(steps[name].report(), start)
    return row


def _block(side: Side) -> Callable[[], object]:
    return lambda: side.run(BLOCK)


def _side(program: Program, name: str, weights: Weights) -> tuple[Side, Any]:
    if name == "eager":
        return Side(program.start(program.full).step), None
    if name in OURS:
        step = coexec.coexecute(program.start(program.full).step)
        return Side(step, "lazy" if name == "lazy" else "coexec"), step
    twin = import_module(f"benchmarks.programs.twins.{program.name}")
    program.start(program.full)  # the twin draws from here on what ours drew
    if name == "torch":
        return Side(twin.make(program.full, weights, lambda model: model)), None
    import torch

    logging.getLogger("torch").setLevel(logging.CRITICAL)
    torch._dynamo.reset()
    return Side(twin.make(program.full, weights, torch.compile)), None


def _draws(name: str) -> contextlib.AbstractContextManager[None]:
    """While losses are compared the twins draw the same random numbers."""
    if name in OURS:
        return contextlib.nullcontext()
    from benchmarks.programs.twins.twin import replayed_draws

    return replayed_draws()


def _agree(losses: list[float], expected: list[float], bounds: list[float]) -> float:
    """The largest difference, in units of its bound."""
    worst = max(abs(a - b) / bound for a, b, bound in zip(losses, expected, bounds, strict=True))
    assert worst <= 1.0, f"losses {losses} differ from eager's {expected} by more than rounding can do, {bounds}"
    return worst


def _warm(side: Side, ours: bool) -> float:
    """Runs the side until it has met what changes between steps; seconds, compilation included."""
    begin = time.perf_counter()
    for _ in range(WARM // BLOCK):
        side.run(BLOCK)
        if ours:
            coexec.wait()
    return time.perf_counter() - begin


def _ratios(timings: Timings, sides: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """How much faster co-executed is than each other side: low, median, high."""
    return {
        name: timings.ratio(name, "co-executed") for name in sides if name != "co-executed" and "co-executed" in sides
    }


def _totals(report: Report) -> dict[str, float]:
    names = (*TIMES, "steps", "coexecuted_steps", "fallbacks", "graphs_built")
    return {name: getattr(report, name) for name in names}


def _of_report(report: Report, before: dict[str, float]) -> Row:
    """Milliseconds a step on both runners while the clock ran, and what the graph is."""
    spent = {name: value - before[name] for name, value in _totals(report).items()}
    return {
        "milliseconds_a_step": {name.removesuffix("_s"): 1e3 * spent[name] / spent["steps"] for name in TIMES},
        "coexecuted_of_timed_steps": spent["coexecuted_steps"] / spent["steps"],
        "fallbacks": report.fallbacks,
        "graphs_built": report.graphs_built,
        "operations": report.operations,
        "kernels": report.kernels,
        "coverage": report.coverage,
        "left_to_python": {in_the_project(name): why for name, why in report.left_to_python.items()},
        "reasons": [in_the_project(reason) for reason in report.reasons[-6:]],
    }


def _dynamo() -> Row:
    """What torch.compile made of the model: graphs, and why it left them."""
    from torch._dynamo.utils import counters

    breaks = {str(reason).strip().splitlines()[0][:160]: n for reason, n in counters["graph_break"].items()}
    return {"graphs": int(counters["stats"].get("unique_graphs", 0)), "graph_breaks": breaks}
