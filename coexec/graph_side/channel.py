"""Where the two runners meet: who runs the graph, and how Python publishes, writes, wakes and waits.

In: frames (blocks of int64 words that `graph_runner` fills).  Out: for each Python thread that runs steps a
`GraphThread`, or a `SameThread` where there is one core; words that Python reads and writes as items of a memoryview.
Invariant: the graph's thread is inside `plan_loop.serve` from its start to its end and never takes the GIL;
Python waits by a native call that gives the GIL away; frames of one channel run in the order published.

With one core nothing runs beside Python: the graph's thread would take turns with Python's, at two changes of thread
for each read.  There Python's thread runs the graph itself: up to a value when it reads that value, the rest when it
leaves the step.  So a step that Python has left has ended, and no two threads ever touch a frame of a `SameThread`.

A plain item assignment publishes a word: 8 aligned bytes are written at once, and on x86 writes become visible
in program order.  On machines with weaker order it goes through a native exchange.  Whoever wrote looks at
SLEEPING afterwards (see `plan_loop` for why that is enough).
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import platform
import queue
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from comprehension.jit import pool
from comprehension.jit.client import compile_source
from comprehension.jit.load import LoadedObject
from comprehension.jit.waiting import Semaphore
from comprehension.machine import usable_cores

# Word numbers in the control block and in frames: the layout is `plan_loop`'s, which only the compiler process
# can import; a test compares the two.
PUBLISHED, COMPLETED, SLEEPING, SEMAPHORE, STOP = 0, 8, 16, 17, 24
POOL, POOL_RUN, SPIN, ALONE, CROWDED, WAITERS, WAITER_SLOTS = 32, 33, 34, 35, 36, 40, 60
STATE, CANCEL = 0, 1
IDLE, QUEUED, RUNNING, ENDED = 0, 1, 2, 3  # states of a frame
SPIN_NANOSECONDS = 20_000
# With two cores Python, the graph and the worker take turns.  Measured on Zen 4: beside a Python that is awake dividing
# breaks even at 100 to 150 µs, which is five times what is worth dividing in a graph (decision 20).
TIMES_IF_CROWDED = 5
RING_SLOTS = 7
CONTROL_WORDS = WAITERS + 2 * WAITER_SLOTS

_ENTRIES = {  # how many words they take
    "serve": 1,
    "publish": 2,
    "wake": 1,
    "write": 3,
    "cancel": 3,
    "await_word": 5,
    "proceed": 3,
}
IS_ORDERED = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


class Words:
    """`count` int64 words, zero at first, on cache lines of their own.

    `view[k]` reads and writes word k; `address + 8 * k` is where it is.
    """

    __slots__ = ("_memory", "address", "array", "view")

    def __init__(self, count: int) -> None:
        self._memory = np.zeros(count + 8, np.int64)
        skip = (-self._memory.ctypes.data % 64) // 8
        self.array = self._memory[skip : skip + count]
        self.view: memoryview[int] = memoryview(self.array)  # type: ignore[arg-type]
        self.address: int = self.array.ctypes.data


class Channel:
    """What both ways to run frames have in common: a control block, and the runs that are under way.

    Raises CompilationError where the loop cannot be compiled.
    """

    def __init__(self) -> None:
        self._functions = _functions()
        self.control = Words(CONTROL_WORDS)
        self._pool = pool.current()
        self.unfinished: deque[Any] = deque()  # the runs of published frames, kept until they have ended
        self._view = self.control.view
        self._view[POOL], self._view[POOL_RUN] = self._pool.address, self._pool.run_address
        self._view[CROWDED] = 1 if usable_cores() > 2 else TIMES_IF_CROWDED

    @property
    def is_stopped(self) -> bool:
        """Whether no frames are run any more (closed, or left behind by a fork)."""
        return bool(self._view[STOP])

    @property
    def completed(self) -> int:
        """How many frames have ended."""
        return self.control.view[COMPLETED]

    @property
    def published(self) -> int:
        """How many frames were published."""
        return self.control.view[PUBLISHED]

    def publish(self, frame: Words) -> int:
        """Queues a frame behind those published before; returns its number, from 1 on."""
        return int(self._functions.publish(self.control.address, frame.address))


class GraphThread(Channel):
    """The native thread that runs the frames of one Python thread, beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._semaphore = Semaphore()
        self._waiters = [Semaphore() for _ in range(WAITER_SLOTS)]
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()  # waiters' slots; who finds none waits for one
        for slot in range(WAITER_SLOTS):
            self._free.put(slot)
        view = self._view
        view[SEMAPHORE] = self._semaphore.address
        view[SPIN] = SPIN_NANOSECONDS if usable_cores() > 1 else 0
        for slot, semaphore in enumerate(self._waiters):
            view[WAITERS + 2 * slot + 1] = semaphore.address
        # Daemon, and stopped by `close` at exit: Python would join any other before `atexit` runs.
        serve, address = self._functions.serve, self.control.address
        self._thread = threading.Thread(target=serve, args=(address,), name="coexec-graph", daemon=True)
        self._thread.start()
        self.close = weakref.finalize(self, _stop, self.control, [self._semaphore, *self._waiters], self._thread)
        self.close.atexit = False  # `close` below runs before the pool's

    def write(self, frame: Words, word: int, value: int) -> None:
        """Sends a word of a frame: what was written before it is visible when it is."""
        if not IS_ORDERED:
            self._functions.write(self.control.address, frame.address + 8 * word, value)
            return
        frame.view[word] = value
        sleeping_on = self._view[SLEEPING]
        if sleeping_on and sleeping_on == frame.address + 8 * word:
            self._functions.wake(self.control.address)

    def write_all(self, frame: Words, values: list[tuple[int, int]]) -> None:
        """Sends several words of a frame, each (word, value), and looks once whether the loop sleeps on one of them."""
        if not IS_ORDERED:
            for word, value in values:
                self.write(frame, word, value)
            return
        view = frame.view
        for word, value in values:
            view[word] = value
        sleeping_on = self._view[SLEEPING]
        if sleeping_on and any(sleeping_on == frame.address + 8 * word for word, _ in values):
            self._functions.wake(self.control.address)

    def cancel(self, frame: Words, limit: int = 0) -> None:
        """Asks a published frame to stop before instruction `limit`, or where it has to wait; 0: at its next one."""
        self._functions.cancel(self.control.address, frame.address, limit)

    def leave(self, frame: Words) -> None:
        """Python has left a published frame's step: nothing more will be written, and the loop goes on by itself."""

    def wait_completed(self, number: int) -> None:
        """Blocks, without the GIL, until frame `number` has ended."""
        if self.control.view[COMPLETED] < number:
            stop = self.control.address + 8 * STOP
            self._await(self.control.address + 8 * COMPLETED, number, stop)

    def wait_word(self, frame: Words, word: int, least: int) -> None:
        """Blocks, without the GIL, until a frame's word is at least `least`, or the frame has ended."""
        if frame.view[word] < least:
            self._await(frame.address + 8 * word, least, frame.address)

    def _await(self, address: int, least: int, state: int) -> None:
        slot = self._free.get()
        try:
            self._functions.await_word(self.control.address, address, least, state, slot)
        finally:
            self._free.put(slot)


