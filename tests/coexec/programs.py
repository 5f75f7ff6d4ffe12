"""Programs whose behaviour must not change under co-execution: each function makes a step with fresh state.

Values are small integers and dyadic fractions, so that every legal order of evaluation gives the same bits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F, random as tensor_random
from minitensor.optim import SGD

Step = Callable[[int], Any]
OVERFLOWS = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of drawn programs whose numbers grow, eagerly too


def parameter(*shape: int) -> mt.Tensor:
    size = int(np.prod(shape))
    tensor = mt.asarray((np.arange(size) % 5 - 2).reshape(shape).astype(np.float32))
    tensor.requires_grad = True
    return tensor


def data(*shape: int, offset: int = 0) -> mt.Tensor:
    size = int(np.prod(shape))
    return mt.asarray(((np.arange(size) + offset) % 7 - 3).reshape(shape).astype(np.float32))


def mlp_training() -> Step:
    w, b = parameter(4, 3), parameter(3)
    optimiser = SGD([w, b], lr=0.5)

    def step(i: int) -> Any:
        loss = (F.relu(data(2, 4, offset=i) @ w + b)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if i % 4 == 3:  # keep the values small
            for p in (w, b):
                p.value = data(*p.shape, offset=i).value
        return float(loss.detach()), w.detach(), b.detach()

    return step


def branch_on_read() -> Step:
    w = data(3, 3)

    def step(i: int) -> Any:
        y = data(2, 3, offset=i) @ w
        if float(y.sum()) > 0:
            z = y * 2.0
        else:
            z = F.relu(y) + 1.0
        return z.sum() + y

    return step


def python_random_branches() -> Step:
    rng = random.Random(7)

    def step(i: int) -> Any:
        x = data(4, offset=i)
        for _ in range(3):
            if rng.random() < 0.5:
                x = x + 1.0
            else:
                x = x * 2.0
        return x, rng.random()

    return step


def varying_trip_count() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i)
        total = x
        for k in range(1 + i % 3):
            x = x + total
            total = total - float(k)
        return total + x

    return step


def growing_list() -> Step:
    history: list[mt.Tensor] = []

    def step(i: int) -> Any:
        history.append(data(2, offset=i) * 3.0)
        return len(history), history[0], history[-1] + history[0]

    return step


def escaping_and_read_later() -> Step:
    kept: list[mt.Tensor] = []

    def step(i: int) -> Any:
        seen = [float(t.sum()) for t in kept[-1:]]
        y = data(2, 2, offset=i)
        kept.append(y @ y)
        return seen

    return step


def learning_rate_schedule() -> Step:
    state = {"w": data(3), "lr": 1.0}

    def step(i: int) -> Any:
        state["w"] = state["w"] - data(3, offset=i) * state["lr"]
        state["lr"] = state["lr"] * 0.5 if i % 3 == 2 else state["lr"] + 0.25
        return state["w"], state["lr"]

    return step


def attribute_changed_between_calls() -> Step:
    class Module:
        scale = 1.0
        axis = 0

        def __call__(self, x: mt.Tensor) -> mt.Tensor:
            return (x * self.scale).sum(axis=self.axis)

    module = Module()

    def step(i: int) -> Any:
        module.scale = float(i % 4)
        module.axis = (i // 5) % 2
        return module(data(2, 2, offset=i))

    return step


def aliasing_on_later_calls() -> Step:
    other = data(3, offset=1)

    def add(a: mt.Tensor, b: mt.Tensor) -> mt.Tensor:
        return a * 2.0 + b

    def step(i: int) -> Any:
        x = data(3, offset=i)
        return add(x, x if i % 3 == 1 else other)

    return step


def caught_exception() -> Step:
    def step(i: int) -> Any:
        x = data(2, 3, offset=i) + 1.0
        try:
            return x @ data(2, 3 if i % 4 else 2)
        except ValueError as error:
            return type(error).__name__, x * 2.0

    return step


def raising_step() -> Step:
    state = {"w": data(3)}

    def step(i: int) -> Any:
        state["w"] = state["w"] + data(3, offset=i)
        if i % 3 == 2:
            raise KeyError(f"planned in step {i}: {float(state['w'].sum())}")
        return state["w"] * 2.0

    return step


def numpy_inside() -> Step:
    def step(i: int) -> Any:
        y = data(5, offset=i) * 2.0
        order = np.argsort(y.numpy(), kind="stable")
        return y + mt.asarray(order.astype(np.float32)), int(order[0])

    return step


def random_draws() -> Step:
    def step(i: int) -> Any:
        x = tensor_random.uniform((3,))
        if i % 2:
            x = x + tensor_random.uniform((3,))
        return x * 0.5

    return step


def closure_mutated() -> Step:
    total = data(2)
    count = 0

    def step(i: int) -> Any:
        nonlocal total, count
        total = total + data(2, offset=i)
        count += 1
        return total * 1.0, count

    return step


def generator_inside() -> Step:
    growing: list[int] = []

    def step(i: int) -> Any:
        growing.append(i % 3)
        products = (data(2, offset=k) * 2.0 for k in growing[-2:])
        total = data(2)
        for product in products:
            total = total + product
        return total

    return step


def batches_of_many_sizes() -> Step:
    w = data(3, 2)

    def step(i: int) -> Any:
        x = data((5, 3, 7, 2, 9)[i % 5], 3, offset=i)
        return F.relu(x @ w).sum(axis=0), (x + 1.0).reshape((x.shape[0] * 3,))

    return step


PROGRAMS = [
    mlp_training,
    branch_on_read,
    python_random_branches,
    varying_trip_count,
    growing_list,
    escaping_and_read_later,
    learning_rate_schedule,
    attribute_changed_between_calls,
    aliasing_on_later_calls,
    caught_exception,
    raising_step,
    numpy_inside,
    random_draws,
    closure_mutated,
    generator_inside,
    batches_of_many_sizes,
]


def sliding_window() -> Step:
    """An attribute (the index) that is another in every step."""
    table = data(40, 2)

    def step(i: int) -> Any:
        rows = table[i : i + 3]
        return (rows * 2.0).sum(axis=0), rows

    return step


def mutation_in_place() -> Step:
    state = data(3, 2)

    def step(i: int) -> Any:
        before = state + 0.0
        state[i % 3] = state[(i + 1) % 3] + 1.0
        view = state[0]
        state.__iadd__(data(3, 2, offset=i))
        return before, view, mt.clip(state, -4.0, 4.0)

    return step


def adam_training() -> Step:
    model = mt.nn.Sequential(mt.nn.Linear(3, 4), mt.nn.Linear(4, 2))
    for i, p in enumerate(model.parameters()):
        p.value = data(*p.shape, offset=i).value
    optimiser = mt.optim.Adam(model.parameters(), lr=0.25)

    def step(i: int) -> Any:
        labels = mt.asarray(np.array([i % 2, (i + 1) % 2, 0]))
        loss = F.cross_entropy(model(data(3, 3, offset=i)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss), [p.detach() for p in model.parameters()]

    return step


def sorting_and_selecting() -> Step:
    def step(i: int) -> Any:
        x = data(6, offset=i) * 2.0
        positive = x[x > 0.0]
        return mt.sort(x), positive.sum(), positive.shape[0], mt.argmax(x)

    return step


def failing_index() -> Step:
    table = data(5, 2)

    def step(i: int) -> Any:
        indices = mt.asarray(np.array([i % 3, 6 if i % 4 == 3 else 1]))
        doubled = table * 2.0
        try:
            return mt.take(doubled, indices, axis=0) + 1.0
        except IndexError as error:
            return "no such row", type(error).__name__, doubled

    return step


def sizes_that_part_ways() -> Step:
    """Two sizes that were equal in all traces, and are not later; one comes down to 1."""

    def step(i: int) -> Any:
        n = 3 + i % 3
        m = n if i < 8 else 9 - n if i < 14 else 1
        return data(n, offset=i) * 2.0, data(m, offset=i) * 2.0, data(n, 1) + data(1, m)

    return step


PROGRAMS += [
    sizes_that_part_ways,
    sliding_window,
    mutation_in_place,
    adam_training,
    sorting_and_selecting,
    failing_index,
]


def loop_until_a_value() -> Step:
    """Rounds that depend on a value read in each; more different trip counts than are unrolled."""

    def step(i: int) -> Any:
        x = data(3, offset=i) * 0.0 + 1.0
        limit = float(2 ** (1 + (i * 5) % 11))
        rounds = 0
        while float(x.sum()) < 3.0 * limit:
            x = x + x
            rounds += 1
        return x, rounds

    return step


def long_loop() -> Step:
    def step(i: int) -> Any:
        x, y = data(3, offset=i), data(3)
        for _ in range(70 + i % 2):
            x, y = mt.clip(x + y, -8.0, 8.0), x - 1.0
        return x, y

    return step


PROGRAMS += [loop_until_a_value, long_loop]


def masks_and_positions() -> Step:
    """One value read in two places, with feeds in between whose size depends on it."""

    def step(i: int) -> Any:
        x = data(6, offset=i)
        mask = x > 0.0
        return x[mask] * 2.0, mt.nonzero(mask)[0], mt.where(mask, x, 0.0)

    return step


def branch_on_a_size() -> Step:
    """An operation that is met first when sizes vary already."""
    w = data(3, 3)

    def step(i: int) -> Any:
        x = data(2 + i % 4, 3, offset=i)
        y = x @ w
        if x.shape[0] > 3:
            y = (y + 1.0).reshape((x.shape[0], 3, 1)) * 2.0
        return y

    return step


PROGRAMS += [masks_and_positions, branch_on_a_size]


def second_order() -> Step:
    w = parameter(3)

    def step(i: int) -> Any:
        x = data(3, offset=i)

        def cubic(v: mt.Tensor) -> mt.Tensor:
            return (v * v * v * x).sum()

        return mt.grad(cubic)(w), mt.grad(lambda v: (mt.grad(cubic)(v) * x).sum())(w)

    return step


def gradient_accumulation() -> Step:
    w = parameter(3)
    optimiser = SGD([w], lr=0.5)

    def step(i: int) -> Any:
        (w * data(3, offset=i)).sum().backward()
        if i % 3 == 2:
            optimiser.step()
            optimiser.zero_grad()
            w.value = data(3, offset=i).value
        return w.grad is None, w.detach()

    return step


def parameters_frozen_now_and_then() -> Step:
    a, b = parameter(3), parameter(3)

    def step(i: int) -> Any:
        b.requires_grad = i % 4 < 2
        a.grad = b.grad = None
        (a * b * data(3, offset=i)).sum().backward()
        return a.grad, b.grad

    return step


def recursion() -> Step:
    def tree(x: mt.Tensor, depth: int) -> mt.Tensor:
        return x if depth == 0 else tree(x + 1.0, depth - 1) + tree(x * 2.0, depth - 1)

    def step(i: int) -> Any:
        return tree(data(2, offset=i), i % 4)

    return step


def numbers_of_several_types() -> Step:
    def step(i: int) -> Any:
        k = (1, 1.0, True)[i % 3]
        return data(3, offset=i) * k, mt.asarray(np.arange(3)) + k

    return step


def dropout_in_training_and_evaluation() -> Step:
    layer = mt.nn.Dropout(0.5)

    def step(i: int) -> Any:
        layer.train(i % 2 == 0)
        return layer(data(4, 4, offset=i))

    return step


PROGRAMS += [
    second_order,
    gradient_accumulation,
    parameters_frozen_now_and_then,
    recursion,
    numbers_of_several_types,
    dropout_in_training_and_evaluation,
]
