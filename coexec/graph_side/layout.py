"""Groups of a plan filled for sizes that no step had before, at the price of a few sums.

In: a `Plan` and one of its groups.  Out: `Filling`s, as `Plan.fill` makes them, which is the reference of this.
Invariant: a filling differs from the reference's in nothing but offsets: those of larger sizes are used again wherever
all places fit into what they had there, since two that may not overlap do so still less when they are smaller.

A program whose sizes change in every step would otherwise spend as long on its layout as on its operations: most stages
and places of a graph share a few expressions, and finding room for places takes the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from coexec.graph_side.buffers import Shape, place_in_arena
from coexec.graph_side.plan import STAGE_WIDTH, Filling, Group, Plan, StageRow, Table, least_work, table_of
from comprehension.config import config
from comprehension.jit.binding import DOUBT
from comprehension.jit.expression import compiled_together, names_in

Names = tuple[tuple[str, str], ...]
MOST_WASTE = 1.25  # how much larger than for its own sizes an arena may be


class Expressions:
    """Distinct expressions over symbols, each evaluated once for given sizes."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = symbols
        self._numbers: dict[tuple[float | str, Names], int] = {}
        self._function: Callable[..., list[Any]] | None = None  # of all of them, made when first asked for

    def number(self, value: float | str, names: Names) -> int:
        """Where the value of an expression stands in what `at` returns."""
        used = names_in(value)
        key = (value, tuple([pair for pair in names if pair[0] in used]))
        return self._numbers.setdefault(key, len(self._numbers))

    def at(self, sizes: Mapping[str, int]) -> list[Any]:
        """All values, in order."""
        if self._function is None:
            values = [(value, dict(names)) for value, names in self._numbers]
            self._function = compiled_together(values, self._symbols)
        return self._function(*[sizes[symbol] for symbol in self._symbols])


class GroupLayout:
    """One group's filling as a function of sizes; remembers one arena, with room for the largest sizes so far.

    Where sizes are large in turns, room for all of them would be waste: then it is for the latest.
    """

    def __init__(self, plan: Plan, group: Group) -> None:
        self._plan = plan
        self._group = group
        self._expressions = expressions = Expressions(sorted(group.symbols))
        rows = group.stages
        known = [[row.address, 0, row.entry.grain, 0, 0, row.number] for row in rows]
        self._rows = table_of(known).reshape(-1, STAGE_WIDTH)
        self._extents = table_of([expressions.number(row.entry.extent, row.names) for row in rows])
        self._works = table_of([expressions.number(row.entry.work, row.names) for row in rows])
        self._scratch = table_of([expressions.number(row.scratch, row.names) for row in rows])
        self._conditions, self._condition_of = _conditions(rows, expressions)
        self._shapes: dict[Shape, tuple[int, ...]] = {}  # extents, as numbers of expressions
        self._sized = table_of([self._shape(place) for _, place in group.sizes])
        self._lives = table_of([self._shape(life.place) for life in group.arena])
        self._owned = [(o, plan.slots[o], self._shape(o), plan.shapes[o].dtype) for o in group.owned]
        self._words = table_of(
            [w for row in rows for w in range(row.word, row.word + STAGE_WIDTH)] + [word for word, _ in group.sizes]
        )
        self._arena_words = table_of([plan.slots[life.place] for life in group.arena])
        self._arena_written = table_of([plan.written[life.place] for life in group.arena]).reshape(-1, 2)
        self._room = self._offsets = np.zeros(len(group.arena), np.int64)
        self._total = self._least = 0  # bytes of the arena; the most that any sizes so far need by themselves

    def _shape(self, place: Any) -> int:
        """The number of a place's shape."""
        shape = self._plan.shapes[place]
        if shape not in self._shapes:
            self._shapes[shape] = tuple([self._expressions.number(extent, shape.names) for extent in shape.extents])
        return list(self._shapes).index(shape)

    def fill(self, sizes: Mapping[str, int]) -> Filling:
        """What to write for these sizes."""
        values = self._expressions.at(sizes)
        extents = [tuple([int(values[number]) for number in numbers]) for numbers in self._shapes.values()]
        shapes = zip(self._shapes, extents, strict=True)
        bytes_of = table_of([shape.dtype.itemsize * prod([max(0, n) for n in known]) for shape, known in shapes])
        integers = table_of([int(value) for value in values])
        rows = self._stage_rows(values, integers)
        lives = bytes_of[self._lives]
        self._make_room(lives)
        return Filling(
            self._words,
            np.concatenate([rows.ravel(), bytes_of[self._sized]]),
            self._arena_words,
            self._offsets,
            lives,
            self._arena_written,
            self._total,
            tuple([(o, slot, extents[shape], dtype) for o, slot, shape, dtype in self._owned]),
            int(integers[self._scratch].max(initial=0)),
        )

    def _stage_rows(self, values: Sequence[Any], integers: Table) -> Table:
        rows = self._rows.copy()
        extents = rows[:, 1] = integers[self._extents]
        rows[:, 3] = integers[self._scratch]
        if least_work():
            work = np.array(values, np.float64)[self._works] * extents
            rows[:, 4] = np.where((extents > 1) & (work >= config.parallel_ns / DOUBT), np.maximum(work, 1), 0)
        fit = np.array([all(values[number] for number in numbers) for numbers in self._conditions], bool)
        rows[~fit[self._condition_of]] = 0
        return rows

    def _make_room(self, lives: Table) -> None:
        """Has every place at least so many bytes, by the offsets that there are or by others."""
        if (lives <= self._room).all():
            return
        arena = self._group.arena
        places = [life.place for life in arena]
        room = np.maximum(lives, self._room)
        offsets, total = place_in_arena(arena, dict(zip(places, room.tolist(), strict=True)))
        exact, least = place_in_arena(arena, dict(zip(places, lives.tolist(), strict=True)))
        self._least = max(self._least, least)
        if total > MOST_WASTE * self._least:
            room, offsets, total = lives, exact, least
        self._room, self._total = room, total
        self._offsets = table_of([offsets[place] for place in places])


def _conditions(rows: Sequence[StageRow], expressions: Expressions) -> tuple[list[tuple[int, ...]], Table]:
    """The distinct sets of conditions, as numbers of expressions; which of them is each row's."""
    numbers: dict[tuple[int, ...], int] = {}
    of_row = []
    for row in rows:
        key = tuple([expressions.number(condition, row.names) for condition in row.conditions])
        of_row.append(numbers.setdefault(key, len(numbers)))
    return list(numbers), table_of(of_row)
