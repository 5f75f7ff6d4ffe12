"""Replaying the op log: values of a validated prefix, computed again by eager rules.

In: the path that Python validated, what it fed, and the values that are still empty.  Out: those values, filled.
Invariant: nothing but pure operations is run, from kept inputs; Python never runs again (invariants 2 and 3 of
co-execution).  Contents that the graph has already delivered are used, not computed a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from coexec.symbolic import ScalarValue
from coexec.walk import ExpectPhi, ExpectSame, ExpectScalar, WalkNode
from minitensor.dispatch import run_eager
from minitensor.value import Value

Key = tuple[int, int]  # number of the operation in the step, output


@dataclass(slots=True)
class OpLog:
    """What is needed to compute any value of the prefix again.

    `path[i]` is operation i; `attributes[i]` its own, where the graph's contain symbols; `feeds` the tensors and
    numbers sent, by slot.
    """

    path: list[WalkNode]
    attributes: dict[int, dict[str, Any]]
    feeds: list[Value | ScalarValue | None]
    phis: int


def replay(log: OpLog, wanted: Sequence[Key], known: dict[Key, Value]) -> dict[Key, Value]:
    """The wanted outputs, computed from `known` ones and the feeds.

    Raises what an operation raises.
    """
    inputs, needed = _needed_operations(log, wanted, known)
    values = dict(known)
    uses: dict[Key, int] = {}
    for index in needed:
        for x in inputs[index]:
            if isinstance(x, tuple):
                uses[x] = uses.get(x, 0) + 1
    keep = {*wanted}
    for index in sorted(needed):
        node = log.path[index]
        assert node.op is not None
        contents = tuple([values[x] if isinstance(x, tuple) else x for x in inputs[index]])
        results = run_eager(node.op, contents, log.attributes.get(index, node.attributes))
        for output, value in enumerate(results):
            values.setdefault((index, output), value)
        for x in inputs[index]:
            if isinstance(x, tuple):
                uses[x] -= 1
                if uses[x] == 0 and x not in keep:
                    values.pop(x, None)
    return {key: values[key] for key in wanted}


Operand = Key | Value | ScalarValue | None


def _needed_operations(
    log: OpLog, wanted: Sequence[Key], known: dict[Key, Value]
) -> tuple[list[tuple[Operand, ...]], set[int]]:
    """The operands of every operation on the path, and which operations the wanted outputs depend on."""
    inputs = _operands(log)
    needed: set[int] = set()
    stack = [key for key in wanted if key not in known]
    while stack:
        index = stack.pop()[0]
        if index not in needed:
            needed.add(index)
            stack += [x for x in inputs[index] if isinstance(x, tuple) and x not in known]
    return inputs, needed


def _operands(log: OpLog) -> list[tuple[Operand, ...]]:
    """Walks the path once more, with the phis as they were."""
    phis: list[Key | None] = [None] * log.phis
    made: dict[int, Key] = {}  # by the number of the output
    operands: list[tuple[Operand, ...]] = []
    for index, node in enumerate(log.path):
        found: list[Operand] = [None] * node.inputs
        for position, number in node.sources:
            found[position] = made[number]
        for position, slot in [*node.fed, *[(e.position, e.slot) for e in node.feeds]]:
            found[position] = log.feeds[slot]
        for position, value in node.constants:
            found[position] = value
        for expected in node.others:
            match expected:
                case ExpectPhi(position, slot):
                    found[position] = phis[slot]
                case ExpectScalar(position, slot):
                    found[position] = log.feeds[slot]
                case ExpectSame(position, other):
                    found[position] = found[other]
                case _:
                    assert_never(expected)
        operands.append(tuple(found))
        for i, output in enumerate(node.outputs):
            made[output.number] = (index, i)
        for slot, output in node.selects:
            phis[slot] = made[output.number]
    return operands
