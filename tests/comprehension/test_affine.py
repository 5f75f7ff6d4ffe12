"""Integer expressions as isl functions, and where conditions may hold: compared with plain Python, point by point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.poly import isl
from comprehension.poly.functions import COMPARISONS, arithmetic, choice, comparison, constant
from comprehension.poly.grid import contains, values
from comprehension.poly.parameters import parameters_of
from comprehension.poly.scop import build_scop

# --- arithmetic -----------------------------------------------------------------------------------------------------

POINTS = np.arange(-7, 8)


def index() -> isl.PwAff:
    return isl.PwAff.read_from_str(isl.new_context(), "[N] -> { [i] -> [(i)] }")


@pytest.mark.parametrize("divisor", [1, 3, 4, -1, -2, -7])
def test_quotients_floor_and_remainders_match(divisor: int) -> None:
    i = index()
    by = constant(i.get_domain_space(), divisor)
    for op, expected in (("/", POINTS // divisor), ("%", POINTS % divisor)):
        found = arithmetic(op, i, by)
        assert found is not None
        np.testing.assert_array_equal(values(found, {"N": 5}, (POINTS,)), expected)


@pytest.mark.parametrize("op", ["/", "%"])
def test_only_constants_divide_and_zero_gives_zero(op: str) -> None:
    i = index()
    size = isl.PwAff.read_from_str(i.get_ctx(), "[N] -> { [i] -> [(N)] }")
    for divisor in (size, i, None):
        assert arithmetic(op, i, divisor) is None
    by_zero = arithmetic(op, i, constant(i.get_domain_space(), 0))
    assert by_zero is not None and isl.constant_value(by_zero) == 0


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


@pytest.mark.parametrize("op", BINARY)
def test_functions_are_what_numpy_makes_of_the_points(op: str) -> None:
    i = index()
    three = constant(i.get_domain_space(), 3)
    for left, right, a, b in ((i, three, POINTS, 3), (three, i, 3, POINTS)):
        found = arithmetic(op, left, right)
        assert found is not None
        np.testing.assert_array_equal(values(found, {"N": 5}, (POINTS,)), BINARY[op](a, b))
    assert arithmetic(op, None, i) is None and arithmetic(op, i, None) is None
    assert (arithmetic(op, i, i) is None) == (op == "*")


@pytest.mark.parametrize("op", COMPARISONS)
def test_a_choice_is_made_by_its_condition_and_known_only_if_all_of_it_is(op: str) -> None:
    i = index()
    size = isl.PwAff.read_from_str(i.get_ctx(), "[N] -> { [i] -> [(N)] }")
    condition = comparison(op, i, size)
    assert condition is not None and comparison(op, None, size) is None and comparison(op, i, None) is None
    holds = getattr(np, {"<": "less", ">": "greater", "=": "equal", "!": "not_equal"}[op[0]])(POINTS, 5)
    if op in ("<=", ">="):
        holds = holds | (POINTS == 5)
    np.testing.assert_array_equal(contains(condition, {"N": 5}, (POINTS,)), holds)
    found = choice(condition, i, size)
    assert found is not None
    np.testing.assert_array_equal(values(found, {"N": 5}, (POINTS,)), np.where(holds, POINTS, 5))
    for parts in ((None, i, size), (condition, None, size), (condition, i, None)):
        assert choice(*parts) is None


# --- where a branch is taken ----------------------------------------------------------------------------------------

CONDITIONS: dict[str, Callable[[int, bool], bool]] = {
    "i > 1 && i < 5": lambda i, c: 1 < i < 5,
    "i < 2 || i > 5": lambda i, c: i < 2 or i > 5,
    "!(i > 1 && i < 5)": lambda i, c: not 1 < i < 5,
    "!(i < 2 || i > 5)": lambda i, c: not (i < 2 or i > 5),
    "i > 1 && c(i) > 0": lambda i, c: i > 1 and c,
    "i > 1 || c(i) > 0": lambda i, c: i > 1 or c,
    "!(i > 5 || c(i) > 0)": lambda i, c: not (i > 5 or c),
    "i > 1 && !(i > 5 || c(i) > 0)": lambda i, c: i > 1 and not (i > 5 or c),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_branches_are_read_where_they_may_be_taken(condition: str) -> None:
    """What depends on data may go either way, and nothing else may."""
    text = f"def f(float(8) X, float(8) Z, int32(8) c) -> (Y) {{ Y(i) = {condition} ? X(i) : Z(i) where i in 0:8 }}"
    specs = [Spec((8,), "float32"), Spec((8,), "float32"), Spec((8,), "int32")]
    (statement,) = build_scop(infer(load(text)["f"], specs)).statements
    (then,), (otherwise,) = ([a.relation.domain() for a in statement.reads if a.tensor == name] for name in "XZ")
    holds = CONDITIONS[condition]
    for domain, wanted in ((then, True), (otherwise, False)):
        expected = [any(holds(i, c) == wanted for c in (True, False)) for i in range(8)]
        assert contains(domain, {}, (np.arange(8),)).tolist() == expected


# --- sizes that are no affine functions of sizes --------------------------------------------------------------------


def symbolic(upper: str) -> LoopProgram:
    text = f"def f(float(M,N) A, int32 s) -> (B) {{ B(i) = 1.0 where i in 0:{upper} }}"
    return infer(load(text)["f"], None, "symbolic")


@pytest.mark.parametrize(
    ("upper", "parameters"),
    [
        ("2 * M + N / 3", []),
        ("M * N + 1", ["M*N"]),
        ("N * M * 2", ["M*N"]),
        ("(N + s - 1) / s", ["(((N + s) - 1) / s)"]),
        ("M * N + N % M", ["(N % M)", "M*N"]),
    ],
)
def test_products_and_quotients_of_sizes_are_parameters(upper: str, parameters: list[str]) -> None:
    program = symbolic(upper)
    assert list(parameters_of(program)) == parameters
    context = build_scop(program).context
    names = [context.get_dim_name(isl.dim_type.param, p) for p in range(context.dim(isl.dim_type.param))]
    assert names == [*program.sizes, "s", *parameters]
