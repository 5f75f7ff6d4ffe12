"""Gradients of slices: what is put together at once is what placing and adding one by one gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minitensor as mt
from minitensor.dispatch import local, run_eager
from minitensor.gradient_sums import MOST_TOGETHER, joined, total
from minitensor.ops.opdef import OpDef
from minitensor.ops.slicing import Key, Placed, to_numpy_key
from minitensor.testing.drawing import arrays, shapes
from minitensor.testing.operands import basic_keys
from minitensor.value import Observer, Value


@st.composite
def _slices(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Key, Any]]]:
    """A shape, and keys with gradients of small integers, whose sums are exact."""
    shape = draw(shapes(min_rank=1))
    keys = [basic_keys(draw, shape) for _ in range(draw(st.integers(1, 8)))]
    return shape, [(k, draw(arrays(np.empty(shape)[to_numpy_key(k)].shape, "float32", "exact"))) for k in keys]


@given(_slices(), st.integers(0, 8))
def test_a_sum_of_slices(drawn: tuple[tuple[int, ...], list[tuple[Key, Any]]], whole_at: int) -> None:
    shape, slices = drawn
    expected = np.zeros(shape, np.float32)
    gradients: list[mt.Tensor | Placed] = []
    for key, part in slices:
        expected[to_numpy_key(key)] += part
        gradients.append(Placed(mt.asarray(part), key, shape))
    if whole_at <= len(gradients):
        gradients.insert(whole_at, mt.ones(shape))
        expected += 1
    found, *others = gradients
    for gradient in others:
        found = joined(found, gradient)  # type: ignore[assignment]
    np.testing.assert_array_equal(total(found).numpy(), expected)


class _Counting(Observer):
    """Notes the names of operations."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        self.names[op.name] += 1
        return run_eager(op, inputs, attributes)

    def on_read(self, value: Value) -> None: ...

    def on_rebind(self, tensor: Any, value: Value) -> None: ...


def _operations_of_gradient(loss: mt.Tensor) -> dict[str, int]:
    """How many operations its `backward` does that put slices together."""
    counting = local.observer = _Counting()
    try:
        loss.backward()
    finally:
        local.observer = None
    return {name: counting.names[name] for name in ("assemble", "place", "add") if counting.names[name]}


@pytest.mark.parametrize(
    ("read", "wanted"),
    [
        (lambda x: [x[k] for k in range(6)], {"assemble": 1}),
        (lambda x: [x[:, :1], x[:, 1:]], {"assemble": 1}),
        (lambda x: [x[::2], x[1::2]], {"assemble": 1}),
        (lambda x: [x[5], x[0:2], x[4:1:-1]], {"assemble": 1}),
        (lambda x: [x[2]], {"place": 1}),
        (lambda x: [x[2], x[2]], {"place": 2, "add": 1}),
        (lambda x: [x[0:3], x[1:4], x[3:6]], {"assemble": 1, "place": 1, "add": 1}),
        (lambda x: [x[0], x[:, 0]], {"place": 2, "add": 1}),
    ],
)
def test_slices_without_a_common_element_are_one_operation(read: Any, wanted: dict[str, int]) -> None:
    x = mt.asarray(np.arange(18.0).reshape(6, 3), requires_grad=True)
    loss = sum(((part * 2.0).sum() for part in read(x)), start=mt.asarray(0.0))
    assert _operations_of_gradient(loss) == wanted


def test_so_many_slices_at_most_are_one_operation() -> None:
    x = mt.asarray(np.zeros((MOST_TOGETHER + 2, 2)), requires_grad=True)
    loss = mt.stack([row * (k + 1.0) for k, row in enumerate(x)]).sum()
    assert _operations_of_gradient(loss) == {"assemble": 2, "add": 1}
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.arange(1.0, MOST_TOGETHER + 3)[:, None] * np.ones((1, 2)))


def test_gradients_of_gradients() -> None:
    """Σ x_k⁴ over rows: the second derivative 12 x² comes through what put the first one together."""
    x = mt.asarray(np.arange(6.0).reshape(3, 2), requires_grad=True)
    sum(((row * row * row * row).sum() for row in x), start=mt.asarray(0.0)).backward(create_graph=True)
    gradient = x.grad
    assert gradient is not None
    x.grad = None
    gradient.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 12 * np.arange(6.0).reshape(3, 2) ** 2)
