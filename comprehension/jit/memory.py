"""One aligned caching allocator for outputs, workspaces and tensors.

In: a shape and a dtype.  Out: an uninitialised C-contiguous NumPy array that starts on a cache line, a large one on a
page.
Invariant: a block goes back to its list when the last array that looks into it has died, never earlier.

Fresh memory from the system costs a page fault for each 4 KB, as much as a whole elementwise pass
(128 MB: 17 ms against 9 ms), so blocks are kept.  The array's base is a token (a ctypes array, which NumPy
does not collapse as it does chains of views) whose `__del__` gives the block back.  There is no lock:
`deque.append` and `pop` are atomic, and a token may die inside any allocation.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from comprehension.config import config

ALIGNMENT = 64
PAGE = 4096
PAGED = 64 * PAGE  # blocks from this size on start on a page
SMALLEST = 32 << 10  # below this the system's allocator is as fast and needs no page faults
_STEPS = 4  # size classes per doubling: at most a fifth of a block is unused

Array = npt.NDArray[Any]


class _SizeClass:
    """Blocks of one size that wait for use, and the type of their tokens."""

    __slots__ = ("blocks", "size", "token")

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks: deque[Array] = deque(maxlen=max(2, min(64, (256 << 20) // size)))
        blocks = self.blocks

        class Token(ctypes.c_char * size):  # type: ignore[misc]
            """Keeps a block from its list while an array looks into it."""

            __slots__ = ("block",)

            def __del__(self) -> None:
                blocks.append(self.block)

        self.token = Token

    def take(self) -> Any:
        """A token of a block, waiting or new (`MemoryError` where the system has none)."""
        try:
            block = self.blocks.pop()
        except IndexError:
            trim(config.block_cache_bytes)
            block = _aligned(self.size)
        token = self.token.from_buffer(block)
        token.block = block
        return token


_classes: dict[int, _SizeClass] = {}
_classes_by_bytes: dict[int, _SizeClass] = {}  # saves rounding the sizes that a program uses again and again
_MOST_SIZES = 4096


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An uninitialised C-contiguous array of `shape` and `dtype`: from 32 KB on a cache line, from 256 KB on a page.

    Raises MemoryError where the system refuses, ValueError for a negative size.

    >>> a = allocate((100, 100), "float64")
    >>> a.shape, a.ctypes.data % 64
    ((100, 100), 0)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, (_classes_by_bytes.get(size) or _class_for(size)).take())


def allocate_zeroed(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Like `allocate`, filled with zeros.

    >>> int(allocate_zeroed((3,), "int32").sum())
    0
    """
    array = allocate(shape, dtype)
    array.fill(0)
    return array


def cached_bytes() -> int:
    """Bytes that wait in the lists."""
    return sum(len(each.blocks) * each.size for each in list(_classes.values()))


def trim(limit: int = 0) -> None:
    """Gives waiting blocks back to the system, largest first, until at most `limit` bytes wait."""
    excess = cached_bytes() - limit
    for each in sorted([*_classes.values()], key=lambda c: -c.size):
        while excess > 0 and each.blocks:
            try:
                each.blocks.popleft()
            except IndexError:  # another thread took the last one
                break
            excess -= each.size


def release() -> None:
    """Gives back all waiting blocks, and has the C library give back what it keeps of freed memory (glibc does).

    For the end of a phase that used much: where arrays were freed between others that live, the C library keeps the
    pages, which may be as many again.
    """
    trim()
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@functools.cache
def _malloc_trim() -> Any:
    """The C library's function, None where it has none."""
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no such library (Windows)
        return None


def rounded_size(size: int) -> int:
    """The size of the class that serves `size` bytes: a quarter step of a power of two above it.

    >>> rounded_size(32769), rounded_size(40960)
    (40960, 40960)
    """
    step = max(ALIGNMENT, (1 << (size - 1).bit_length()) // (2 * _STEPS))
    return -(-size // step) * step


def _class_for(size: int) -> _SizeClass:
    rounded = rounded_size(size)
    found = _classes.get(rounded)
    if found is None:
        found = _classes.setdefault(rounded, _SizeClass(rounded))
    if len(_classes_by_bytes) < _MOST_SIZES:
        _classes_by_bytes[size] = found
    return found


def _aligned(size: int) -> Array:
    """Memory that starts on a cache line, large one on a page.

    A load waits for stores before it whose addresses have the same last twelve bits.  NumPy's large arrays start 16
    bytes past a page; where results start a little further on, all loads of an elementwise kernel meet such stores
    (gelu of 4 M elements: 1.8 instead of 1.4 ms).  On the page, loads are ahead of the stores that look like theirs.
    """
    alignment = PAGE if size >= PAGED else ALIGNMENT
    raw = np.empty(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]
