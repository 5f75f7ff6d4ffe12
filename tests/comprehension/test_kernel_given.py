"""Stages at the sizes that they are for, and tiles that have a point wherever loops run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import example, given, strategies as st
from native_kernels import evaluate
from test_kernel_edges import built
from test_versions import runs

import comprehension as tc
from comprehension.kernel import ir
from comprehension.kernel.edges import split_edges
from comprehension.kernel.given import at_given_sizes
from comprehension.kernel.interpret import interpret
from comprehension.kernel.occupied import is_occupied
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer

WINDOW = "def f(float(C,H,W) I, float(F,C,P,Q) K) -> (O) { O(f,h,w) +=! I(c,h+p,w+q) * K(f,c,p,q) }"


@cache
def asked_for_with_windows() -> tc.Kernel:
    """A kernel that was first asked for with windows of 3 by 2."""
    f = tc.define(WINDOW, sizes="symbolic").f
    return f.compile(np.zeros((4, 16, 24), np.float32), np.zeros((6, 4, 3, 2), np.float32))


@given(
    st.integers(0, 5), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9), st.integers(1, 4), st.integers(1, 3)
)
@example(c=4, h=7, w=23, f=6, p=3, q=2)
@example(c=4, h=7, w=23, f=6, p=2, q=3)
@example(c=4, h=1, w=1, f=1, p=3, q=2)
def test_other_windows_than_those_seen_have_a_version_too(c: int, h: int, w: int, f: int, p: int, q: int) -> None:
    kernel = asked_for_with_windows()
    assert kernel.certificate
    draw = np.random.default_rng(c + h + w + f)
    image, weights = (draw.integers(-3, 4, s).astype(np.float32) for s in ((c, h + p - 1, w + q - 1), (f, c, p, q)))
    windows = np.lib.stride_tricks.sliding_window_view(image, (p, q), (1, 2))
    np.testing.assert_array_equal(kernel(image, weights), np.einsum("chwpq,fcpq->fhw", windows, weights))
    found = runs(kernel, C=c, H=h + p - 1, W=w + q - 1, F=f, P=p, Q=q)
    if c and f:
        assert len(found) == 1
        assert (p, q) == (3, 2) or "f_stage0" not in found


def test_a_stage_at_given_sizes_does_the_same() -> None:
    program = infer(load(WINDOW)["f"], None, "symbolic")
    _, kernel = built(program)
    kernel = split_edges(kernel)
    sizes = {"C": 3, "H": 9, "W": 21, "F": 5, "P": 3, "Q": 2}
    numbers = (("P", 3), ("Q", 2), ("F", 5))
    (stage,) = kernel.stages
    other, changed = at_given_sizes(kernel, replace(stage, given=numbers))
    assert {v.name for v in nodes_of((changed, other.buffers), ir.Var)}.isdisjoint({"P", "Q", "F"})
    assert sum(1 for _ in nodes_of(changed, ir.If)) < sum(1 for _ in nodes_of(stage, ir.If))
    draw = np.random.default_rng(0)
    shapes = {"I": (3, 9, 21), "K": (5, 3, 3, 2)}
    arrays = {name: draw.integers(-3, 4, shape).astype(np.float32) for name, shape in shapes.items()}
    expected, found = (
        interpret(k, arrays, sizes=sizes)["O"] for k in (kernel, replace(other, stages=(replace(changed, given=()),)))
    )
    np.testing.assert_array_equal(found, expected)


@st.composite
def ragged_tiles(draw: st.DrawFn) -> tuple[ir.Axis, tuple[ir.Loop, ...]]:
    """Tiles of `extent` points over a length, one after the other, in blocks or not, some of them wrong."""
    extent, more, begin = draw(st.integers(1, 8)), draw(st.integers(0, 9)), draw(st.integers(0, 2))
    length = ir.IntOp("-", ir.Var("N"), ir.Int(draw(st.integers(-1, 3))))
    count = ir.IntOp("/", ir.IntOp("+", length, ir.Int(more)), ir.Int(extent))
    if draw(st.booleans()):
        outer = ir.Loop("b", ir.Int(begin), count, (), step=3)
        end = ir.IntOp("min", ir.IntOp("+", ir.Var("b"), ir.Int(3)), count)
        loops = (outer, ir.Loop("t", ir.Var("b"), end, ()))
    else:
        loops = (ir.Loop("t", ir.Int(begin), count, ()),)
    start = ir.IntOp("*", ir.Int(extent), ir.Var("t"))
    return ir.Axis("l", start, extent, ir.IntOp("-", length, ir.Int(draw(st.integers(0, 1))))), loops


@given(ragged_tiles(), st.integers(0, 40))
def test_a_tile_that_is_said_to_have_a_point_has_one(drawn: tuple[ir.Axis, tuple[ir.Loop, ...]], size: int) -> None:
    axis, loops = drawn
    assert axis.limit is not None
    if not is_occupied(axis, loops, ("N",)):
        return

    def check(inside: tuple[ir.Loop, ...], values: dict[str, int]) -> None:
        if not inside:
            assert axis.limit is not None
            assert evaluate(axis.limit, values) > evaluate(axis.start, values)
            return
        loop, *rest = inside
        for value in range(evaluate(loop.lower, values), evaluate(loop.upper, values), loop.step):
            check(tuple(rest), {**values, loop.variable: value})

    check(loops, {"N": size})


def test_the_last_tile_of_a_loop_over_whole_tiles_is_known_to_have_a_point() -> None:
    length = ir.IntOp("-", ir.Var("W"), ir.Var("Q"))  # W - Q + 1 points
    loop = ir.Loop("t", ir.Int(0), ir.IntOp("+", ir.IntOp("/", length, ir.Int(32)), ir.Int(1)), ())
    axis = ir.Axis("l", ir.IntOp("*", ir.Int(32), ir.Var("t")), 32, ir.IntOp("+", length, ir.Int(1)))
    assert is_occupied(axis, (loop,), ("W", "Q"))
    assert not is_occupied(replace(axis, limit=length), (loop,), ("W", "Q"))


def test_a_loop_over_what_is_left_may_be_empty_at_the_sizes_planned_for() -> None:
    """Rows side by side go into the likely number of rows: nothing is left to ask for boxes in."""
    text = "def f(float(N,G,C,H,W) I, float(G,F,C,P,Q) K) -> (O) { O(n,g,f,h,w) +=! I(n,g,c,h+p,w+q) * K(g,f,c,p,q) }"
    f = tc.define(text, sizes="symbolic").f
    image, weights = np.ones((32, 32, 8, 28, 28), np.float32), np.ones((32, 8, 8, 3, 3), np.float32)
    kernel = f.compile(image, weights)
    assert kernel.certificate
    small = kernel(image[:1, :2, :, :9, :9], weights[:2])
    np.testing.assert_array_equal(small, np.full((1, 2, 8, 7, 7), 72, np.float32))
