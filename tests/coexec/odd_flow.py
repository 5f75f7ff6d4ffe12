"""Python's rarer ways of getting about, combined: part of what `test_coexec_odd_programs` runs (see `programs`)."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import contextvars
import dataclasses
import functools
import heapq
import inspect
import io
import itertools
import logging
import pickle
import random
import sqlite3
import statistics
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import numpy as np
from programs import Step, data

import coexec
import minitensor as mt
from minitensor import functional as F

# --- generators, coroutines, contexts -------------------------------------------------------------------


def generators_that_hold_half_a_step() -> Step:
    """Each is begun in one step, goes on in the next in the middle of an expression, and computes when it is closed."""
    running: list[Iterator[Any]] = []
    last: list[mt.Tensor] = [data(2)]

    def halves(x: mt.Tensor) -> Iterator[mt.Tensor]:
        try:
            y = x * 2.0 + (yield x + 1.0)
            yield y * 0.5
        finally:
            last[0] = mt.clip(x * -0.5, -4.0, 4.0)

    def step(i: int) -> Any:
        out = None
        if running:
            out = running[0].send(data(2, offset=i))  # type: ignore[attr-defined]
            if i % 3 == 2:
                running[0].close()  # type: ignore[attr-defined]
        running[:] = [halves(data(2, offset=i) + last[0])]
        return next(running[0]), out

    return step


def generators_chained() -> Step:
    def walk(x: mt.Tensor, depth: int) -> Any:
        if depth == 0:
            sent = yield x
            return x + 1.0 if sent is None else x * sent
        left = yield from walk(x * 0.5, depth - 1)
        return left - (yield from walk(x + left, 0))

    def step(i: int) -> Any:
        run, seen = walk(data(2, offset=i), i % 3), []
        try:
            y = next(run)
            while True:
                seen.append(y)
                y = run.send(float(len(seen)) if i % 2 else None)
        except StopIteration as end:
            return seen, end.value

    return step


def tasks_that_outlive_steps() -> Step:
    """An event loop that lives longer than the step: tasks begun in one step end in later ones."""
    loop = asyncio.new_event_loop()
    tasks: list[asyncio.Task[mt.Tensor]] = []

    async def work(x: mt.Tensor, rounds: int) -> mt.Tensor:
        for k in range(rounds):
            x = mt.clip(x * 2.0 - float(k), -8.0, 8.0)
            await asyncio.sleep(0)
        return x

    async def turn() -> None:
        for _ in range(2):
            await asyncio.sleep(0)

    def step(i: int) -> Any:
        tasks.append(loop.create_task(work(data(2, offset=i), 1 + i % 4)))
        loop.run_until_complete(turn())
        done = [t for t in tasks if t.done()]
        tasks[:] = [t for t in tasks if not t.done()]
        return [t.result() + 1.0 for t in done], len(tasks)

    def close() -> None:
        for task in tasks:
            task.cancel()
        loop.run_until_complete(turn())
        loop.close()

    weakref.finalize(step, close)
    return step


def asynchronous_generators_and_contexts() -> Step:
    @contextlib.asynccontextmanager
    async def scaled(x: mt.Tensor) -> AsyncIterator[mt.Tensor]:
        yield x * 0.5

    async def parts(x: mt.Tensor, n: int) -> AsyncIterator[mt.Tensor]:
        for k in range(n):
            await asyncio.sleep(0)
            yield x + float(k)

    async def whole(i: int) -> list[mt.Tensor]:
        async with scaled(data(2, offset=i)) as x:
            return [y * x async for y in parts(x, 1 + i % 3)]

    return lambda i: asyncio.run(whole(i))


def context_variables() -> Step:
    scale: contextvars.ContextVar[float] = contextvars.ContextVar("scale", default=1.0)

    def inside(x: mt.Tensor, k: float) -> mt.Tensor:
        scale.set(k)
        return x * scale.get()

    def step(i: int) -> Any:
        x, token = data(2, offset=i), scale.set(float(i % 4))
        try:
            copied = contextvars.copy_context()
            return copied.run(inside, x, 0.5), x * scale.get(), copied[scale]
        finally:
            scale.reset(token)

    return step


# --- exceptions -----------------------------------------------------------------------------------------


def exceptions_in_chains_and_groups() -> Step:
    """What is computed travels as the argument of a cause, of a context, of one of a group."""
    box: list[mt.Tensor] = []

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        try:
            try:
                raise KeyError(x + 1.0)
            except KeyError as error:
                raise ValueError("from it") from error
        except ValueError as error:
            assert error.__cause__ is not None
            box.append(error.__cause__.args[0])
        try:
            raise ExceptionGroup("both", [KeyError(x - 1.0), TypeError(float(x.sum()))])
        except* TypeError as group:
            total = group.exceptions[0].args[0]
        except* KeyError as group:
            box.append(group.exceptions[0].args[0] * 0.5)
        del box[:-4]
        return total, box[-1] if i % 3 else [float(v) for b in box for v in b]

    return step


def returns_out_of_finally() -> Step:
    def inner(x: mt.Tensor, i: int) -> Any:
        for k in range(3):
            try:
                x = x * 2.0
                if k == i % 4:
                    raise IndexError(k)
            except IndexError:
                continue
            finally:
                x = x - 1.0
                if i % 5 == 4:
                    return "early", x  # noqa: B012
        else:
            x = x + 0.5
        return "late", x

    return lambda i: inner(data(2, offset=i), i)


def interrupts_that_the_step_catches() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        try:
            if i % 4 == 2:
                raise KeyboardInterrupt
            x = x + 1.0
            if i % 4 == 3:
                sys.exit(3)
        except (KeyboardInterrupt, SystemExit) as end:
            return type(end).__name__, x * 0.5
        return x

    return step


# --- order and choice by values -------------------------------------------------------------------------


def orders_that_values_decide() -> Step:
    """Sorted by key, by the tensors' own order, in a heap, with a bisection."""
    heap: list[tuple[float, int, mt.Tensor]] = []
    count = itertools.count()

    def step(i: int) -> Any:
        parts = {k: data(2, offset=3 * i + k) * float(k + 1) for k in range(4)}
        order = sorted(parts, key=lambda k: (float(parts[k].sum()), k))
        heapq.heappush(heap, (float(parts[0].sum()), next(count), parts[0] + 1.0))
        least = heapq.heappop(heap)[2] if len(heap) > 3 else parts[0]
        place = bisect.bisect([float(parts[k].sum()) for k in order], 0.0)
        best = max(parts.values(), key=lambda x: x[0])
        return order, place, functools.reduce(mt.subtract, [parts[k] for k in order]), least * 2.0, best - 1.0

    return step


