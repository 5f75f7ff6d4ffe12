"""The loops of the worker pool, compiled by `codegen.runtime` and run without Python.

In: the address of a pool's control block (`pool.WorkerPool` makes it; its layout is below), stages' addresses.
Out: 0, or the code of a stage that failed.
Invariant: each chunk of a job runs exactly once, and `pool_run` returns after the last one has finished.

A job is published in one word, JOB: its generation in the upper half, the next chunk in the lower.  A chunk is
claimed by compare-and-exchange on that word, so a worker that woke late, with an old generation, can claim
nothing; and the word is made invalid before the next job's fields are written, so no claim can succeed on
fields half written.  Completion counts chunks, not workers: one that sleeps through a job delays nobody.
"""

# mypy: warn-return-any=False

from comprehension.jit.native import (
    add,
    call_stage,
    compare_exchange,
    exchange,
    load,
    nanoseconds,
    pause,
    release_memory,
    semaphore_post,
    semaphore_wait,
    store,
    take_memory,
    yield_processor,
)

# Byte offsets in the control block; words that different threads write lie on different cache lines.
JOB = 0
STAGE, BUFFERS, DIMS, EXTENT, CHUNK, CHUNKS, SCRATCH_BYTES = 64, 72, 80, 88, 96, 104, 112
DONE = 128
ERROR = 192
BUSY = 256
HELD = 320
STOP, DEBT, LAST = 384, 392, 400
CALLER_WAITS, CALLER_SEMAPHORE = 448, 456
WORKERS = 512
FIRST_WORKER = 576
WORKER_BYTES = 64
SLEEPING, SEMAPHORE, ARENA, ARENA_BYTES = 0, 8, 16, 24  # within a worker's line

INVALID = 0xFFFFFFFF  # a chunk number beyond all
GENERATIONS = 0x7FFFFFFF
CHUNKS_PER_THREAD = 8
SPIN_NS = 50_000  # twice what waking costs: a job that follows soon finds its workers awake
SPINS = 16  # looks between two at the clock
# Measured (`benchmarks/pool_price.py`): dividing costs 2 µs where workers are awake, some 25 where one sleeps, most of
# it the caller's in `sem_post`.  So with `config.parallel_ns` (8 µs) as the least work worth dividing among the
# awake, the price of waking is three times that.
WAKING = 3
HELD_YIELDS = 2_000  # while a plan runs: some 0.5 ms more, giving way to any thread that wants the core


def _sleep(semaphore: int) -> None:
    while semaphore_wait(semaphore) != 0:  # interrupted by a signal
        pass


def _claim(pool: int, generation: int, chunks: int) -> int:
    """The number of a chunk that is now ours, or -1."""
    while True:
        word = load(pool + JOB)
        chunk = word & INVALID
        if word >> 32 != generation or chunk >= chunks:
            return -1
        if compare_exchange(pool + JOB, word, word + 1):
            return chunk


def _run_chunks(pool: int, generation: int, scratch: int) -> None:
    """Runs chunks of this job until none is left; after an error the rest is only counted."""
    stage, buffers, dims = load(pool + STAGE), load(pool + BUFFERS), load(pool + DIMS)
    extent, size, chunks = load(pool + EXTENT), load(pool + CHUNK), load(pool + CHUNKS)
    while True:
        chunk = _claim(pool, generation, chunks)
        if chunk < 0:
            return
        if load(pool + ERROR) == 0:
            low = chunk * size
            code = call_stage(stage, buffers, dims, scratch, low, min(low + size, extent))
            if code != 0:
                compare_exchange(pool + ERROR, 0, code)
        if add(pool + DONE, 1) + 1 == chunks and exchange(pool + CALLER_WAITS, 0) == 1:
            semaphore_post(load(pool + CALLER_SEMAPHORE))


