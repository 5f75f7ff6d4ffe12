"""Indirect subscripts: checked before anything is written, or in place where the kernel computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_kernels import Native

from comprehension.kernel import ir
from comprehension.kernel.ir import Axis, Buffer, Const, Int, IntOp, Load, Loop, Space, Stage, Store, Tile, Var
from comprehension.lang.types import ScalarType as T

F32, I32 = T.FLOAT32, T.INT32
ROWS, WIDTH, COUNT = 10, 20, 7


def lookup(style: str, computed: bool) -> ir.Kernel:
    """O(i, j) = table(index(i), j); computed: an earlier stage writes the index that is used."""
    i, j = Var("i"), Var("j")
    index = Load("copied" if computed else "index", (i,), I32)
    value = Load("table", (ir.FromValue(index), j), F32)
    store = Store("O", (i, j), value, instance=ir.Instance("S0", (i, j)))
    inner: ir.Node = Loop("j", Int(0), Int(WIDTH), (store,))
    if style == "tile":
        inner = Loop(
            "b", Int(0), Int(2), (Tile(None, Axis("j", IntOp("*", Var("b"), Int(16)), 16, Int(WIDTH)), (store,)),)
        )
    stages = [Stage("main", (inner,), Loop("i", Int(0), Int(COUNT), ()))]
    buffers = [
        Buffer("table", F32, (Int(ROWS), Int(WIDTH)), Space.INPUT),
        Buffer("index", I32, (Int(COUNT),), Space.INPUT),
        Buffer("O", F32, (Int(COUNT), Int(WIDTH)), Space.OUTPUT),
    ]
    if computed:
        copy = Store("copied", (i,), Load("index", (i,), I32))
        stages.insert(0, Stage("copy", (Loop("i", Int(0), Int(COUNT), (copy,)),)))
        buffers.append(Buffer("copied", I32, (Int(COUNT),), Space.WORKSPACE))
    return ir.Kernel("lookup", (), (), tuple(buffers), tuple(stages))


def rows_gathered() -> ir.Kernel:
    """O(l) = x(l) < 5 ? table(x(l)) : -1 with x computed in the same tile: guarded, lane by lane, in place."""
    l = Var("l")
    x = Load("doubled", (l,), I32)
    small = ir.BinaryOp("<", x, Const(5, I32), T.BOOL)
    value = ir.SelectValue(small, Load("table", (ir.FromValue(x),), F32), Const(-1.0, F32), F32)
    doubled = ir.BinaryOp("*", Load("index", (l,), I32), Const(2, I32), I32)
    body = (Store("doubled", (l,), doubled), Store("O", (l,), value))
    buffers = (
        Buffer("index", I32, (Int(COUNT),), Space.INPUT),
        Buffer("table", F32, (Int(5),), Space.INPUT),
        Buffer("doubled", I32, (Int(COUNT),), Space.OUTPUT),
        Buffer("O", F32, (Int(COUNT),), Space.OUTPUT),
    )
    tile = Tile(None, Axis("l", Int(0), 8, Int(COUNT)), body)
    return ir.Kernel("gathered", (), (), buffers, (Stage("s", (tile,)),))


def arrays(index: list[int]) -> dict[str, Any]:
    table = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
    return {"table": table, "index": np.array(index, np.int32)}


@pytest.mark.parametrize("style", ["scalar", "tile"])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("bad", [-1, ROWS, 2**31 - 1, -(2**31)])
def test_a_subscript_out_of_range_is_an_error(style: str, computed: bool, bad: int) -> None:
    native = Native(lookup(style, computed))
    assert native.source.checks == (0 if computed else 1)
    good = [3, 0, 9, 4, 4, 1, 7]
    memory = native.bind(arrays(good))
    assert native.run() == 0
    np.testing.assert_array_equal(memory["O"], arrays(good)["table"][good])
    memory = native.bind(arrays([*good[:5], bad, 2]))
    memory["O"][...] = -5
    code = native.run()
    assert str(native.source.errors[code - 1]) == "S0: subscript 0 of table is out of range"
    assert native.record[:4].tolist() == [code, code, bad, ROWS]
    assert (memory["O"][5] == -5).all()
    if not computed:
        assert (memory["O"] == -5).all()  # nothing was written


@pytest.mark.parametrize(("style", "loops"), [("scalar", 1), ("tile", 2)])
def test_the_scan_leaves_out_loops_that_do_not_matter(style: str, loops: int) -> None:
    """The loop over the elements of a row is gone; over blocks it stays, because the last block may be empty."""
    check = Native(lookup(style, False)).source.text.split("def ")[1]
    assert check.startswith("lookup_check") and check.count("for ") == loops


def test_a_guard_is_a_guard_of_the_check() -> None:
    native = Native(rows_gathered())
    table = np.arange(5, dtype=np.float32) * 10
    memory = native.bind({"table": table, "index": np.array([0, 1, 2, 100, 0, 2, 50])})
    assert native.run() == 0
    np.testing.assert_array_equal(memory["O"], [0, 20, 40, -1, 0, 40, -1])
    native.bind({"table": table, "index": np.array([0, 1, -3, 100, 0, 2, 50])})
    assert native.run() == 1
    assert native.record[2:4].tolist() == [-6, 5]


def test_unchecked_has_no_checks() -> None:
    native = Native(lookup("scalar", False), checked=False)
    assert native.source.checks == 0 and native.source.errors == ()
    memory = native.bind(arrays([3, 0, 9, 4, 4, 1, 7]))
    assert native.run() == 0
    assert memory["O"][2, 1] == 181
