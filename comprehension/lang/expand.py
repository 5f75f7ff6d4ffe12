"""Calls of earlier defs, expanded: the callee's checked statements with every name made the caller's.

In: a checked callee, the arguments of a call (tensors by name, scalars as expressions), the result's name.
Out: statements, temporaries and the size equalities that the call asks for.
Invariant: scopes are separate.  Callee tensors become arguments, the result or fresh temporaries; its indices and
lets are renamed where the caller uses their names; its sizes become the dimensions of the arguments.

    def rowsum(float(N, M) X) -> (S) { S(i) +=! X(i, j) }
    def f(float(A, B) Y) -> (Z) { T = rowsum(Y)  Z(i) = T(i) / Y.1 }     T(i) +=! Y(i, j)   with N -> A, M -> B
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from comprehension.lang.checked import CheckedDef, CheckedStatement, SameSize
from comprehension.lang.interface import Declared
from comprehension.lang.loops import Role
from comprehension.lang.names import Names
from comprehension.lang.tree import (
    Access,
    Binary,
    Call,
    Cast,
    Clause,
    Exists,
    Expr,
    Let,
    Name,
    Number,
    Range,
    Select,
    SizeOf,
    Span,
    Statement,
    Unary,
)
from comprehension.lang.types import ScalarType

INT32 = ScalarType.INT32


@dataclass(frozen=True, slots=True)
class Expansion:
    statements: tuple[CheckedStatement, ...]
    temporaries: tuple[Declared, ...]
    same_sizes: tuple[SameSize, ...]


def expand_call(
    callee: CheckedDef,
    tensors: Mapping[str, Declared],
    scalars: Mapping[str, Expr],
    result: str,
    caller: Names,
    before: int,
    span: Span | None,
) -> Expansion:
    """The call `result = callee(...)` as statements of the caller.

    `tensors` and `scalars` map the callee's parameters to what the caller gives; `caller` has the names in use
    there; `before` is the number of the caller's statement at which this stands.
    """
    names = {parameter: given.name for parameter, given in tensors.items()}
    names[_output(callee).name] = result
    temporaries = []
    for tensor in callee.tensors:
        if tensor.role is Role.TEMPORARY:
            names[tensor.name] = caller.fresh(f"{result}_{tensor.name}", "a temporary")
            temporaries.append(dataclasses.replace(tensor, name=names[tensor.name], span=span))
    values, same = _sizes(callee, tensors, before, span)
    renaming = _Renaming(names, {**values, **scalars}, caller, span)
    statements = tuple(renaming.statement(s) for s in callee.statements)
    for inner in (*callee.same_sizes, *_annotated_sizes(callee)):
        left, right = renaming.expr(inner.left), renaming.expr(inner.right)
        same.append(SameSize(left, right, before + inner.before, inner.message, span))
    return Expansion(statements, tuple(temporaries), tuple(same))


def size_expression(tensor: Declared, axis: int) -> Expr:
    """The size of a dimension as the caller can name it."""
    dim = tensor.dims[axis] if tensor.dims is not None else None
    if isinstance(dim, int):
        return Number(dim, dtype=INT32)
    return Name(dim, dtype=INT32) if isinstance(dim, str) else SizeOf(tensor.name, axis, dtype=INT32)


def _output(callee: CheckedDef) -> Declared:
    return next(t for t in callee.tensors if t.role in (Role.OUTPUT, Role.ACCUMULATED))


def _sizes(
    callee: CheckedDef, tensors: Mapping[str, Declared], before: int, span: Span | None
) -> tuple[dict[str, Expr], list[SameSize]]:
    """What each of the callee's sizes is here, and which dimensions must therefore agree."""
    values: dict[str, Expr] = {}
    same: list[SameSize] = []
    for parameter, given in tensors.items():
        for axis, dim in enumerate(callee.tensor(parameter).dims or ()):
            here = size_expression(given, axis)
            wanted = Number(dim, dtype=INT32) if isinstance(dim, int) else values.setdefault(dim, here)
            if wanted != here:
                message = f"dimension {axis} of '{given.name}' must be {dim} of def '{callee.name}'"
                same.append(SameSize(wanted, here, before, message, span))
    return values, same


