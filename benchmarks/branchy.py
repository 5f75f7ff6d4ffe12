"""Branch-heavy programs: how often co-execution falls back, beside a merger that knows the program.

In: random programs of operations and nested `if`s (depth at most 3), whose conditions are drawn anew in each step with
a probability of their own, uniform in 0.02 to 0.98.  Out: `benchmarks/results/branchy.json`.

The ideal merger sees the program's own lines, not a trace: it falls back only where a step goes from one operation to
another as no step before did, and switches between tracing, co-execution and rest by the same rules (`IdealMerger`).
Graphs are built in full, but compute nothing: what is measured is merging and validation, on 2 000 programs of 200
steps in minutes.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minitensor as mt
from benchmarks.drawn import experiment
from coexec import patience as rules
from coexec.clusters.placement import Placement
from coexec.graph.symbolic import Output, ScalarValue, SymbolicGraph
from coexec.graph_side.runner_protocol import Array, CompiledGraph, Handle, RunTimes
from coexec.session import FUTILE_LIMIT, Session

PROGRAMS, STEPS = 2000, 200
DEEPEST = 3
_OPERATORS = ("z = z + y", "z = z - y", "z = z * y", "z = mt.maximum(z, y)", "z = mt.minimum(z, y)", "z = mt.tanh(z)")


# --- programs ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BranchyProgram:
    """`step(take, path)` runs one step: `take` has a truth value for each `if`, `path` gets each operation's number."""

    step: Callable[[list[bool], list[int]], None]
    probabilities: list[float]
    source: str


class _Writer:
    """Draws a program, line by line."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.lines = ["def step(take, path):", "    z = x"]
        self.operations = 0
        self.probabilities: list[float] = []

    def write(self, depth: int, statements: int) -> None:
        indent = "    " * (depth + 1)
        for _ in range(statements):
            if depth < DEEPEST and self.draw.random() < 0.4:
                branch = len(self.probabilities)
                self.probabilities.append(self.draw.uniform(0.02, 0.98))
                self.lines.append(f"{indent}if take[{branch}]:")
                self.write(depth + 1, self.draw.randint(1, 3))
                if self.draw.random() < 0.6:
                    self.lines.append(f"{indent}else:")
                    self.write(depth + 1, self.draw.randint(1, 3))
            else:
                self.lines.append(f"{indent}{self.draw.choice(_OPERATORS)}; path.append({self.operations})")
                self.operations += 1


def draw_program(seed: int) -> BranchyProgram:
    """A program of its own for each seed; half of them have 12 branches or more."""
    writer = _Writer(random.Random(seed))
    writer.write(0, 9)
    source = "\n".join(writer.lines) + "\n"
    names: dict[str, Any] = {"mt": mt, "x": mt.ones((2,)), "y": mt.full((2,), 0.5)}
    exec(compile(source, f"<branchy program {seed}>", "exec"), names)
    return BranchyProgram(names["step"], writer.probabilities, source)


# --- graphs that compute nothing -----------------------------------------------------------------------


class _IdleRun:
    """A step of a graph of whose results nobody wants any."""

    def bind(self, symbol: int, value: int) -> None: ...

    def feed(self, slot: int, value: Array | Handle | ScalarValue) -> None: ...

    def feed_all(self, values: Sequence[tuple[int, Array | Handle]]) -> None: ...

    def choose(self, case: int, target: int) -> None: ...

    def fetch(self, output: Output) -> Array:
        raise AssertionError(f"a branchy program reads nothing, but {output} was fetched")

    def finish(self, kept: Sequence[Output]) -> tuple[Handle, ...]:
        assert not kept, "a branchy program keeps nothing"
        return ()

    def cancel(self, wanted: Sequence[Output] = ()) -> Callable[[Output], Array | None]:
        return lambda _: None

    def times(self) -> RunTimes:
        return RunTimes()


@dataclass(slots=True)
class _IdleGraph:
    graph: SymbolicGraph
    kernels: int = 0
    compiled_nodes: int = 0
    placements: tuple[Placement, ...] = ()

    def start(self, *, lazy: bool = False) -> _IdleRun:
        return _IdleRun()

    def explain(self) -> str:
        return "computes nothing\n"

    def close(self) -> None: ...


def _compile_nothing(graph: SymbolicGraph, *, numerics: str) -> Future[CompiledGraph]:
    future: Future[CompiledGraph] = Future()
    future.set_result(_IdleGraph(graph))
    return future


# --- the experiment ------------------------------------------------------------------------------------


@dataclass(slots=True)
class IdealMerger:
    """What `Session` would do if a trace were new exactly where an edge between two operations is."""

    edges: set[tuple[int, int]] = field(default_factory=set)
    fallbacks: int = 0
    coexecuted: int = 0
    tracing: bool = True
    quiet: int = 0
    needed: int = 1
    futile: int = 0
    vain: int = 0
    patience: int = rules.TRIES
    rest: int = rules.FIRST_REST
    resting: int = 0

    def step(self, path: list[int]) -> None:
        if self.resting:
            self.resting -= 1
            return
        edges = set(zip([-1, *path], [*path, -2], strict=True))
        news = not edges <= self.edges
        self.edges |= edges
        if self.tracing:
            self.quiet = 0 if news else self.quiet + 1
            if self.quiet >= self.needed:
                self.tracing = False
                return
        elif not news:
            self.coexecuted += 1
            self.futile, self.vain, self.patience, self.rest = 0, 0, rules.TRIES, rules.FIRST_REST
            return
        else:
            self.fallbacks += 1
            self.futile += 1
            if self.futile >= FUTILE_LIMIT:
                self.futile, self.quiet, self.needed, self.tracing = 0, 0, min(2 * self.needed, 8), True
        self.vain += 1
        if self.vain >= self.patience:
            self.vain, self.quiet, self.futile, self.tracing = 0, 0, 0, True
            self.resting, self.rest = self.rest, min(2 * self.rest, rules.LONGEST_REST)
            self.patience = rules.TRIES // 4


@dataclass(frozen=True, slots=True)
class Comparison:
    """One program: steps that fell back and steps that ended in the graph, ours and the ideal merger's."""

    branches: int
    fallbacks: int
    ideal_fallbacks: int
    coexecuted: int
    ideal_coexecuted: int


