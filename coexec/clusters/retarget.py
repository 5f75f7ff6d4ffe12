"""Retargeting: a value that is only moved is computed where it is moved to.

    t(i,j) +=! x(i,k) * y(k,j)               =>      y0(j,i) +=! x(i,k) * y(k,j)
    y0(j,i) = t(i,j)

In and out: the statements of one def.
Legality: the move is a permutation of all indices of `t` over its whole shape; nothing else reads `t`, and only
statements before the move write it, each at plain indices in the order of t's own.  The elements are the same,
each computed as before: only their order among each other changes, and no two of them depend on each other
(a statement that reads its own target stays as it is).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from coexec.clusters.forward import Types
from coexec.clusters.rewrite import names_read
from comprehension.lang import tree


def retarget(statements: Sequence[tree.Statement], types: Types, keep: frozenset[str]) -> tuple[tree.Statement, ...]:
    """The statements with every move of a value that nobody else reads taken into those that compute the value."""
    current = list(statements)
    position = 0
    while position < len(current):
        order = _permutation(current, position, types, keep)
        if order is None:
            position += 1
            continue
        move = current[position]
        assert isinstance(move.value, tree.Access)
        rest = current[:position] + current[position + 1 :]
        current = [_moved(s, move.target, order) if s.target == move.value.tensor else s for s in rest]
        position = 0
    return tuple(current)


def _moved(statement: tree.Statement, target: str, order: tuple[int, ...]) -> tree.Statement:
    return replace(statement, target=target, subscripts=tuple(statement.subscripts[k] for k in order))


def _permutation(
    statements: Sequence[tree.Statement], position: int, types: Types, keep: frozenset[str]
) -> tuple[int, ...] | None:
    """For a move that may be taken in: which subscript of the source stands at each place of the target."""
    move = statements[position]
    if move.reduction is not None or not isinstance(move.value, tree.Access) or not move.subscripts:
        return None
    source = move.value.tensor
    if source in keep or source not in types or move.target not in types:
        return None
    places = {s.id: k for k, s in enumerate(move.value.subscripts) if isinstance(s, tree.Name)}
    targets = [s.id for s in move.subscripts if isinstance(s, tree.Name)]
    if len(places) != len(move.value.subscripts) or len(targets) != len(move.subscripts) or {*targets} != {*places}:
        return None
    order = tuple(places[name] for name in targets)
    if types[move.target].shape != tuple(types[source].shape[k] for k in order):
        return None
    if types[move.target].dtype is not types[source].dtype:
        return None
    return order if _is_only_moved(statements, position, source) else None


def _is_only_moved(statements: Sequence[tree.Statement], position: int, source: str) -> bool:
    """Whether all writes of `source` are plain and before the move, and the move is all that reads it."""
    move = statements[position]
    writers = [at for at, s in enumerate(statements) if s.target == source]
    readers = [at for at, s in enumerate(statements) if source in names_read(s)]
    if readers != [position] or not writers or writers[-1] > position:
        return False
    if sum(s.target == move.target for s in statements) != 1:
        return False
    return all(_is_box(statements[at]) for at in writers)


def _is_box(statement: tree.Statement) -> bool:
    """Whether the left subscripts are distinct indices, and no bound of the loops depends on an index."""
    indices = {s.id for s in statement.subscripts if isinstance(s, tree.Name)}
    bounds = [bound for c in statement.where if isinstance(c, tree.Range) for bound in (c.lower, c.upper)]
    used = tree.names_in(*bounds)
    return len(indices) == len(statement.subscripts) and not indices & used
