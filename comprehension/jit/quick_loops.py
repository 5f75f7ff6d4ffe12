"""A call that goes from Python straight into a kernel: checks, outputs and launch in machine code.

In: a Python call `door(*inputs, out)`, as CPython hands it to a built-in function; `quick` makes the door's table.
Out: the results; None where no ticket fits (nothing was done: the caller goes the long way); the record of an error.
Invariant: what runs here would have run the long way with the same effect.  A ticket fits only arrays that are in
every respect like those it was made for (type, dtype, shape, strides or density, writable outputs) and whose outputs
lie apart from everything else; whatever is in doubt does not fit.

A door is a table of tickets; a ticket is what the long way found out about one combination of arguments.  Their
layout, and that of Python's and NumPy's objects, is `quick_layout`'s.
"""

# mypy: warn-return-any=False

from comprehension.jit.native import (
    call_0,
    call_1,
    call_2,
    call_run_stages,
    call_stage,
    exchange,
    local_words,
    narrow,
    peek,
    poke,
    release_memory,
    store,
    take_memory,
)
from comprehension.jit.quick_layout import (
    ARENA,
    ARENA_BYTES,
    ARRAY,
    ARRAY_TYPE,
    BLOCK,
    BLOCK_BYTES,
    BUFFER,
    BUFFERS,
    BUSY,
    BYTES,
    CALL,
    DATA,
    DIMS,
    DOUBLE,
    DROP,
    DTYPE,
    EXTENT,
    EXTENTS,
    FIRST_ROW,
    FIRST_TICKET,
    FLAGS,
    FLOAT,
    FLOAT_TYPE,
    GENERATION,
    GENERATION_AT,
    HIGH,
    INPUTS,
    INT,
    ITEM_COUNT,
    ITEMS,
    KEEP,
    KIND,
    LOCK,
    LOW,
    MAKE,
    NONE,
    OUTPUTS,
    POOL,
    RANK,
    RECORD_WORDS,
    ROW_BYTES,
    ROW_DTYPE,
    ROW_FLAGS,
    ROW_RANK,
    RUN_STAGES,
    SCRATCH_BYTES,
    SIZES,
    STAGE,
    STAGES,
    STRIDES,
    TABLE,
    TEMPORARIES,
    TICKETS,
    TUPLE_TYPE,
    TYPE,
    UNLOCK,
    WITH_STRIDES,
)


def _fits(value: int, row: int, array_type: int) -> int:
    """Whether an array is like the one that the row was made for."""
    if peek(value + TYPE) != array_type or peek(value + DTYPE) != peek(row + ROW_DTYPE):
        return 0
    rank, flags = peek(row + ROW_RANK), peek(row + ROW_FLAGS)
    if peek(value + RANK) & INT != rank or peek(value + FLAGS) & flags != flags:
        return 0
    sizes, wanted = peek(value + SIZES), row + EXTENTS
    for axis in range(rank):
        if peek(sizes + 8 * axis) != peek(wanted + 8 * axis):
            return 0
    if peek(row + WITH_STRIDES) != 0:
        strides, wanted = peek(value + STRIDES), row + EXTENTS + 8 * rank
        for axis in range(rank):
            if peek(strides + 8 * axis) != peek(wanted + 8 * axis):
                return 0
    return 1


def _take_inputs(door: int, ticket: int, arguments: int, buffers: int) -> int:
    """Fills in the inputs; returns the first output's row, or 0 where an input does not fit."""
    row = ticket + FIRST_ROW
    scalars = buffers + 8 * (peek(ticket + BUFFERS) + 1 + RECORD_WORDS)
    for i in range(peek(ticket + INPUTS)):
        value, kind = peek(arguments + 8 * i), peek(row + KIND)
        place = buffers + 8 * peek(row + BUFFER)
        if kind == ARRAY:
            if _fits(value, row, peek(door + ARRAY_TYPE)) == 0:
                return 0
            poke(place, peek(value + DATA))
        else:
            if peek(value + TYPE) != peek(door + FLOAT_TYPE):
                return 0
            if kind == DOUBLE:
                poke(scalars, peek(value + FLOAT))
            elif narrow(value + FLOAT, scalars) != 0:  # too large for float32: the long way says so
                return 0
            poke(place, scalars)
            scalars += 8
        row += peek(row + ROW_BYTES)
    return row


def _is_apart(ticket: int, last: int, buffers: int) -> int:
    """Whether the output of the row `last` shares no memory with the arguments before it."""
    start = peek(buffers + 8 * peek(last + BUFFER))
    low, high = start + peek(last + LOW), start + peek(last + HIGH)
    row = ticket + FIRST_ROW
    while row < last:
        if peek(row + KIND) == ARRAY:
            other = peek(buffers + 8 * peek(row + BUFFER))
            if other + peek(row + LOW) < high and low < other + peek(row + HIGH):
                return 0
        row += peek(row + ROW_BYTES)
    return 1


