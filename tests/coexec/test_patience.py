"""Patience: rests double, and what is recorded in vain between them takes its share of the time at most."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies as st

from coexec.patience import FIRST_REST, LATER_REST, LONGEST_REST, MOST_LOST, TRIES, Patience


def tries_until_rest(patience: Patience, seconds: float = 0.0) -> int:
    """How many steps of so many seconds are recorded in vain before it is one too many."""
    tries = 0
    while True:
        tries += 1
        patience.begin(10.0)
        if patience.lose(10.0 + seconds):
            return tries


def steps_until_awake(patience: Patience) -> int:
    steps = 1
    while not patience.wake():
        steps += 1
    return steps


def test_rests_double_up_to_the_longest_and_tries_between_them_are_a_quarter() -> None:
    patience, tries, rests = Patience(), [], []
    for _ in range(12):
        tries.append(tries_until_rest(patience))
        rests.append(patience.take_rest(0.0))
        assert patience.in_vain == 0
        assert steps_until_awake(patience) == rests[-1]
    assert tries == [TRIES, *[TRIES // 4] * 11]
    assert rests[0] == FIRST_REST and rests[-1] == LONGEST_REST
    assert all(later == 2 * rest or later == rest == LONGEST_REST for rest, later in itertools.pairwise(rests))


@given(st.floats(1e-4, 1.0), st.floats(1e-5, 1e-1))
def test_later_rests_are_long_enough_for_what_was_lost(lost_s: float, eager_s: float) -> None:
    patience, before = Patience(), 0
    for _ in range(12):
        lost = lost_s * tries_until_rest(patience, lost_s)
        rest = patience.take_rest(eager_s)
        assert min(2 * before, LONGEST_REST) <= rest <= LONGEST_REST
        if rest >= LATER_REST:
            assert rest == LONGEST_REST or lost <= MOST_LOST * eager_s * (rest + 1)
            assert rest == LONGEST_REST or lost <= 0.1 * (lost + eager_s * (rest + 1))  # 0.9 of eager speed at least
        else:
            assert rest == max(FIRST_REST, 2 * before)
        before = rest


@pytest.mark.parametrize(
    ("lost_s", "eager_s", "expected"),
    [
        (1.0, 0.0, [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096]),
        (1.015625, 1.0, [16, 32, 81, 162, 324, 648, 1296, 2592, 4096, 4096]),  # 4.0625 s are 5 % of 81.25
        (1.015625, 0.1, [16, 32, 812, 1624, 3248, 4096, 4096]),
        (100.0, 0.1, [16, 32, 4096, 4096]),
    ],
)
def test_how_long_rests_are(lost_s: float, eager_s: float, expected: list[int]) -> None:
    """Sixteen tries, then four before each further rest; from the third on rests are as long as these were dear."""
    patience, tries, rests = Patience(), [], []
    for _ in expected:
        tries.append(tries_until_rest(patience, lost_s))
        rests.append(patience.take_rest(eager_s))
    assert rests == expected
    assert tries == [16, *[4] * (len(expected) - 1)]


def test_hope_and_success_start_over() -> None:
    patience = Patience()
    assert tries_until_rest(patience) == TRIES
    patience.take_rest(0.0)
    patience.begin(0.0)
    patience.lose(1.0)
    patience.hope()
    assert patience.in_vain == 0 and tries_until_rest(patience) == TRIES // 4
    patience.start_over()
    assert tries_until_rest(patience) == TRIES and patience.take_rest(0.0) == FIRST_REST
