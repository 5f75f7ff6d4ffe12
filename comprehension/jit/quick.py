"""Quick calls: what a launch found out about its arguments, kept so that the next one like it goes straight through.

In: launches that went the long way (`launch`).  Out: `Quick.call`, a built-in function of machine code
(`quick_loops`) that serves later calls whose arguments are like those of one of these.
Invariant: the long way decides what is allowed; a quick call does only what it would have done, and where it
cannot (other arguments, other settings, another interpreter, code not compiled yet) returns None.

CPython hands a built-in function an array of objects as they are, which is why this is one and no foreign function:
`ctypes` takes 1 µs a call by itself.  The machine code is compiled in the background, once a program has launched
`PATIENCE` times, and comes from the cache afterwards.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comprehension.config import generation
from comprehension.errors import ComprehensionError
from comprehension.jit import pool, quick_layout as at
from comprehension.jit.arrays import DENSE, Array
from comprehension.jit.binding import Binding, rounded
from comprehension.jit.failure import CompilationError
from comprehension.jit.manifest import BufferSlot
from comprehension.jit.native_function import native_function
from comprehension.jit.runner import Runner

MOST_TICKETS = 16  # of a door
MISSES = 512  # further tickets that a full door turns away before it starts again
MOST_ARENA = 16 << 20  # bytes of temporaries and scratch; beyond, what the long way takes does not show
_ALIGNED, _WRITABLE = 0x0100, 0x0400  # NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE
_KINDS = {"float64": at.DOUBLE, "float32": at.SINGLE}

Call = Callable[..., Any]
Argument = tuple[BufferSlot, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One combination of arguments; `words` is what `quick_loops` reads, `keeps` what it points to."""

    words: Array
    runner: Runner
    keeps: tuple[Any, ...]

    def is_current(self) -> bool:
        return bool(self.words[at.GENERATION // 8] == generation.value)


class Door(np.ndarray[Any, np.dtype[np.int64]]):
    """A table that `quick_loops.launch` reads, and its tickets, which live as long."""

    tickets: tuple[Ticket, ...] = ()


class Quick:
    """The quick way into one kernel, or into those of one comprehension.

    `call(*inputs, out)` returns the results, None, or the record of an error as bytes (see `error_of`).
    """

    __slots__ = ("_refused", "_tickets", "call")

    def __init__(self) -> None:
        self.call: Call = _nothing
        self._tickets: tuple[Ticket, ...] = ()
        self._refused = 0

    def add(self, ticket: Ticket | None) -> None:
        """Lets calls like that one through.  (Where two threads add at once, one of the tickets may be lost.)"""
        if ticket is None or ticket in self._tickets:
            return
        function = native_function()
        assert function is not None  # it was there when the ticket was made
        kept = tuple(each for each in self._tickets if each.is_current())
        if len(kept) >= MOST_TICKETS:
            self._refused += 1
            if self._refused < MISSES:
                return
            kept = ()
        self._refused = 0
        self._tickets = (*kept, ticket)
        words = [*function.references, len(self._tickets), *[each.words.ctypes.data for each in self._tickets]]
        door = np.array(words, np.int64).view(Door)
        door.tickets = self._tickets
        self.call = function.bind(door)


def error_of(call: Call, record: bytes) -> ComprehensionError:
    """The exception for the record that `call` returned."""
    words = np.frombuffer(record, np.int64).tolist()
    door = call.__self__  # type: ignore[attr-defined]
    runner: Runner = door.tickets[words[1]].runner
    return runner.error(words[0], words)


def _nothing(*arguments: Any) -> None:
    """The call of a door that nobody made yet."""


def ticket_for(
    runner: Runner,
    binding: Binding,
    inputs: Sequence[Argument],
    outputs: Sequence[Argument],
    make: Callable[[], Any] | None,
) -> Ticket | None:
    """The ticket for arguments that were launched the long way: addressable arrays, apart from each other.

    `make` makes the results where none are given.  None where the quick way cannot serve these arguments.
    """
    size = rounded(binding.workspace_bytes) + binding.scratch_bytes
    if native_function() is None or size > MOST_ARENA or len(binding.table) == 0:
        return None
    if len(runner.buffer_of) + 1 + at.RECORD_WORDS + len(inputs) > at.LOCAL_WORDS:
        return None
    if any(slot.kind == "scalar" and slot.dtype not in _KINDS for slot, _ in inputs):
        return None
    rows = [_row(runner, slot, array, 0) for slot, array in inputs]
    rows += [_row(runner, slot, array, _WRITABLE) for slot, array in outputs]
    places = [runner.buffer_of[slot.name] for slot in runner.manifest.slots if slot.kind == "workspace"]
    temporaries = [word for pair in zip(places, binding.workspace, strict=True) for word in pair]
    dims = runner.dims_of(binding, [array for _, array in inputs], [array for _, array in outputs])
    rest = np.array([*[word for row in rows for word in row], *temporaries, -1], np.int64)
    words = np.zeros(at.FIRST_ROW // 8 + len(rest), np.int64)
    words[at.FIRST_ROW // 8 :] = rest
    fields = {
        at.INPUTS: len(inputs),
        at.OUTPUTS: len(outputs),
        at.GENERATION_AT: ctypes.addressof(generation),
        at.GENERATION: generation.value,
        at.MAKE: 0 if make is None else id(make),
        at.DIMS: ctypes.addressof(dims),
        at.SCRATCH_BYTES: binding.scratch_bytes,
        at.ARENA_BYTES: size,
        at.BUFFERS: len(runner.buffer_of),
        at.TEMPORARIES: 8 * (len(words) - len(temporaries) - 1),
    }
    workers = None
    if binding.serial_extent is not None:
        fields |= {at.STAGE: binding.serial_address, at.EXTENT: binding.serial_extent}
    else:
        try:
            workers = pool.current()
        except CompilationError:  # the long way says so
            return None
        fields |= {at.RUN_STAGES: workers.run_stages_address, at.POOL: workers.address}
        fields |= {at.TABLE: binding.table_address, at.STAGES: len(binding.table), at.GENERATION: generation.value}
    for offset, value in fields.items():
        words[offset // 8] = value
    dtypes = [array.dtype for _, array in (*inputs, *outputs)]
    return Ticket(words, runner, (binding, make, dims, workers, dtypes)) if binding.is_current() else None


def _row(runner: Runner, slot: BufferSlot, array: Array, flags: int) -> list[int]:
    """What an argument must be like to take this one's place."""
    is_dense = array.flags.num & DENSE == DENSE
    spans = [stride * (extent - 1) for stride, extent in zip(array.strides, array.shape, strict=True)]
    low, high = sum(min(0, span) for span in spans), sum(max(0, span) for span in spans) + array.itemsize
    fields = {
        at.ROW_BYTES: at.EXTENTS + 16 * array.ndim,
        at.KIND: _KINDS[slot.dtype] if slot.kind == "scalar" else at.ARRAY,
        at.BUFFER: runner.buffer_of[slot.name],
        at.ROW_DTYPE: id(array.dtype),
        at.ROW_FLAGS: flags | (DENSE if is_dense else _ALIGNED),
        at.ROW_RANK: array.ndim,
        at.LOW: low if array.size else 0,
        at.HIGH: high if array.size else 0,
        at.WITH_STRIDES: int(not is_dense),
    }
    return [*[fields[offset] for offset in range(0, at.EXTENTS, 8)], *array.shape, *array.strides]
