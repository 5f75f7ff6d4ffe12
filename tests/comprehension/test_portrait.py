"""What pictures show is what the schedule does: points, times, dependences, and sets on grids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from texts import TEXTS

from comprehension import define
from comprehension.jit.expression import evaluate
from comprehension.kernel.portrait import NOTHING, Plane, Portrait
from comprehension.kernel.size_text import text_of_tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram, LoopStatement
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly import isl
from comprehension.poly.dependence import find_dependences
from comprehension.poly.grid import UNDEFINED, contains, values
from comprehension.poly.portrait import MAX_PLANES, portrait_of
from comprehension.poly.scheduler import Math, schedule
from comprehension.poly.scop import build_scop

AVX512 = Machine("test", "", 512, 32, 32 << 10, 1 << 20, 16 << 20, 2)
DEFAULT = MappingOptions()
STENCIL = """
def f(float(N) X) -> (U) {
    U(t, i) = X(i) where t in 0:9
    U(t, i) = U(t - 1, i - 1) + U(t - 1, i + 1) where t in 1:9, i in 1:N - 1
}
"""


def program_of(text: str, shapes: list[tuple[int, ...]] | None) -> LoopProgram:
    definition = load(text)["f"]
    if shapes is None:
        return infer(definition, None, "symbolic")
    types = [param.type for param in definition.parameters]
    specs = tuple(Spec(shape, type.scalar) for shape, type in zip(shapes, types, strict=True))
    return infer(definition, specs)


def portrait(program: LoopProgram, options: MappingOptions = DEFAULT, math: Math = "fast") -> Portrait:
    scop = build_scop(program)
    dependences = find_dependences(scop)
    return portrait_of(scop, dependences, schedule(scop, dependences, machine=AVX512, options=options, math=math))


def instances(statement: LoopStatement, known: dict[str, int]) -> Iterator[tuple[int, ...]]:
    """The points of a statement's loops, by running them."""

    def loops(position: int, names: dict[str, int]) -> Iterator[tuple[int, ...]]:
        if position == len(statement.indices):
            yield tuple(names[index.name] for index in statement.indices)
            return
        index = statement.indices[position]
        for value in range(*(int(evaluate(text_of_tree(bound), names)) for bound in (index.lower, index.upper))):
            yield from loops(position + 1, {**names, index.name: value})

    yield from loops(0, dict(known))


def sides(plane: Plane) -> dict[str, int]:
    """How far a plane is drawn along each of its indices."""
    shape = (len(plane.unit), len(plane.unit[0]))[2 - len(plane.axes) :]
    return dict(zip([axis.name for axis in plane.axes], shape, strict=True))


def points(plane: Plane, names: tuple[str, ...]) -> set[tuple[int, ...]]:
    """The instances that a plane draws."""
    found = set()
    for r, row in enumerate(plane.unit):
        for c, unit in enumerate(row):
            if unit != NOTHING:
                places = (r, c)[2 - len(plane.axes) :]
                at = {axis.name: axis.origin + place for axis, place in zip(plane.axes, places, strict=True)}
                found.add(tuple((at | dict(plane.fixed))[name] for name in names))
    return found


def check(program: LoopProgram, drawn: Portrait) -> None:
    """The portrait against the program: every instance of the window, each order kept by the times."""
    assert Portrait.from_json(drawn.to_json()) == drawn
    statements = {s.name: s for s in program.statements}
    for plane in drawn.planes:
        statement = statements[plane.statement]
        names = tuple(index.name for index in statement.indices)
        shape = dict(
            zip([a.name for a in plane.axes], (len(plane.unit), len(plane.unit[0]))[2 - len(plane.axes) :], strict=True)
        )
        window = {a.name: range(a.origin, a.origin + shape[a.name]) for a in plane.axes}
        window |= {name: range(value, value + 1) for name, value in plane.fixed}
        expected = {
            point
            for point in instances(statement, dict(drawn.sizes))
            if all(value in window[name] for name, value in zip(names, point, strict=True))
        }
        assert points(plane, names) == expected
        for order in plane.orders:
            assert order.pairs
            for a, b, c, d in order.pairs:
                if order.kind != "reduction":
                    assert plane.unit[a][b] == plane.unit[c][d], "units of parallel work do not depend on each other"
                    assert plane.time[a][b] < plane.time[c][d], "the schedule keeps what is drawn"
    for flow in drawn.flows:
        planes = {plane.statement: plane for plane in drawn.planes}
        assert planes[flow.sink].unit[flow.at[0]][flow.at[1]] != NOTHING
        assert all(planes[flow.source].unit[r][c] != NOTHING for r, c in flow.needs)


@pytest.mark.parametrize("name", TEXTS)
def test_a_portrait_shows_the_instances_and_an_order_that_keeps_dependences(name: str) -> None:
    text, shapes = TEXTS[name]
    program = program_of(text, shapes)
    drawn = portrait(program)
    check(program, drawn)
    assert drawn.planes and not any("too involved" in note for note in drawn.notes)


@pytest.mark.parametrize("name", ["softmax", "matmul", "relu"])
def test_symbolic_sizes_are_drawn_for_some_that_are_named(name: str) -> None:
    program = program_of(TEXTS[name][0], None)
    drawn = portrait(program)
    assert [size for size, _ in drawn.sizes] == list(program.sizes)
    check(program, drawn)