def running_totals_and_pairs() -> Step:
    def step(i: int) -> Any:
        x = data(4, 2, offset=i)
        rows = iter(x)
        first = next(rows)
        pairs = [a - b for a, b in itertools.pairwise(x)]
        totals = list(itertools.accumulate(rows, lambda a, b: a * 0.5 + b))
        head, *rest = x
        return first + 1.0, pairs, totals, head - rest[-1], [*map(float, x[0])], list(zip(x, pairs, strict=False))

    return step


def statistics_and_a_database() -> Step:
    base = sqlite3.connect(":memory:")
    base.execute("create table losses (step integer, loss real)")

    def step(i: int) -> Any:
        loss = (data(4, offset=i) * 0.5).sum()
        base.execute("insert into losses values (?, ?)", (i, float(loss)))
        rows = [r for (r,) in base.execute("select loss from losses order by step desc limit 5")]
        return (
            loss * statistics.median(rows),
            statistics.fmean(rows),
            base.execute("select count(*) from losses").fetchone(),
        )

    return step


# --- functions and names --------------------------------------------------------------------------------


def functions_made_in_loops() -> Step:
    """Closures that share a variable, defaults that do not, partials, single dispatch, a cache keyed by a tensor."""

    @functools.singledispatch
    def act(x: Any) -> Any:
        return x * 2

    @act.register
    def _(x: mt.Tensor) -> Any:
        return x + 0.5

    @functools.lru_cache(maxsize=2)
    def remembered(x: mt.Tensor) -> mt.Tensor:
        return x * 3.0

    def step(i: int) -> Any:
        x = data(2, offset=i)
        late = [lambda: x * float(k) for k in range(3)]  # noqa: B023
        early = [lambda k=k: x * float(k) for k in range(3)]
        add = functools.partial(mt.add, x)
        x = x + 1.0
        return (
            [f() for f in late],
            [f() for f in early],
            add(x),
            act(x),
            act(i),
            remembered(x) is remembered(x),
            remembered(x),
        )

    return step


