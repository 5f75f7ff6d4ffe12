"""Where each store of a kernel stands: the loops, conditions and tile axes around it, and when it runs.

In: the stages of a Kernel.  Out: a `Place` for each `Define`, `Store` and `Barrier`, in program order.
Invariant: a place's time alternates loop variables and positions in bodies, so that times compare lexicographically;
tile axes are in no time, because the points of a tile run each statement together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from comprehension.kernel import ir

Entry = int | str
"""A position in a body, or the value of a loop variable."""


@dataclass(frozen=True, slots=True)
class Defined:
    value: ir.Value
    time: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: the loops, conditions and axes around it, outermost first."""

    stage: int
    stage_name: str
    around: tuple[ir.Loop | ir.Condition | ir.Axis, ...] = ()
    time: tuple[Entry, ...] = ()
    defined: dict[str, Defined] = field(default_factory=dict)
    node: ir.Define | ir.Store | ir.Barrier | None = None
    units: int = 0  # 1 where the outermost loop is the stage's range
    home: tuple[Entry, ...] = ()  # where the innermost loop stands that threads or blocks divide

    def inside(self, *around: ir.Loop | ir.Condition | ir.Axis) -> Place:
        variables = tuple(a.variable for a in around if isinstance(a, ir.Loop))
        mapped = any(isinstance(a, ir.Loop) and a.mapping is not None for a in around)
        home = self.time if mapped else self.home
        return replace(self, around=(*self.around, *around), time=(*self.time, *variables), home=home)

    def at(self, position: int) -> Place:
        return replace(self, time=(*self.time, position))

    @property
    def loops(self) -> list[ir.Loop | ir.Axis]:
        return [a for a in self.around if isinstance(a, ir.Loop | ir.Axis)]

    @property
    def variables(self) -> list[str]:
        return [loop.variable for loop in self.loops]

    @property
    def tile_axes(self) -> int:
        return sum(isinstance(a, ir.Axis) for a in self.around)

    @property
    def parallel(self) -> tuple[int, ...]:
        """Which of the loops run in parallel: the stage's range, and what is mapped to threads."""
        mapped = [isinstance(loop, ir.Loop) and loop.mapping is not None for loop in self.loops]
        return tuple(i for i, one in enumerate(mapped) if one or (i == 0 and self.units))

    def __str__(self) -> str:
        """`stage0: store to C in loops (i, j)`"""
        match self.node:
            case ir.Store(buffer=buffer):
                what = f"store to {buffer}"
            case ir.Barrier():
                what = "barrier"
            case _:
                what = "value"
        around = ", ".join(self.variables)
        return f"{self.stage_name}: {what} in loops ({around})" if around else f"{self.stage_name}: {what}"


def places_of_stage(number: int, stage: ir.Stage) -> Iterator[Place]:
    """The places of definitions, stores and barriers."""
    outer = Place(number, stage.name, time=(number,))
    if stage.parallel is None:
        outer = outer.at(0)
    else:
        outer = replace(outer.inside(stage.parallel), units=1)
    yield from _places(stage.body, outer)


def _places(body: Sequence[ir.Node], outer: Place) -> Iterator[Place]:
    outer = replace(outer, defined=dict(outer.defined))
    for position, node in enumerate(body):
        here = outer.at(position)
        match node:
            case ir.Define(name=name, value=value):
                yield replace(here, node=node, defined=dict(outer.defined))
                outer.defined[name] = Defined(value, here.time)
            case ir.Store() | ir.Barrier():
                yield replace(here, node=node, defined=dict(outer.defined))
            case ir.Loop(body=inner):
                yield from _places(inner, here.inside(node))
            case ir.If(condition=condition, body=inner):
                yield from _places(inner, here.inside(condition))
            case ir.Tile(rows=rows, lanes=lanes, body=inner):
                yield from _places(inner, here.inside(*((rows, lanes) if rows else (lanes,))))
            case _:
                assert_never(node)
