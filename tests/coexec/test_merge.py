"""Merging and locations: the quick ways against the slow ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from trace_walks import ancestors

import coexec
from coexec import session
from coexec.config import config
from coexec.graph.keys import attribute_key, same_attributes
from coexec.location import _stacks, callers_frame, line_of, location
from coexec.testing.imperative import imperative_programs
from coexec.traces import merge
from coexec.traces.ancestry import comes_before
from coexec.traces.follow import Follower, Form
from coexec.traces.record import Recorder, forward_index
from coexec.traces.trace_graph import TraceGraph, TraceNode, to_text, verify_trace_graph
from minitensor.value import local


@pytest.fixture(autouse=True)
def _tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", "trace")


def _graph(make: Any, steps: int, patch: Callable[[pytest.MonkeyPatch], None]) -> TraceGraph:
    """The TraceGraph of a program's first steps."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(config, "mode", "trace")
        patch(context)
        step = coexec.coexecute(make())
        for i in range(steps):
            try:
                step(i)
            except Exception:  # drawn programs raise on purpose
                continue
        return step.session.traces


def _whole_traces(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        session, "make_recorder", lambda root, log, graph, *rest: Recorder(root, log, *rest, graph.lessons.volatile)
    )


def _with_locations(patch: pytest.MonkeyPatch) -> None:
    """Following looks at locations as merging does, so that the two have to agree to the last node."""
    without = Follower.is_node

    def is_node(self: Follower, node: TraceNode, *operation: Any) -> bool:
        key = node.key
        if key is None or not without(self, node, *operation):
            return False
        forward = None if local.differentiating is None else forward_index(self.log)
        number = None if forward is None else self.path[forward].number
        return (key.location, key.forward) == (location(callers_frame(), self.root), number)

    made = Form.__init__

    def never_fits(self: Form, node: TraceNode) -> None:
        made(self, node)
        self.fits = lambda *_: False  # which is asked before `is_node`

    patch.setattr(Follower, "is_node", is_node)
    patch.setattr(Form, "__init__", never_fits)


@given(program=imperative_programs())
def test_a_record_known_as_it_stands_goes_where_the_full_comparison_sends_it(program: Any) -> None:
    def slow(patch: pytest.MonkeyPatch) -> None:
        _whole_traces(patch)
        patch.setattr(merge.Merger, "_known_child", lambda self, record: None)

    assert to_text(_graph(program.make, 8, _whole_traces)) == to_text(_graph(program.make, 8, slow))


@given(program=imperative_programs())
def test_a_step_that_follows_the_graph_makes_the_graph_that_its_whole_trace_makes(program: Any) -> None:
    assert to_text(_graph(program.make, 8, _with_locations)) == to_text(_graph(program.make, 8, _whole_traces))


@given(program=imperative_programs())
def test_following_without_locations_leaves_a_graph_in_order_that_knows_its_steps(program: Any) -> None:
    found = _graph(program.make, 8, lambda patch: None)
    verify_trace_graph(found)


@pytest.mark.parametrize("whole", [True, False])
@given(program=imperative_programs())
def test_what_comes_before_what_in_a_merged_graph_is_what_a_walk_finds(whole: bool, program: Any) -> None:
    graph = _graph(program.make, 8, _whole_traces if whole else lambda patch: None)
    for node in (*graph.nodes, graph.end):
        assert {other for other in graph.nodes if comes_before(other, node)} == ancestors(node) - {
            graph.start,
            graph.end,
        }


def test_a_location_from_the_table_is_the_one_that_a_walk_finds() -> None:
    def here() -> tuple[int, ...]:
        return location(sys._getframe(), None)

    walked, found = [here() for _ in range(2)]
    _stacks.clear()
    assert walked[:2] == found[:2] == here()[:2]
    assert line_of(found) == f"{__file__}:{here.__code__.co_firstlineno + 1}"


def test_a_place_is_the_same_once_cpython_has_specialised_it() -> None:
    """Calls, subscripts and properties that run Python functions, from the first time to the hundredth."""

    class Box:
        def __getitem__(self, key: int) -> tuple[int, ...]:
            return location(sys._getframe(), None)

        def __call__(self) -> tuple[int, ...]:
            return self[0]

        @property
        def here(self) -> tuple[int, ...]:
            return self[1]

    def places(box: Box) -> list[tuple[int, ...]]:
        return [box[0], box(), box.here, box[1]]

    box = Box()
    seen = {tuple(places(box)) for _ in range(100)}
    assert len(seen) == 1 and len(set(*seen)) == 4


def test_a_table_of_stacks_forgets_code_that_is_gone() -> None:
    def made(text: str) -> tuple[int, ...]:
        names: dict[str, Any] = {"location": location, "sys": sys}
        exec(compile(text, "<made>", "exec"), names)
        found: tuple[int, ...] = names["f"]()
        return found

    first = made("def f():\n    return location(sys._getframe(), None)\n")
    for i in range(50):  # new code objects, most of them where the one before was
        assert made(f"def f():\n    x = {i}\n    return location(sys._getframe(), None)\n")[0] != first[0]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"axis": 1}, {"axis": True}),
        ({"axis": (1, 2)}, {"axis": (1, 2.0)}),
        ({"value": 0.0}, {"value": -0.0}),
        ({"index": (slice(0, 1), None)}, {"index": (slice(0, True), None)}),
        ({"axis": 1}, {"axis": 2}),
        ({}, {"axis": 1}),
    ],
)
def test_attributes_are_the_same_only_where_their_keys_are(left: dict[str, Any], right: dict[str, Any]) -> None:
    for a, b in ((left, right), (right, left), (left, left), (right, right)):
        assert same_attributes(a, b) == (attribute_key(a) == attribute_key(b))
