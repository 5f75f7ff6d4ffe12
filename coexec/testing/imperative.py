"""Imperative programs as data: drawn by Hypothesis, rendered as Python source.

In: Hypothesis' choices.  Out: `ImperativeProgram`s, whose `make` gives a step with fresh state.
Invariant: values are integers of magnitude at most 8 in float32 (every assignment clips), so that every legal order
of evaluation gives the same bits; every program has a branch on a value that it read, and a mutation.

A program has tensors that outlive the step (`a`, `b`: rebound or mutated), tensors of the step (`t`, `u`), a list
and an object that Python changes, and control flow that depends on the step's number, on Python state, or on values.
Some draw random numbers, some train `weights`, some have tensors whose size depends on the step's number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

import minitensor as mt
from minitensor.tensor import Tensor

_IMPORTS = """\
import minitensor as mt
from coexec.testing.imperative import State, start

"""
_HEADER = """\
def make():
    state = State()
    history = []
    a, b = start(0), start(1)
{trained}
    def step(i):
        nonlocal a, b
        t, u = start(i), start(i + 3)
{seeded}"""
_TRAINED = """\
    weights = start(2)
    weights.requires_grad = True
    optimizer = mt.optim.SGD([weights], lr=1.0)
"""
SEEDED = "        mt.random.seed(i)\n"  # a plain twin may run in turns with the step
_FOOTER = """\
        return a, b, t, u, state.scale, len(history)

    return step
"""
_LINES = st.SearchStrategy[list[str]]
_TENSORS = ("a", "b", "t", "u")


class State:
    """What a program changes besides tensors."""

    scale = 1
    count = 0


def start(offset: int) -> Tensor:
    """A (2, 3) float32 tensor of small integers."""
    return mt.asarray([[float((3 * r + c + offset) % 5 - 2) for c in range(3)] for r in range(2)])


@dataclass(frozen=True, slots=True)
class ImperativeProgram:
    """`source` defines `make()`; `str()` of a program runs by itself, with its `imports`."""

    source: str
    imports: str = _IMPORTS

    def make(self) -> Callable[[int], Any]:
        """A step with fresh state."""
        names: dict[str, Any] = {}
        exec(compile(str(self), "<imperative program>", "exec"), names)
        step: Callable[[int], Any] = names["make"]()
        return step

    def __str__(self) -> str:
        return self.imports + self.source


@st.composite
def imperative_programs(draw: st.DrawFn, most_statements: int = 6) -> ImperativeProgram:
    """Programs of up to `most_statements` statements at the top, with one branch on a value and one mutation."""
    lines = [line for _ in range(draw(st.integers(1, most_statements))) for line in draw(_statements(2))]
    required = [draw(_value_branches(1)), draw(_mutations())]
    for statement in required:
        lines += statement
    return render(lines)


def render(lines: list[str]) -> ImperativeProgram:
    """The program whose step consists of these lines (over `a`, `b`, `t`, `u`, `i`, `state`, `history`, and `weights`
    with their `optimizer`).
    """
    body = "".join(f"        {line}\n" for line in lines)
    trained, seeded = _TRAINED if "weights" in body else "", SEEDED if "mt.random" in body else ""
    return ImperativeProgram(_HEADER.format(trained=trained, seeded=seeded) + body + _FOOTER)


@cache
def _tensors() -> st.SearchStrategy[str]:
    return st.sampled_from(_TENSORS)


@cache
def _expressions() -> st.SearchStrategy[str]:
    """Tensor expressions of shape (2, 3) before clipping."""
    binary = st.builds("{} {} {}".format, _tensors(), st.sampled_from("+-*"), _tensors())
    scaled = st.builds("{} * {}".format, _tensors(), st.sampled_from(["2.0", "-1.0", "state.scale", "float(i % 3)"]))
    reduced = st.builds("{} + {}.sum(axis={}, keepdims=True)".format, _tensors(), _tensors(), st.sampled_from("01"))
    chosen = st.builds("mt.where({} > {}, {}, {})".format, _tensors(), _tensors(), _tensors(), _tensors())
    largest = st.builds("mt.maximum({}, {})".format, _tensors(), _tensors())
    remembered = st.builds("(history[-1] if history else {})".format, _tensors())
    sized = st.builds("{} + {}[:1 + i % 2].sum(axis=0, keepdims=True)".format, _tensors(), _tensors())
    drawn = st.builds("{} + mt.floor(mt.random.uniform((2, 3)) * 5.0) - 2.0".format, _tensors())
    learnt = st.builds("{} - weights.detach()".format, _tensors())
    return st.one_of(binary, scaled, reduced, chosen, largest, remembered, sized, drawn, learnt)


@cache
def _assignments() -> _LINES:
    return st.builds(lambda target, value: [f"{target} = mt.clip({value}, -8.0, 8.0)"], _tensors(), _expressions())


@cache
def _mutations() -> _LINES:
    """In-place changes of tensors, and of Python's own state."""
    element = st.builds("{}[{}] = {}[0] - 1.0".format, _tensors(), st.sampled_from("01"), _tensors())
    whole = st.builds("{} += {}".format, _tensors(), _tensors())
    clipped = st.builds(lambda t, line: [line, f"{t} = mt.clip({t}, -8.0, 8.0)"], _tensors(), st.one_of(element, whole))
    python = st.sampled_from(["state.scale = (state.scale + 1) % 3", "state.count += 1"]).map(lambda line: [line])
    appended = st.builds(lambda t: [f"history.append({t})", "del history[:-3]"], _tensors())
    return st.one_of(clipped, python, appended, _training())


