"""Subscripts that are not affine, in a kernel and in a statement, as polynomials that are equal if the integers are.

In: `IntExpr`s at the points of an action and integer expressions of the statement that it runs there.
Out: whether both are the same integer at every point; False where that is not seen.
Method: both sides become sums of products of atoms over the kernel's own variables; the statement's indices are what
the action's instance says.  An atom is a variable, a value from memory, or a quotient, remainder, minimum, maximum or
choice: an affine one is compared by isl, any other by its operands.

    N * c0 + c1   and   (i + 1) * N + j - N   with i = c0, j = c1
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from comprehension.kernel import ir
from comprehension.lang import tree
from comprehension.lang.limits import LARGEST_OFFSET
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.affine import AffineSpace, fitting, function_of
from comprehension.poly.proof.integers import IntegerSpace
from comprehension.poly.wrapping import lies_between

Monomial = tuple[Hashable, ...]  # atoms, sorted by their text
Polynomial = frozenset[tuple[Monomial, int]]
MAX_TERMS = 1_000

_SWAPPED = {">": "<", ">=": "<="}


class TooInvolved(Exception):
    """A product grows beyond `MAX_TERMS` terms: nothing is said about it."""


@dataclass(slots=True, eq=False)
class Polynomials:
    """The polynomials of one action.

    `points` maps its points to instances, `point` has the instance's indices as the kernel writes them; `lets` are
    the statement's, `is_same` compares a value with an expression that reads memory.  `usual`: the instances with sizes
    that are not larger than most.
    """

    points: isl.Map
    scope: IntegerSpace
    where: AffineSpace
    usual: isl.Set
    point: Mapping[str, ir.IntExpr]
    lets: Mapping[str, tree.Expr]
    is_same: Callable[[ir.Value, tree.Expr], bool]
    functions: list[isl.Map] = field(default_factory=list)
    values: list[tree.Expr] = field(default_factory=list)
    known: dict[int, Polynomial] = field(default_factory=dict)

    def equal(self, found: ir.IntExpr, meant: tree.Expr) -> bool:
        """Whether the kernel's integer is the statement's."""
        try:
            wanted = self.meant(meant)  # first: it says which values from memory there are
            return self.found(found) == wanted
        except TooInvolved:
            return False

    # --- the kernel's side -----------------------------------------------------------------------------------------

    def found(self, expr: ir.IntExpr) -> Polynomial:
        match expr:
            case ir.Int(value=value):
                return _number(value)
            case ir.Var(name=name):
                return _atom(("variable", name))
            case ir.IntOp(op="+" | "-" | "*" as op, left=left, right=right):
                return _combined(op, self.found(left), self.found(right))
            case ir.IntOp(op=op, left=left, right=right):
                return self._affine(self.scope.function(expr)) or _indivisible(op, self.found(left), self.found(right))
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                affine = self._affine(self.scope.function(expr))
                return affine or _atom(
                    ("choice", self._found_condition(condition), self.found(then), self.found(otherwise))
                )
            case ir.FromValue(value=value):
                number = next((self.values.index(e) for e in self.values if self.is_same(value, e)), None)
                return _atom(("value", number) if number is not None else ("foreign", id(value)))
        assert_never(expr)

    def _affine(self, function: isl.PwAff | None) -> Polynomial | None:
        if function is None:
            return None
        return self._function(isl.Map.from_pw_aff(function).intersect_domain(self.points.domain()))

    def _function(self, function: isl.Map) -> Polynomial:
        for number, known in enumerate(self.functions):
            if known.is_equal(function):
                return _atom(("function", number))
        self.functions.append(function)
        return _atom(("function", len(self.functions) - 1))

    def _found_condition(self, condition: ir.Condition) -> Hashable:
        match condition:
            case ir.Compare(op=op, left=left, right=right):
                return op, self.found(left), self.found(right)
            case ir.BoolOp(op=op, left=first, right=second):
                return op, self._found_condition(first), self._found_condition(second)
        assert_never(condition)

    # --- the statement's side --------------------------------------------------------------------------------------

    def meant(self, expr: tree.Expr) -> Polynomial:
        if id(expr) not in self.known:
            self.known[id(expr)] = self._meant(expr)
        return self.known[id(expr)]

    def _meant(self, expr: tree.Expr) -> Polynomial:
        match expr:
            case tree.Number(value=int() as value):
                return _number(value)
            case tree.Name(id=name) if name in self.point:
                return self.found(self.point[name])
            case tree.Name(id=name) if name in self.lets:
                inner = self.lets[name]
                return self._value(expr) if reads_memory(inner, self.lets) else self.meant(inner)
            case tree.Name(id=name):
                return _atom(("variable", name))
            case tree.Unary(op="-", operand=operand) if not reads_memory(expr, self.lets):
                return _combined("-", _number(0), self.meant(operand))
            case tree.Binary(op="+" | "-" as op, left=left, right=right) if self._is_taken_apart(expr):
                return _combined(op, self.meant(left), self.meant(right))
            case _ if reads_memory(expr, self.lets):
                return self._value(expr)
            case tree.Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and tree.is_integral(operand):
                return self.meant(operand)
            case tree.Binary(op="+" | "-" | "*" as op, left=left, right=right):
                return _combined(op, self.meant(left), self.meant(right))
            case tree.Binary(op="/" | "%" as op, left=left, right=right):
                return self._meant_affine(expr) or _indivisible(op, self.meant(left), self.meant(right))
            case tree.Call(function="min" | "max" as op, arguments=(left, right)):
                return self._meant_affine(expr) or _indivisible(op, self.meant(left), self.meant(right))
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                return self._meant_affine(expr) or _atom(
                    ("choice", self._meant_condition(condition), self.meant(then), self.meant(otherwise))
                )
            case _:
                return self._value(expr)

    def _value(self, expr: tree.Expr) -> Polynomial:
        if all(known is not expr for known in self.values):
            self.values.append(expr)  # beside its equals: each read of one text is an access of its own
        return _atom(("value", self.values.index(expr)))  # the number of the first equal one

    def _meant_affine(self, expr: tree.Expr) -> Polynomial | None:
        function = function_of(expr, self.where)
        return None if function is None else self._function(self.points.apply_range(isl.Map.from_pw_aff(function)))

    def _is_taken_apart(self, expr: tree.Binary) -> bool:
        """Whether the numbers of a sum tell its subscript: of a signed type, with an index for one side at most.

        Where such a sum wraps it lies beyond its tensor either way: what is added to what is read is small beside the
        width of the type.
        """
        if not reads_memory(expr, self.lets):
            return True
        if expr.dtype not in (ScalarType.INT32, ScalarType.INT64):
            return False
        return self._is_offset(expr.left) or self._is_offset(expr.right)

    def _is_offset(self, expr: tree.Expr) -> bool:
        value = None if reads_memory(expr, self.lets) else fitting(expr, self.where)
        return value is not None and lies_between(value, -LARGEST_OFFSET, LARGEST_OFFSET, self.usual)

    def _meant_condition(self, condition: tree.Expr, *, holds: bool = True) -> Hashable:
        """As the kernel writes it: with `<` and `<=`; what is no comparison of integers is a value that is not 0."""
        match condition:
            case tree.Unary(op="!", operand=operand):
                return self._meant_condition(operand, holds=not holds)
            case tree.Binary(op="&&" | "||" as op, left=left, right=right):
                both = (op == "&&") == holds
                return "and" if both else "or", *(self._meant_condition(p, holds=holds) for p in (left, right))
            case tree.Binary(op=op, left=left, right=right) if tree.is_integral(left):
                meant = op if holds else tree.OPPOSITE[op]
                if meant in _SWAPPED:
                    return _SWAPPED[meant], self.meant(right), self.meant(left)
                return meant, self.meant(left), self.meant(right)
            case _:
                truth = tree.Cast(ScalarType.INT32, condition, dtype=ScalarType.INT32)
                return "!=" if holds else "==", self._value(truth), _number(0)


def reads_memory(expr: tree.Expr, lets: Mapping[str, tree.Expr]) -> bool:
    """Whether an expression, or a let in it, reads a tensor."""
    waiting, seen = [expr], set[str]()
    while waiting:
        for node in tree.walk(waiting.pop()):
            if isinstance(node, tree.Access):
                return True
            if isinstance(node, tree.Name) and node.id in lets and node.id not in seen:
                seen.add(node.id)
                waiting.append(lets[node.id])
    return False


# --- polynomials -----------------------------------------------------------------------------------------------------


def _number(value: int) -> Polynomial:
    return frozenset([((), value)]) if value else frozenset()


def _atom(atom: Hashable) -> Polynomial:
    return frozenset([((atom,), 1)])


def _combined(op: str, left: Polynomial, right: Polynomial) -> Polynomial:
    total: dict[Monomial, int] = {}
    if op == "*":
        if len(left) * len(right) > MAX_TERMS:
            raise TooInvolved
        for one, c in left:
            for other, d in right:
                monomial = tuple(sorted((*one, *other), key=repr))
                total[monomial] = total.get(monomial, 0) + c * d
    else:
        total.update(left)
        for monomial, c in right:
            total[monomial] = total.get(monomial, 0) + (c if op == "+" else -c)
    return frozenset((monomial, c) for monomial, c in total.items() if c)


def _indivisible(op: str, left: Polynomial, right: Polynomial) -> Polynomial:
    """A quotient, remainder, minimum or maximum; multiples of a constant divisor leave a quotient and a remainder."""
    if op in ("min", "max"):
        return _atom((op, frozenset((left, right))))
    if not right:  # by zero
        return right
    divisor = dict(right).get((), 0) if all(not monomial for monomial, _ in right) else 0
    if divisor < 0:  # a / -d is -a / d, and a % -d is -(-a % d)
        zero = _number(0)
        opposite = _indivisible(op, _combined("-", zero, left), _combined("-", zero, right))
        return opposite if op == "/" else _combined("-", zero, opposite)
    if divisor == 0:
        return _atom((op, left, right))
    whole = {monomial: c // divisor for monomial, c in left if not c % divisor or not monomial}
    rest = {monomial: c % divisor if not monomial else c for monomial, c in left if c % divisor}
    inner = _atom((op, frozenset(rest.items()), right)) if any(rest) else _number(rest.get((), 0) if op == "%" else 0)
    return inner if op == "%" else _combined("+", frozenset((m, c) for m, c in whole.items() if c), inner)
