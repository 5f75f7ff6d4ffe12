"""Drawn imperative programs: eager ≡ co-executed, with and without planned divergences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import coexec
from coexec.imperative import ImperativeProgram, imperative_programs
from coexec.testing import assert_equivalent, assert_same, forced_divergence, observe
from coexec.trace_graph import verify_trace_graph


@pytest.fixture(autouse=True, scope="module")
def _reference_runner() -> Iterator[None]:
    before, coexec.config.runner = coexec.config.runner, "reference"
    yield
    coexec.config.runner = before


@given(imperative_programs())
def test_random_programs_are_unchanged(program: ImperativeProgram) -> None:
    note(str(program))
    assert_equivalent(program.make, steps=20, coexecuted=1)


PLACES = st.lists(st.one_of(st.none(), st.integers(0, 25)), min_size=14, max_size=14)


@given(imperative_programs(), PLACES, st.booleans())
def test_random_programs_leaving_the_graph_anywhere(
    program: ImperativeProgram, places: list[int | None], reads: bool
) -> None:
    note(str(program))
    plain, step = program.make(), coexec.coexecute(program.make())
    for number, place in enumerate(places):
        expected = observe(plain, number)
        planned = {"read": place % 4} if reads and place is not None else {"operation": place}
        with nullcontext() if place is None else forced_divergence(step, **planned):
            seen = observe(step, number)
        assert seen.error == expected.error
        assert_same(expected.result, seen.result, f"step {number}")
    verify_trace_graph(step.session.traces)
