"""Arrays of any strides: used where they are, by kernels that know what is worth knowing of their layout."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import comprehension as tc
from comprehension.config import statistics
from comprehension.jit import variants
from comprehension.jit.arrays import layout_of_array
from comprehension.jit.overlap import overlap, overlaps_itself
from comprehension.layout import any_strides, layout_of, layout_text, open_axes, typical_strides
from comprehension.testing import Example, broadcasts, empty_views, examples

PRODUCT = "def product(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
SCALED = "def scaled(float(M,N) A, float(N) b) -> (B) { B(i,j) = 2 * A(i,j) + b(j) }"
SHAPES = st.lists(st.sampled_from((0, 1, 2, 3, 5, 17)), max_size=4).map(tuple)


def integers(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


# --- layouts ------------------------------------------------------------------------------------------------------


@given(SHAPES.flatmap(lambda shape: broadcasts(np.zeros(shape, np.int16))))
@settings(max_examples=max(200, settings().max_examples))
def test_a_layout_says_what_the_strides_are(array: np.ndarray) -> None:
    strides = tuple(stride // array.itemsize for stride in array.strides)
    layout = layout_of_array(array)
    if layout is None:
        assert array.flags.c_contiguous
        return
    assert not array.flags.c_contiguous
    unknown = set(open_axes(layout))
    for axis, known in enumerate(typical_strides(layout, array.shape)):
        if array.shape[axis] > 1 and axis not in unknown:
            assert known == strides[axis]
        elif array.shape[axis] > 1:
            assert strides[axis] not in (0, 1, -1) and known not in (0, 1, -1)


@pytest.mark.parametrize(
    "array,text",
    [
        (np.zeros((4, 6)).T, "1, n0"),
        (np.zeros((4, 6))[:, :3], "*, 1"),
        (np.zeros((4, 6))[::2], "*, 1"),
        (np.zeros((4, 6))[:, ::2], "*, *"),
        (np.zeros((4, 6))[::-1], "-n1, 1"),
        (np.zeros((4, 6))[:, ::-1], "n1, -1"),
        (np.zeros((2, 8, 5, 6))[:, :3], "*, n2·n3, n3, 1"),
        (np.zeros((2, 5, 6, 8)).transpose(0, 3, 1, 2), "n2·n3·n1, 1, n3·n1, n1"),
        (np.broadcast_to(np.zeros(6), (4, 6)), "0, 1"),
        (np.broadcast_to(np.zeros((4, 1)), (4, 6)), "1, 0"),
        (np.broadcast_to(np.zeros((4, 6))[:, :1], (4, 6)), "*, 0"),
        (np.lib.stride_tricks.sliding_window_view(np.zeros(9), 3), "1, 1"),
        (np.zeros((3, 1, 6))[::2], "*, 0, 1"),
    ],
)
def test_layouts_of_usual_views(array: np.ndarray, text: str) -> None:
    layout = layout_of_array(array)
    assert layout is not None and layout_text(layout) == text


def test_a_program_of_slices_uses_few_layouts() -> None:
    """Steps of a slice are no part of a layout: only what the compiler gains from is."""
    block = np.zeros((40, 50))
    assert len({layout_of_array(block[a:b:s]) for a in range(5) for b in range(20, 30) for s in (2, 3, 4)}) == 1
    assert layout_of((3, 4), (999, 1)) == layout_of((5, 6), (7, 1))


# --- overlap ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-6, 6)), max_size=3))
@settings(max_examples=max(300, settings().max_examples))
def test_overlap_with_itself_is_exact(axes: list[tuple[int, int]]) -> None:
    shape, steps = tuple(n for n, _ in axes), [s for _, s in axes]
    block = np.zeros(200, np.int16)
    array = np.lib.stride_tricks.as_strided(block[100:], shape, [2 * s for s in steps])
    places = [sum(i * s for i, s in zip(index, steps, strict=True)) for index in np.ndindex(shape)]
    assert overlaps_itself(array) == (len(set(places)) < len(places))


@given(st.data())
def test_overlap_of_views_is_exact(data: st.DataObject) -> None:
    block = np.zeros((6, 7), np.float32)
    cut = st.slices(6), st.slices(7)
    first, second = (block[data.draw(cut[0]), data.draw(cut[1])] for _ in range(2))
    seen = np.zeros_like(block, np.int8)
    for view in (first, second):
        offset = view.ctypes.data - block.ctypes.data
        moved = (
            np.ndarray(view.shape, np.int8, seen, offset // 4, [s // 4 for s in view.strides]) if view.size else None
        )
        if moved is not None:
            moved += 1
    assert overlap(first, second) == bool((seen > 1).any())


TWO = "def two(float(N) X) -> (Y, Z) { Y(i) = X(i) + 1  Z(i) = X(i) * 2 }"


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_several_outputs_are_written_in_place_or_refused_untouched(x: int, y: int, z: int) -> None:
    """Dense pieces of one block: exactly those that share an element are refused."""
    two = tc.define(TWO).two
    block = np.arange(20, dtype=np.float32)
    before = block.copy()
    pieces = [block[start : start + 6] for start in (x, y, z)]
    met = min(abs(x - y), abs(x - z), abs(y - z)) < 6
    if met:
        with pytest.raises(tc.ComprehensionError, match="overlaps"):
            two(pieces[0], out=(pieces[1], pieces[2]))
        np.testing.assert_array_equal(block, before)
    else:
        two(pieces[0], out=(pieces[1], pieces[2]))
        expected = before.copy()
        expected[y : y + 6] = before[x : x + 6] + 1
        expected[z : z + 6] = before[x : x + 6] * 2
        np.testing.assert_array_equal(block, expected)


# --- results ------------------------------------------------------------------------------------------------------


def whole(view: np.ndarray) -> np.ndarray:
    """The block that a view looks into."""
    while isinstance(view.base, np.ndarray):
        view = view.base
    return view


@given(examples(regimes=["integers"]), st.data())
@settings(max_examples=settings().max_examples // 2)  # each compiles
def test_views_in_and_out_give_what_the_reference_gives(example: Example, data: st.DataObject) -> None:
    """Inputs of any strides, outputs written where they are, nothing beside them, nothing copied."""
    function = tc.define(example.text).f
    inputs = [data.draw(broadcasts(i)) if isinstance(i, np.ndarray) else i for i in example.inputs]
    expected = function.reference(*inputs)
    results = expected if isinstance(expected, tuple) else (expected,)
    outs = tuple(data.draw(empty_views(r.shape, r.dtype)) for r in results)
    copied = statistics.copied_arguments
    kernel = function.compile(*inputs)
    assert kernel.certificate
    given = outs if len(outs) > 1 else outs[0]
    assert kernel(*inputs, out=given) is given
    for out, result in zip(outs, results, strict=True):
        np.testing.assert_array_equal(out, result)
        out[...] = 1
        assert (whole(out) == 1).all()
    assert statistics.copied_arguments == copied


@pytest.mark.parametrize("a,b", [((1, 2), (-2, 1)), ((0, 1), (1, -1))])
def test_products_of_views(a: tuple[int, int], b: tuple[int, int]) -> None:
    """Steps of the operands' rows and columns; packed or not, the result is that of dense ones."""
    function = tc.define(PRODUCT).product
    first, second = (view_with(integers((19, 21), 1), a), view_with(integers((21, 34), 2), b))
    found = function(first, second)
    assert (found == first.astype(np.float64) @ second).all() and found.flags.c_contiguous
    assert (found == function(second.T, first.T, out=np.empty((19, 34), np.float32).T).T).all()


