"""Planes of a kernel's pictures in numbers: how far they are drawn, in which order, with which arrows."""

from __future__ import annotations

import pytest
from test_portrait import STENCIL, portrait, program_of

from comprehension.kernel.portrait import NOTHING, Axis, Grid, Plane, Portrait
from comprehension.options import MappingOptions
from comprehension.poly import portrait as drawing
from comprehension.poly.portrait import MAX_ARROWS, MAX_PLANES

SCALAR = MappingOptions(vectorize=False)
COPY = "def f(float(M,N) A) -> (B) { B(i,j) = A(i,j) + 1.0 }"
PRODUCT = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
TRIANGLE = "def f(float(N) X) -> (O) { O(i) +=! X(j) where i in 0:N, j in 0:i+1 }"


def shape(plane: Plane) -> tuple[int, int]:
    return len(plane.unit), len(plane.unit[0])


def copy(shape_: tuple[int, int], options: MappingOptions) -> Plane:
    (plane,) = portrait(program_of(COPY, [shape_]), options).planes
    return plane


def chain(count: int) -> str:
    lines = " ".join(f"T{k}(i) = {'A' if k == 0 else f'T{k - 1}'}(i) + 1.0" for k in range(count))
    return f"def f(float(N) A) -> (T{count - 1}) {{ {lines} }}"


# --- how far a plane goes -------------------------------------------------------------------------------------------


def test_without_tiles_a_corner_is_drawn() -> None:
    assert shape(copy((100, 100), SCALAR)) == (12, 24)
    assert shape(copy((5, 7), SCALAR)) == (5, 7)


@pytest.mark.parametrize(
    ("lanes", "columns"),
    [
        (8, 24),  # the least
        (16, 32),  # two tiles
        (32, 48),  # one tile, and 16 of the next
        (64, 80),
    ],
)
def test_more_than_one_tile_is_drawn_along_lanes(lanes: int, columns: int) -> None:
    assert shape(copy((100, 1000), MappingOptions(vectorize=lanes))) == (12, columns)


@pytest.mark.parametrize(
    ("shapes", "drawn"),
    [
        ([(300, 64), (64, 16)], (12, 16)),  # tiles of 6 by 16
        ([(4000, 64), (64, 8)], (32, 8)),  # of 25 by 8
        ([(300, 64), (64, 160)], (12, 96)),  # of 5 by 80
        ([(3, 256), (256, 384)], (3, 96)),  # of 3 by 96
    ],
)
def test_more_than_one_register_tile_is_drawn_each_way(shapes: list[tuple[int, ...]], drawn: tuple[int, int]) -> None:
    (plane,) = portrait(program_of(PRODUCT, shapes)).planes
    assert [axis.name for axis in plane.axes] == ["m", "n"] and plane.fixed == (("k", 0),)
    assert shape(plane) == drawn


def test_one_index_is_one_row_and_no_index_one_place() -> None:
    drawn = portrait(program_of("def f(float(N) A) -> (B, s) { B(i) = A(i) + 1.0  s = A(0) * 2.0 }", [(50,)]), SCALAR)
    line, point = drawn.planes
    assert line.axes == (Axis("i", 0, 0, 50),) and shape(line) == (1, 24)
    assert point.axes == () and point.unit == point.time == ((0,),)


def test_axes_begin_where_ranges_do_and_other_indices_are_fixed_there() -> None:
    text = "def f(float(A,B,C) X) -> (Y) { Y(a,b,c) = X(a,b,c) where a in 2:A, b in 3:B, c in 5:C }"
    (plane,) = portrait(program_of(text, [(9, 9, 9)]), SCALAR).planes
    assert plane.axes == (Axis("a", 2, 2, 9), Axis("c", 5, 5, 9)) and plane.fixed == (("b", 3),)
    assert shape(plane) == (7, 4)


def test_places_without_an_instance_stay_empty() -> None:
    (plane,) = portrait(program_of(TRIANGLE, [(6,)]), SCALAR).planes
    assert [[unit != NOTHING for unit in row] for row in plane.unit] == [[j <= i for j in range(6)] for i in range(6)]


# --- units and times ------------------------------------------------------------------------------------------------


def test_the_outermost_loop_of_a_stage_tells_units_apart_and_times_follow_loops() -> None:
    plane = copy((3, 5), SCALAR)
    assert plane.unit == tuple((row,) * 5 for row in range(3))
    assert plane.time == tuple(tuple(range(5 * row, 5 * row + 5)) for row in range(3))


