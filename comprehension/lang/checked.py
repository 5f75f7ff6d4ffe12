"""CheckedDef: one def whose names and types are settled, whatever the sizes.

In: made by `check.check`.  Out: read by `ranges.infer` for given specifications.
Invariant: every expression is typed and every conversion an explicit `Cast`; names are resolved (rank-0 tensors are
`Access(t, ())`, scalar parameters `Name`s); calls of other defs are expanded; each statement's indices are listed in
the order of its loops.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.errors import Diagnostic
from comprehension.lang.loops import Role, Scalar
from comprehension.lang.tree import Expr, Param, Span, Statement
from comprehension.lang.types import ScalarType


@dataclass(frozen=True, slots=True)
class Declared:
    """A tensor of a def.  `dims` are those of its annotation, None where it has none (then `rank` says)."""

    name: str
    dtype: ScalarType
    rank: int
    role: Role  # INPUT, OUTPUT, ACCUMULATED (the first write is a reduction without `!`) or TEMPORARY
    dims: tuple[str | int, ...] | None = None
    span: Span | None = None


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


@dataclass(frozen=True, slots=True)
class CheckedDef:
    """`parameters` as the text has them (scalars among them); `text` is the source, for carets."""

    name: str
    parameters: tuple[Param, ...]
    sizes: tuple[str, ...]  # in order of first appearance in the parameters
    scalars: tuple[Scalar, ...]
    tensors: tuple[Declared, ...]  # inputs, outputs, temporaries
    statements: tuple[CheckedStatement, ...]
    same_sizes: tuple[SameSize, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    text: str | None = None

    def tensor(self, name: str) -> Declared:
        return next(t for t in self.tensors if t.name == name)
