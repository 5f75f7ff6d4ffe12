"""Typed integer expressions as forms: what a subscript or a bound is, in sizes, scalars and indices.

In: typed trees, an `Environment` that says what their names are.  Out: `Linear` forms.
Invariant: None exactly where an expression reads a tensor or calls a builtin, whose values no launch knows before the
kernel runs; numbers stay within 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace

from comprehension.lang.expressions import Fault
from comprehension.lang.linear import (
    INT32,
    MAX_KEY,
    MAX_NUMBER,
    Atom,
    Linear,
    largest,
    number,
    product,
    quotient,
    remainder,
    smallest,
    to_expr,
)
from comprehension.lang.printer import to_text
from comprehension.lang.scalars import wrap
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
    Unary,
    children,
    is_integral,
    names_in,
    rebuild,
    walk,
)
from comprehension.lang.types import ScalarType


@dataclass(slots=True)
class Environment:
    """What names and sizes of tensors are; a name that stands for no integer form (an indirect let) is None.

    `conditions` are the bool lets, `values` those of integers, `scalars` the types of integer parameters; `unknown`
    are comparisons (the ids of their nodes) that say nothing of integers, because they may wrap around.
    """

    names: dict[str, Linear | None]
    shapes: dict[str, tuple[Linear, ...]]
    conditions: dict[str, Expr] = field(default_factory=dict)
    values: dict[str, Expr] = field(default_factory=dict)
    scalars: dict[str, ScalarType] = field(default_factory=dict)
    unknown: frozenset[int] = frozenset()

    def without(self, comparisons: Iterable[int]) -> Environment:
        """The same, where these comparisons are unknown."""
        return replace(self, unknown=frozenset(comparisons))


def from_expr(node: Expr, where: Environment) -> Linear | None:
    """The form of an integer expression, or None where it reads a tensor or calls a builtin.

    A `Select` is opaque, unless its condition is decided; callers that need both sides split it first.
    """
    match node:
        case Number(value=value):
            return number(value) if isinstance(value, int) else None
        case Name(id=name):
            return where.names.get(name)
        case SizeOf(tensor=tensor, axis=axis):
            return where.shapes[tensor][axis]
        case Unary(op="-", operand=operand):
            inner = from_expr(operand, where)
            return None if inner is None else -inner
        case Binary(op="+" | "-" | "*" | "/" | "%" as op, left=left, right=right) if is_integral(node):
            return _bounded(_combined(op, from_expr(left, where), from_expr(right, where)), node)
        case Call(function="min" | "max" as extremum, arguments=(first, second)) if is_integral(node):
            return _combined(extremum, from_expr(first, where), from_expr(second, where))
        case Cast(to=to, operand=operand) if to.is_integer and is_integral(operand):
            inner = from_expr(operand, where)
            if to.bits >= 32 or inner is None:
                return inner
            return _opaque_expr(node, where) if inner.value is None else number(wrap(inner.value, to))
        case _:
            return _opaque_expr(node, where)


def _bounded(form: Linear | None, node: Expr) -> Linear | None:
    """The form, unless its numbers grow without end."""
    if form is not None and any(abs(n) > MAX_NUMBER for n in (form.constant, *(c for _, c in form.terms))):
        raise Fault("an expression of sizes and indices has numbers beyond 64 bits", node.span)
    return form


def _combined(op: str, a: Linear | None, b: Linear | None) -> Linear | None:
    if a is None or b is None:
        return None
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return product(a, b)
        case "/":
            return quotient(a, b)
        case "%":
            return remainder(a, b)
        case "min":
            return smallest((a, b))
        case _:
            return largest((a, b))


def _opaque_expr(node: Expr, where: Environment) -> Linear | None:
    """A cast or a choice that reads no tensor and calls nothing, as an atom that depends on the names in it."""
    if is_computed(node):
        return None
    inside = names_in(node)
    forms = {name: where.names[name] for name in inside if name in where.names}
    if None in forms.values():
        return None
    node = resolve(node, {name for name, form in forms.items() if form is not None and form.names != {name}}, where)
    names = names_in(node)
    if node.dtype is not INT32:
        node = Cast(INT32, node, dtype=INT32, span=node.span)
    key = to_text(node)
    if len(key) > MAX_KEY:
        raise Fault(f"an expression of sizes and indices grows beyond {MAX_KEY} characters", node.span)
    return Linear(((Atom(key, "opaque", (), node, frozenset(names)), 1),), 0)


def is_computed(node: Expr) -> bool:
    """Whether only the running kernel knows the value: it reads a tensor, or calls a builtin."""
    return any(
        isinstance(part, Access) or (isinstance(part, Call) and part.function not in ("min", "max"))
        for part in walk(node)
    )


def resolve(node: Expr, sizes: Set[str], where: Environment) -> Expr:
    """`node` with the names in `sizes`, and all sizes of tensors, replaced by their forms; types are kept."""
    match node:
        case Name(id=name):
            form = where.names[name] if name in sizes else None
            return node if form is None else replace(to_expr(form), span=node.span)
        case SizeOf(tensor=tensor, axis=axis):
            return replace(to_expr(where.shapes[tensor][axis]), span=node.span)
        case _:
            return rebuild(node, tuple(resolve(part, sizes, where) for part in children(node)))


def choice(condition: Expr, then: Linear, otherwise: Linear) -> Linear:
    """`condition ? then : otherwise`, for a condition on sizes and scalars and forms that are not negative."""
    expr = Select(condition, to_expr(then), to_expr(otherwise), dtype=INT32)
    names = names_in(expr)
    return Linear(((Atom(to_text(expr), "opaque", (), expr, names, nonnegative=True), 1),), 0)
