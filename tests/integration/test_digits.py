"""The demo's training step, co-executed: what counts as co-execution, and equality with eager steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt
from examples import digits
from minitensor.ops import opdef
from minitensor.testing import assert_as_accurate

STEPS = 6


@pytest.fixture(scope="module")
def run() -> digits.Run:
    """A co-executed run of the demo, a few steps long, all kernels compiled."""
    train, _ = digits.load()
    mt.random.seed(digits.SEED)
    run = digits.Run("test", model=digits.Net())
    assert run.model is not None
    run.optimizer = mt.optim.Adam(run.model.parameters(), lr=1e-2)
    run.step = coexec.coexecute(digits.make_step(run, lambda _: None))
    for x, y in list(mt.data.DataLoader(train, digits.BATCH, drop_last=True))[:STEPS]:
        run.step(x, y)
        coexec.wait()
    return run


@contextmanager
def counted_eager_rules() -> Iterator[list[str]]:
    """The names of operations whose eager rule runs inside."""
    names: list[str] = []
    originals = {name: op.eager for name, op in opdef.REGISTRY.items()}

    def counting(name: str, rule: Any) -> Any:
        def counted(*operands: Any, **attributes: Any) -> Any:
            names.append(name)
            return rule(*operands, **attributes)

        return counted

    for name, op in opdef.REGISTRY.items():
        object.__setattr__(op, "eager", counting(name, originals[name]))
    try:
        yield names
    finally:
        for name, op in opdef.REGISTRY.items():
            object.__setattr__(op, "eager", originals[name])


def test_most_operations_are_in_few_compiled_kernels(run: digits.Run) -> None:
    assert isinstance(run.step, coexec.Step)
    report = run.step.report()
    assert report.coexecuted_steps >= STEPS // 2, report
    assert report.coverage >= 0.9, report
    assert report.operations > 50
    assert report.kernels <= 18, report


def test_no_eager_rule_runs_in_a_coexecuted_step(run: digits.Run) -> None:
    assert isinstance(run.step, coexec.Step) and run.step is not None
    train, _ = digits.load()
    (x, y), *_ = mt.data.DataLoader(train, digits.BATCH, drop_last=True)
    before = run.step.report().coexecuted_steps
    with counted_eager_rules() as names:
        run.step(x, y)
    assert run.step.report().coexecuted_steps == before + 1
    assert names == []


def test_steps_from_equal_states_agree(run: digits.Run) -> None:
    assert digits.compare_steps(run, 3) <= 1.0


def test_the_comparison_sees_a_gradient_wrong_by_one_percent(run: digits.Run) -> None:
    """The bound of the comparison is far below what a wrong kernel would do."""
    assert run.model is not None
    for name, parameter in run.model.named_parameters():
        exact = parameter.detach().numpy().astype(np.float64)
        reference = exact.astype(np.float32)
        update = 1e-2 * np.sign(exact)  # of the size that Adam's steps have here
        wrong = (exact + 0.01 * update).astype(np.float32)
        with pytest.raises(AssertionError, match=name):
            assert_as_accurate(wrong, reference, exact, of=name)