def _await_job(pool: int, mine: int, seen: int) -> int:
    """The generation of the first job after `seen`; sleeps after a while."""
    while True:
        until = nanoseconds() + SPIN_NS
        while nanoseconds() < until:
            for _ in range(SPINS):
                if load(pool + JOB) >> 32 != seen:
                    return load(pool + JOB) >> 32
                pause()
        yields = 0
        while load(pool + HELD) > 0 and yields < HELD_YIELDS and load(pool + JOB) >> 32 == seen:
            yield_processor()
            yields += 1
        if load(pool + JOB) >> 32 != seen:
            return load(pool + JOB) >> 32
        store(mine + SLEEPING, 1)
        # Look again after saying so: who publishes a job first publishes, then looks who sleeps.
        if load(pool + JOB) >> 32 != seen or load(pool + STOP) != 0:
            if exchange(mine + SLEEPING, 0) == 0:
                _sleep(load(mine + SEMAPHORE))  # somebody saw us asleep: take the post that comes
        else:
            _sleep(load(mine + SEMAPHORE))
        if load(pool + STOP) != 0:
            return -1


def _arena(mine: int, size: int) -> int:
    """This worker's private memory of at least `size` bytes; 0 where the system has none."""
    if load(mine + ARENA_BYTES) < size or load(mine + ARENA) == 0:
        release_memory(load(mine + ARENA))
        store(mine + ARENA, 0)
        store(mine + ARENA_BYTES, 0)
        if take_memory(mine + ARENA, 64, max(size, 64)) != 0:
            store(mine + ARENA, 0)
            return 0
        store(mine + ARENA_BYTES, size)
    return load(mine + ARENA)


def pool_worker(pool: int, index: int) -> int:
    """The life of worker `index`: returns after STOP."""
    mine = pool + FIRST_WORKER + index * WORKER_BYTES
    seen = 0
    while True:
        seen = _await_job(pool, mine, seen)
        if seen < 0 or load(pool + STOP) != 0:
            break
        # The size is read before the claim: if the job is over by then, the claim fails and it was for nothing.
        scratch = _arena(mine, load(pool + SCRATCH_BYTES))
        if scratch != 0:
            _run_chunks(pool, seen, scratch)
    release_memory(load(mine + ARENA))
    store(mine + ARENA, 0)
    return 0


def _wake(pool: int, wanted: int) -> None:
    """Wakes up to so many sleeping workers; those awake find the job by themselves."""
    for index in range(load(pool + WORKERS)):
        mine = pool + FIRST_WORKER + index * WORKER_BYTES
        if wanted > 0 and load(mine + SLEEPING) == 1 and exchange(mine + SLEEPING, 0) == 1:
            semaphore_post(load(mine + SEMAPHORE))
            wanted -= 1


def _await_chunks(pool: int, chunks: int) -> None:
    """Returns once all chunks have finished: spins, then sleeps."""
    while True:
        until = nanoseconds() + SPIN_NS
        while nanoseconds() < until:
            for _ in range(SPINS):
                if load(pool + DONE) >= chunks:
                    return
                pause()
        store(pool + CALLER_WAITS, 1)
        if load(pool + DONE) >= chunks:
            if exchange(pool + CALLER_WAITS, 0) == 0:
                _sleep(load(pool + CALLER_SEMAPHORE))
            return
        _sleep(load(pool + CALLER_SEMAPHORE))  # a late worker of an earlier job may wake us: look again


