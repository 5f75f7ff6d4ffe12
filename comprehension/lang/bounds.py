"""Least and greatest values of forms over the ranges of indices.

In: a `Linear` and half-open ranges of indices, whose bounds may use indices further out.
Out: a `Linear` without those indices that is never above (below) the form on the domain.
Invariant: exact for linear forms over boxes and triangles, and for products of indices and quotients by numbers that
together only grow, or only shrink, with each of them; safe, perhaps wide, for other products, quotients and remainders
of indices.  An empty range makes every answer right.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from comprehension.lang.expressions import Fault
from comprehension.lang.linear import (
    Atom,
    Linear,
    is_nonnegative,
    largest,
    number,
    product,
    quotient,
    smallest,
    variable,
)
from comprehension.lang.tree import Cast
from comprehension.lang.types import ScalarType

Ranges = Mapping[str, tuple[Linear, Linear]]  # half-open, in the order of the loops
Interval = tuple[Linear, Linear]  # both ends belong to it
MAX_POWER = 4  # of an index in a product that is followed
MAX_ASKED = 6  # indices in a form whose sign is asked
MAX_TERMS = 12  # in such a form
MAX_NESTED = 3  # atoms in atoms of such a form
DEPTH = 2  # of questions about signs within questions about signs: each asks several


class _DependsOnSigns(Exception):
    """A sign is asked, and the answer depends on other signs."""


def least(form: Linear, ranges: Ranges, *, runs: bool = True) -> Linear:
    """The least value of `form` over `ranges`, the innermost index eliminated first.

    Unless it `runs`, sizes for which a loop runs over nothing are not left out: what is made of an answer, such as a
    shape, must then be right for them, too.

    >>> from comprehension.lang.linear import variable
    >>> i, j, n = variable("i", size=False), variable("j", size=False), variable("N")
    >>> str(least(i - j, {"i": (number(0), n), "j": (number(0), i)}))
    '1'
    """
    known = dict(_least_sizes(ranges)) if runs else {}
    return _Elimination(ranges, known, DEPTH).least(form)


def greatest(form: Linear, ranges: Ranges, *, runs: bool = True) -> Linear:
    """The greatest value of `form` over `ranges`.

    >>> i, j, n = variable("i", size=False), variable("j", size=False), variable("N")
    >>> str(greatest(product(i, j), {"i": (number(0), n), "j": (number(0), i + 1)}))
    'N * N - 2 * N + 1'
    """
    return -least(-form, ranges, runs=runs)


def at(form: Linear, name: str, value: Linear) -> Linear | None:
    """The form with a value in the place of a name; None where that stands in more than small powers.

    >>> m, n = variable("M"), variable("N")
    >>> str(at(product(m, n) + n, "N", m + 1))
    '2 * M + M * M + 1'
    """
    powers, others = _powers(form, name)
    if max(powers, default=0) > MAX_POWER or any(name in atom.names for atom, _ in others):
        return None
    return _value(powers, value) + Linear(tuple(others), form.constant)


def _least_sizes(ranges: Ranges) -> Iterator[tuple[str, int]]:
    """Sizes that are more than 0 wherever all loops run: `N` for `i in 0:N`."""
    for lower, upper in ranges.values():
        extent = upper - lower
        if len(extent.terms) == 1 and extent.constant <= 0:
            atom, c = extent.terms[0]
            if atom.op == "name" and atom.nonnegative and c == 1:
                yield atom.key, 1 - extent.constant


@dataclass(frozen=True, slots=True)
class _Quotient:
    """The term `times * ((coefficient * index + rest) / divisor)`, of numbers but for `rest`."""

    atom: Atom
    times: int
    coefficient: int
    rest: Linear
    divisor: int

    @classmethod
    def of(cls, atom: Atom, times: int, index: str) -> _Quotient | None:
        """None where a term is no such quotient."""
        divisor = atom.args[1].value if atom.op == "/" else None
        if divisor is None:
            return None
        coefficient = atom.args[0].coefficient(index)
        rest = atom.args[0] - variable(index) * coefficient
        return cls(atom, times, coefficient, rest, divisor) if coefficient and index not in rest.names else None

    @property
    def steps(self) -> tuple[int, int]:
        """What one step of the index may add."""
        floor, ceiling = self.coefficient // self.divisor, -(-self.coefficient // self.divisor)
        return self.times * floor, self.times * ceiling

    def at(self, value: Linear) -> Linear:
        return quotient(value * self.coefficient + self.rest, number(self.divisor)) * self.times


@dataclass(frozen=True, slots=True)
class _Elimination:
    """Indices taken out of forms one by one, what is inside of `ranges` first; `known` says how small sizes can be."""

    ranges: Ranges
    known: Mapping[str, int]
    depth: int

    def least(self, form: Linear) -> Linear:
        for position, index in reversed(list(enumerate(self.ranges))):
            if index in form.names:
                outer = dict(itertools.islice(self.ranges.items(), position))
                form = replace(self, ranges=outer).interval(form, index, self.ranges[index])[0]
        return form

    def is_nonnegative(self, form: Linear) -> bool:
        """Whether a form over the indices of `ranges` is plainly at least 0 everywhere."""
        try:
            if is_nonnegative(form):
                return True
            if _is_involved(form):
                return False
            if is_nonnegative(self._from_lowest(form)):
                return True
            if self.depth == 0 or not 0 < len(form.names & self.ranges.keys()) <= MAX_ASKED:
                return False
            inner = replace(self, depth=self.depth - 1)
            return replace(inner, ranges={}).is_nonnegative(inner.least(form))
        except (Fault, _DependsOnSigns):  # nothing plain, and a question of ours alone
            return False

    def _from_lowest(self, form: Linear) -> Linear:
        """The form over how far indices and sizes are from their lowest values, all of them at least 0.

        `N * N - 2 * N + 1` is `N * N` where `N` is at least 1.
        """
        lowest = {name: span[0] for name, span in reversed(list(self.ranges.items()))}
        for name, start in (lowest | {name: number(start) for name, start in self.known.items()}).items():
            if len(form.terms) > MAX_TERMS:
                break
            form = at(form, name, variable(name) + start) or form
        return form

    def interval(self, form: Linear, index: str, span: Interval) -> Interval:
        """The form's values while only `index` runs over the half-open `span`, within `ranges` around it."""
        powers, others = _powers(form, index)
        quotients = [each for atom, c in others if (each := _Quotient.of(atom, c, index)) is not None]
        if quotients and len(quotients) + len(powers) > 1 and (ends := self._ends(powers, quotients, index, span)):
            low, high = ends
            divided = {each.atom for each in quotients}
            others = [(atom, c) for atom, c in others if atom not in divided]
        else:
            low, high = self._of_powers(powers, index, span) if powers else (number(0), number(0))
        rest_low, rest_high = self._term_by_term(others, index, span)
        return low + rest_low + form.constant, high + rest_high + form.constant

    def _ends(
        self, powers: Mapping[int, Linear], quotients: Sequence[_Quotient], index: str, span: Interval
    ) -> Interval | None:
        """The values of a sum at the ends of the span, if it only grows, or only shrinks, with the index."""
        if max(powers, default=0) > MAX_POWER or any(_is_involved(times) for times in powers.values()):
            return None
        i = variable(index, size=False)
        within = replace(self, ranges={**self.ranges, index: (span[0], span[1] - 1)})
        ends = (span[0], _last(span))
        try:
            step = _value(powers, i + 1) - _value(powers, i)
            first, last = (sum((each.at(end) for each in quotients), _value(powers, end)) for end in ends)
            if within.is_nonnegative(step + sum(min(each.steps) for each in quotients)):
                return first, last
            if within.is_nonnegative(-step - sum(max(each.steps) for each in quotients)):
                return last, first
        except Fault:  # too long when multiplied out
            pass
        return None

    def _of_powers(self, powers: Mapping[int, Linear], index: str, span: Interval) -> Interval:
        """The values of `sum(powers[k] * index ** k)`: those at the ends of the span, where these tell."""
        if ends := self._ends(powers, (), index, span):
            return ends
        low: Linear | None = None
        high: Linear | None = None
        if max(powers) == 2:  # a parabola, whichever way it is bent
            with contextlib.suppress(Fault):  # too long when multiplied out
                ends = _value(powers, span[0]), _value(powers, _last(span))
                low = smallest(ends) if self.is_nonnegative(-powers[2]) else None
                high = largest(ends) if self.is_nonnegative(powers[2]) else None
        wide = self._term_by_term(_value(powers, variable(index, size=False)).terms, index, span)
        return low or wide[0], high or wide[1]

    def _term_by_term(self, terms: Iterable[tuple[Atom, int]], index: str, span: Interval) -> Interval:
        low = high = number(0)
        for atom, c in terms:
            if index not in atom.names:
                lower = upper = Linear(((atom, 1),), 0)
            else:
                lower, upper = self._of_atom(atom, index, span)
            low, high = low + (lower if c > 0 else upper) * c, high + (upper if c > 0 else lower) * c
        return low, high

    def _of_atom(self, atom: Atom, index: str, span: Interval) -> Interval:
        if atom.op == "name":
            return span[0], _last(span)
        if atom.op == "opaque":
            return _opaque_interval(atom)
        spans = [self.interval(arg, index, span) for arg in atom.args]
        match atom.op:
            case "min":
                return smallest(low for low, _ in spans), smallest(high for _, high in spans)
            case "max":
                return largest(low for low, _ in spans), largest(high for _, high in spans)
            case "*":
                return functools.reduce(self._product, spans)
            case "/":
                return self._quotient(*spans)
            case _:
                return self._remainder(*spans)

    def _product(self, a: Interval, b: Interval) -> Interval:
        if self.is_nonnegative(a[0]) and self.is_nonnegative(b[0]):
            return product(a[0], b[0]), product(a[1], b[1])
        if self.depth < DEPTH and any(end.terms for end in (*a, *b)):
            raise _DependsOnSigns  # there are many corners, and each has corners
        corners = [product(x, y) for x in a for y in b]
        return smallest(corners), largest(corners)

    def _quotient(self, a: Interval, b: Interval) -> Interval:
        if b[0] == b[1]:  # one divisor: floor(x / d) is monotonic in x, upwards or downwards (0 for d = 0)
            if self.is_nonnegative(b[0]):
                return quotient(a[0], b[0]), quotient(a[1], b[0])
            ends = [quotient(x, b[0]) for x in a]
            return smallest(ends), largest(ends)
        bound = largest([*a, -a[0], -a[1], number(0)])  # |floor(x / d)| <= |x| whatever d is
        return -bound, bound

    def _remainder(self, a: Interval, b: Interval) -> Interval:
        divisor = b[0].value if b[0] == b[1] else None
        if divisor is not None and divisor > 0:
            if self.is_nonnegative(a[0]):
                return number(0), smallest((a[1], number(divisor - 1)))
            return number(0), number(divisor - 1)
        return smallest((b[0] + 1, number(0))), largest((b[1] - 1, number(0)))  # the divisor's sign


