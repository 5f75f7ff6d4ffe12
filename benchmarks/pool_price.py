"""What the worker pool costs: a stage divided among workers that are awake or asleep, beside the stage run alone.

In: nothing.  Out: `results/pool_price.json`, a table on standard output.
Run: `python -m benchmarks.pool_price`, on a quiet machine with two cores.

A stage here multiplies and adds in registers for a given number of microseconds, in 16 units: nothing is read or
written, so that whatever is lost is the pool's.  Between two calls the caller either does nothing else (awake), or
computes by itself for 2 ms (asleep: workers that find no job go to sleep after some 30 µs), or sleeps for 2 ms (idle:
the cores themselves may have to wake up).  "Decided" is what a kernel's call does: divide or run alone, wake or not.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np

from benchmarks.timing import save
from comprehension.config import config
from comprehension.jit import pool
from comprehension.jit.client import compile_source

WORK = (2, 5, 10, 20, 40, 80, 160)  # µs of the whole stage
UNITS = 16
ROUNDS = 200
PAUSE = 0.002

STAGE = """
from comprehension.jit.native import peek, poke

def stage(buffers, dims, scratch, lo, hi):
    turns = peek(dims)
    x = 1
    for unit in range(lo, hi):
        for turn in range(turns):
            x = (x * 1103 + 12345) & 65535
    poke(dims + 8 * (lo + 1), x)
    return 0
"""
Stage = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)


def _busy(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


PAUSES: dict[str, Callable[[], None]] = {
    "awake": lambda: None,
    "asleep": lambda: _busy(PAUSE),
    "idle": lambda: time.sleep(PAUSE),
}


def median_us(call: Callable[[], object], pause: Callable[[], None]) -> float:
    samples = []
    for _ in range(ROUNDS):
        pause()
        started = time.perf_counter()
        call()
        samples.append(time.perf_counter() - started)
    return 1e6 * float(np.median(samples))


def main() -> None:
    loaded = compile_source(STAGE, {"stage": 5}, "pool_price")
    address = loaded.addresses["stage"]
    alone = Stage(address)
    dims = np.zeros(UNITS + 2, np.int64)
    at = dims.ctypes.data
    dims[0] = 100_000
    turn_us = median_us(lambda: alone(0, at, 0, 0, UNITS), PAUSES["awake"]) / (100_000 * UNITS)
    workers = pool.current()
    words = np.array([address, UNITS, 1, 0, 0, int(config.parallel_ns)], np.int64)
    table = words.ctypes.data
    sides: dict[str, Callable[[], object]] = {
        "alone": lambda: alone(0, at, 0, 0, UNITS),
        "divided": lambda: workers.run(address, 0, at, UNITS, 1),
        "decided": lambda: workers.run_stages(workers.address, table, 1, 0, at, 0),
    }
    heads = [f"{pause}, {side}" for pause in PAUSES for side in sides]
    found: dict[str, dict[str, float]] = {}
    print(f"{config.threads} threads; µs a call\n{'stage':>6}" + "".join(f"{head:>16}" for head in heads))
    for work in WORK:
        dims[0], words[4] = max(1, round(work / UNITS / turn_us)), 1000 * work
        row = {f"{name}, {side}": median_us(sides[side], pause) for name, pause in PAUSES.items() for side in sides}
        found[str(work)] = {name: round(us, 2) for name, us in row.items()}
        print(f"{work:>6}" + "".join(f"{us:16.1f}" for us in row.values()), flush=True)
    print(save("pool_price", {"threads": config.threads, "microseconds": found}))


if __name__ == "__main__":
    main()
