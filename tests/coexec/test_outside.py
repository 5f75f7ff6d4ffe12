"""Indices that Python has without the graph: checked where they are used, and nobody waits for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import data, parameter
from written import Tensor, Written

import coexec
import minitensor as mt
from coexec.testing import LeaveEverywhere, assert_equivalent
from coexec.traces.merge import merge
from coexec.traces.outside import is_from_outside, is_record_from_outside
from coexec.traces.record import Produced, Trace
from coexec.traces.trace_graph import FromNodes, TraceGraph


@pytest.fixture(autouse=True)
def _reference_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "reference")


def _indices(kind: str, i: int) -> mt.Tensor:
    start = mt.asarray((np.arange(6) + i) % 4)
    match kind:
        case "reshaped":
            return mt.reshape(start, (2, 3))
        case "computed":
            return mt.reshape((start + 1) % 4, (3, 2))
        case "wrong at times":
            return mt.reshape(start + (7 if i % 5 == 4 else 0), (6,))
        case "same twice":
            return mt.reshape(start * start % 4, (6,))
        case _:
            return mt.argmax(data(6, 4, offset=i) * 2.0, axis=1)  # of floats: the graph's


KINDS = ["reshaped", "computed", "wrong at times", "same twice", "from floats"]


def _taking(kind: str) -> Any:
    w = parameter(4, 3)

    def step(i: int) -> Any:
        w.grad = None
        try:
            loss = (mt.take(w, mt.reshape(_indices(kind, i), (-1,)), axis=0) * 0.5).sum()
        except IndexError as error:
            return "refused", type(error)
        loss.backward()
        return loss, w.grad

    return step


@pytest.mark.parametrize("kind", KINDS)
def test_indices_are_those_of_the_step(kind: str) -> None:
    report = assert_equivalent(lambda: _taking(kind), steps=16, coexecuted=4)
    waited = any("reshape" in what for what in report.waits)
    assert waited == (kind == "from floats"), report.waits


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_leave(kind: str) -> None:
    assert_equivalent(lambda: _taking(kind), steps=24, trouble=LeaveEverywhere(), coexecuted=1)


# --- traces written by hand -------------------------------------------------------------------------------

INTS, FLOATS = Tensor(0, (4,), "int64"), Tensor(1)


def chained(length: int, x: Any = INTS) -> Written:
    written = Written()
    for at in range(length):
        x = written.op("negative", x, at=at)
    return written


def of(name: str, *inputs: Any, **attributes: Any) -> Written:
    written = Written()
    written.op(name, *inputs, at=0, **attributes)
    return written


def compared_after(name: str) -> Written:
    """A comparison of what another operation made of floats."""
    written = of(name, FLOATS)
    written.op("less", Produced(0, 0), 1.0, at=1)
    return written


BY_HAND: dict[str, tuple[Written, bool]] = {
    "integers": (chained(1), True),
    "four operations": (chained(4), True),
    "five operations": (chained(5), False),
    "a number": (of("add", INTS, 1), True),
    "floats": (chained(1, FLOATS), False),
    "bools of floats": (of("less", FLOATS, 1.0), True),  # exact
    "bools of floats that were made": (compared_after("negative"), False),
    "floats of integers": (of("astype", INTS, dtype=np.dtype("float32")), False),
    "as many as are light": (chained(1, Tensor(0, (1 << 8, 1 << 8), "int32")), True),
    "one too many": (chained(1, Tensor(0, ((1 << 16) + 1,), "int32")), False),
    "many to few": (of("sum", Tensor(0, (2, 1 << 16), "int64"), axis=(0,), keepdims=False), False),
    "may fail": (of("gather", INTS, Tensor(2, (3,), "int64"), axes=(0,), position=0), False),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_trace_and_its_path_agree_on_what_comes_from_outside(name: str) -> None:
    written, expected = BY_HAND[name]
    last = len(written.trace.records) - 1
    assert is_record_from_outside([], written.trace.records, last) == expected
    path = merge(TraceGraph(), written.trace)
    assert is_from_outside(path[last]) == expected
    assert is_record_from_outside(path, [], last) == expected


@pytest.mark.parametrize("length", range(1, 5))
def test_a_trace_goes_on_where_its_prefix_ends(length: int) -> None:
    """Of five operations in a row four come from outside, whichever of them are the prefix."""
    whole = chained(5)
    prefix = merge(TraceGraph(), Trace(records=whole.trace.records[:length]))
    found = [is_record_from_outside(prefix, whole.trace.records[length:], index) for index in range(5)]
    assert found == [True] * 4 + [False]


def test_what_has_several_producers_is_the_graphs() -> None:
    graph = TraceGraph()
    path = merge(graph, chained(3).trace)
    first, second, third = path
    assert is_from_outside(third)
    third.inputs = [FromNodes([second.outputs[0], first.outputs[0]])]
    assert not is_from_outside(third)
    assert not is_from_outside(graph.start)
