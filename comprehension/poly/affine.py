"""Integer expressions of the language as isl functions and sets.

In: typed expressions over indices, sizes, integer scalars and lets, in the space of a statement.  What is no affine
function of sizes, such as a product, may be a parameter of its own (`poly.parameters`).
Out: piecewise quasi-affine functions; sets for conditions; None where the expression is not affine
(an indirect subscript, a product of indices, a division by a size).
Invariant: what is returned equals the expression at every point: `/` floors and `%` matches it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comprehension.lang import tree
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.functions import ARITHMETIC, COMPARISONS, arithmetic, choice, comparison, constant
from comprehension.poly.parameters import from_parameters, integer_of


@dataclass(frozen=True, slots=True, eq=False)
class AffineSpace:
    """The set space of a statement and what each name means in it.

    `values` has the indices, sizes, integer scalars and affine lets; `conditions` the affine bool lets; `possible`
    where any bool let may be true and where it may be false.
    """

    space: isl.Space
    values: Mapping[str, isl.PwAff]
    conditions: Mapping[str, isl.Set]
    possible: Mapping[tuple[str, bool], isl.Set]

    @classmethod
    def of(cls, space: isl.Space, lets: Sequence[tree.Let] = ()) -> AffineSpace:
        local = isl.LocalSpace.from_space(space)
        values: dict[str, isl.PwAff] = {}
        for kind in (isl.dim_type.param, isl.dim_type.set):
            for position in range(space.dim(kind)):
                name = space.get_dim_name(kind, position)
                values[name] = isl.PwAff.from_aff(isl.Aff.var_on_domain(local, kind, position))
        conditions: dict[str, isl.Set] = {}
        possible: dict[tuple[str, bool], isl.Set] = {}
        where = cls(space, values, conditions, possible)
        everywhere = isl.Set.universe(space)
        for let in lets:  # in order: each once, however deeply later ones use it
            value, condition = function_of(let.value, where), set_of(let.value, where)
            if value is not None:
                values[let.name] = value
            if condition is not None:
                conditions[let.name] = condition
            if let.value.dtype is ScalarType.BOOL:
                for outcome in (True, False):
                    possible[let.name, outcome] = where_it_may_be(outcome, let.value, everywhere, where)
        return where

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
    """The points at which `condition` holds, or None where it depends on more than indices and sizes."""
    match condition:
        case tree.Binary(op=op, left=left, right=right) if op in COMPARISONS:
            return comparison(op, function_of(left, where), function_of(right, where))
        case tree.Binary(op="&&" | "||" as op, left=left, right=right):
            first, second = set_of(left, where), set_of(right, where)
            if first is None or second is None:
                return None
            return first.intersect(second) if op == "&&" else first.union(second)
        case tree.Unary(op="!", operand=operand):
            inner = set_of(operand, where)
            return None if inner is None else inner.complement()
        case tree.Name(id=name):
            return where.conditions.get(name)
        case _:
            return None


def where_it_may_be(value: bool, condition: tree.Expr, domain: isl.Set, where: AffineSpace) -> isl.Set:
    """The points of `domain` at which `condition` may have `value`: parts that depend on data may have either."""
    match condition:
        case tree.Binary(op="&&" | "||" as op, left=left, right=right):
            first = where_it_may_be(value, left, domain, where)
            second = where_it_may_be(value, right, domain, where)
            return first.intersect(second) if (op == "&&") == value else first.union(second)
        case tree.Unary(op="!", operand=operand):
            return where_it_may_be(not value, operand, domain, where)
        case tree.Name(id=name) if (name, value) in where.possible:
            return domain.intersect(where.possible[name, value])
    holds = set_of(condition, where)
    if holds is None:
        return domain
    return domain.intersect(holds) if value else domain.subtract(holds)
