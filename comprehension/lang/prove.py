"""Proofs that a form is not negative where a guard holds, in plain Python.

In: a form, the ranges of the indices in it, the guards around an access, facts about sizes.
Out: True where it is proved; False says nothing.
Method: the negation together with domain, guards and facts is infeasible, by Fourier-Motzkin elimination over the
rationals with integer tightening (Schrijver 1986, section 12.2); quotients and remainders by constants become
unknowns of their own, as do minima and maxima, which are one of their arguments, case by case; what is not affine is
left out, which only makes a proof harder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from comprehension.lang.bounds import Ranges, least
from comprehension.lang.expressions import Fault
from comprehension.lang.forms import Environment, from_expr
from comprehension.lang.linear import Atom, Linear, is_nonnegative, largest, number, quotient, smallest
from comprehension.lang.solve import Guard
from comprehension.lang.tree import OPPOSITE, Binary, Cast, Expr, Name, Select, Unary, children, is_integral
from comprehension.lang.types import ScalarType

MAX_SYSTEM = 400  # inequalities; beyond it a proof is given up
MAX_CASES = 64  # disjuncts of a guard
MAX_CHOICES = 16  # ways to choose which argument each minimum and maximum is
MAX_NARROWED = 8  # of them for which ranges are narrowed one by one

Row = tuple[tuple[tuple[str, int], ...], int]  # sum(coefficient * unknown) + constant >= 0
Case = list[Linear]  # forms that are all >= 0


def holds(form: Linear, ranges: Ranges, guards: Sequence[Guard], where: Environment, facts: Iterable[Linear]) -> bool:
    """Whether `form >= 0` at every point of `ranges` at which all `guards` hold."""
    return never([-form - 1], ranges, guards, where, facts)


def never(
    forms: Sequence[Linear], ranges: Ranges, guards: Sequence[Guard], where: Environment, facts: Iterable[Linear]
) -> bool:
    """Whether at no point of `ranges` at which all `guards` hold, all `forms` are at least 0."""
    domain = [*facts]
    if any(_is_negative(form, ranges, domain) for form in forms):
        return True
    for name, (lower, upper) in ranges.items():
        index = where.names[name]
        assert index is not None, "indices are forms"
        domain += [index - lower, upper - 1 - index]
    cases: list[Case] = [[]]
    known: dict[tuple[str, bool], list[Case]] = {}
    for condition, value in guards:
        cases = _both(cases, cases_of(condition, value, where, known))
    return all(infeasible([*domain, *case, *forms]) for case in cases)


def _is_negative(form: Linear, ranges: Ranges, facts: Sequence[Linear]) -> bool:
    """Whether the bounds of a form alone tell that it is negative everywhere."""
    try:
        return is_nonnegative(least(-form - 1, ranges), facts)
    except Fault:  # it grows beyond all limits
        return False


def ranges_under(guards: Sequence[Guard], ranges: Ranges, where: Environment) -> list[tuple[Ranges, Case]]:
    """Ranges of which one holds every point of `ranges` at which all `guards` hold, with what is not negative there.

    They are narrowed by what bounds an index; where there are more than `MAX_NARROWED` they are the ranges themselves.
    """
    cases: list[Case] = [[]]
    for condition, value in guards:
        cases = _both(cases, cases_of(condition, value, where, {}))
    if len(cases) > MAX_NARROWED:
        return [(ranges, [])]
    return [(_narrowed(case, ranges, where), case) for case in cases]


def _narrowed(case: Case, ranges: Ranges, where: Environment) -> Ranges:
    """The ranges with the bounds that forms of one index, of coefficient 1 or -1, and of sizes give."""
    found = dict(ranges)
    for form in case:
        inside = [name for name in ranges if name in form.names]
        if len(inside) != 1:
            continue
        (name,) = inside
        index, (lower, upper) = where.names[name], found[name]
        assert index is not None, "indices are forms"
        for rest, is_lower in ((index - form, True), (form + index, False)):
            if name not in rest.names:  # index >= rest, or index <= rest
                found[name] = (largest((lower, rest)), upper) if is_lower else (lower, smallest((upper, rest + 1)))
    return found


def is_affine(guard: Guard, where: Environment) -> bool:
    """Whether `cases_of` loses nothing of a guard: it compares integers that read no tensor."""
    stack: list[Expr] = [guard[0]]
    seen: set[str] = set()
    while stack:
        match stack.pop():
            case Name(id=name) if name in where.conditions:
                if name not in seen:
                    seen.add(name)
                    stack.append(where.conditions[name])
            case Select(condition=condition, then=then, otherwise=otherwise):
                stack += (condition, then, otherwise)
            case Unary(op="!", operand=operand):
                stack.append(operand)
            case Binary(op="&&" | "||", left=left, right=right):
                stack += (left, right)
            case Binary(left=left, right=right) if is_integral(left):
                if from_expr(left, where) is None or from_expr(right, where) is None:
                    return False
            case _:
                return False
    return True


def compared(guards: Sequence[Guard], where: Environment) -> Iterator[tuple[Binary, Linear, ScalarType]]:
    """Comparisons in guards with forms that must lie within types for them to mean what `cases_of` makes of them.

    As values they wrap; sums and products only at their end, where they are compared, divided or cast.
    """
    conditions = [condition for condition, _ in guards]
    seen: set[str] = set()
    while conditions:
        match conditions.pop():
            case Name(id=name) if name in where.conditions and name not in seen:
                seen.add(name)
                conditions.append(where.conditions[name])
            case Select(condition=condition, then=then, otherwise=otherwise):
                conditions += (condition, then, otherwise)
            case Unary(op="!", operand=operand):
                conditions.append(operand)
            case Binary(op="&&" | "||", left=left, right=right):
                conditions += (left, right)
            case Binary(left=left, right=right) as comparison if is_integral(left):
                if from_expr(left, where) is not None and from_expr(right, where) is not None:
                    yield from ((comparison, form, dtype) for form, dtype in _computed(comparison, where))


def _computed(comparison: Binary, where: Environment) -> Iterator[tuple[Linear, ScalarType]]:
    """The numbers that are computed in types on the way to what is compared, in choices there too."""
    waiting: list[tuple[Expr, bool]] = [(comparison, False)]  # and whether it must fit its type
    seen: set[str] = set()
    while waiting:
        node, must_fit = waiting.pop()
        if must_fit and node.dtype is not None and (form := from_expr(node, where)) is not None:
            yield form, node.dtype
        match node:
            case Name(id=name) if name in where.values or name in where.conditions:
                if name not in seen:
                    seen.add(name)
                    let = where.values.get(name) or where.conditions[name]
                    waiting.append((let, is_integral(let)))
            case Cast(to=to, operand=operand) if is_integral(operand):
                waiting.append((operand, True))
                if to.bits >= 32 and (form := from_expr(operand, where)) is not None:  # a narrower one is an unknown
                    yield form, to
            case Binary(op="+" | "-" | "*" | "&&" | "||") | Unary() | Select():
                waiting += ((part, False) for part in children(node))
            case _:  # quotients, remainders, extremes, comparisons
                waiting += ((part, is_integral(part)) for part in children(node))


def cases_of(condition: Expr, value: bool, where: Environment, known: dict[tuple[str, bool], list[Case]]) -> list[Case]:
    """`condition == value` as a union of cases; what is not known of integers holds everywhere.

    `known` keeps the cases of bool lets: each is taken apart once, however often others use it.
    """

    def inner(part: Expr, wanted: bool) -> list[Case]:
        return cases_of(part, wanted, where, known)

    match condition:
        case Name(id=name) if name in where.conditions:
            if (name, value) not in known:
                known[name, value] = inner(where.conditions[name], value)
            return known[name, value]
        case Unary(op="!", operand=operand):
            return inner(operand, not value)
        case Binary(op="&&" | "||" as op, left=left, right=right):
            first, second = inner(left, value), inner(right, value)
            return _both(first, second) if (op == "&&") == value else _either(first, second)
        case Select(condition=choice, then=then, otherwise=otherwise):
            chosen = _both(inner(choice, True), inner(then, value))
            return _either(chosen, _both(inner(choice, False), inner(otherwise, value)))
        case Binary(op="<" | "<=" | ">" | ">=" | "==" | "!=" as op, left=left, right=right):
            if not is_integral(left) or id(condition) in where.unknown:
                return [[]]
            a, b = from_expr(left, where), from_expr(right, where)
            return [[]] if a is None or b is None else _comparison(op if value else OPPOSITE[op], a, b)
        case _:
            return [[]]


def _comparison(op: str, a: Linear, b: Linear) -> list[Case]:
    match op:
        case "<":
            return [[b - a - 1]]
        case "<=":
            return [[b - a]]
        case ">":
            return [[a - b - 1]]
        case ">=":
            return [[a - b]]
        case "==":
            return [[a - b, b - a]]
        case _:
            return [[a - b - 1], [b - a - 1]]


def _both(first: list[Case], second: list[Case]) -> list[Case]:
    if len(first) * len(second) > MAX_CASES:
        return first
    return [a + [form for form in b if form not in a] for a in first for b in second]


def _either(first: list[Case], second: list[Case]) -> list[Case]:
    union = first + [case for case in second if case not in first]
    return union if len(union) <= MAX_CASES else [[]]


# --- Fourier-Motzkin ---------------------------------------------------------------------------------------------


def infeasible(forms: Sequence[Linear]) -> bool:
    """Whether it is proved that no integers make all forms non-negative at once.

    >>> from comprehension.lang.linear import largest, variable
    >>> i, n = variable("i", size=False), variable("N")
    >>> infeasible([n - 1 - i, largest([i - 2, number(0)]) - n, n - 1])  # i < N and max(i - 2, 0) >= N
    True
    """
    system, extremes = _system(forms)
    if _eliminate(system):
        return True
    choices: list[tuple[Linear, ...]] = [()]
    for extreme in extremes:
        if len(choices) * len(extreme.args) > MAX_CHOICES:
            break
        choices = [(*chosen, attained) for chosen in choices for attained in _attained(extreme)]
    return len(choices) > 1 and all(_eliminate(_system([*forms, *chosen])[0]) for chosen in choices)


def _system(forms: Sequence[Linear]) -> tuple[dict[Row, None], list[Atom]]:
    """The forms and what holds of the atoms in them as rows; the minima and maxima among the atoms."""
    system: dict[Row, None] = {}
    seen: dict[Atom, None] = {}
    waiting = list(forms)
    while waiting:
        form = waiting.pop()
        for atom, _ in form.terms:
            if atom not in seen:
                seen[atom] = None
                waiting += _meaning(atom)
        system[_row({atom.key: c for atom, c in form.terms}, form.constant)] = None
    return system, [atom for atom in seen if atom.op in ("min", "max")]


def _attained(extreme: Atom) -> list[Linear]:
    """Forms of which one is not negative, beside what `_meaning` says: the extreme is one of its arguments."""
    this = Linear(((extreme, 1),), 0)
    return [this - arg if extreme.op == "min" else arg - this for arg in extreme.args]


def _meaning(atom: Atom) -> list[Linear]:
    """What holds of an atom, as forms that are not negative."""
    this = Linear(((atom, 1),), 0)
    match atom.op:
        case "name":
            return [this] if atom.nonnegative else []
        case "min":
            return [arg - this for arg in atom.args]
        case "max":
            return [this - arg for arg in atom.args]
        case "/" if (divisor := atom.args[1].value or 0) > 0:
            rest = atom.args[0] - this * divisor
            return [rest, number(divisor - 1) - rest]
        case "%" if (divisor := atom.args[1].value or 0) > 0:
            rest = atom.args[0] - quotient(*atom.args) * divisor
            return [this, number(divisor - 1) - this, rest - this, this - rest]
        case _:
            return []


def _row(terms: Mapping[str, int], constant: int) -> Row:
    """The row divided by the common factor of its coefficients, its constant rounded down: unknowns are integers."""
    kept = {name: c for name, c in terms.items() if c}
    factor = math.gcd(*kept.values()) if kept else 1
    return tuple(sorted((name, c // factor) for name, c in kept.items())), constant // factor


def _eliminate(system: dict[Row, None]) -> bool:
    """Whether elimination of all unknowns ends in a contradiction."""
    while True:
        unknowns: dict[str, list[int]] = {}
        for terms, constant in system:
            if not terms and constant < 0:
                return True
            for name, c in terms:
                unknowns.setdefault(name, [0, 0])[c > 0] += 1
        if not unknowns or len(system) > MAX_SYSTEM:
            return False
        name = min(sorted(unknowns), key=lambda n: unknowns[n][0] * unknowns[n][1])
        system = _without(system, name)


def _without(system: dict[Row, None], name: str) -> dict[Row, None]:
    kept: dict[Row, None] = {}
    below: list[tuple[dict[str, int], int]] = []
    above: list[tuple[dict[str, int], int]] = []
    for row in system:
        terms = dict(row[0])
        c = terms.get(name, 0)
        if c == 0:
            kept[row] = None
        else:
            (below if c > 0 else above).append((terms, row[1]))
    for lower, low in below:
        for upper, high in above:
            a, b = lower[name], -upper[name]
            names = lower.keys() | upper.keys()
            combined = {n: b * lower.get(n, 0) + a * upper.get(n, 0) for n in names if n != name}
            kept[_row(combined, b * low + a * high)] = None
    return kept
