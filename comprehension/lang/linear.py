"""Integer arithmetic on names: what bounds, shapes and subscripts are made of.

In: names, numbers, and operations on forms (`forms.from_expr` makes them from trees).
Out: `Linear`, a sum of integer multiples of `Atom`s and a constant, in one normal form; `to_expr` gives a tree back.
Invariant: equal forms are equal objects by value; a form with no atoms is a plain number; `/` floors, `%` matches it,
and both give 0 for a zero divisor.  The limits below hold for every form: nested lets cannot blow up.

An atom is a name, or what is not linear: a quotient, a remainder, a product, a minimum, a maximum, or an opaque
expression that reads no tensor.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from comprehension.lang.expressions import Fault
from comprehension.lang.printer import to_text
from comprehension.lang.tree import (
    Binary,
    Call,
    Expr,
    Name,
    Number,
    Unary,
)
from comprehension.lang.types import ScalarType

INT32 = ScalarType.INT32
MAX_KEY = 4_000  # characters of an atom
MAX_LEVELS = 30
MAX_NUMBER = 2**63
MAX_TERMS = 64  # of a product that is multiplied out
Op = Literal["name", "/", "%", "*", "min", "max", "opaque"]


@dataclass(frozen=True, slots=True)
class Atom:
    """`op` applied to `args` (a name or an opaque expression has none); equal if `key`, its text, is."""

    key: str
    op: Op = field(compare=False)
    args: tuple[Linear, ...] = field(compare=False, default=())
    expr: Expr | None = field(compare=False, default=None)  # of a name or an opaque atom
    names: frozenset[str] = field(compare=False, default=frozenset())
    nonnegative: bool = field(compare=False, default=False)  # of a name or an opaque atom
    depth: int = field(compare=False, default=0)  # of atoms in atoms


@dataclass(frozen=True, slots=True)
class Linear:
    """`sum(coefficient * atom) + constant`, terms sorted by the atoms' keys."""

    terms: tuple[tuple[Atom, int], ...]
    constant: int

    @property
    def names(self) -> frozenset[str]:
        """Every name that the form depends on."""
        if len(self.terms) == 1:
            return self.terms[0][0].names
        return frozenset().union(*[atom.names for atom, _ in self.terms])

    @property
    def value(self) -> int | None:
        """The number that this is, if it is one."""
        return None if self.terms else self.constant

    def coefficient(self, name: str) -> int:
        """The multiple of the name itself (it may stand in other atoms too)."""
        return next((c for atom, c in self.terms if atom.op == "name" and atom.key == name), 0)

    def __add__(self, other: Linear | int) -> Linear:
        return self._plus(other, 1)

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | int) -> Linear:
        return self._plus(other, -1)

    def _plus(self, other: Linear | int, factor: int) -> Linear:
        """`self + factor * other`."""
        if isinstance(other, int):
            return Linear(self.terms, self.constant + factor * other)
        constant = self.constant + factor * other.constant
        if not other.terms:
            return Linear(self.terms, constant)
        if not self.terms:
            return Linear(other.terms if factor == 1 else tuple([(a, factor * c) for a, c in other.terms]), constant)
        sums = dict(self.terms)
        for atom, coefficient in other.terms:
            sums[atom] = sums.get(atom, 0) + factor * coefficient
        return _linear(sums, constant)

    def __mul__(self, factor: int) -> Linear:
        if factor == 0:
            return number(0)
        if not self.terms:
            return Linear((), self.constant * factor)
        return Linear(tuple([(atom, c * factor) for atom, c in self.terms]), self.constant * factor)

    def __str__(self) -> str:
        return to_text(to_expr(self))


def number(value: int) -> Linear:
    """The constant form."""
    return Linear((), value)


def variable(name: str, size: bool = True) -> Linear:
    """The form that is one name; sizes are at least 0.

    >>> str((variable("H") - variable("KH") + 1) * 2)
    '2 * H - 2 * KH + 2'
    """
    return Linear(((Atom(name, "name", (), Name(name, dtype=INT32), frozenset((name,)), size), 1),), 0)


def floor_div(a: int, b: int) -> int:
    """The language's `/` on integers."""
    return a // b if b else 0