def _take_outputs(door: int, ticket: int, row: int, out: int, buffers: int) -> int:
    """Fills in the outputs; 0 where one does not fit.  `out` is an array, or a tuple where there are several."""
    count = peek(ticket + OUTPUTS)
    if count > 1 and (peek(out + TYPE) != peek(door + TUPLE_TYPE) or peek(out + ITEM_COUNT) != count):
        return 0
    for i in range(count):
        value = out if count == 1 else peek(out + ITEMS + 8 * i)
        if _fits(value, row, peek(door + ARRAY_TYPE)) == 0:
            return 0
        poke(buffers + 8 * peek(row + BUFFER), peek(value + DATA))
        if _is_apart(ticket, row, buffers) == 0:
            return 0
        row += peek(row + ROW_BYTES)
    return 1


def _borrow(arena: int, size: int) -> int:
    """The arena's block, at least `size` bytes of it; 0 where another launch has it or the system has no more."""
    if exchange(arena + BUSY, 1) != 0:
        return 0
    if peek(arena + BLOCK_BYTES) < size:
        release_memory(peek(arena + BLOCK))
        poke(arena + BLOCK, 0)
        poke(arena + BLOCK_BYTES, 0)
        if take_memory(arena + BLOCK, 64, size) != 0:
            poke(arena + BLOCK, 0)
            store(arena + BUSY, 0)
            return 0
        poke(arena + BLOCK_BYTES, size)
    return peek(arena + BLOCK)


def _run(door: int, ticket: int, buffers: int, record: int, block: int) -> int:
    """Runs the stages without Python's lock."""
    temporaries = ticket + peek(ticket + TEMPORARIES)
    while peek(temporaries) >= 0:
        poke(buffers + 8 * peek(temporaries), block + peek(temporaries + 8))
        temporaries += 16
    poke(buffers + 8 * peek(ticket + BUFFERS), record)
    scratch = block + peek(ticket + ARENA_BYTES) - peek(ticket + SCRATCH_BYTES)
    dims, stage = peek(ticket + DIMS), peek(ticket + STAGE)
    state = call_0(peek(door + UNLOCK))
    if stage != 0:
        code = call_stage(stage, buffers, dims, scratch, 0, peek(ticket + EXTENT))
    else:
        code = call_run_stages(
            peek(ticket + RUN_STAGES),
            peek(ticket + POOL),
            peek(ticket + TABLE),
            peek(ticket + STAGES),
            buffers,
            dims,
            scratch,
        )
    call_1(peek(door + LOCK), state)
    return code


def _launch(door: int, number: int, ticket: int, arguments: int, out: int, buffers: int) -> int:
    """The results, new references; -1 where the arguments do not fit; 0 where Python has raised an exception."""
    if peek(ticket + GENERATION) != peek(peek(ticket + GENERATION_AT)):
        return -1
    row = _take_inputs(door, ticket, arguments, buffers)
    if row == 0:
        return -1
    is_fresh = out == peek(door + NONE)
    if is_fresh:
        if peek(ticket + MAKE) == 0:
            return -1
    elif _take_outputs(door, ticket, row, out, buffers) == 0:
        return -1
    arena, size = peek(door + ARENA), peek(ticket + ARENA_BYTES)
    block = _borrow(arena, size) if size > 0 else 0
    if size > 0 and block == 0:
        return -1
    if is_fresh:
        out = call_1(peek(door + CALL), peek(ticket + MAKE))
    else:
        call_1(peek(door + KEEP), out)
    fits = 1
    if is_fresh and out != 0:
        fits = _take_outputs(door, ticket, row, out, buffers)
    code = 0
    record = buffers + 8 * (peek(ticket + BUFFERS) + 1)
    if out != 0 and fits != 0:
        code = _run(door, ticket, buffers, record, block)
    if size > 0:
        store(arena + BUSY, 0)
    if fits == 0:
        call_1(peek(door + DROP), out)
        return -1
    if code != 0:
        call_1(peek(door + DROP), out)
        poke(record, code & INT)
        poke(record + 8, number)
        return call_2(peek(door + BYTES), record, 8 * RECORD_WORDS)
    return out


def launch(table: int, arguments: int, count: int) -> int:
    """A built-in function: `table` is an array of words, `arguments` has `count` objects."""
    door = peek(table + DATA)
    buffers = local_words()
    for number in range(peek(door + TICKETS) if count > 0 else 0):
        ticket = peek(door + FIRST_TICKET + 8 * number)
        if peek(ticket + INPUTS) + 1 == count:
            out = peek(arguments + 8 * (count - 1))
            found = _launch(door, number, ticket, arguments, out, buffers)
            if found != -1:
                return found
    nothing = peek(door + NONE)
    call_1(peek(door + KEEP), nothing)
    return nothing
