"""Who owns which memory of a step, for how long, and where it lies.

In: a `Sequence` and the shapes of its places.  Out: a `BufferPlan`: which outputs get a fresh buffer of their own
in each step, and which share an arena, with the intervals of instructions during which each is alive.
Invariants: what Python may hold after the step (kept) or reads without a copy (fetched outside loops) is owned
and never in an arena; two buffers of one arena overlap in memory only if their lifetimes do not overlap; a
lifetime that touches a loop covers the loop.

Sizes may be symbols: buffers are grouped by the symbols that their size depends on; a group is laid out, in an
arena of its own, as soon as its symbols are bound.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np

from coexec.graph.symbolic import Feed, Output, SymbolicGraph
from coexec.graph_side.instructions import Instruction, Move, PhiSlot, Place, Post, Workspace, reads_of, writes_of
from coexec.graph_side.sequence import Sequence
from comprehension.jit.expression import evaluate

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """Extents and element type of a place; extents may be expressions over `names`, each of which is a symbol."""

    extents: tuple[int | str, ...]
    dtype: np.dtype[Any]
    names: tuple[tuple[str, str], ...] = ()  # (name in the extents, symbol of the graph)

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(symbol for _, symbol in self.names)

    def at(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for bound symbols."""
        if not self.names:
            return self.extents  # type: ignore[return-value]
        return tuple(extent_at(extent, self.names, sizes) for extent in self.extents)

    def bytes_at(self, sizes: Mapping[str, int]) -> int:
        """Nothing where an extent is negative: of a kernel that is not for these sizes."""
        return prod(max(0, extent) for extent in self.at(sizes)) * self.dtype.itemsize


def extent_at(extent: int | str, names: Iterable[tuple[str, str]], sizes: Mapping[str, int]) -> int:
    """An extent, or any other integer expression of a manifest, for bound symbols."""
    if isinstance(extent, int):
        return extent
    return int(evaluate(extent, {name: sizes[symbol] for name, symbol in names}))


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What `place` holds is needed from instruction `first` to instruction `last`, both included."""

    place: Place
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, eq=False)
class BufferPlan:
    """`owned` and `arena` are the places with memory; `view_of` says whose buffer an alias shows."""

    owned: tuple[Output, ...]
    arena: tuple[Lifetime, ...]
    view_of: dict[Output, Output | Feed]


def plan_buffers(graph: SymbolicGraph, program: Sequence) -> BufferPlan:
    """Owners and lifetimes of all places that some instruction writes."""
    moved = _moved(program.instructions)
    held: set[Place] = set()
    for node in graph.nodes():
        for index, kept in enumerate(node.kept):
            held |= _roots(Output(node.id, index), moved) if kept else set()
    for at, instruction in enumerate(program.instructions):
        if isinstance(instruction, Post) and not is_in_loop(at, program.loops):
            held |= _roots(instruction.source, moved)
    written = {place: None for instruction in program.instructions for place in writes_of(instruction)}
    owned = tuple(place for place in written if isinstance(place, Output) and place in held)
    arena = tuple(life for life in _lifetimes(program, moved) if life.place not in held)
    return BufferPlan(owned, arena, _views(moved))


def is_in_loop(at: int, loops: Iterable[tuple[int, int]]) -> bool:
    """Whether instruction `at` may run more than once."""
    return any(first <= at <= last for first, last in loops)


def place_in_arena(lifetimes: Iterable[Lifetime], sizes: Mapping[Place, int]) -> tuple[dict[Place, int], int]:
    """Byte offsets, and the size of the arena: largest first, each at the lowest place that is free for its life.

    >>> a, b = Lifetime(Output(0), 0, 1), Lifetime(Output(1), 2, 3)
    >>> place_in_arena([a, b], {Output(0): 100, Output(1): 64})
    ({Output(node=0, index=0): 0, Output(node=1, index=0): 0}, 128)
    """
    placed: list[tuple[int, int, Lifetime]] = []
    total = 0
    for life in sorted(lifetimes, key=lambda life: (-sizes[life.place], life.first)):
        size = -(-sizes[life.place] // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, end, other in placed:
            if other.overlaps(life):
                if offset + size <= start:
                    break
                offset = max(offset, end)
        insort(placed, (offset, offset + size, life), key=itemgetter(0))
        total = max(total, offset + size)
    return {life.place: offset for offset, _, life in placed}, total


def _moved(instructions: Iterable[Instruction]) -> dict[Place, tuple[Place, ...]]:
    """For each place that is set by moves: what it may be."""
    found: dict[Place, tuple[Place, ...]] = {}
    for instruction in instructions:
        if isinstance(instruction, Move):
            found[instruction.target] = (*found.get(instruction.target, ()), instruction.source)
    return found


def _roots(place: Place, moved: Mapping[Place, tuple[Place, ...]]) -> set[Place]:
    """The places with memory that `place` may stand for."""
    pending, seen, roots = [place], set[Place](), set[Place]()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in moved:
            pending += moved[current]
        else:
            roots.add(current)
    return roots


def _views(moved: Mapping[Place, tuple[Place, ...]]) -> dict[Output, Output | Feed]:
    """For each output that is an alias: the output or feed whose buffer it shows."""
    views: dict[Output, Output | Feed] = {}
    for place in moved:
        if isinstance(place, Output):
            (root,) = _roots(place, moved)
            assert isinstance(root, Output | Feed), f"{place} is a view of {root}"
            views[place] = root
    return views


def _lifetimes(program: Sequence, moved: Mapping[Place, tuple[Place, ...]]) -> list[Lifetime]:
    """The interval from the first write to the last read of each place that is written."""
    spans: dict[Place, tuple[int, int]] = {}

    def touch(place: Place, at: int) -> None:
        first, last = spans.get(place, (at, at))
        for begin, end in program.loops:
            if begin <= at <= end:
                first, last = min(first, begin), max(last, end)
        spans[place] = (min(first, at), max(last, at))

    for at, instruction in enumerate(program.instructions):
        for place in writes_of(instruction):
            touch(place, at)
        for place in reads_of(instruction):
            for root in _roots(place, moved):
                if isinstance(root, Output | PhiSlot | Workspace):
                    touch(root, at)
    return [Lifetime(place, first, last) for place, (first, last) in spans.items()]
