"""One statement that is not a call: its indices, its `where` clauses, its types.

In: an untyped statement and the scope before it.  Out: a `TypedStatement`.
Invariant: all indices are found before anything is typed, so that lets and bounds may use those of the right side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from comprehension.lang.checked import CheckedStatement
from comprehension.lang.expressions import (
    Attempts,
    Fault,
    Scope,
    cast_to,
    dtype_of,
    each,
    propose,
    quoted,
    type_expression,
    type_integral,
)
from comprehension.lang.names import Names
from comprehension.lang.tree import (
    Access,
    Clause,
    Exists,
    Expr,
    Let,
    Name,
    Range,
    SizeOf,
    Span,
    Statement,
    walk,
)
from comprehension.lang.types import ScalarType


@dataclass(frozen=True, slots=True)
class TypedStatement:
    """`node` is typed, its value in the type that the expression has by itself."""

    node: Statement
    left: tuple[str, ...]
    reduction: tuple[str, ...]

    def stored_as(self, dtype: ScalarType) -> CheckedStatement:
        """The statement with its value cast to its target's type.

        A reduction with `!` and without reduction indices is an assignment (reference section 3).
        """
        node = self.node
        plain = node.initialise and not self.reduction
        stored = Statement(
            node.target,
            node.subscripts,
            cast_to(node.value, dtype),
            None if plain else node.reduction,
            node.initialise and not plain,
            node.where,
            node.equivalent,
            span=node.span,
        )
        return CheckedStatement(stored, self.left, self.reduction)


def check_statement(statement: Statement, scope: Scope, names: Names) -> TypedStatement:
    """Checks 1, 2, 3 and 5 of reference section 2; raises `Fault`."""
    lets = {c.name for c in statement.where if isinstance(c, Let)}
    left = _left_indices(statement, scope, names, lets)
    reduction = _reduction_indices(statement, scope, names, left, lets)
    scope.indices = {**left, **reduction}
    subscripts_scope = Scope(scope.tensors, scope.unwritten, scope.scalars, scope.sizes, scope.defs, left)
    what = f"a subscript of {quoted(statement.target)}"
    attempts = Attempts()
    subscripts = attempts.attempt(
        lambda: each(partial(type_integral, s, subscripts_scope, what) for s in statement.subscripts)
    )
    where = attempts.attempt(lambda: _clauses(statement, scope, names))
    value = attempts.attempt(lambda: type_expression(statement.value, scope))
    attempts.attempt(lambda: _check_reduction(statement, reduction, scope))
    attempts.finish()
    assert subscripts is not None and where is not None and value is not None, "nothing failed"
    node = Statement(
        statement.target,
        subscripts,
        value,
        statement.reduction,
        statement.initialise,
        where,
        statement.equivalent,
        span=statement.span,
    )
    return TypedStatement(node, tuple(left), tuple(reduction))


def reads(statement: Statement, tensor: str) -> bool:
    """Whether the statement's text reads `tensor` (a reduction's own read of its target is not in the text)."""
    for node in _expressions(statement):
        match node:
            case Access(tensor=name) | Name(id=name) | SizeOf(tensor=name):
                if name == tensor:
                    return True
    return False


def _expressions(statement: Statement) -> Iterator[Expr]:
    """Every expression of the statement but the bounds of ranges, in the order of the text."""
    for root in (*statement.subscripts, statement.value):
        yield from walk(root)
    for clause in statement.where:
        if not isinstance(clause, Range):
            yield from walk(clause.value)


# --- indices -------------------------------------------------------------------------------------------------------


def _is_known(name: str, scope: Scope) -> bool:
    return name in scope.sizes or name in scope.scalars or name in scope.tensors or name in scope.unwritten


def _is_known_left(name: str, scope: Scope) -> bool:
    """On the left an unknown name is an index, even if a later statement takes it for a temporary: that one clashes."""
    return _is_known(name, scope) and scope.unwritten.get(name) != "temporary"


def _left_indices(statement: Statement, scope: Scope, names: Names, lets: set[str]) -> dict[str, Span | None]:
    """Check 1: what stands on the left and is nothing else is a left index, in the order of the text."""
    left: dict[str, Span | None] = {}
    for subscript in statement.subscripts:
        for node in walk(subscript):
            if isinstance(node, Name) and node.id not in left and not _is_known_left(node.id, scope):
                if node.id in lets:
                    raise Fault(f"{quoted(node.id)} is a let and stands on the left; write its value there", node.span)
                names.declare(node.id, "an index", node.span, again=True)
                left[node.id] = node.span
    return left


def _reduction_indices(
    statement: Statement, scope: Scope, names: Names, left: dict[str, Span | None], lets: set[str]
) -> dict[str, Span | None]:
    """Check 3: the right side's unknown names, then those of the clauses, in the order of the text."""
    found: dict[str, Span | None] = {}

    def meet(name: str, span: Span | None) -> None:
        if name in left or name in lets or name in found or _is_known(name, scope):
            return
        names.declare(name, "an index", span, again=True)
        found[name] = span

    for node in walk(statement.value):
        if isinstance(node, Name):
            meet(node.id, node.span)
    for clause in statement.where:
        if isinstance(clause, Range):
            meet(clause.index, clause.span)
            continue
        for node in walk(clause.value):
            if isinstance(node, Name):
                meet(node.id, node.span)
    return found


