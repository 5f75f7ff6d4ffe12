"""What one of the ten programs is: batches, a step with fresh state, and how far rounding can move its losses.

In: a module's functions.  Out: `Program`, the record that the runner, the tests and the table read.
Invariant: a program's state comes from `mt.random`, its batches from `numpy.random.default_rng`, both seeded: two
`Training`s of one size are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import minitensor as mt
from minitensor import nn

Array = np.ndarray[Any, Any]
Weights = dict[str, dict[str, Array]]  # of each module by its name in the program
Step = Callable[[int], float]  # number of the step to its loss

SEED = 5
# A sum of n products in any order is the exact one of factors moved by n·2⁻²⁴ at most: for n up to 64 by 2⁻¹⁸.
NUDGE = 2.0**-18


@dataclass(frozen=True, slots=True)
class Training:
    """One program in motion: `step(number)` does everything and returns the loss."""

    step: Step
    modules: Mapping[str, nn.Module]

    def weights(self) -> Weights:
        """Parameters and buffers as arrays of their own, by module and name."""
        return {
            name: {key: np.array(value.numpy()) for key, value in module.state_dict().items()}
            for name, module in self.modules.items()
        }


@dataclass(frozen=True, slots=True)
class Program:
    """A row of the table.

    feature: the Python feature that matters.  autograph: whether AutoGraph runs the original (Terra, table 1).
    make: fresh state of a size.  full, tiny: the sizes of the benchmark and of the tests.
    """

    name: str
    title: str
    feature: str
    autograph: bool
    make: Callable[[Any], Training]
    full: Any
    tiny: Any

    def start(self, size: Any) -> Training:
        """Fresh state, the same each time."""
        mt.random.seed(SEED)
        return self.make(size)


def rounding_bounds(program: Program, size: Any, steps: int) -> list[float]:
    """For each step, how far rounding alone may move its loss: four times what two nudged eager runs show.

    The runs start from weights that were moved by `NUDGE` of themselves, up or down at random: what sums in another
    order amount to (backward error).  Never below 64 units of roundoff of the loss itself.
    """
    plain = program.start(size)
    expected = [plain.step(number) for number in range(steps)]
    bounds = [64 * 2.0**-24 * abs(loss) for loss in expected]
    for seed in (1, 2):
        moved = program.start(size)
        _nudge(moved, np.random.default_rng(seed))
        for number in range(steps):
            bounds[number] = max(bounds[number], 4 * abs(moved.step(number) - expected[number]))
    return bounds


def _nudge(training: Training, draw: np.random.Generator) -> None:
    for module in training.modules.values():
        moved = {
            name: value.numpy() * draw.choice(np.array([1 - NUDGE, 1 + NUDGE], np.float32), value.shape)
            if value.dtype == np.float32
            else value.numpy()
            for name, value in module.state_dict().items()
        }
        module.load_state_dict(moved)
