"""Whether a ragged tile has a point at all, wherever the loops around it run.

    for t in 0:(N + 15) / 16: tile l in 0+16 below N - 16 t:     N - 16 t >= N - 16 ((N + 15) / 16 - 1) >= 1

In: a tile axis and the loops around it.  Out: True where it is so for all sizes, False where this page cannot tell.
Invariant: every step replaces a variable or a quotient by what makes the number of points least.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comprehension.kernel import ir
from comprehension.kernel.simplify import Linear, bounds_of, linear


def is_occupied(axis: ir.Axis, loops: Sequence[ir.Loop], sizes: Sequence[str]) -> bool:
    """Whether the axis has at least one point inside of these loops, outermost first."""
    if axis.limit is None:
        return True
    least = dict.fromkeys(sizes, (0, None))
    start = linear(axis.start)
    return all(
        any((bounds_of(low, least)[0] or 0) >= 1 for low in _lowest(linear(limit).plus(start, -1), tuple(loops)))
        for limit in _sides(axis.limit)
    )


def _lowest(form: Linear, loops: tuple[ir.Loop, ...]) -> Iterator[Linear]:
    """Lower bounds of a form without the variables of the loops."""
    if not loops:
        yield _without_quotients(form)
        return
    *outer, loop = loops
    factor = form.coefficient(ir.Var(loop.variable))
    rest = form.plus(Linear(0, ((ir.Var(loop.variable), 1),)), -factor)
    ends = [loop.lower] if factor > 0 else [ir.IntOp("-", side, ir.Int(1)) for side in _sides(loop.upper)]
    for end in ends if factor else [ir.Int(0)]:
        yield from _lowest(rest.plus(linear(end), factor), tuple(outer))


def _without_quotients(form: Linear) -> Linear:
    """A lower bound: x / n is at most x divided by n, and at least (x - n + 1) divided by n."""
    for atom, factor in form.terms:
        match atom:
            case ir.IntOp("/", whole, ir.Int(n)) if n > 0 and factor % n == 0:
                rest = form.plus(Linear(0, ((atom, 1),)), -factor)
                inside = linear(whole).plus(Linear(n - 1 if factor > 0 else 0, ()), -1)
                return _without_quotients(rest.plus(inside, factor // n))
    return form


def _sides(bound: ir.IntExpr) -> tuple[ir.IntExpr, ...]:
    """The operands of a minimum: a number below it is below each."""
    if isinstance(bound, ir.IntOp) and bound.op == "min":
        return (*_sides(bound.left), *_sides(bound.right))
    return (bound,)
