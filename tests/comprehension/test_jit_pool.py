"""The worker pool: each chunk once, whoever calls, however many threads; forks, exits, errors, scratch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from comprehension.config import config
from comprehension.jit import pool
from comprehension.jit.client import compile_source
from comprehension.jit.emit import STAGE_SIGNATURE, emit_by_numba
from comprehension.jit.load import RUNTIME_SYMBOLS, LoadedObject, load_object
from comprehension.machine import host

STAGES = """
from numba import carray
import numpy as np
from comprehension.jit.native import pause

def count(buffers, dims, scratch, lo, hi):
    n = dims[0]
    a = carray(buffers[0], (n,), np.int64)
    for i in range(lo, hi):
        a[i] += i
    return 0

def slow(buffers, dims, scratch, lo, hi):
    n = dims[0]
    a = carray(buffers[0], (n,), np.int64)
    for i in range(lo, hi):
        for _ in range(dims[1]):
            pause()
        a[i] += 1
    return 0

def private(buffers, dims, scratch, lo, hi):
    n = dims[0]
    a = carray(buffers[0], (n,), np.int64)
    s = carray(scratch, (dims[1],), np.int64)
    for i in range(lo, hi):
        for j in range(dims[1]):
            s[j] = i
        for j in range(100):
            pause()
        total = 0
        for j in range(dims[1]):
            total += s[j]
        a[i] += total
    return 0

def begins(buffers, dims, scratch, lo, hi):
    a = carray(buffers[0], (dims[0],), np.int64)
    for i in range(lo, hi):
        a[i] = lo
    return 0

def check(buffers, dims, scratch, lo, hi):
    n = dims[0]
    a = carray(buffers[0], (n,), np.int64)
    record = carray(buffers[1], (8,), np.int64)
    for i in range(lo, hi):
        if a[i] < 0:
            record[0] = 7
            record[2] = i
            return 7
    return 0