def modulo(a: int, b: int) -> int:
    """The language's `%` on integers."""
    return a % b if b else 0


def quotient(a: Linear, b: Linear) -> Linear:
    """`a / b`; multiples of a constant divisor leave the quotient.

    >>> str(quotient(variable("N") * 4 + variable("M") + 6, number(4)))
    '(M + 2) / 4 + N + 1'
    """
    if a.value is not None and b.value is not None:
        return number(floor_div(a.value, b.value))
    if b.value == 0 or a.value == 0:
        return number(0)
    if b.value is None:
        return _opaque("/", a, b)
    if b.value < 0:
        return quotient(-a, -b)
    divisor = b.value
    whole = {atom: c // divisor for atom, c in a.terms}
    rest = _linear({atom: c - divisor * whole[atom] for atom, c in a.terms}, a.constant % divisor)
    outside = _linear(whole, a.constant // divisor)
    if not rest.terms:
        return outside + floor_div(rest.constant, divisor)
    return outside + _opaque("/", rest, b)


def remainder(a: Linear, b: Linear) -> Linear:
    """`a % b`."""
    if a.value is not None and b.value is not None:
        return number(modulo(a.value, b.value))
    if b.value in (0, 1, -1) or a.value == 0:
        return number(0)
    if b.value is not None and b.value < 0:
        return -remainder(-a, -b)
    if b.value is not None:
        a = _linear({atom: c % b.value for atom, c in a.terms}, a.constant % b.value)
        if not a.terms:
            return number(modulo(a.constant, b.value))
    return _opaque("%", a, b)


def product(a: Linear, b: Linear) -> Linear:
    """`a * b`, multiplied out.

    >>> str(product(variable("M"), variable("N") - 1) + variable("M"))
    'M * N'
    """
    if a.value is not None:
        return b * a.value
    if b.value is not None:
        return a * b.value
    if len(a.terms) * len(b.terms) > MAX_TERMS:
        return _opaque("*", *sorted((a, b), key=str))
    total = a * b.constant + (b - b.constant) * a.constant
    for (x, c), (y, d) in itertools.product(a.terms, b.terms):
        factors = sorted((*_factors(x), *_factors(y)), key=str)
        total = total + _opaque("*", *factors) * (c * d)
    return total


def _factors(atom: Atom) -> tuple[Linear, ...]:
    return atom.args if atom.op == "*" else (Linear(((atom, 1),), 0),)


def smallest(forms: Iterable[Linear]) -> Linear:
    """The minimum of some forms; what is never the least is left out.

    >>> str(smallest([variable("N"), variable("M"), variable("N") + 1]))
    'min(M, N)'
    """
    return _extreme("min", forms, lambda a, b: is_nonnegative(b - a))


def largest(forms: Iterable[Linear]) -> Linear:
    """The maximum of some forms."""
    return _extreme("max", forms, lambda a, b: is_nonnegative(a - b))


def _extreme(op: Op, forms: Iterable[Linear], beats: Callable[[Linear, Linear], bool]) -> Linear:
    kept: list[Linear] = []
    for form in itertools.chain.from_iterable(_flattened(op, f) for f in forms):
        if any(beats(other, form) for other in kept):
            continue
        kept = [other for other in kept if not beats(form, other)] + [form]
    return kept[0] if len(kept) == 1 else _opaque(op, *sorted(kept, key=str))


def _flattened(op: Op, form: Linear) -> tuple[Linear, ...]:
    """What a minimum is the minimum of; otherwise the form alone."""
    if len(form.terms) == 1 and form.constant == 0:
        atom, c = form.terms[0]
        if c == 1 and atom.op == op:
            return atom.args
    return (form,)


def _linear(terms: Mapping[Atom, int], constant: int) -> Linear:
    kept = [term for term in terms.items() if term[1]]
    if len(kept) > 1:
        kept.sort(key=_key)
    return Linear(tuple(kept), constant)


def _key(term: tuple[Atom, int]) -> str:
    return term[0].key


def _opaque(op: Op, *args: Linear) -> Linear:
    names = frozenset().union(*(a.names for a in args))
    depth = 1 + max((atom.depth for a in args for atom, _ in a.terms), default=0)
    if depth > MAX_LEVELS or len(args) > MAX_LEVELS:
        raise Fault(f"an expression of sizes and indices has more than {MAX_LEVELS} levels once lets are put in", None)
    key = to_text(_apply(op, [to_expr(a) for a in args]))
    if len(key) > MAX_KEY:
        raise Fault(f"an expression of sizes and indices grows beyond {MAX_KEY} characters", None)
    return Linear(((Atom(key, op, args, None, names, depth=depth), 1),), 0)


# --- what is surely not negative -------------------------------------------------------------------------------


def is_nonnegative(form: Linear, facts: Sequence[Linear] = (), depth: int = 4) -> bool:
    """Whether `form >= 0` follows from sizes being at least 0 and one of `facts`; False where that is not plain.

    >>> is_nonnegative(variable("N") - smallest([variable("N"), variable("M")]))
    True
    >>> is_nonnegative(variable("N") - 1, [variable("N") - 1])
    True
    """
    if _is_plainly_nonnegative(form) or any(_is_plainly_nonnegative(form - fact) for fact in facts):
        return True
    if depth == 0:
        return False
    for atom, c in form.terms:
        if atom.op == "name":
            continue
        rest = _linear({a: k for a, k in form.terms if a is not atom}, form.constant)
        if atom.op in ("min", "max"):
            # -min(a, b) >= -a and max(a, b) >= a: one of them is enough; otherwise both are needed
            decide = any if (atom.op == "min") == (c < 0) else all
            return decide(is_nonnegative(rest + arg * c, facts, depth - 1) for arg in atom.args)
        divisor = atom.args[1].value if atom.op == "/" else None
        if divisor is not None and divisor > 0:
            # x / d - (d - 1) / d <= floor(x / d) <= x / d
            dividend = atom.args[0] if c < 0 else atom.args[0] - (divisor - 1)
            return is_nonnegative(rest * divisor + dividend * c, facts, depth - 1)
    return False


def _is_plainly_nonnegative(form: Linear) -> bool:
    return form.constant >= 0 and all(c >= 0 and _is_nonnegative_atom(atom) for atom, c in form.terms)


def _is_nonnegative_atom(atom: Atom) -> bool:
    match atom.op:
        case "name" | "opaque":
            return atom.nonnegative
        case "*" | "min":
            return all(is_nonnegative(a) for a in atom.args)
        case "max":
            return any(is_nonnegative(a) for a in atom.args)
        case "/":
            return is_nonnegative(atom.args[0]) and (atom.args[1].value or 0) > 0
        case "%":
            return (atom.args[1].value or 0) > 0
        case _:
            return False


# --- trees -----------------------------------------------------------------------------------------------------


def to_expr(form: Linear) -> Expr:
    """A typed (int32) tree of the form, positive terms first.

    >>> to_text(to_expr(variable("H") - variable("KH") + 1))
    'H - KH + 1'
    """
    ordered = sorted(form.terms, key=lambda term: term[1] < 0)
    total: Expr | None = None
    for atom, c in ordered:
        part = atom_expr(atom) if abs(c) == 1 else _binary("*", Number(abs(c), dtype=INT32), atom_expr(atom))
        if total is None:
            total = part if c > 0 else Unary("-", part, dtype=INT32)
        else:
            total = _binary("+" if c > 0 else "-", total, part)
    if total is None:
        return Number(form.constant, dtype=INT32)
    if form.constant:
        total = _binary("+" if form.constant > 0 else "-", total, Number(abs(form.constant), dtype=INT32))
    return total


def atom_expr(atom: Atom) -> Expr:
    """The tree of one atom."""
    if atom.expr is not None:
        return atom.expr
    return _apply(atom.op, [to_expr(a) for a in atom.args])


def _apply(op: str, parts: list[Expr]) -> Expr:
    if op in ("min", "max"):
        return functools.reduce(lambda a, b: Call(op, (a, b), dtype=INT32), parts)
    return functools.reduce(functools.partial(_binary, op), parts)


def _binary(op: str, left: Expr, right: Expr) -> Binary:
    return Binary(op, left, right, dtype=INT32)  # type: ignore[arg-type]
