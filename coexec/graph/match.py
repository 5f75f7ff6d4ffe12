"""Matchers: one small function per node that compares the inputs of an operation with what the walk expects.

In: which inputs must be the output of one node, a tensor already fed, or a constant.  Out: a `Matcher`.
Invariant: a matcher changes nothing; it raises AttributeError where a number stands in the place of a tensor.

Functions of the same form are made by one factory, whose text is put together here from fixed parts and compiled
once: a loop over expectations costs twice as much (0.4 µs for two inputs instead of 0.2), and this is the price
of every operation of every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

from coexec.graph.keys import same_scalar

Kind = Literal["source", "traced", "fed", "given", "constant"]
Matcher = Callable[[Any, Any, tuple[Any, ...]], bool]  # (made, bound, inputs)

_TESTS: dict[Kind, str] = {
    "source": "inputs[{position}].pending is made[e{i}]",
    "traced": "inputs[{position}].pending is made.get(e{i}, made)",  # `made` itself is nobody's promise
    "fed": "inputs[{position}] is bound[e{i}]",
    "given": "bound.get(e{i}) is inputs[{position}]",
    "constant": "(inputs[{position}] is e{i} or same_scalar(inputs[{position}], e{i}))",
}


def make_matcher(expected: Sequence[tuple[Kind, int, Any]]) -> Matcher:
    """A matcher for inputs of these kinds: (kind, position, number of the output | slot | value).

    >>> make_matcher([("constant", 1, 2.0)])([], [], (None, 2.0))
    True
    """
    factory = _factory(tuple([(kind, position) for kind, position, _ in expected]))
    matcher: Matcher = factory(*[value for _, _, value in expected])
    return matcher


@cache
def _factory(form: tuple[tuple[Kind, int], ...]) -> Callable[..., Matcher]:
    names = ", ".join(f"e{i}" for i in range(len(form)))
    tests = [_TESTS[kind].format(position=int(position), i=i) for i, (kind, position) in enumerate(form)]
    text = f"def factory({names}):\n    return lambda made, bound, inputs: {' and '.join(tests) or 'True'}\n"
    names_inside: dict[str, Any] = {"same_scalar": same_scalar}
    exec(compile(text, "<matcher>", "exec"), names_inside)
    factory: Callable[..., Matcher] = names_inside["factory"]
    return factory
