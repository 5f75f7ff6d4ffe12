"""Frames: the memory of one step at a time, filled by Python and read by the native loop.

In: a `Plan`.  Out: `Frame`s, each with its words, its arenas and the fresh buffers of its step.
Invariant: a frame is written only while no step uses it, but for the words that the loop waits for; a fresh
buffer belongs to its step until the step has ended, and then to whoever holds an array over it: it is used
again when nobody does.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from coexec.graph.symbolic import Output
from coexec.graph_side.channel import Words
from coexec.graph_side.layout import GroupLayout
from coexec.graph_side.plan import (
    LEARNED,
    LEARNED_WIDTH,
    LEAST,
    SCRATCH,
    Filling,
    Plan,
    ScalarFeed,
    Table,
    least_work,
)
from comprehension.jit.memory import allocate

Array = np.ndarray[Any, np.dtype[Any]]
MOST_WAITING = 4  # buffers of one output kept for later steps: one in use, one being written, two to spare
MOST_FILLINGS = 64  # tuples of sizes remembered
_references = sys.getrefcount
_UNHELD = 2  # references that `_FreshBuffers.take` itself makes
_PAGE = 64


class FreshBuffers:
    """Buffers for one owned output, used again when no array over them is left."""

    __slots__ = ("buffers", "dtype", "shape")

    def __init__(self) -> None:
        self.buffers: list[tuple[Array, int]] = []
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype[Any] | None = None

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, int]:
        """An array that nobody else holds, and its address."""
        if (shape is not self.shape and shape != self.shape) or (dtype is not self.dtype and dtype != self.dtype):
            self.buffers, self.shape, self.dtype = [], shape, dtype
        for buffer in self.buffers:
            if _references(buffer[0]) == _UNHELD:
                return buffer
        array = allocate(shape, dtype)
        array.flags.writeable = False  # to Python; the graph writes it by its address
        buffer = (array, array.ctypes.data)
        if len(self.buffers) >= MOST_WAITING:
            del self.buffers[0]
        self.buffers.append(buffer)
        return buffer


class Arena:
    """Memory that grows: who still uses the old block keeps it."""

    __slots__ = ("_block", "address", "size")

    def __init__(self) -> None:
        self._block: Array | None = None
        self.address = 0
        self.size = 0

    def at_least(self, size: int) -> Array | None:
        """The block, of at least `size` bytes and aligned; to be kept as long as its address is in use."""
        if size > self.size:
            self._block = allocate((size + _PAGE,), np.uint8)
            self.address = self._block.ctypes.data + -self._block.ctypes.data % _PAGE
            self.size = size
        return self._block


class Memory:
    """What all frames of a graph share: arenas by group, fresh buffers by output, fillings by sizes, and what the loop
    has learned of the stages.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arenas = [Arena() for _ in plan.groups]
        self.scratch = Arena()
        self.learned = Words(max(1, plan.stages * LEARNED_WIDTH))
        self.fresh: dict[Output, FreshBuffers] = {output: FreshBuffers() for output in plan.buffers.owned}
        self._layouts = [GroupLayout(plan, group) for group in plan.groups]
        self._fillings: dict[tuple[int, tuple[int, ...]], Filling] = {}

    def filling(self, number: int, sizes: dict[str, int]) -> Filling:
        """The filling of group `number`, computed once for each tuple of sizes."""
        key = (number, tuple([sizes[symbol] for symbol in sorted(self.plan.groups[number].symbols)]))
        found = self._fillings.get(key)
        if found is None:
            if len(self._fillings) >= MOST_FILLINGS:
                self._fillings.clear()
            found = self._fillings[key] = self._layouts[number].fill(sizes)
        return found


class Frame:
    """One step's words.

    `held` are blocks whose addresses the words contain; `owned` the step's fresh buffers with their addresses.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        plan = memory.plan
        self.words = Words(len(plan.template))
        self.view = self.words.view
        self.held: list[Any] = []
        self.owned: dict[Output, tuple[Array, int]] = {}
        dtypes = {scalar.dtype for scalars in plan.scalars for scalar in scalars}
        self._typed: dict[np.dtype[Any], Array] = {dtype: self.words.array.view(dtype) for dtype in dtypes}
        self._image = plan.template.copy()
        self._image[plan.within[:, 0]] = self.words.address + 8 * plan.within[:, 1]
        self._image[LEARNED], self._image[LEAST] = memory.learned.address, least_work()
        self._image_view: memoryview[int] = memoryview(self._image)  # type: ignore[arg-type]
        self._static = memory.filling(0, {})
        self._write(0, self._static, self._image)
        self._held_always = self.held

    def reset(self) -> None:
        """Makes the frame ready for a step: all that no symbol decides is in place."""
        self.held = []
        self.view[:] = self._image_view  # NumPy takes a microsecond and more to come to the same copy
        self._take_buffers(self._static)

    def release(self) -> None:
        """The step has ended: its fresh buffers belong to whoever holds arrays over them."""
        self.held = []
        self.owned = {}

    def fill(self, number: int, sizes: dict[str, int]) -> None:
        """Writes group `number` (whose symbols are all in `sizes`), but for its `ready` word."""
        filling = self.memory.filling(number, sizes)
        self._write(number, filling, self.words.array)
        self._take_buffers(filling)

    def put_scalar(self, scalar: ScalarFeed, value: Any) -> int:
        """Writes a fed number in one of the types that kernels take it in; returns the address of its bits."""
        typed = self._typed[scalar.dtype]
        typed[scalar.data * 8 // scalar.dtype.itemsize] = value
        return self.words.address + 8 * scalar.data

    def _write(self, number: int, filling: Filling, array: Table) -> None:
        memory = self.memory
        array[filling.words] = filling.values
        if filling.arena_bytes:
            arena = memory.arenas[number]
            self.held.append(arena.at_least(filling.arena_bytes))
            array[filling.arena_words] = filling.arena_offsets + arena.address
        if filling.scratch_bytes:
            self.held.append(memory.scratch.at_least(filling.scratch_bytes))
            array[SCRATCH] = memory.scratch.address

    def _take_buffers(self, filling: Filling) -> None:
        fresh, owned, view = self.memory.fresh, self.owned, self.view
        for output, slot, shape, dtype in filling.owned:
            store = fresh[output]
            if store.shape is shape and store.dtype is dtype:  # `take` of a buffer that waits, written out
                for buffer in store.buffers:
                    if _references(buffer[0]) == _UNHELD:
                        break
                else:
                    buffer = store.take(shape, dtype)
            else:
                buffer = store.take(shape, dtype)
            owned[output] = buffer
            view[slot] = buffer[1]
