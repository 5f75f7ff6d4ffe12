"""What a program is made of: operations a step, parameters, and how often its trace changes.

In: a `Program` and a size.  Out: a `Census`; `python -m benchmarks.programs --census` prints those of all ten.
Invariant: operations are counted as co-execution records them, one for each call of `minitensor.dispatch.apply`, by an
observer that computes everything eagerly.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median_low
from typing import Any

from benchmarks.programs.program import Program
from minitensor.dispatch import local, run_eager
from minitensor.ops.opdef import OpDef

STEPS = 60  # in which the feature has to change the trace five times
Trace = list[tuple[str, tuple[tuple[int, ...], ...]]]


@dataclass(frozen=True, slots=True)
class Census:
    """operations: of a step, the median; fewest, most: of any.  changes: steps with another trace than the last one."""

    operations: int
    fewest: int
    most: int
    parameters: int
    changes: int

    def as_row(self) -> dict[str, int]:
        """For a results file."""
        return asdict(self)


class _Recorder:
    """An observer that runs everything eagerly and notes which operations there were, and on what shapes."""

    def __init__(self) -> None:
        self.trace: Trace = []

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
        self.trace.append((op.name, tuple([getattr(x, "shape", ()) for x in inputs])))
        return run_eager(op, inputs, attributes)

    def on_read(self, value: Any) -> None:
        """Reading is not an operation."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """Nor is giving a name other contents."""


def census(program: Program, size: Any, steps: int = STEPS) -> Census:
    """Runs the first steps eagerly, and counts."""
    training = program.start(size)
    traces: list[Trace] = []
    for number in range(steps):
        recorder = _Recorder()
        local.observer = recorder
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # one of the programs prints
                training.step(number)
        finally:
            local.observer = None
        traces.append(recorder.trace)
    counts = [len(trace) for trace in traces]
    return Census(
        operations=median_low(counts),
        fewest=min(counts),
        most=max(counts),
        parameters=sum(p.size for module in training.modules.values() for p in module.parameters()),
        changes=sum(one != other for one, other in pairwise(traces)),
    )


def table(rows: dict[str, Census]) -> str:
    """One line a program."""
    head = f"{'':<18}{'operations a step':>18}{'(fewest, most)':>16}{'parameters':>12}{f'changes in {STEPS}':>15}"
    lines = [
        f"{name:<18}{c.operations:>18}{f'({c.fewest}, {c.most})':>16}{c.parameters:>12}{c.changes:>15}"
        for name, c in rows.items()
    ]
    return "\n".join([head, *lines])
