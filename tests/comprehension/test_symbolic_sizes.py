"""One kernel for all sizes: compiled once, right at every size drawn, sizes that do not fit refused at the launch."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, strategies as st

import comprehension as tc
from comprehension.jit.client import statistics
from comprehension.lang.types import Spec

# Values are small integers, so that every order of summation gives the same bits.
TEXTS = {
    "product": "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }",
    "gram": "def f(float(M,K) A) -> (C) { C(m,n) +=! A(m,k) * A(n,k) }",
    "layer": """def f(float(M,K) I, float(N,K) W, float(N) b) -> (O) {
        O(m,n) +=! I(m,k) * W(n,k)
        O(m,n) = fmax(O(m,n) + b(n), 0) }""",
    "one operand, two products": """def f(float(M,K) A, float(K,N) B, float(K,P) C) -> (D, E) {
        D(m,n) +=! A(m,k) * B(k,n)
        E(m,p) +=! A(m,k) * C(k,p) }""",
    "window": "def f(float(C,H,W) I, float(F,C,P,Q) K) -> (O) { O(f,h,w) +=! I(c,h+p,w+q) * K(f,c,p,q) }",
    "centred": """def f(float(M,N) X) -> (Y) {
        top(m) max=! X(m,n)
        d(m,n) = X(m,n) - top(m)
        s(m) +=! d(m,n)
        Y(m,n) = d(m,n) + s(m) }""",
    "turned": "def f(float(M,N) X) -> (Y, Z) { Y(n,m) = X(m,n)\n Z(m,n) = X(m,n) + Y(n,m) }",
    "columns": "def f(float(M,N) X) -> (Y) { Y(n) +=! X(m,n) }",
    "all": "def f(float(M,N) X) -> (S, T, L) { S() +=! X(m,n)\n T() max=! X(m,n)\n L() min=! X(m,n) }",
    "triangle": "def f(float(N,N) A, float(N) x) -> (y) { y(i) +=! A(i,j) * x(j) where j in 0:i+1 }",
    "scan": """def f(float(T,D) X) -> (O) {
        O(0, d) = X(0, d)
        O(t, d) = O(t-1, d) + X(t, d) where t in 1:T }""",
}
TWICE = {"gram": "M", "triangle": "N"}  # sizes that bound two loops
MOST_INSTANCES = 8_000  # of a statement: the reference interprets them one by one
EXTENTS = (0, 1, 2, 3, 5, 7, 12, 15, 16, 17, 24, 31, 33, 47, 64, 65, 100, 130)


@cache
def function(name: str) -> tc.Comprehension:
    return tc.define(TEXTS[name], sizes="symbolic").f


def inputs_for(name: str, sizes: dict[str, int]) -> list[np.ndarray]:
    draw = np.random.default_rng(sum(sizes.values()))
    shapes = [param.type.dims for param in function(name).definition.parameters]
    return [draw.integers(-3, 4, tuple(sizes[d] for d in dims)).astype(np.float32) for dims in shapes]


def sizes_of(name: str) -> list[str]:
    names = [dim for param in function(name).definition.parameters for dim in param.type.dims]
    return list(dict.fromkeys(names))


@st.composite
def drawn_sizes(draw: st.DrawFn, name: str) -> dict[str, int]:
    """Empty, short, ragged and long; the window no larger than what it moves over, the scan with a first row."""
    sizes, room = {}, MOST_INSTANCES
    for size in draw(st.permutations(sizes_of(name))):
        power = 2 if TWICE.get(name) == size else 1
        extent = draw(st.sampled_from([e for e in EXTENTS if e**power <= max(1, room)]))
        sizes[size] = extent
        room //= max(1, extent**power)
    if name == "window":
        sizes["H"], sizes["W"] = max(sizes["H"], sizes["P"]), max(sizes["W"], sizes["Q"])
    if name == "scan":
        sizes["T"] = max(1, sizes["T"])
    return sizes


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_one_kernel_is_the_reference_at_every_size(name: str, data: st.DataObject) -> None:
    f = function(name)
    inputs = inputs_for(name, data.draw(drawn_sizes(name)))
    found, wanted = f(*inputs), f.reference(*inputs)
    for left, right in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, wanted)), strict=True):
        np.testing.assert_array_equal(left, right)
    assert len(f._kernels) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_symbolic_schedules_are_proved_as_they_were_made(name: str) -> None:
    f = function(name)
    kernel = f.compile(*(Spec(p.type.dims, p.type.scalar) for p in f.definition.parameters))
    assert kernel.certificate and not kernel.report.fallbacks


def test_forty_sizes_are_compiled_once(fresh_cache) -> None:
    f = tc.define(TEXTS["product"], sizes="symbolic").f
    before = statistics.compiled
    for extent in range(40):
        a, b = np.ones((extent, 3), np.float32), np.ones((3, 2 * extent), np.float32)
        assert (f(a, b) == 3).all()
    assert statistics.compiled == before + 1


def test_sizes_that_cannot_be_are_refused_before_anything_is_written() -> None:
    window, product = function("window"), function("product")
    out = np.full((1, 1, 1), 7, np.float32)
    with pytest.raises(tc.ComprehensionError, match="H"):
        window(np.ones((1, 2, 2), np.float32), np.ones((1, 1, 5, 1), np.float32), out=out)
    with pytest.raises(tc.ComprehensionError, match="K is 4 here .* and 3 there"):
        product(np.ones((2, 3), np.float32), np.ones((4, 2), np.float32))
    assert (out == 7).all()
