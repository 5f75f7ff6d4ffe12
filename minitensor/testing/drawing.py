"""Arrays and cases drawn by Hypothesis.

In: shapes, dtypes, a regime of values.  Out: strategies for arrays.
Invariant: the regimes are `"exact"` (small integers: sums and products are exact in any order), `"scaled"`
(well-scaled floats) and `"special"` (with NaN, infinities and signed zeros).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitensor.ops.opdef import Operand, TensorSpec

Array = np.ndarray[Any, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
REGIMES = ("exact", "scaled", "special")


@dataclass(frozen=True, slots=True)
class Case:
    """Operands (NumPy arrays and Python scalars) and attributes of one operation."""

    operands: tuple[Any, ...]
    attributes: dict[str, Any]

    @property
    def specs(self) -> tuple[Operand, ...]:
        """The operands as the infer and comprehension rules take them."""
        return tuple(TensorSpec(x.shape, x.dtype) if isinstance(x, np.ndarray) else x for x in self.operands)


# --- arrays ----------------------------------------------------------------------------------------------


def shapes(min_rank: int = 0, max_rank: int = 3, sizes: Sequence[int] = (1, 2, 3, 5)) -> st.SearchStrategy[Any]:
    """Shapes with extents that meet each other often."""
    return st.lists(st.sampled_from(sizes), min_size=min_rank, max_size=max_rank).map(tuple)


@st.composite
def arrays(
    draw: Draw, shape: tuple[int, ...], dtype: str = "float64", regime: str = "scaled", stream: int = 0
) -> Array:
    """An array of one regime; the bulk comes from a drawn seed, so that shrinking stays cheap.

    Arrays of different `stream`s differ even where their seeds are equal, as drawn seeds often are.
    """
    rng = np.random.default_rng((draw(st.integers(0, 2**32 - 1)), stream))
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if kind in "iu" or regime == "exact":
        low = 0 if kind == "u" else -4
        return np.asarray(rng.integers(low, 5, shape)).astype(dtype)
    # Magnitudes between 0.1 and 2, any two at least 0.9 / size apart: no maximum changes within a difference quotient.
    count = int(np.prod(shape))
    ranks = (rng.permutation(count) + rng.uniform(0.25, 0.75, count)) / max(count, 1)
    array = (0.1 + 1.9 * ranks.reshape(shape)) * rng.choice([-1.0, 1.0], shape)
    if kind == "c":
        array = array + 1j * rng.uniform(-2.0, 2.0, shape)
    if regime == "special" and array.size:
        places = rng.random(shape) < 0.4
        array = np.where(places, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape), array)
    return np.asarray(array).astype(dtype)


@st.composite
def broadcastable(draw: Draw, count: int, dtype: str, regime: str) -> tuple[Array, ...]:
    """Several arrays that broadcast against each other."""
    shape = draw(shapes())
    result: list[Array] = []
    for _ in range(count):
        start = draw(st.integers(0, len(shape)))
        own = tuple(1 if draw(st.booleans()) and draw(st.booleans()) else n for n in shape[start:])
        result.append(draw(arrays(own, dtype, regime, len(result))))
    return tuple(result)