def _run(
    pool: int, stage: int, buffers: int, dims: int, extent: int, grain: int, size: int, scratch: int, wanted: int
) -> int:
    """Divides a stage, for which up to `wanted` sleeping workers are woken."""
    threads = load(pool + WORKERS) + 1
    chunk = max(max(grain, 1), (extent + threads * CHUNKS_PER_THREAD - 1) // (threads * CHUNKS_PER_THREAD))
    chunks = (extent + chunk - 1) // chunk
    if chunks <= 1 or threads == 1 or compare_exchange(pool + BUSY, 0, 1) == 0:
        return call_stage(stage, buffers, dims, scratch, 0, extent)  # alone, or another caller has the workers
    generation = (load(pool + JOB) >> 32) + 1 & GENERATIONS
    store(pool + JOB, generation << 32 | INVALID)
    store(pool + STAGE, stage)
    store(pool + BUFFERS, buffers)
    store(pool + DIMS, dims)
    store(pool + EXTENT, extent)
    store(pool + CHUNK, chunk)
    store(pool + CHUNKS, chunks)
    store(pool + SCRATCH_BYTES, size)
    store(pool + DONE, 0)
    store(pool + ERROR, 0)
    generation = generation + 1 & GENERATIONS
    store(pool + JOB, generation << 32)
    _wake(pool, min(wanted, chunks - 1))
    _run_chunks(pool, generation, scratch)
    _await_chunks(pool, chunks)
    code = load(pool + ERROR)
    store(pool + BUSY, 0)
    if code != 0:
        # Which chunk failed first is chance; the whole range once more, in order, gives one answer always.
        again = call_stage(stage, buffers, dims, scratch, 0, extent)
        return again if again != 0 else code
    return code


def pool_run(
    pool: int, stage: int, buffers: int, dims: int, extent: int, grain: int, scratch_bytes: int, scratch: int
) -> int:
    """Runs a stage over [0, extent) on all threads; `scratch` is the caller's own `scratch_bytes`."""
    wanted = load(pool + WORKERS)
    return _run(pool, stage, buffers, dims, extent, grain, scratch_bytes, scratch, wanted) if extent > 0 else 0


def pool_hold(pool: int, change: int) -> int:
    """Adds to the number of plans that run: while it is positive, workers stay awake longer."""
    return add(pool + HELD, change) + change


def _is_one_awake(pool: int) -> bool:
    for index in range(load(pool + WORKERS)):
        if load(pool + FIRST_WORKER + index * WORKER_BYTES + SLEEPING) == 0:
            return True
    return False


def _workers_for(pool: int, work: int, least: int, now: int) -> int:
    """How many sleeping workers to wake for a stage of `work` nanoseconds; -1: run it alone.

    A stage that is too short to wake anybody for adds what it lost by that to a debt, and the one that makes the debt
    as large as the price of waking pays it: a row of short stages runs on all threads after a while, having lost no
    more than a second wake-up.  After a pause in which workers would have gone to sleep again, the debt is forgotten.
    """
    price = WAKING * least
    if work < least or load(pool + WORKERS) == 0:
        return -1
    affordable = work // max(price, 1)  # each sleeper that is woken should have a price's worth to do
    if affordable >= 2 or _is_one_awake(pool):
        return affordable
    debt = work // 2 + (load(pool + DEBT) if now - load(pool + LAST) < SPIN_NS else 0)
    if debt < price:
        store(pool + DEBT, debt)
        return -1
    store(pool + DEBT, 0)
    return max(affordable, 1)


def _run_or_divide(pool: int, row: int, buffers: int, dims: int, scratch: int) -> int:
    """One stage; its row learns how long it takes, which a model can only guess (memory, caches, other programs)."""
    stage, extent, work, least = load(row), load(row + 8), load(row + 32), load(row + 40)
    start = nanoseconds()
    wanted = _workers_for(pool, work, least, start)
    if wanted < 0:
        code = call_stage(stage, buffers, dims, scratch, 0, extent)
        now = nanoseconds()
        work = (3 * work + now - start) // 4
    else:
        grain = min(load(row + 16), (extent * least + work - 1) // work)  # units that take as long as is worth it
        code = _run(pool, stage, buffers, dims, extent, grain, load(row + 24), scratch, wanted)
        now = nanoseconds()
        work = min(work, (now - start) * (load(pool + WORKERS) + 1))
    store(row + 32, max(work, 1))
    store(pool + LAST, now)
    return code


def run_stages(pool: int, table: int, count: int, buffers: int, dims: int, scratch: int) -> int:
    """Runs a kernel.

    `table` has six words a stage: address, extent, grain, scratch bytes, nanoseconds of the whole stage (0: never
    divided), and nanoseconds from which on dividing is worth it.

    Returns 0, or (stage + 1) << 32 | code of the first stage that failed.
    """
    for i in range(count):
        row = table + i * 48
        if load(row + 8) <= 0:
            continue
        if load(row + 32) == 0:
            code = call_stage(load(row), buffers, dims, scratch, 0, load(row + 8))
        else:
            code = _run_or_divide(pool, row, buffers, dims, scratch)
        if code != 0:
            return (i + 1) << 32 | code
    return 0
