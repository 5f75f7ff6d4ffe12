"""Operators written as texts inside co-executed steps: recorded, fused, the same results as eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import comprehension as tc
import minitensor as mt
from coexec.testing import assert_equivalent, assert_same

GATE = """
def gate(float(N, M) X, float(M) b, float slope) -> (Y) { Y(i, j) = max(slope * (X(i, j) + b(j)), X(i, j) + b(j)) }
"""
GATE_GRAD = """
def gate_grad(float(N, M) X, float(M) b, float slope, float(N, M) d_Y) -> (d_X, d_b) {
    d_X(i, j) = (X(i, j) + b(j) > 0.0 ? d_Y(i, j) : slope * d_Y(i, j))
    d_b(j) +=! d_X(i, j)
}
"""


def close(expected: Any, seen: Any, what: str) -> None:
    if isinstance(expected, np.ndarray):
        np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6, err_msg=what)
    else:
        assert_same(expected, seen, what)


def training(rows: Callable[[int], int] = lambda i: 16) -> Callable[[], Callable[[int], Any]]:
    """A step of a small network whose activation is a text."""
    gate = mt.operator(GATE, grad=GATE_GRAD)

    def make() -> Callable[[int], Any]:
        w = mt.random.normal((6, 8))
        b = mt.zeros((8,))
        w.requires_grad = b.requires_grad = True

        def step(i: int) -> Any:
            x = mt.asarray(np.full((rows(i), 6), 0.1, np.float32))
            loss = (gate(x @ w, b, 0.25) ** 2).mean()
            loss.backward()
            with mt.no_grad():
                for p in (w, b):
                    p -= 0.1 * p.grad
                    p.grad = None
            return mt.concat([mt.reshape(loss, (1,)), b])

        return step

    return make


def test_a_step_with_an_operator_runs_in_the_graph() -> None:
    report = assert_equivalent(training(), steps=10, compare=close, fallbacks=0)
    assert report.coverage == 1.0


def test_an_operator_shares_a_kernel_with_its_neighbours() -> None:
    gate = mt.operator(GATE, grad=GATE_GRAD)
    b = mt.ones((8,))

    def make() -> Callable[[int], Any]:
        return lambda i: mt.tanh(gate(mt.exp(mt.ones((4, 8)) * float(i)), b, 0.5)) * 2.0

    report = assert_equivalent(make, steps=10, compare=close, fallbacks=0)
    assert report.coverage == 1.0 and report.kernels == 1


def test_sizes_that_vary_become_symbols() -> None:
    report = assert_equivalent(training(lambda i: 8 + 4 * (i % 3)), steps=24, compare=close)
    assert report.coverage > 0.9


def test_an_integer_of_the_text_is_part_of_the_operation() -> None:
    """Another value is another operation: the graph gains a path, and results stay right."""
    take = mt.operator("def take(float(N) X, int32 n) -> (Y) { Y(i) = 2 * X(i) where i in 0:n }")

    def make() -> Callable[[int], Any]:
        return lambda i: take(mt.ones((6,)) * float(i), 3 if i % 2 else 5) + 1.0

    assert_equivalent(make, steps=24, compare=close)


def test_indices_are_checked_where_python_stands() -> None:
    """A bad index raises at the operation, with the class that eager execution has."""
    pick = mt.operator("def pick(float(N) T, int64(M) I) -> (O) { O(i) = T(I(i)) }")
    table = mt.ones((4,))

    def make() -> Callable[[int], Any]:
        def step(i: int) -> Any:
            index = np.array([0, 9 if i == 9 else i % 4])
            try:
                return pick(table * float(i), mt.asarray(index))
            except tc.ComprehensionError as error:
                return str(error).partition(":")[0]

        return step

    assert_equivalent(make, steps=14)


def test_an_operator_is_shown_by_name() -> None:
    gate = mt.operator(GATE)
    x, b = mt.ones((4, 8)), mt.ones((8,))
    step = coexec.coexecute(lambda: gate(x, b, 0.5) + 1.0)
    for _ in range(4):
        step()
    coexec.wait()
    step()
    assert "gate(" in str(coexec.explain(step))
