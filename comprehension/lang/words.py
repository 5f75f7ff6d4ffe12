"""Integers of 64 bits: what kernels and launches compute subscripts and bounds in, which are exact by meaning.

In: a typed statement, the ranges of its indices.  Out: forms that must lie within int64 for that to be the same.
Invariant: sums, differences and products may leave 64 bits on the way to a number that does not: they are what they are
up to multiples of 2⁶⁴.  What is divided, compared or ranged must not; sizes and scalars of 32 bits rarely come near.

    A(s * t / u)        s * t must be within int64, where s, t and u are int64 parameters
    where i in 0:s      s must be within int64, where s is a uint64
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from comprehension.lang.accesses import branches_of, choosing_lets, reads_of
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear
from comprehension.lang.tree import (
    Binary,
    Call,
    Cast,
    Expr,
    Let,
    Range,
    Select,
    Statement,
    children,
    is_integral,
    names_in,
    walk,
)
from comprehension.lang.types import ScalarType

LIMIT = 2**63
INT32 = ScalarType.INT32


def wide_forms(statement: Statement, where: Environment) -> Iterator[tuple[Linear, Expr]]:
    """Forms that may be beyond 64 bits where they must not be, and where they stand."""
    lets = choosing_lets(statement)
    for root in _exact_parts(statement):
        for part in walk(root):
            for operand in _compared_or_divided(part):
                for _, branch in branches_of(operand, lets):
                    form = from_expr(branch, where)
                    if form is not None and magnitude(form, where) >= LIMIT:
                        yield form, root


def _exact_parts(statement: Statement) -> list[Expr]:
    """Subscripts and bounds, and the integer lets that they use: what reads no tensor in them is exact."""
    found = list(statement.subscripts)
    for clause in statement.where:
        if isinstance(clause, Range):
            found += (clause.lower, clause.upper)
    found += (subscript for access, _ in reads_of(statement) for subscript in access.subscripts)
    used = names_in(*found)
    for clause in reversed(statement.where):
        if isinstance(clause, Let) and clause.name in used and is_integral(clause.value):
            found.append(clause.value)
            used |= names_in(clause.value)
    return found


def _compared_or_divided(node: Expr) -> tuple[Expr, ...]:
    match node:
        case Binary(op="+" | "-" | "*"):
            return ()
        case Binary() | Call(function="min" | "max"):
            return tuple(part for part in children(node) if is_integral(part))
        case _:
            return ()


def magnitude(form: Linear, where: Environment) -> int:
    """A number that no value of the form exceeds, in the types of its names.

    >>> from comprehension.lang.linear import product, variable
    >>> magnitude(variable("N") * 3 + 1, Environment({}, {})) == 3 * 2**31 + 1
    True
    """
    total = abs(form.constant)
    for atom, c in form.terms:
        match atom.op:
            case "name":
                lowest, highest = where.scalars.get(atom.key, INT32).limits
                size = max(-lowest, highest)
            case "*":
                size = math.prod(magnitude(arg, where) for arg in atom.args)
            case "/":
                size = magnitude(atom.args[0], where)
            case "%":
                size = magnitude(atom.args[1], where)
            case "opaque":
                size = _of_choice(atom.expr, where)
            case _:
                size = max(magnitude(arg, where) for arg in atom.args)
        total += abs(c) * size
    return total


def _of_choice(expr: Expr | None, where: Environment) -> int:
    """That of an opaque expression: a choice is one of its branches, a cast is within its type."""
    if isinstance(expr, Cast) and expr.to is INT32:  # around what is of another type, and exact
        expr = expr.operand
    if not isinstance(expr, Select):
        return 2**31 if expr is None or expr.dtype is None or not expr.dtype.is_integer else 1 << expr.dtype.bits
    forms = [from_expr(branch, where) for branch in (expr.then, expr.otherwise)]
    return max(LIMIT if form is None else magnitude(form, where) for form in forms)
