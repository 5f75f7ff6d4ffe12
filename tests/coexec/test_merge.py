"""Merging and locations: the quick ways against the slow ones."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given

import coexec
from coexec import merge, session
from coexec.config import config
from coexec.imperative import imperative_programs
from coexec.keys import attribute_key, same_attributes
from coexec.location import _stacks, line_of, location
from coexec.trace_graph import to_text


@pytest.fixture(autouse=True)
def _tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "mode", "trace")


def _graphs(make: Any, steps: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The TraceGraph of a program's first steps, as text."""
    found: list[Any] = []
    original = merge.merge

    def watched(graph: Any, trace: Any) -> Any:
        found.append(graph)
        return original(graph, trace)

    monkeypatch.setattr(session, "merge", watched)
    step = coexec.coexecute(make())
    for i in range(steps):
        try:
            step(i)
        except Exception:  # drawn programs raise on purpose
            continue
    monkeypatch.undo()
    return to_text(found[-1]) if found else ""


@given(program=imperative_programs())
def test_a_record_known_as_it_stands_goes_where_the_full_comparison_sends_it(program: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "mode", "trace")
        quick = _graphs(program.make, 8, patch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "mode", "trace")
        patch.setattr(merge._Merger, "_known_child", lambda self, record: None)
        slow = _graphs(program.make, 8, patch)
    assert quick == slow


def test_a_location_from_the_table_is_the_one_that_a_walk_finds() -> None:
    def here() -> tuple[int, ...]:
        return location(sys._getframe(), None)

    walked, found = [here() for _ in range(2)]
    _stacks.clear()
    assert walked[:2] == found[:2] == here()[:2]
    assert line_of(found) == f"{__file__}:{here.__code__.co_firstlineno + 1}"


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
