"""The whole table, and the choice of a part of it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.kernels.case import Case
from benchmarks.kernels.contractions import CONTRACTIONS
from benchmarks.kernels.movements import MOVEMENTS

CASES: tuple[Case, ...] = (*CONTRACTIONS, *MOVEMENTS)


def chosen(parts: Sequence[str]) -> tuple[Case, ...]:
    """The cases whose name or family contains one of `parts`; all if there are none.

    Raises ValueError for a part that no case has.
    """
    for part in parts:
        if not any(part in case.name or part in case.family for case in CASES):
            raise ValueError(f"no case has {part!r} in its name; there are {', '.join(case.name for case in CASES)}")
    return tuple(c for c in CASES if not parts or any(part in c.name or part in c.family for part in parts))
