"""Lanes a few elements apart: what is read is what the interpreter reads, up to the very ends of memory."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from native_kernels import run_native

from comprehension.codegen.apart import vector_starts
from comprehension.codegen.cpu import generate
from comprehension.codegen.lowering import lower_module
from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.ir import Axis, Buffer, Int, Load, Space, Stage, Store, Tile, Var
from comprehension.lang.types import ScalarType as T
from comprehension.machine import NEAR, host

TYPES = [T.BOOL, T.INT8, T.UINT16, T.INT32, T.INT64, T.FLOAT16, T.FLOAT32, T.FLOAT64]


def picking(stride: int, lanes: int, extent: int, first: int, dtype: T) -> ir.Kernel:
    """P[l] = B[first + stride * l] for l below `extent`, a tile of lanes at a time, the last of which is cut."""
    lane, start = Var("l"), Var("s")
    source = Buffer("B", dtype, (Int(first + stride * (extent - 1) + 1),), Space.INPUT)
    target = Buffer("P", dtype, (Int(extent),), Space.OUTPUT)
    at = ir.IntOp("+", ir.IntOp("*", Int(stride), lane), Int(first))
    copy = Store("P", (lane,), Load("B", (at,), dtype))
    limit = Int(extent) if extent % lanes else None
    tile = Tile(None, Axis("l", start, lanes, limit), (copy,))
    loop = ir.Loop("s", Int(0), Int(extent), (tile,), lanes)
    return ir.Kernel("picking", (), (), (source, target), (Stage("s", (loop,)),))


@given(st.integers(2, 5), st.sampled_from([4, 8, 16, 24, 32]), st.integers(1, 70), st.integers(0, 3), st.data())
@example(2, 16, 32, 1, None)
@example(4, 4, 7, 0, None)
@settings(max_examples=20)
def test_lanes_apart_are_picked(stride: int, lanes: int, extent: int, first: int, data: st.DataObject | None) -> None:
    dtype = T.FLOAT32 if data is None else data.draw(st.sampled_from(TYPES))
    kernel = picking(stride, lanes, extent, first, dtype)
    values = (np.arange(first + stride * (extent - 1) + 1) * 37 % 101).astype(dtype.numpy)
    found, expected = run_native(kernel, {"B": values}), interpret(kernel, {"B": values})
    np.testing.assert_array_equal(found["P"], expected["P"])
    np.testing.assert_array_equal(found["P"], values[first::stride])


@pytest.mark.parametrize("stride", range(2, NEAR + 1))
@pytest.mark.parametrize("width", [4, 8, 16])
def test_nothing_is_read_before_the_first_lane_or_behind_the_last(stride: int, width: int) -> None:
    starts = vector_starts(stride, width)
    read = {start + element for start in starts for element in range(width)}
    lanes = {stride * lane for lane in range(width)}
    assert lanes <= read and min(read) == 0 and max(read) == max(lanes)


def test_a_whole_tile_gathers_nothing() -> None:
    kernel = picking(2, 16, 32, 0, T.FLOAT32)
    assert "gather" not in str(lower_module("m", generate(kernel, host(), True).text))
