"""The comprehension tree: what a text means, and what passes between the language and everything else.

In: built by `parser.parse` from text, or directly by programs that generate comprehensions.
Out: `printer.to_text` gives text that parses back to an equal tree.
`leading` marks `...`, any leading dimensions; `leading.at_rank` makes trees without.
Invariant: nodes are frozen; `span` and `dtype` are carried but never compared, so a tree made by a
program equals the tree parsed from its text.  `dtype` is None until `check` has typed the tree;
in a typed tree every conversion is an explicit `Cast`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from comprehension.lang.types import ScalarType

BinaryOp = Literal["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||"]
UnaryOp = Literal["-", "!"]
ReduceOp = Literal["+", "*", "min", "max"]
OPPOSITE: dict[str, BinaryOp] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}  # where not so


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stands in its text: offsets are 0-based characters, line and column 1-based."""

    start: int
    end: int
    line: int
    column: int


# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A literal: int is int32, float is float32."""

    value: int | float
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Name:
    """An index, a size, a scalar parameter or a let (rank-0 tensors are `Access(t, ())` once checked)."""

    id: str
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Access:
    """`tensor(subscripts...)`; with `leading`, `tensor(..., subscripts...)`."""

    tensor: str
    subscripts: tuple[Expr, ...]
    leading: bool = field(default=False, repr=False, kw_only=True)
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class SizeOf:
    """`tensor.axis`: the size of one dimension."""

    tensor: str
    axis: int
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Unary:
    op: UnaryOp
    operand: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Binary:
    op: BinaryOp
    left: Expr
    right: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Select:
    """`condition ? then : otherwise`; only the chosen branch reads."""

    condition: Expr
    then: Expr
    otherwise: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Cast:
    to: ScalarType
    operand: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Call:
    """A builtin (`min` and `max` included) or, as the whole right side of `=`, an earlier def."""

    function: str
    arguments: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)
    dtype: ScalarType | None = field(default=None, compare=False, repr=False, kw_only=True)


Expr = Number | Name | Access | SizeOf | Unary | Binary | Select | Cast | Call


# --- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """`index in lower : upper` (half-open)."""

    index: str
    lower: Expr
    upper: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Let:
    """`name = value`."""

    name: str
    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Exists:
    """`exists value`: takes part in range inference, has no other effect."""

    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


Clause = Range | Let | Exists


@dataclass(frozen=True, slots=True)
class Statement:
    """`target(subscripts) <assign> value [<=> equivalent] [where clauses]`.

    `reduction` is None for `=`; `initialise` is the `!`; with `leading`, `...` stands before the subscripts.
    """

    target: str
    subscripts: tuple[Expr, ...]
    value: Expr
    reduction: ReduceOp | None = None
    initialise: bool = False
    where: tuple[Clause, ...] = ()
    equivalent: Access | None = None
    leading: bool = field(default=False, repr=False, kw_only=True)
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class TensorType:
    """`scalar(dims)`: a dimension is a size's name or a constant; without dims, a scalar.

    With `leading`, `...` stands before the dims.
    """

    scalar: ScalarType
    dims: tuple[str | int, ...] = ()
    leading: bool = field(default=False, repr=False, kw_only=True)
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type: TensorType | None = None
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Def:
    name: str
    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]
    statements: tuple[Statement, ...]
    span: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Program:
    defs: tuple[Def, ...]


def children(node: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions, left to right."""
    match node:
        case Number() | Name() | SizeOf():
            return ()
        case Access(subscripts=parts) | Call(arguments=parts):
            return parts
        case Unary(operand=part) | Cast(operand=part):
            return (part,)
        case Binary(left=left, right=right):
            return (left, right)
        case Select(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)


def walk(node: Expr) -> Iterator[Expr]:
    """The expression and all below it, parents before children, left to right, without recursion."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def names_in(*nodes: Expr) -> frozenset[str]:
    """The names in some expressions."""
    return frozenset([part.id for node in nodes for part in walk(node) if isinstance(part, Name)])


def is_integral(node: Expr) -> bool:
    """Whether a typed expression is an integer."""
    return node.dtype is not None and node.dtype.is_integer


def rebuild(node: Expr, parts: tuple[Expr, ...]) -> Expr:
    """`node` with other direct sub-expressions, in the order of `children`."""
    match node:
        case Number() | Name() | SizeOf():
            return node
        case Access():
            return dataclasses.replace(node, subscripts=parts)
        case Call():
            return dataclasses.replace(node, arguments=parts)
        case Unary() | Cast():
            return dataclasses.replace(node, operand=parts[0])
        case Binary():
            return dataclasses.replace(node, left=parts[0], right=parts[1])
        case Select():
            return dataclasses.replace(node, condition=parts[0], then=parts[1], otherwise=parts[2])


def replace(node: Expr, old: Expr, new: Expr) -> Expr:
    """`node` with every expression equal to `old` replaced by `new`.

    >>> replace(Binary("+", Name("i"), Name("j")), Name("j"), Number(1))
    Binary(op='+', left=Name(id='i'), right=Number(value=1))
    """
    if node == old:
        return new
    parts = children(node)
    changed = tuple(replace(part, old, new) for part in parts)
    return node if all(a is b for a, b in zip(parts, changed, strict=True)) else rebuild(node, changed)
