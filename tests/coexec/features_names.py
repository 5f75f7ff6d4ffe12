"""Names inside a step: closures, globals, classes, methods, arguments; part of `features`."""

from __future__ import annotations

import types
from collections import namedtuple
from typing import Any

from programs import Step, data

import minitensor as mt

# --- names: closures, globals, classes, methods ---------------------------------------------------------


def globals_rebound() -> Step:
    names: dict[str, Any] = {"mt": mt, "data": data}
    source = """
scale, state = 1.0, mt.zeros((2,))
def step(i):
    global scale, state
    for k in range(2):
        state = mt.clip(state + data(2, offset=i) * scale, -9.0, 9.0)
        scale = 0.5 if scale > 3.0 else scale * 2.0
    return state, scale
"""
    exec(source, names)
    step: Step = names["step"]
    return step


def attributes_of_objects_and_classes() -> Step:
    class Counter:
        total = 0

        def __init__(self) -> None:
            self.value = 0
            self.weights = data(2)

    o = Counter()

    def step(i: int) -> Any:
        o.value += 1
        Counter.total += o.value
        o.weights = o.weights * -1.0 + float(o.value % 3)
        return o.value, Counter.total, o.weights

    return step


def a_buffer_rebound_between_calls() -> Step:
    holder = types.SimpleNamespace(buffer=data(3), mask=None)

    def step(i: int) -> Any:
        y = holder.buffer * 2.0 + data(3, offset=i)
        if i % 3 == 2:
            holder.buffer = data(3, offset=i)  # for the next call
        holder.mask = y > 0.0 if i % 2 else None
        return y if holder.mask is None else mt.where(holder.mask, y, 0.0)

    return step


def patched_methods() -> Step:
    class Layer:
        def forward(self, x: mt.Tensor) -> mt.Tensor:
            return x * 2.0

    layer = Layer()
    original = Layer.forward

    def step(i: int) -> Any:
        if i == 8:
            Layer.forward = lambda self, x: original(self, x) + 1.0  # type: ignore[method-assign]
        if i == 14:
            layer.forward = lambda x: x - 3.0  # type: ignore[method-assign]
        return layer.forward(data(3, offset=i))

    return step


def hooks() -> Step:
    seen: list[float] = []
    before: list[Any] = [lambda x: x + 1.0]
    after: list[Any] = [lambda x: seen.append(float(x.sum()))]

    def step(i: int) -> Any:
        x = data(3, offset=i)
        if i == 9:
            before.append(lambda x: x * 0.5)
        for hook in before:
            x = hook(x)
        y = x * x
        for hook in after:
            hook(y)
        return y

    return step


def bound_methods_made_anew() -> Step:
    class Model:
        def __init__(self) -> None:
            self.w = data(3)

        def act(self, x: mt.Tensor) -> mt.Tensor:
            return x * self.w

        def pick(self, i: int) -> Any:
            return self.act  # another object each time

    model = Model()

    def step(i: int) -> Any:
        act = model.pick(i)
        return act(act(data(3, offset=i)))

    return step


def descriptors_and_magic() -> Step:
    class Box:
        def __init__(self, x: mt.Tensor) -> None:
            self._x = x

        @property
        def twice(self) -> mt.Tensor:
            return self._x * 2.0

        def __call__(self, *xs: mt.Tensor, **named: mt.Tensor) -> mt.Tensor:
            return sum(xs, self._x) + sum(named.values(), 0.0)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> mt.Tensor:
            if name.startswith("plus"):
                return self._x + float(name[4:])
            raise AttributeError(name)

    def step(i: int) -> Any:
        x = data(2, offset=i)
        box = Box(x)
        return box.twice, box(x, x, y=x), getattr(box, f"plus{i % 2}"), getattr(box, "none", x)

    return step


def decorators_and_partials() -> Step:
    from functools import cache, partial, reduce

    @cache
    def constant(n: int) -> mt.Tensor:
        return data(n) * 2.0

    def step(i: int) -> Any:
        add = partial(mt.add, data(2, offset=i))
        total = reduce(lambda a, b: a + b, [constant(2), add(constant(2)), *map(mt.negative, [constant(2)])])
        return sorted([total, total + 1.0], key=lambda t: -float(t.sum()))

    return step


# --- arguments and results ------------------------------------------------------------------------------

Batch = namedtuple("Batch", "x y")


def nested_arguments_and_results() -> Step:
    def inner(batch: Batch, *rest: mt.Tensor, scale: float = 2.0, **named: Any) -> Any:
        total = batch.x * scale + sum(rest[1:], rest[0])
        return {"batch": Batch(total, batch.y), "named": [(k, v * 1.0) for k, v in named.items()], "none": None}

    def step(i: int) -> Any:
        x, y = data(2, offset=i), data(2, offset=1)
        extra = {"a": x, "b": x} if i % 2 else {"a": y, "b": x}  # aliased in one of two steps
        return inner(Batch(x, y), x, y, *([x] if i % 3 == 0 else []), scale=float(i % 4), **extra)

    return step
