"""Native workers: a stage's range divided among threads that never hold the GIL.

In: a stage's address, its buffers and its range.  Out: its code, once every chunk has run.
Invariant: the result is that of a serial run; one caller at a time has the workers, any other runs its stage
alone (so nothing waits for anything); workers are made anew after a fork and stop in order at exit.

For plans that run without Python, the same is offered as native functions (`addresses()`), all of int64:

    pool_run(pool, stage, buffers, dims, extent, grain, scratch_bytes, scratch) -> code
    pool_hold(pool, change) -> plans running        run_stages(pool, table, count, buffers, dims, scratch) -> code

`pool` is `WorkerPool.address`; who keeps it natively keeps the `WorkerPool`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from pathlib import Path
from types import TracebackType

import numpy as np

from comprehension.config import MAX_THREADS, config, generation
from comprehension.jit.client import compile_source
from comprehension.jit.load import LoadedObject
from comprehension.jit.waiting import Semaphore

# Byte offsets in the control block: the layout is `pool_loops`', which only the compiler process can import.
_CALLER_SEMAPHORE, _STOP, _WORKERS, _FIRST_WORKER, _WORKER_BYTES, _SEMAPHORE = 456, 384, 512, 576, 64, 8

_ENTRIES = {"pool_worker": 2, "pool_run": 8, "pool_hold": 2, "run_stages": 6}  # how many words they take


class WorkerPool:
    """`threads - 1` workers and their control block; the caller is the remaining thread.

    Raises CompilationError where the loops cannot be compiled.
    """

    def __init__(self, threads: int) -> None:
        self.threads = max(1, min(threads, MAX_THREADS))
        self._loops = _loops()
        workers = self.threads - 1
        memory = np.zeros(_FIRST_WORKER + workers * _WORKER_BYTES + 64, np.uint8)
        self._memory = memory
        self.address: int = memory.ctypes.data + -memory.ctypes.data % 64
        self._semaphores = [Semaphore() for _ in range(self.threads)]
        self._write(_CALLER_SEMAPHORE, self._semaphores[-1].address)
        functions = self._loops.addresses
        self.run_address = functions["pool_run"]
        self.hold_address = functions["pool_hold"]
        self.run_stages_address = functions["run_stages"]
        self._run = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 8)(self.run_address)
        self._hold = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(self.hold_address)
        self.run_stages = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 6)(self.run_stages_address)
        self._threads = [self._start(index) for index in range(workers)]
        self._write(_WORKERS, workers)

    def run(
        self, stage: int, buffers: int, dims: int, extent: int, grain: int = 1, scratch_bytes: int = 0, scratch: int = 0
    ) -> int:
        """Runs a stage over [0, extent); the caller's scratch is made here where none is given."""
        if scratch == 0 and scratch_bytes > 0:
            memory = np.empty(scratch_bytes + 64, np.uint8)
            start = memory.ctypes.data
            scratch = start + -start % 64
        code: int = self._run(self.address, stage, buffers, dims, extent, grain, scratch_bytes, scratch)
        return code

    def __enter__(self) -> WorkerPool:
        """Workers stay awake inside `with pool:` (a plan is running)."""
        self._hold(self.address, 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hold(self.address, -1)

    def close(self) -> None:
        """Stops the workers; later runs are serial."""
        self._write(_WORKERS, 0)
        self._write(_STOP, 1)
        for semaphore in self._semaphores[:-1]:
            semaphore.post()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _start(self, index: int) -> threading.Thread:
        semaphore = self._semaphores[index]
        self._write(_FIRST_WORKER + index * _WORKER_BYTES + _SEMAPHORE, semaphore.address)
        worker = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(self._loops.addresses["pool_worker"])
        # Daemon: a thread that Python would join before `atexit` runs could never be told to stop.
        name = f"comprehension-worker-{index}"
        thread = threading.Thread(target=worker, args=(self.address, index), name=name, daemon=True)
        thread.start()
        return thread

    def _write(self, offset: int, value: int) -> None:
        ctypes.c_int64.from_address(self.address + offset).value = value


def current() -> WorkerPool:
    """This process's pool, made at first use and again where `config.threads` changed."""
    global _pool
    found = _pool
    if found is not None and found.threads == config.threads:
        return found
    with _lock:
        if _pool is None or _pool.threads != max(1, min(config.threads, MAX_THREADS)):
            old, _pool = _pool, WorkerPool(config.threads)
            generation.value += 1
            if old is not None:
                old.close()
        return _pool


def close() -> None:
    """Stops the workers; the next `current()` makes others."""
    global _pool
    with _lock:
        old, _pool = _pool, None
        generation.value += 1
    if old is not None:
        old.close()


_pool: WorkerPool | None = None
_lock = threading.Lock()
_object: LoadedObject | None = None


def _loops() -> LoadedObject:
    """The compiled loops (they hold no state: kept across pools and forks)."""
    global _object
    if _object is None:
        text = Path(__file__).with_name("pool_loops.py").read_text()
        _object = compile_source(text, _ENTRIES, name="pool_loops")
    return _object


def _forget_after_fork() -> None:
    """A fork copies the control block but no thread: the child starts its own."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()
    generation.value += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close)
