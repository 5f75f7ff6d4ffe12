"""Cache lines that the loops around a register tile bring near: reuse and footprints against a cache's size.

In: accesses, the loops from outermost to innermost with the piece of an index that one iteration leaves to the
loops inside.  Out: lines that come from beyond a cache, by access.
Invariant: an access is brought in once for each iteration of the loops outside of the widest level whose whole
footprint fits the cache, except for loops that do not move it while what they do move leaves room for it.

The estimate knows nothing of replacement; lines that share a set of the cache are `TileCost.conflicts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

LINE = 16  # elements of a cache line (float32)
_SETS = 64  # of the first cache
FULL = 0.8  # of a cache that can hold what is reused; the rest passes through


@dataclass(frozen=True, slots=True)
class Level:
    """A loop over pieces of index `dim`: `trips` of them, each of `piece` values."""

    dim: int
    piece: int
    trips: int


@dataclass(frozen=True, slots=True)
class Touched:
    """An access: coefficients of the indices by axis, elements between neighbours along each axis.

    `dense`: it reads a packed copy, of which no line is touched in part.
    """

    axes: tuple[tuple[int, ...], ...]
    strides: tuple[int, ...]
    dense: bool = False

    def moves_with(self, dim: int) -> bool:
        return any(row[dim] for row in self.axes)

    def lines(self, sizes: Mapping[int, int]) -> tuple[float, float]:
        """Lines touched while index `d` takes `sizes[d]` values, and the room that they need in a cache.

        Runs that lie a multiple of a large power of two apart meet in a part of the cache's sets: the rest of the sets
        stays empty.
        """
        spans = self._spans(sizes)
        if self.dense:
            total = max(1.0, prod(spans) / LINE)
            return total, total
        run, runs, apart = self._pieces(spans)
        each = 1.0 + (run - 1) / LINE
        return runs * each, runs * max(each, min(apart & -apart, _SETS))

    def streams(self, sizes: Mapping[int, int]) -> int:
        """In how many places of memory the elements touched lie."""
        return 1 if self.dense else self._pieces(self._spans(sizes))[1]

    def _spans(self, sizes: Mapping[int, int]) -> list[int]:
        return [1 + sum(abs(c) * (sizes[d] - 1) for d, c in enumerate(row) if c) for row in self.axes]

    def _pieces(self, spans: Sequence[int]) -> tuple[int, int, int]:
        """Elements in one piece of memory, how many such pieces there are, how many lines apart."""
        run, runs, apart = 1, 1, 0
        for stride, span in sorted((abs(stride), span) for stride, span in zip(self.strides, spans, strict=True)):
            if runs == 1 and stride <= run + LINE:
                run += stride * (span - 1)
            elif span > 1:
                apart = apart or stride // LINE
                runs *= span
        return run, runs, apart


def fetched(
    accesses: Sequence[Touched], levels: Sequence[Level], sizes: Mapping[int, int], capacity: float
) -> list[float]:
    """Lines from beyond a cache of `capacity` lines, for each access over the whole nest."""
    left = dict(sizes)
    inside = [dict(left)]  # what the loops from each level on have to do
    for level in levels:
        left[level.dim] = level.piece
        inside.append(dict(left))
    footprints = [[access.lines(each) for access in accesses] for each in inside]
    room = [[room for _, room in each] for each in footprints]
    fits = next((at for at, each in enumerate(room) if sum(each) <= FULL * capacity), len(levels))
    found = []
    for number, access in enumerate(accesses):
        start = fits
        while start > 0 and not access.moves_with(levels[start - 1].dim):
            passing = sum(room[start]) - room[start][number]
            if room[start][number] + 2 * passing > FULL * capacity:
                break
            start -= 1
        times = 1
        for level in levels[:start]:
            times *= level.trips
        found.append(times * footprints[start][number][0])
    return found