def view_with(contents: np.ndarray, steps: tuple[int, int]) -> np.ndarray:
    """A view of these steps: 0 repeats the first row or column."""
    block = np.zeros([n * max(1, abs(s)) for n, s in zip(contents.shape, steps, strict=True)], contents.dtype)
    view = block[tuple(slice(None, None, s or None) for s in steps)]
    view[...] = contents
    few = view[tuple(slice(None) if s else slice(0, 1) for s in steps)]
    return np.broadcast_to(few, contents.shape)


def test_symbolic_kernels_are_compiled_once_for_each_layout(fresh_cache: object) -> None:
    function = tc.define(SCALED, sizes="symbolic").scaled
    before = statistics.compiled
    for m, n in ((3, 5), (17, 4), (1, 9), (5, 1), (40, 33)):
        a, b = integers((n, m)).T, integers((2 * n,))[::2]
        assert (function(a, b) == 2 * a + b).all()
    # One for transposed matrices, one where a row or a column alone is dense, one for a strided `b` beside each.
    assert statistics.compiled - before <= 4


def test_a_first_call_with_views_compiles_one_kernel(fresh_cache: object) -> None:
    function = tc.define(PRODUCT).product
    before = statistics.compiled
    a, b = integers((8, 9)).T, integers((8, 5))
    out = np.empty((5, 9), np.float32).T
    for _ in range(2):
        assert (function(a, b, out=out) == a @ b).all()
    assert statistics.compiled - before == 1
    assert (function(np.ascontiguousarray(a), b) == a @ b).all()
    assert statistics.compiled - before == 2


