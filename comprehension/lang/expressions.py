"""Types of expressions: every name resolved, every conversion made an explicit `Cast`.

In: untyped expressions and the `Scope` that they stand in.  Out: typed expressions.
Invariant: `type_expression` adds nothing to the scope; whatever is wrong is one `Fault` with its span.
Rules: reference section 1 (promotion), section 10 (types).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, assert_never

import numpy as np

from comprehension.errors import shorten
from comprehension.lang.builtins import BUILTINS, result_type
from comprehension.lang.tree import (
    Access,
    Binary,
    Call,
    Cast,
    Expr,
    Name,
    Number,
    Select,
    SizeOf,
    Span,
    Unary,
)
from comprehension.lang.types import ScalarType, promote

BOOL, INT32, FLOAT32 = ScalarType.BOOL, ScalarType.INT32, ScalarType.FLOAT32
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class Fault(Exception):
    """One thing that is wrong in a statement, and the others that stand `beside` it; the checker collects them."""

    def __init__(self, message: str, span: Span | None) -> None:
        super().__init__(message)
        self.span = span
        self.beside: list[Fault] = []

    def all(self) -> list[Fault]:
        """This fault and the others, but for consequences of what was reported before."""
        return [fault for fault in (self, *self.beside) if not isinstance(fault, Hidden)]


@dataclass(frozen=True, slots=True)
class Readable:
    """What an expression may know of a tensor: None as `dtype` where an earlier error hides it."""

    dtype: ScalarType | None
    rank: int


@dataclass(slots=True)
class Scope:
    """The names that an expression may use, by what they are."""

    tensors: Mapping[str, Readable]  # inputs, and what statements so far have written
    unwritten: Mapping[str, str]  # tensors that no statement has written yet, and what they are
    scalars: Mapping[str, ScalarType]
    sizes: Collection[str]
    defs: Collection[str]
    indices: Collection[str] = ()
    lets: dict[str, ScalarType | None] = field(default_factory=dict)  # None: an earlier error hides it

    def kinds(self) -> tuple[tuple[str, Collection[str]], ...]:
        """The names that are no tensors, by what they are."""
        return (("a scalar", self.scalars), ("an index", self.indices), ("a size", self.sizes), ("a let", self.lets))

    def all_names(self) -> list[str]:
        return [*self.tensors, *self.scalars, *self.sizes, *self.indices, *self.lets]


class Hidden(Fault):
    """A consequence of an error already reported."""


T = TypeVar("T")


class Attempts:
    """Checks that all run, whatever some of them find: their faults are one, with the others beside it."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def attempt(self, check: Callable[[], T]) -> T | None:
        """What the check gives, or None where it finds a fault."""
        try:
            return check()
        except Fault as fault:
            self.faults += [fault, *fault.beside]
            return None

    def finish(self) -> None:
        """Raises the first fault, if there is any."""
        if self.faults:
            raise joined(self.faults)


def joined(faults: Sequence[Fault]) -> Fault:
    """One fault with the others beside it; not a hidden one if there is another."""
    first = next((fault for fault in faults if not isinstance(fault, Hidden)), faults[0])
    first.beside = [fault for fault in faults if fault is not first]
    return first


def each(checks: Iterable[Callable[[], T]]) -> tuple[T, ...]:
    """What the checks give; a `Fault` has the faults of all of them."""
    attempts = Attempts()
    results = [attempts.attempt(check) for check in checks]
    attempts.finish()
    return tuple(result for result in results if result is not None)


def type_expressions(nodes: Iterable[Expr], scope: Scope) -> tuple[Expr, ...]:
    """The typed expressions; a `Fault` has the faults of all of them."""
    typed: list[Expr] = []
    faults: list[Fault] = []
    for node in nodes:  # as `each` does it, in fewer frames: expressions may be deep
        try:
            typed.append(type_expression(node, scope))
        except Fault as fault:
            faults += [fault, *fault.beside]
    if faults:
        raise joined(faults)
    return tuple(typed)


def type_expression(node: Expr, scope: Scope) -> Expr:
    """The typed expression; raises `Fault`."""
    match node:
        case Number():
            return _number(node)
        case Name():
            return _name(node, scope)
        case Access():
            return _access(node, scope)
        case SizeOf():
            return _size_of(node, scope)
        case Unary():
            return _unary(node, scope)
        case Binary(op=op):
            left, right = type_expressions((node.left, node.right), scope)
            return _logic(node, left, right) if op in ("&&", "||") else _arithmetic(node, left, right)
        case Select():
            return _select(node, scope)
        case Cast(to=to):
            return Cast(to, type_expression(node.operand, scope), span=node.span, dtype=to)
        case Call():
            return _call(node, scope)
        case _:
            assert_never(node)