def compare(seed: int, steps: int = STEPS) -> Comparison:
    """Runs a program under both mergers.  To be called with `config.runner` set to "reference"."""
    program, ideal = draw_program(seed), IdealMerger()
    session = Session(f"program {seed}", "fast", lambda: _compile_nothing)
    draw = random.Random(~seed)
    for _ in range(steps):
        take = [draw.random() < p for p in program.probabilities]
        path: list[int] = []
        session.call(program.step, (take, path), {})
        ideal.step(path)
    report = session.report
    return Comparison(
        len(program.probabilities), report.fallbacks, ideal.fallbacks, report.coexecuted_steps, ideal.coexecuted
    )


def summary(found: Sequence[Comparison], steps: int) -> dict[str, float]:
    """Totals, shares and percentiles over all programs."""

    def percentiles(name: str, values: Sequence[int]) -> dict[str, float]:
        return {f"{name}, median": statistics.median(values), f"{name}, 95th": float(np.percentile(values, 95))}

    return {
        "programs": len(found),
        "steps": steps,
        "branches, median": statistics.median([c.branches for c in found]),
        **percentiles("fallbacks", [c.fallbacks for c in found]),
        **percentiles("ideal fallbacks", [c.ideal_fallbacks for c in found]),
        "fallbacks over ideal": sum(c.fallbacks for c in found) / max(1, sum(c.ideal_fallbacks for c in found)),
        "co-executed": sum(c.coexecuted for c in found) / steps / len(found),
        "ideal co-executed": sum(c.ideal_coexecuted for c in found) / steps / len(found),
        "programs with 75 % co-executed": sum(c.coexecuted >= 0.75 * steps for c in found) / len(found),
    }


if __name__ == "__main__":
    experiment("branchy", PROGRAMS, compare, lambda found: summary(found, STEPS))
