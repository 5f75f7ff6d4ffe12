"""Subscripts that are not affine, in a kernel and in a statement, as polynomials that are equal if the integers are.

In: `IntExpr`s at the points of an action and integer expressions of the statement that it runs there.
Out: whether both are the same integer at every point; False where that is not seen.
Method: both sides become sums of products of atoms over the kernel's own variables; the statement's indices are what
the action's instance says.  An atom is a variable, a value from memory, or a quotient, remainder, minimum, maximum or
choice: an affine one is compared by isl, any other by its operands.  What is a sum of variables at the points of the
action alone is that sum, and a choice that all of them make alike is what they choose: the kernel may know it too.
Whatever isl can compute of products that it cannot is its function of them, each product being a parameter.

    N * c0 + c1   and   (i + 1) * N + j - N   with i = c0, j = c1
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from comprehension.kernel import ir
from comprehension.lang import tree
from comprehension.lang.limits import LARGEST_OFFSET
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.affine import AffineSpace, fitting, function_of, set_of
from comprehension.poly.functions import arithmetic, choice, comparison, dimension
from comprehension.poly.proof.integers import IntegerSpace
from comprehension.poly.wrapping import lies_between

Monomial = tuple[Hashable, ...]  # atoms, sorted by their text
Polynomial = frozenset[tuple[Monomial, int]]
MAX_TERMS = 1_000
MAX_OPAQUE = 8  # products at one action's points that are isl parameters
OPAQUE = "@"  # and how their names begin

_SWAPPED = {">": "<", ">=": "<="}
_COMPARED = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne}


@dataclass(frozen=True, slots=True)
class _Where:
    """A condition by the points at which it holds; equal ones have one number."""

    number: int
    holds: isl.Set = field(compare=False, repr=False)


Condition = Hashable  # bool where all points decide alike, `_Where`, or its parts


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
    conditions: list[isl.Set] = field(default_factory=list)
    opaque: list[Monomial] = field(default_factory=list)
    variables: dict[str, Polynomial] = field(default_factory=dict)
    values: list[tree.Expr] = field(default_factory=list)
    sums: list[tuple[tree.Expr, Polynomial]] = field(default_factory=list)  # taken apart, though they read memory
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
                return self._variable(name)
            case ir.IntOp(op="+" | "-" | "*" as op, left=left, right=right):
                return _combined(op, self.found(left), self.found(right))
            case ir.IntOp(op=op, left=left, right=right):
                affine = self._affine(self.scope.function(expr))
                return self._operation(op, self.found(left), self.found(right)) if affine is None else affine
            case ir.IntSelect(condition=condition, then=then, otherwise=otherwise):
                affine = self._affine(self.scope.function(expr))
                if affine is not None:
                    return affine
                return self._choice(self._found_condition(condition), self.found(then), self.found(otherwise))
            case ir.FromValue(value=value):
                number = next((self.values.index(e) for e in self.values if self.is_same(value, e)), None)
                if number is not None:
                    return _atom(("value", number))
                whole = next((polynomial for e, polynomial in self.sums if self.is_same(value, e)), None)
                return whole if whole is not None else _atom(("foreign", id(value)))
        assert_never(expr)

    def _variable(self, name: str) -> Polynomial:
        if name not in self.variables:
            affine = self._affine(self.scope.variables.get(name))
            self.variables[name] = _atom(("variable", name)) if affine is None else affine
        return self.variables[name]

    def _affine(self, function: isl.PwAff | None) -> Polynomial | None:
        if function is None:
            return None
        return self._function(isl.Map.from_pw_aff(function).intersect_domain(self.points.domain()))

    def _function(self, function: isl.Map) -> Polynomial:
        plain = _plain_sum(function, self.opaque)
        if plain is not None:
            return plain
        for number, known in enumerate(self.functions):
            known = known.align_params(function.get_space())
            function = function.align_params(known.get_space())
            if known.is_equal(function):
                return _atom(("function", number))
            apart = _plain_sum(function.sum(known.neg()), self.opaque)  # (i + 4) / 2 is i / 2 + 2
            if apart is not None:
                return _combined("+", _atom(("function", number)), apart)
        self.functions.append(function)
        return _atom(("function", len(self.functions) - 1))

    def _found_condition(self, condition: ir.Condition) -> Condition:
        holds = self.scope.condition(condition)
        if holds is not None:
            return self._where(holds.intersect(self.points.domain()))
        match condition:
            case ir.Compare(op=op, left=left, right=right):
                return self._comparison(op, self.found(left), self.found(right))
            case ir.BoolOp(op=op, left=first, right=second):
                return self._both(op, self._found_condition(first), self._found_condition(second))
        assert_never(condition)

    # --- what is affine at the points, though its text is not ---------------------------------------------------------

    def _operation(self, op: str, left: Polynomial, right: Polynomial) -> Polynomial:
        """A quotient, remainder, minimum or maximum."""
        affine = self._affine(arithmetic(op, self._as_function(left), self._as_function(right)))
        return _indivisible(op, left, right) if affine is None else affine

    def _choice(self, condition: Condition, then: Polynomial, otherwise: Polynomial) -> Polynomial:
        if isinstance(condition, bool):
            return then if condition else otherwise
        if then == otherwise:
            return then
        if isinstance(condition, _Where):
            affine = self._affine(choice(condition.holds, self._as_function(then), self._as_function(otherwise)))
            if affine is not None:
                return affine
        return _atom(("choice", condition, then, otherwise))

    def _comparison(self, op: str, left: Polynomial, right: Polynomial) -> Condition:
        """A condition on two integers; its outcome where all points have the same."""
        holds = comparison(op, self._as_function(left), self._as_function(right))
        return _comparison(op, left, right) if holds is None else self._where(holds.intersect(self.points.domain()))

    def _both(self, op: str, first: Condition, second: Condition) -> Condition:
        if isinstance(first, _Where) and isinstance(second, _Where):
            holds = first.holds.intersect(second.holds) if op == "and" else first.holds.union(second.holds)
            return self._where(holds)
        return _both(op, first, second)

    def _where(self, holds: isl.Set) -> Condition:
        """A condition that holds at some of the points: True at all, False at none, else one number for each set."""
        if holds.is_empty():
            return False
        if self.points.domain().is_subset(holds):
            return True
        known = next((number for number, other in enumerate(self.conditions) if other.is_equal(holds)), None)
        if known is None:
            self.conditions.append(holds)
            known = len(self.conditions) - 1
        return _Where(known, holds)

    def _as_function(self, polynomial: Polynomial) -> isl.PwAff | None:
        """A sum of products as isl's function of the points; one that isl cannot compute is a parameter of its own."""
        total = self.scope.constant(0)
        for monomial, times in polynomial:
            match monomial:
                case ():
                    part = self.scope.constant(1)
                case (("variable", int(position)),):
                    part = dimension(self.scope.space, position)
                case (("variable", str(name)),) if name in self.scope.variables:
                    part = self.scope.variables[name]
                case (("function", int(number)),):
                    part = isl.PwMultiAff.from_map(self.functions[number]).get_pw_aff(0)
                case _:
                    if monomial not in self.opaque:
                        if len(self.opaque) == MAX_OPAQUE:
                            return None
                        self.opaque.append(monomial)
                    name = f"{OPAQUE}{self.opaque.index(monomial)}"
                    space = self.scope.space.insert_dims(isl.dim_type.param, 0, 1)
                    part = dimension(space.set_dim_name(isl.dim_type.param, 0, name), 0, isl.dim_type.param)
            total = total.add(part.scale_val(isl.Val(str(times), part.get_ctx())))
        return total

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
                return self._variable(name)
            case tree.Unary(op="-", operand=operand) if not reads_memory(expr, self.lets):
                return _combined("-", _number(0), self.meant(operand))
            case tree.Binary(op="+" | "-" as op, left=left, right=right) if self._is_taken_apart(expr):
                total = _combined(op, self.meant(left), self.meant(right))
                if reads_memory(expr, self.lets):
                    self.sums.append((expr, total))  # the kernel may have it as one value
                return total
            case _ if reads_memory(expr, self.lets):
                return self._value(expr)
            case tree.Cast(to=to, operand=operand) if to.is_integer and to.bits >= 32 and tree.is_integral(operand):
                return self.meant(operand)
            case tree.Binary(op="+" | "-" | "*" as op, left=left, right=right):
                return _combined(op, self.meant(left), self.meant(right))
            case tree.Binary(op="/" | "%" as op, left=left, right=right):
                affine = self._meant_affine(expr)
                return self._operation(op, self.meant(left), self.meant(right)) if affine is None else affine
            case tree.Call(function="min" | "max" as op, arguments=(left, right)):
                affine = self._meant_affine(expr)
                return self._operation(op, self.meant(left), self.meant(right)) if affine is None else affine
            case tree.Select(condition=condition, then=then, otherwise=otherwise):
                affine = self._meant_affine(expr)
                if affine is not None:
                    return affine
                return self._choice(self._meant_condition(condition), self.meant(then), self.meant(otherwise))
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

    def _meant_condition(self, condition: tree.Expr, *, holds: bool = True) -> Condition:
        """As the kernel writes it: with `<` and `<=`; what is no comparison of integers is a value that is not 0."""
        instances = set_of(condition, self.where)
        if instances is not None:
            own = self.points.intersect_range(instances).domain()
            return self._where(own if holds else self.points.domain().subtract(own))
        match condition:
            case tree.Unary(op="!", operand=operand):
                return self._meant_condition(operand, holds=not holds)
            case tree.Binary(op="&&" | "||" as op, left=left, right=right):
                both = (op == "&&") == holds
                first, second = (self._meant_condition(part, holds=holds) for part in (left, right))
                return self._both("and" if both else "or", first, second)
            case tree.Binary(op=op, left=left, right=right) if tree.is_integral(left):
                meant = op if holds else tree.OPPOSITE[op]
                if meant in _SWAPPED:
                    return self._comparison(_SWAPPED[meant], self.meant(right), self.meant(left))
                return self._comparison(meant, self.meant(left), self.meant(right))
            case _:
                truth = tree.Cast(ScalarType.INT32, condition, dtype=ScalarType.INT32)
                return self._comparison("!=" if holds else "==", self._value(truth), _number(0))


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


