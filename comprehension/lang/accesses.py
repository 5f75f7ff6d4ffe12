"""The accesses of a checked statement as constraints on its indices.

In: a typed statement, an `Environment` with its indices and lets.  Out: `Constraint`s, two for each subscript read.
Invariant: accesses in branches, lets and `exists` take part; a subscript that reads a tensor (indirect) does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear
from comprehension.lang.printer import to_text
from comprehension.lang.solve import UNKNOWN_EXTENT, Constraint, Guard
from comprehension.lang.tree import (
    Access,
    Binary,
    Expr,
    Let,
    Name,
    Range,
    Select,
    Statement,
    Unary,
    children,
    is_integral,
    rebuild,
    replace,
    walk,
)

MAX_BRANCHES = 16  # of one subscript
MAX_LIFTED = 4  # choices in one comparison


def constraints_of(statement: Statement, where: Environment) -> list[Constraint]:
    """What the statement's reads, and the reads of its target, ask of its indices."""
    lets = choosing_lets(statement)
    found: list[Constraint] = []
    for access, guards in reads_of(statement):
        own = access.tensor == statement.target
        extents = where.shapes.get(access.tensor, ()) if own else where.shapes[access.tensor]
        found += _of_access(access, guards, where, extents, own, lets)
    combines = statement.reduction is not None and not statement.initialise
    reached = where.shapes.get(statement.target, ()) if combines else ()
    target = Access(statement.target, statement.subscripts, span=statement.span)
    written = _of_access(target, (), where, reached, False, lets)
    return found + [dataclasses.replace(constraint, stored=True) for constraint in written]


def choosing_lets(statement: Statement) -> dict[str, Expr]:
    """Lets that are put in where they stand in a subscript, so that each of their choices is met under its guard."""
    return {c.name: c.value for c in statement.where if isinstance(c, Let) and _chooses(c.value)}


def _chooses(node: Expr) -> bool:
    """Whether an integer expression that reads no tensor holds a choice."""
    parts = list(walk(node))
    return (
        is_integral(node)
        and any(isinstance(p, Select) for p in parts)
        and not any(isinstance(p, Access) for p in parts)
    )


def reads_of(statement: Statement) -> Iterator[tuple[Access, tuple[Guard, ...]]]:
    """The reads in a statement's text, with the branches that they stand in."""
    yield from accesses(statement.value)
    for clause in statement.where:
        if not isinstance(clause, Range):
            yield from accesses(clause.value)
    for subscript in statement.subscripts:
        yield from accesses(subscript)


def with_extents(constraint: Constraint, extents: tuple[Linear, ...]) -> Constraint:
    """An upper constraint on a tensor that has become larger."""
    extent = extents[constraint.axis]
    return dataclasses.replace(constraint, form=extent - 1 - constraint.subscript, extent=extent)


def accesses(root: Expr) -> Iterator[tuple[Access, tuple[Guard, ...]]]:
    """Every read in an expression with the branches that it stands in, in the order of the text."""
    stack: list[tuple[Expr, tuple[Guard, ...]]] = [(root, ())]
    while stack:
        node, guards = stack.pop()
        if isinstance(node, Access):
            yield node, guards
        stack.extend(reversed(_inner(node, guards)))


def _inner(node: Expr, guards: tuple[Guard, ...]) -> list[tuple[Expr, tuple[Guard, ...]]]:
    if not isinstance(node, Select):
        return [(child, guards) for child in children(node)]
    condition = lifted(node.condition)
    then, otherwise = (*guards, (condition, True)), (*guards, (condition, False))
    return [(node.condition, guards), (node.then, then), (node.otherwise, otherwise)]


def lifted(condition: Expr, most: int = MAX_LIFTED) -> Expr:
    """A condition without choices of integers in its comparisons: the choice is one between comparisons.

    >>> from comprehension.lang.types import ScalarType
    >>> i, j, n = (Name(name, dtype=ScalarType.INT32) for name in "ijn")
    >>> either = Select(Binary("<", i, j), i, j, dtype=ScalarType.INT32)
    >>> to_text(lifted(Binary("<", either, n, dtype=ScalarType.BOOL)))
    'i < j ? i < n : j < n'
    """
    match condition:
        case Binary(op="&&" | "||") | Unary(op="!") | Select():
            return rebuild(condition, tuple(lifted(part, most) for part in children(condition)))
        case Binary(left=left) if is_integral(left) and most:
            parts = list(walk(condition))
            choice = next((part for part in parts if isinstance(part, Select)), None)
            if choice is None or any(isinstance(part, Access) for part in parts):
                return condition
            then, otherwise = (replace(condition, choice, side) for side in (choice.then, choice.otherwise))
            either = (lifted(choice.condition, most - 1), lifted(then, most - 1), lifted(otherwise, most - 1))
            return Select(*either, dtype=condition.dtype)
        case _:
            return condition


def _of_access(
    access: Access,
    guards: tuple[Guard, ...],
    where: Environment,
    extents: tuple[Linear, ...],
    own: bool = False,
    lets: Mapping[str, Expr] = MappingProxyType({}),
) -> list[Constraint]:
    """0 <= subscript < extent for each dimension; without extents only the first half.

    A tensor that its first statement reads has no extents yet: its upper half bounds nothing, and is there to be
    shown once the extents are known.
    """
    text = to_text(access)
    text = text if len(text) <= 120 else f"{text[:117]}..."
    found = []
    for axis, subscript in enumerate(access.subscripts):
        for choices, branch in branches_of(subscript, lets):
            form = from_expr(branch, where)
            if form is None:
                continue
            found.append(Constraint(form, text, access.span, guards, axis, form, choices=choices))
            if extents or own:
                extent = extents[axis] if extents else UNKNOWN_EXTENT
                rest = extent - 1 - form
                found.append(Constraint(rest, text, access.span, guards, axis, form, extent, own, choices))
    return found


def branches_of(subscript: Expr, lets: Mapping[str, Expr]) -> list[tuple[tuple[Guard, ...], Expr]]:
    """A subscript without the choices in it: each way to choose, with its guards (at most `MAX_BRANCHES`)."""
    found: list[tuple[tuple[Guard, ...], Expr]] = []
    waiting: list[tuple[tuple[Guard, ...], Expr]] = [((), subscript)]
    while waiting:
        guards, expr = waiting.pop()
        choice = next((n for n in walk(expr) if isinstance(n, Select) or (isinstance(n, Name) and n.id in lets)), None)
        if choice is None or len(found) + len(waiting) >= MAX_BRANCHES:
            found.append((guards, expr))
        elif isinstance(choice, Select):
            condition = lifted(choice.condition)
            waiting.append(((*guards, (condition, False)), replace(expr, choice, choice.otherwise)))
            waiting.append(((*guards, (condition, True)), replace(expr, choice, choice.then)))
        elif isinstance(choice, Name):
            waiting.append((guards, replace(expr, choice, lets[choice.id])))
    return found
