"""Planted bugs of the native graph's side: the tests of this folder must find each, with one core and with two.

Each room has a finder, made of tests of graphs whose kernels are written by hand:

- one core: Python's thread runs the graph itself, in pieces;
- remains: what a cancelled step had computed;
- layouts: where the places of a group lie for sizes never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import test_layout
import test_remains
from graphs import looping
from handmade import compile_by_hand, on_cores
from plants import Plant, assert_is_found

from coexec.graph_side.channel import SameThread
from coexec.graph_side.layout import GroupLayout
from coexec.graph_side.remains import Remains

Patch = pytest.MonkeyPatch
Find = Callable[[Patch], None]

# --- one core --------------------------------------------------------------------------------------------------


def a_step_that_python_left_is_not_run(patch: Patch) -> None:
    patch.setattr(SameThread, "leave", lambda self, frame: None)


def reads_do_not_wait(patch: Patch) -> None:
    patch.setattr(SameThread, "wait_word", lambda self, frame, word, least: None)


def a_cancelled_step_goes_no_further(patch: Patch) -> None:
    """Although something of it is wanted."""
    right = SameThread.cancel
    patch.setattr(SameThread, "cancel", lambda self, frame, limit=0: right(self, frame))


ONE_CORE: list[Plant] = [a_step_that_python_left_is_not_run, reads_do_not_wait, a_cancelled_step_goes_no_further]


def find_on_one_core(patch: Patch) -> None:
    """Rounds of a loop that Python chooses and reads, steps that are left, steps that are cancelled."""
    on_cores(patch, 1)
    symbolic, _, x, result = looping()
    graph = compile_by_hand(symbolic)
    for step in range(1, 4):
        run, a = graph.start(), np.full(5, step, np.float32)
        run.feed(0, a)
        for number in range(3):
            run.choose(0, 0)
            np.testing.assert_array_equal(run.fetch(x), -a if number % 2 else 2 * a)
        run.choose(0, 1)
        (value,) = run.finish([result])
        np.testing.assert_array_equal(value.wait(), 4 * a)
    test_remains.test_the_graph_goes_on_to_what_is_wanted(3)


# --- remains ---------------------------------------------------------------------------------------------------


def what_was_written_over_is_given_all_the_same(patch: Patch) -> None:
    patch.setattr(Remains, "_is_lost", lambda self, place, slot: False)


def what_was_not_computed_is_given(patch: Patch) -> None:
    begin = Remains.__init__

    def all_of_it(self: Any, frame: Any, sizes: Any) -> None:
        begin(self, frame, sizes)
        self._at = 1 << 40

    patch.setattr(Remains, "__init__", all_of_it)


def loops_count_as_what_came_before(patch: Patch) -> None:
    patch.setattr("coexec.graph_side.remains.is_in_loop", lambda at, loops: False)


REMAINS: list[Plant] = [
    what_was_written_over_is_given_all_the_same,
    what_was_not_computed_is_given,
    loops_count_as_what_came_before,
]


def find_in_remains(patch: Patch) -> None:
    for cores in 1, 2:
        on_cores(patch, cores)
        test_remains.test_what_lies_where_something_else_was_written_is_not_given()
        test_remains.test_a_graph_that_would_wait_stops_there(3)
        test_remains.test_outputs_of_loops_are_not_given()


# --- layouts ---------------------------------------------------------------------------------------------------


def places_lie_where_smaller_ones_did(patch: Patch) -> None:
    right = GroupLayout._make_room
    patch.setattr(GroupLayout, "_make_room", lambda self, lives: None if self._total else right(self, lives))


def rooms_only_grow(patch: Patch) -> None:
    """However much of them is waste."""
    patch.setattr("coexec.graph_side.layout.MOST_WASTE", 1e9)


def extents_are_those_of_the_first_sizes(patch: Patch) -> None:
    right = GroupLayout._stage_rows
    first: dict[int, Any] = {}

    def stale(self: Any, values: Any, integers: Any) -> Any:
        return first.setdefault(id(self), right(self, values, integers))

    patch.setattr(GroupLayout, "_stage_rows", stale)


LAYOUTS: list[Plant] = [places_lie_where_smaller_ones_did, rooms_only_grow, extents_are_those_of_the_first_sizes]


def find_in_layouts(patch: Patch) -> None:
    for plan in test_layout.PLANS.values():
        test_layout.check_fillings(plan, [(3, 40), (60, 2), (5, 5), (2, 60), (59, 59), (0, 7)])


# --- every finder finds every bug of its room, and nothing else --------------------------------------------------

ROOMS: list[tuple[Find, list[Plant]]] = [
    (find_on_one_core, ONE_CORE),
    (find_in_remains, REMAINS),
    (find_in_layouts, LAYOUTS),
]


@pytest.mark.parametrize(
    ("find", "plant"),
    [(find, plant) for find, plants in ROOMS for plant in plants],
    ids=lambda each: each.__name__,
)
def test_planted_bug_is_found(find: Find, plant: Plant, monkeypatch: Patch) -> None:
    assert_is_found(plant, monkeypatch, lambda: find(monkeypatch))


@pytest.mark.parametrize("find", [find for find, _ in ROOMS], ids=lambda find: find.__name__)
def test_nothing_is_found_without_a_bug(find: Find, monkeypatch: Patch) -> None:
    find(monkeypatch)
