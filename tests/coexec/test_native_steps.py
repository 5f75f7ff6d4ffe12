"""Steps on the native runner: what co-execution must be, whatever the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
import minitensor.functional as F
from coexec.graph_side import channel
from coexec.graph_side.graph_runner import NativeGraph
from minitensor import nn, optim
from minitensor.ops.opdef import OpDef


@pytest.fixture(autouse=True)
def _native_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coexec.config, "runner", "native")


def classifier(optimisation: Any = optim.Adam) -> tuple[Any, Callable[[], tuple[Any, Any]], list[Any]]:
    """A step of a small network, a function that draws its data, and the parameters."""
    rng = np.random.default_rng(0)
    mt.random.seed(0)
    first, second = nn.Linear(8, 16), nn.Linear(16, 4)
    parameters = [*first.parameters(), *second.parameters()]
    optimiser = optimisation(parameters, lr=1e-2)

    @coexec.coexecute
    def step(x: Any, y: Any) -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(second(F.relu(first(x))), y)
        loss.backward()
        optimiser.step()
        return float(loss)

    def data() -> tuple[Any, Any]:
        return mt.asarray(rng.random((12, 8), dtype=np.float32)), mt.asarray(rng.integers(0, 4, 12))

    return step, data, parameters


def co_executing(optimisation: Any = optim.Adam) -> tuple[Any, Callable[[], tuple[Any, Any]], list[Any]]:
    step, data, parameters = classifier(optimisation)
    for _ in range(4):
        step(*data())
    coexec.wait()
    step(*data())
    assert step.report().phase == "coexecute", step.report()
    return step, data, parameters


def test_no_eager_rule_runs_inside_a_co_executed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step, data, _ = co_executing()
    inputs = [data() for _ in range(5)]
    ran: list[str] = []
    slot = OpDef.__dict__["eager"]

    def counted(op: OpDef) -> Any:
        def rule(*operands: Any, **attributes: Any) -> Any:
            ran.append(op.name)
            return slot.__get__(op)(*operands, **attributes)

        return rule

    monkeypatch.setattr(OpDef, "eager", property(counted))
    before = step.report().coexecuted_steps
    mt.exp(inputs[0][0])
    assert ran == ["exp"], "the count sees eager rules"
    for x, y in inputs:
        step(x, y)
    assert ran == ["exp"]
    assert step.report().coexecuted_steps == before + 5 and step.report().fallbacks == 0


def test_few_kernels_hold_nearly_all_operations() -> None:
    step, *_ = co_executing()
    compiled = step.session.compiled
    assert isinstance(compiled, NativeGraph)
    operations = len(list(compiled.graph.nodes()))
    assert sum(bool(placement.kernels) for placement in compiled.placements) >= 0.9 * operations
    assert compiled.kernels * 3 <= operations, f"{compiled.kernels} kernels for {operations} operations"


def test_steps_from_equal_states_give_equal_bits_every_time() -> None:
    """Threads, wake-ups and the order in which Python and the graph meet change nothing."""
    step, data, parameters = co_executing(optim.SGD)
    inputs = [data() for _ in range(60)]
    start = [mt.asarray(parameter.detach().numpy()) for parameter in parameters]
    runs = []
    for _ in range(5):
        with mt.no_grad():
            for parameter, value in zip(parameters, start, strict=True):
                parameter[...] = value
        losses = [step(*each) for each in inputs]
        runs.append((losses, [parameter.detach().numpy().tobytes() for parameter in parameters]))
    assert step.report().fallbacks == 0
    assert all(run == runs[0] for run in runs)


def test_buffers_of_finished_steps_are_given_back() -> None:
    """Memory in use does not grow with the number of steps."""
    step, data, _ = co_executing()
    x, y = data()
    frames = step.session.compiled._frames
    for _ in range(50):
        step(x, y)
    waiting = [len(fresh.buffers) for fresh in frames[0][0].memory.fresh.values()]
    assert len(frames) <= 2 and max(waiting) <= 4
    assert len(channel.current().unfinished) <= 2


def test_a_size_that_only_the_result_has() -> None:
    """Found by the report of examples/own_loop.py: the gradient of a mean, over a batch that varies, needs a kernel
    none of whose inputs has the batch's size; the step was given up."""

    @coexec.coexecute
    def step(scale: Any, x: Any) -> Any:
        return mt.broadcast_to(scale, (len(x),)) + 0.0, x * 2.0

    for n in (5, 5, 7, 7, 4):
        several, _ = step(mt.asarray(3.0), mt.ones((n,)))
        assert np.array_equal(np.asarray(several), np.full(n, 3.0))
        coexec.wait()
    report = step.report()
    assert report.coexecuted_steps >= 2 and report.phase == "coexecute", report
