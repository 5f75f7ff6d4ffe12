"""What `bench` stands a kernel beside: the def written with NumPy, the machine's limits, the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import comprehension as tc
from comprehension.bench.limits import copy_bandwidth, fma_peak
from comprehension.bench.measure import limit_of, measure, numpy_side, sample
from comprehension.bench.numpy_side import NotDirect
from comprehension.config import config
from comprehension.lang.types import ScalarType
from comprehension.testing import Example, examples

DIRECT = {
    "product": ("def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }", ((3, 4), (4, 5))),
    "batched": (
        "def f(float(B,M,K) X, float(B,K,N) Y) -> (Z) { Z(b,m,n) +=! X(b,m,k) * Y(b,k,n) }",
        ((2, 3, 4), (2, 4, 5)),
    ),
    "transpose": ("def f(float(M,N) A) -> (B) { B(n,m) = A(m,n) }", ((3, 4),)),
    "copy": ("def f(float(M) A) -> (B) { B(m) = A(m) }", ((3,),)),
    "convolution": ("def f(float(H) I, float(K) W) -> (O) { O(h) +=! I(h + k) * W(k) }", ((9,), (3,))),
    "window": ("def f(float(N) A) -> (B) { B(i) max=! A(i + w) where w in 0:3 }", ((9,),)),
    "stencil": ("def f(float(N) A) -> (B) { B(i) = A(i) - 2 * A(i + 1) + A(i + 2) }", ((9,),)),
    "padded": (
        "def f(float(N) A) -> (B) { B(i) = 0.0 where i in 0:N + 2  B(i) = A(i - 1) where i in 1:N + 1 }",
        ((5,),),
    ),
    "softmax": (
        "def f(float(N,M) X) -> (Y) {"
        " t(i) max=! X(i,j)  E(i,j) = exp(X(i,j) - t(i))  s(i) +=! E(i,j)  Y(i,j) = E(i,j) / s(i) }",
        ((3, 5),),
    ),
    "scalar": ("def f(float(N) A) -> (S) { S +=! A(i) * A(i) }", ((6,),)),
    "let and index": ("def f(float(N) A) -> (B) { B(i) = d * d + float(i) where d = A(i) - 1.0 }", ((6,),)),
    "in place": ("def f(float(N) A) -> (B) { B(i) = A(i)  B(i) = B(i) * 2.0  B(i) += A(i) }", ((6,),)),
    "repeated": ("def f(float(N) A) -> (B) { B(i) +=! A(i) where w in 0:4 }", ((6,),)),
    "integers": ("def f(int32(N) A, int32(N) B) -> (C) { C(i) = A(i) / B(i) + max(A(i), 3) }", ((6,), (6,))),
}
INDIRECT = {
    "scan": (
        "def f(float(N) X) -> (S) { S(i) = X(i) where i in 0:1  S(i) = S(i - 1) + X(i) where i in 1:N }",
        "its own result",
    ),
    "triangle": ("def f(float(N,N) A) -> (S) { S(i) +=! A(i,j) where j in 0:i + 1 }", "depends on an index"),
    "guard": ("def f(float(N) A) -> (B) { B(i) = i > 0 ? A(i - 1) : 0.0 where i in 0:N }", "under a guard"),
    "lookup": ("def f(float(V) T, int32(N) W) -> (O) { O(i) = T(W(i)) }", "no sum of indices"),
    "scatter": ("def f(float(N) A) -> (B) { B(2 * i) = A(i) }", "no sum of indices"),
    "diagonal": ("def f(float(N,N) A) -> (B) { B(i) = A(i,i) }", "twice"),
    "function": ("def f(float(N) A) -> (B) { B(i) = erfcx(A(i)) * cospi(A(i)) }", "NumPy has no cospi"),
    "accumulates": ("def f(float(N) A) -> (B) { B(i) += A(i) }", "caller's buffer"),
}  # fmt: skip


def specs_of(f: tc.Comprehension, shapes: tuple[tuple[int, ...], ...]) -> tuple[tc.Spec, ...]:
    types = [param.type for param in f.definition.parameters]
    return tuple(tc.Spec(shape, type.scalar) for shape, type in zip(shapes, types, strict=True))


@pytest.mark.parametrize("name", DIRECT)
def test_numpy_computes_what_the_text_means(name: str) -> None:
    text, shapes = DIRECT[name]
    f = tc.define(text).f
    specs = specs_of(f, shapes)
    inputs = [np.asarray(sample(spec)) for spec in specs]
    kept = [x.copy() for x in inputs]
    (found,) = numpy_side(f, specs)(*inputs)
    expected = f.reference(*inputs)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=4 * 2.0**-23 * 8)  # eight additions at most, in any order
    assert not any(np.may_share_memory(found, x) for x in inputs), "a result is memory of its own"
    assert all(np.array_equal(a, b) for a, b in zip(inputs, kept, strict=True)), "inputs are only read"


@pytest.mark.filterwarnings("ignore::comprehension.ComprehensionWarning")
@pytest.mark.parametrize("name", INDIRECT)
def test_what_has_no_direct_way_is_refused_with_the_reason(name: str) -> None:
    text, reason = INDIRECT[name]
    f = tc.define(text).f
    dims = [len(p.type.dims) for p in f.definition.parameters if p.type is not None]
    with pytest.raises(NotDirect, match=reason):
        numpy_side(f, specs_of(f, tuple((4,) * rank for rank in dims)))


@settings(max_examples=40, deadline=None)
@given(examples(regimes=["integers"]))
def test_numpy_agrees_on_drawn_texts_wherever_it_is_direct(example: Example) -> None:
    f = tc.define(example.text).f
    specs = specs_of(f, tuple(np.shape(x) for x in example.inputs))
    inputs = [np.asarray(x, spec.dtype.numpy)[()] for x, spec in zip(example.inputs, specs, strict=True)]
    try:
        call = numpy_side(f, specs)
    except NotDirect:
        return
    expected = f.reference(*inputs)
    for mine, other in zip(call(*inputs), expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_measured_prints_a_table() -> None:
    f = tc.define(DIRECT["product"][0]).f
    measured = measure(f, specs_of(f, ((16, 16), (16, 16))), seconds=0.01)
    assert [side.name for side in measured.sides] == ["comprehension", "NumPy"]
    assert all(0 < side.best <= side.median and side.samples >= 3 for side in measured.sides)
    assert measured.differences["NumPy"] < 16 * 2.0**-23 * 16
    lines = str(measured).splitlines()
    assert lines[0].startswith("f(float32[16, 16], float32[16, 16])") and lines[-2].startswith("limit")


def test_arrays_are_measured_as_they_are() -> None:
    f = tc.define("def f(float(N) A, int32(M) I, float s) -> (B) { B(i) = s * A(I(i)) }").f
    table, at = np.arange(5, dtype=np.float32), np.array([4, 0], np.int32)  # drawn numbers would be other ones
    measured = measure(f, (table, at, 2.0), seconds=0.01)
    assert str(measured).startswith("f(float32[5], int32[2], float32[])")
    with pytest.raises(tc.ComprehensionError, match=r"takes a comprehension .* goes into beside="):
        measure(f.compile(table, at, 2.0), (table, at, 2.0))  # type: ignore[arg-type]


def test_schedules_and_kernels_are_timed_beside() -> None:
    f = tc.define("def f(float(N) A) -> (B) { B(i) = A(i) / 3.0 }").f
    inputs = (tc.Spec((64,), "float32"),)
    other = tc.define("def f(float(N) A) -> (B) { B(i) = A(i) / 3.0 + 0.25 }").f.compile(*inputs)
    own = f.schedule(*inputs).vectorize("i", 16)
    measured = measure(f, inputs, seconds=0.01, beside={"own": own, "other": other})
    assert [side.name for side in measured.sides] == ["comprehension", "own", "other", "NumPy"]
    assert measured.differences["own"] == 0.0 and measured.differences["other"] == pytest.approx(0.25, rel=1e-6)
    assert "largest difference from other: 0.25" in str(measured)
    for name, wrong, message in (("NumPy", own, "name of another side"), ("own", f, "neither a schedule nor a kernel")):
        with pytest.raises(tc.ComprehensionError, match=message):
            measure(f, inputs, beside={name: wrong})  # type: ignore[dict-item]


@pytest.mark.filterwarnings("ignore::comprehension.ComprehensionWarning")
def test_measured_without_numpy_says_why() -> None:
    f = tc.define(INDIRECT["accumulates"][0]).f
    measured = measure(f, (tc.Spec((16,), "float32"),), seconds=0.01)
    assert "no NumPy beside it: an output accumulates into the caller's buffer" in str(measured)


def test_the_limit_is_the_longer_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "threads", 1)
    product = tc.define(DIRECT["product"][0]).f
    specs = specs_of(product, ((64, 64), (64, 64)))
    assert "operations" in limit_of(product.compile(*specs), specs).reason
    copy = tc.define(DIRECT["copy"][0]).f
    specs = specs_of(copy, ((100_000,),))
    assert "bytes" in limit_of(copy.compile(*specs), specs).reason


def test_limits_are_rates_of_this_machine() -> None:
    assert fma_peak(1, 64) > 1e8 and fma_peak(2, 32) > 1e8
    assert copy_bandwidth(1 << 16) > 1e8 and copy_bandwidth(1 << 16, 2) > 1e8


@pytest.mark.parametrize("source", ["float16", "float32", "float64"])
@pytest.mark.parametrize("to", [t for t in ScalarType if t.is_integer])
def test_floats_beyond_integers_are_what_the_language_says(source: str, to: ScalarType) -> None:
    edges = [edge + step for edge in to.limits for step in (-1, -0.5, 0, 0.5, 1)]
    with np.errstate(over="ignore"):
        x = np.array([*edges, -0.5, 1.7, 3e9, -3e9, 1e30, -1e30, np.inf, -np.inf, np.nan]).astype(source)
    f = tc.define(f"def f({source}(N) A) -> (B) {{ B(i) = {to.value}(A(i)) }}").f
    (found,) = numpy_side(f, [tc.Spec(x.shape, source)])(x)
    np.testing.assert_array_equal(found, f.reference(x))
