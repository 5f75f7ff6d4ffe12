"""The loop that runs plans, compiled by `comprehension.codegen.runtime`; it lives on a thread of its own and never
holds the GIL.

In: the address of a control block (`channel.GraphThread` makes it) and frames published in it; the layout of
both is below.  Out: each frame's words: what was fetched, the state, the error, the times.
Invariant: frames run in the order in which they were published, one at a time.  Within a frame the loop waits
only for words that Python writes (feeds, symbols, choices); a cancelled frame waits for nothing more, and stops at the
instruction that it is told.

Where there is one core, nothing runs beside Python, and a loop of its own would only cost changes of thread: then
Python's thread calls `proceed`, which runs a frame until it would have to wait, and the next call goes on from there.

Every wait of the loop is: spin for some 20 µs (not on a single core, where that would keep Python from writing), look
and give the core away in turns for half a millisecond (a wake-up costs Python tens of microseconds, and Python is
about to write), announce the word slept on, look again for a microsecond, sleep.  Who writes that word looks at the
announcement afterwards.  The microsecond is for writers that write plainly: by its end their word is out of the store
buffer, or their look at the announcement comes later and finds it.
"""

# mypy: warn-return-any=False

from comprehension.jit.native import (
    call_pool,
    call_stage,
    clear_memory,
    copy_memory,
    exchange,
    load,
    nanoseconds,
    pause,
    peek,
    poke,
    semaphore_post,
    semaphore_wait,
    store,
    yield_processor,
)

# --- control block: word numbers; words written by different threads lie on different cache lines -------------
PUBLISHED = 0  # how many frames Python has published
RING = 1  # the addresses of the last RING_SLOTS of them
RING_SLOTS = 7
COMPLETED = 8  # how many have ended
SLEEPING = 16  # the address of the word that the loop sleeps on, or is about to; 0 while it is awake
SEMAPHORE = 17
STOP = 24
POOL, POOL_RUN = 32, 33  # the worker pool, and its function that runs a stage
SPIN = 34  # nanoseconds to spin before anything else
ALONE = 35  # 1 where no loop serves this block: frames run when Python calls `proceed`
CROWDED = 36  # how many times longer than is worth dividing a stage must be while Python is awake
WAITERS = 40  # from here: WAITER_SLOTS pairs (1 while somebody sleeps, the semaphore slept on)
WAITER_SLOTS = 60

# --- frame: word numbers ------------------------------------------------------------------------------------
STATE = 0  # IDLE, QUEUED, RUNNING, ENDED
CANCEL = 1  # 0, or 1 + the number of the instruction before which to stop; before any wait, too
ERROR, ERROR_AT = 2, 3  # a stage's nonzero code, or UNFIT, and the number of its kernel
STARTED, FINISHED, STALLED = 4, 5, 6  # clock, clock, nanoseconds waited
STOPPED_AT = 7  # every instruction before this one that is on the path has been done
CODE, KERNELS, OPERANDS = 8, 9, 10  # addresses of the plan's tables
SCRATCH = 11  # address of the caller's scratch
BUFFERS, DIMS = 12, 13  # addresses where a kernel's arguments are put together
LEARNED = 14  # address of LEARNED_WIDTH words for each stage of the graph, which all its frames share
LEAST = 15  # nanoseconds from which on dividing a stage is worth it
FIRST_WORD = 16

IDLE, QUEUED, RUNNING, ENDED = 0, 1, 2, 3

# --- instructions: WIDTH words: what, then operands (word numbers of the frame unless said otherwise) ---------
WIDTH = 6
END = 0
AWAIT = 1  # word: wait until it is not 0
RUN = 2  # number of a kernel
MOVE = 3  # target, source, word: a slot takes another's address and the word's number of bytes
COPY = 4  # target slot, source slot, word with the number of bytes
POST = 5  # word: count one arrival, wake who waits
JUMP = 6  # number of an instruction
CASE = 7  # first word of a choice (sent, taken, the ring), size of the ring, place of the targets in the operands
CLEAR = 8  # slot, 0, word with the number of bytes

