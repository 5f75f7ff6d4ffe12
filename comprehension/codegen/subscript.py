"""Subscripts as polynomials: offsets, and how far they move when a tile axis moves by one.

In: `IntExpr`s.  Out: simplified `IntExpr`s.
Invariant: equal values as the expression given, for all values of its variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import simplify

Monomial = tuple[ir.IntExpr, ...]  # factors in a fixed order; () is the constant term
Polynomial = dict[Monomial, int]


def variables(node: Any) -> frozenset[str]:
    """The names of all variables in an expression, condition or value."""
    return frozenset(n.name for n in nodes_of(node, ir.Var))


def polynomial(expression: ir.IntExpr) -> Polynomial:
    """The expression as a sum of products; what is neither sum nor product is one factor."""
    match expression:
        case ir.Int(value):
            return {(): value} if value else {}
        case ir.IntOp("+", left, right):
            return _sum(polynomial(left), polynomial(right), 1)
        case ir.IntOp("-", left, right):
            return _sum(polynomial(left), polynomial(right), -1)
        case ir.IntOp("*", left, right):
            return _product(polynomial(left), polynomial(right))
        case ir.IntOp(op, left, right):
            return _indivisible(ir.IntOp(op, simplified(left), simplified(right)))
        case _:
            return {(expression,): 1}


def _indivisible(expression: ir.IntOp) -> Polynomial:
    """A quotient, remainder, minimum or maximum: one factor, or a number where both sides are."""
    left, right = expression.left, expression.right
    if not (isinstance(left, ir.Int) and isinstance(right, ir.Int)):
        return {(expression,): 1}
    match expression.op:
        case "/" | "%":
            if not right.value:
                return {}
            value = left.value // right.value if expression.op == "/" else left.value % right.value
        case "min":
            value = min(left.value, right.value)
        case _:
            value = max(left.value, right.value)
    return {(): value} if value else {}


def _sum(left: Polynomial, right: Polynomial, sign: int) -> Polynomial:
    result = dict(left)
    for monomial, factor in right.items():
        result[monomial] = result.get(monomial, 0) + sign * factor
    return {m: f for m, f in result.items() if f}


def _rejoined(terms: Polynomial) -> Polynomial:
    """x % n + n (x / n) is x: a place that was divided into subscripts, in an offset made from them."""
    for monomial, factor in terms.items():
        for at, part in enumerate(monomial):
            match part:
                case ir.IntOp("%", whole, ir.Int(n)) if n > 0:
                    others = (*monomial[:at], *monomial[at + 1 :])
                    partner = tuple(sorted((*others, ir.IntOp("/", whole, ir.Int(n))), key=repr))
                    if terms.get(partner) == factor * n:
                        rest = {m: f for m, f in terms.items() if m not in (monomial, partner)}
                        return _rejoined(_sum(rest, _product(polynomial(whole), {others: factor}), 1))
    return terms


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for m1, f1 in left.items():
        for m2, f2 in right.items():
            monomial = tuple(sorted((*m1, *m2), key=repr))
            result[monomial] = result.get(monomial, 0) + f1 * f2
    return {m: f for m, f in result.items() if f}


def expression_of(terms: Polynomial) -> ir.IntExpr:
    """A polynomial as an expression: products before the constant, what is subtracted after what is added.

    >>> from comprehension.kernel.printer import index_text
    >>> index_text(expression_of({(ir.Var("i"),): -16, (): 130}))
    '(130 - (i * 16))'
    """
    ordered = sorted(terms.items(), key=lambda item: (item[1] < 0, not item[0], repr(item[0])))
    result: ir.IntExpr | None = None
    for monomial, factor in ordered:
        term = _term(monomial, abs(factor))
        if result is None:
            result = term if factor > 0 else _negated(term)
        else:
            result = ir.IntOp("+" if factor > 0 else "-", result, term)
    return ir.Int(0) if result is None else result


def _term(monomial: Monomial, factor: int) -> ir.IntExpr:
    if not monomial:
        return ir.Int(factor)
    product = monomial[0]
    for part in monomial[1:]:
        product = ir.IntOp("*", product, part)
    return product if factor == 1 else ir.IntOp("*", product, ir.Int(factor))


def _negated(term: ir.IntExpr) -> ir.IntExpr:
    return ir.Int(-term.value) if isinstance(term, ir.Int) else ir.IntOp("-", ir.Int(0), term)


def simplified(expression: ir.IntExpr) -> ir.IntExpr:
    """Sums of equal terms merged, constants folded.

    >>> from comprehension.kernel.printer import index_text
    >>> x, n = ir.Var("x"), ir.Int(50)
    >>> row, column = ir.IntOp("/", x, n), ir.IntOp("%", x, n)
    >>> index_text(simplified(ir.IntOp("+", ir.IntOp("*", row, n), column)))
    'x'
    """
    return expression_of(_rejoined(polynomial(expression)))


def step_along(expression: ir.IntExpr, variable: str) -> ir.IntExpr | None:
    """How much the value grows when `variable` grows by one; None where that is not one constant amount."""
    step: Polynomial = {}
    axis = ir.Var(variable)
    for monomial, factor in polynomial(expression).items():
        count = sum(part == axis for part in monomial)
        rest = tuple(part for part in monomial if part != axis)
        if count > 1 or any(variable in variables(part) for part in rest):
            return None
        if count:
            step[rest] = step.get(rest, 0) + factor
    return expression_of(step)


def substitute(expression: ir.IntExpr, values: Mapping[str, ir.IntExpr]) -> ir.IntExpr:
    """The expression with variables replaced."""
    match expression:
        case ir.Int():
            return expression
        case ir.Var(name):
            return values.get(name, expression)
        case ir.IntOp(op, left, right):
            return ir.IntOp(op, substitute(left, values), substitute(right, values))
        case ir.IntSelect(condition, then, otherwise):
            return ir.IntSelect(
                _substitute_condition(condition, values), substitute(then, values), substitute(otherwise, values)
            )
        case ir.FromValue():
            return expression


def _substitute_condition(condition: ir.Condition, values: Mapping[str, ir.IntExpr]) -> ir.Condition:
    match condition:
        case ir.Compare(op, left, right):
            return ir.Compare(op, substitute(left, values), substitute(right, values))
        case ir.BoolOp(op, left, right):
            return ir.BoolOp(op, _substitute_condition(left, values), _substitute_condition(right, values))


def strides_of(buffer: ir.Buffer) -> tuple[ir.IntExpr, ...]:
    """A buffer's strides in elements; row major where none are given."""
    if buffer.strides is not None:
        return buffer.strides
    strides: list[ir.IntExpr] = []
    step: ir.IntExpr = ir.Int(1)
    for extent in reversed(buffer.shape):
        strides.append(step)
        step = simplify(ir.IntOp("*", step, extent))  # sums of sizes stay factors
    return tuple(reversed(strides))


def offset_of(
    buffer: ir.Buffer, subscripts: Sequence[ir.IntExpr], strides: Sequence[ir.IntExpr] | None = None
) -> ir.IntExpr:
    """Where an element stands in its buffer's memory, in elements; `strides` may say the buffer's in other words."""
    total: ir.IntExpr = ir.Int(0)
    for subscript, stride in zip(subscripts, strides_of(buffer) if strides is None else strides, strict=True):
        total = ir.IntOp("+", total, ir.IntOp("*", subscript, stride))
    return simplified(total)


def elements_of(buffer: ir.Buffer) -> ir.IntExpr:
    """How many elements a dense buffer has."""
    total: ir.IntExpr = ir.Int(1)
    for extent in buffer.shape:
        total = ir.IntOp("*", total, extent)
    return simplified(total)