def test_a_size_that_can_only_be_one_is_drawn() -> None:
    text = "def f(float(N) X, float(3) W) -> (Y) { Y(i) = X(i) * W(4 * i) where i in 0:N }"
    program = program_of(text, None)
    drawn = portrait(program)
    assert drawn.sizes == (("N", 1),)  # 0 may be, too, and shows nothing
    assert len(drawn.planes) == 1
    check(program, drawn)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["matmul", "softmax", "transpose", "column_sum"]),
    st.lists(st.sampled_from([0, 2, 3, 8]), max_size=3),
    st.sampled_from([True, False, 4]),
    st.sampled_from(["max", "min", "preserve"]),
)
def test_whatever_the_options(name: str, tile: list[int], vectorize: bool | int, fusion: str) -> None:
    options = MappingOptions(tile=tuple(tile), vectorize=vectorize, fusion=fusion)  # type: ignore[arg-type]
    program = program_of(*TEXTS[name])
    check(program, portrait(program, options))


def test_under_strict_arithmetic_reductions_keep_their_order() -> None:
    program = program_of(*TEXTS["sum"])
    drawn = portrait(program, math="strict")
    (order,) = drawn.planes[0].orders
    assert order.kind == "reduction"
    assert all(drawn.planes[0].time[a][b] < drawn.planes[0].time[c][d] for a, b, c, d in order.pairs)


def test_a_stencil_has_its_diagonal_arrows_and_its_reads() -> None:
    program = program_of(STENCIL, [(12,)])
    drawn = portrait(program)
    check(program, drawn)
    (order,) = drawn.planes[1].orders
    assert {(c - a, d - b) for a, b, c, d in order.pairs} == {(1, -1), (1, 1)}
    (flow,) = drawn.flows
    assert (flow.source, flow.sink, flow.tensor) == ("S0", "S1", "U") and len(flow.needs) == 2


def test_only_direct_dependences_are_drawn() -> None:
    drawn = portrait(program_of(*TEXTS["sum"]))
    (order,) = drawn.planes[0].orders
    assert {(c - a, d - b) for a, b, c, d in order.pairs} == {(0, 1)}


def test_what_is_left_out_is_said() -> None:
    count = MAX_PLANES + 3
    lines = " ".join(f"T{k}(i) = {'A' if k == 0 else f'T{k - 1}'}(i) + 1.0" for k in range(count))
    drawn = portrait(program_of(f"def f(float(N) A) -> (T{count - 1}) {{ {lines} }}", [(5,)]))
    assert len(drawn.planes) == MAX_PLANES
    assert f"the first {MAX_PLANES} of {count} statements are drawn" in drawn.notes


def test_empty_domains_are_said() -> None:
    drawn = portrait(program_of(TEXTS["matmul"][0], [(0, 4), (4, 5)]))
    assert drawn.planes == () and drawn.notes == ("S0 has no instances here",)


def test_the_tree_is_the_one_that_is_printed() -> None:
    f = define(TEXTS["softmax"][0]).f
    kernel = f.compile(Spec((4, 19), "float32"))
    drawn = kernel.explain().portrait
    assert drawn is not None
    assert kernel.schedule.startswith("\n".join(line for node in drawn.tree for line in node.lines()) + "\n\n")
    assert dict(drawn.statements)["S0_init"] == "t(i) = -inf" and dict(drawn.statements)["S0"] == "t(i) max= X(i, j)"


# --- grids ----------------------------------------------------------------------------------------------------------

_NUMBERS = st.integers(-3, 3)


@st.composite
def sets(draw: st.DrawFn) -> str:
    """Unions of conditions with remainders and quotients, over a parameter."""
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        a, b, c, d = (draw(_NUMBERS) for _ in range(4))
        m = draw(st.integers(2, 4))
        parts.append(
            f"({a}i + {b}j + {c} + N >= 0 and (i + {d}j) mod {m} < {m - 1} and floor((j + {a}i)/{m}) <= i + {c})"
        )
    return f"[N] -> {{ [i, j] : -5 <= i, j <= 5 and ({' or '.join(parts)}) }}"


@settings(max_examples=30, deadline=None)
@given(sets(), st.integers(-2, 4))
def test_sets_on_grids_are_isls(text: str, size: int) -> None:
    whole = isl.Set.read_from_str(isl.new_context(), text)
    i, j = np.meshgrid(np.arange(-6, 7), np.arange(-6, 7), indexing="ij")
    found = contains(whole, {"N": size}, (i, j))
    fixed = whole.fix_val(isl.dim_type.param, 0, isl.Val(size, whole.get_ctx()))
    inside = set()
    fixed.foreach_point(
        lambda p: inside.add(tuple(int(p.get_coordinate_val(isl.dim_type.set, k).to_python()) for k in (0, 1)))
    )
    assert {(int(a), int(b)) for a, b in zip(i[found], j[found], strict=True)} == inside


@settings(max_examples=30, deadline=None)
@given(_NUMBERS, _NUMBERS, st.integers(2, 5), st.integers(-2, 4))
def test_functions_on_grids_are_isls(a: int, b: int, m: int, size: int) -> None:
    text = (
        f"[N] -> {{ [i, j] -> [({a}i + floor(({b}j + N)/{m}))] : i <= j; [i, j] -> [(i mod {m})] : i > j and j >= -1 }}"
    )
    function = isl.PwAff.read_from_str(isl.new_context(), text)
    i, j = np.meshgrid(np.arange(-4, 5), np.arange(-4, 5), indexing="ij")
    found = values(function, {"N": size}, (i, j))
    expected = np.where(i <= j, a * i + (b * j + size) // m, np.where(j >= -1, i % m, UNDEFINED))
    np.testing.assert_array_equal(found, expected)
