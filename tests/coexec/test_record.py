"""What a recorder notes of a step, operation by operation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from coexec import session
from coexec.traces import follow, record
from coexec.traces.promise import StepLog
from coexec.traces.record import External, Produced, Recorder, Scalar, Trace
from coexec.traces.trace_graph import Kind, Lessons, TraceGraph, TraceNode
from minitensor.dispatch import run_eager
from minitensor.errors import ScalarRangeError
from minitensor.value import local


def recorded(step: Callable[[], Any], volatile: frozenset[Kind] = frozenset()) -> tuple[Trace, Any]:
    """The trace of a step and what the step returned, which is held until the step has ended."""
    recorder = Recorder(sys._getframe(), StepLog(), Trace(), [], volatile)
    local.observer = recorder
    try:
        result = step()
    finally:
        local.observer = None
    trace = recorder.end()
    assert recorder.externals == [] and recorder.root is None
    return trace, result


def names(trace: Trace) -> list[str]:
    return [made.op.name for made in trace.records]


def test_inputs_are_what_the_step_made_what_comes_from_outside_and_numbers() -> None:
    x, y = mt.ones((3,)), mt.ones((3,))
    trace, _ = recorded(lambda: (x * y + x) * 2.0)
    assert names(trace) == ["multiply", "add", "multiply"]
    assert [made.inputs for made in trace.records] == [
        (External(0), External(1)),
        (Produced(0, 0), External(0)),
        (Produced(1, 0), Scalar(2.0)),
    ]
    assert [[spec and spec.shape for spec in made.input_specs] for made in trace.records] == [
        [(3,), (3,)],
        [(3,), (3,)],
        [(3,), None],
    ]
    assert len({made.location for made in trace.records}) == 3
    assert all(made.forward is None for made in trace.records)


def test_memory_of_others_is_another_tensor_at_each_use() -> None:
    borrowed = mt.asarray(np.ones(3, np.float32), copy=False)
    trace, _ = recorded(lambda: (borrowed + borrowed) * borrowed)
    assert [made.inputs for made in trace.records] == [(External(0), External(1)), (Produced(0, 0), External(2))]


def test_a_gradient_knows_the_operation_that_it_is_of() -> None:
    w = mt.ones((3,))
    w.requires_grad = True

    def step() -> None:
        mt.exp(w * 2.0).sum().backward()

    trace, _ = recorded(step)
    forward = {made.forward for made in trace.records}
    assert forward == {None, 0, 1, 2}
    assert all(made.forward is None for made in trace.records[:3])


def test_reads_are_noted_where_they_stand() -> None:
    x = mt.ones((3,))

    def step() -> Any:
        y = x * 2.0
        total = float(y.sum())
        float(x.numpy()[0])  # comes from outside: nobody waits for it
        return y + total, y.tolist()

    trace, _ = recorded(step)
    assert names(trace) == ["multiply", "sum", "add"]
    assert trace.reads == [(2, Produced(1, 0)), (3, Produced(0, 0))]


def test_what_is_alive_at_the_end_is_kept_and_forgets_the_step() -> None:
    x = mt.ones((3,))

    def step() -> Any:
        y = x * 2.0
        return y, mt.exp(y + 1.0)

    trace, results = recorded(step)
    assert trace.kept == [Produced(0, 0), Produced(2, 0)]
    assert all(tensor.value.pending is None for tensor in results)


def test_what_no_kernel_can_do_is_no_record_and_a_read_of_its_operands() -> None:
    x = mt.asarray(np.eye(3, dtype=np.float32))

    def step() -> Any:
        y = x * 2.0
        return mt.linalg.inv(y) + y

    trace, _ = recorded(step)
    assert names(trace) == ["multiply", "add"]
    assert trace.reads == [(1, Produced(0, 0))]
    assert trace.records[1].inputs == (External(1), Produced(0, 0))


def test_a_place_that_is_left_to_python_is_no_record() -> None:
    x = mt.ones((3,))

    def step() -> Any:
        y = x * 2.0
        return mt.exp(y) + mt.exp(x)

    trace, _ = recorded(step)
    place = ("exp", trace.records[1].location)
    left, _ = recorded(step, frozenset({(place, None)}))
    assert names(trace) == ["multiply", "exp", "exp", "add"] and names(left) == ["multiply", "exp", "add"]
    assert left.reads == [(1, Produced(0, 0))]
    other, _ = recorded(step, frozenset({(("exp", (0,)), None), (place, place)}))
    assert names(other) == names(trace)


def test_a_gradient_is_left_to_python_by_what_it_is_the_gradient_of() -> None:
    x = mt.asarray([1.0, 2.0, 3.0])
    x.requires_grad = True

    def step() -> Any:
        x.grad = None
        (mt.exp(x) * mt.sin(x)).sum().backward()

    trace, _ = recorded(step)
    exp, sin = ((record.op.name, record.location) for record in trace.records[:2])
    of_sin, of_exp = (record for record in trace.records if record.op.name == "multiply" and record.forward in (0, 1))
    assert (of_exp.forward, of_sin.forward) == (0, 1) and of_exp.location == of_sin.location
    place = ("multiply", of_exp.location)
    for forward, remaining in ((exp, 1), (sin, 0)):
        left, _ = recorded(step, frozenset({(place, forward)}))
        assert len(left.records) == len(trace.records) - 1
        assert [r.forward for r in left.records if (r.op.name, r.location) == place] == [remaining]


def test_operands_whose_contents_decide_are_looked_at() -> None:
    w, x = mt.ones((4, 2)), mt.asarray([0.0, 2.0])

    def step() -> Any:
        return mt.take(w, mt.argmax(x * 2.0, axis=0, keepdims=True), axis=0)

    trace, _ = recorded(step)
    (at,) = [i for i, made in enumerate(trace.records) if made.op.may_raise]
    assert trace.reads == [(at, trace.records[at].inputs[1])]


@pytest.mark.parametrize("number", [1000, -129])
def test_a_number_that_no_tensor_holds_is_refused_as_it_is_eagerly(number: int) -> None:
    x = mt.zeros((3,), dtype=mt.int8)
    with pytest.raises(ScalarRangeError) as eager:
        x + number
    with pytest.raises(ScalarRangeError) as seen:
        recorded(lambda: x + number)
    assert str(seen.value).partition(" (at")[0] == str(eager.value).partition(" (at")[0]
    trace, found = recorded(lambda: x < number)  # of which the answer is known
    assert names(trace) == [] and found.tolist() == (x < number).tolist()


def interrupted(monkeypatch: pytest.MonkeyPatch, inside: Callable[[], Any]) -> list[Any]:
    """While `exp` is computed, something else runs, as a finaliser or a signal handler would; what that returned."""
    results: list[Any] = []

    def run(op: Any, inputs: Any, attributes: Any) -> Any:
        if op.name == "exp":
            results.append(inside())
        return run_eager(op, inputs, attributes)

    monkeypatch.setattr(record, "run_eager", run)
    monkeypatch.setattr(follow, "run_eager", run)
    return results


def test_what_comes_while_an_operation_is_under_way_is_none_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mt.ones((3,))
    held: list[Any] = []
    results = interrupted(monkeypatch, lambda: (held[-1].tolist(), (x * 5.0).tolist()))

    def step() -> Any:
        held.append(x + 1.0)
        return mt.exp(held[-1]) * 2.0

    trace, _ = recorded(step)
    assert names(trace) == ["add", "exp", "multiply"] and trace.reads == []
    assert results == [([2.0] * 3, [5.0] * 3)]


@pytest.mark.parametrize("whole", [False, True], ids=["followed", "recorded"])
def test_the_graph_has_nothing_of_it_either(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "mode", "trace")
    x = mt.ones((3,))
    results = interrupted(monkeypatch, lambda: (x * 5.0).tolist())
    if whole:
        monkeypatch.setattr(
            session, "make_recorder", lambda root, log, graph, *rest: Recorder(root, log, *rest, graph.lessons.volatile)
        )
    step = coexec.coexecute(lambda: mt.exp(x + 1.0) * 2.0)
    for _ in range(3):
        step()
    assert [node.op.name for node in step.session.traces.nodes if node.op] == ["add", "exp", "multiply"]
    assert results == [[5.0] * 3] * 3


@pytest.mark.parametrize("case", ["folded", "pruned", "neither"])
def test_who_records_a_step(case: str) -> None:
    """Bodies of loops need whole traces, and a path that leads nowhere cannot be followed."""
    place = ("negative", (0,))
    graph = TraceGraph(Lessons(folded=frozenset({place} if case == "folded" else ())))
    node = TraceNode(2, None, None, {}, (), (), "nowhere")
    node.removed = case == "pruned"
    recorder = follow.make_recorder(sys._getframe(), StepLog(), graph, Trace(prefix=[node]), [])
    assert (type(recorder) is follow.Follower) == (case == "neither")
