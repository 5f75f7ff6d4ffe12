"""Reductions side by side over the same loops share them: one sweep over what they read.

    for n: s[n] = 0                                  for n: s[n] = 0
           for k: s[n] += x[n, k]                           q[n] = 0
           q[n] = 0                            ->           for k: s[n] += x[n, k]
           for k: q[n] += x[n, k] * x[n, k]                        q[n] += x[n, k] * x[n, k]

In: a nest made by `cluster`.  Out: the same statements in fewer loops.
Invariant: only reductions without any dependence between them are joined; what stands between moves only past
statements that it has no dependence with.  A contraction keeps its reduction to itself: its register tile
needs all registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comprehension.poly.cluster import Fuser
from comprehension.poly.nest import Member, Nest

Child = Nest | str


def share_loops(nest: Nest, fuser: Fuser) -> Nest:
    """The nest with its sibling reductions joined, at every depth."""
    children: list[Child] = [share_loops(c, fuser) if isinstance(c, Nest) else c for c in nest.children]
    if not fuser.is_contraction(nest):
        later = 0
        while later < len(children):
            children, later = _joined_to_an_earlier(children, later, fuser)
    return replace(nest, children=tuple(children))


def _joined_to_an_earlier(children: list[Child], position: int, fuser: Fuser) -> tuple[list[Child], int]:
    """The children after the one at `position` joined an earlier sibling, if it can; and the next position."""
    item = children[position]
    if not isinstance(item, Nest) or not _is_reduction(item):
        return children, position + 1
    for first in range(position):
        candidate = children[first]
        if not isinstance(candidate, Nest) or not _is_reduction(candidate):
            continue
        members = _shared_members(candidate, item, fuser)
        between = children[first + 1 : position]
        moving = [child for child in between if fuser.edges_between(child, item)]
        staying = [child for child in between if child not in moving]
        if members is None or not _may_move(moving, [candidate, *staying], fuser):
            continue
        if any(fuser.edges_between(child, item) for child in staying):
            continue
        fuser.reasons.append(f"one loop for the reductions {', '.join((*candidate.statements(), *item.statements()))}")
        both = Nest(members, (*candidate.children, *item.children))
        return [*children[:first], *moving, both, *staying, *children[position + 1 :]], position
    return children, position + 1


def _is_reduction(nest: Nest) -> bool:
    return (
        bool(nest.members)
        and all(isinstance(c, str) for c in nest.children)
        and not any(m.coincident for m in nest.members)
    )


def _shared_members(first: Nest, second: Nest, fuser: Fuser) -> tuple[Member, ...] | None:
    """The loops of both: of the same ranges, over something that both read, without a dependence between them."""
    if len(first.members) != len(second.members) or fuser.edges_between(first, second):
        return None
    if not fuser.read_together(first, second):
        return None
    pairs = list(zip(first.members, second.members, strict=True))
    if not all(fuser.same_range(a, b) for a, b in pairs):
        return None
    return tuple(Member((*a.dims, *b.dims), coincident=False) for a, b in pairs)


def _may_move(moving: Sequence[Child], past: Sequence[Child], fuser: Fuser) -> bool:
    """Whether statements may go before all that they would pass."""
    return all(isinstance(m, str) for m in moving) and not any(fuser.edges_between(p, m) for p in past for m in moving)
