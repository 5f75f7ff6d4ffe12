"""Conditions in subscripts: bool lets are put in where they stand there.

In: a typed statement.  Out: an equal one whose subscripts and integer lets name no bool let, other than those that read
a tensor.  (Bounds and subscripts on the left may name no let at all.)
Invariant: subscripts of indices, sizes and scalars are exact, and so are the conditions in them; a bool let is a value,
whose sides wrap in their types, wherever it is used as one.  The limit below holds for every condition: nested lets
cannot blow up.

    A(c ? i : j) where c = i < s && !d, d = j == 0    is    A(i < s && !(j == 0) ? i : j)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from comprehension.lang.expressions import Fault
from comprehension.lang.tree import (
    Access,
    Clause,
    Expr,
    Let,
    Name,
    Range,
    Statement,
    children,
    is_integral,
    rebuild,
    walk,
)
from comprehension.lang.types import ScalarType

MAX_PARTS = 100
Lets = Mapping[str, Expr]


def with_conditions_put_in(statement: Statement) -> Statement:
    """The statement with its bool lets put in wherever a subscript or an integer let names them."""
    lets = _bool_lets(statement)
    if not lets:
        return statement
    return replace(
        statement,
        value=_in_subscripts(statement.value, lets),
        where=tuple(_in_clause(clause, lets) for clause in statement.where),
    )


def _bool_lets(statement: Statement) -> dict[str, Expr]:
    """Those that read no tensor, each without the names of others.  Raises Fault where that makes one too large."""
    found: dict[str, Expr] = {}
    parts: dict[str, int] = {}
    reading: set[str] = set()
    for clause in statement.where:
        if not isinstance(clause, Let):
            continue
        inside = list(walk(clause.value))
        names = [part.id for part in inside if isinstance(part, Name)]
        if any(isinstance(part, Access) for part in inside) or not reading.isdisjoint(names):
            reading.add(clause.name)
        elif clause.value.dtype is ScalarType.BOOL:
            parts[clause.name] = len(inside) + sum(parts.get(name, 0) for name in names)
            if parts[clause.name] <= MAX_PARTS:
                found[clause.name] = _put_in(clause.value, found)
    return found | {name: _TOO_LARGE for name, count in parts.items() if count > MAX_PARTS}


_TOO_LARGE = Name("")  # stands for a condition that is refused where a subscript names it


def _in_clause(clause: Clause, lets: Lets) -> Clause:
    match clause:
        case Range():
            return clause
        case Let(value=value) if is_integral(value):
            return replace(clause, value=_put_in(value, lets))
        case _:
            return replace(clause, value=_in_subscripts(clause.value, lets))


def _in_subscripts(node: Expr, lets: Lets) -> Expr:
    """`node` with lets put in below its accesses only."""
    put = _put_in if isinstance(node, Access) else _in_subscripts
    return _with_parts(node, tuple(put(part, lets) for part in children(node)))


def _put_in(node: Expr, lets: Lets) -> Expr:
    if isinstance(node, Name) and node.id in lets:
        if lets[node.id] is _TOO_LARGE:
            message = f"'{node.id}' has more than {MAX_PARTS} parts once lets are put in, too many for a subscript"
            raise Fault(message, node.span)
        return lets[node.id]
    return _with_parts(node, tuple(_put_in(part, lets) for part in children(node)))


def _with_parts(node: Expr, parts: tuple[Expr, ...]) -> Expr:
    return node if all(a is b for a, b in zip(children(node), parts, strict=True)) else rebuild(node, parts)