def test_points_of_a_tile_run_at_once() -> None:
    plane = copy((2, 10), MappingOptions(vectorize=4))
    assert plane.time == ((0, 0, 0, 0, 1, 1, 1, 1, 2, 2), (3, 3, 3, 3, 4, 4, 4, 4, 5, 5))


def test_without_workers_there_is_one_unit() -> None:
    plane = copy((3, 5), MappingOptions(vectorize=False, parallel=False))
    assert plane.unit == ((0,) * 5,) * 3


def test_a_loop_of_one_iteration_tells_no_units_apart() -> None:
    plane = copy((1, 5), SCALAR)
    assert plane.unit == (tuple(range(5)),)


def test_loops_of_a_reduction_are_no_units() -> None:
    text = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) }"
    (plane,) = portrait(program_of(text, [(3, 4)]), SCALAR).planes
    assert plane.unit == tuple((row,) * 4 for row in range(3))
    (total,) = portrait(program_of("def f(float(N) A) -> (s) { s +=! A(j) }", [(4,)]), SCALAR).planes
    assert total.unit == ((0, 0, 0, 0),) and total.time == ((0, 1, 2, 3),)


def test_statements_that_share_loops_take_turns() -> None:
    text = "def f(float(N) A) -> (B, C) { B(i) = A(i) + 1.0  C(i) = B(i) * 2.0 }"
    first, second = portrait(program_of(text, [(4,)]), SCALAR).planes
    assert first.unit == second.unit == first.time == second.time == ((0, 1, 2, 3),)


# --- arrows ---------------------------------------------------------------------------------------------------------


def near_pairs(shape_: tuple[int, int], steps: set[tuple[int, int]]) -> set[tuple[int, int, int, int]]:
    """All pairs of places in the corner that one of the steps leads from and to."""
    rows, columns = min(shape_[0], 6), min(shape_[1], 12)
    return {
        (r, c, r + down, c + right)
        for r in range(rows)
        for c in range(columns)
        for down, right in steps
        if 0 <= r + down < rows and 0 <= c + right < columns
    }


def test_arrows_of_a_stencil_are_those_of_its_subscripts_near_the_corner() -> None:
    (order,) = portrait(program_of(STENCIL, [(30,)])).planes[1].orders
    assert order.kind == "raw"
    assert len(order.pairs) == len(set(order.pairs)) <= MAX_ARROWS
    assert set(order.pairs) == near_pairs((8, 28), {(1, -1), (1, 1)})


@pytest.mark.parametrize(
    ("text", "kind", "steps"),
    [
        ("U(i,j) = U(i-1,j) + 1.0 where i in 1:9, j in 0:20", "raw", {(1, 0)}),
        ("U(i,j) = U(i+1,j) + 1.0 where i in 0:8, j in 0:20", "war", {(1, 0)}),
        ("U(0,j) += X(i,j) where i in 0:9, j in 0:20", "reduction", {(1, 0)}),
    ],
)
def test_arrows_have_the_kind_of_their_dependence(text: str, kind: str, steps: set[tuple[int, int]]) -> None:
    whole = f"def f(float(9,20) X) -> (U) {{ U(i,j) = X(i,j) where i in 0:9, j in 0:20  {text} }}"
    plane = portrait(program_of(whole, [(9, 20)]), SCALAR, "strict").planes[1]
    names = [axis.name for axis in plane.axes]
    assert {order.kind for order in plane.orders} == {kind}
    (order,) = plane.orders
    turned = steps if names == ["i", "j"] else {(right, down) for down, right in steps}
    assert set(order.pairs) == near_pairs(shape(plane), turned)


def test_more_arrows_than_are_drawn_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_ARROWS", 7)
    drawn = portrait(program_of(STENCIL, [(12,)]))
    (order,) = drawn.planes[1].orders
    assert len(order.pairs) == 7
    assert drawn.notes == (f"S1: 7 of {len(near_pairs((8, 10), {(1, -1), (1, 1)}))} dependences are drawn",)


def test_as_many_arrows_as_may_be_drawn_need_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MAX_ARROWS", len(near_pairs((8, 10), {(1, -1), (1, 1)})))
    assert portrait(program_of(STENCIL, [(12,)])).notes == ()


# --- flows ----------------------------------------------------------------------------------------------------------


def test_a_flow_ends_in_the_middle_and_begins_where_that_is_read_from() -> None:
    """The windows begin at (0, 0) and at (1, 1): the instance t = 5, i = 6 reads U(4, 5) and U(4, 7)."""
    (flow,) = portrait(program_of(STENCIL, [(12,)])).flows
    assert (flow.source, flow.sink, flow.tensor, flow.at) == ("S0", "S1", "U", (4, 5))
    assert flow.needs == ((4, 5), (4, 7))


