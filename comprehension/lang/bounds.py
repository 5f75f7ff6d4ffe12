"""Least and greatest values of forms over the ranges of indices.

In: a `Linear` and half-open ranges of indices, whose bounds may use indices further out.
Out: a `Linear` without those indices that is never above (below) the form on the domain.
Invariant: exact for linear forms over boxes and triangles; safe, perhaps wide, for products, quotients and
remainders of indices.  An empty range makes every answer right.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from comprehension.lang.linear import (
    Atom,
    Linear,
    is_nonnegative,
    largest,
    number,
    product,
    quotient,
    smallest,
)
from comprehension.lang.tree import Cast

Ranges = Mapping[str, tuple[Linear, Linear]]  # half-open, in the order of the loops
Interval = tuple[Linear, Linear]  # both ends belong to it


def least(form: Linear, ranges: Ranges) -> Linear:
    """The least value of `form` over `ranges`, the innermost index eliminated first.

    >>> from comprehension.lang.linear import variable
    >>> i, j, n = variable("i", size=False), variable("j", size=False), variable("N")
    >>> str(least(i - j, {"i": (number(0), n), "j": (number(0), i)}))
    '1'
    """
    for index in reversed(list(ranges)):
        if index in form.names:
            form = _interval(form, index, ranges[index])[0]
    return form


def greatest(form: Linear, ranges: Ranges) -> Linear:
    """The greatest value of `form` over `ranges`."""
    return -least(-form, ranges)


def _interval(form: Linear, index: str, span: Interval) -> Interval:
    """The form's values while only `index` runs over the half-open `span`."""
    low = high = number(form.constant)
    for atom, c in form.terms:
        if index not in atom.names:
            lower = upper = Linear(((atom, 1),), 0)
        else:
            lower, upper = _atom_interval(atom, index, span)
        low, high = low + (lower if c > 0 else upper) * c, high + (upper if c > 0 else lower) * c
    return low, high


def _atom_interval(atom: Atom, index: str, span: Interval) -> Interval:
    if atom.op == "name":
        return span[0], span[1] - 1
    if atom.op == "opaque":
        return _opaque_interval(atom)
    spans = [_interval(arg, index, span) for arg in atom.args]
    match atom.op:
        case "min":
            return smallest(low for low, _ in spans), smallest(high for _, high in spans)
        case "max":
            return largest(low for low, _ in spans), largest(high for _, high in spans)
        case "*":
            return functools.reduce(_product_interval, spans)
        case "/":
            return _quotient_interval(*spans)
        case _:
            return _remainder_interval(*spans)


def _opaque_interval(atom: Atom) -> Interval:
    """What the type alone says: an opaque expression of an index is an integer of its type."""
    dtype = atom.expr.dtype if atom.expr is not None else None
    if isinstance(atom.expr, Cast):
        dtype = atom.expr.to
    bits, signed = (dtype.bits, dtype.is_signed) if dtype is not None and dtype.is_integer else (64, True)
    low = -(2 ** (bits - 1)) if signed else 0
    return number(low), number(low + 2**bits - 1)


def _product_interval(a: Interval, b: Interval) -> Interval:
    if is_nonnegative(a[0]) and is_nonnegative(b[0]):
        return product(a[0], b[0]), product(a[1], b[1])
    corners = [product(x, y) for x in a for y in b]
    return smallest(corners), largest(corners)


def _quotient_interval(a: Interval, b: Interval) -> Interval:
    if b[0] == b[1]:  # one divisor: floor(x / d) is monotonic in x, upwards or downwards (0 for d = 0)
        if is_nonnegative(b[0]):
            return quotient(a[0], b[0]), quotient(a[1], b[0])
        ends = [quotient(x, b[0]) for x in a]
        return smallest(ends), largest(ends)
    bound = largest([*a, -a[0], -a[1], number(0)])  # |floor(x / d)| <= |x| whatever d is
    return -bound, bound


def _remainder_interval(a: Interval, b: Interval) -> Interval:
    divisor = b[0].value if b[0] == b[1] else None
    if divisor is not None and divisor > 0:
        if is_nonnegative(a[0]):
            return number(0), smallest((a[1], number(divisor - 1)))
        return number(0), number(divisor - 1)
    return smallest((b[0] + 1, number(0))), largest((b[1] - 1, number(0)))  # the divisor's sign
