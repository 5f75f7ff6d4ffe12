"""Property 2, its second half: what runs as an instance computes the statement's expression.

In: a Scop and an `Extraction`.  Out: findings.
The value of each EXECUTE store is matched, operator by operator, with the statement's typed expression: the same
operations on the same accesses, constants and types; indices as equal functions of the instance.  Sums and products
may have their operands swapped, `min` and `max` too unless they are of floats (of two zeros the second is taken), a
product and a sum may be one `Fma` (only under math="fast"), and a choice whose condition is settled for all points may
be one of its sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from comprehension.kernel import ir, scalars
from comprehension.kernel.rewrite import nodes_of
from comprehension.lang import tree
from comprehension.lang.types import ScalarType
from comprehension.poly import isl
from comprehension.poly.affine import AffineSpace, function_of, truth_of, value_of
from comprehension.poly.proof.extract import Action, Extraction
from comprehension.poly.proof.instances import inside
from comprehension.poly.proof.polynomials import Polynomials
from comprehension.poly.proof.verdict import Finding, Property, Violation
from comprehension.poly.scop import Scop, ScopRole, ScopStatement, reads_in_order
from comprehension.poly.wrapping import of_usual_sizes

_COMMUTATIVE = ("+", "*", "==", "!=", "&&", "||")


def check_values(scop: Scop, extraction: Extraction, *, fast: bool) -> Iterator[Finding]:
    """Every store that executes an instance stores what the instance computes."""
    for action in extraction.stores(ir.StoreRole.EXECUTE):
        statement = scop.find(action.statement)
        if statement is not None and not computes(scop, statement, action, fast=fast):
            what = f"{action.place}: computes something else than {statement.name} does"
            yield Violation(Property.INSTANCES, what)
    for action in extraction.stores(ir.StoreRole.COPY):
        assert action.store is not None
        if not isinstance(action.store.value, ir.Load):
            yield Violation(Property.BUFFERS, f"{action.place}: a copy computes something")


def computes(scop: Scop, statement: ScopStatement, action: Action, *, fast: bool) -> bool:
    """Whether the store's value is that of the statement."""
    assert action.store is not None
    value, source = action.store.value, statement.source
    dtype = scop.program.tensor(source.target).dtype
    if statement.role is ScopRole.INIT:
        assert source.reduction is not None
        return _is_constant(value, scalars.reduce_identity(source.reduction, dtype), dtype)
    matcher = _Matcher.of(scop, statement, action, fast=fast)
    own = len(statement.accesses) - 1
    targets = [load for load in nodes_of(value, ir.Load) if source.reduction is not None and load.access == own]
    target = tree.Access(source.target, source.subscripts)
    places: list[ir.Load | ir.Store] = [action.store, *targets]
    if value.dtype is not dtype or not all(matcher.same_place(place, target) for place in places):
        return False
    if source.reduction is None:
        return matcher.stored(value, source.value, dtype)
    operand = _operand(value, source.reduction, own, fast=fast)
    return operand is not None and matcher.stored(operand, source.value, dtype)


def _operand(value: ir.Value, op: tree.ReduceOp, target: int, *, fast: bool) -> ir.Value | None:
    """X where `value` is target <op> X, and X where that is a Fold of X by the same operator."""
    found: ir.Value | None = None
    match value:
        case ir.BinaryOp(op=given, left=ir.Load(access=number), right=right) if given == op and number == target:
            found = right
        case ir.BinaryOp(op=given, left=left, right=ir.Load(access=number)) if given == op and number == target:
            found = left
        case ir.Fma(a=a, b=b, c=ir.Load(access=number), dtype=dtype) if fast and op == "+" and number == target:
            found = ir.BinaryOp("*", a, b, dtype)
    while isinstance(found, ir.Fold) and found.op == op:
        found = found.value
    return found


