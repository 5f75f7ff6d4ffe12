"""How addresses move with indices and how long loops are, against programs whose loops are run."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import pytest
from enumerated import Instance, extents_of, instances
from test_scop_points import ALL, case

from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.layout import layout_of
from comprehension.poly import isl
from comprehension.poly.access import AccessPattern, AccessPatterns, innermost_axis, single_axis_of, strides_of
from comprehension.poly.extents import UNBOUNDED, Extents
from comprehension.poly.grid import values
from comprehension.poly.scop import build_scop


def by_statement(program: LoopProgram) -> dict[str, list[Instance]]:
    found: dict[str, list[Instance]] = {}
    for instance in instances(program, {}):
        found.setdefault(instance.statement, []).append(instance)
    return found


# --- strides --------------------------------------------------------------------------------------------------------


def moved(places: dict[tuple[int, ...], tuple[int, ...]], dim: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The elements that neighbours along an index touch."""
    pairs = []
    for point, element in places.items():
        behind = (*point[:dim], point[dim] + 1, *point[dim + 1 :])
        if behind in places:
            pairs.append((element, places[behind]))
    return pairs


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("a let that decides",)])
def test_strides_are_how_far_neighbours_lie_apart(name: str) -> None:
    program, _ = case(name)
    scop = build_scop(program)
    patterns = AccessPatterns(scop)
    run = by_statement(program)
    for statement in scop.statements:
        found = patterns.of(statement.name)
        assert [p.number for p in found] == list(range(len(statement.accesses)))
        for pattern, access in zip(found, statement.accesses, strict=True):
            assert (pattern.statement, pattern.tensor) == (statement.name, access.tensor)
            assert pattern.is_write is access.is_write is (pattern.number == 0)
            extents = extents_of(program, access.tensor, {})
            assert pattern.steps == tuple(prod(extents[axis + 1 :]) for axis in range(len(extents)))
            places = {
                instance.point: next(iter(touch.elements))
                for instance in run.get(statement.name, [])
                for touch in instance.touches
                if touch.number == access.number and touch.exact
            }
            check_pattern(pattern, places, len(statement.dims))


def check_pattern(pattern: AccessPattern, places: dict[tuple[int, ...], tuple[int, ...]], rank: int) -> None:
    for dim in range(rank):
        steps = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in moved(places, dim)]
        for axis, row in enumerate(pattern.subscripts):
            if row[dim] is not None:
                assert {step[axis] for step in steps} <= {row[dim]}
        far = {sum(s * p for s, p in zip(step, pattern.steps, strict=True)) for step in steps}
        stride = pattern.strides[dim]
        irregular = any(row[dim] is None for row in pattern.subscripts)
        assert (stride is None) is irregular
        assert stride is None or far <= {stride}
        if steps:
            assert pattern.depends_on(dim) or far == {0}
    for axis, constant in enumerate(pattern.constants):
        row = pattern.subscripts[axis]
        if constant is not None:
            for point, element in places.items():
                assert element[axis] == constant + sum((c or 0) * x for c, x in zip(row, point, strict=True))


def pattern(*rows: tuple[int | None, ...], constants: tuple[int | None, ...] | None = None) -> AccessPattern:
    given = (0,) * len(rows) if constants is None else constants
    return AccessPattern("S", 1, "T", False, (0,) * len(rows[0]), rows, given, (1,) * len(rows))


@pytest.mark.parametrize(
    ("found", "dim", "axis"),
    [
        (pattern((1, 0), (0, 1)), 0, 0),
        (pattern((1, 0), (0, 1)), 1, 1),
        (pattern((1, 1), (0, 0)), 0, None),  # another index moves with it
        (pattern((1, 0), (1, 0)), 0, None),  # along two axes
        (pattern((2, 0), (0, 1)), 0, None),  # in steps
        (pattern((-1, 0), (0, 1)), 0, None),
        (pattern((None, 0), (0, 1)), 0, None),
        (pattern((1, None), (0, 1)), 0, None),
        (pattern((0, 0), (0, 1)), 0, None),
        (pattern((1, 0), (0, 1), constants=(1, 0)), 0, None),
        (pattern((1, 0), (0, 1), constants=(None, 0)), 0, None),
        (pattern((1, 0), (0, 1), constants=(1, 0)), 1, 1),
    ],
)
def test_an_axis_is_an_index_only_if_its_subscript_is_the_index(
    found: AccessPattern, dim: int, axis: int | None
) -> None:
    assert single_axis_of(found, dim) == axis


@pytest.mark.parametrize(
    ("strides", "axis"),
    [((12, 4, 1), 2), ((1, 4, 12), 0), ((4, -1, 8), 1), ((0, 3, 0), 1), ((2, 2), 1), ((0, 0), 1), ((), -1), ((0,), 0)],
)
def test_the_innermost_axis_is_that_of_the_closest_elements(strides: tuple[int, ...], axis: int) -> None:
    assert innermost_axis(strides) == axis


def test_strides_of_symbolic_sizes_are_those_of_typical_ones() -> None:
    program = infer(load("def f(float(A,B,C) X) -> (Y) { Y(a,b,c) = X(a,b,c) }")["f"], None, "symbolic")
    assert strides_of(program, "X", {"A": 2, "B": 5, "C": 7}) == (35, 7, 1)
    assert strides_of(program, "X") == (64 * 64, 64, 1)  # 2 ** (20 // 3)