@cache
def _training() -> _LINES:
    """One step down a slope of whole numbers: weights stay far below the 2^24 up to which float32 has all of these."""

    def render(clear: bool, factor: str) -> list[str]:
        cleared = ["optimizer.zero_grad()"] if clear else []
        return [*cleared, f"(weights * {factor}).sum().backward()", "optimizer.step()"]

    return st.builds(render, st.booleans(), _tensors())


@cache
def _conditions() -> st.SearchStrategy[str]:
    periodic = st.builds("i % {} < {}".format, st.integers(2, 4), st.integers(1, 2))
    return st.one_of(periodic, st.just("state.count % 3 == 1"), st.just("len(history) % 2 == 0"))


@cache
def _value_conditions() -> st.SearchStrategy[str]:
    return st.builds("float({}.sum()) > {}".format, _tensors(), st.sampled_from(["0.0", "1.0", "-2.0"]))


def indented(lines: list[str]) -> list[str]:
    """The lines one level deeper."""
    return [f"    {line}" for line in lines]


def branches(condition: st.SearchStrategy[str], statements: Callable[[int], _LINES], depth: int) -> _LINES:
    """A branch with one of the `statements` of the level below on either side."""

    def render(test: str, then: list[str], otherwise: list[str]) -> list[str]:
        return [f"if {test}:", *indented(then), "else:", *indented(otherwise)]

    return st.builds(render, condition, statements(depth - 1), statements(depth - 1))


@cache
def _value_branches(depth: int) -> _LINES:
    return branches(_value_conditions(), _statements, depth)


@cache
def _loops(depth: int) -> _LINES:
    counts = st.sampled_from(["2", "1 + i % 3", "state.count % 2 + 1"])
    return st.builds(lambda n, body: [f"for k in range({n}):", *indented(body)], counts, _statements(depth - 1))


@cache
def _exceptions(depth: int) -> _LINES:
    def render(test: str, before: list[str], after: list[str]) -> list[str]:
        raising = [f"if {test}:", "    raise KeyError(i)"]
        return ["try:", *indented(before + raising), "except KeyError:", *indented(after)]

    return st.builds(render, _conditions(), _statements(depth - 1), _statements(depth - 1))


@cache
def _statements(depth: int) -> _LINES:
    """One statement as lines; `depth` bounds the nesting."""
    plain = st.one_of(_assignments(), _assignments(), _mutations())
    if depth <= 0:
        return plain
    nested = st.one_of(
        st.deferred(lambda: branches(_conditions(), _statements, depth)),
        st.deferred(lambda: _value_branches(depth)),
        st.deferred(lambda: _loops(depth)),
        st.deferred(lambda: _exceptions(depth)),
    )
    return st.one_of(plain, nested)
