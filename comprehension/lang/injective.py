"""Whether a statement writes every element at most once, and what of its scalars decides it.

In: the left subscripts and the ranges of the left indices.  Out: `None` where it is not proved; otherwise forms that
must not be negative (of scalar parameters and sizes: what only a call can know), usually none.
Method: subscripts that are digits of a mixed radix; otherwise two points that differ in one index and have equal
subscripts must be infeasible (`prove`), if need be for each residue of the indices that stand under `/` and `%`.

    O(M * i + j) = ... where j in 0:M      injective: j < M, so M * i + j has the digits i and j
    O(i / N, i % N) = ...                  injective: i is N times the one and the other
    O(i / 2 * 2 + 1 - i % 2) = ...         injective: the even and the odd i change places
    O(s * i) = ...                         injective where s >= 1
    O(i / 2) = ...                         not
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from comprehension.lang.bounds import Ranges, greatest
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear, is_nonnegative, number, product, to_expr, variable
from comprehension.lang.prove import infeasible
from comprehension.lang.tree import Expr, Name

MAX_RESIDUES = 16  # ways to choose the residues of all indices

_TWIN = "'"  # no name of a text ends so


def conditions_to_be_injective(
    subscripts: Sequence[Expr], left: Sequence[str], ranges: Ranges, where: Environment, facts: Sequence[Linear]
) -> list[Linear] | None:
    """What must not be negative for different values of `left` to give different `subscripts`, or None.

    Where a range is empty nothing is written: all extents may be taken to be positive.
    """
    facts = [*facts, *(greatest(ranges[name][1] - ranges[name][0] - 1, ranges) for name in left)]
    proof = _Proof(subscripts, left, ranges, where, facts)
    if proof.by_digits():
        return proof.conditions
    return [] if proof.by_twins() or proof.by_residues() else None


@dataclass(slots=True)
class _Proof:
    subscripts: Sequence[Expr]
    left: Sequence[str]
    ranges: Ranges
    where: Environment
    facts: Sequence[Linear]
    conditions: list[Linear] = field(default_factory=list)

    # --- digits ----------------------------------------------------------------------------------------------------

    def by_digits(self) -> bool:
        forms = [form for s in self.subscripts if (form := from_expr(s, self.where)) is not None]
        digits = {name for form in self.joined(forms) for name in self.digits(form)}
        return len(digits) == len(self.left)

    def joined(self, forms: Sequence[Linear]) -> Iterator[Linear]:
        """The forms, with `x / d` and `x % d` replaced by `x`."""
        waiting = list(forms)
        while waiting:
            form = waiting.pop()
            partner = next((other for other in waiting if self.are_halves(form, other)), None)
            if partner is None:
                yield form
                continue
            waiting.remove(partner)
            waiting.append(form.terms[0][0].args[0])

    def are_halves(self, first: Linear, second: Linear) -> bool:
        """Whether two forms are quotient and remainder of the same, by a divisor that is (required to be) not 0."""
        atoms = [form.terms[0][0] for form in (first, second) if len(form.terms) == 1]
        if {atom.op for atom in atoms} != {"/", "%"} or atoms[0].args != atoms[1].args:
            return False
        return self.is_positive(atoms[0].args[1], of_sizes=True)

    def digits(self, form: Linear) -> list[str]:
        """The left indices that the value of `form` determines, as digits: each weight exceeds all that is below it.

        Empty unless they are all the left indices in it.
        """
        inside = [name for name in self.left if name in form.names]
        weights = {name: weight for name in inside if (weight := _weight(form, name)) is not None}
        if len(weights) < len(inside):
            return []
        found: list[str] = []
        below = number(0)  # the largest value of the digits found so far
        lightest = sorted(weights, key=lambda n: (len(weights[n].terms), weights[n].constant, str(weights[n])))
        while len(found) < len(weights):
            rest = [name for name in lightest if name not in found]
            heavier = next((n for n in rest if is_nonnegative(weights[n] - below - 1, self.facts)), None)
            if heavier is None and len(rest) == 1 and self.is_positive(weights[rest[0]] - below):
                heavier = rest[0]
            if heavier is None:
                return []
            found.append(heavier)
            extent = self.ranges[heavier][1] - self.ranges[heavier][0]
            below = below + product(weights[heavier], greatest(extent, self.ranges) - 1)
        return found

    def is_positive(self, form: Linear, of_sizes: bool = False) -> bool:
        """Whether a form is at least 1: known, or required of the call if the form depends on a scalar parameter.

        What depends on sizes alone is not left to the call unless `of_sizes`: that would accept `O(i + j)`, for the
        sake of extents of 1.
        """
        if is_nonnegative(form - 1, self.facts):
            return True
        if form.names and form.names.isdisjoint(self.ranges) and (of_sizes or not _is_of_sizes(form)):
            self.conditions.append(form - 1)
            return True
        return False

    # --- twins -----------------------------------------------------------------------------------------------------

    def by_twins(self) -> bool:
        twins = self.renamed({name: variable(name + _TWIN, size=False) for name in self.left})
        equal = [*self.equal(self.where, twins), *self.domain(self.where), *self.domain(twins)]
        return all(
            infeasible([*equal, self.index(name, twins) - self.index(name, self.where) - 1]) for name in self.left
        )

    def by_residues(self) -> bool:
        """The same for each residue of the indices under `/` and `%`, where these are as good as linear."""
        period = math.lcm(*self.divisors())
        if period == 1 or period ** len(self.left) > MAX_RESIDUES:
            return False
        choices = list(itertools.product(range(period), repeat=len(self.left)))
        return all(self.are_apart(period, here, there) for here, there in itertools.product(choices, repeat=2))

    def are_apart(self, period: int, here: Sequence[int], there: Sequence[int]) -> bool:
        """Whether no two different points with these residues have equal subscripts."""
        first, second = self.with_residues(period, here, ""), self.with_residues(period, there, _TWIN)
        equal = [*self.equal(first, second), *self.domain(first), *self.domain(second)]
        if tuple(here) != tuple(there):
            return infeasible(equal)
        return all(infeasible([*equal, self.index(name, second) - self.index(name, first) - 1]) for name in self.left)

    def with_residues(self, period: int, residues: Sequence[int], suffix: str) -> Environment:
        pairs = zip(self.left, residues, strict=True)
        return self.renamed({name: variable(f"{name}/{suffix}", size=False) * period + rest for name, rest in pairs})

    def divisors(self) -> Iterator[int]:
        """The constant divisors in the subscripts."""
        waiting = [form for s in self.subscripts if (form := from_expr(s, self.where)) is not None]
        while waiting:
            for atom, _ in waiting.pop().terms:
                waiting.extend(atom.args)
                if atom.op in ("/", "%") and (divisor := atom.args[1].value or 0) > 0:
                    yield divisor

    def renamed(self, indices: dict[str, Linear]) -> Environment:
        return Environment({**self.where.names, **indices}, self.where.shapes)

    def equal(self, here: Environment, there: Environment) -> Iterator[Linear]:
        """The subscripts of two points are equal."""
        for subscript in self.subscripts:
            a, b = from_expr(subscript, here), from_expr(subscript, there)
            if a is not None and b is not None:
                yield from (a - b, b - a)

    def domain(self, where: Environment) -> list[Linear]:
        """The facts, and `lower <= index < upper` for each left index, with the names that `where` gives."""
        forms = list(self.facts)
        for name in self.left:
            lower, upper = (from_expr(to_expr(bound), where) for bound in self.ranges[name])
            assert lower is not None and upper is not None, "ranges are forms"
            forms += [self.index(name, where) - lower, upper - 1 - self.index(name, where)]
        return forms

    @staticmethod
    def index(name: str, where: Environment) -> Linear:
        form = from_expr(Name(name), where)
        assert form is not None, "indices are forms"
        return form


def _is_of_sizes(form: Linear) -> bool:
    """Whether every name in a form is a size, which is never negative (a scalar parameter may be)."""
    waiting = [atom for atom, _ in form.terms]
    while waiting:
        atom = waiting.pop()
        if atom.op in ("name", "opaque") and not atom.nonnegative:
            return False
        waiting += [inner for arg in atom.args for inner, _ in arg.terms]
    return True


def _weight(form: Linear, name: str) -> Linear | None:
    """The factor of an index in a form in which it stands once: by itself, or times something free of indices."""
    terms = [(atom, c) for atom, c in form.terms if name in atom.names]
    if len(terms) != 1:
        return None
    atom, c = terms[0]
    if atom.op == "name":
        return number(abs(c))
    if atom.op == "*":
        factors = [arg for arg in atom.args if arg != variable(name, size=False)]
        if len(factors) == len(atom.args) - 1 and all(name not in factor.names for factor in factors):
            return functools.reduce(product, factors) * abs(c)
    return None