# --- extents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_extents_are_from_the_least_to_the_largest_value(name: str) -> None:
    program, _ = case(name)
    scop = build_scop(program)
    extents, run = Extents(scop), by_statement(program)
    for statement in scop.statements:
        points = {instance.point for instance in run.get(statement.name, [])}
        along = [{point[dim] for point in points} for dim in range(len(statement.dims))]
        lengths = [max(values_) - min(values_) + 1 if values_ else 0 for values_ in along]
        assert [extents.extent(statement.name, dim) for dim in range(len(along))] == lengths
        assert extents.instances(statement.name) == prod(lengths)
        assert extents.is_box(statement.name) is (points == set(product(*along)))
        for dim, values_ in enumerate(along):
            assert extents.is_static(statement.name, dim)
            assert extents.known(statement.name, dim) == lengths[dim]
            lowest = isl.constant_value(extents.lower_bound(statement.name, dim))
            assert lowest == (min(values_) if values_ else 0)


def symbolic(body: str, given: str = "float(M,N) A", /, **likely: int) -> Extents:
    program = infer(load(f"def f({given}) -> (O) {{ {body} }}")["f"], None, "symbolic")
    return Extents(build_scop(replace(program, likely=tuple(sorted(likely.items())))))


def test_symbolic_extents_are_typical_or_those_seen() -> None:
    body = "O(i,j) = A(i,j)"
    assert [symbolic(body).extent("S0", dim) for dim in (0, 1)] == [1024, 1024]
    assert [symbolic(body, M=7).extent("S0", dim) for dim in (0, 1)] == [7, 1024]
    found = symbolic(body, M=7, N=40)
    assert not found.is_static("S0", 0) and found.known("S0", 0) == 0  # no window: any size may come
    assert found.is_box("S0") and found.instances("S0") == 280


def test_windows_that_were_seen_are_known() -> None:
    found = symbolic("O(i) +=! A(i + k) * W(k)", "float(N) A, float(K) W", K=3, N=100)
    assert found.settled == {"K"}
    assert found.known("S0", 1) == 3 and found.known("S0", 0) == 0
    assert symbolic("O(i) +=! A(i + k) * W(k)", "float(N) A, float(K) W", K=9, N=100).settled == frozenset()


def test_ranges_without_an_end_that_isl_finds_count_as_some() -> None:
    line = isl.Set.read_from_str(isl.new_context(), "{ [x] : x >= 3 }")
    found = symbolic("O(i,j) = A(i,j)")
    assert found.length(line) == UNBOUNDED == 1024
    assert found.length(isl.Set.read_from_str(line.get_ctx(), "{ [x] : 3 <= x <= 3 }")) == 1
    assert found.length(isl.Set.read_from_str(line.get_ctx(), "{ [x] : x = 3 or x = 10 }")) == 8
    assert found.length(isl.Set.read_from_str(line.get_ctx(), "{ [x] : 1 = 0 }")) == 0


@pytest.mark.parametrize(
    ("body", "likely", "most", "holds", "assumed"),
    [
        ("O(i) +=! A(i,j)", {"M": 5, "N": 10}, 10, True, {"N": 10}),
        ("O(i) +=! A(i,j)", {"M": 5, "N": 10}, 12, True, {"N": 12}),
        ("O(i) +=! A(i,j)", {"M": 5, "N": 10}, 9, False, {}),
        ("O(i) +=! A(i,j)", {"M": 5}, 2000, False, {}),  # nobody has seen it
        ("O(i) +=! A(i,j) where j in 0:6", {"M": 5, "N": 10}, 6, True, {}),  # whatever the sizes
        ("O(i) +=! A(i,j) where j in 0:6", {"M": 5, "N": 10}, 5, False, {}),
        ("O(i) +=! A(i,j) where j in 1:N", {"M": 5, "N": 10}, 10, False, {}),
        ("O(i) +=! A(i,j) where j in 0:N-1", {"M": 5, "N": 10}, 10, False, {}),
    ],
)
def test_a_length_is_assumed_of_a_size_that_was_seen(
    body: str, likely: dict[str, int], most: int, holds: bool, assumed: dict[str, int]
) -> None:
    found = symbolic(body, **likely)
    assert found.assume_at_most("S0", 1, most) is holds
    assert found.assumed == assumed


def test_the_least_value_may_depend_on_sizes() -> None:
    found = symbolic("O(i) = 1.0 where i in N-M:N", "float(M,N) A")
    lowest = found.lower_bound("S0", 0)
    for m, n in ((3, 5), (5, 5)):
        assert values(lowest, {"M": m, "N": n}, ()) == n - m


def test_a_loop_inside_of_another_one_is_no_box() -> None:
    assert not symbolic("O(i) +=! A(0,j) where i in 0:N, j in 0:i+1").is_box("S0")
    assert symbolic("O(i) +=! A(0,j) where i in 0:M, j in 0:N").is_box("S0")


def test_layouts_say_what_is_known_of_strides() -> None:
    program = infer(load("def f(float(A,B) X) -> (Y) { Y(a,b) = X(a,b) }")["f"], None, "symbolic")
    layout = layout_of((6, 5), (1, 6))  # transposed
    assert layout is not None
    turned = program.with_layouts((("X", layout),))
    assert strides_of(turned, "X", {"A": 20, "B": 30}) == (1, 20)
    assert strides_of(turned, "Y", {"A": 20, "B": 30}) == (30, 1)
