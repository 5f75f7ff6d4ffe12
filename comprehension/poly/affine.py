"""Integer expressions of the language as isl functions and sets.

In: typed expressions over indices, sizes, integer scalars and lets, in the space of a statement.  What is no affine
function of sizes, such as a product, may be a parameter of its own (`poly.parameters`).
Out: piecewise quasi-affine functions; sets for conditions; None where the expression is not affine
(an indirect subscript, a product of indices, a division by a size).
Invariant: what is returned equals the expression at every point: `/` floors and `%` matches it.  Subscripts and bounds
are exact, conditions in them too (`function_of`, `set_of`); values wrap in their types (`value_of`, `truth_of`):
they are unknown where something in them may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from comprehension.lang import tree
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.functions import ARITHMETIC, COMPARISONS, arithmetic, choice, comparison, constant, dimension
from comprehension.poly.parameters import from_parameters, integer_of
from comprehension.poly.wrapping import fits


@dataclass(frozen=True, slots=True, eq=False)
class AffineSpace:
    """The set space of a statement and what each name means in it.

    `values` has the indices, sizes, integer scalars and affine lets, `conditions` the affine bool lets, both exact;
    `wrapping` and `truths` have them as values that wrap in their types, as far as they do not at the points `where`.
    `possible` says where any bool let may be true and where it may be false.
    """

    space: isl.Space
    where: isl.Set
    values: dict[str, isl.PwAff]
    conditions: dict[str, isl.Set]
    wrapping: dict[str, isl.PwAff]
    truths: dict[str, isl.Set]
    possible: dict[tuple[str, bool], isl.Set]

    @classmethod
    def of(cls, space: isl.Space, lets: Sequence[tree.Let] = (), where: isl.Set | None = None) -> AffineSpace:
        """`where`: the points at which values are asked for; all of the space unless given."""
        everywhere = isl.Set.universe(space)
        values: dict[str, isl.PwAff] = {}
        for kind in (isl.dim_type.param, isl.dim_type.set):
            for position in range(space.dim(kind)):
                name = space.get_dim_name(kind, position)
                values[name] = dimension(space, position, kind)
        known = cls(space, everywhere if where is None else where, values, {}, dict(values), {}, {})
        for let in lets:  # in order: each once, however deeply later ones use it
            known._define(let, everywhere)
        return known

    def _define(self, let: tree.Let, everywhere: isl.Set) -> None:
        value, wrapping = function_of(let.value, self), fitting(let.value, self)
        condition, truth = set_of(let.value, self), truth_of(let.value, self)
        if value is not None:
            self.values[let.name] = value
        if wrapping is not None:
            self.wrapping[let.name] = wrapping
        if condition is not None:
            self.conditions[let.name] = condition
        if truth is not None:
            self.truths[let.name] = truth
        if let.value.dtype is ScalarType.BOOL:
            for outcome in (True, False):
                self.possible[let.name, outcome] = where_it_may_be(outcome, let.value, everywhere, self)

    def constant(self, value: int) -> isl.PwAff:
        return constant(self.space, value)


def function_of(expr: tree.Expr, where: AffineSpace) -> isl.PwAff | None:
    """`expr` as a function of the statement's indices, or None."""
    match expr:
        case tree.Number(value=value):
            return where.constant(int(value)) if isinstance(value, int) and not isinstance(value, bool) else None
        case tree.Name(id=name):
            return where.values.get(name)
        case tree.Unary(op="-", operand=operand):
            inner = function_of(operand, where)
            return None if inner is None else inner.neg()
        case tree.Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and tree.is_integral(operand):
            return function_of(operand, where)
        case tree.Cast(operand=operand) if tree.is_integral(expr) and tree.is_integral(operand):
            return fitting(expr, where)  # to a narrow type: a value
        case tree.Binary(op=op, left=left, right=right) if op in ARITHMETIC:
            return arithmetic(op, function_of(left, where), function_of(right, where)) or _from_parameters(expr, where)
        case tree.Call(function="min" | "max" as op, arguments=(left, right)):
            return arithmetic(op, function_of(left, where), function_of(right, where)) or _from_parameters(expr, where)
        case tree.Select(condition=condition, then=then, otherwise=otherwise):
            return choice(set_of(condition, where), function_of(then, where), function_of(otherwise, where))
        case _:
            return None


