"""The KernelIR interpreter: meaning of loops, tiles, masks, private memory and typed arithmetic."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from comprehension.kernel import ir, scalars
from comprehension.kernel.interpret import InterpretError, interpret
from comprehension.lang.types import ScalarType

F32, I32 = ScalarType.FLOAT32, ScalarType.INT32
VAR, INT = ir.Var, ir.Int


def load(name, *subscripts):
    return ir.Load(name, subscripts, F32)


def kernel(body, buffers, *, sizes=("N",), parallel=None):
    return ir.Kernel("k", sizes, (), tuple(buffers), (ir.Stage("s", tuple(body), parallel),))


X = ir.Buffer("X", F32, (VAR("N"),), ir.Space.INPUT)
Y = ir.Buffer("Y", F32, (VAR("N"),), ir.Space.OUTPUT)


def test_a_masked_tile_leaves_what_is_past_its_limit():
    lanes = ir.Axis("l", VAR("i"), 4, VAR("N"))
    tile = ir.Tile(None, lanes, (ir.Store("Y", (VAR("l"),), load("X", VAR("l"))),))
    body = [ir.Loop("i", INT(0), VAR("N"), (tile,), step=4)]
    x = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(interpret(kernel(body, [X, Y]), {"X": x}, {"N": 6})["Y"], x)


def test_a_tile_statement_reads_everything_before_it_writes():
    lanes = ir.Axis("l", INT(0), 3)
    shift = ir.Store("Y", (ir.IntOp("+", VAR("l"), INT(1)),), load("Y", VAR("l")))
    y = np.arange(4, dtype=np.float32)
    out = interpret(kernel([ir.Tile(None, lanes, (shift,))], [Y]), {"Y": y}, {"N": 4})["Y"]
    assert out.tolist() == [0, 0, 1, 2]


def test_a_fold_combines_the_active_points_once():
    lanes = ir.Axis("l", INT(0), 8, VAR("N"))
    fold = ir.Fold("+", load("X", VAR("l")), "l", F32)
    store = ir.Store("Y", (INT(0),), ir.BinaryOp("+", load("Y", INT(0)), fold, F32))
    x = np.arange(5, dtype=np.float32)
    assert interpret(kernel([ir.Tile(None, lanes, (store,))], [X, Y]), {"X": x}, {"N": 5})["Y"][0] == 10


def test_scalar_parameters_are_values_of_their_type():
    body = [ir.Loop("i", INT(0), VAR("N"), (ir.Store("Z", (VAR("i"),), ir.ScalarArg("s", I32)),))]
    z = ir.Buffer("Z", I32, (VAR("N"),), ir.Space.OUTPUT)
    scaled = replace(kernel(body, [z]), scalars=(("s", I32),))
    assert interpret(scaled, {}, {"N": 2}, {"s": 2**31 + 7})["Z"].tolist() == [7 - 2**31] * 2


def test_private_memory_is_fresh_for_each_unit():
    scratch = ir.Buffer("s", F32, (INT(1),), ir.Space.SCRATCH)
    body = [ir.Store("Y", (VAR("u"),), load("s", INT(0))), ir.Store("s", (INT(0),), load("X", VAR("u")))]
    parallel = ir.Loop("u", INT(0), VAR("N"), ())
    out = interpret(kernel(body, [X, Y, scratch], parallel=parallel), {"X": np.ones(3, np.float32)}, {"N": 3})
    assert np.isnan(out["Y"]).all()


def test_the_order_of_units_shows_a_carried_dependence():
    previous = load("Y", ir.IntOp("max", ir.IntOp("-", VAR("u"), INT(1)), INT(0)))
    body = [ir.Store("Y", (VAR("u"),), ir.BinaryOp("+", previous, load("X", VAR("u")), F32))]
    scan = kernel(body, [X, Y], parallel=ir.Loop("u", INT(0), VAR("N"), ()))
    x = np.ones(4, np.float32)
    assert interpret(scan, {"X": x}, {"N": 4})["Y"].tolist() == [1, 2, 3, 4]
    assert interpret(scan, {"X": x}, {"N": 4}, order=reversed)["Y"].tolist() == [1, 1, 1, 1]


def test_a_subscript_out_of_range_is_refused_with_its_place():
    body = [ir.Store("Y", (INT(-1),), load("X", INT(0)))]
    with pytest.raises(InterpretError, match=r"k\.s: Y\[-1\] is outside of its shape \(2,\)"):
        interpret(kernel(body, [X, Y]), {"X": np.ones(2, np.float32)}, {"N": 2})


def test_instances_are_traced_in_order():
    store = ir.Store("Y", (VAR("i"),), load("X", VAR("i")), instance=ir.Instance("S0", (VAR("i"),)))
    trace = []
    body = [ir.Loop("i", INT(0), VAR("N"), (ir.If(ir.Compare("!=", VAR("i"), INT(1)), (store,)),))]
    interpret(kernel(body, [X, Y]), {"X": np.ones(3, np.float32)}, {"N": 3}, trace=trace)
    assert trace == [("S0", (0,)), ("S0", (2,))]


@pytest.mark.parametrize("op", ["/", "%"])
def test_integers_divided_by_zero_give_zero(op):
    assert scalars.binary(op, np.int32(5), np.int32(0), I32) == 0


def test_the_smallest_integer_by_minus_one_wraps():
    assert scalars.binary("/", np.int32(-(2**31)), np.int32(-1), I32) == -(2**31)


@pytest.mark.parametrize("op", ["min", "max"])
def test_min_and_max_propagate_nan(op):
    assert np.isnan(scalars.binary(op, np.float32(np.nan), np.float32(1), F32))
    assert np.isnan(scalars.binary(op, np.float32(1), np.float32(np.nan), F32))


@settings(max_examples=max(50, settings().max_examples))
@given(st.tuples(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 3))
def test_fma_rounds_once(numbers):
    a, b, c = map(np.float32, numbers)
    got = scalars.fma(a, b, c, F32)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if np.isfinite(got):
        with np.errstate(over="ignore"):  # the largest number's neighbour is infinite
            below, above = np.nextafter(got, np.float32(-np.inf)), np.nextafter(got, np.float32(np.inf))
        distance = abs(Fraction(float(got)) - exact)
        assert all(distance <= abs(Fraction(float(x)) - exact) for x in (below, above) if np.isfinite(x))
    else:
        assert abs(exact) > Fraction(float(np.finfo(np.float32).max))