def _is_constant(value: ir.Value, meant: scalars.Scalar, dtype: ScalarType) -> bool:
    if not isinstance(value, ir.Const) or value.dtype is not dtype:
        return False
    found = scalars.cast(value.value, dtype)
    same = bool(found == meant) and bool(np.signbit(found) == np.signbit(meant) if dtype.is_float else True)
    return same or bool(found != found and meant != meant)


@dataclass(slots=True, eq=False)
class _Matcher:
    """Compares values at the points of one action with expressions at the instances that they run."""

    action: Action
    points: isl.Map
    where: AffineSpace
    usual: isl.Set  # the instances with sizes that are not larger than most
    lets: dict[str, tree.Expr]
    dims: tuple[str, ...]  # the statement's indices
    numbers: dict[int, set[int]]  # of the accesses of the statement, by the identity of their node
    fast: bool
    known: dict[tuple[int, int], bool] = field(default_factory=dict)
    integers: Polynomials = field(init=False)

    def __post_init__(self) -> None:
        store = self.action.store
        assert store is not None and store.instance is not None, "it runs an instance"
        point = dict(zip(self.dims, store.instance.point, strict=True))
        self.integers = Polynomials(self.points, self.action.scope, self.where, self.usual, point, self.lets, self.same)

    @classmethod
    def of(cls, scop: Scop, statement: ScopStatement, action: Action, *, fast: bool) -> _Matcher:
        numbers: dict[int, set[int]] = {}
        for number, (access, _) in enumerate(reads_in_order(statement.source), start=1):
            numbers.setdefault(id(access), set()).add(number)
        lets = {let.name: let.value for let in statement.source.lets}
        where = scop.affine_space(statement)
        usual = of_usual_sizes(where.where, scop.program.sizes)
        return cls(action, inside(action, statement), where, usual, lets, statement.dims, numbers, fast)

    def stored(self, value: ir.Value, expr: tree.Expr, dtype: ScalarType) -> bool:
        """As `same`, but the value was converted to the tensor's type before it was stored."""
        if self.same(value, expr):
            return True
        converts = isinstance(value, ir.Convert) and value.dtype is dtype and expr.dtype is not dtype
        return converts and self.same(value.operand, expr)  # type: ignore[union-attr]

    def same(self, value: ir.Value, expr: tree.Expr) -> bool:
        """Whether `value` is `expr` at every point."""
        key = (id(value), id(expr))
        if key not in self.known:
            self.known[key] = self._same(self._opened(value), self._opened_expr(expr))
        return self.known[key]

    def _opened(self, value: ir.Value) -> ir.Value:
        while isinstance(value, ir.Local) and value.name in self.action.scope.locals:
            value = self.action.scope.locals[value.name]
        return value

    def _opened_expr(self, expr: tree.Expr) -> tree.Expr:
        while isinstance(expr, tree.Name) and expr.id in self.lets:
            expr = self.lets[expr.id]
        return expr

    def _same(self, value: ir.Value, expr: tree.Expr) -> bool:
        if isinstance(expr, tree.Select) and not isinstance(value, ir.SelectValue):
            return self._settled(value, expr)
        if value.dtype is not expr.dtype:
            return False
        as_index = self._same_index(value, expr)
        if as_index is not None:
            return as_index
        match value, expr:
            case ir.Const(value=number, dtype=dtype), tree.Number(value=meant):
                return _is_constant(ir.Const(number, dtype), scalars.cast(meant, dtype), dtype)
            case ir.Load(access=number), tree.Access() if number in self.numbers.get(id(expr), ()):
                return self.same_place(value, expr)
            case ir.ScalarArg(name=name), tree.Name(id=meant):
                return name == meant
            case ir.UnaryOp(op=op, operand=operand), tree.Unary(op=meant, operand=inner):
                return op == meant and self.same(operand, inner)
            case ir.Convert(operand=operand), tree.Cast(operand=inner):
                return self.same(operand, inner)
            case ir.SelectValue(), tree.Select():
                matches = self.same(value.then, expr.then) and self.same(value.otherwise, expr.otherwise)
                matches = matches and self._same_choice(value.condition, expr.condition)
                return matches or self._settled(value, expr)  # the value's choice may be one further inside
            case ir.Builtin(function=function, arguments=arguments), tree.Call(function=meant, arguments=inner):
                both = function == meant and len(arguments) == len(inner)
                return both and all(map(self.same, arguments, inner))
        return self._same_operation(value, expr)

    def _same_operation(self, value: ir.Value, expr: tree.Expr) -> bool:
        match value:
            case ir.Fma(a=a, b=b, c=c, dtype=dtype) if self.fast:
                return self._same_contraction(ir.BinaryOp("*", a, b, dtype), c, expr)
            case ir.BinaryOp(op=op, left=left, right=right):
                match expr:
                    case tree.Binary(op=meant, left=first, right=second) if meant == op:
                        return self._same_pair(op, left, right, first, second)
                    case tree.Call(function=meant, arguments=(first, second)) if meant == op:
                        return self._same_pair(op, left, right, first, second)
        return False

    def _same_contraction(self, product: ir.BinaryOp, other: ir.Value, expr: tree.Expr) -> bool:
        match expr:
            case tree.Binary(op="+", left=first, right=second):
                straight = self._same(product, self._opened_expr(first)) and self.same(other, second)
                return straight or (self._same(product, self._opened_expr(second)) and self.same(other, first))
        return False

    def _same_pair(self, op: str, left: ir.Value, right: ir.Value, first: tree.Expr, second: tree.Expr) -> bool:
        if self.same(left, first) and self.same(right, second):
            return True
        swaps = op in _COMMUTATIVE or (op in ("min", "max") and not left.dtype.is_float)
        return swaps and self.same(left, second) and self.same(right, first)

    def _settled(self, value: ir.Value, expr: tree.Select) -> bool:
        """A choice that always goes one way."""
        holds = truth_of(expr.condition, self.where)
        if holds is None:
            return False
        reached = self.points.range()
        if reached.is_subset(holds):
            return self.same(value, expr.then)
        return reached.is_disjoint(holds) and self.same(value, expr.otherwise)

    def _same_choice(self, condition: ir.Value, meant: tree.Expr) -> bool:
        """Whether a condition is that of the statement: as it is written, or in the points at which it holds."""
        if self.same(condition, meant):
            return True
        found, holds = self.action.scope.truth(condition), truth_of(meant, self.where)
        if found is None or holds is None:
            return False
        expected = self.points.intersect_range(holds).domain()
        return bool(expected.is_equal(self.points.domain().intersect(found)))

    # --- indices ------------------------------------------------------------------------------------------

    def _same_index(self, value: ir.Value, expr: tree.Expr) -> bool | None:
        """Whether two affine integers are equal at every point; None where one of them is not affine, or wraps inside.

        Both wrap in the same type at their end.
        """
        if expr.dtype is None or not expr.dtype.is_integer:
            return None
        found, meant = self.action.scope.number(value), value_of(expr, self.where)
        return None if found is None or meant is None else self._equal(found, meant)

    def _equal(self, found: isl.PwAff, meant: isl.PwAff) -> bool:
        expected = self.points.apply_range(isl.Map.from_pw_aff(meant))
        return bool(expected.is_subset(isl.Map.from_pw_aff(found)))

    def same_place(self, found: ir.Load | ir.Store, meant: tree.Access) -> bool:
        """Whether subscripts that are not affine in the text are the statement's; the others are compared as addresses.

        What stands in a local buffer is followed to where it comes from, and has to be affine.
        """
        return found.buffer != meant.tensor or all(
            function_of(b, self.where) is not None or self.integers.equal(a, b)
            for a, b in zip(found.subscripts, meant.subscripts, strict=True)
        )