# --- at the points ----------------------------------------------------------------------------------------------------


def _comparison(op: str, left: Polynomial, right: Polynomial) -> Hashable:
    """A condition on two integers, or its outcome where they are a number apart."""
    apart = dict(_combined("-", left, right))
    if apart.keys() <= {()}:
        return bool(_COMPARED[op](apart.get((), 0), 0))
    return op, left, right


def _both(op: str, first: Hashable, second: Hashable) -> Hashable:
    """`and` or `or` of two conditions."""
    decisive = op == "or"
    for one, other in ((first, second), (second, first)):
        if isinstance(one, bool):
            return one if one == decisive else other
    return op, first, second


def _plain_sum(function: isl.Map, opaque: Sequence[Monomial] = ()) -> Polynomial | None:
    """The sum of multiples of names, dimensions and products that a function is at all points, if it is one."""
    for constraint in function.affine_hull().get_constraints():
        if constraint.is_equality() and constraint.involves_dims(isl.dim_type.out, 0, 1):
            return _solved(constraint, opaque)
    return None


def _solved(equality: isl.Constraint, opaque: Sequence[Monomial]) -> Polynomial | None:
    """What an equality says its output is; None where it divides, or uses a product of sizes that is a parameter."""
    scale = _coefficient(equality, isl.dim_type.out, 0)
    divisions = range(equality.dim(isl.dim_type.div))
    if abs(scale) != 1 or any(_coefficient(equality, isl.dim_type.div, d) for d in divisions):
        return None
    total = _number(-scale * int(equality.get_constant_val().to_python()))
    for kind in (isl.dim_type.param, isl.dim_type.in_):
        for position in range(equality.dim(kind)):
            times = -scale * _coefficient(equality, kind, position)
            if not times:
                continue
            name = str(equality.get_dim_name(kind, position)) if kind == isl.dim_type.param else position
            monomial: Monomial = (("variable", name),)
            if isinstance(name, str) and name.startswith(OPAQUE):
                monomial = opaque[int(name.removeprefix(OPAQUE))]
            elif isinstance(name, str) and not name.isidentifier():
                return None
            total = _combined("+", total, frozenset([(monomial, times)]))
    return total


def _coefficient(constraint: isl.Constraint, kind: isl.dim_type, position: int) -> int:
    return int(constraint.get_coefficient_val(kind, position).to_python())


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
        least = _comparison("<=", left, right)
        if isinstance(least, bool):
            return left if least == (op == "min") else right
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