def test_a_flow_ends_where_something_is_seen_if_the_middle_reads_nothing() -> None:
    text = "def f(float(N) A) -> (C) { B(i) = A(i) + 1.0  C(i) = B(4 * i) where i in 0:12 }"
    (flow,) = portrait(program_of(text, [(48,)]), SCALAR).flows
    assert flow.at == (0, 5) and flow.needs == ((0, 20),)  # of 24 places; what i = 6 reads is the first beyond


def test_the_middle_of_a_small_window_is_its_own_and_of_a_large_one_near_the_corner() -> None:
    text = "def f(float(M,N) A) -> (C) { B(i,j) = A(i,j) + 1.0  C(i,j) = B(i,j) * 2.0 }"
    for shape_, middle in (((4, 6), (2, 3)), ((50, 50), (4, 6))):
        (flow,) = portrait(program_of(text, [shape_]), SCALAR).flows
        assert flow.at == middle and flow.needs == (middle,) and flow.tensor == "B"


def test_what_cannot_be_seen_does_not_flow() -> None:
    """The sink reads places of the source beyond its window."""
    text = "def f(float(N) A) -> (C) { B(i) = A(i) + 1.0  C(i) = B(i + 100) where i in 0:100 }"
    assert portrait(program_of(text, [(200,)]), SCALAR).flows == ()


def test_as_many_flows_and_planes_as_are_drawn_need_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = portrait(program_of(chain(MAX_PLANES), [(5,)]))
    assert len(drawn.planes) == MAX_PLANES and len(drawn.flows) == MAX_PLANES - 1 and not drawn.notes
    monkeypatch.setattr(drawing, "MAX_FLOWS", 3)
    assert portrait(program_of(chain(4), [(5,)])).notes == ()
    fewer = portrait(program_of(chain(5), [(5,)]))
    assert len(fewer.flows) == 3 and fewer.notes == ("reads between 3 of 4 pairs of statements are drawn",)


def test_the_first_of_many_flows_are_drawn() -> None:
    """Each of eight statements reads all before it: 28 pairs."""
    reads = [" + ".join(["A(i)", *(f"T{k}(i)" for k in range(count))]) for count in range(8)]
    lines = " ".join(f"T{count}(i) = {value}" for count, value in enumerate(reads))
    drawn = portrait(program_of(f"def f(float(N) A) -> (T7) {{ {lines} }}", [(5,)]), SCALAR)
    assert len(drawn.flows) == 24 and drawn.notes == ("reads between 24 of 28 pairs of statements are drawn",)


# --- texts and what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s(i) max=! A(i,j)", {"S0_init": "s(i) = -inf", "S0": "s(i) max= A(i, j)"}),
        ("s(i) +=! A(i,j)", {"S0_init": "s(i) = 0.0", "S0": "s(i) += A(i, j)"}),
        ("s(i,j) = A(i,j)", {"S0": "s(i, j) = A(i, j)"}),
    ],
)
def test_statements_are_said_in_parts(text: str, said: dict[str, str]) -> None:
    assert dict(portrait(program_of(f"def f(float(M,N) A) -> (s) {{ {text} }}", [(3, 4)])).statements) == said


def test_no_budget_no_planes_but_the_tree_and_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_BUDGET", 1)
    drawn: Portrait = portrait(program_of(COPY, [(3, 4)]))
    assert drawn.tree and drawn.statements and drawn.planes == ()
    (note,) = drawn.notes
    assert note.startswith("the domains are too involved to draw")


@pytest.mark.parametrize(("most", "size"), [(100, 64), (64, 64), (63, 37), (36, 24), (23, 8), (7, 4), (3, 2), (1, 1)])
def test_sizes_are_the_largest_typical_ones_that_are_allowed(most: int, size: int) -> None:
    text = f"def f(float(N) A, float({most}) B) -> (C) {{ C(i) = A(i) + B(i) where i in 0:N }}"
    assert portrait(program_of(text, None), SCALAR).sizes == (("N", size),)


def test_sizes_that_cannot_be_the_same_are_some_that_are_allowed() -> None:
    text = "def f(float(N) A, float(M) B) -> (C) { C(i) = A(i) + B(i + 70) where i in 0:N }"
    drawn = portrait(program_of(text, None), SCALAR)
    sizes = dict(drawn.sizes)
    assert list(sizes) == ["N", "M"] and sizes["M"] >= sizes["N"] + 70


def test_grids_hold_one_number_a_place() -> None:
    grid: Grid = copy((3, 4), SCALAR).time
    assert sorted(number for row in grid for number in row) == list(range(12))
