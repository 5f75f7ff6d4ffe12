"""Groups that merge: which may, by brute force over all paths, and that the order stays one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from coexec.clusters.order import MergingOrder


@st.composite
def graphs(draw: st.DrawFn) -> list[set[int]]:
    """For each item later ones that wait for it."""
    count = draw(st.integers(2, 9))
    later = [st.sets(st.integers(item + 1, count - 1), max_size=3) for item in range(count - 1)]
    return [*(draw(items) for items in later), set()]


def paths_around(after: list[set[int]], group: list[int], first: int, second: int) -> bool:
    """Whether some way from group to group leads from the first over a third one to the second."""
    follows = {(group[a], group[b]) for a, later in enumerate(after) for b in later if group[a] != group[b]}
    reached = {b for a, b in follows if a == first and b != second}
    while more := {b for a, b in follows if a in reached and b not in reached}:
        reached |= more
    return second in reached


@given(graphs(), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_what_may_merge_is_what_no_path_leads_around(after: list[set[int]], pairs: list[tuple[int, int]]) -> None:
    order = MergingOrder(after)
    for a, b in pairs:
        if max(a, b) >= len(after) or order.group[a] == order.group[b]:
            continue
        first, second = sorted((order.group[a], order.group[b]), key=order._rank.__getitem__)
        around = paths_around(after, order.group, first, second)
        assert order.leads_around(first, second) == around
        if around:
            with pytest.raises(AssertionError, match="a third group stands between"):
                order.merge(first, second)
            continue
        order.merge(first, second)
        check_order(order, after)


def check_order(order: MergingOrder, after: list[set[int]]) -> None:
    """Groups are what `members` says, and each stands before those that wait for it."""
    assert {group: tuple(i for i, g in enumerate(order.group) if g == group) for group in order.group} == order.members
    assert all(members[0] == group for group, members in order.members.items())
    standing = [group for group in order._order if group is not None]
    assert sorted(standing) == sorted(order.members)
    assert all(order._order[order._rank[group]] == group for group in standing)
    for item, later in enumerate(after):
        for other in later:
            a, b = order.group[item], order.group[other]
            assert a == b or order._rank[a] < order._rank[b]


def test_groups_that_do_not_wait_for_each_other_may_merge_too() -> None:
    order = MergingOrder([{2}, {3}, set(), set()])
    order.merge(0, 1)
    assert order.members == {0: (0, 1), 2: (2,), 3: (3,)}
    order.merge(0, 3)
    assert order.members == {0: (0, 1, 3), 2: (2,)}
    assert not order.leads_around(0, 2)
