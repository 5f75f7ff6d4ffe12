"""Records that say that their vjp only passes numbers on: it does the same with each, and with that very object."""

from __future__ import annotations

import math
from typing import Any

import pytest

import minitensor as mt
from minitensor.dispatch import apply, run_eager
from minitensor.ops.opdef import REGISTRY, OpDef
from minitensor.value import Value, local

PASSING = [op for op in REGISTRY.values() if op.passes_numbers]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.25, 1e300, math.inf, -math.inf, math.nan]


class Watching:
    """An observer that writes down what is done, numbers as the object that they are."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.done: list[Any] = []

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
        operands = [type(x) if type(x) is Value else "it" if x is self.number else x for x in inputs]
        self.done.append((op.name, operands, attributes))
        return run_eager(op, inputs, attributes)

    def on_read(self, value: Any) -> None:
        self.done.append("read")

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """Nothing of interest."""


def done_with(op: OpDef, number: float, position: int) -> list[Any]:
    """What the vjp does where operand `position` is a number."""
    x = mt.asarray([0.5, -2.0], requires_grad=True)
    result = apply(op, x, number) if position else apply(op, number, x)
    observer = local.observer = Watching(number)
    try:
        result.backward(mt.asarray([1.0, 0.25]))
    finally:
        local.observer = None
    return observer.done


def test_the_arithmetic_says_so() -> None:
    assert {"add", "subtract", "multiply", "divide"} <= {op.name for op in PASSING}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("op", PASSING, ids=lambda op: op.name)
def test_a_number_is_an_operand_and_nothing_else(op: OpDef, position: int) -> None:
    expected = done_with(op, float("7.0"), position)
    for number in NUMBERS:
        assert done_with(op, number, position) == expected


def test_a_rule_that_computes_from_its_number_would_be_noticed() -> None:
    op = REGISTRY["pow"]
    assert done_with(op, 3.0, 1) != done_with(op, 4.0, 1)
