"""ScheduleTree: isl's schedule, what its marks mean, and how it came about.

In: made by `poly.mapper`, changed by `poly.transform.*` (each step returns a new one).
Out: `kernel.build` walks the AST that isl makes of it; printed as `kernel.schedule`.
Invariant: every mark in the isl tree has its `Decision` under the same name; the isl schedule alone says in
which order instances run, decisions say how a loop or a tensor is realised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from comprehension.kernel.ir import Space
from comprehension.lang.tree import ReduceOp
from comprehension.poly import isl


@dataclass(frozen=True, slots=True)
class StageMark:
    """What stands below is one stage; with `parallel` its outermost loop is divided among workers."""

    parallel: bool
    grain: int = 1


@dataclass(frozen=True, slots=True)
class TileMark:
    """The band below is a tile: its last member runs over lanes, the one before it (if any) over rows."""

    lanes: int
    rows: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """A local buffer that stands for a box of a tensor while the prefix schedule stands still.

    Element `t` of the tensor is at `t - offsets` of the box (a register buffer: at its place in the tile).  An
    offset is an affine function of the prefix schedule's dimensions; an extent of None is the whole axis.
    `axes`: those axes of the tensor that the buffer has, in its order.  `panel` says that axis `panel[0]` of the
    box is laid out in panels of `panel[1]`: outermost the panel (if there are several), innermost the place in it.
    """

    tensor: str
    buffer: str
    space: Space
    offsets: tuple[isl.Aff, ...]
    extents: tuple[int | None, ...]
    statements: frozenset[str]  # whose accesses are redirected
    axes: tuple[int, ...]
    panel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PromoteMark:
    """Below, the tensors are accessed in local buffers."""

    promotions: tuple[Promotion, ...]


@dataclass(frozen=True, slots=True)
class AccumulateMark:
    """Below, a statement's reduction goes to `lanes` private accumulators, combined after the loops."""

    statement: str
    op: ReduceOp
    buffer: str
    lanes: int


Decision = StageMark | TileMark | PromoteMark | AccumulateMark


@dataclass(frozen=True, slots=True)
class CopyStatement:
    """A statement that the schedule added: one element moved between a tensor and its local buffer.

    `fill` instead sets elements of the buffer that have no counterpart to zero.
    """

    name: str
    buffer: str
    tensor: str
    into_buffer: bool
    fill: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScheduleTree:
    """An isl schedule with the meaning of its marks; `steps` tells in words what was done and why."""

    schedule: isl.Schedule
    decisions: Mapping[str, Decision]
    copies: Mapping[str, CopyStatement] = field(default_factory=dict)
    steps: tuple[str, ...] = ()

    def with_schedule(self, schedule: isl.Schedule, step: str) -> ScheduleTree:
        return replace(self, schedule=schedule, steps=(*self.steps, step))