class SameThread(Channel):
    """Runs the frames of one Python thread in that thread; its methods are `GraphThread`'s, and called by it alone."""

    def __init__(self) -> None:
        super().__init__()
        self._view[ALONE] = 1

    def close(self) -> None:
        """No frame will be run any more."""
        self._view[STOP] = 1

    def publish(self, frame: Words) -> int:
        """As the loop's own function; nobody reads the queue, for each frame is run by name.

        All before it have ended; an interrupt in between leaves nothing behind that the next one does not set.
        """
        number = self._view[PUBLISHED] = self._view[COMPLETED] + 1
        frame.view[STATE] = QUEUED
        return number

    def write(self, frame: Words, word: int, value: int) -> None:
        """Sends a word of a frame."""
        frame.view[word] = value

    def write_all(self, frame: Words, values: list[tuple[int, int]]) -> None:
        """Sends several words of a frame, each (word, value)."""
        view = frame.view
        for word, value in values:
            view[word] = value

    def cancel(self, frame: Words, limit: int = 0) -> None:
        """Has a published frame go on to instruction `limit`, or to where it would have to wait, and end there."""
        frame.view[CANCEL] = 1 + limit
        self._functions.proceed(self.control.address, frame.address, 0)

    def leave(self, frame: Words) -> None:
        """Python has left the step: runs it to its end."""
        self._functions.proceed(self.control.address, frame.address, 0)

    def wait_completed(self, number: int) -> None:
        """Nothing: what Python has left has ended, and what it has not, ends by nobody else."""

    def wait_word(self, frame: Words, word: int, least: int) -> None:
        """Runs a frame until a word is at least `least`; no further than that if it is the word of a fetch.

        Returns without it where the frame ends before or would have to wait, which would be for ever.
        """
        view, control = frame.view, self.control.address
        while (before := view[word]) < least:
            if self._functions.proceed(control, frame.address, frame.address + 8 * word) or view[word] == before:
                return


def _stop(control: Words, semaphores: list[Semaphore], thread: threading.Thread) -> None:
    """Stops a graph's thread after the kernel that it is in, and lets everyone who waits go on."""
    control.view[STOP] = 1
    for semaphore in semaphores:
        semaphore.post()
    thread.join()


class _Functions:
    """The loop's entry points as ctypes functions that give the GIL away."""

    def __init__(self, loaded: LoadedObject) -> None:
        self._loaded = loaded  # keeps the code
        for name, count in _ENTRIES.items():
            function = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)(loaded.addresses[name])
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the plan loop has no function {name!r}")


@functools.cache
def _functions() -> _Functions:
    """The compiled loop (it holds no state: kept across threads and forks)."""
    text = Path(__file__).with_name("plan_loop.py").read_text()
    return _Functions(compile_source(text, _ENTRIES, name="plan_loop"))


def prepare() -> None:
    """Has the loops of graphs and workers compiled and loaded, so that the first co-executed step does not wait.

    Raises CompilationError where they cannot be.
    """
    _functions()
    pool.current()


AnyThread = GraphThread | SameThread


class _Local(threading.local):
    thread: AnyThread | None = None


_local = _Local()
_all: weakref.WeakSet[AnyThread] = weakref.WeakSet()


def current() -> AnyThread:
    """Who runs the graphs of the calling Python thread, from its first use on."""
    found = _local.thread
    if found is None:
        found = _local.thread = GraphThread() if usable_cores() > 1 else SameThread()
        _all.add(found)
    return found


def close() -> None:
    """Stops all that run graphs; the next `current()` of a thread starts another."""
    global _local
    _local = _Local()
    for thread in list(_all):
        thread.close()
    _all.clear()


def _finish_before_fork() -> None:
    """Steps that Python has left are run to their end: the child has no thread that could, and reads their results."""
    for thread in list(_all):
        for run in tuple(thread.unfinished):
            if not run.is_left:  # Python is inside of it: it ends where Python goes on
                break
            thread.wait_completed(run.number)


def _forget_after_fork() -> None:
    """A fork copies control blocks but no thread: the child starts its own, and waits for none of the others."""
    global _local
    _local = _Local()
    for thread in list(_all):
        thread.control.view[STOP] = 1
    _all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_finish_before_fork, after_in_child=_forget_after_fork)
atexit.register(close)
