"""What must hold of sizes and scalars: shown at once, refused at once, or left to the launch.

In: forms that must not be negative.  Out: `Precondition`s in the order in which they were met.
Invariant: a form that passes is never negative on any launch that passes the preconditions.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.lang.bounds import Ranges, greatest, least
from comprehension.lang.expressions import Fault
from comprehension.lang.forms import Environment
from comprehension.lang.limits import LARGEST_USUAL_SIZE, MAX_INT
from comprehension.lang.linear import Linear, is_nonnegative, number, to_expr
from comprehension.lang.loops import Precondition
from comprehension.lang.printer import to_text
from comprehension.lang.prove import compared, holds, ranges_under
from comprehension.lang.solve import Constraint, Guard
from comprehension.lang.tree import Access, Binary, Expr, Span
from comprehension.lang.types import ScalarType


class Requirements:
    """Facts are forms known not to be negative: every precondition that stands alone is one from then on."""

    def __init__(self) -> None:
        self.facts: list[Linear] = []
        self._found: dict[Expr, Precondition] = {}

    @property
    def preconditions(self) -> tuple[Precondition, ...]:
        return tuple(self._found.values())

    def is_known(self, form: Linear) -> bool:
        """Whether `form >= 0` follows from sizes being sizes and one fact."""
        return is_nonnegative(form, self.facts)

    def require(self, form: Linear, message: str, span: Span | None, unless: Sequence[Linear] = ()) -> None:
        """Asks for `form >= 0`, unless one of `unless` (extents of loops) is not positive.

        Raises Fault where it can be seen now that it does not hold.
        """
        running = [extent - 1 for extent in unless]  # not negative where the requirement matters
        if is_nonnegative(form, [*self.facts, *running]) or any(e.value is not None and e.value <= 0 for e in unless):
            return
        if form.value is not None and all(e.value is not None for e in unless):
            raise Fault(message, span)
        condition = at_least_zero(form)
        for extent in unless:
            if not self.is_known(extent - 1):
                condition = Binary("||", at_least_zero(-extent), condition, dtype=ScalarType.BOOL)
        if not isinstance(condition, Binary) or condition.op != "||":
            self.facts.append(form)
        self._found.setdefault(condition, Precondition(condition, message, span))

    def require_equal(self, left: Linear, right: Linear, message: str, span: Span | None) -> None:
        """Asks for two forms to be equal."""
        if left == right:
            return
        difference = left - right
        if difference.value is not None:
            raise Fault(f"{message}: {left} is not {right}", span)
        condition = Binary("==", to_expr(left), to_expr(right), dtype=ScalarType.BOOL)
        self.facts += [difference, -difference]
        self._found.setdefault(condition, Precondition(condition, f"{message}: {to_text(condition)}", span))

    def require_within(
        self, form: Linear, dtype: ScalarType, ranges: Ranges, where: Environment, message: str, span: Span | None
    ) -> None:
        """Asks for a form to be a number of a type, whatever the indices are; scalars are within theirs."""
        for room in self.rooms_within(form, dtype, ranges, where):
            self.require(room, message, span)

    def rooms_within(self, form: Linear, dtype: ScalarType, ranges: Ranges, where: Environment) -> list[Linear]:
        """What must not be negative for a form to be a number of a type, where the limits of its names do not tell."""
        lowest, highest = dtype.limits
        scalars = {name: (number(own.limits[0]), number(own.limits[1] + 1)) for name, own in where.scalars.items()}
        rooms = (least(form, ranges) - lowest, -greatest(form, ranges) + highest)
        unknown = [room for room in rooms if not self.is_known(room)]
        sizes = {name: (number(0), number(MAX_INT + 1)) for room in unknown for name in room.names - scalars.keys()}
        return [room for room in unknown if not self.is_known(least(room, sizes | scalars))]

    def require_exact(self, guards: Sequence[Guard], ranges: Ranges, where: Environment, access: Access) -> None:
        """Asks for sums of a few sizes in the conditions around a read not to wrap: proofs of kernels take them so."""
        for _, form, dtype in compared(guards, where):
            for room in self.rooms_within(form, dtype, ranges, where):
                if _is_sum_of_usual_sizes(room):
                    self.require(room, would_wrap(to_text(access)), access.span)

    def require_access(self, constraint: Constraint, ranges: Ranges, where: Environment) -> None:
        """Asks for an access to stay in bounds wherever its guards hold.

        Comparisons that may wrap around are left out unless something comes of them: then they must not wrap.
        """
        form, guards = constraint.form, constraint.held
        if self.is_known(least(form, ranges)) or (guards and holds(form, ranges, (), where, self.facts)):
            return
        rooms = self.rooms(constraint.guards, ranges, where)
        sure = where.without(key for key, found in rooms.items() if found is None or found)
        if holds(form, ranges, guards, sure, self.facts):
            return
        worst = self._worst(constraint, ranges, sure)
        possible = where.without(key for key, found in rooms.items() if found is None)
        if possible.unknown != sure.unknown:
            better = self._worst(constraint, ranges, possible)
            proved = holds(form, ranges, guards, possible, self.facts)
            if proved or better != worst:
                running = [greatest(upper - lower, ranges) for lower, upper in ranges.values()]
                message = would_wrap(constraint.because)
                for room in dict.fromkeys(room for found in rooms.values() for room in found or ()):
                    self.require(room, message, constraint.span, running)
            if proved:
                return
            worst = better
        for least_value, message, extents in worst:
            self.require(least_value, message, constraint.span, extents)

    def _worst(
        self, constraint: Constraint, ranges: Ranges, where: Environment
    ) -> dict[tuple[Linear, str, tuple[Linear, ...]], None]:
        """The least values of a constraint's form where its guards hold, each with the extents of its loops."""
        found: dict[tuple[Linear, str, tuple[Linear, ...]], None] = {}
        for narrowed, _ in ranges_under(constraint.held, ranges, where):
            concerned = _concerned(constraint.form.names, narrowed)
            extents = dict.fromkeys(greatest(narrowed[name][1] - narrowed[name][0], narrowed) for name in concerned)
            found[least(constraint.form, narrowed), _out_of_bounds(constraint, narrowed), tuple(extents)] = None
        return found

    def rooms(self, guards: Sequence[Guard], ranges: Ranges, where: Environment) -> dict[int, list[Linear] | None]:
        """For each comparison in guards what must not be negative for it not to wrap around, where that is not known.

        None where it does wrap.
        """
        found: dict[int, list[Linear] | None] = {}
        for comparison, form, dtype in compared(guards, where):
            own = found.setdefault(id(comparison), [])
            rooms = self.rooms_within(form, dtype, ranges, where)
            if own is None or any(room.value is not None for room in rooms):
                found[id(comparison)] = None
            else:
                own += rooms
        return found


