"""Generated CPU code against the interpreter of KernelIR: every operator, type and shape of tile."""

from __future__ import annotations

import ast
import keyword
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from native_kernels import Native, run_native
from numba import types
from numba.core import errors

from comprehension.codegen.memory import BufferType
from comprehension.codegen.names import RESERVED, identifier
from comprehension.codegen.region import typed_store
from comprehension.codegen.tile import RegionType, TileType
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

F32, F64 = T.FLOAT32, T.FLOAT64
INTEGERS = [t for t in T if t.is_integer]
SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-40, 3.0, -7.25]


def times(a: ir.IntExpr, b: int) -> ir.IntExpr:
    return IntOp("*", a, Int(b))


def plus(a: ir.IntExpr, b: ir.IntExpr) -> ir.IntExpr:
    return IntOp("+", a, b)


def minus(a: ir.IntExpr, b: ir.IntExpr) -> ir.IntExpr:
    return IntOp("-", a, b)


def samples(dtype: T, count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random values with the type's corners among them."""
    rng = np.random.default_rng(seed)
    if dtype is T.BOOL:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_float:
        values = rng.standard_normal(count) * 4
        values[: len(SPECIAL)] = rng.permutation(SPECIAL)
        return values.astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    corners = [info.min, info.max, 0, 1, 2, info.max // 2]
    small = rng.integers(max(info.min, -9), 9, count, dtype=dtype.numpy)
    small[: len(corners)] = rng.permutation(np.array(corners, dtype.numpy))
    return small


def pointwise(values: list[tuple[str, ir.Value]], inputs: list[tuple[str, T]], count: int, style: str) -> ir.Kernel:
    """out_i[l] = value_i over `count` elements, as scalar loop or as tiles of 16 lanes with a limit."""
    buffers = [Buffer(n, t, (Int(count),), Space.INPUT) for n, t in inputs]
    buffers += [Buffer(n, v.dtype, (Int(count),), Space.OUTPUT) for n, v in values]
    stores = tuple(Store(n, (Var("l"),), v) for n, v in values)
    if style == "scalar":
        body: tuple[ir.Node, ...] = stores
        parallel = Loop("l", Int(0), Int(count), ())
    else:
        body = (Tile(None, Axis("l", times(Var("b"), 16), 16, Int(count)), stores),)
        parallel = Loop("b", Int(0), Int(-(-count // 16)), ())
    return ir.Kernel("pointwise", (), (), tuple(buffers), (Stage("s", body, parallel),))


def assert_same(kernel: ir.Kernel, arrays: dict[str, Any], sizes: Any = None, scalars: Any = None) -> None:
    """Native and interpreted outputs are equal to the bit (any NaN equals any NaN)."""
    found = run_native(kernel, arrays, sizes, scalars)
    expected = interpret(kernel, arrays, sizes, scalars)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        if array.dtype.kind == "f":
            numbers = ~np.isnan(array)
            np.testing.assert_array_equal(np.signbit(found[name][numbers]), np.signbit(array[numbers]), err_msg=name)


def load(name: str, dtype: T, *subscripts: ir.IntExpr) -> Load:
    return Load(name, subscripts or (Var("l"),), dtype)


ARITHMETIC = ["+", "-", "*", "/", "%", "min", "max"]
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]


@pytest.mark.parametrize("style", ["scalar", "tile"])
@pytest.mark.parametrize("dtype", [*INTEGERS, T.FLOAT16, F32, F64], ids=str)
def test_binary_operators(dtype: T, style: str) -> None:
    a, b = load("A", dtype), load("B", dtype)
    ops = [op for op in ARITHMETIC if not (op == "%" and dtype.is_float)]
    values: list[tuple[str, ir.Value]] = [(f"arithmetic{i}", BinaryOp(op, a, b, dtype)) for i, op in enumerate(ops)]
    values += [(f"comparison{i}", BinaryOp(op, a, b, T.BOOL)) for i, op in enumerate(COMPARISONS)]
    values += [("negated", ir.UnaryOp("-", a, dtype)), ("literal", BinaryOp("+", a, Const(3, dtype), dtype))]
    kernel = pointwise(values, [("A", dtype), ("B", dtype)], 77, style)
    arrays = {"A": samples(dtype, 77, 1), "B": samples(dtype, 77, 2)}
    found, expected = run_native(kernel, arrays), interpret(kernel, arrays)
    for name, _ in values:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("style", ["scalar", "tile"])
def test_remainder_of_floats(style: str) -> None:
    kernel = pointwise([("R", BinaryOp("%", load("A", F32), load("B", F32), F32))], [("A", F32), ("B", F32)], 64, style)
    assert_same(kernel, {"A": samples(F32, 64, 1), "B": samples(F32, 64, 5)})


@pytest.mark.parametrize("style", ["scalar", "tile"])
@pytest.mark.parametrize("source", list(T), ids=str)
def test_conversions(source: T, style: str) -> None:
    values = [(f"to_{t}", ir.Convert(load("A", source), t)) for t in T]
    array = samples(source, 50, 3)
    if source.is_float:  # out of range, a conversion to an integer may give anything
        array = np.nan_to_num(array, nan=0.5, posinf=100, neginf=1).astype(source.numpy)
        array = np.abs(array)
    assert_same(pointwise(values, [("A", source)], 50, style), {"A": array})


@pytest.mark.parametrize("style", ["scalar", "tile"])
def test_double_to_half_rounds_once(style: str) -> None:
    rng = np.random.default_rng(0)
    half = rng.uniform(-4, 4, 200).astype(np.float16)
    ties = (half.astype(np.float64) + np.nextafter(half, np.float16(9)).astype(np.float64)) / 2
    array = np.concatenate(
        [ties, np.nextafter(ties, 9), np.nextafter(ties, -9), [65519.999, 65520.0, 1e-8, 3e-8, np.nan]]
    )
    kernel = pointwise([("H", ir.Convert(load("A", F64), T.FLOAT16))], [("A", F64)], len(array), style)
    assert_same(kernel, {"A": array})


@pytest.mark.parametrize("style", ["scalar", "tile"])
def test_logic_and_selection(style: str) -> None:
    a, b, c = load("A", T.BOOL), load("B", T.BOOL), load("X", F32)
    values: list[tuple[str, ir.Value]] = [
        ("both", BinaryOp("&&", a, b, T.BOOL)),
        ("either", BinaryOp("||", a, b, T.BOOL)),
        ("not_a", ir.UnaryOp("!", a, T.BOOL)),
        ("picked", ir.SelectValue(a, Const(2.5, F32), ir.UnaryOp("-", Const(2.5, F32), F32), F32)),
        ("read", ir.SelectValue(a, c, ir.SelectValue(b, Const(float("nan"), F32), c, F32), F32)),
        ("constant", ir.SelectValue(a, Const(True, T.BOOL), b, T.BOOL)),
        ("fused", ir.Fma(c, c, c, F32)),
        ("where", ir.IndexValue(plus(times(Var("l"), 3), Int(-7)))),
    ]
    kernel = pointwise(values, [("A", T.BOOL), ("B", T.BOOL), ("X", F32)], 40, style)
    assert_same(kernel, {"A": samples(T.BOOL, 40, 1), "B": samples(T.BOOL, 40, 2), "X": samples(F32, 40, 3)})


@pytest.mark.parametrize("style", ["scalar", "tile"])
def test_only_the_chosen_side_reads(style: str) -> None:
    """A[l - 3] with a guard: the interpreter refuses a read out of bounds, machine code must not do it either."""
    inside = BinaryOp("<=", Const(3, T.INT32), ir.IndexValue(Var("l")), T.BOOL)
    value = ir.SelectValue(inside, load("A", F32, minus(Var("l"), Int(3))), Const(-1.0, F32), F32)
    assert_same(pointwise([("Y", value)], [("A", F32)], 40, style), {"A": samples(F32, 40)})


@pytest.mark.parametrize("style", ["scalar", "tile"])
def test_irregular_subscripts(style: str) -> None:
    """Floor division, remainder, min, max, choice and values of other tensors as subscripts."""
    at = Var("l")
    subscripts = [
        IntOp("/", at, Int(3)),
        IntOp("%", times(at, 7), Int(10)),
        IntOp("min", at, Int(9)),
        IntOp("max", minus(Int(8), at), Int(0)),
        ir.IntSelect(ir.Compare("<", at, Int(5)), at, Int(2)),
        ir.IntSelect(ir.BoolOp("or", ir.Compare("<", at, Int(2)), ir.Compare("==", at, Int(7))), Int(1), Int(0)),
        ir.FromValue(load("I", T.INT8)),
        ir.FromValue(BinaryOp("+", load("I", T.INT8), Const(1, T.INT8), T.INT8)),
    ]
    values: list[tuple[str, ir.Value]] = [(f"y{i}", load("A", F32, s)) for i, s in enumerate(subscripts)]
    kernel = pointwise(values, [("A", F32), ("I", T.INT8)], 24, style)
    arrays = {"A": samples(F32, 24), "I": np.random.default_rng(1).integers(0, 20, 24).astype(np.int8)}
    assert_same(kernel, arrays)


def test_names_are_made_harmless() -> None:
    """Keywords, dunder names, names of ours and foreign characters print as safe, different identifiers."""
    names = ["lambda", "__import__", "load", "np", "buffers", "a.b", "a_b", "range"]
    values: list[tuple[str, ir.Value]] = [(n, load("for", F32)) for n in names]
    kernel = pointwise(values, [("for", F32)], 20, "tile")
    source = Native(kernel).source.text
    targets = {
        t.id
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name)
    }
    assert {"lambda_", "v___import__", "load_", "np_", "buffers_", "a_b", "a_b_1", "range_", "for_"} <= targets
    assert_same(kernel, {"for": samples(F32, 20)})


@given(st.text(st.sampled_from("a_1.é") | st.characters(), max_size=6) | st.sampled_from(sorted(RESERVED)))
@example("")
@example("2d")
def test_any_text_becomes_a_name(text: str) -> None:
    name = identifier(text)
    assert name.isascii() and name.isidentifier()
    assert not name.startswith("__") or not name.strip("_")  # underscores alone mean nothing to Python
    assert not keyword.iskeyword(name) and name not in RESERVED


# --- tiles of rows and lanes --------------------------------------------------------------------------------


def tile_kernel(rows: int, lanes: int, shape: tuple[int, int], limits: bool, transposed: bool) -> ir.Kernel:
    """C = A * row + column over tiles; transposed: C[l, r]."""
    m, n = shape
    r, l = Var("r"), Var("l")
    out = (l, r) if transposed else (r, l)
    row_limit, lane_limit = (Int(m), Int(n)) if limits else (None, None)
    a = load("A", F32, r, l)
    value = BinaryOp("+", BinaryOp("*", a, load("R", F32, r), F32), load("S", F32, l), F32)
    tile = Tile(
        Axis("r", times(Var("i"), rows), rows, row_limit),
        Axis("l", times(Var("j"), lanes), lanes, lane_limit),
        (ir.Define("x", value), Store("C", out, ir.Local("x", F32)), Store("D", (r, l), load("R", F32, r))),
    )
    body = (Loop("j", Int(0), Int(-(-n // lanes)), (tile,)),)
    buffers = (
        Buffer("A", F32, (Int(m), Int(n)), Space.INPUT),
        Buffer("R", F32, (Int(m),), Space.INPUT),
        Buffer("S", F32, (Int(n),), Space.INPUT),
        Buffer("C", F32, (Int(n), Int(m)) if transposed else (Int(m), Int(n)), Space.OUTPUT),
        Buffer("D", F32, (Int(m), Int(n)), Space.OUTPUT),
    )
    return ir.Kernel("tiles", (), (), buffers, (Stage("s", body, Loop("i", Int(0), Int(-(-m // rows)), ())),))


@pytest.mark.parametrize("transposed", [False, True], ids=["straight", "transposed"])
@pytest.mark.parametrize(
    ("rows", "lanes", "shape"),
    [(4, 16, (8, 32)), (6, 8, (11, 19)), (3, 7, (7, 15)), (24, 32, (25, 40)), (1, 5, (2, 9))],
)
def test_tiles(rows: int, lanes: int, shape: tuple[int, int], transposed: bool) -> None:
    m, n = shape
    kernel = tile_kernel(rows, lanes, shape, bool(m % rows or n % lanes), transposed)
    rng = np.random.default_rng(0)
    arrays = {"A": rng.random((m, n), np.float32), "R": rng.random(m, np.float32), "S": rng.random(n, np.float32)}
    assert_same(kernel, arrays)


@pytest.mark.parametrize("stored", [types.float32, types.float64, types.int32, types.int64], ids=str)
@pytest.mark.parametrize("dtype", [types.float32, types.float64, types.int32, types.int64], ids=str)
def test_a_store_does_not_convert(dtype: types.Type, stored: types.Type) -> None:
    """Wider or narrower: conversions are values of their own."""
    region, none, one = RegionType(4, 16, False, False), types.literal(0), types.literal(1)
    value = TileType(stored, 4, 16, by_rows=False, by_lanes=True)
    if dtype == stored:
        shape, _ = typed_store(region, BufferType(dtype, 0), none, one, value)
        assert shape == value
    else:
        with pytest.raises(errors.TypingError, match="does not go into"):
            typed_store(region, BufferType(dtype, 0), none, one, value)


@pytest.mark.parametrize("lanes", [4, 6, 16, 48])
@pytest.mark.parametrize("limit", [None, 5])
def test_transposed_loads(lanes: int, limit: int | None) -> None:
    """Rows contiguous in memory, lanes strided: moved by lanes and transposed in registers."""
    r, l = Var("r"), Var("l")
    tile = Tile(
        Axis("r", Int(0), 6, None if limit is None else Int(limit)),
        Axis("l", Int(0), lanes, Int(lanes - 1)),
        (Store("C", (r, l), load("A", F32, l, r)),),
    )
    buffers = (
        Buffer("A", F32, (Int(lanes), Int(6)), Space.INPUT),
        Buffer("C", F32, (Int(6), Int(lanes)), Space.OUTPUT),
    )
    kernel = ir.Kernel("transposed", (), (), buffers, (Stage("s", (tile,)),))
    assert_same(kernel, {"A": np.arange(6 * lanes, dtype=np.float32).reshape(lanes, 6)})


@pytest.mark.parametrize("op", ["+", "*", "min", "max"])
@pytest.mark.parametrize("dtype", [F32, F64, T.INT32, T.UINT8], ids=str)
def test_folds(op: Any, dtype: T) -> None:
    """Row and column folds of a limited tile into registers and memory; small integers, so exact in any order."""
    r, l = Var("r"), Var("l")
    a = load("A", dtype, r, l)
    body = (
        Store("by_row", (r,), ir.Fold(op, a, "l", dtype)),
        Store("by_lane", (l,), ir.Fold(op, a, "r", dtype)),
        Store("all", (Int(0),), ir.Fold(op, ir.Fold(op, a, "l", dtype), "r", dtype)),
    )
    tile = Tile(Axis("r", Int(0), 5, Int(4)), Axis("l", Int(0), 24, Int(19)), body)
    buffers = (
        Buffer("A", dtype, (Int(4), Int(19)), Space.INPUT),
        Buffer("by_row", dtype, (Int(4),), Space.OUTPUT),
        Buffer("by_lane", dtype, (Int(19),), Space.OUTPUT),
        Buffer("all", dtype, (Int(1),), Space.OUTPUT),
    )
    kernel = ir.Kernel("folds", (), (), buffers, (Stage("s", (tile,)),))
    low, high = (1, 3) if op == "*" else (0, 9)
    assert_same(kernel, {"A": np.random.default_rng(2).integers(low, high, (4, 19)).astype(dtype.numpy)})


def split_sum(n: str | int) -> ir.Kernel:
    """A row sum with a private accumulator of 16 lanes, its last tile limited; the size may be symbolic."""
    extent: ir.IntExpr = Var(n) if isinstance(n, str) else Int(n)
    i, l = Var("i"), Var("l")
    local = minus(l, times(Var("b"), 16))
    fill = Tile(None, Axis("l", Int(0), 16), (Store("acc", (l,), Const(0.0, F32), ir.StoreRole.FILL),))
    update = Tile(
        None,
        Axis("l", times(Var("b"), 16), 16, extent),
        (Store("acc", (local,), BinaryOp("+", load("acc", F32, local), load("A", F32, i, l), F32)),),
    )
    total = ir.Fold("+", load("acc", F32), "l", F32)
    finish = Tile(None, Axis("l", Int(0), 16), (Store("Y", (i,), total, ir.StoreRole.COMBINE),))
    blocks = IntOp("/", plus(extent, Int(15)), Int(16))
    buffers = (
        Buffer("A", F32, (Int(3), extent), Space.INPUT),
        Buffer("Y", F32, (Int(3),), Space.OUTPUT),
        Buffer("acc", F32, (Int(16),), Space.REGISTER),
    )
    body = (fill, Loop("b", Int(0), blocks, (update,)), finish)
    sizes = (n,) if isinstance(n, str) else ()
    return ir.Kernel("row_sum", sizes, (), buffers, (Stage("s", body, Loop("i", Int(0), Int(3), ())),))


@pytest.mark.parametrize("n", [1, 16, 37])
@pytest.mark.parametrize("symbolic", [False, True])
def test_accumulators_keep_what_a_limit_leaves_out(n: int, symbolic: bool) -> None:
    array = np.random.default_rng(0).integers(-5, 5, (3, n)).astype(np.float32)
    kernel = split_sum("N" if symbolic else n)
    assert_same(kernel, {"A": array}, {"N": n} if symbolic else None)


def ragged_product(m: int, n: int, k: int, fill_limited: bool) -> ir.Kernel:
    """C = A B by register tiles of 4 x 16 with limits on both axes."""
    r, l, i, j = Var("r"), Var("l"), times(Var("i"), 4), times(Var("j"), 16)
    place = (minus(r, i), minus(l, j))
    whole, edge = (Axis("r", i, 4), Axis("l", j, 16)), (Axis("r", i, 4, Int(m)), Axis("l", j, 16, Int(n)))
    product = ir.Fma(load("A", F32, r, Var("k")), load("B", F32, Var("k"), l), load("acc", F32, *place), F32)
    fill = Tile(*(edge if fill_limited else whole), (Store("acc", place, Const(0.0, F32), ir.StoreRole.FILL),))
    update = Tile(*edge, (Store("acc", place, product),))
    finish = Tile(*edge, (Store("C", (r, l), load("acc", F32, *place), ir.StoreRole.COMBINE),))
    body = (Loop("j", Int(0), Int(-(-n // 16)), (fill, Loop("k", Int(0), Int(k), (update,)), finish)),)
    buffers = (
        Buffer("A", F32, (Int(m), Int(k)), Space.INPUT),
        Buffer("B", F32, (Int(k), Int(n)), Space.INPUT),
        Buffer("C", F32, (Int(m), Int(n)), Space.OUTPUT),
        Buffer("acc", F32, (Int(4), Int(16)), Space.REGISTER),
    )
    return ir.Kernel("product", (), (), buffers, (Stage("s", body, Loop("i", Int(0), Int(-(-m // 4)), ())),))


@pytest.mark.parametrize("fill_limited", [False, True])
def test_ragged_products_blend_only_where_it_can_be_seen(fill_limited: bool) -> None:
    kernel = ragged_product(7, 21, 5, fill_limited)
    rng = np.random.default_rng(0)
    arrays = {"A": rng.random((7, 5), np.float32), "B": rng.random((5, 21), np.float32)}
    assert_same(kernel, arrays)
    assert ("keep" in Native(kernel).source.text) is fill_limited
    assert "keep" in Native(split_sum(37)).source.text


def test_scalar_parameters_strides_and_scratch() -> None:
    """A scalar as value and as bound, a strided input, scratch memory of symbolic size."""
    n, k = Var("N"), Var("k")
    j = Var("j")
    buffers = (
        Buffer("A", F32, (n,), Space.INPUT, strides=(Var("A.stride0"),)),
        Buffer("row", F64, (n,), Space.SCRATCH),
        Buffer("other", F32, (plus(n, Int(1)),), Space.SCRATCH),
        Buffer("Y", F32, (n,), Space.OUTPUT),
    )
    scaled = ir.Convert(BinaryOp("*", load("A", F32, j), ir.ScalarArg("alpha", F32), F32), F64)
    body = (
        Loop("j", Int(0), k, (Store("row", (j,), scaled), Store("other", (j,), load("A", F32, j)))),
        Loop(
            "j",
            Int(0),
            k,
            (Store("Y", (j,), BinaryOp("+", ir.Convert(load("row", F64, j), F32), load("other", F32, j), F32)),),
        ),
    )
    kernel = ir.Kernel("scaled", ("N",), (("alpha", F32), ("k", T.INT32)), buffers, (Stage("s", body),))
    native = Native(kernel, {"N": 10, "A.stride0": 2})
    memory = native.bind({}, {"alpha": 0.5, "k": 7})
    source = np.arange(20, dtype=np.float32)
    native.pointers[0] = source.ctypes.data
    assert native.run() == 0
    np.testing.assert_array_equal(memory["Y"], np.where(np.arange(10) < 7, source[::2] * 1.5, 0))
    assert eval(str(native.source.scratch_bytes), {"N": 10}) == 128 + 64


def test_the_source_is_the_same_whatever_the_hash_seed() -> None:
    kernel = tile_kernel(4, 16, (8, 32), False, True)
    assert Native(kernel).source == Native(kernel).source
