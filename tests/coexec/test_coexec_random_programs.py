"""Drawn imperative programs: eager ≡ co-executed, with and without planned divergences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import given, note, strategies as st
from programs import OVERFLOWS

import coexec
from coexec.testing import assert_equivalent, assert_same, forced_divergence, observe
from coexec.testing.imperative import ImperativeProgram, imperative_programs, render
from coexec.testing.training import render as render_training, training_programs
from coexec.traces.trace_graph import verify_trace_graph


@pytest.fixture(autouse=True, scope="module", params=[3, 0], ids=["unrolled", "folded"])
def _reference_runner(request: pytest.FixtureRequest) -> Iterator[None]:
    """Over the reference runner; loops as they come, and folded wherever they can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coexec.config, "runner", "reference")
        patch.setattr("coexec.traces.merge.MOST_TRIP_COUNTS", request.param)
        yield


@given(imperative_programs())
def test_random_programs_are_unchanged(program: ImperativeProgram) -> None:
    note(str(program))
    assert_equivalent(program.make, steps=24, coexecuted=1)  # five branches on values may leave few steps quiet


@OVERFLOWS
@given(training_programs())
def test_random_trainings_are_unchanged(program: ImperativeProgram) -> None:
    note(str(program))
    assert_equivalent(program.make, steps=24, coexecuted=0)  # seven sizes and four turns are more traces than that


PLACES = st.lists(st.one_of(st.none(), st.integers(0, 25)), min_size=14, max_size=14)


@given(imperative_programs(), PLACES, st.booleans())
def test_random_programs_leaving_the_graph_anywhere(
    program: ImperativeProgram, places: list[int | None], reads: bool
) -> None:
    leave_at(program, places, reads)


@OVERFLOWS
@given(training_programs(), PLACES, st.booleans())
def test_random_trainings_leaving_the_graph_anywhere(
    program: ImperativeProgram, places: list[int | None], reads: bool
) -> None:
    leave_at(program, places, reads)


def leave_at(program: ImperativeProgram, places: list[int | None], reads: bool) -> None:
    note(str(program))
    plain, step = program.make(), coexec.coexecute(program.make())
    for number, place in enumerate(places):
        expected = observe(plain, number)
        planned = {"read": place % 4} if reads and place is not None else {"operation": place}
        with nullcontext() if place is None else forced_divergence(step, **planned):
            seen = observe(step, number)
        assert seen.error == expected.error
        assert_same(expected.result, seen.result, f"step {number}")
    if step.session.traces.traces:  # the last step may have taught what a new graph begins with
        verify_trace_graph(step.session.traces)


@pytest.mark.parametrize("seed", range(4))
def test_drawn_programs_over_the_native_runner(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few fixed ones: each has kernels of its own to compile."""
    monkeypatch.setattr(coexec.config, "runner", "native")
    assert_equivalent(NATIVE[seed].make, steps=20)


NATIVE = [
    render(
        [
            "t = mt.clip(t * state.scale, -8.0, 8.0)",
            "for k in range(1 + i % 3):",
            "    a = mt.clip(a + u, -8.0, 8.0)",
            "if float(a.sum()) > 0.0:",
            "    b = mt.clip(mt.where(a > t, t, b), -8.0, 8.0)",
            "else:",
            "    state.scale = (state.scale + 1) % 3",
            "a[1] = u[0] - 1.0",
        ]
    ),
    render(
        [
            "try:",
            "    b += t.sum(axis=0, keepdims=True)",
            "    if i % 3 < 1:",
            "        raise KeyError(i)",
            "except KeyError:",
            "    b = mt.clip(t - a, -8.0, 8.0)",
            "history.append(mt.clip(b, -8.0, 8.0))",
            "del history[:-3]",
            "u = mt.maximum(history[0], u)",
            "b = mt.clip(b if float(u.sum()) > 1.0 else u, -8.0, 8.0)",
        ]
    ),
    render(
        [
            "while float(t.sum()) > float(i % 4):",
            "    t = t - 1.0",
            "    a = mt.clip(a * 2.0 - t, -8.0, 8.0)",
            "a[0] = b[0] + 1.0",
        ]
    ),
    render_training(
        [
            'h = mt.tanh(model["inner"](h))',
            "if float(h.mean()) > 0.0:",
            '    h = model["drop"](h)',
            'loss = F.cross_entropy(model["last"](h), labels(i, rows))',
            "optimizer.zero_grad()",
            "loss.backward()",
            "optimizer.step()",
        ],
        rows="2 + i % 3",
    ),
]
