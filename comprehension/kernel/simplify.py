"""Integer expressions in normal form: sums of multiples of atoms, divisions resolved where ranges allow.

In: any `IntExpr`.  Out: an equal one in a canonical shape, so that equal subscripts compare equal and
offsets cancel.  Invariant: values are those of exact integers with floor division, by zero 0.

Before: `(24 * t + r - 24 * (t / 1)) / 24` with 0 <= r < 24.   After: `0`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import assert_never

from comprehension.kernel.ir import BoolOp, Compare, Condition, FromValue, Int, IntExpr, IntOp, IntSelect, Local, Var

Ranges = Mapping[str, tuple[int | None, int | None]]  # inclusive bounds of variables, None: unknown
NO_RANGES: Ranges = {}


@dataclass(frozen=True, slots=True)
class Linear:
    """constant + sum of coefficient * atom; atoms are never sums, products by constants or constants."""

    constant: int
    terms: tuple[tuple[IntExpr, int], ...]  # sorted by the atom's text, no zero coefficients

    def coefficient(self, atom: IntExpr) -> int:
        return next((c for a, c in self.terms if a == atom), 0)

    def scaled(self, factor: int) -> Linear:
        if factor == 0:
            return Linear(0, ())
        return Linear(self.constant * factor, tuple((a, c * factor) for a, c in self.terms))

    def plus(self, other: Linear, factor: int = 1) -> Linear:
        if not other.terms:
            return Linear(self.constant + factor * other.constant, self.terms)
        if not self.terms:
            scaled = other.scaled(factor)
            return Linear(self.constant + scaled.constant, scaled.terms)
        total = dict(self.terms)
        for atom, coefficient in other.terms:
            total[atom] = total.get(atom, 0) + factor * coefficient
        return Linear(self.constant + factor * other.constant, _sorted(total))

    def at(self, variable: str, value: Linear) -> Linear:
        """The form with a value for a variable; what stands within other atoms stays."""
        factor = self.coefficient(Var(variable))
        return self.plus(Linear(0, ((Var(variable), 1),)), -factor).plus(value, factor)


def _sorted(terms: Mapping[IntExpr, int]) -> tuple[tuple[IntExpr, int], ...]:
    found = [(a, c) for a, c in terms.items() if c]
    return tuple(sorted(found, key=lambda term: _key(term[0])) if len(found) > 1 else found)


@functools.lru_cache(maxsize=4096)  # the text of an atom takes longer than all else here, and the same atoms come again
def _key(atom: IntExpr) -> tuple[int, str]:
    return (0, atom.name) if isinstance(atom, Var) else (1, repr(atom))


def linear(expr: IntExpr, ranges: Ranges = NO_RANGES) -> Linear:
    """`expr` as a linear form over atoms that are themselves simplified."""
    match expr:
        case Int(value=value):
            return Linear(value, ())
        case Var():
            return Linear(0, ((expr, 1),))
        case IntOp(op="+", left=left, right=right):
            return linear(left, ranges).plus(linear(right, ranges))
        case IntOp(op="-", left=left, right=right):
            return linear(left, ranges).plus(linear(right, ranges), -1)
        case IntOp(op="*", left=left, right=right):
            return _product(linear(left, ranges), linear(right, ranges))
        case IntOp(op="/", left=left, right=right):
            return _quotient(linear(left, ranges), linear(right, ranges), ranges)
        case IntOp(op="%", left=left, right=right):
            return _remainder(linear(left, ranges), linear(right, ranges), ranges)
        case IntOp(op=op, left=left, right=right):  # min, max
            return _extreme(op, linear(left, ranges), linear(right, ranges), ranges)
        case IntSelect(condition=condition, then=then, otherwise=otherwise):
            chosen = IntSelect(
                simplify_condition(condition, ranges), simplify(then, ranges), simplify(otherwise, ranges)
            )
            return Linear(0, ((chosen, 1),))
        case FromValue():
            return Linear(0, ((expr, 1),))
    assert_never(expr)


def simplify(expr: IntExpr, ranges: Ranges = NO_RANGES) -> IntExpr:
    """The canonical expression equal to `expr` wherever its variables are within `ranges`."""
    return expression(linear(expr, ranges))


def simplify_condition(condition: Condition, ranges: Ranges = NO_RANGES) -> Condition:
    match condition:
        case Compare(op=op, left=left, right=right):
            return Compare(op, simplify(left, ranges), simplify(right, ranges))
        case BoolOp(op=op, left=first, right=second):
            return BoolOp(op, simplify_condition(first, ranges), simplify_condition(second, ranges))
    assert_never(condition)


def truth(condition: Condition, ranges: Ranges = NO_RANGES) -> bool | None:
    """What `condition` is wherever the variables are within `ranges`, or None where it depends."""
    match condition:
        case Compare(op=op, left=left, right=right):
            low, high = bounds_of(linear(right, ranges).plus(linear(left, ranges), -1), ranges)  # right - left
            match op:
                case "<":
                    return True if low is not None and low > 0 else False if high is not None and high <= 0 else None
                case "<=":
                    return True if low is not None and low >= 0 else False if high is not None and high < 0 else None
            apart = (low is not None and low > 0) or (high is not None and high < 0)
            if low == 0 and high == 0:
                return op == "=="
            return (op == "!=") if apart else None
        case BoolOp(op=op, left=first, right=second):
            values = (truth(first, ranges), truth(second, ranges))
            decisive = op == "or"
            if decisive in values:
                return decisive
            return None if None in values else not decisive
    assert_never(condition)


def varies_with(node: object, name: str) -> bool:
    """Whether an expression can change with the variable; a value named elsewhere (a let) can."""
    if isinstance(node, Var):
        return node.name == name
    if isinstance(node, Local):
        return True
    if isinstance(node, tuple):
        return any(varies_with(part, name) for part in node)
    return is_dataclass(node) and any(varies_with(getattr(node, f.name), name) for f in fields(node))


def expression(form: Linear) -> IntExpr:
    """The form written out: positive terms first, so that differences read naturally."""
    positive = [(a, c) for a, c in form.terms if c > 0]
    negative = [(a, c) for a, c in form.terms if c < 0]
    result: IntExpr | None = None
    for atom, coefficient in positive:
        term = atom if coefficient == 1 else IntOp("*", Int(coefficient), atom)
        result = term if result is None else IntOp("+", result, term)
    if form.constant > 0 or result is None:
        result = Int(form.constant) if result is None else IntOp("+", result, Int(form.constant))
    for atom, coefficient in negative:
        term = atom if coefficient == -1 else IntOp("*", Int(-coefficient), atom)
        result = IntOp("-", result, term)
    if form.constant < 0 and positive:
        result = IntOp("-", result, Int(-form.constant))
    return result


def narrowed(ranges: Ranges, condition: Condition) -> Ranges:
    """The ranges where the condition holds, as far as it bounds single variables."""
    match condition:
        case BoolOp(op="and", left=first, right=second):
            return narrowed(narrowed(ranges, first), second)
        case Compare(op="<" | "<=" | "==" as op, left=left, right=right):
            form = linear(right, ranges).plus(linear(left, ranges), -1)  # at least `least`, or 0
            match form.terms:
                case ((Var(name=name), (1 | -1) as coefficient),):
                    least = 1 if op == "<" else 0
                    bound = coefficient * (least - form.constant)
                    low, high = ranges.get(name, (None, None))
                    if op == "==" or coefficient == 1:
                        low = bound if low is None else max(low, bound)
                    if op == "==" or coefficient == -1:
                        high = bound if high is None else min(high, bound)
                    return {**ranges, name: (low, high)}
    return ranges


def bounds_of(form: Linear, ranges: Ranges) -> tuple[int | None, int | None]:
    """Inclusive bounds by interval arithmetic."""
    low: int | None = form.constant
    high: int | None = form.constant
    for atom, coefficient in form.terms:
        atom_low, atom_high = _atom_bounds(atom, ranges)
        if coefficient < 0:
            atom_low, atom_high = atom_high, atom_low
        low = None if low is None or atom_low is None else low + coefficient * atom_low
        high = None if high is None or atom_high is None else high + coefficient * atom_high
    return low, high


def _atom_bounds(atom: IntExpr, ranges: Ranges) -> tuple[int | None, int | None]:
    match atom:
        case Var(name=name):
            return ranges.get(name, (None, None))
        case IntOp(op="%", right=Int(value=divisor)):
            return 0, divisor - 1
        case IntOp(op="/", left=left, right=Int(value=divisor)):
            low, high = bounds_of(_as_written(left), ranges)
            return (None if low is None else low // divisor), (None if high is None else high // divisor)
        case IntOp(op="min" | "max" as op, left=left, right=right):
            first, second = (bounds_of(_as_written(operand), ranges) for operand in (left, right))
            return _extreme_bounds(op, first, second)
        case _:
            return None, None


def _as_written(expr: IntExpr) -> Linear:
    """The form of an operand of an atom, which is simplified already: to do so again at each level is exponential."""
    match expr:
        case Int(value=value):
            return Linear(value, ())
        case IntOp(op="+", left=left, right=right):
            return _as_written(left).plus(_as_written(right))
        case IntOp(op="-", left=left, right=right):
            return _as_written(left).plus(_as_written(right), -1)
        case IntOp(op="*", left=Int(value=factor), right=right):
            return _as_written(right).scaled(factor)
        case _:
            return Linear(0, ((expr, 1),))


def _extreme_bounds(
    op: str, first: tuple[int | None, int | None], second: tuple[int | None, int | None]
) -> tuple[int | None, int | None]:
    lows = [v for v in (first[0], second[0]) if v is not None]
    highs = [v for v in (first[1], second[1]) if v is not None]
    if op == "min":
        return (min(lows) if len(lows) == 2 else None), (min(highs) if highs else None)
    return (max(lows) if lows else None), (max(highs) if len(highs) == 2 else None)


def _product(left: Linear, right: Linear) -> Linear:
    if not left.terms:
        return right.scaled(left.constant)
    if not right.terms:
        return left.scaled(right.constant)
    factors = sorted((expression(left), expression(right)), key=repr)
    return Linear(0, ((IntOp("*", factors[0], factors[1]), 1),))


def _quotient(left: Linear, right: Linear, ranges: Ranges) -> Linear:
    divisor = right.constant
    if right.terms:
        return Linear(0, ((IntOp("/", expression(left), expression(right)), 1),))
    if divisor == 0:
        return right  # 0
    if divisor < 0:
        return _quotient(left.scaled(-1), right.scaled(-1), ranges)
    whole, rest = _divide(left, divisor)
    low, high = bounds_of(rest, ranges)
    if low is not None and high is not None and low // divisor == high // divisor:
        return whole.plus(Linear(low // divisor, ()))
    return whole.plus(Linear(0, ((IntOp("/", expression(rest), Int(divisor)), 1),)))


def _remainder(left: Linear, right: Linear, ranges: Ranges) -> Linear:
    divisor = right.constant
    if right.terms:
        return Linear(0, ((IntOp("%", expression(left), expression(right)), 1),))
    if divisor == 0:
        return right  # 0
    if divisor < 0:
        return _remainder(left.scaled(-1), right.scaled(-1), ranges).scaled(-1)
    _, rest = _divide(left, divisor)
    low, high = bounds_of(rest, ranges)
    if low is not None and high is not None and low // divisor == high // divisor:
        return rest.plus(Linear(-(low // divisor) * divisor, ()))
    return Linear(0, ((IntOp("%", expression(rest), Int(divisor)), 1),))


def _divide(form: Linear, divisor: int) -> tuple[Linear, Linear]:
    """form = divisor * whole + rest, terms whose coefficient divides going to `whole`."""
    whole = {a: c // divisor for a, c in form.terms if c % divisor == 0}
    rest = {a: c for a, c in form.terms if c % divisor}
    quotient, remainder = divmod(form.constant, divisor)
    return Linear(quotient, _sorted(whole)), Linear(remainder, _sorted(rest))


def _extreme(op: str, left: Linear, right: Linear, ranges: Ranges) -> Linear:
    low, high = bounds_of(right.plus(left, -1), ranges)  # right - left
    if low is not None and low >= 0:
        return left if op == "min" else right
    if high is not None and high <= 0:
        return right if op == "min" else left
    operands = sorted((expression(left), expression(right)), key=repr)
    return Linear(0, ((IntOp("min" if op == "min" else "max", operands[0], operands[1]), 1),))
