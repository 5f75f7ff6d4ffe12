"""Loops that pay beside one another around a tile: found from what their operands' subscripts say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from comprehension.poly.access import AccessPattern
from comprehension.poly.nest import Member
from comprehension.poly.tile_jam import COPIES, LONGEST, Candidates

ROW, FIRST, MIDDLE, LAST = range(4)  # indices of a loop, and of a reduction inside


def read(tensor: str, rows: Sequence[tuple[int | None, ...]]) -> AccessPattern:
    return AccessPattern("S", 1, tensor, False, (1,) * 4, tuple(rows), (0,) * len(rows), (1,) * len(rows))


def found(along: int, *, free: bool, length: int = 3) -> list[tuple[int, int]]:
    """The copies and the index of the jams of the loop over y, where `along` moves the image as y does."""
    moved = tuple(int(d in (ROW, along)) for d in range(4))
    window = tuple(int(d == along) for d in range(4))
    lengths = [length if d == along else 50 for d in (FIRST, MIDDLE, LAST)]
    candidates = Candidates("S", [read("X", [moved]), read("W", [window])], [FIRST, MIDDLE, LAST], lengths, free)
    loop = Member((("S", ROW),), coincident=True)
    return [(jam.copies, jam.along) for jam in candidates.of([loop], [20])]


@pytest.mark.parametrize("along", [FIRST, MIDDLE, LAST])
def test_neighbours_share_what_a_short_index_moves(along: int) -> None:
    assert found(along, free=True) == [(copies, along) for copies in COPIES]
    assert found(along, free=False) == ([(copies, along) for copies in COPIES] if along == LAST else [])


def test_only_a_short_index_of_several_values_is_unrolled() -> None:
    for length, wanted in ((1, False), (2, True), (LONGEST, True), (LONGEST + 1, False)):
        assert bool(found(LAST, free=True, length=length)) is wanted


def test_a_loop_is_worth_nothing_where_no_operand_stays_or_it_may_not_run_beside_itself() -> None:
    moved = read("X", [(1, 0, 0, 1)])
    stays = read("W", [(0, 0, 0, 1)])
    for reads, coincident, jams in (([moved, stays], True, 2), ([moved, moved], True, 0), ([moved, stays], False, 0)):
        candidates = Candidates("S", reads, [LAST], [3], free=False)
        assert len(list(candidates.of([Member((("S", ROW),), coincident)], [3]))) == jams
