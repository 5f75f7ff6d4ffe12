"""Drawn kernels: any value, any type, scalar or tile, gives what the interpreter gives, to the bit."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from native_kernels import run_native

from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.ir import (
    Axis,
    BinaryOp,
    Buffer,
    Const,
    Int,
    IntOp,
    Load,
    Loop,
    Space,
    Stage,
    Store,
    Tile,
    Var,
)
from comprehension.lang.types import ScalarType as T

ROWS, COLUMNS = 5, 21
TYPES = [T.BOOL, T.INT8, T.UINT16, T.INT32, T.INT64, T.UINT64, T.FLOAT16, T.FLOAT32, T.FLOAT64]
R, L = Var("r"), Var("l")


@st.composite
def subscripts(draw: st.DrawFn) -> tuple[ir.IntExpr, ir.IntExpr]:
    """A place in a ROWS × COLUMNS tensor: regular, constant along an axis, transposed within bounds, or irregular."""
    shifted = IntOp("min", IntOp("+", L, Int(draw(st.integers(0, 3)))), Int(COLUMNS - 1))
    row = draw(st.sampled_from([R, R, Int(2), IntOp("-", Int(ROWS - 1), R), IntOp("%", L, Int(ROWS))]))
    column = draw(st.sampled_from([L, L, Int(4), R, IntOp("-", Int(COLUMNS - 1), L), IntOp("/", L, Int(2)), shifted]))
    return row, column


@st.composite
def values(draw: st.DrawFn, dtype: T, depth: int) -> ir.Value:
    """A value of `dtype`; floats are never converted to integers (out of range that may give anything)."""
    if depth == 0:
        return draw(_leaves(dtype))
    kinds = ["leaf", "select", "convert"]
    kinds += ["logic", "compare", "not"] if dtype is T.BOOL else ["arithmetic", "arithmetic", "negate", "index"]
    match draw(st.sampled_from(kinds)):
        case "leaf":
            return draw(_leaves(dtype))
        case "select":
            sides = [draw(values(dtype, depth - 1)) for _ in range(2)]
            return ir.SelectValue(draw(values(T.BOOL, depth - 1)), sides[0], sides[1], dtype)
        case "convert":
            sources = [t for t in TYPES if dtype.is_float or dtype is T.BOOL or not t.is_float]
            return ir.Convert(draw(values(draw(st.sampled_from(sources)), depth - 1)), dtype)
        case "logic":
            op = draw(st.sampled_from(["&&", "||"]))
            return BinaryOp(op, draw(values(T.BOOL, depth - 1)), draw(values(T.BOOL, depth - 1)), T.BOOL)
        case "compare":
            kind = draw(st.sampled_from([t for t in TYPES if t is not T.BOOL]))
            op = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
            return BinaryOp(op, draw(values(kind, depth - 1)), draw(values(kind, depth - 1)), T.BOOL)
        case "not":
            return ir.UnaryOp("!", draw(values(T.BOOL, depth - 1)), T.BOOL)
        case "negate":
            return ir.UnaryOp("-", draw(values(dtype, depth - 1)), dtype)
        case "index":
            index = IntOp("+", IntOp("*", R, Int(3)), IntOp("%", L, Int(draw(st.integers(1, 9)))))
            return ir.Convert(ir.IndexValue(index), dtype)
        case _:
            op = draw(st.sampled_from(["+", "-", "*", "/", "min", "max", *([] if dtype.is_float else ["%"])]))
            return BinaryOp(op, draw(values(dtype, depth - 1)), draw(values(dtype, depth - 1)), dtype)


@st.composite
def _leaves(draw: st.DrawFn, dtype: T) -> ir.Value:
    if draw(st.integers(0, 3)) == 0:
        number = draw(st.integers(0, 1)) if dtype is T.BOOL else draw(st.integers(0, 100))
        return Const(bool(number) if dtype is T.BOOL else number / 4 if dtype.is_float else number, dtype)
    return Load(f"A_{dtype}", draw(subscripts()), dtype)


@st.composite
def kernels(draw: st.DrawFn) -> ir.Kernel:
    """Two definitions and three stores over all points, as loops or as tiles whose extents need not divide."""
    kinds = [draw(st.sampled_from(TYPES)) for _ in range(3)]
    first = draw(values(kinds[0], 2))
    body: list[ir.Define | ir.Store] = [ir.Define("x", first)]
    for number, kind in enumerate(kinds):
        value = draw(values(kind, 3)) if number else ir.Local("x", kind)
        body.append(Store(f"out{number}", (R, L), value))
    tensors = [Buffer(f"A_{t}", t, (Int(ROWS), Int(COLUMNS)), Space.INPUT) for t in TYPES]
    tensors += [Buffer(f"out{i}", k, (Int(ROWS), Int(COLUMNS)), Space.OUTPUT) for i, k in enumerate(kinds)]
    return ir.Kernel("drawn", (), (), tuple(tensors), (draw(stages(tuple(body))),))


@st.composite
def stages(draw: st.DrawFn, body: tuple[ir.Define | ir.Store, ...]) -> Stage:
    if draw(st.booleans()):
        return Stage("s", (Loop("l", Int(0), Int(COLUMNS), body),), Loop("r", Int(0), Int(ROWS), ()))
    height, width = draw(st.sampled_from([(1, 8), (2, 16), (4, 4), (5, 21), (3, 32), (8, 7)]))
    start = (IntOp("*", Var("i"), Int(height)), IntOp("*", Var("j"), Int(width)))
    rows = Axis("r", start[0], height, None if ROWS % height == 0 else Int(ROWS))
    tile = Tile(rows, Axis("l", start[1], width, None if COLUMNS % width == 0 else Int(COLUMNS)), body)
    inner = Loop("j", Int(0), Int(-(-COLUMNS // width)), (tile,))
    return Stage("s", (inner,), Loop("i", Int(0), Int(-(-ROWS // height)), ()))


def inputs() -> dict[str, Any]:
    """One tensor of each type, corners among small values."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for dtype in TYPES:
        if dtype is T.BOOL:
            array = rng.integers(0, 2, (ROWS, COLUMNS)).astype(bool)
        elif dtype.is_float:
            array = (rng.standard_normal((ROWS, COLUMNS)) * 3).astype(dtype.numpy)
            array.flat[:6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-5]
        else:
            info = np.iinfo(dtype.numpy)
            array = rng.integers(max(info.min, -7), 8, (ROWS, COLUMNS)).astype(dtype.numpy)
            array.flat[:4] = [info.min, info.max, 0, 1]
        arrays[f"A_{dtype}"] = array
    return arrays


@given(kernels())
def test_drawn_kernels(kernel: ir.Kernel) -> None:
    found, expected = run_native(kernel, inputs()), interpret(kernel, inputs())
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@settings(max_examples=settings().max_examples // 10 or 1)
@given(kernels())
def test_numba_makes_the_same_of_a_text(kernel: ir.Kernel) -> None:
    """The slow reference of `codegen.lowering`: numba's own way from the text to machine code."""
    found, expected = run_native(kernel, inputs()), run_native(kernel, inputs(), by_numba=True)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