def _annotated_sizes(callee: CheckedDef) -> list[SameSize]:
    """What the annotations of the callee's result and temporaries ask for, in its own names."""
    return [
        SameSize(
            size_expression(tensor, axis),
            SizeOf(tensor.name, axis, dtype=INT32),
            len(callee.statements),
            f"dimension {axis} of the result of def '{callee.name}' must be {dim}",
        )
        for tensor in callee.tensors
        if tensor.role is not Role.INPUT
        for axis, dim in enumerate(tensor.dims or ())
    ]


class _Renaming:
    """The callee's names and what stands for them; `values` are its sizes and scalars."""

    def __init__(
        self, tensors: Mapping[str, str], values: Mapping[str, Expr], caller: Names, span: Span | None
    ) -> None:
        self.tensors = tensors
        self.values = values
        self.caller = caller
        self.span = span
        self.locals: dict[str, str] = {}  # indices and lets

    def local(self, name: str) -> str:
        if name not in self.locals:
            candidates = (name, *(f"{name}_{n}" for n in range(1, len(self.locals) + 10_000)))
            used = set(self.locals.values())
            self.locals[name] = next(
                c for c in candidates if self.caller.kind(c) in (None, "an index", "a let") and c not in used
            )
        return self.locals[name]

    def statement(self, checked: CheckedStatement) -> CheckedStatement:
        node = checked.node
        renamed = Statement(
            self.tensors[node.target],
            tuple(self.expr(s) for s in node.subscripts),
            self.expr(node.value),
            node.reduction,
            node.initialise,
            tuple(self.clause(c) for c in node.where),
            span=self.span,
        )
        left, reduction = (tuple(self.local(i) for i in names) for names in (checked.left, checked.reduction))
        return CheckedStatement(renamed, left, reduction)

    def clause(self, clause: Clause) -> Clause:
        match clause:
            case Range(index=index, lower=lower, upper=upper):
                return Range(self.local(index), self.expr(lower), self.expr(upper), span=self.span)
            case Let(name=name, value=value):
                return Let(self.local(name), self.expr(value), span=self.span)
            case Exists(value=value):
                return Exists(self.expr(value), span=self.span)
            case _:
                assert_never(clause)

    def expr(self, node: Expr) -> Expr:
        span, dtype = self.span, node.dtype
        match node:
            case Number():
                return dataclasses.replace(node, span=span)
            case Name(id=name):
                if name in self.values:
                    return dataclasses.replace(self.values[name], span=span)
                return Name(self.local(name), span=span, dtype=dtype)
            case Access(tensor=tensor, subscripts=parts):
                return Access(self.tensors[tensor], tuple(self.expr(p) for p in parts), span=span, dtype=dtype)
            case SizeOf(tensor=tensor, axis=axis):
                return SizeOf(self.tensors[tensor], axis, span=span, dtype=dtype)
            case Unary(op=unary, operand=operand):
                return Unary(unary, self.expr(operand), span=span, dtype=dtype)
            case Binary(op=binary, left=left, right=right):
                return Binary(binary, self.expr(left), self.expr(right), span=span, dtype=dtype)
            case Select(condition=condition, then=then, otherwise=otherwise):
                return Select(self.expr(condition), self.expr(then), self.expr(otherwise), span=span, dtype=dtype)
            case Cast(to=to, operand=operand):
                return Cast(to, self.expr(operand), span=span, dtype=dtype)
            case Call(function=function, arguments=parts):
                return Call(function, tuple(self.expr(p) for p in parts), span=span, dtype=dtype)
            case _:
                assert_never(node)
