"""Sums of products, term by term: what is one term for subscripts of register tiles and panels."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from test_simplify import environments, evaluate, expressions

from comprehension.kernel.ir import Int, IntExpr, IntOp, Var
from comprehension.poly.monomials import products_of, written

X, N = Var("x"), Var("n")


@given(expressions, environments)
def test_a_sum_written_out_has_the_value(expr: IntExpr, env: dict[str, int]) -> None:
    assert evaluate(written(products_of(expr)), env) == evaluate(expr, env)


@pytest.mark.parametrize("op", ["min", "max"])
def test_what_turns_out_to_be_a_sum_is_one(op: str) -> None:
    """Not an atom: other terms would not cancel it."""
    total = IntOp("+", X, IntOp("*", Int(2), N))
    assert products_of(IntOp(op, total, total)) == products_of(total) == Counter({(X,): 1, (N,): 2})


def test_a_quotient_that_does_not_come_out_even_is_one_term() -> None:
    ((term, count),) = products_of(IntOp("/", X, N)).items()
    assert count == 1 and len(term) == 1 and isinstance(term[0], IntOp) and term[0].op == "/"


def test_products_of_too_many_terms_stay_whole() -> None:
    def sum_of(names: str) -> IntExpr:
        total: IntExpr = Var(names[0])
        for name in names[1:]:
            total = IntOp("+", total, Var(name))
        return total

    eight, nine = sum_of("abcdefgh"), sum_of("ijklmnopq")
    assert len(products_of(IntOp("*", eight, sum_of("ijklmnop")))) == 64
    ((atom, factor),) = products_of(IntOp("*", eight, nine)).items()
    assert factor == 1 and len(atom) == 1
    assert products_of(IntOp("+", IntOp("*", eight, nine), Int(3))) == {atom: 1, (): 3}
