"""LoopProgram: one def with every type, range and shape known; what the interpreter and the compiler read.

In: made by `ranges.infer` from a checked def and the specifications of its inputs.
Out: read by `reference.run` (the oracle) and `poly.scop.build` (the compiler).
Meaning (reference section 10): statements run in the order of the text; a statement is a nest of loops
in lexicographic order of `indices` (left ones as written, then reduction ones in order of first use).
Invariant: expressions are typed trees whose names are indices, sizes, scalars or lets of this program;
calls of other defs are expanded; every subscript is in bounds for the whole domain, or there is a
`Precondition` for it, or it is `indirect` and checked at launch.
Static programs have no `sizes`: every shape and bound is then free of size names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from comprehension.lang.tree import Expr, Let, ReduceOp, Span
from comprehension.lang.types import ScalarType
from comprehension.layout import Layout, Layouts


class Role(Enum):
    """What a tensor is to the caller."""

    INPUT = "input"
    OUTPUT = "output"
    ACCUMULATED = "accumulated"  # an output whose incoming contents are read (`+=` first, partial writes)
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor: `shape` holds one expression per dimension, over sizes and scalars (Number if static).

    `layout` says what is known of the strides of the caller's array; None: dense rows.
    """

    name: str
    dtype: ScalarType
    shape: tuple[Expr, ...]
    role: Role
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar parameter, passed by value."""

    name: str
    dtype: ScalarType


@dataclass(frozen=True, slots=True)
class Index:
    """A loop: `lower <= name < upper`; bounds over sizes, scalars and indices further out.

    `because` says in words which access or clause gave the range (shown by `f.ranges()`).
    """

    name: str
    lower: Expr
    upper: Expr
    because: str = ""


@dataclass(frozen=True, slots=True)
class LoopStatement:
    """One statement as loops.

    With `reduction` None it stores `value`; otherwise it combines `value` into the target.  With
    `initialise` the identity of the reduction is stored first, for each point of the left indices,
    before that point's reduction loops run (even if those are empty).
    `lets` are evaluated in order at each point before `value`; the target's subscripts do not name them.
    """

    name: str  # "S0", "S1", ...
    target: str
    subscripts: tuple[Expr, ...]
    value: Expr
    indices: tuple[Index, ...]
    left: int  # how many of `indices` are left indices
    reduction: ReduceOp | None = None
    initialise: bool = False
    lets: tuple[Let, ...] = ()
    span: Span | None = field(default=None, compare=False)

    @property
    def expressions(self) -> tuple[Expr, ...]:
        """Its lets, its subscripts and its value: all but the bounds of its loops."""
        return (*(let.value for let in self.lets), *self.subscripts, self.value)


@dataclass(frozen=True, slots=True)
class Precondition:
    """A boolean expression over sizes and scalars that must hold at launch, and why."""

    condition: Expr
    message: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class LoopProgram:
    name: str
    sizes: tuple[str, ...]  # symbolic sizes left, in order of first appearance
    scalars: tuple[Scalar, ...]
    tensors: tuple[TensorInfo, ...]  # inputs in order of the parameters, outputs of the returns, temporaries
    statements: tuple[LoopStatement, ...]
    preconditions: tuple[Precondition, ...] = ()
    likely: tuple[tuple[str, int], ...] = ()  # about how large some sizes will be: for estimates, not for meanings
    _by_name: Mapping[str, TensorInfo] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {t.name: t for t in self.tensors})

    def tensor(self, name: str) -> TensorInfo:
        return self._by_name[name]

    def with_layouts(self, layouts: Layouts) -> LoopProgram:
        """The same program for arguments of these layouts."""
        known = dict(layouts)
        return replace(self, tensors=tuple(replace(t, layout=known.get(t.name)) for t in self.tensors))