# --- kernels: KERNEL_WIDTH words each ------------------------------------------------------------------------
KERNEL_WIDTH = 6  # count of buffers, operands at, count of dims, operands at, count of stages, word of the first stage
# In the frame: address (0: not for these sizes), extent, grain, scratch bytes, nanoseconds by the model (0: never
# divided), number of the stage in the graph
STAGE_WIDTH = 6
LEARNED_WIDTH = 2  # how long a stage takes, in parts of 1/SCALE of the model's time (0: not known yet); runs
SCALE = 1024
UNFIT = -1  # the code where a stage has no address

# Whether a stage is worth dividing is measured, where the model is not sure of it: alone at first, and now and then.
SURE = 20  # in times of what is worth dividing: the model is wrong by no more
FIRST = 4  # runs alone, of which the shortest counts: the first ones find cold caches and memory never touched before
SHORT = 4  # in times of what is worth dividing: measured again, since it does not cost much
AGAIN = 64  # runs

YIELD_NANOSECONDS = 500_000
LOOKS = 40  # about a microsecond of pauses


def _doze(control: int, address: int, seen: int, cancel: int) -> None:
    """Sleeps until the word at `address` is other than `seen`, or may be; the sleeper is the loop itself."""
    exchange(control + 8 * SLEEPING, address)
    for _ in range(LOOKS):
        if load(address) != seen or load(cancel) != 0 or load(control + 8 * STOP) != 0:
            if exchange(control + 8 * SLEEPING, 0) == 0:
                semaphore_wait(peek(control + 8 * SEMAPHORE))  # somebody saw us asleep: take the post that comes
            return
        pause()
    while semaphore_wait(peek(control + 8 * SEMAPHORE)) != 0:  # interrupted by a signal
        pass


def _await_change(control: int, address: int, seen: int, cancel: int) -> None:
    """Waits until the word at `address` is other than `seen`, or the frame is cancelled, or all is to stop."""
    while True:
        begin = nanoseconds()
        while nanoseconds() - begin < peek(control + 8 * SPIN):
            for _ in range(16):
                if load(address) != seen:
                    return
                pause()
            if load(cancel) != 0 or load(control + 8 * STOP) != 0:
                return
        while nanoseconds() - begin < YIELD_NANOSECONDS:
            if load(address) != seen or load(cancel) != 0 or load(control + 8 * STOP) != 0:
                return
            yield_processor()
        _doze(control, address, seen, cancel)
        if load(cancel) != 0 or load(control + 8 * STOP) != 0:
            return


def _wake_waiters(control: int) -> None:
    """Wakes every thread that sleeps in `await_word`: each looks at its own condition again."""
    for slot in range(WAITER_SLOTS):
        waiter = control + 8 * (WAITERS + 2 * slot)
        if load(waiter) == 1 and exchange(waiter, 0) == 1:
            semaphore_post(peek(waiter + 8))


def _sleepers(control: int) -> int:
    """How many sleep in `await_word`: each leaves a core to others."""
    count = 0
    for slot in range(WAITER_SLOTS):
        count += load(control + 8 * (WAITERS + 2 * slot))
    return count


