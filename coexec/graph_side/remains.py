"""Remains: what a cancelled step of the graph had computed, so that it need not be computed again.

In: the frame of a run that was cancelled.  Out: arrays of the outputs that are still in memory.
Invariant: an output is given only if the graph had written all of it and nothing has been written over it since;
what lies in an arena is copied, for the next step will use the arena.  To be asked before another step begins.
"""

from __future__ import annotations

import ctypes

import numpy as np

from coexec.graph.symbolic import Feed, Output
from coexec.graph_side.buffers import is_in_loop
from coexec.graph_side.frame import Array, Frame
from coexec.graph_side.instructions import Place
from coexec.graph_side.plan import STOPPED_AT, Filling


class Remains:
    """Called with an output: its contents, read-only, or None where they are not to be had.

    Outputs of loops are not: which round they are of, only the graph knew.
    """

    def __init__(self, frame: Frame, sizes: dict[str, int]) -> None:
        self._plan = frame.memory.plan
        self._frame = frame
        self._sizes = sizes
        self._at = frame.view[STOPPED_AT]  # outside of loops, what comes before has been done, and nothing else
        ends = [last + 1 for first, last in self._plan.program.loops if first <= self._at]
        self._passed = max(self._at, *ends, 0)  # what comes before may have been done
        self._owned = frame.owned
        self._held = frame.held  # the blocks of its arenas
        self._lost: dict[int, dict[int, int]] = {}  # by group and slot: the first instruction that may write over it

    def __call__(self, output: Output) -> Array | None:
        plan = self._plan
        root = plan.buffers.view_of.get(output, output)
        written = plan.written.get(root)
        if isinstance(root, Feed) or written is None or written[1] >= self._at:
            return None
        if is_in_loop(written[1], plan.program.loops):
            return None
        shape = plan.shapes[output]
        extents = shape.at(self._sizes)
        if root in self._owned:
            contents = self._owned[root][0].reshape(extents)
        else:
            slot = plan.slots[root]
            if self._passed > plan.needed_to.get(root, -1) + 1 and self._is_lost(root, slot):
                return None
            contents = np.empty(extents, shape.dtype)
            ctypes.memmove(contents.ctypes.data, self._frame.view[slot], contents.nbytes)
        contents.flags.writeable = False
        return contents

    def _is_lost(self, place: Place, slot: int) -> bool:
        """Whether something else was written where the place lies: possible once the graph needed it no longer."""
        symbols = self._plan.shapes[place].symbols
        number = next(i for i, group in enumerate(self._plan.groups) if group.symbols == symbols)
        if number not in self._lost:
            self._lost[number] = lost_from(self._frame.memory.filling(number, self._sizes))
        return self._lost[number].get(slot, 0) < self._passed


def lost_from(filling: Filling) -> dict[int, int]:
    """For each place of an arena, by its slot: the first instruction behind its own that writes where it lies."""
    begin, end = filling.arena_offsets, filling.arena_offsets + filling.arena_sizes
    first, last = filling.arena_written[:, 0], filling.arena_written[:, 1]
    writes_over = (begin[:, None] < end) & (begin < end[:, None]) & (first > last[:, None])
    lost = np.where(writes_over, first, np.iinfo(np.int64).max).min(axis=1, initial=np.iinfo(np.int64).max)
    return dict(zip(filling.arena_words.tolist(), lost.tolist(), strict=True))
