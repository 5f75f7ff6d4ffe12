"""Replaying the op log: values of a validated prefix, computed again by eager rules.

In: the path that Python validated, what it fed, and the values that are still empty.  Out: those values, filled.
Invariant: nothing but pure operations is run, from kept inputs; Python never runs again (invariants 2 and 3 of
co-execution).  Contents that the graph has already delivered are used, not computed a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from coexec.graph.symbolic import ScalarValue
from coexec.python_side.walk import ExpectPhi, ExpectSame, ExpectScalar, WalkNode
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


Operand = Key | Value | ScalarValue | None


def replay(
    log: OpLog, wanted: Sequence[Key], known: dict[Key, Value], rescued: Callable[[Key], Value | None]
) -> dict[Key, Value]:
    """The wanted outputs, computed from `known` ones, those that `rescued` can give, and the feeds.

    Raises what an operation raises.
    """

    def is_known(key: Key) -> bool:
        if key not in known:
            found = rescued(key)
            if found is None:
                return False
            known[key] = found
        return True

    if all(is_known(key) for key in wanted):
        return {key: known[key] for key in wanted}
    operands = _operands(log)
    needed, dying = _needed_operations(operands, wanted, is_known)
    values: list[Any] = [None] * len(log.path)  # by operation: its outputs, from when they are made to their last use
    for (index, output), value in known.items():
        if values[index] is None:
            values[index] = [None] * len(log.path[index].outputs)
        values[index][output] = value
    for index, node in enumerate(log.path):
        if not needed[index]:
            continue
        assert node.op is not None
        contents = tuple([values[x[0]][x[1]] if type(x) is tuple else x for x in operands[index]])
        results = run_eager(node.op, contents, log.attributes.get(index, node.attributes))
        if values[index] is None:
            values[index] = results
        else:  # some were known
            values[index] = [old or new for old, new in zip(values[index], results, strict=True)]
        for used in dying[index]:
            values[used] = None
    return {(index, output): values[index][output] for index, output in wanted}


def _needed_operations(
    operands: Sequence[tuple[Operand, ...]], wanted: Sequence[Key], is_known: Callable[[Key], bool]
) -> tuple[bytearray, list[list[int]]]:
    """Which operations the wanted outputs depend on, and behind each one whose outputs have had their last use."""
    needed, used = bytearray(len(operands)), bytearray(len(operands))
    dying: list[list[int]] = [[] for _ in operands]
    for key in wanted:
        used[key[0]] = 1
        needed[key[0]] |= not is_known(key)
    for index in reversed(range(len(operands))):
        if not needed[index]:
            continue
        for x in operands[index]:
            if type(x) is tuple:
                maker = x[0]
                if not used[maker]:
                    used[maker] = 1
                    dying[index].append(maker)
                if not needed[maker] and not is_known(x):
                    needed[maker] = 1
    return needed, dying


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