def test_lanes_follow_the_axis_that_is_contiguous() -> None:
    """Each access moves whole vectors: along the lanes, backwards, or along rows that are transposed in registers."""
    function = tc.define("def scaled(float(M,N) A) -> (B) { B(i,j) = 2 * A(i,j) }").scaled
    a = integers((64, 48))
    for view in (a, np.asfortranarray(a), a[:, ::-1], a[::-1], np.repeat(a, 2, 0)[::2]):
        kernel = function.compile(view)
        assert "gather" not in kernel.source and "scatter" not in kernel.source
        accesses = re.findall(r"(?:load|store)\(t, [AB], .*?, (-?\w+), (-?\d+)[,)]", kernel.source)
        assert len(accesses) == 2 and all("1" in (rows, lanes) or lanes == "-1" for rows, lanes in accesses)
        assert (kernel(view) == 2 * view).all()


def test_repeated_elements_are_never_made_many() -> None:
    """A gigabyte of zero strides, where memory may grow by a hundredth of that."""
    import resource

    ones = np.broadcast_to(np.ones(1, np.float32), (1 << 14, 1 << 14))
    function = tc.define("def f(float(N,M) A) -> (s) { s(i) +=! A(i,j) }").f
    function.compile(ones)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (function(ones) == 1 << 14).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 << 10


# --- where no kernel fits -----------------------------------------------------------------------------------------


def test_what_cannot_be_addressed_is_copied_and_counted() -> None:
    function = tc.define(SCALED).scaled
    a, b = integers((6, 4)), integers((4,))
    unaligned = np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 4)
    copied = statistics.copied_arguments
    assert (function(unaligned, b) == 2 * a + b).all()
    assert statistics.copied_arguments == copied + 1
    out = np.zeros(97, np.uint8)[1:].view(np.float32).reshape(6, 4)
    assert (function(a, b, out=out) == 2 * a + b).all()
    assert statistics.copied_arguments == copied + 2


def test_after_many_layouts_one_kernel_serves_all_strides(fresh_cache: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MOST_LAYOUTS", 3)
    function = tc.define("def f(float(A,B,C) X) -> (Y) { Y(i,j,k) = X(i,j,k) + 1 }").f
    block = integers((4, 4, 4, 4, 4, 4))
    before, left_open = statistics.compiled, statistics.fallbacks["strides left open"]
    seen = set()
    for axes in np.ndindex(6, 6, 6):
        if len(set(axes)) == 3 and len(seen) < 9:
            view = block.transpose(*axes, *(set(range(6)) - set(axes)))[..., 0, 0, 0]
            seen.add(layout_of_array(view))
            assert (function(view) == view + 1).all()
    assert len(seen) == 9
    assert statistics.compiled - before == 4
    assert statistics.fallbacks["strides left open"] > left_open
    assert layout_text(any_strides(3)) == "*, *, *"


def test_a_variant_that_does_not_compile_is_replaced_by_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    function = tc.define(SCALED).scaled
    a, b = integers((6, 4)), integers((4,))
    kernel = function.compile(a, b)

    def fail(layouts: object) -> None:
        raise tc.CompilationError("no compiler today")

    monkeypatch.setattr(kernel.launcher._variants, "_compile", fail)
    copied, noted = statistics.copied_arguments, statistics.fallbacks["no kernel for these strides"]
    out = np.full((4, 6), -1, np.float32).T
    assert (kernel(a[::-1], b, out=out) == 2 * a[::-1] + b).all()
    assert statistics.copied_arguments == copied + 2
    assert statistics.fallbacks["no kernel for these strides"] == noted + 1


def test_many_threads_call_with_many_layouts() -> None:
    kernel = tc.define(SCALED).scaled.compile(tc.Spec((12, 12), "float32"), tc.Spec((12,), "float32"))
    a, b = integers((12, 12)), integers((12,))
    kinds = [a, a.T, a[::-1], a[:, ::-1], np.broadcast_to(a[0], (12, 12)), np.repeat(a, 2, 1)[:, ::2]]
    failures: list[int] = []

    def work(number: int) -> None:
        for turn in range(60):
            view = kinds[(number + turn) % len(kinds)]
            if not (kernel(view, b) == 2 * view + b).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures


def test_requests_with_layouts_round_trip() -> None:
    from comprehension.jit.request import key_of, request_from_header

    kernel = tc.define(SCALED).scaled.compile(integers((4, 6)).T, integers((4,)))
    assert request_from_header(kernel.request.header()) == kernel.request
    assert key_of(kernel.request) != key_of(replace(kernel.request, layouts=()))