"""


@pytest.fixture(scope="module")
def stages() -> LoadedObject:
    entries = dict.fromkeys(("count", "slow", "private", "begins", "check"), STAGE_SIGNATURE)
    return load_object("pool_test", emit_by_numba("pool_test", STAGES, entries, host()), entries, RUNTIME_SYMBOLS)


@pytest.fixture(params=[1, 2, 5])
def workers(request):
    before = config.threads
    config.threads = request.param
    yield pool.current()
    config.threads = before


class Call:
    """Buffers and dims of one call, kept alive."""

    def __init__(self, *arrays: np.ndarray, dims: tuple[int, ...]) -> None:
        self.arrays = arrays
        self.buffers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        self.dims = (ctypes.c_int64 * len(dims))(*dims)
        self.where = ctypes.addressof(self.buffers), ctypes.addressof(self.dims)


@pytest.mark.parametrize("extent", [0, 1, 2, 7, 64, 1000])
@pytest.mark.parametrize("grain", [1, 3, 10_000])
def test_each_unit_runs_once(workers, stages, extent: int, grain: int) -> None:
    array = np.zeros(max(extent, 1), np.int64)
    call = Call(array, dims=(extent,))
    for _ in range(20):
        assert workers.run(stages.addresses["count"], *call.where, extent, grain) == 0
    assert (array[:extent] == 20 * np.arange(extent)).all()


def test_many_callers_share_the_workers_and_nobody_waits_for_ever(workers, stages) -> None:
    failures: list[object] = []

    def caller(number: int) -> None:
        for turn in range(300):
            array = np.zeros(50, np.int64)
            call = Call(array, dims=(50,))
            workers.run(stages.addresses["count"], *call.where, 50, 1)
            if not (array == np.arange(50)).all():
                failures.append((number, turn, array))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_workers_share_the_work_without_the_gil(stages) -> None:
    before, config.threads = config.threads, 2
    try:
        workers = pool.current()
        array = np.zeros(64, np.int64)
        call = Call(array, dims=(64, 20_000))
        ticks = 0
        done = threading.Event()

        def python() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1

        thread = threading.Thread(target=python)
        thread.start()
        workers.run(stages.addresses["slow"], *call.where, 64, 1)
        done.set()
        thread.join()
        assert (array == 1).all()
        assert ticks > 100  # Python went on meanwhile
    finally:
        config.threads = before


def test_scratch_is_private_aligned_and_grows(workers, stages) -> None:
    for size in (10, 1000, 100):
        array = np.zeros(200, np.int64)
        call = Call(array, dims=(200, size))
        assert workers.run(stages.addresses["private"], *call.where, 200, 1, scratch_bytes=8 * size) == 0
        assert (array == np.arange(200) * size).all()


def test_the_first_error_is_reported_whatever_chunk_met_one(workers, stages) -> None:
    array = np.arange(1000)
    array[[300, 301, 700, 999]] = -1
    for _ in range(50):
        record = np.zeros(8, np.int64)
        call = Call(array, record, dims=(1000,))
        assert workers.run(stages.addresses["check"], *call.where, 1000, 1) == 7
        assert (record[0], record[2]) == (7, 300)


def test_sleeping_workers_are_woken(workers, stages) -> None:
    array = np.zeros(100, np.int64)
    call = Call(array, dims=(100, 100))
    for turn in range(20):
        time.sleep(0.005)
        workers.run(stages.addresses["slow"], *call.where, 100, 1)
        assert (array == turn + 1).all()


def test_holding_keeps_results_the_same(workers, stages) -> None:
    array = np.zeros(100, np.int64)
    call = Call(array, dims=(100,))
    with workers:
        for _ in range(100):
            workers.run(stages.addresses["count"], *call.where, 100, 1)
    assert (array == 100 * np.arange(100)).all()


def test_several_stages_by_one_native_call(workers, stages) -> None:
    array = np.zeros(100, np.int64)
    record = np.zeros(8, np.int64)
    call = Call(array, record, dims=(100,))
    count, check = stages.addresses["count"], stages.addresses["check"]
    table = np.array([[count, 100, 1, 0, 1, 0], [check, 100, 1, 0, 1, 0], [count, 100, 1, 0, 0, 0]], np.int64)

    def run() -> int:
        return workers.run_stages(workers.address, table.ctypes.data, 3, *call.where, 0)

    assert run() == 0
    assert (array == 2 * np.arange(100)).all()
    array[:] = -1
    assert run() == (2 << 32) | 7  # the second stage's code; the third did not run
    assert (array == -1 + np.arange(100)).all()


def test_a_row_of_stages_learns_how_long_they_take(workers, stages) -> None:
    """Stages that may be divided are measured, the others left alone; whatever is decided, each unit runs once."""
    array = np.zeros(64, np.int64)
    call = Call(array, dims=(64, 1))
    slow = stages.addresses["slow"]
    table = np.array([[slow, 64, 1, 0, 10**9, 8000], [slow, 64, 1, 0, 7, 8000], [slow, 64, 1, 0, 0, 0]], np.int64)
    for _ in range(100):
        assert workers.run_stages(workers.address, table.ctypes.data, 3, *call.where, 0) == 0
    assert (array == 300).all()
    assert 0 < table[0, 4] < 10**9 and table[1, 4] > 0 and table[2, 4] == 0


@pytest.mark.parametrize(("microseconds", "units"), [(400, 3), (100, 11), (48, 22)])
def test_chunks_are_no_longer_than_what_is_worth_it_takes(workers, stages, microseconds: int, units: int) -> None:
    """`grain` (24) is a guess; of units that turned out to be longer, so many make a chunk as take 8 µs."""
    array = np.zeros(128, np.int64)
    call = Call(array, dims=(128,))
    table = np.array([stages.addresses["begins"], 128, 24, 64, 1000 * microseconds, 8000], np.int64)
    with workers:
        assert workers.run_stages(workers.address, table.ctypes.data, 1, *call.where, 0) == 0
    chunk = 128 if config.threads == 1 else max(units, -(-128 // (8 * config.threads)))
    assert np.unique(array).tolist() == list(range(0, 128, chunk))


def test_sleeping_workers_are_woken_for_what_pays() -> None:
    """Long stages wake at once, a row of short ones when they have lost a wake-up's worth, rare ones never."""
    from comprehension.jit.pool_loops import SPIN_NS, WAKING

    text = Path(pool.__file__).with_name("pool_loops.py").read_text()
    loaded = compile_source(text, {"_workers_for": 4}, name="pool_loops")
    workers_for = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)(loaded.addresses["_workers_for"])
    block = np.zeros(100, np.int64)
    start = block.ctypes.data
    block[pool._WORKERS // 8] = 2
    asleep = [(pool._FIRST_WORKER + index * pool._WORKER_BYTES) // 8 for index in range(2)]
    block[asleep] = 1
    least, now = 1000, 10**9
    price = WAKING * least

    def wanted(work: int, later: int) -> int:
        nonlocal now
        now += later
        found = int(workers_for(start, work, least, now))
        block[400 // 8] = now
        return found

    assert wanted(least - 1, 0) == -1 and wanted(2 * price, 0) == 2 and wanted(10 * price, 0) == 10
    assert [wanted(2 * least, SPIN_NS - 1) for _ in range(5)] == [-1, -1, 1, -1, -1]
    assert [wanted(2 * least, SPIN_NS + 1) for _ in range(20)] == [-1] * 20
    block[asleep[1]] = 0  # one is awake: nobody need be woken, and dividing is worth it from `least` on
    assert wanted(least - 1, 0) == -1 and wanted(least, 0) == 0 and wanted(price, 0) == 1
    block[pool._WORKERS // 8] = 0
    assert wanted(10 * price, 0) == -1


def test_a_closed_pool_runs_serially(stages) -> None:
    workers = pool.WorkerPool(3)
    workers.close()
    array = np.zeros(10, np.int64)
    call = Call(array, dims=(10,))
    assert workers.run(stages.addresses["count"], *call.where, 10, 1) == 0
    assert (array == np.arange(10)).all()


def test_changing_the_number_of_threads_makes_another_pool(stages) -> None:
    before = config.threads
    try:
        config.threads = 2
        first = pool.current()
        config.threads = 3
        second = pool.current()
        assert first is not second and second.threads == 3
        assert pool.current() is second
    finally:
        config.threads = before


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_its_own_workers(stages) -> None:
    before, config.threads = config.threads, 3
    try:
        parent = pool.current()
        child = os.fork()
        if child == 0:
            good = False
            try:
                array = np.zeros(500, np.int64)
                call = Call(array, dims=(500,))
                for _ in range(50):
                    pool.current().run(stages.addresses["count"], *call.where, 500, 1)
                good = bool((array == 50 * np.arange(500)).all()) and pool.current() is not parent
                pool.close()
            finally:
                os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool.current() is parent
    finally:
        config.threads = before


def test_the_program_ends_cleanly_with_workers_asleep_or_awake() -> None:
    text = "from comprehension.jit import pool; p = pool.current(); p.__enter__(); print(p.threads)"
    environment = {**os.environ, "COMPREHENSION_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def test_numba_num_threads_is_honoured() -> None:
    text = "from comprehension.config import config; print(config.threads)"
    numbas = {"NUMBA_NUM_THREADS": "3"}
    for variables, expected in ((numbas, "3"), ({**numbas, "COMPREHENSION_THREADS": "2"}, "2")):
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env={**kept, **variables})
        assert done.stdout.strip() == expected
