"""A whole graph as arrays: what the native loop reads, and how a step's frame is filled.

In: what `plan_builder` makes of a `Sequence`.  Out: a `Plan`: tables of instructions, kernels and operands, the
template of a frame (a block of int64 words), and where in it feeds, choices, sizes and addresses go.
Invariant: tables and template never change; a frame is a copy of the template plus addresses.  What depends on
symbols stands in `Group`s, each written when its symbols are bound and announced by its `ready` word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coexec.graph.symbolic import Output, SymbolicGraph
from coexec.graph_side.buffers import BufferPlan, Lifetime, Shape, extent_at, place_in_arena
from coexec.graph_side.instructions import Place
from coexec.graph_side.sequence import Sequence, to_text
from comprehension.config import config
from comprehension.jit.binding import DOUBT
from comprehension.jit.expression import evaluate
from comprehension.jit.manifest import StageEntry

Table = np.ndarray[Any, np.dtype[np.int64]]

# Word numbers of a frame's header, and the instructions' numbers: `plan_loop`'s, compared by a test.
STATE, CANCEL, ERROR, ERROR_AT, STARTED, FINISHED, STALLED, STOPPED_AT = 0, 1, 2, 3, 4, 5, 6, 7
CODE, KERNELS, OPERANDS, SCRATCH, BUFFERS, DIMS, LEARNED, LEAST, FIRST_WORD = 8, 9, 10, 11, 12, 13, 14, 15, 16
END, AWAIT, RUN, MOVE, COPY, POST, JUMP, CASE, CLEAR = 0, 1, 2, 3, 4, 5, 6, 7, 8
WIDTH, KERNEL_WIDTH, STAGE_WIDTH, LEARNED_WIDTH = 6, 6, 6, 2
UNFIT = -1
ERROR_WORDS = 8
LOOP_RING = 256  # choice words that Python may be ahead of the graph inside a loop


@dataclass(frozen=True, slots=True)
class ScalarFeed:
    """A fed number's place for one type: the slot that becomes its address, and the word that takes its bits."""

    slot: int
    data: int
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice: words `sent`, `sent + 1` (taken), then `ring` words for what was sent."""

    sent: int
    ring: int


@dataclass(frozen=True, slots=True)
class StageRow:
    """Where a stage's row stands in the frame, and what gives it: expressions over `names`.

    `number`: among all stages of the graph.
    `conditions`: without which the stage has no address.  They follow from what Python validates, so that the loop
    comes to such a stage only on a path that Python is about to leave, or not at all: there it stops (`UNFIT`).
    """

    word: int
    number: int
    entry: StageEntry
    address: int
    scratch: int | str
    names: tuple[tuple[str, str], ...]
    conditions: tuple[str, ...]


@dataclass(slots=True)
class Group:
    """All that is known once `symbols` are bound; `ready` is the word that says so (0 where nothing waits).

    `sizes` are (word, place) that take the place's bytes; `owned` and `arena` places that take an address.
    """

    symbols: frozenset[str]
    ready: int = 0
    stages: list[StageRow] = field(default_factory=list)
    sizes: list[tuple[int, Place]] = field(default_factory=list)
    owned: list[Output] = field(default_factory=list)
    arena: list[Lifetime] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """A group for given sizes: words and their values, arena words and offsets, shapes of the owned outputs."""

    words: Table
    values: Table
    arena_words: Table
    arena_offsets: Table
    arena_sizes: Table
    arena_written: Table  # of each place the first and the last instruction that writes it
    arena_bytes: int
    owned: tuple[tuple[Output, int, tuple[int, ...], np.dtype[Any]], ...]  # output, slot, shape, dtype
    scratch_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """See the module.  `slots` are the words that hold addresses, by place; `within` (word, word pointed to)."""

    graph: SymbolicGraph
    program: Sequence
    buffers: BufferPlan
    shapes: dict[Place, Shape]
    tables: tuple[Table, Table, Table]  # instructions, kernels, operands: the template holds their addresses
    template: Table
    within: Table
    slots: dict[Place, int]
    feeds: tuple[int, ...]  # the word of each feed's address; 0 for numbers
    scalars: tuple[tuple[ScalarFeed, ...], ...]  # the places of each feed that is a number
    posts: dict[Output, int]
    choices: tuple[Choice, ...]
    stages: int  # of all kernels
    symbols: tuple[int, ...]  # the word of each symbol's value
    groups: tuple[Group, ...]
    written: dict[Place, tuple[int, int]]  # the first and the last instruction that writes a place
    needed_to: dict[Place, int]  # for places in arenas: the last instruction of their life

    def fill(self, group: Group, sizes: Mapping[str, int]) -> Filling:
        """What to write for a group with these sizes: the reference of `layout.GroupLayout`."""
        words: list[int] = []
        values: list[int] = []
        for row in group.stages:
            words += range(row.word, row.word + STAGE_WIDTH)
            values += _stage_words(row, sizes)
        bytes_of = {place: self.shapes[place].bytes_at(sizes) for _, place in group.sizes}
        words += [word for word, _ in group.sizes]
        values += [bytes_of[place] for _, place in group.sizes]
        lives = {life.place: self.shapes[life.place].bytes_at(sizes) for life in group.arena}
        offsets, total = place_in_arena(group.arena, lives)
        owned = tuple((o, self.slots[o], self.shapes[o].at(sizes), self.shapes[o].dtype) for o in group.owned)
        return Filling(
            table_of(words),
            table_of(values),
            table_of([self.slots[place] for place in offsets]),
            table_of(list(offsets.values())),
            table_of([lives[place] for place in offsets]),
            table_of([self.written[place] for place in offsets]).reshape(-1, 2),
            total,
            owned,
            max((extent_at(row.scratch, row.names, sizes) for row in group.stages), default=0),
        )

    def to_text(self) -> str:
        """Instructions, and where each place lies, for people."""
        lines = [to_text(self.program)]
        lines += [f"owned {place}" for place in self.buffers.owned]
        lines += [f"arena {life.place}: instructions {life.first} to {life.last}" for life in self.buffers.arena]
        return "\n".join(lines) + "\n"


_BESIDE_PYTHON = 3  # in times of what is worth dividing by itself: a helper may come late


def least_work() -> int:
    """The nanoseconds from which on a stage is divided among the workers; 0 where there are none."""
    return max(1, int(_BESIDE_PYTHON * config.parallel_ns)) if config.threads > 1 else 0


def _stage_words(row: StageRow, sizes: Mapping[str, int]) -> list[int]:
    environment = {name: sizes[symbol] for name, symbol in row.names}
    if not all(evaluate(condition, environment) for condition in row.conditions):
        return [0] * STAGE_WIDTH
    extent = int(evaluate(row.entry.extent, environment))
    work = float(evaluate(row.entry.work, environment)) * extent
    may_divide = least_work() > 0 and extent > 1 and work >= config.parallel_ns / DOUBT
    scratch = extent_at(row.scratch, row.names, sizes)
    guess = max(1, int(work)) if may_divide else 0
    return [row.address, extent, row.entry.grain, scratch, guess, row.number]


def table_of(rows: list[Any]) -> Table:
    """Rows of integers as an array."""
    return np.array(rows, np.int64)
