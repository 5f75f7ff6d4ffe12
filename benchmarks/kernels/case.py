"""Case: one row of the table, and the work that its limit counts.

In: a text, shapes, an exact computation.  Out: arrays that are the same in every process (drawn from the name).
Invariant: nothing here knows a library.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.kernels.bounded import Bounded

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]

_BLOCK = 1 << 24  # elements that are drawn; more are repetitions, so that large tables take no minutes


@dataclass(frozen=True, slots=True)
class Draw:
    """Standard normal float32 arrays."""

    generator: np.random.Generator

    def normal(self, *shape: int) -> Array:
        size = int(np.prod(shape))
        if size <= _BLOCK:
            return self.generator.standard_normal(shape, np.float32)
        block = self.generator.standard_normal(_BLOCK, np.float32)
        found = np.empty(size, np.float32)
        for start in range(0, size, _BLOCK):
            found[start : start + _BLOCK] = block[: size - start]
        return found.reshape(shape)

    def integers(self, below: int, *shape: int) -> Array:
        return self.generator.integers(0, below, shape, np.int32)


@dataclass(frozen=True, slots=True)
class Case:
    """One row.

    - `family`: what the libraries' formulations are found by; `fixed`: what they need beyond the arrays.
    - `draw`: variants of the inputs; calls take them in turn, so that what one call gathered at random is not in
      the caches of the next.  `exact`: the outputs with bounds, of the first variant.
    - `flops`: of the products and sums, two a multiply-add.  `lanes`: of a convolution, the fraction of vector
      lanes that useful work can fill (the better of lanes along the width and along a group's features).
    - `moved`: bytes that must be moved if not all inputs and outputs; `blocks`: rows of 256 bytes gathered at random.
    - `large`: the arrays exist in one side's process at a time.
    """

    name: str
    family: str
    text: str
    draw: Callable[[Draw], list[Arrays]]
    exact: Callable[..., tuple[Bounded, ...]]
    flops: float = 0.0
    lanes: float | None = None
    moved: float | None = None
    blocks: int = 0
    large: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self) -> list[Arrays]:
        """The variants of the inputs."""
        return self.draw(Draw(np.random.default_rng(zlib.crc32(self.name.encode()))))


def normal(*shapes: tuple[int, ...]) -> Callable[[Draw], list[Arrays]]:
    """Draws one variant of normal arrays of these shapes."""
    return lambda draw: [tuple(draw.normal(*shape) for shape in shapes)]
