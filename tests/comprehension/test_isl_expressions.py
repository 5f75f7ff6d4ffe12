"""isl's expressions as the kernel's integers, and what else is asked of isl: the same numbers at every point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.size_text import text_of
from comprehension.poly import isl
from comprehension.poly.ast import aff_expr, condition_of, free_prefix, int_expr, iterator_names
from comprehension.poly.grid import contains, values

RANGE = range(-6, 7)
FUNCTIONS = [
    "[N] -> { [i, j] -> [(2i - 3j + N + 4)] }",
    "[N] -> { [i, j] -> [(floor((i + 2j)/3))] }",
    "[N] -> { [i, j] -> [((i - 1) mod 4)] }",
    "[N] -> { [i, j] -> [(-floor((-i + N)/2))] }",
    "[N] -> { [i, j] -> [(i)] : i >= j; [i, j] -> [(j)] : i < j }",
    "[N] -> { [i, j] -> [(i)] : i <= N; [i, j] -> [(N)] : i > N }",
    "[N] -> { [i, j] -> [(1)] : i mod 2 = 0; [i, j] -> [(j)] : i mod 2 = 1 }",
    "[N] -> { [i, j] -> [(floor((floor((i + j)/2) + i)/3))] }",
]
CONDITIONS = [
    "[N] -> { [i, j] : i < j }",
    "[N] -> { [i, j] : i >= j and j > N }",
    "[N] -> { [i, j] : i = j or i < -3 }",
    "[N] -> { [i, j] : i mod 3 = 1 }",
    "[N] -> { [i, j] : (i > 2 and j > 2) or (i < -2 and j < -2) or N = j }",
    "[N] -> { [i, j] : N = 2 }",
]
SIZE = {"N": 2}


def value_of(expr: ir.IntExpr, i: int, j: int) -> int:
    return int(evaluate(text_of(expr), {**SIZE, "i": i, "j": j}))


def holds(condition: ir.Condition, i: int, j: int) -> bool:
    return bool(value_of(ir.IntSelect(condition, ir.Int(1), ir.Int(0)), i, j))


def of_points(text: str) -> isl.AstExpr:
    """The AST expression of a function of i and j, as parameters: outside of loops isl knows no others."""
    text = text.replace("[N] -> { [i, j] -> ", "[N, i, j] -> { ").replace("; [i, j] -> ", "; ")
    function = isl.PwAff.read_from_str(isl.new_context(), text)
    return isl.AstBuild.from_context(function.domain().params()).expr_from_pw_aff(function)


@pytest.mark.parametrize("text", FUNCTIONS)
def test_functions_are_the_kernels_integers(text: str) -> None:
    found = int_expr(of_points(text))
    grid = np.meshgrid(RANGE, RANGE, indexing="ij")
    expected = values(isl.PwAff.read_from_str(isl.new_context(), text), SIZE, grid)
    for i, j, wanted in zip(*(axis.ravel().tolist() for axis in (*grid, expected)), strict=True):
        assert value_of(found, i, j) == wanted


@pytest.mark.parametrize("text", CONDITIONS)
def test_conditions_are_the_kernels(text: str) -> None:
    points = isl.Set.read_from_str(isl.new_context(), text)
    as_parameters = isl.Set.read_from_str(points.get_ctx(), text.replace("[N] -> { [i, j]", "[N, i, j] -> { "))
    universe = isl.Set.universe(as_parameters.get_space())
    found = condition_of(isl.AstBuild.from_context(universe.params()).expr_from_set(as_parameters))
    grid = np.meshgrid(RANGE, RANGE, indexing="ij")
    expected = contains(points, SIZE, grid)
    for i, j, wanted in zip(*(axis.ravel().tolist() for axis in (*grid, expected)), strict=True):
        assert holds(found, i, j) is wanted


def test_names_are_replaced() -> None:
    found = int_expr(of_points(FUNCTIONS[0]), {"i": ir.Int(5), "N": ir.Var("M")})
    assert evaluate(text_of(found), {"M": 7, "j": 2}) == 2 * 5 - 3 * 2 + 7 + 4


@settings(max_examples=40, deadline=None)
@given(
    st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5), st.integers(-9, 9), st.integers(1, 5), st.integers(0, 3)
)
def test_affine_functions_of_loops_around(a: int, b: int, c: int, d: int, divisor: int, inner: int) -> None:
    """Also with quotients inside of quotients."""
    text = f"[N] -> {{ [i, j] -> [(floor(({a}i + {b}j + {c}N + {d} + {inner} * floor((i + j)/2))/{divisor}))] }}"
    function = isl.PwAff.read_from_str(isl.new_context(), text)
    found = aff_expr(function.as_aff(), [ir.Var("i"), ir.Var("j")], {"N": ir.Int(2)})
    for i in (-5, 0, 3):
        for j in (-4, 1, 6):
            expected = (a * i + b * j + c * 2 + d + inner * ((i + j) // 2)) // divisor
            assert value_of(found, i, j) == expected


def test_names_of_loops_are_free() -> None:
    assert free_prefix("c", ["c", "cc", "d0", "c0x"]) == "c"
    assert free_prefix("c", ["c0", "c_7"]) == "c__"
    names = iterator_names([])
    assert len(names) == 64 and names[0] == "c0" and names[-1] == "c63"


# --- small questions to isl -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("[N] -> { [i] -> [(7)] }", 7),
        ("[N] -> { [i] -> [(-3)] }", -3),
        ("[N] -> { [i] -> [(i)] }", None),
        ("[N] -> { [i] -> [(N)] }", None),
        ("[N] -> { [i] -> [(1)] : i > 0; [i] -> [(2)] : i <= 0 }", None),
    ],
)
def test_constants_are_numbers(text: str, number: int | None) -> None:
    assert isl.constant_value(isl.PwAff.read_from_str(isl.new_context(), text)) == number


def test_parts_of_unions_come_in_the_order_of_their_names() -> None:
    context = isl.new_context()
    union = isl.UnionMap.read_from_str(context, "{ B[i] -> Y[i]; A[i] -> Z[i]; B[i] -> X[i]; A[i, j] -> A[i] }")
    found = [
        (part.get_tuple_name(isl.dim_type.in_), part.get_tuple_name(isl.dim_type.out)) for part in isl.maps_of(union)
    ]
    assert found == [("A", "A"), ("A", "Z"), ("B", "X"), ("B", "Y")]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_unions_have_all_their_parts(count: int) -> None:
    context = isl.new_context()
    parameters = isl.named_set_space(context, ["N"], "", []).params()
    maps = [isl.Map.read_from_str(context, f"[N] -> {{ S{k}[i] -> T[i + {k}] }}") for k in range(count)]
    sets = [isl.Set.read_from_str(context, f"[N] -> {{ S{k}[i] : i < N }}") for k in range(count)]
    assert len(isl.maps_of(isl.union_map(parameters, maps))) == count
    assert isl.union_set(parameters, sets).get_set_list().n_set() == count


def test_a_budget_ends_what_takes_too_long_and_is_taken_off_again() -> None:
    context = isl.new_context()

    hard = isl.Set.read_from_str(context, "{ [i, j] : 0 <= i < 100 and 0 <= j < i and (i + j) mod 7 = 3 or i = j }")
    with pytest.raises(isl.OutOfBudget, match="more than 10 isl operations"):
        isl.bounded(context, 10, lambda: hard.subtract(hard.coalesce()).is_empty())
    assert hard.subtract(hard.coalesce()).is_empty()  # as long as it takes
    assert isl.bounded(context, 1_000_000, lambda: hard.subtract(hard.coalesce()).is_empty())
    with pytest.raises(isl.Error):
        isl.bounded(context, 1_000_000, lambda: hard.dim_max_val(7))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[N, D] -> { [x] : 0 <= x < N and D > 0 }", "[N, D] -> { [x] : 0 <= x < N }"),
        ("[N, D] -> { [x] : exists (e : 0 < e < N and 0 <= x - 2e < D) }", None),
    ],
)
def test_values_of_a_loop_forget_what_is_said_of_sizes_alone(text: str, left: str | None) -> None:
    line = isl.Set.read_from_str(isl.new_context(), text)
    expected = line if left is None else isl.Set.read_from_str(line.get_ctx(), left)
    assert isl.wherever_it_runs(line).is_equal(expected)
