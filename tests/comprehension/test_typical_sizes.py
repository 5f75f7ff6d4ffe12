"""Numbers that stand for symbolic sizes: by the ranks of tensors, by windows, and by what was seen."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import pytest

from comprehension.lang import tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.poly.typical import likely_size, settled_sizes, typical_sizes, typical_value


def program(given: str, body: str, **likely: int) -> LoopProgram:
    found = infer(load(f"def f({given}) -> (O) {{ {body} }}")["f"], None, "symbolic")
    return replace(found, likely=tuple(sorted(likely.items())))


@pytest.mark.parametrize(
    ("axes", "size"), [(1, 1 << 20), (2, 1 << 10), (3, 1 << 6), (4, 1 << 5), (7, 1 << 2), (8, 1 << 2)]
)
def test_a_tensor_has_about_a_million_elements(axes: int, size: int) -> None:
    names = [f"N{axis}" for axis in range(axes)]
    indices = ",".join(f"i{axis}" for axis in range(axes))
    found = program(f"float({','.join(names)}) A", f"O({indices}) = A({indices})")
    assert typical_sizes(found) == dict.fromkeys(names, size)


def test_the_tensor_of_most_axes_counts() -> None:
    found = program("float(N) A, float(M,N,K) B", "O(m,n,k) = A(n) + B(m,n,k)")
    assert typical_sizes(found) == {"N": 64, "M": 64, "K": 64}


@pytest.mark.parametrize(
    ("body", "windows"),
    [
        ("O(i) +=! A(i + k) * W(k)", {"K"}),
        ("O(i) +=! A(k + 2 * i) * W(k)", {"K"}),
        ("O(i) +=! A(k) * W(k) where i in 0:N", set()),  # moves nothing together with a left index
        ("O(k) = A(k) * W(k)", set()),  # no reduction
        ("O(i) +=! A(j + k) * W(k) where i in 0:N, j in 0:N-K", set()),  # two of the reduction's
        ("O(i) +=! t * W(k) where t = A(i + k)", {"K"}),
        ("O(i) +=! A(i + k) * W(k) where k in 0:2*K", set()),  # the size is no bound by itself
        ("O(i) max=! A(i + k + j) * W(k) where j in 0:K", {"K"}),
    ],
)
def test_sizes_of_sliding_windows_are_short(body: str, windows: set[str]) -> None:
    found = program("float(N) A, float(K) W", body)
    sizes = typical_sizes(found)
    assert {name for name, size in sizes.items() if size == 3} == windows
    assert all(size == 1 << 20 for name, size in sizes.items() if name not in windows)


def test_what_was_seen_counts_and_scalars_are_sixteen() -> None:
    found = program("float(N) A, float(K) W, int32 s, float t", "O(i) +=! A(i + k) * W(k) * t + float(s)", K=5, N=40)
    assert typical_sizes(found) == {"N": 40, "K": 5, "s": 16}
    assert typical_sizes(replace(found, likely=(("N", 40), ("other", 7)))) == {"N": 40, "K": 3, "s": 16}


@pytest.mark.parametrize(("k", "settled"), [(1, {"K": 1}), (8, {"K": 8}), (9, {})])
def test_short_windows_that_were_seen_are_settled(k: int, settled: dict[str, int]) -> None:
    found = program("float(N) A, float(K) W", "O(i) +=! A(i + k) * W(k)", K=k, N=4)
    assert settled_sizes(found) == settled  # N is short, too, and no window


def test_programs_without_sizes_have_none() -> None:
    definition = load("def f(float(4) A, int32 s) -> (O) { O(i) = A(i) where i in 0:4 }")["f"]
    found = infer(definition, None, "symbolic")
    assert typical_sizes(found) == {"s": 16} and settled_sizes(found) == {}


@pytest.mark.parametrize("size", [*range(140), 181, 182, 200, 256, 300, 724, 725, 1000, 5000, 1 << 20])
def test_sizes_seen_count_as_the_nearest_of_few(size: int) -> None:
    found = likely_size(size)
    if size <= 8:
        assert found == max(1, size)
    elif size <= 128:  # four binary digits, ties upwards
        candidates = [digits << shift for shift in range(5) for digits in range(8, 16)]
        nearest = min(abs(size - each) for each in candidates)
        assert found == max(each for each in candidates if abs(size - each) == nearest)
    else:
        assert found.bit_count() == 1 and abs(log2(size / found)) <= 0.5


def test_extents_are_no_less_than_nothing() -> None:
    n, m = tree.Name("N"), tree.Name("M")
    for op, expected in (("-", 0), ("+", 12), ("*", 35)):
        assert typical_value(tree.Binary(op, n, m), {"N": 5, "M": 7}) == expected  # type: ignore[arg-type]
