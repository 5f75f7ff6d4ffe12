"""Loops that pay beside one another around a tile: found from what their operands' subscripts say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from comprehension.poly.access import AccessPattern
from comprehension.poly.nest import Member, Nest
from comprehension.poly.tile_jam import COPIES, LONGEST, Candidates, is_alone, moves_alike, registers_of
from comprehension.poly.tile_plan import Jam

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


@pytest.mark.parametrize(
    ("rows_read", "lanes_read", "copies", "extents", "registers"),
    [
        ((0, 1), (1, 1), 3, (4, 2), 3 * 4 * 2 + 4 + 2 * 2),  # weights stay, all that the next step reads again is kept
        ((0, 1), (1, 1), 2, (4, 2), 2 * 4 * 2 + 4 + 2),
        ((0, 1), (1, 0), 3, (4, 2), 3 * 4 * 2 + 4 + 2),  # moves by itself: one row of vectors at a time
        ((1, 0), (0, 1), 3, (4, 2), 3 * 4 * 2 + 1 + 2),
        ((1, 1), (0, 1), 3, (4, 2), 3 * 4 * 2 + 2 * 4 + 2),
        ((1, 1), (0, 1), 2, (1, 2), 2 * 1 * 2 + 1 + 2),
    ],
)
def test_registers_hold_sums_and_what_is_read_again(
    rows_read: tuple[int, int], lanes_read: tuple[int, int], copies: int, extents: tuple[int, int], registers: int
) -> None:
    """Coefficients of the loop beside itself and of the reduction's index, of what rows and what lanes read."""
    jam = Jam(Member((("S", 0),), coincident=True), copies, "S", 1)
    sides = [read("W", [rows_read])], [read("X", [lanes_read])]
    assert registers_of(jam, "S", sides, extents) == registers
    assert registers_of(None, "S", sides, extents) == extents[0] * extents[1] + extents[1]


@pytest.mark.parametrize(
    ("rows_move", "lanes_move", "coincident", "count", "copies"),
    [
        (0, 1, True, 12, [3, 4, 6]),
        (0, 1, True, 5, [5]),
        (0, 1, True, 7, []),  # some would be left over
        (1, 1, True, 12, []),  # each iteration reads rows of its own
        (0, 0, True, 12, []),  # all iterations read the same lanes
        (0, 1, False, 12, []),
    ],
)
def test_narrow_tiles_share_what_rows_read(
    rows_move: int, lanes_move: int, coincident: bool, count: int, copies: list[int]
) -> None:
    sides = [read("W", [(rows_move, 1)])], [read("X", [(lanes_move, 1)])]
    candidates = Candidates("S", [*sides[0], *sides[1]], [1], [50], free=True)
    member = Member((("S", 0),), coincident)
    assert [jam.copies for jam in candidates.sharing([member], [count], sides)] == copies
    assert {jam.along for jam in candidates.sharing([member], [count], sides)} <= {1}
    without = Candidates("S", [*sides[0], *sides[1]], [], [], free=True)
    assert list(without.sharing([member], [count], sides)) == []


@pytest.mark.parametrize(
    ("rows", "alike"),
    [
        ([(1, 1)], True),
        ([(2, 2)], True),
        ([(1, 2)], False),
        ([(1, 1), (0, 1)], False),  # along another axis, too
        ([(1, 1), (0, 0)], True),
        ([(0, 0)], False),
        ([(1, 0), (0, 1)], False),
        ([(None, None)], False),
    ],
)
def test_two_indices_move_alike_along_one_axis(rows: list[tuple[int | None, ...]], alike: bool) -> None:
    assert moves_alike(read("X", rows), 0, 1) is alike


def test_a_statement_is_alone_if_its_loops_hold_nothing_else() -> None:
    loop = Member((("S", 0), ("T", 0)), coincident=False)
    for children, alone in (
        ((Nest((loop,), ("S",)),), True),
        ((Nest((loop,), ("S", "T")),), False),
        ((Nest((loop,), ("T",)), Nest((loop,), ("S",))), True),
        (("S", "T"), True),
    ):
        assert is_alone(Nest((), children), "S") is alone
