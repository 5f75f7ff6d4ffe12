"""Copies that turn tiles round write what the interpreter writes, for every shape and type."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import example, given, settings
from native_kernels import run_native

from comprehension.codegen.cpu import generate
from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.ir import Axis, Buffer, Int, Load, Space, Stage, Store, Tile, Var
from comprehension.lang.types import ScalarType as T
from comprehension.machine import host

TYPES = [T.BOOL, T.INT8, T.UINT16, T.INT32, T.INT64, T.FLOAT16, T.FLOAT32, T.FLOAT64]


def turning(rows: int, lanes: int, dtype: T, back: bool) -> ir.Kernel:
    """P[r, l] = B[l, r] over one whole tile; `back`: P[l, r] = B[l, r], whose rows are neighbours on both sides."""
    r, lane = Var("r"), Var("l")
    source = Buffer("B", dtype, (Int(lanes), Int(rows)), Space.INPUT)
    target = Buffer("P", dtype, source.shape if back else source.shape[::-1], Space.OUTPUT)
    place = (lane, r) if back else (r, lane)
    copy = Store("P", place, Load("B", (lane, r), dtype))
    tile = Tile(Axis("r", Int(0), rows), Axis("l", Int(0), lanes), (copy,))
    return ir.Kernel("turning", (), (), (source, target), (Stage("s", (tile,)),))


@given(st.integers(2, 36), st.sampled_from([2, 3, 8, 16, 26, 32, 48, 64]), st.sampled_from(TYPES), st.booleans())
@example(16, 64, T.FLOAT32, False)
@example(16, 48, T.FLOAT64, False)
@example(4, 16, T.FLOAT32, False)
@settings(max_examples=12)
def test_copies_that_turn_tiles_round(rows: int, lanes: int, dtype: T, back: bool) -> None:
    kernel = turning(rows, lanes, dtype, back)
    assert "move(" in generate(kernel, host(), True).text
    values = (np.arange(rows * lanes) * 37 % 101).reshape(lanes, rows).astype(dtype.numpy)
    found, expected = run_native(kernel, {"B": values}), interpret(kernel, {"B": values})
    np.testing.assert_array_equal(found["P"], expected["P"])
    np.testing.assert_array_equal(found["P"], values if back else values.T)


def test_a_tensor_turned_round_in_place_is_read_as_a_whole() -> None:
    """Squares one after the other would read what they wrote before."""
    r, lane = Var("r"), Var("l")
    buffer = Buffer("A", T.FLOAT32, (Int(32), Int(32)), Space.OUTPUT)
    swap = Store("A", (r, lane), Load("A", (lane, r), T.FLOAT32))
    tile = Tile(Axis("r", Int(0), 32), Axis("l", Int(0), 32), (swap,))
    kernel = ir.Kernel("in_place", (), (), (buffer,), (Stage("s", (tile,)),))
    assert "move(" not in generate(kernel, host(), True).text
