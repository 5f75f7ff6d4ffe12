"""Division by multiply-adds rounds as division does, in every exponent and for every special value."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from native_kernels import Native

from comprehension.codegen.cpu import generate
from comprehension.kernel import ir
from comprehension.lang.types import ScalarType
from comprehension.machine import Machine

ROWS, LANES = 32, 64
Array = np.ndarray[Any, Any]
INTEGERS = {np.float32: np.int32, np.float64: np.int64}


def division(dtype: ScalarType, divisor: ir.Value | None = None) -> ir.Kernel:
    """Y(i, j) = X(i, j) / D(i)."""
    i, j = ir.Var("i"), ir.Var("j")
    below = ir.Load("D", (i,), dtype) if divisor is None else divisor
    value = ir.BinaryOp("/", ir.Load("X", (i, j), dtype), below, dtype)
    tile = ir.Tile(None, ir.Axis("j", ir.Int(0), LANES), (ir.Store("Y", (i, j), value),))
    shape = (ir.Int(ROWS), ir.Int(LANES))
    buffers = (
        ir.Buffer("X", dtype, shape, ir.Space.INPUT),
        ir.Buffer("D", dtype, shape[:1], ir.Space.INPUT),
        ir.Buffer("Y", dtype, shape, ir.Space.OUTPUT),
    )
    return ir.Kernel("divide", (), (), buffers, (ir.Stage("s", (tile,), ir.Loop("i", ir.Int(0), ir.Int(ROWS), ())),))


@cache
def compiled(dtype: ScalarType) -> Native:
    native = Native(division(dtype))
    assert "quotient(" in native.source.text
    return native


def divided(above: Array, below: Array) -> Array:
    native = compiled(ScalarType(above.dtype.name))
    memory = native.bind({"X": above, "D": below})
    assert native.run() == 0
    return memory["Y"]


def assert_same_bits(found: Array, expected: Array) -> None:
    integer = INTEGERS[expected.dtype.type]
    numbers = ~np.isnan(expected)
    assert np.array_equal(np.isnan(found), ~numbers)
    assert np.array_equal(found[numbers].view(integer), expected[numbers].view(integer))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(seed=st.integers(0, 2**32 - 1), exponents=st.sampled_from([2, 30, 60, 120, 400]))
def test_close_to_ties_and_everywhere_else(dtype: type[np.floating[Any]], seed: int, exponents: int) -> None:
    """Dividends that put the quotient next to a number or next to the middle of two."""
    draw = np.random.default_rng(seed)
    info = np.finfo(dtype)
    reach = min(exponents, info.maxexp - 2)
    below = np.ldexp(draw.uniform(1, 2, ROWS), draw.integers(-reach, reach, ROWS)).astype(dtype)
    below *= draw.choice([-1, 1], ROWS).astype(dtype)
    aim = np.ldexp(draw.uniform(1, 2, (ROWS, LANES)), draw.integers(-2, 3, (ROWS, LANES))).astype(dtype)
    with np.errstate(all="ignore"):
        wide = np.longdouble(aim) * (1 + np.longdouble(info.eps) * draw.choice([0.0, 0.25, 0.5], aim.shape))
        above = (wide * below[:, None]).astype(dtype)
        above = (above.view(INTEGERS[dtype]) + draw.integers(-2, 3, aim.shape).astype(INTEGERS[dtype])).view(dtype)
        assert_same_bits(divided(above, below), above / below[:, None])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: type[np.floating[Any]]) -> None:
    info = np.finfo(dtype)
    some = [0.0, 1.0, 3.0, info.tiny, info.smallest_subnormal, info.max, np.inf, np.nan, info.eps]
    values = np.array([*some, *(-x for x in some)], dtype)
    above = np.resize(values, (ROWS, LANES))
    below = np.resize(values, ROWS)
    with np.errstate(all="ignore"):
        assert_same_bits(divided(above, below), above / below[:, None])


def test_only_where_it_is_faster() -> None:
    """Powers of two are multiplications already; narrow vectors divide fast enough."""
    narrow = Machine("test", "", 256, 16, 32 << 10, 1 << 20, 16 << 20, 2)
    wide = Machine("test", "", 512, 32, 32 << 10, 1 << 20, 16 << 20, 2)
    kernel = division(ScalarType.FLOAT32)
    assert "quotient(" in generate(kernel, wide).text
    assert "quotient(" not in generate(kernel, narrow).text
    for number, multiplies in ((1024.0, False), (0.125, False), (-2.0, False), (3.0, True), (0.0, True)):
        constant = division(ScalarType.FLOAT32, ir.Const(number, ScalarType.FLOAT32))
        assert ("quotient(" in generate(constant, wide).text) is multiplies