def _check_reduction(statement: Statement, reduction: dict[str, Span | None], scope: Scope) -> None:
    """Check 5, and what may stand on the left of which assignment."""
    if statement.reduction is None and reduction:
        name, span = next(iter(reduction.items()))
        proposal = propose(name, [n for n in scope.all_names() if n not in reduction])
        if name.lower() in ("true", "false"):
            proposal = f"; for {quoted(name)} write bool({int(name.lower() == 'true')})"
        raise Fault(f"reduction variable {quoted(name)} without a reduction; use +=! or another one{proposal}", span)
    indirect = next((n for s in statement.subscripts for n in walk(s) if isinstance(n, Access)), None)
    if indirect is not None and (statement.reduction is None or statement.initialise):
        message = "a write through the contents of a tensor must be a reduction without '!', such as +="
        raise Fault(message, indirect.span)


# --- where ---------------------------------------------------------------------------------------------------------


def _clauses(statement: Statement, scope: Scope, names: Names) -> tuple[Clause, ...]:
    """Check 2, clause by clause: lets enter the scope in order, bounds are integral and read no tensor."""
    ranged: set[str] = set()
    later = [c.name for c in statement.where if isinstance(c, Let)]

    def check(clause: Clause) -> Clause:
        match clause:
            case Range():
                return _range(clause, scope, names, ranged)
            case Let():
                later.remove(clause.name)
                return _let(clause, scope, names, later)
            case Exists(value=value):
                return Exists(type_expression(value, scope), span=clause.span)

    return each(partial(check, clause) for clause in statement.where)


def _range(clause: Range, scope: Scope, names: Names, ranged: set[str]) -> Range:
    index = clause.index
    if index not in scope.indices:
        kind = names.kind(index) or "a let"
        raise Fault(f"{quoted(index)} is {kind}; only an index has a range", clause.span)
    if index in ranged:
        raise Fault(f"the range of {quoted(index)} is already defined", clause.span)
    ranged.add(index)
    lower, upper = each(partial(_bound, bound, scope) for bound in (clause.lower, clause.upper))
    return Range(index, lower, upper, span=clause.span)


def _let(clause: Let, scope: Scope, names: Names, later: Sequence[str]) -> Let:
    name = clause.name
    if name in scope.lets:
        raise Fault(f"{quoted(name)} is already defined as a let", clause.span)
    names.declare(name, "a let", clause.span, again=True)
    scope.lets[name] = None  # what uses it while it has faults has none of its own
    for node in walk(clause.value):
        if isinstance(node, Name) and (node.id == name or (node.id in later and node.id not in scope.lets)):
            raise Fault(f"let {quoted(node.id)} is used before it is defined", node.span)
    value = type_expression(clause.value, scope)
    scope.lets[name] = dtype_of(value)
    return Let(name, value, span=clause.span)


def _bound(node: Expr, scope: Scope) -> Expr:
    typed = type_integral(node, scope, "a bound of a range")
    for part in walk(typed):
        if isinstance(part, Access):
            raise Fault(f"tensor access is not allowed here: a bound cannot read {quoted(part.tensor)}", part.span)
        if isinstance(part, Name) and part.id in scope.lets:
            raise Fault(f"a bound cannot use the let {quoted(part.id)}", part.span)
    return typed
