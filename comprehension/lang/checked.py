"""CheckedDef: one def whose names and types are settled, whatever the sizes.

In: made by `check.check`.  Out: read by `ranges.infer` for given specifications.
Invariant: every expression is typed and every conversion an explicit `Cast`; names are resolved (rank-0 tensors are
`Access(t, ())`, scalar parameters `Name`s); calls of other defs are expanded; each statement's indices are listed in
the order of its loops.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.lang.interface import Interface
from comprehension.lang.tree import Expr, Span, Statement


@dataclass(frozen=True, slots=True)
class CheckedStatement:
    """`left` and `reduction` indices in the order of the loops; `node` is typed."""

    node: Statement
    left: tuple[str, ...]
    reduction: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SameSize:
    """A call requires two sizes to be equal: what `message` says when they are not."""

    left: Expr
    right: Expr
    before: int  # checked where this statement stands: tensors written by earlier ones have their shapes
    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDef(Interface):
    """An interface, and what is behind it."""

    statements: tuple[CheckedStatement, ...]
    same_sizes: tuple[SameSize, ...] = ()
