"""Along rows or across: which loops two nests may share without losing the rows that lanes are good for.

In: two nests and pairs of loops that they could share.  Out: the pairs that do not cost more than they save.
Invariant: nothing depends on sizes but how many rows are left inside and whether a nest is small beside the other.

    m(i) +=! x(i,j)          for i: for j: m[i] += x[i, j]           apart: sharing m's i, which is y's j, would go down
    y(i,j) = x(i,j) * m(j)   for i: for j: y[i, j] = x[i, j] * m[j]  the columns of y or of x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from comprehension.poly.access import AccessPattern, AccessPatterns
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest

FEW_ROWS = 4  # left inside of loops along rows: up to here strips of columns cost less than another sweep
SMALL_PART = 8  # a nest with fewer instances by this factor joins another at any price

Pair = tuple[Member, Member]


@dataclass(frozen=True, slots=True)
class Walks:
    """Which loops go along rows; measured on pointwise operations, sums and transposes of 32×10 to 16384×512."""

    patterns: AccessPatterns
    extents: Extents

    def suiting_lanes(self, first: Nest, second: Nest, pairs: list[Pair], *, handed_on: bool) -> list[Pair]:
        """The pairs without those that cost more than they save; `handed_on`: the second nest reads from the first.

        A small nest beside a large one may do as that does.  Where one goes along its rows and the other across, the
        lanes of one would be far apart.  Where both go along their rows and have many left inside, each would go down
        strips of columns: what is handed on stays in a near cache, but each row's piece comes from another page.
        """
        less, more = sorted(sum(map(self.extents.instances, nest.names)) for nest in (first, second))
        if SMALL_PART * less <= more:
            return pairs
        walks = [(self._along_rows(first, a), self._along_rows(second, b)) for a, b in pairs]
        alike = [pair for pair, (one, other) in zip(pairs, walks, strict=True) if not one or not other or one == other]
        if not handed_on or min(self._rows_left(nest, alike) for nest in (first, second)) <= FEW_ROWS:
            return alike
        return [(a, b) for a, b in alike if self._along_rows(first, a) != {True}]

    def _along_rows(self, nest: Nest, member: Member) -> set[bool]:
        """Whether the nest's largest accesses, where they have rows at all, go along them with the member."""
        large = self._large(nest)
        return {p.strides[member.dim(p.statement)] in (1, -1) for p in large} if large[0].moving > 1 else set()

    def _rows_left(self, nest: Nest, pairs: Sequence[Pair]) -> int:
        """Over how many rows a large access goes while the shared loops stand still."""
        shared = {at for pair in pairs for member in pair for at in member.dims}
        return max(
            prod(
                self.extents.extent(p.statement, dim)
                for dim, stride in enumerate(p.strides)
                if stride not in (0, 1, -1) and (p.statement, dim) not in shared
            )
            for p in self._large(nest)
        )

    def _large(self, nest: Nest) -> list[AccessPattern]:
        """The accesses below the nest that most indices move."""
        patterns = [pattern for name in nest.statements() for pattern in self.patterns.of(name)]
        most = max(pattern.moving for pattern in patterns)
        return [pattern for pattern in patterns if pattern.moving == most]