def type_integral(node: Expr, scope: Scope, what: str) -> Expr:
    """As `type_expression`, for a place where only integers may stand."""
    typed = type_expression(node, scope)
    _require_integral(typed, what)
    return typed


def cast_to(node: Expr, to: ScalarType) -> Expr:
    """`node` in type `to`: itself if it has that type."""
    return node if node.dtype is to else Cast(to, node, span=node.span, dtype=to)


def dtype_of(node: Expr) -> ScalarType:
    assert node.dtype is not None, "the tree is typed"
    return node.dtype


def quoted(name: str) -> str:
    return f"'{shorten(name)}'"


def propose(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest candidate, or nothing."""
    near = difflib.get_close_matches(name[:60], {c[:60] for c in candidates} - {name}, 1, 0.6)
    return f"; did you mean {quoted(near[0])}?" if near else ""


# --- one function per kind of node -------------------------------------------------------------------------------


def _number(node: Number) -> Number:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise Fault(f"a number literal cannot hold {shorten(repr(node.value))}; write bool(1) or bool(0)", node.span)
    if isinstance(node.value, float):
        with np.errstate(over="ignore"):
            value = float(np.float32(node.value))
        if np.isinf(value) and not np.isinf(node.value):
            raise Fault(f"float literal {node.value!r} is beyond float32", node.span)
        return Number(value, span=node.span, dtype=FLOAT32)
    if not -(2**31) <= node.value < 2**31:
        raise Fault(f"integer literal {shorten(hex(node.value))} is beyond int32", node.span)
    return Number(node.value, span=node.span, dtype=INT32)


def _name(node: Name, scope: Scope) -> Expr:
    name = node.id
    if name in scope.lets:
        dtype = scope.lets[name]
        if dtype is None:
            raise Hidden("", node.span)
        return Name(name, span=node.span, dtype=dtype)
    if name in scope.indices or name in scope.sizes:
        return Name(name, span=node.span, dtype=INT32)
    if name in scope.scalars:
        return Name(name, span=node.span, dtype=scope.scalars[name])
    if name in scope.tensors or name in scope.unwritten:
        _check_written(name, node.span, scope)
        tensor = scope.tensors[name]
        if _known(tensor, node.span) and tensor.rank:
            raise Fault(
                f"tensor {quoted(name)} stands where a scalar belongs; give its {tensor.rank} subscripts", node.span
            )
        return Access(name, (), span=node.span, dtype=_known(tensor, node.span))
    raise Fault(f"undefined name {quoted(name)}{propose(name, scope.all_names())}", node.span)


def _access(node: Access, scope: Scope) -> Expr:
    name, count = node.tensor, len(node.subscripts)
    if name in scope.scalars:
        if count:
            raise Fault(
                f"{quoted(name)} is a scalar and stands where a tensor belongs; it takes no subscripts", node.span
            )
        return Name(name, span=node.span, dtype=scope.scalars[name])
    if name not in scope.tensors and name not in scope.unwritten:
        raise Fault(_why_no_tensor(name, scope), node.span)
    _check_written(name, node.span, scope)
    tensor = scope.tensors[name]
    dtype = _known(tensor, node.span)
    if count != tensor.rank:
        raise Fault(
            f"wrong number of dimensions: {quoted(name)} has {tensor.rank}, but {count} subscripts are given", node.span
        )
    what = f"a subscript of {quoted(name)}"
    subscripts = each(partial(type_integral, s, scope, what) for s in node.subscripts)
    return Access(name, subscripts, span=node.span, dtype=dtype)


def _why_no_tensor(name: str, scope: Scope) -> str:
    if name in scope.defs:
        return f"{quoted(name)} is a def; a call must be the whole right side of `tensor = {shorten(name)}(...)`"
    for kind, names in scope.kinds():
        if name in names:
            return f"{quoted(name)} is {kind} and stands where a tensor belongs"
    return f"undefined tensor or function {quoted(name)}{propose(name, [*scope.tensors, *BUILTINS, *scope.defs])}"


def _check_written(name: str, span: Span | None, scope: Scope) -> None:
    if name not in scope.tensors:
        raise Fault(f"{scope.unwritten[name]} {quoted(name)} is read before a statement writes it", span)


def _known(tensor: Readable, span: Span | None) -> ScalarType:
    if tensor.dtype is None:
        raise Hidden("", span)
    return tensor.dtype


def _size_of(node: SizeOf, scope: Scope) -> SizeOf:
    name = node.tensor
    if name not in scope.tensors and name not in scope.unwritten:
        for kind, names in scope.kinds():
            if name in names:
                raise Fault(f"{quoted(name)} is {kind} and has no dimensions", node.span)
        raise Fault(f"undefined tensor {quoted(name)}{propose(name, scope.tensors)}", node.span)
    _check_written(name, node.span, scope)
    rank = scope.tensors[name].rank
    _known(scope.tensors[name], node.span)
    if not 0 <= node.axis < rank:
        raise Fault(
            f"wrong number of dimensions: {quoted(name)} has {rank}, there is no dimension {node.axis}", node.span
        )
    return SizeOf(name, node.axis, span=node.span, dtype=INT32)


def _unary(node: Unary, scope: Scope) -> Unary:
    operand = type_expression(node.operand, scope)
    if node.op == "!":
        _require_bool(operand, "the operand of `!`")
        return Unary("!", operand, span=node.span, dtype=BOOL)
    return Unary("-", operand, span=node.span, dtype=_numeric(operand, "-"))


def _logic(node: Binary, left: Expr, right: Expr) -> Binary:
    for side in (left, right):
        _require_bool(side, f"an operand of `{node.op}`")
    return Binary(node.op, left, right, span=node.span, dtype=BOOL)


def _arithmetic(node: Binary, left: Expr, right: Expr) -> Binary:
    dtype = promote(dtype_of(left), dtype_of(right))
    if node.op in _COMPARISONS:
        return Binary(node.op, cast_to(left, dtype), cast_to(right, dtype), span=node.span, dtype=BOOL)
    for side in (left, right):
        if not _numeric(side, node.op).is_integer and node.op == "%":
            raise Fault(f"an operand of `%` must be integral, not {side.dtype}; use fmod or remainder", side.span)
    return Binary(node.op, cast_to(left, dtype), cast_to(right, dtype), span=node.span, dtype=dtype)


def _select(node: Select, scope: Scope) -> Select:
    branches = (partial(type_expression, branch, scope) for branch in (node.then, node.otherwise))
    condition, then, otherwise = each((partial(_condition, node.condition, scope), *branches))
    dtype = promote(dtype_of(then), dtype_of(otherwise))
    return Select(condition, cast_to(then, dtype), cast_to(otherwise, dtype), span=node.span, dtype=dtype)


def _condition(node: Expr, scope: Scope) -> Expr:
    typed = type_expression(node, scope)
    _require_bool(typed, "the condition of `?:`")
    return typed


def _call(node: Call, scope: Scope) -> Call:
    name, count = node.function, len(node.arguments)
    if name in scope.defs:
        raise Fault(_why_no_tensor(name, scope), node.span)
    extremum = name in ("min", "max")
    if not extremum and name not in BUILTINS:
        raise Fault(f"unknown function {quoted(name)}{propose(name, [*BUILTINS, *scope.defs])}", node.span)
    arity = 2 if extremum else BUILTINS[name].arity
    if count != arity:
        raise Fault(f"wrong number of arguments: {name} takes {arity}, but {count} are given", node.span)
    arguments = type_expressions(node.arguments, scope)
    dtypes = tuple(_numeric(a, name) for a in arguments)
    if not extremum and BUILTINS[name].works_in is not None:
        for argument in arguments:
            _require_integral(argument, f"an argument of {name}")
    dtype = promote(*dtypes) if extremum else result_type(name, dtypes)
    return Call(name, tuple(cast_to(a, dtype) for a in arguments), span=node.span, dtype=dtype)


def _require_bool(node: Expr, what: str) -> None:
    if node.dtype is not BOOL:
        raise Fault(f"{what} must be boolean, not {node.dtype}; compare it with 0 if that is meant", node.span)


def _require_integral(node: Expr, what: str) -> None:
    if not dtype_of(node).is_integer:
        raise Fault(f"{what} must be integral, not {node.dtype}; round and cast it if that is meant", node.span)


def _numeric(node: Expr, op: str) -> ScalarType:
    if node.dtype is BOOL:
        raise Fault(f"`{op}` needs numbers, and this is bool; cast it, as in int32(...)", node.span)
    return dtype_of(node)
