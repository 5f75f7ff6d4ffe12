"""Simplified integer expressions have the value of the original, and offsets cancel."""

from __future__ import annotations

import operator

import pytest
from hypothesis import example, given, strategies as st

from comprehension.kernel.ir import BoolOp, Compare, Int, IntExpr, IntOp, Var
from comprehension.kernel.simplify import bounds_of, linear, narrowed, simplify, truth

HOLDS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne}
RANGES = {"r": (0, 15), "t": (0, 6), "n": (1, None), "x": (None, None)}


def evaluate(expr: IntExpr, env: dict[str, int]) -> int:
    match expr:
        case Int(value=value):
            return value
        case Var(name=name):
            return env[name]
        case IntOp(op=op, left=left, right=right):
            a, b = evaluate(left, env), evaluate(right, env)
            return {
                "+": lambda: a + b,
                "-": lambda: a - b,
                "*": lambda: a * b,
                "/": lambda: a // b,
                "%": lambda: a % b,
                "min": lambda: min(a, b),
                "max": lambda: max(a, b),
            }[op]()
    raise AssertionError(expr)


leaves = st.one_of(st.integers(-20, 40).map(Int), st.sampled_from(sorted(RANGES)).map(Var))
positive = st.one_of(st.integers(1, 24).map(Int), st.just(Var("n")))


def grown(inner: st.SearchStrategy[IntExpr]) -> st.SearchStrategy[IntExpr]:
    return st.one_of(
        st.builds(IntOp, st.sampled_from(["+", "-", "*", "min", "max"]), inner, inner),
        st.builds(IntOp, st.sampled_from(["/", "%"]), inner, positive),
    )


expressions = st.recursive(leaves, grown, max_leaves=8)
environments = st.fixed_dictionaries(
    {"r": st.integers(0, 15), "t": st.integers(0, 6), "n": st.integers(1, 50), "x": st.integers(-50, 50)}
)


@given(expressions, environments)
@example(IntOp("*", Var("x"), IntOp("+", Var("n"), Int(1))), {"r": 1, "t": 2, "n": 3, "x": 4})
def test_simplify_keeps_the_value(expr: IntExpr, env: dict[str, int]) -> None:
    simple = simplify(expr, RANGES)
    assert evaluate(simple, env) == evaluate(expr, env)
    assert simplify(simple, RANGES) == simple


@given(expressions, environments)
def test_bounds_hold(expr: IntExpr, env: dict[str, int]) -> None:
    low, high = bounds_of(linear(expr, RANGES), RANGES)
    value = evaluate(expr, env)
    assert (low is None or low <= value) and (high is None or value <= high)


@given(st.sampled_from(["<", "<=", "==", "!="]), expressions, expressions, environments)
def test_truth_is_never_wrong(op: str, left: IntExpr, right: IntExpr, env: dict[str, int]) -> None:
    known = truth(Compare(op, left, right), RANGES)  # type: ignore[arg-type]
    a, b = evaluate(left, env), evaluate(right, env)
    assert known in (None, {"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[op])


comparisons = st.builds(Compare, st.sampled_from(["<", "<=", "==", "!="]), expressions, expressions)


def holds(condition: Compare | BoolOp, env: dict[str, int]) -> bool:
    match condition:
        case Compare(op=op, left=left, right=right):
            return bool(HOLDS[op](evaluate(left, env), evaluate(right, env)))
        case BoolOp(op=op, left=first, right=second):
            sides = holds(first, env), holds(second, env)  # type: ignore[arg-type]
            return all(sides) if op == "and" else any(sides)


@given(comparisons, comparisons, st.sampled_from(["and", "or"]), environments)
@example(Compare("<", Int(3), Var("r")), Compare("<=", Var("r"), Int(4)), "and", {"r": 4, "t": 0, "n": 1, "x": 0})
def test_ranges_are_narrowed_by_what_holds(first: Compare, second: Compare, op: str, env: dict[str, int]) -> None:
    for condition in (first, BoolOp(op, first, second)):  # type: ignore[arg-type]
        for name, (low, high) in narrowed(RANGES, condition).items():
            if holds(condition, env):
                assert (low is None or low <= env[name]) and (high is None or env[name] <= high)


@pytest.mark.parametrize(("condition", "expected"), [
    (Compare("==", Var("x"), Int(3)), (3, 3)), (Compare("<", Var("x"), Int(3)), (None, 2)),
    (Compare("<=", Int(3), Var("x")), (3, None)), (Compare("<", Int(3), Var("x")), (4, None)),
    (Compare("!=", Var("x"), Int(3)), (None, None)), (Compare("==", Var("x"), Var("r")), (None, None)),
    (BoolOp("and", Compare("<=", Int(3), Var("x")), Compare("<", Var("x"), Int(9))), (3, 8)),
    (BoolOp("or", Compare("<=", Int(3), Var("x")), Compare("<", Var("x"), Int(9))), (None, None)),
])  # fmt: skip
def test_single_variables_are_bounded(condition: Compare | BoolOp, expected: tuple[int | None, int | None]) -> None:
    assert narrowed(RANGES, condition) == {**RANGES, "x": expected}


def test_places_in_panels_cancel() -> None:
    row = IntOp("-", IntOp("+", IntOp("*", Int(16), Var("t")), Var("r")), IntOp("*", Int(64), Var("x")))
    assert simplify(IntOp("%", row, Int(16)), RANGES) == Var("r")
    panel = IntOp("-", Var("t"), IntOp("*", Int(4), Var("x")))
    assert simplify(IntOp("/", row, Int(16)), RANGES) == simplify(panel)


@pytest.mark.parametrize("op", ["<", "<=", "==", "!="])
@pytest.mark.parametrize("turned", [False, True])
def test_truth_is_known_exactly_where_it_does_not_depend(op: str, turned: bool) -> None:
    """r is 0 to 15: compared with each number about its ends, on either side."""
    for number in range(-2, 18):
        sides = (Int(number), Var("r")) if turned else (Var("r"), Int(number))
        values = {HOLDS[op](number, r) if turned else HOLDS[op](r, number) for r in range(16)}
        exact = values.pop() if len(values) == 1 else None
        known = truth(Compare(op, *sides), RANGES)  # type: ignore[arg-type]
        inside = op in ("==", "!=") and 0 <= number <= 15
        assert known == (None if inside else exact), (number, sides)


def test_extremes_within_extremes_take_no_time() -> None:
    """Bounds of an atom simplified its operands anew, and theirs: several times as long for each level."""
    nested: IntExpr = Var("r")
    for level in range(60):
        nested = IntOp("/", IntOp("min" if level % 2 else "max", nested, Var(f"n{level}")), Int(3))
    found = simplify(nested, RANGES)
    assert simplify(found, RANGES) == found and bounds_of(linear(found, RANGES), RANGES) == (None, None)
