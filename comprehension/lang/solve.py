"""Ranges of a statement's indices from its accesses (reference section 3, with the holes closed).

In: constraints `form >= 0` over indices, sizes and scalars, and the ranges given by `where`.
Out: a half-open range for each index and the reason for it; the constraints that gave no range.
Method: in rounds.  The constraints in which an unsolved index is the only free one bound it by the *maximal
interval* in which all of them hold, whatever the solved indices are; then it is solved.

    O(h) +=! I(h + kh) * W(kh)     round 1: kh in 0:KH, from W;  round 2: h in 0:H - KH + 1, from I

A constraint under a guard that involves an index with a `where` range only has to hold where the guard does
(section 10, rule 4): it bounds other indices only if nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from comprehension.lang.bounds import least
from comprehension.lang.expressions import Fault, quoted
from comprehension.lang.limits import MAX_INT
from comprehension.lang.linear import Linear, largest, number, quotient, smallest
from comprehension.lang.tree import Expr, Span

Guard = tuple[Expr, bool]  # a condition and the value that it has
UNKNOWN_EXTENT = number(MAX_INT)


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """`form >= 0` must hold wherever `guards` and `choices` do; `because` is the access.

    Guards are values, which wrap in their types; choices stand in the subscript and are exact.

    It says that `subscript` of dimension `axis` is not negative or, with `extent`, that it is below that.
    `own`: the statement reads what it writes, so the extent may grow with the statement; such a constraint bounds
    an index only if nothing else does.  `stored`: it is of the target, which is initialised even if nothing is reduced.
    """

    form: Linear
    because: str
    span: Span | None
    guards: tuple[Guard, ...]
    axis: int
    subscript: Linear
    extent: Linear | None = None
    own: bool = False
    choices: tuple[Guard, ...] = ()
    stored: bool = False

    @property
    def is_of_no_extent(self) -> bool:
        """Whether it is of a tensor that its first statement reads: nothing is known yet."""
        return self.own and self.extent == UNKNOWN_EXTENT

    @property
    def held(self) -> tuple[Guard, ...]:
        """Everything that holds where the access is made."""
        return (*self.guards, *self.choices)


@dataclass(frozen=True, slots=True)
class Given:
    """The range that a `where` clause gives."""

    lower: Linear
    upper: Linear
    because: str
    span: Span | None


@dataclass(slots=True)
class Solution:
    """`ranges` in the order of the loops; `open` are the constraints that still have to be shown."""

    ranges: dict[str, tuple[Linear, Linear]] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    open: list[Constraint] = field(default_factory=list)


def solve(
    indices: Sequence[str],
    given: Mapping[str, Given],
    left: Sequence[str],
    constraints: Sequence[Constraint],
    span: Span | None,
) -> Solution:
    """The ranges of `indices` (all, in loop order); `given` has those that `where` ranges.

    Raises Fault where an index cannot be bounded.
    """
    ranges = {name: (g.lower, g.upper) for name, g in given.items()}
    because = {name: g.because for name, g in given.items()}
    pending = list(constraints)
    while len(ranges) < len(indices):
        unsolved = [name for name in indices if name not in ranges]
        solved = {name: ranges[name] for name in indices if name in ranges}
        found = _round(unsolved, solved, left, pending, given, strict=True)
        found = found or _round(unsolved, solved, left, pending, given, strict=False)
        if not found:
            raise _unbounded(unsolved[0], pending, span)
        for name, (lower, upper, reason, used) in found.items():
            ranges[name], because[name] = (lower, upper), reason
            pending = [c for c in pending if c not in used]
    return Solution({name: ranges[name] for name in indices}, because, pending)


_Found = tuple[Linear, Linear, str, list[Constraint]]


def _round(
    unsolved: Sequence[str],
    solved: dict[str, tuple[Linear, Linear]],
    left: Sequence[str],
    constraints: Sequence[Constraint],
    given: Mapping[str, Given],
    strict: bool,
) -> dict[str, _Found]:
    """What one round bounds from both sides."""
    lowers: dict[str, list[_Bound]] = {name: [(number(0), None)] if name in left else [] for name in unsolved}
    uppers: dict[str, list[_Bound]] = {name: [] for name in unsolved}
    for constraint in constraints:
        free = [name for name in unsolved if name in constraint.form.names]
        guarded = constraint.held and not constraint.form.names.isdisjoint(given)
        if len(free) != 1 or (strict and (guarded or constraint.own)) or constraint.is_of_no_extent:
            continue
        name = free[0]
        form = least(constraint.form, solved, runs=False)
        c = form.coefficient(name)
        rest = form - _multiple(form, name)
        if c == 0 or name in rest.names:
            continue  # the index stands in a product or a quotient: only `where` can give its range
        if c > 0:  # c * i + rest >= 0: i >= ceil(-rest / c)
            lowers[name].append((-quotient(rest, number(c)), constraint))
        else:
            uppers[name].append((quotient(rest, number(-c)) + 1, constraint))
    return {name: _found(lowers[name], uppers[name]) for name in unsolved if lowers[name] and uppers[name]}


_Bound = tuple[Linear, Constraint | None]  # and what it comes from; None: left indices are not negative


def _found(lowers: list[_Bound], uppers: list[_Bound]) -> _Found:
    """The maximal interval, with the first constraint that gives each end as the reason."""
    lower, upper = largest(b for b, _ in lowers), smallest(b for b, _ in uppers)
    used = [constraint for _, constraint in lowers + uppers if constraint is not None]
    ends = [next((c for b, c in bounds if c and b == end), None) for bounds, end in ((lowers, lower), (uppers, upper))]
    return lower, upper, _reasons([c for c in ends if c is not None] or used), used


def _multiple(form: Linear, name: str) -> Linear:
    return Linear(tuple(t for t in form.terms if t[0].op == "name" and t[0].key == name), 0)


def _reasons(constraints: Sequence[Constraint]) -> str:
    return "; ".join(dict.fromkeys(c.because for c in constraints))


def _unbounded(name: str, constraints: Sequence[Constraint], span: Span | None) -> Fault:
    """What to say of an index that no constraint bounds from both sides."""
    standing = [c for c in constraints if name in c.form.names]
    message = f"the range of {quoted(name)} cannot be inferred; give it by a `where` clause, as in {name[:40]} in 0:N"
    if standing:
        message += f" (it stands only in {_reasons(standing)[:200]}, with others that are unknown or not linearly)"
    return Fault(message, standing[0].span if standing and standing[0].span else span)
