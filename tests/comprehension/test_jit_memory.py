"""The caching allocator: blocks come back when the last view dies, on any thread, aligned, bounded."""

from __future__ import annotations

import gc
import platform
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from comprehension.config import config
from comprehension.jit import memory


@pytest.fixture(autouse=True)
def empty():
    gc.collect()
    memory.trim(0)
    yield
    memory.trim(0)


def test_block_comes_back_only_when_the_last_view_has_died() -> None:
    array = memory.allocate((128, 128), np.float32)
    address = array.ctypes.data
    view = array[3:].T.reshape(-1).view(np.int32)[::1]
    flat = array.reshape(-1)
    exported = memoryview(flat)
    del array, view, flat
    gc.collect()
    assert memory.cached_bytes() == 0  # the memoryview still looks into it
    del exported
    assert memory.cached_bytes() >= 128 * 128 * 4
    assert memory.allocate((64, 256), np.float32).ctypes.data == address


@given(st.integers(memory.SMALLEST, 1 << 20))
def test_blocks_start_on_a_line_and_large_ones_on_a_page(size: int) -> None:
    array = memory.allocate((size,), np.uint8)
    assert array.ctypes.data % (memory.PAGE if size >= memory.PAGED else memory.ALIGNMENT) == 0


@given(st.integers(0, 1 << 24))
def test_size_classes_waste_little_and_fit(size: int) -> None:
    rounded = memory.rounded_size(size)
    assert size <= rounded <= max(size * 1.25 + memory.ALIGNMENT, 64)
    assert memory.rounded_size(rounded) == rounded


@pytest.mark.parametrize("dtype", ["float64", "float16", "bool", "int8", "complex128"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (100, 0, 3), (300, 301)])
def test_arrays_are_ordinary(shape, dtype) -> None:
    array = memory.allocate_zeroed(shape, dtype)
    assert array.shape == shape and array.dtype == dtype and array.flags.carray
    assert not array.any()
    if array.nbytes >= memory.SMALLEST:
        assert array.ctypes.data % memory.ALIGNMENT == 0
    array[...] = 1
    assert array.all() or array.size == 0


def test_two_live_arrays_never_share_memory() -> None:
    rng = np.random.default_rng(0)
    live: list[tuple[np.ndarray, int]] = []
    for turn in range(2000):
        if live and rng.random() < 0.5:
            array, value = live.pop(int(rng.integers(len(live))))
            assert (array == value).all()
        else:
            array = memory.allocate((int(rng.integers(1, 40_000)),), np.int32)
            array[:] = turn
            live.append((array, turn))


def test_many_threads() -> None:
    failures: list[int] = []

    def work(number: int) -> None:
        for turn in range(500):
            array = memory.allocate((20_000,), np.int64)
            array[:] = number * 1000 + turn
            view = array[100:]
            del array
            if not (view == number * 1000 + turn).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_what_waits_is_bounded() -> None:
    before, config.block_cache_bytes = config.block_cache_bytes, 4 << 20
    try:
        held = [memory.allocate((1 << 20,), np.uint8) for _ in range(16)]
        del held
        memory.allocate((3 << 20,), np.uint8)  # a miss looks at what waits
        assert memory.cached_bytes() <= (4 << 20) + memory.rounded_size(3 << 20)
    finally:
        config.block_cache_bytes = before
    memory.trim(0)
    assert memory.cached_bytes() == 0


def test_what_cannot_be_had_is_an_error() -> None:
    with pytest.raises(MemoryError):
        memory.allocate((1 << 60,), np.uint8)
    with pytest.raises(ValueError, match="negative"):
        memory.allocate((-1,), np.uint8)


def _resident() -> int:
    """Bytes of memory that this process has."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields["VmRSS"].split()[0])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not asked for what they keep")
def test_memory_freed_between_arrays_that_live_goes_back() -> None:
    arrays = [np.ones(12_000) for _ in range(400)]  # 96 kB each: of the heap, which ends at its last array
    del arrays[:-1]
    before = _resident()
    memory.release()
    assert _resident() < before - (20 << 20)
    assert memory.cached_bytes() == 0
