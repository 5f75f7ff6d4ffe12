"""Groups of a dependence graph's items, kept in an order that respects the dependences while groups merge.

In: for each item the later ones that wait for it.  Out: which items are one group, and whether two groups could be.
Invariant: every group stands before those that wait for it, so that a path between two groups leads over groups that
stand between them and nowhere else (after Pearce and Kelly 2006, "A dynamic topological sort algorithm for directed
acyclic graphs", with merging in the place of new edges).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence


class MergingOrder:
    """`group[i]` is the least item of i's group, `members[g]` are a group's items in order.

    >>> order = MergingOrder([(1, 2), (3,), (3,), ()])  # 0 before 1 and 2, both before 3
    >>> order.leads_around(0, 3), order.leads_around(0, 1)
    (True, False)
    >>> order.merge(0, 1)
    >>> order.group, order.leads_around(0, 3), order.leads_around(0, 2)
    ([0, 0, 2, 3], True, False)
    """

    def __init__(self, after: Sequence[Collection[int]]) -> None:
        self.group = list(range(len(after)))
        self.members: dict[int, tuple[int, ...]] = {item: (item,) for item in self.group}
        self._after = [set(items) for items in after]  # by group: items that wait for one of its own
        self._order: list[int | None] = [*self.group]  # groups; None where one was that has merged
        self._rank = list(self.group)  # by group: where it stands in the order

    def leads_around(self, first: int, second: int) -> bool:
        """Whether a third group waits for `first`, and `second` for it: the two cannot merge."""
        return self._between(first, second) is None

    def merge(self, first: int, second: int) -> None:
        """The two become one, which nothing may lead around; `first` stands before `second`."""
        behind = self._between(first, second)
        assert behind is not None, f"a third group stands between {first} and {second}"
        least, other = min(first, second), max(first, second)
        self.members[least] = tuple(sorted((*self.members[least], *self.members.pop(other))))
        for item in self.members[least]:
            self.group[item] = least
        self._after[least] = (self._after[least] | self._after[other]) - {*self.members[least]}
        begin, end = self._rank[first], self._rank[second] + 1
        there = [group for group in self._order[begin + 1 : end - 1] if group is not None]
        moved = [g for g in there if g not in behind] + [least] + [g for g in there if g in behind]
        self._order[begin:end] = [*moved, *[None] * (end - begin - len(moved))]
        for rank, group in enumerate(moved, begin):
            self._rank[group] = rank

    def _between(self, first: int, second: int) -> set[int] | None:
        """The groups that wait for `first` and stand before `second`; None where it waits for one of them.

        What stands nearest to `second` is looked at first: if there is a way, it is found soon.
        """
        limit, rank, group = self._rank[second], self._rank, self.group
        seen: set[int] = set()
        pending = [(-rank[first], first)]
        while pending:
            _, current = heapq.heappop(pending)
            for follower in {group[item] for item in self._after[current]}:
                if follower == second and current != first:
                    return None
                if rank[follower] < limit and follower not in seen:
                    seen.add(follower)
                    heapq.heappush(pending, (-rank[follower], follower))
        return seen
