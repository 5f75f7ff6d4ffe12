"""Where things are in memory that Python and `quick_loops` both read: numbers only, for either side to import.

Offsets are in bytes, words have 8.  Those in Python's and NumPy's objects are from their public C headers
(`PyObject`, `PyFloatObject`, `PyTupleObject`, `PyArrayObject_fields`); `quick` verifies them on real objects before
anything relies on them.
"""

# Objects: the type of any; an array's fields; a tuple's items; a float's value.
TYPE, DATA, RANK, SIZES, STRIDES, DTYPE, FLAGS = 8, 16, 24, 32, 40, 56, 64
ITEM_COUNT, ITEMS, FLOAT = 16, 24, 16
INT = 0xFFFFFFFF  # a C int within a word

# A door: objects and functions of Python's, the arena, then the tickets.
ARRAY_TYPE, TUPLE_TYPE, FLOAT_TYPE, NONE, KEEP, DROP, CALL, BYTES, UNLOCK, LOCK, ARENA, TICKETS = range(0, 96, 8)
FIRST_TICKET = 96

# A ticket, then a row for each argument, and two words (buffer, offset) for each temporary.
INPUTS, OUTPUTS, GENERATION_AT, GENERATION, MAKE = 0, 8, 16, 24, 32
STAGE, EXTENT, RUN_STAGES, POOL, TABLE, STAGES, DIMS = 40, 48, 56, 64, 72, 80, 88
SCRATCH_BYTES, ARENA_BYTES, BUFFERS, TEMPORARIES = 96, 104, 112, 120
FIRST_ROW = 128
ROW_BYTES, KIND, BUFFER, ROW_DTYPE, ROW_FLAGS, ROW_RANK, LOW, HIGH, WITH_STRIDES, EXTENTS = range(0, 80, 8)
ARRAY, DOUBLE, SINGLE = 0, 1, 2  # kinds: an array, a float for a float64 parameter, one for a float32 parameter

# The arena: one block of memory for temporaries and scratch, lent to one launch at a time.
BUSY, BLOCK, BLOCK_BYTES = 0, 8, 16

RECORD_WORDS = 8  # after the pointers to the buffers, on the stack; a word for each scalar comes after it
LOCAL_WORDS = 96  # for all of them
