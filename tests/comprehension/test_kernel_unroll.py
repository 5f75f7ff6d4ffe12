"""Unrolled loops run the same instances in the same order, are proved like any others, and stay within a budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from texts import TEXTS, kernel_of, program_of

from comprehension.kernel import ir
from comprehension.kernel.interpret import interpret
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.unroll import BUDGET, STATEMENT, _even, unroll, weight
from comprehension.kernel.verify import verify_kernel
from comprehension.lang.types import ScalarType
from comprehension.poly.certificate import certify

I64 = ScalarType.INT64
N = ir.Var("N")
BUFFERS = (
    ir.Buffer("X", I64, (ir.Int(8),), ir.Space.INPUT),
    ir.Buffer("Y", I64, (ir.Int(1),), ir.Space.OUTPUT),
)


def ordered(*loops: ir.Loop) -> ir.Kernel:
    """Loops around `Y = 2 * Y + X(i)`, i counted by the innermost: every order of the updates shows in Y."""
    at = ir.Var(loops[-1].variable)
    y = ir.Load("Y", (ir.Int(0),), I64)
    twice = ir.Define("twice", ir.BinaryOp("+", y, y, I64))
    total = ir.BinaryOp("+", ir.Local("twice", I64), ir.Load("X", (at,), I64), I64)
    body: tuple[ir.Node, ...] = (twice, ir.Store("Y", (ir.Int(0),), total))
    for loop in reversed(loops):
        body = (ir.Loop(loop.variable, loop.lower, loop.upper, body, loop.step, loop.unroll),)
    return ir.Kernel("k", ("N",), (), BUFFERS, (ir.Stage("s", body),))


def loops(name: str, sizes: list[ir.IntExpr]) -> st.SearchStrategy[ir.Loop]:
    """Bounds from 0 to 7, or symbolic (above the lower bound, or below it: then the loop runs never)."""
    return st.builds(
        lambda lower, upper, step, ask: ir.Loop(name, ir.Int(lower), upper, (), step, ask),
        st.integers(0, 3),
        st.one_of(st.integers(0, 7).map(ir.Int), st.sampled_from(sizes)),
        st.integers(1, 3),
        st.sampled_from([1, 1, 2, 3]),
    )


@given(outer=loops("i", [N]), inner=loops("j", [N, ir.Var("i")]), most=st.integers(1, 20), n=st.integers(0, 7))
def test_unrolled_loops_do_the_same_in_the_same_order(outer: ir.Loop, inner: ir.Loop, most: int, n: int) -> None:
    kernel = ordered(outer, inner)
    changed = unroll(kernel, most)
    verify_kernel(changed)
    arrays = {"X": np.arange(1, 9)}
    before, after = (interpret(k, arrays, {"N": n})["Y"] for k in (kernel, changed))
    np.testing.assert_array_equal(after, before)
    assert all(loop.unroll == 1 for loop in nodes_of(changed, ir.Loop))


def test_loops_that_fit_disappear_and_the_next_one_goes_in_steps() -> None:
    inner, outer = ir.Loop("j", ir.Int(0), ir.Int(3), ()), ir.Loop("i", ir.Int(0), ir.Int(7), ())
    (left,) = unroll(ordered(outer, inner), 3).stages[0].body
    assert isinstance(left, ir.Loop) and (left.variable, left.step, len(left.body)) == ("i", 1, 6)
    main, rest = unroll(ordered(outer, inner), 6).stages[0].body
    assert isinstance(main, ir.Loop) and isinstance(rest, ir.Loop)
    assert (main.step, main.upper, len(main.body)) == (2, ir.Int(6), 12)
    assert (rest.lower, rest.upper, len(rest.body)) == (ir.Int(6), ir.Int(7), 6)
    shorter = ir.Loop("i", ir.Int(1), ir.Int(4), ())
    assert not any(isinstance(node, ir.Loop) for node in unroll(ordered(shorter, inner), 9).stages[0].body)


def test_a_statement_takes_its_part_of_the_budget() -> None:
    """However many copies are asked for: two statements in the loop, so many copies of them."""
    main, rest = unroll(ordered(ir.Loop("i", ir.Int(0), N, ())), 4096).stages[0].body
    assert isinstance(main, ir.Loop) and isinstance(rest, ir.Loop)
    assert main.step == BUDGET // (2 * STATEMENT)
    assert (len(main.body), len(rest.body)) == (2 * main.step, 2)


def test_a_weight_is_a_number_of_vector_operations() -> None:
    """A tile of 3 x 40 is 9 vectors; a store, a load and a function are 14 operations for each."""
    value = ir.Builtin("exp", (ir.Load("X", (ir.Var("l"),), ScalarType.FLOAT32),), ScalarType.FLOAT32)
    store = ir.Store("Y", (ir.Var("r"), ir.Var("l")), value)
    tile = ir.Tile(ir.Axis("r", ir.Int(0), 3), ir.Axis("l", ir.Int(0), 40), (store,))
    assert weight([tile]) == 9 * 14
    assert weight([store, ir.Barrier()]) == STATEMENT
    inside = ir.If(ir.Compare("<", ir.Var("i"), N), (tile, store))
    assert weight([ir.Loop("i", ir.Int(0), N, (inside,)), tile]) == 2 * 9 * 14 + STATEMENT


@pytest.mark.parametrize("name", ["matmul", "attention", "conv", "scan", "triangle", "padded", "moments", "mask"])
@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_unrolled_kernels_are_proved_and_right(name: str, sizes: str) -> None:
    program, arrays, values = program_of(name, sizes)
    scop, kernel = kernel_of(program)
    changed = unroll(kernel, 5)
    verify_kernel(changed)
    found = certify(scop, None, changed)
    assert found, found.text
    expected, outputs = interpret(kernel, arrays, values), interpret(changed, arrays, values)
    for tensor in expected:
        np.testing.assert_array_equal(outputs[tensor], expected[tensor])


@pytest.mark.parametrize("name", TEXTS)
def test_unrolling_stays_within_its_budget(name: str) -> None:
    program, _, _ = program_of(name)
    _, kernel = kernel_of(program)
    before, after = (sum(weight(stage.body) for stage in k.stages) for k in (kernel, unroll(kernel, 4096)))
    assert before <= after <= before + BUDGET


@given(st.integers(2, 64), st.integers(1, 300))
def test_a_number_of_copies_leaves_no_rest_where_one_near_the_wish_does(wish: int, trips: int) -> None:
    near = [copies for copies in range(max(2, wish // 2 + 1), wish + 1) if trips % copies == 0]
    assert _even(wish, trips) == max(near, default=wish)
    assert _even(wish, None) == wish
