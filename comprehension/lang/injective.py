"""Whether a statement writes every element at most once.

In: the left subscripts and the ranges of the left indices.  Out: True where it is proved.
Method: subscripts that are digits of a mixed radix; otherwise two points that differ in one index and have equal
subscripts must be infeasible (`prove`).

    O(M * i + j) = ... where j in 0:M      injective: j < M, so M * i + j has the digits i and j
    O(i / 2, i % 2) = ...                  injective: i is twice the one and the other
    O(i / 2) = ...                         not
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from comprehension.lang.bounds import Ranges, greatest
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Linear, is_nonnegative, number, product, to_expr, variable
from comprehension.lang.prove import infeasible
from comprehension.lang.tree import Expr, Name

_TWIN = "'"  # no name of a text ends so


def is_injective(
    subscripts: Sequence[Expr], left: Sequence[str], ranges: Ranges, where: Environment, facts: Sequence[Linear]
) -> bool:
    """Whether different values of the `left` indices give different `subscripts`."""
    forms = [from_expr(s, where) for s in subscripts]
    # Where a range is empty nothing is written: all extents may be taken to be positive.
    facts = [*facts, *(greatest(ranges[name][1] - ranges[name][0] - 1, ranges) for name in left)]
    digits = {name for form in forms if form is not None for name in _digits(form, left, ranges, facts)}
    if len(digits) == len(left):
        return True
    twins = Environment({**where.names, **{n: variable(n + _TWIN, size=False) for n in left}}, where.shapes)
    pairs = [(form, from_expr(s, twins)) for form, s in zip(forms, subscripts, strict=True) if form is not None]
    equal = [side for a, b in pairs if b is not None for side in (a - b, b - a)]
    domain = [*facts, *_domain(left, ranges, where), *_domain(left, ranges, twins)]
    for name in left:
        here, there = where.names[name], twins.names[name]
        assert here is not None and there is not None, "indices are forms"
        if not infeasible([*domain, *equal, there - here - 1]):
            return False
    return True


def _digits(form: Linear, left: Sequence[str], ranges: Ranges, facts: Sequence[Linear]) -> list[str]:
    """The left indices that the value of `form` determines, as digits: each weight exceeds all that is below it.

    Empty unless they are all the left indices in it.
    """
    weights = {name: weight for name in left if name in form.names and (weight := _weight(form, name)) is not None}
    if len(weights) < sum(name in form.names for name in left):
        return []
    found: list[str] = []
    below = number(0)  # the largest value of the digits found so far
    lightest_first = sorted(weights, key=lambda n: (len(weights[n].terms), weights[n].constant, str(weights[n])))
    while len(found) < len(weights):
        heavier = [n for n in lightest_first if n not in found and is_nonnegative(weights[n] - below - 1, facts)]
        if not heavier:
            return []
        found.append(heavier[0])
        extent = ranges[heavier[0]][1] - ranges[heavier[0]][0]
        below = below + product(weights[heavier[0]], greatest(extent, ranges) - 1)
    return found


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


def _domain(left: Sequence[str], ranges: Ranges, where: Environment) -> list[Linear]:
    """`lower <= index < upper` for each left index, with the names that `where` gives."""
    forms: list[Linear] = []
    for name in left:
        index, *bounds = (from_expr(e, where) for e in (Name(name), *(to_expr(bound) for bound in ranges[name])))
        lower, upper = bounds
        assert index is not None and lower is not None and upper is not None, "ranges are forms"
        forms += [index - lower, upper - 1 - index]
    return forms
