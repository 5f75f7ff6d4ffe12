"""Layouts: what a group's filling is for sizes never seen, against `Plan.fill`, expression by expression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import GraphBuilder
from handmade import compile_by_hand
from hypothesis import given, strategies as st

from coexec.graph_side.frame import Memory
from coexec.graph_side.layout import MOST_WASTE, Expressions, GroupLayout
from coexec.graph_side.plan import Filling, Plan
from comprehension.config import config

Extents = tuple[str | int, ...]


def plan_over(first: Extents, second: Extents) -> Plan:
    """Places of two shapes with lives that overlap and that do not; some kept, some in arenas.

    Kernels written by hand need no scratch memory, run at all sizes and take the same time at each; here they do not.
    """
    g = GraphBuilder()
    a, b = g.feed(first), g.feed(second)
    x, y = g.op("negative", a), g.op("negative", b)
    for _ in range(3):
        x, y = g.op("add", x, x), g.op("multiply", y, g.op("negative", y))
    g.fetch(g.op("add", x, a))
    symbols = tuple(dict.fromkeys(extent for extent in first + second if isinstance(extent, str)))
    plan = compile_by_hand(g.graph(kept=(g.op("add", y, b),), symbols=symbols)).plan
    for group in plan.groups:
        for number, row in enumerate(group.stages):
            entry = replace(row.entry, work="0.5 * N0")
            conditions = ("N0 > 20", "N0 % 2 == 0")[: number % 3]
            group.stages[number] = replace(row, entry=entry, scratch=f"{number} * N0", conditions=conditions)
    return plan


PLANS = {
    "one symbol": plan_over(("n", 3), ("n", "n")),
    "two symbols": plan_over(("n", 3), ("m", "n")),
    "large in turns": plan_over(("n", "n", "m"), ("n", "m", "m")),  # in one arena
}
extents = st.integers(0, 60)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
@pytest.mark.parametrize("threads", [1, 2])
@given(drawn=st.lists(st.tuples(extents, extents), min_size=1, max_size=6))
def test_a_filling_is_the_references_but_for_where_places_lie(
    plan: Plan, threads: int, drawn: list[tuple[int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "threads", threads)
        patch.setattr(config, "parallel_ns", 10)
        check_fillings(plan, drawn)


def check_fillings(plan: Plan, drawn: list[tuple[int, int]]) -> None:
    """One layout of each group, filled for these sizes in turn."""
    layouts = [GroupLayout(plan, group) for group in plan.groups]
    largest = [0] * len(layouts)
    for n, m in drawn:
        sizes = {"n": n, "m": m}
        for number, (layout, group) in enumerate(zip(layouts, plan.groups, strict=True)):
            found, expected = layout.fill(sizes), plan.fill(group, sizes)
            assert dict(zip(found.words, found.values, strict=True)) == dict(
                zip(expected.words, expected.values, strict=True)
            )
            assert (found.owned, found.scratch_bytes) == (expected.owned, expected.scratch_bytes)
            assert _sizes(found) == _sizes(expected)
            largest[number] = max(largest[number], expected.arena_bytes)
            # No lower bound: places found for larger sizes, which come in another order, may lie better by chance.
            assert found.arena_bytes <= MOST_WASTE * largest[number]
            _check_apart(plan, found)


def _sizes(filling: Filling) -> dict[int, tuple[int, tuple[int, ...]]]:
    rows = zip(filling.arena_words, filling.arena_sizes, filling.arena_written, strict=True)
    return {int(word): (int(size), tuple(written)) for word, size, written in rows}


def _check_apart(plan: Plan, filling: Filling) -> None:
    """Places that are alive at the same time share no byte, and all lie in the arena."""
    lives = {plan.slots[life.place]: life for life in plan.buffers.arena}
    words, begin, size = filling.arena_words, filling.arena_offsets, filling.arena_sizes
    for i in range(len(words)):
        assert begin[i] >= 0 and begin[i] + size[i] <= filling.arena_bytes
        for j in range(i):
            if lives[int(words[i])].overlaps(lives[int(words[j])]) and size[i] and size[j]:
                assert begin[i] + size[i] <= begin[j] or begin[j] + size[j] <= begin[i]


def test_smaller_sizes_lie_where_the_larger_ones_did(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLANS["one symbol"]
    memory = Memory(plan)
    number = next(i for i, group in enumerate(plan.groups) if group.symbols)
    large = memory.filling(number, {"n": 50, "m": 50})
    monkeypatch.setattr("coexec.graph_side.layout.place_in_arena", None)
    for n in (49, 3, 50, 0):
        small = memory.filling(number, {"n": n, "m": n})
        assert (small.arena_offsets == large.arena_offsets).all() and small.arena_bytes == large.arena_bytes


def test_an_expression_is_evaluated_once_for_all_that_share_it() -> None:
    expressions = Expressions(["m", "n"])
    numbers = [
        expressions.number("N0 * 2", (("N0", "n"), ("N1", "m"))),
        expressions.number("N0 * 2", (("N0", "n"),)),
        expressions.number("N0 * 2", (("N0", "m"),)),
        expressions.number(7, ()),
    ]
    assert numbers == [0, 0, 1, 2]
    assert expressions.at({"n": 4, "m": 5}) == [8, 10, 7]
    assert np.array(expressions.at({"n": 0, "m": 0})).tolist() == [0, 0, 7]
