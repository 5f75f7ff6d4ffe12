"""Sizes that isl knows as parameters of their own: which expressions are, their names, and what they are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comprehension.jit.expression import evaluate
from comprehension.kernel import ir
from comprehension.kernel.size_text import text_of
from comprehension.lang import tree
from comprehension.lang.frontend import load
from comprehension.lang.loops import LoopProgram
from comprehension.lang.ranges import infer
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.grid import values
from comprehension.poly.parameters import (
    constant,
    from_parameters,
    integer_of,
    is_affine,
    never_negative,
    parameters_of,
)

I32 = ScalarType.INT32
SIZES = {"M": 3, "N": 7, "s": 2}


def program(upper: str) -> LoopProgram:
    text = f"def f(float(M,N) A, int32 s) -> (B) {{ B(i) = 1.0 where i in 0:{upper} }}"
    return infer(load(text)["f"], None, "symbolic")


def bound(upper: str) -> tree.Expr:
    (statement,) = program(upper).statements
    return statement.indices[0].upper


@pytest.mark.parametrize(
    ("upper", "affine", "number"),
    [
        ("5", True, 5),
        ("N", True, None),
        ("M + N - 2", True, None),
        ("2 * N", True, None),
        ("N * 2", True, None),
        ("(1 + 1) * N", True, None),
        ("M * N", False, None),
        ("N * (N - N + 2)", True, None),  # two, however it is written
        ("N / 2", True, None),
        ("N % 3", True, None),
        ("(0 - N) / -2", True, None),
        ("N / M", False, None),
        ("N % s", False, None),
        ("M * N / 2", False, None),
        ("M * (N / 2)", False, None),
        ("min(M, N)", True, None),
        ("min(M * N, 5)", False, None),
        ("N > 3 ? M : N", True, None),
        ("7 / 2", True, 3),
        ("max(2, 3) * 4", True, 12),
    ],
)
def test_which_bounds_isl_can_compute(upper: str, affine: bool, number: int | None) -> None:
    expr = bound(upper)
    assert is_affine(expr) is affine
    assert constant(expr) == number


@pytest.mark.parametrize(
    ("upper", "parameters"),
    [
        ("5", {}),
        ("2 * N + M / 3", {}),
        ("M * N", {"M*N": 21}),
        ("M * N * N", {"M*N*N": 147}),
        ("(M + 1) * N", {"M*N": 21}),  # what else is in it isl can add
        ("(M + 1) * (N + s)", {"M*N": 21, "M*s": 6}),
        ("N / M", {"(N / M)": 2}),
        ("N % s", {"(N % s)": 1}),
        ("M * (N / 2)", {"(N / 2)*M": 9}),
        ("M * N / 2", {"M*N": 21}),
        ("min(M * N, 5)", {"M*N": 21}),
        ("N > 3 ? M * N : N / M", {"(N / M)": 2, "M*N": 21}),
        ("(M * N) / s", {"((M * N) / s)": 10}),
    ],
)
def test_what_isl_cannot_compute_is_a_parameter(upper: str, parameters: dict[str, int]) -> None:
    found = parameters_of(program(upper))
    assert list(found) == sorted(found)
    assert {name: int(evaluate(text_of(value), SIZES)) for name, value in found.items()} == parameters


@pytest.mark.parametrize(
    "upper",
    ["M * N + 1", "N * M * 2 - 3", "(M + 1) * N", "(N + s - 1) / s", "M * N / 2 + N % M", "min(M * N, 5) + N / 3"],
)
def test_bounds_are_what_their_parameters_add_up_to(upper: str) -> None:
    parameters = parameters_of(program(upper))
    names = ["M", "N", "s", *parameters]
    space = isl.named_set_space(isl.new_context(), names, "", ())
    local = isl.LocalSpace.from_space(space)
    known = {
        name: isl.PwAff.from_aff(isl.Aff.var_on_domain(local, isl.dim_type.param, position))
        for position, name in enumerate(names)
    }
    expr = integer_of(bound(upper))
    assert expr is not None
    found = from_parameters(expr, space, known)
    assert found is not None
    worth = SIZES | {name: int(evaluate(text_of(value), SIZES)) for name, value in parameters.items()}
    assert int(values(found, worth, ())) == int(evaluate(text_of(expr), SIZES))
    fewer = {name: value for name, value in known.items() if name not in parameters}
    assert from_parameters(expr, space, fewer) is None


def test_numbers_need_no_parameters() -> None:
    space = isl.named_set_space(isl.new_context(), [], "", ())
    for expr, expected in (
        (ir.Int(0), 0),
        (ir.Int(5), 5),
        (ir.IntOp("*", ir.Int(2), ir.Int(-3)), -6),
        (ir.IntOp("min", ir.Int(2), ir.Int(3)), 2),
    ):
        found = from_parameters(expr, space, {})
        assert found is not None and isl.constant_value(found) == expected
    assert from_parameters(ir.Var("N"), space, {}) is None


def integer(text: str, dtype: str = "int32") -> ir.IntExpr | None:
    source = f"def f({dtype}(9) I) -> (O) {{ O(i) = {text} where i in 0:9 }}"
    (statement,) = infer(load(source)["f"], None, "symbolic").statements
    return integer_of(statement.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("i + 2", 6),
        ("-i", -4),
        ("7 - i * 3", -5),
        ("i / 3 + i % 3", 2),
        ("min(i, 3) + max(i, 9)", 12),
        ("int64(i) * int64(2)", 8),
        ("int32(int64(i) + int64(1))", 5),
        ("I(i)", None),
        ("i + I(i)", None),
        ("I(i) + i", None),
        ("i > 3 ? i : 0", None),
        ("int32(int8(i))", None),
        ("-I(i)", None),
    ],
)
def test_integers_of_a_text_are_the_kernels(text: str, value: int | None) -> None:
    found = integer(text)
    assert (None if found is None else int(evaluate(text_of(found), {"i": 4}))) == value


N, M = ir.Var("N"), ir.Var("M")


@pytest.mark.parametrize(
    ("expr", "never"),
    [
        (ir.Int(0), True),
        (ir.Int(-1), False),
        (N, True),
        (ir.Var("other"), False),
        (ir.IntOp("+", N, M), True),
        (ir.IntOp("-", N, M), False),
        (ir.IntOp("*", N, ir.Int(-1)), False),
        (ir.IntOp("+", ir.Int(-1), N), False),
        (ir.IntOp("max", ir.Int(-1), N), True),
        (ir.IntOp("max", N, ir.Int(-1)), True),
        (ir.IntOp("max", ir.Int(-1), ir.Int(-2)), False),
        (ir.IntOp("min", ir.Int(-1), N), False),
        (ir.IntOp("%", N, M), True),
        (ir.IntSelect(ir.Compare("<", N, M), N, M), False),
    ],
)
def test_what_is_plainly_not_negative(expr: ir.IntExpr, never: bool) -> None:
    assert never_negative(expr, ("M", "N")) is never


def test_parameters_of_shapes_count_too() -> None:
    text = "def f(float(M,N) A) -> (B) { B(i) = A(i / N, i % N) where i in 0:M*N }"
    found = infer(load(text)["f"], None, "symbolic")
    assert list(parameters_of(found)) == ["M*N"]
    np.testing.assert_array_equal([int(evaluate(text_of(v), SIZES)) for v in parameters_of(found).values()], [21])


def raw(op: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
    return tree.Binary(op, left, right, dtype=I32)  # type: ignore[arg-type]


RAW_N, RAW_M = (tree.Name(name, dtype=I32) for name in "NM")


def number(value: int) -> tree.Expr:
    return tree.Number(value, dtype=I32)


@pytest.mark.parametrize(
    ("expr", "affine", "parameters"),
    [  # not as range inference writes them, which multiplies out
        (raw("*", raw("+", RAW_M, number(1)), RAW_N), False, ["M*N"]),
        (raw("*", RAW_M, raw("/", RAW_N, number(2))), False, ["(N / 2)*M"]),
        (raw("/", raw("*", RAW_M, RAW_N), RAW_M), False, ["((M * N) / M)"]),
        (raw("/", RAW_N, number(-2)), True, []),
        (raw("%", RAW_N, number(-2)), True, []),
        (raw("/", RAW_N, number(0)), False, []),  # nothing, whatever N
        (raw("/", raw("/", RAW_N, number(2)), RAW_M), False, ["((N / 2) / M)"]),
        (raw("*", number(2), raw("-", RAW_N, number(1))), True, []),
        (raw("+", raw("*", RAW_N, RAW_N), raw("/", RAW_N, number(3))), False, ["N*N"]),
    ],
)
def test_bounds_as_they_may_stand(expr: tree.Expr, affine: bool, parameters: list[str]) -> None:
    found = program("N")
    (statement,) = found.statements
    index = replace(statement.indices[0], upper=expr)
    changed = replace(found, statements=(replace(statement, indices=(index,)),))
    shapes = replace(changed, tensors=tuple(replace(t, shape=(RAW_N,)) for t in changed.tensors))
    assert is_affine(expr) is affine
    assert list(parameters_of(shapes)) == parameters