def _powers(form: Linear, index: str) -> tuple[dict[int, Linear], list[tuple[Atom, int]]]:
    """What the powers of an index are multiplied by, and the terms that are no such products."""
    powers: dict[int, Linear] = {}
    others: list[tuple[Atom, int]] = []
    for atom, c in form.terms:
        factors = atom.args if atom.op == "*" else (Linear(((atom, 1),), 0),)
        rest = [factor for factor in factors if not _is_name(factor, index)]
        power = len(factors) - len(rest)
        if power == 0 or any(index in factor.names for factor in rest):
            others.append((atom, c))
        else:
            powers[power] = powers.get(power, number(0)) + functools.reduce(product, rest, number(c))
    return powers, others


def _is_involved(form: Linear) -> bool:
    """Whether questions about a form would take long, and hardly find anything."""
    return len(form.terms) > MAX_TERMS or any(atom.depth > MAX_NESTED for atom, _ in form.terms)


def _is_name(form: Linear, name: str) -> bool:
    return form.coefficient(name) == 1 and len(form.terms) == 1 and form.constant == 0


def _value(powers: Mapping[int, Linear], at: Linear) -> Linear:
    """`sum(powers[k] * at ** k)`."""
    total = number(0)
    for power, times in powers.items():
        total = total + functools.reduce(product, [at] * power, times)
    return total


def _last(span: Interval) -> Linear:
    """The last value of a half-open range; `min(a - 1, b - 1)` of `0:min(a, b)`, so that products of it stay short."""
    end = span[1]
    if len(end.terms) == 1 and end.terms[0][0].op in ("min", "max") and end.terms[0][1] == 1:
        extreme = end.terms[0][0]
        parts = [arg + (end.constant - 1) for arg in extreme.args]
        return smallest(parts) if extreme.op == "min" else largest(parts)
    return end - 1


def _opaque_interval(atom: Atom) -> Interval:
    """What the type alone says: an opaque expression of an index is an integer of its type."""
    dtype = atom.expr.dtype if atom.expr is not None else None
    if isinstance(atom.expr, Cast) and atom.expr.operand.dtype is not ScalarType.BOOL:
        dtype = atom.expr.operand.dtype  # an opaque expression of another type than int32 is cast to that
    bits, signed = (dtype.bits, dtype.is_signed) if dtype is not None and dtype.is_integer else (64, True)
    low = -(2 ** (bits - 1)) if signed else 0
    return number(low), number(low + 2**bits - 1)