def would_wrap(access: str) -> str:
    return f"the condition around {access} would wrap around in its type"


def _is_sum_of_usual_sizes(room: Linear) -> bool:
    """Whether it is a sum of sizes that is not negative unless they are larger than most."""
    are_sizes = all(atom.op == "name" and atom.nonnegative for atom, _ in room.terms)
    return are_sizes and room.constant >= sum(-c for _, c in room.terms if c < 0) * LARGEST_USUAL_SIZE


def at_least_zero(form: Linear) -> Expr:
    """`form >= 0` as people write it: negative terms on the other side.

    >>> from comprehension.lang.linear import variable
    >>> to_text(at_least_zero(variable("H") - variable("KH") + 1))
    'KH <= H + 1'
    """
    right = Linear(tuple(t for t in form.terms if t[1] > 0), max(form.constant, 0))
    return Binary("<=", to_expr(right - form), to_expr(right), dtype=ScalarType.BOOL)


def _concerned(names: frozenset[str], ranges: Ranges) -> list[str]:
    """The indices in a form and those in their bounds, innermost first."""
    found: list[str] = []
    for name in reversed(list(ranges)):
        if name in names:
            found.append(name)
            names = names | ranges[name][0].names | ranges[name][1].names
    return found


def _out_of_bounds(constraint: Constraint, ranges: Ranges) -> str:
    place = f"out of bounds: {constraint.because}, dimension {constraint.axis}"
    if constraint.extent is None or constraint.form == constraint.subscript:
        return f"{place}: the subscript goes down to {least(constraint.subscript, ranges)}"
    top = greatest(constraint.subscript, ranges)
    return f"{place}: the subscript goes up to {top}, but the size is {constraint.extent}"
