"""Points of a tile beyond its limits touch no memory: arrays end with a page, and the next one belongs to nobody."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import pytest
from native_kernels import Native

from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.ir import Axis, Buffer, Int, Load, Space, Stage, Store, Tile, Var
from comprehension.lang.types import ScalarType as T

Array = np.ndarray[Any, Any]
ROWS, LANES = 4, 16
PROT_NONE = 0


def before_a_page_of_nobody(like: Array) -> Array:
    """A copy whose last byte is the last of a page; a read or write behind it ends the process."""
    protect = getattr(ctypes.CDLL(None), "mprotect", None)
    if protect is None:
        pytest.skip("pages are protected by mprotect, which this system does not have")
    size = -(-like.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, size + mmap.PAGESIZE), np.uint8)
    if protect(ctypes.c_void_p(memory.ctypes.data + size), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE):
        pytest.skip("this system does not let a page be protected")
    found = memory[size - like.nbytes : size].view(like.dtype).reshape(like.shape)
    found[...] = like
    return found


def doubling(rows: int, lanes: int, turned: bool, streaming: bool) -> ir.Kernel:
    """P[r, l] = B[r, l] + B[r, l] for fewer rows or lanes than the tile has; `turned`: B[l, r]."""
    r, lane = Var("r"), Var("l")
    place = (lane, r) if turned else (r, lane)
    shape = (Int(lanes), Int(rows)) if turned else (Int(rows), Int(lanes))
    source = Buffer("B", T.FLOAT32, shape, Space.INPUT)
    target = Buffer("P", T.FLOAT32, (Int(rows), Int(lanes)), Space.OUTPUT)
    read = Load("B", place, T.FLOAT32)
    store = Store("P", (r, lane), ir.BinaryOp("+", read, read, T.FLOAT32), streaming=streaming)
    first = Axis("r", Int(0), ROWS, Int(rows) if rows < ROWS else None)
    second = Axis("l", Int(0), LANES, Int(lanes) if lanes < LANES else None)
    return ir.Kernel("doubling", (), (), (source, target), (Stage("s", (Tile(first, second, (store,)),)),))


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("turned", [False, True], ids=["along rows", "turned"])
@pytest.mark.parametrize(("rows", "lanes"), [(ROWS, 13), (3, LANES), (1, 1), (ROWS, LANES)])
def test_masked_points_touch_no_memory(rows: int, lanes: int, turned: bool, streaming: bool) -> None:
    kernel = doubling(rows, lanes, turned, streaming)
    shape = (lanes, rows) if turned else (rows, lanes)
    values = (np.arange(rows * lanes) * 37 % 101).astype(np.float32).reshape(shape)
    native = Native(kernel)
    native.bind({"B": values})
    arrays = {"B": before_a_page_of_nobody(values), "P": before_a_page_of_nobody(np.zeros((rows, lanes), np.float32))}
    for number, name in enumerate(native.memory):
        native.pointers[number] = arrays[name].ctypes.data
    assert native.run() == 0
    np.testing.assert_array_equal(arrays["P"], interpret(kernel, {"B": values})["P"])
