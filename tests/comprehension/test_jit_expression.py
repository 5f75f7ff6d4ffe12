"""Integer expressions: what is written is what is evaluated, and nothing else can be."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from comprehension.jit.expression import compiled, compiled_together, evaluate
from comprehension.kernel import ir
from comprehension.kernel.size_text import text_of, text_of_tree
from comprehension.lang import tree
from comprehension.lang.types import ScalarType

NAMES = ["N", "M", "if", "if_", "min", "lambda", "int__"]
VALUES = st.fixed_dictionaries({name: st.integers(-20, 20) for name in NAMES})


def _int_expr() -> st.SearchStrategy[ir.IntExpr]:
    leaf = st.one_of(st.integers(-9, 9).map(ir.Int), st.sampled_from(NAMES).map(ir.Var))
    ops = st.sampled_from(["+", "-", "*", "/", "%", "min", "max"])
    compare = st.sampled_from(["<", "<=", "==", "!="])

    def larger(inner: st.SearchStrategy[ir.IntExpr]) -> st.SearchStrategy[ir.IntExpr]:
        condition = st.builds(ir.Compare, compare, inner, inner)
        both = st.one_of(condition, st.builds(ir.BoolOp, st.sampled_from(["and", "or"]), condition, condition))
        return st.one_of(st.builds(ir.IntOp, ops, inner, inner), st.builds(ir.IntSelect, both, inner, inner))

    return st.recursive(leaf, larger, max_leaves=12)


def meaning(expr: ir.IntExpr | ir.Condition, env: dict[str, int]) -> int:
    match expr:
        case ir.Int(value):
            return value
        case ir.Var(name):
            return env[name]
        case ir.IntSelect(condition, then, otherwise):
            return meaning(then if meaning(condition, env) else otherwise, env)
        case ir.BoolOp(op, left, right):
            known = meaning(left, env), meaning(right, env)
            return all(known) if op == "and" else any(known)
    a, b = meaning(expr.left, env), meaning(expr.right, env)
    table = {
        "+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0, "%": a % b if b else 0, "min": min(a, b),
        "max": max(a, b), "<": a < b, "<=": a <= b, "==": a == b, "!=": a != b,
    }  # fmt: skip
    return table[expr.op]


@given(_int_expr(), VALUES)
def test_text_means_what_the_expression_means(expr: ir.IntExpr, env: dict[str, int]) -> None:
    assert evaluate(text_of(expr), env) == meaning(expr, env)


@given(st.lists(st.tuples(_int_expr(), st.permutations(NAMES)), max_size=4), VALUES)
def test_several_at_once_are_what_each_is(drawn: list[tuple[ir.IntExpr, list[str]]], env: dict[str, int]) -> None:
    """Each with names of its own for the numbers."""
    expressions = [(text_of(expr), dict(zip(NAMES, names, strict=True))) for expr, names in drawn]
    expected = [
        meaning(expr, {own: env[name] for own, name in zip(NAMES, names, strict=True)}) for expr, names in drawn
    ]
    assert compiled_together(expressions, NAMES)(*[env[name] for name in NAMES]) == expected


def test_several_at_once_divide_by_zero_and_know_truth_as_one_does() -> None:
    texts = [
        "a // 0",
        "a % 0",
        "a // b",
        "(a and b) + 1",
        "(a or b) * 2",
        "not a",
        "-a",
        "int(a * 2.5)",
        "a if b else 3",
    ]
    for a in (0, 7):
        for b in (0, 5):
            expected = [evaluate(text, {"a": a, "b": b}) for text in texts]
            own = {"a": "a", "b": "b"}
            assert compiled_together([(text, own) for text in texts], ["a", "b"])(a, b) == expected


def test_trees_over_sizes_and_scalars() -> None:
    size, flag = tree.Name("N"), tree.Name("flag")
    expr = tree.Select(
        tree.Binary("||", tree.Unary("!", flag), tree.Binary(">=", size, tree.Number(4))),
        tree.Cast(ScalarType.INT32, tree.Binary("*", tree.Name("s"), tree.Number(2.5))),
        tree.Call("max", (tree.Unary("-", size), tree.Number(-3))),
    )
    text = text_of_tree(expr)
    assert evaluate(text, {"N": 4, "flag": True, "s": 1.5}) == 3
    assert evaluate(text, {"N": 2, "flag": True, "s": 1.5}) == -2


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "N.real",
        "[1][0]",
        "(lambda: 1)()",
        "N ** N",
        "9 ** 9 ** 9",
        "f'{N}'",
        "'a' * 3",
        "open('x')",
        "max(N)",
        "int(x=1)",
        "N if",
        "N := 3",
        "1 << 1000",
        "0 < N < 3",
        "(" * 100_001,
        "-" * 5_000 + "N",
    ],
)
def test_nothing_else_is_evaluated(text: str) -> None:
    with pytest.raises(ValueError, match="expression"):
        compiled(text)
    with pytest.raises(ValueError, match="expression"):
        compiled_together([(text, {"N": "N"})], ["N"])


def test_what_is_not_known_before_the_launch_has_no_text() -> None:
    with pytest.raises(ValueError, match="indirect"):
        text_of(ir.FromValue(ir.Const(1, ScalarType.INT32)))
    with pytest.raises(ValueError, match="Access is not known"):
        text_of_tree(tree.Access("A", ()))
    with pytest.raises(KeyError, match="N"):
        evaluate("N + 1", {})