def default_arguments_that_grow() -> Step:
    def inner(x: mt.Tensor, seen: list[Any] = [], *, scale: float = 1.0, **named: Any) -> Any:  # noqa: B006
        seen.append(x * scale)
        del seen[:-3]
        return sum(seen[1:], seen[0]), {k: v + scale for k, v in named.items()}, len(seen)

    def step(i: int) -> Any:
        x = data(2, offset=i)
        named = {"a": x, "b": x * 2.0}
        return inner(x, scale=0.5 * (i % 3), **(named if i % 2 else dict(reversed(named.items()))))

    return step


def steps_defined_by_source() -> Step:
    """Three functions made of three texts in turn, one of them under the file name of another."""
    texts = ["def f(x):\n    return x * 2.0", "def f(x):\n    return x * 2.0 + 1.0", "def f(x):\n\n    return x - 3.0"]

    def step(i: int) -> Any:
        names: dict[str, Any] = {}
        exec(compile(texts[i % 3], "<cell>" if i % 3 < 2 else "<other cell>", "exec"), names)
        return names["f"](data(2, offset=i)), eval("f(f(x))", {**names, "x": data(2, offset=i)})

    return step


def a_library_patched_midway() -> Step:
    w = mt.nn.Parameter(data(3))
    relu, multiply = F.relu, mt.Tensor.__mul__

    def step(i: int) -> Any:
        if i % 8 == 6:
            F.relu = lambda x: relu(x) + 0.5
        if i % 8 == 7:
            mt.Tensor.__mul__ = lambda a, b: multiply(a, b) + 1.0  # type: ignore[method-assign]
        try:
            y = (F.relu(w * data(3, offset=i)) ** 2).sum()
            w.grad = None
            y.backward()
            return y, w.grad
        finally:
            F.relu, mt.Tensor.__mul__ = relu, multiply  # type: ignore[method-assign]

    return step


def a_tensor_class_of_ones_own() -> Step:
    class Scaled(mt.nn.Parameter):
        def __mul__(self, other: Any) -> mt.Tensor:
            return mt.multiply(self, other) + 1.0

    w = Scaled(data(3))

    def step(i: int) -> Any:
        w.grad = None
        y = (w * data(3, offset=i)).sum()
        y.backward()
        return y, w.grad, type(w).__name__

    return step


def decorated_steps_of_all_kinds() -> Step:
    class Model:
        k = 2.0

        @staticmethod
        @coexec.coexecute
        def a(x: mt.Tensor) -> mt.Tensor:
            return x * 2.0

        @classmethod
        def b(cls, x: mt.Tensor) -> mt.Tensor:
            return x * cls.k

        @coexec.coexecute
        def c(self, x: mt.Tensor) -> mt.Tensor:
            return x + self.k

        @functools.cached_property
        def d(self) -> mt.Tensor:
            return data(3) * self.k

        e = coexec.coexecute(functools.partial(lambda y, x: x - y, 1.0))

    def step(i: int) -> Any:
        model, x = Model(), data(3, offset=i)
        model.k = float(i % 3)
        return model.a(x), Model.a(x), model.b(x), model.c(x), model.d + model.d, model.e(x)

    return step


# --- arguments, results, surroundings -------------------------------------------------------------------


class Pair(NamedTuple):
    left: mt.Tensor
    right: Any = None


@dataclasses.dataclass(slots=True)
class State:
    w: mt.Tensor
    parts: dict[str, Pair] = dataclasses.field(default_factory=dict)
    steps: int = 0