def _from_parameters(expr: tree.Expr, where: AffineSpace) -> isl.PwAff | None:
    """The expression from products and quotients of sizes that are parameters."""
    integer = integer_of(expr)
    return None if integer is None else from_parameters(integer, where.space, where.values)


def set_of(condition: tree.Expr, where: AffineSpace) -> isl.Set | None:
    """The points at which an exact `condition` holds, or None where it depends on more than indices and sizes."""
    return _holding(condition, where.conditions, lambda part: function_of(part, where))


def truth_of(condition: tree.Expr, where: AffineSpace) -> isl.Set | None:
    """The points at which `condition` holds as a value, or None where it depends on more, or may wrap around."""
    return _holding(condition, where.truths, lambda part: fitting(part, where))


def _holding(
    condition: tree.Expr, lets: Mapping[str, isl.Set], number: Callable[[tree.Expr], isl.PwAff | None]
) -> isl.Set | None:
    match condition:
        case tree.Binary(op=op, left=left, right=right) if op in COMPARISONS:
            return comparison(op, number(left), number(right))
        case tree.Binary(op="&&" | "||" as op, left=left, right=right):
            first, second = _holding(left, lets, number), _holding(right, lets, number)
            if first is None or second is None:
                return None
            return first.intersect(second) if op == "&&" else first.union(second)
        case tree.Unary(op="!", operand=operand):
            inner = _holding(operand, lets, number)
            return None if inner is None else inner.complement()
        case tree.Name(id=name):
            return lets.get(name)
        case _:
            return None


def value_of(expr: tree.Expr, where: AffineSpace) -> isl.PwAff | None:
    """`expr` as a value before it wraps at its very end; None where it is not affine, or may wrap inside.

    Sums, differences and products need no room for their operands: they are what they are up to multiples of the
    type's width, whenever those are taken off.
    """
    match expr:
        case tree.Name(id=name):
            return where.wrapping.get(name)
        case tree.Unary(op="-", operand=operand):
            inner = value_of(operand, where)
            return None if inner is None else inner.neg()
        case tree.Cast(to=to, operand=operand) if to.is_integer and tree.is_integral(operand):
            return fitting(operand, where)
        case tree.Binary(op="+" | "-" | "*" as op, left=left, right=right):
            return _value_of_both(op, value_of(left, where), value_of(right, where), expr, where)
        case tree.Binary(op="/" | "%" as op, left=left, right=right):
            return _value_of_both(op, fitting(left, where), fitting(right, where), expr, where)
        case tree.Call(function="min" | "max" as op, arguments=(left, right)):
            return arithmetic(op, fitting(left, where), fitting(right, where))
        case tree.Select(condition=condition, then=then, otherwise=otherwise):
            return choice(truth_of(condition, where), value_of(then, where), value_of(otherwise, where))
        case _:
            return function_of(expr, where)  # a number


def _value_of_both(
    op: str, left: isl.PwAff | None, right: isl.PwAff | None, expr: tree.Expr, where: AffineSpace
) -> isl.PwAff | None:
    if left is None or right is None:
        return None
    return arithmetic(op, left, right) or _from_parameters(expr, where)


def fitting(expr: tree.Expr, where: AffineSpace) -> isl.PwAff | None:
    """`expr` as a value that does not wrap around; None where it is not affine, or may."""
    value = value_of(expr, where)
    if value is None or expr.dtype is None or not expr.dtype.is_integer:
        return None
    is_plain = isinstance(expr, tree.Name | tree.Number)
    return value if is_plain or fits(value, expr.dtype, where.where) else None


def where_it_may_be(value: bool, condition: tree.Expr, domain: isl.Set, where: AffineSpace) -> isl.Set:
    """The points of `domain` at which `condition` may be `value`: what depends on data, or may wrap, may be either."""
    match condition:
        case tree.Binary(op="&&" | "||" as op, left=left, right=right):
            first = where_it_may_be(value, left, domain, where)
            second = where_it_may_be(value, right, domain, where)
            return first.intersect(second) if (op == "&&") == value else first.union(second)
        case tree.Unary(op="!", operand=operand):
            return where_it_may_be(not value, operand, domain, where)
        case tree.Name(id=name) if (name, value) in where.possible:
            return domain.intersect(where.possible[name, value])
    holds = truth_of(condition, where)
    if holds is None:
        return domain
    return domain.intersect(holds) if value else domain.subtract(holds)
