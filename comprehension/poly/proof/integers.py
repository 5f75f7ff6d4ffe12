"""KernelIR's integers and conditions as isl functions and sets.

In: `IntExpr`, `Condition` and boolean `Value`s, and the meaning of their variables at a place of the kernel.
Out: piecewise quasi-affine functions and sets in the space of that place.
Invariant: what is returned equals the expression wherever the place is reached; None stands for "not affine"
(an indirect subscript, a product of variables) and never for a guess.  `IntExpr`s are exact; `Value`s wrap in their
types, and are unknown where something in them may wrap around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.functions import COMPARISONS, arithmetic, choice, comparison, constant, dimension
from comprehension.poly.parameters import from_parameters
from comprehension.poly.wrapping import fits


@dataclass(frozen=True, slots=True, eq=False)
class IntegerSpace:
    """A set space, and what each visible integer variable is in it; `locals` are values named by `Define`.

    `where` are the points at which values are asked for.  `numbers` and `truths` keep what the locals are: lets
    that use lets would else be followed exponentially.
    """

    space: isl.Space
    variables: Mapping[str, isl.PwAff]
    locals: Mapping[str, ir.Value]
    where: isl.Set
    numbers: dict[str, isl.PwAff | None] = field(default_factory=dict)
    truths: dict[str, isl.Set | None] = field(default_factory=dict)
    possible: dict[tuple[str, bool], isl.Set] = field(default_factory=dict)

    @classmethod
    def of(cls, space: isl.Space, names: Mapping[str, int], locals: Mapping[str, ir.Value]) -> IntegerSpace:
        """`names` gives the set dimension of each loop variable; parameters are visible by their own names."""
        parameters = enumerate(isl.parameter_names(space))
        variables = {name: dimension(space, position, isl.dim_type.param) for position, name in parameters}
        variables |= {name: dimension(space, position) for name, position in names.items()}
        return cls(space, variables, locals, isl.Set.universe(space))

    def only(self, names: Sequence[str]) -> IntegerSpace:
        """The same space, in which nothing but `names` is visible."""
        return IntegerSpace(self.space, {name: self.variables[name] for name in names}, self.locals, self.where)

    def at(self, where: isl.Set) -> IntegerSpace:
        """The same space, for values at these points."""
        return IntegerSpace(self.space, self.variables, self.locals, where)

    def constant(self, value: int) -> isl.PwAff:
        return constant(self.space, value)

    def function(self, expr: ir.IntExpr) -> isl.PwAff | None:
        """`expr` as a function of the place, or None."""
        match expr:
            case ir.Int(value=value):
                return self.constant(value)
            case ir.Var(name=name):
                return self.variables.get(name)
            case ir.IntOp(op=op, left=left, right=right):
                found = arithmetic(op, self.function(left), self.function(right))
                return from_parameters(expr, self.space, self.variables) if found is None else found
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                return choice(self.condition(condition), self.function(then), self.function(otherwise))
            case ir.FromValue(value=value):
                return self.fitting(value)
        assert_never(expr)

    def condition(self, condition: ir.Condition) -> isl.Set | None:
        """The places at which `condition` holds, or None."""
        match condition:
            case ir.Compare(op=op, left=left, right=right):
                return comparison(op, self.function(left), self.function(right))
            case ir.BoolOp(op=op, left=left, right=right):
                first, second = self.condition(left), self.condition(right)
                if first is None or second is None:
                    return None
                return first.intersect(second) if op == "and" else first.union(second)
        assert_never(condition)

    def truth(self, value: ir.Value) -> isl.Set | None:
        """The places at which a boolean value is true, or None where that depends on data, or on what may wrap."""
        match value:
            case ir.BinaryOp(op="&&" | "||" as op, left=left, right=right):
                first, second = self.truth(left), self.truth(right)
                if first is None or second is None:
                    return None
                return first.intersect(second) if op == "&&" else first.union(second)
            case ir.BinaryOp(op=op, left=left, right=right) if op in COMPARISONS:
                return comparison(op, self.fitting(left), self.fitting(right))
            case ir.UnaryOp(op="!", operand=operand):
                inner = self.truth(operand)
                return None if inner is None else inner.complement()
            case ir.Local(name=name) if name in self.locals:
                if name not in self.truths:
                    self.truths[name] = self.truth(self.locals[name])
                return self.truths[name]
            case _:
                return None

    def where_it_may_be(self, wanted: bool, value: ir.Value, domain: isl.Set) -> isl.Set:
        """The places of `domain` at which a boolean may be `wanted`: what depends on data, or wraps, may be either."""
        match value:
            case ir.BinaryOp(op="&&" | "||" as op, left=left, right=right):
                first = self.where_it_may_be(wanted, left, domain)
                second = self.where_it_may_be(wanted, right, domain)
                return first.intersect(second) if (op == "&&") == wanted else first.union(second)
            case ir.UnaryOp(op="!", operand=operand):
                return self.where_it_may_be(not wanted, operand, domain)
            case ir.Local(name=name) if name in self.locals:
                if (name, wanted) not in self.possible:
                    everywhere = isl.Set.universe(self.space)
                    self.possible[name, wanted] = self.where_it_may_be(wanted, self.locals[name], everywhere)
                return domain.intersect(self.possible[name, wanted])
        holds = self.truth(value)
        if holds is None:
            return domain
        return domain.intersect(holds) if wanted else domain.subtract(holds)

    def fitting(self, value: ir.Value) -> isl.PwAff | None:
        """An integer value that does not wrap around; None where it is not affine, or may."""
        number = self.number(value)
        if number is None:
            return None
        is_plain = isinstance(value, ir.Const | ir.ScalarArg)
        return number if is_plain or fits(number, value.dtype, self.where) else None

    def number(self, value: ir.Value) -> isl.PwAff | None:
        """An integer value of indices, sizes and constants alone, before it wraps at its very end.

        What is added, subtracted and multiplied may wrap before it is (as in `affine.value_of`).
        """
        match value:
            case ir.Const(value=int(number), dtype=dtype) if dtype.is_integer:
                return self.constant(int(number))
            case ir.IndexValue(index=index, dtype=dtype) if dtype.is_integer:
                return self.function(index)
            case ir.Local(name=name, dtype=dtype) if name in self.locals and dtype.is_integer:
                if name not in self.numbers:
                    self.numbers[name] = self.number(self.locals[name])
                return self.numbers[name]
            case ir.ScalarArg(name=name, dtype=dtype) if dtype.is_integer:
                return self.variables.get(name)
            case ir.Convert(operand=operand, dtype=dtype) if dtype.is_integer and operand.dtype.is_integer:
                return self.fitting(operand)
            case ir.UnaryOp(op="-", operand=operand, dtype=dtype) if dtype.is_integer:
                inner = self.number(operand)
                return None if inner is None else inner.neg()
            case ir.BinaryOp(op="+" | "-" | "*" as op, left=left, right=right, dtype=dtype) if dtype.is_integer:
                return self._number_of_both(op, self.number(left), self.number(right), value)
            case ir.BinaryOp(op="/" | "%" | "min" | "max" as op, left=left, right=right) if value.dtype.is_integer:
                return self._number_of_both(op, self.fitting(left), self.fitting(right), value)
            case ir.SelectValue(condition=condition, then=then, otherwise=otherwise) if value.dtype.is_integer:
                return choice(self.truth(condition), self.number(then), self.number(otherwise))
            case _:
                return None

    def _number_of_both(
        self, op: str, left: isl.PwAff | None, right: isl.PwAff | None, value: ir.Value
    ) -> isl.PwAff | None:
        if left is None or right is None:
            return None
        found, integer = arithmetic(op, left, right), self._integer(value)
        return from_parameters(integer, self.space, self.variables) if found is None and integer is not None else found

    def _integer(self, value: ir.Value) -> ir.IntExpr | None:
        match value:
            case ir.Const(value=int(number)):
                return ir.Int(int(number))
            case ir.IndexValue(index=index):
                return index
            case ir.ScalarArg(name=name):
                return ir.Var(name)
            case ir.Local(name=name) if name in self.locals:
                return self._integer(self.locals[name])
            case ir.BinaryOp(op="+" | "-" | "*" | "/" | "%" | "min" | "max" as op, left=left, right=right):
                first, second = self._integer(left), self._integer(right)
                return None if first is None or second is None else ir.IntOp(op, first, second)
            case _:
                return None