def dataclasses_replaced() -> Step:
    state = State(data(3))

    def step(i: int) -> Any:
        nonlocal state
        pair = Pair(state.w * 0.5, {"x": [data(3, offset=i)]})
        state = dataclasses.replace(
            state, w=mt.clip(pair.left + pair.right["x"][0], -4.0, 4.0), steps=state.steps + 1,
            parts={**state.parts, f"p{i % 3}": pair._replace(right=None)},
        )  # fmt: skip
        match state:
            case State(steps=n, parts={"p1": Pair(left, None)}) if n % 2:
                return left + 1.0, n
            case State(w=w):
                return dataclasses.asdict(state)["steps"], w

    return step


def nests_of_different_depth() -> Step:
    def build(depth: int, x: mt.Tensor) -> Any:
        return {"l": build(depth - 1, x * 0.5), "r": (build(depth - 1, x + 1.0), [x])} if depth else x

    def fold(nest: Any) -> mt.Tensor:
        return nest if isinstance(nest, mt.Tensor) else fold(nest["l"]) - fold(nest["r"][0]) * nest["r"][1][0]

    def step(i: int) -> Any:
        nest = build(1 + i % 3, data(2, offset=i))
        return nest, fold(nest), [], {}, None

    return step


def frames_and_locals_looked_at() -> Step:
    def caller() -> Any:
        return sys._getframe(1).f_locals["x"] * 2.0

    def step(i: int) -> Any:
        x = data(2, offset=i) + 1.0
        y = caller()
        names = {name: value for name, value in locals().items() if isinstance(value, mt.Tensor)}
        return y, sorted(names), [names[name] - 1.0 for name in sorted(names)], inspect.currentframe() is not None

    return step


def texts_logs_and_warnings() -> Step:
    stream = io.StringIO()
    logger = logging.Logger("odd")
    logger.addHandler(logging.StreamHandler(stream))

    def step(i: int) -> Any:
        x = data(3, offset=i) * 0.5
        logger.warning("step %d: %s, %.2f", i, x, x.sum())
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(stream):
            warnings.simplefilter("always")
            print(x + 1.0)
            if float(x[0]) > 0:
                warnings.warn(f"{x[0].item():g}", stacklevel=1)
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        print(f"{x.sum():>8.3f}|{x!r}|{x[0]!s}")
        return text, [str(w.message) for w in caught], x * 2.0

    return step


def bytes_pickles_and_buffers() -> Step:
    def step(i: int) -> Any:
        x = data(2, 3, offset=i) * 2.0
        again = pickle.loads(pickle.dumps({"x": x, "shape": x.shape}))["x"]
        view = memoryview(np.ascontiguousarray(x.numpy()))
        back = mt.asarray(np.frombuffer(view.tobytes(), np.float32).reshape(2, 3))
        return again + back, view.nbytes, mt.from_dlpack(x) - 1.0, hash(view.tobytes()) == hash(x.numpy().tobytes())

    return step


def pythons_random_choices() -> Step:
    """Branches and operands by generators of its own, whose state goes back now and then."""
    rng, states = random.Random(3), []

    def step(i: int) -> Any:
        if i % 6 == 2:
            states.append(rng.getstate())
        if i % 6 == 5:
            rng.setstate(states[-1])
        x = data(3, offset=i)
        for _ in range(2):
            x = rng.choice([lambda v: v + 1.0, lambda v: v * 0.5, lambda v: v])(x)
        return x * rng.choice([0.5, 1.5]), rng.sample(range(5), 2), np.random.default_rng(i).normal() > 0

    return step


ODD_FLOW = [
    generators_that_hold_half_a_step,
    generators_chained,
    tasks_that_outlive_steps,
    asynchronous_generators_and_contexts,
    context_variables,
    exceptions_in_chains_and_groups,
    returns_out_of_finally,
    interrupts_that_the_step_catches,
    orders_that_values_decide,
    running_totals_and_pairs,
    statistics_and_a_database,
    functions_made_in_loops,
    default_arguments_that_grow,
    steps_defined_by_source,
    a_library_patched_midway,
    a_tensor_class_of_ones_own,
    decorated_steps_of_all_kinds,
    dataclasses_replaced,
    nests_of_different_depth,
    frames_and_locals_looked_at,
    texts_logs_and_warnings,
    bytes_pickles_and_buffers,
    pythons_random_choices,
]
