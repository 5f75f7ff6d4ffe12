"""The tape: gradients of any order, of any depth, of what the forward pass saw."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F
from minitensor.errors import GradientError
from minitensor.tape import Leaf, Node


def leaf(*values: float) -> mt.Tensor:
    return mt.asarray(np.array(values), requires_grad=True)


def grad_of(x: mt.Tensor) -> Any:
    assert x.grad is not None
    return x.grad.tolist()


def test_gradients_accumulate_and_backward_can_be_called_twice() -> None:
    x = leaf(1.0, 2.0)
    y = (x * x * x).sum()
    y.backward()
    assert grad_of(x) == [3.0, 12.0]
    y.backward()
    assert grad_of(x) == [6.0, 24.0]
    x.grad = None
    y.backward()
    assert grad_of(x) == [3.0, 12.0]


def test_broadcasting_is_summed_away_once() -> None:
    x, y = mt.ones((3, 1)), mt.ones((2, 1, 4))
    x.requires_grad = y.requires_grad = True
    (x * y).sum().backward()
    assert x.grad is not None and x.grad.shape == (3, 1)
    assert y.grad is not None and y.grad.shape == (2, 1, 4)
    assert x.grad.tolist() == [[8.0]] * 3
    assert bool((y.grad == 3.0).all())


def test_changing_a_tensor_after_the_forward_changes_no_gradient() -> None:
    x, w = leaf(2.0), leaf(5.0)
    y = x * w
    with mt.no_grad():
        w += 100.0
        x[0] = -1.0
    y.backward()
    assert grad_of(x) == [5.0]
    assert grad_of(w) == [2.0]


def test_in_place_writes_are_differentiable_on_results_and_refused_on_leaves() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[1] = x[0] * 10
    y += x
    y.sum().backward()
    assert grad_of(x) == [13.0, 1.0, 3.0]
    with pytest.raises(GradientError, match="no_grad"):
        x[0] = 1.0
    with pytest.raises(GradientError, match="no_grad"):
        x += 1.0
    with mt.no_grad():
        x += 1.0
    assert x.requires_grad and x.is_leaf
    assert x.tolist() == [2.0, 3.0, 4.0]


def test_any_order_of_differentiation() -> None:
    def f(x: mt.Tensor) -> mt.Tensor:
        return x**4

    x = mt.asarray(2.0)
    first, second, third = mt.grad(f), mt.grad(mt.grad(f)), mt.grad(mt.grad(mt.grad(f)))
    assert [float(g(x)) for g in (first, second, third)] == [32.0, 48.0, 48.0]


def test_create_graph_goes_through_backward() -> None:
    x = leaf(3.0)
    (x * x * x).backward(create_graph=True)
    assert x.grad is not None and x.grad.requires_grad
    first, x.grad = x.grad, None
    first.backward()
    assert grad_of(x) == [18.0]


def test_a_gradient_stays_connected_to_what_the_function_closes_over() -> None:
    w = leaf(4.0)
    slope = mt.grad(lambda x: (w * x * x).sum())(mt.asarray(np.array([3.0])))
    slope.sum().backward()
    assert slope.tolist() == [24.0]
    assert grad_of(w) == [6.0]
    free = mt.grad(lambda x: (x * x).sum())(mt.asarray(np.array([3.0])))
    assert not free.requires_grad


def test_a_gradient_inside_a_loss_reaches_the_argument_too() -> None:
    x = leaf(3.0)
    penalty = mt.grad(lambda v: (v * v * v).sum())(x)
    penalty.sum().backward()
    assert grad_of(x) == [18.0]


def test_grad_of_several_arguments_and_keywords() -> None:
    value, (gx, gy) = mt.value_and_grad(lambda x, y, k: (x * y * k).sum(), argnums=(0, 1))(
        mt.asarray(2.0), mt.asarray(3.0), k=10.0
    )
    assert (float(value), float(gx), float(gy)) == (60.0, 30.0, 20.0)
    assert float(mt.grad(lambda x, y: y * 1.0)(mt.asarray(2.0), mt.asarray(3.0))) == 0.0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: mt.zeros(2).backward(), "no tape"),
        (lambda: (leaf(1.0, 2.0) * 2).backward(), "gradient"),
        (lambda: mt.grad(lambda x: x)(mt.zeros(2)), "one element"),
        (lambda: mt.grad(lambda x: x)(mt.asarray(2)), "floating"),
        (lambda: setattr(leaf(1.0) * 2, "requires_grad", True), "leaves"),
        (lambda: setattr(mt.asarray([1]), "requires_grad", True), "floating"),
    ],
)
def test_gradients_that_cannot_be_had(make: Any, match: str) -> None:
    with pytest.raises(GradientError, match=match):
        make()


def test_depth_is_bounded_by_memory_only() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 0.0
    y.sum().backward()
    assert grad_of(x) == [1.0]
    del y


def test_the_tape_has_no_cycles_and_dies_with_its_last_tensor() -> None:
    x = mt.ones((64, 64))
    x.requires_grad = True
    gc.collect()
    gc.disable()
    try:
        y = (F.softmax(x @ x, -1) * x).sum()
        y.backward(create_graph=True)
        values = [weakref.ref(v) for v in tape_values(y)]
        x.grad = None
        del y
        alive = [v() for v in values if v() is not None]
    finally:
        gc.enable()
    assert [v for v in alive if v is not x.value] == []


def tape_values(y: mt.Tensor) -> list[Any]:
    found, stack = [], [y.node]
    while stack:
        node = stack.pop()
        if isinstance(node, Node):
            found += [v for v in (*node.inputs, *node.outputs) if hasattr(v, "array")]
            stack += [p for p in node.parents if p is not None and not isinstance(p, Leaf)]
    return found


def test_a_leaf_is_not_kept_alive_by_the_tape() -> None:
    x = leaf(1.0)
    y = x * 2
    reference = weakref.ref(x)
    del x
    assert reference() is None
    y.sum().backward()


def test_no_grad_is_a_context_a_decorator_and_per_thread() -> None:
    x = leaf(1.0)

    @mt.no_grad()
    def inside() -> mt.Tensor:
        with mt.enable_grad():
            assert (x * 2).requires_grad
        return x * 2

    assert not inside().requires_grad
    seen = []
    with mt.no_grad():
        worker = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        worker.start()
        worker.join()
    assert seen == [True]
    assert mt.is_grad_enabled()


def test_complex_gradients_follow_the_conjugate_convention() -> None:
    z = mt.asarray(np.array([1 + 2j, -3j]), requires_grad=True)
    mt.real(z * mt.conj(z)).sum().backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), 2 * z.detach().numpy())


def test_mixed_dtypes_get_gradients_of_their_own() -> None:
    x, y = mt.ones(2), mt.ones(2, dtype=mt.float64)
    x.requires_grad = y.requires_grad = True
    (x * y).sum().backward()
    assert x.grad is not None and x.grad.dtype == mt.float32
    assert y.grad is not None and y.grad.dtype == mt.float64
