"""ScheduleTree: isl's schedule, what its marks mean, and how it came about.

In: made by `poly.scheduler`, changed by `poly.transform.*` (each step returns a new one).
Out: `kernel.build` walks the AST that isl makes of it; printed as `kernel.schedule`.
Invariant: every mark in the isl tree has its `Decision` under the same name, and the reverse; the isl schedule
alone says in which order instances run, decisions say how a loop or a tensor is realised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from comprehension.poly import isl


@dataclass(frozen=True, slots=True)
class StageMark:
    """What stands below is one stage; with `parallel` its outermost loop is divided among workers."""

    parallel: bool
    grain: int = 1


Decision = StageMark


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleTree:
    """An isl schedule with the meaning of its marks; `steps` tells in words what was done and why."""

    schedule: isl.Schedule
    decisions: Mapping[str, Decision]
    steps: tuple[str, ...] = ()

    def with_schedule(self, schedule: isl.Schedule, step: str) -> ScheduleTree:
        return replace(self, schedule=schedule, steps=(*self.steps, step))