def _run_or_divide(control: int, frame: int, stage: int, buffers: int, dims: int, scratch: int) -> int:
    """One stage, alone or by all workers: whichever its length so far recommends.

    The model can only guess that length (memory, caches, other programs), and workers take from Python's core what they
    give, so that a wrong guess would cost every step.
    """
    function, extent = load(stage), load(stage + 8)
    guess, least = load(stage + 32), peek(frame + 8 * LEAST)
    learned = peek(frame + 8 * LEARNED) + 8 * LEARNED_WIDTH * load(stage + 40)
    known, runs = peek(learned), peek(learned + 8)
    work, settled = guess * known // SCALE, runs >= FIRST
    needed = least * peek(control + 8 * CROWDED)
    if work >= least and work < needed and _sleepers(control) > 0:
        needed = least
    if guess >= SURE * least or (settled and work >= needed and (work >= SHORT * needed or runs < FIRST + AGAIN)):
        poke(learned + 8, runs + 1)
        return call_pool(
            peek(control + 8 * POOL_RUN), peek(control + 8 * POOL), function, buffers, dims, extent,
            load(stage + 16), load(stage + 24), scratch,
        )  # fmt: skip
    begin = nanoseconds()
    code = call_stage(function, buffers, dims, scratch, 0, extent)
    measured = max(1, (nanoseconds() - begin) * SCALE // guess)
    if known != 0 and measured > known:  # it was interrupted, perhaps
        measured = (3 * known + measured) // 4 if settled else known
    poke(learned, measured)
    poke(learned + 8, FIRST if settled else runs + 1)
    return code


def _run_kernel(control: int, frame: int, number: int) -> int:
    """Puts the arguments of a kernel together and runs its stages; returns 0 or a stage's code."""
    kernel = peek(frame + 8 * KERNELS) + 8 * KERNEL_WIDTH * number
    operands = peek(frame + 8 * OPERANDS)
    buffers, dims, scratch = peek(frame + 8 * BUFFERS), peek(frame + 8 * DIMS), peek(frame + 8 * SCRATCH)
    at = operands + 8 * peek(kernel + 8)
    for i in range(peek(kernel)):
        poke(buffers + 8 * i, load(frame + 8 * peek(at + 8 * i)))
    at = operands + 8 * peek(kernel + 24)
    for i in range(peek(kernel + 16)):
        poke(dims + 8 * i, load(frame + 8 * peek(at + 8 * i)))
    stage = frame + 8 * peek(kernel + 40)
    for _ in range(peek(kernel + 32)):
        function, extent = load(stage), load(stage + 8)
        code = 0
        if function == 0:
            return UNFIT
        if extent > 0 and load(stage + 32) == 0:
            code = call_stage(function, buffers, dims, scratch, 0, extent)
        elif extent > 0:
            code = _run_or_divide(control, frame, stage, buffers, dims, scratch)
        if code != 0:
            return code
        stage += 8 * STAGE_WIDTH
    return 0


def _stalled(control: int, frame: int, address: int, seen: int) -> None:
    """`_await_change`, with the time added to the frame's; does not wait where nobody could write meanwhile."""
    if load(address) != seen or peek(control + 8 * ALONE) != 0:
        return
    begin = nanoseconds()
    _await_change(control, address, seen, frame + 8 * CANCEL)
    poke(frame + 8 * STALLED, peek(frame + 8 * STALLED) + nanoseconds() - begin)


def _choose(control: int, frame: int, word: int, slots: int, targets: int) -> int:
    """Takes the next word of a choice; returns the instruction to go on with, or -1 if there will be none."""
    choice = frame + 8 * word
    taken = peek(choice + 8)
    _stalled(control, frame, choice, taken)
    if load(choice) == taken:
        return -1
    target = load(choice + 8 * (2 + taken % slots))
    store(choice + 8, taken + 1)
    instruction: int = peek(targets + 8 * target)
    return instruction


def _run_frame(control: int, frame: int, at: int, wanted: int) -> int:
    """Runs a frame's instructions from number `at` on, until END, an error or a cancellation, or until what is fetched
    by the word at `wanted` is there.

    Returns the number of the instruction before which it stopped.
    """
    code, operands = peek(frame + 8 * CODE), peek(frame + 8 * OPERANDS)
    while load(control + 8 * STOP) == 0:
        cancelled = load(frame + 8 * CANCEL)
        if cancelled != 0 and at >= cancelled - 1:
            return at
        instruction = code + 8 * WIDTH * at
        what, a, b = peek(instruction), peek(instruction + 8), peek(instruction + 16)
        at += 1
        if what == RUN:
            result = _run_kernel(control, frame, a)
            if result != 0:
                poke(frame + 8 * ERROR_AT, a)
                store(frame + 8 * ERROR, result)
                return at - 1
        elif what == AWAIT:
            _stalled(control, frame, frame + 8 * a, 0)
            if load(frame + 8 * a) == 0:
                return at - 1
        elif what == MOVE:
            store(frame + 8 * a, load(frame + 8 * b) + load(frame + 8 * peek(instruction + 24)))
        elif what == COPY:
            size = load(frame + 8 * peek(instruction + 24))
            copy_memory(load(frame + 8 * a), load(frame + 8 * b), size)
        elif what == CLEAR:
            clear_memory(load(frame + 8 * a), load(frame + 8 * peek(instruction + 24)))
        elif what == POST:
            store(frame + 8 * a, peek(frame + 8 * a) + 1)
            if frame + 8 * a == wanted:
                return at
            _wake_waiters(control)
        elif what == JUMP:
            at = a
        elif what == CASE:
            following = _choose(control, frame, a, b, operands + 8 * peek(instruction + 24))
            if following < 0:
                return at - 1
            at = following
        else:
            return at - 1
    return at


def serve(control: int) -> int:
    """The life of the graph's thread: runs frames as they are published, until STOP."""
    taken = 0
    while True:
        if load(control + 8 * PUBLISHED) == taken:
            _await_change(control, control + 8 * PUBLISHED, taken, control + 8 * STOP)
        if load(control + 8 * STOP) != 0:
            return 0
        if load(control + 8 * PUBLISHED) == taken:
            continue
        frame = peek(control + 8 * (RING + taken % RING_SLOTS))
        exchange(frame + 8 * STATE, RUNNING)
        poke(frame + 8 * STARTED, nanoseconds())
        poke(frame + 8 * STOPPED_AT, _run_frame(control, frame, 0, 0))
        poke(frame + 8 * FINISHED, nanoseconds())
        store(frame + 8 * STATE, ENDED)
        taken += 1
        store(control + 8 * COMPLETED, taken)
        _wake_waiters(control)


def proceed(control: int, frame: int, wanted: int) -> int:
    """Runs a frame in the thread that calls, from where it stopped; frames begin in the order of publication.

    Stops where the word at `wanted` counts another arrival (0: nowhere), and where it would have to wait.
    Returns 1 if the frame has ended.
    """
    if load(frame + 8 * STATE) == ENDED:
        return 1
    now = nanoseconds()
    if load(frame + 8 * STATE) != RUNNING:
        store(frame + 8 * STATE, RUNNING)
        poke(frame + 8 * STARTED, now)
    else:
        poke(frame + 8 * STALLED, peek(frame + 8 * STALLED) + now - peek(frame + 8 * FINISHED))
    at = _run_frame(control, frame, peek(frame + 8 * STOPPED_AT), wanted)
    poke(frame + 8 * STOPPED_AT, at)
    poke(frame + 8 * FINISHED, nanoseconds())
    over = load(frame + 8 * CANCEL) != 0 or load(frame + 8 * ERROR) != 0
    if not over and peek(peek(frame + 8 * CODE) + 8 * WIDTH * at) != END:
        return 0
    store(frame + 8 * STATE, ENDED)
    store(control + 8 * COMPLETED, load(control + 8 * COMPLETED) + 1)
    return 1


def _wake_loop(control: int) -> None:
    if load(control + 8 * SLEEPING) != 0 and exchange(control + 8 * SLEEPING, 0) != 0:
        semaphore_post(peek(control + 8 * SEMAPHORE))


def publish(control: int, frame: int) -> int:
    """Queues a frame; returns how many were published, this one included."""
    count: int = peek(control + 8 * PUBLISHED)
    poke(control + 8 * (RING + count % RING_SLOTS), frame)
    exchange(frame + 8 * STATE, QUEUED)
    exchange(control + 8 * PUBLISHED, count + 1)
    _wake_loop(control)
    return count + 1


def wake(control: int) -> int:
    """Wakes the loop: called after a plain write of the word that it sleeps on."""
    _wake_loop(control)
    return 0


def write(control: int, address: int, value: int) -> int:
    """Writes a word and wakes the loop if it sleeps on it: where a plain write is not seen in order."""
    exchange(address, value)
    if load(control + 8 * SLEEPING) == address:
        _wake_loop(control)
    return 0


def cancel(control: int, frame: int, limit: int) -> int:
    """Asks a frame to stop before instruction `limit`, or where it has to wait; 0: before its next one."""
    exchange(frame + 8 * CANCEL, 1 + limit)
    _wake_loop(control)
    return 0


def await_word(control: int, address: int, least: int, state: int, slot: int) -> int:
    """Waits until the word at `address` is at least `least`, or the frame whose state is at `state` has ended.

    `slot` is a waiter's slot of the control block, the caller's alone for the time of the call.
    """
    waiter = control + 8 * (WAITERS + 2 * slot)
    while True:
        begin = nanoseconds()
        while nanoseconds() - begin < peek(control + 8 * SPIN):
            for _ in range(16):
                if load(address) >= least or load(state) == ENDED:
                    return 0
                pause()
        exchange(waiter, 1)
        if load(address) >= least or load(state) == ENDED or load(control + 8 * STOP) != 0:
            if exchange(waiter, 0) == 0:
                semaphore_wait(peek(waiter + 8))
            return 0
        while semaphore_wait(peek(waiter + 8)) != 0:
            pass
