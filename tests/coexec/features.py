"""Python's features inside a step, one small program each (see `programs`); those of training are in `training`."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import copy
import functools
import json
import random
import threading
import types
import weakref
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from programs import Step, data, parameter
from scipy import ndimage

import coexec
import minitensor as mt
from minitensor import random as tensor_random

# --- values that Python reads ---------------------------------------------------------------------------


def third_party_calls() -> Step:
    def step(i: int) -> Any:
        y = data(3, 4, offset=i) * 2.0
        labels, count = ndimage.label(y.numpy() > 0)
        parsed = json.loads(json.dumps({"y": y.sum(axis=0).tolist()}))
        centre = ast.literal_eval(repr([float(v) for v in y[0]]))
        return y + mt.asarray(labels.astype(np.float32)), count, parsed, mt.asarray(centre) * 2.0

    return step


def values_as_loop_bounds() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i)
        for _ in range(int((x * x).sum()) % 4):
            x = x + 1.0
        return x

    return step


def values_as_indices_and_keys() -> Step:
    table, names = data(5, 2), {k: k * 0.5 for k in range(-9, 10)}
    seen: dict[float, int] = {}

    def step(i: int) -> Any:
        x = data(5, offset=i)
        k = int(mt.argmax(x))
        key = x.sum().item()
        seen[key] = seen.get(key, 0) + 1
        return table[k] * names[int(key)] + 1.0, seen[key], [10, 20, 30, 40, 50][mt.argmax(x)]

    return step


def values_in_texts() -> Step:
    lines: list[str] = []

    def step(i: int) -> Any:
        loss = (data(4, offset=i) * 0.5).sum()
        print(f"step {i}: loss {loss:+.2f}", loss * 2.0)
        lines.append(f"{float(loss):g}")
        print(repr(loss), str(loss + 1.0))
        return loss * 3.0

    return step


def values_in_conditions_of_all_kinds() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i)
        y = x.sum()
        chosen = x if y > 0 and bool((x > -3.0).all()) else x * 2.0
        while chosen.sum() < 4.0:
            chosen = chosen + 1.0
        assert chosen.sum() >= 4.0
        return chosen, not y, 1.0 if y else 2.0, max(float(v) for v in chosen)

    return step


def operands_in_an_order_that_values_decide() -> Step:
    """The same operations on the same values, which swap places: a graph must have all wirings at once."""

    def step(i: int) -> Any:
        parts = [data(2, offset=3 * i + k) * float(k + 1) for k in range(4)]
        parts.sort(key=lambda x: float(x.sum()))
        best = max(parts, key=lambda x: float(x[0]))
        return parts[0] - parts[-1], best + 1.0

    return step


def values_read_between_all_operations() -> Step:
    """`.item()` after every operation, used in the next one: one graph all the same."""

    def step(i: int) -> Any:
        x, seen = data(3, offset=i), []
        for k in range(5):
            x = mt.clip(x * 1.5, -9.0, 9.0)
            seen.append(x[k % 3].item())
            x = x + seen[-1] * 0.5
        return seen, x

    return step


def early_stop_on_a_value() -> Step:
    best, patience = [float("inf")], [3]

    def step(i: int) -> Any:
        loss = (data(4, offset=i * i) * 0.5).sum()
        value = float(loss)
        if value < best[0]:
            best[0], patience[0] = value, 3
            return "better", loss * 2.0
        patience[0] -= 1
        if patience[0] <= 0:
            patience[0] = 3
            best[0] = float("inf")
            raise StopIteration(f"no gain since {value}")
        return "worse", loss

    return step


def numbers_that_change_their_type() -> Step:
    """A number that is another one in every step, an int for a while, then a float."""

    def step(i: int) -> Any:
        k = i if i < 10 else i + 0.5
        return mt.asarray(np.arange(3)) * k, data(3, offset=i) * k

    return step


# --- control flow ---------------------------------------------------------------------------------------


def nested_loops_with_break_continue_else() -> Step:
    def step(i: int) -> Any:
        x = data(2, offset=i)
        for row in range(3):
            for column in range(4):
                if (row + column + i) % 5 == 0:
                    continue
                if row * column > 3 + i % 3:
                    break
                x = mt.clip(x + float(column), -9.0, 9.0)
            else:
                x = x * -1.0
            while True:
                x = x - 1.0
                if float(x.sum()) < 3.0:
                    break
        return x

    return step


def recursion_over_trees() -> Step:
    trees = [1, (1, 2), ((1, 2), 3), (1, (2, (3, 4))), ((1, 2), (3, 4))]

    def fold(tree: Any, leaf: mt.Tensor) -> mt.Tensor:
        if isinstance(tree, int):
            return leaf * float(tree)
        left, right = (fold(part, leaf) for part in tree)
        return mt.clip(left - right * 2.0, -9.0, 9.0)

    def step(i: int) -> Any:
        return fold(trees[i % 5], data(3, offset=i))

    return step


def a_generator_that_outlives_the_step() -> Step:
    def numbers() -> Iterator[mt.Tensor]:
        x = data(2)
        while True:
            x = mt.clip(x + x, -8.0, 8.0) - 1.0
            yield x

    running: list[Iterator[mt.Tensor]] = []

    def step(i: int) -> Any:
        if i % 6 == 0:
            running[:] = [numbers()]
        return next(running[0]) * 2.0

    return step


def a_generator_that_receives_and_is_closed() -> Step:
    log: list[str] = []

    def averager() -> Any:
        total = data(2) * 0.0
        try:
            while True:
                total = total + (yield total * 0.5)
        except ValueError:
            yield total * -1.0
        finally:
            log.append("closed")

    def step(i: int) -> Any:
        running = averager()
        next(running)
        seen = [running.send(data(2, offset=i + k)) for k in range(2)]
        last = running.throw(ValueError) if i % 3 == 1 else seen[-1]
        running.close()
        return seen, last + 1.0, len(log)

    return step


def try_except_else_finally() -> Step:
    log: list[str] = []

    def step(i: int) -> Any:
        x = data(3, offset=i)
        try:
            x = x * 2.0
            if i % 4 == 3:
                raise LookupError(float(x.sum()))
        except LookupError as error:
            x = x + error.args[0]
        else:
            x = x - 1.0
        finally:
            x = x * 0.5
            log.append(f"{float(x[0]):g}")
        with contextlib.suppress(ZeroDivisionError):
            x = x + 1.0
            x = x * (1 / (i % 2))
        return x

    return step


def updates_broken_off_midway() -> Step:
    """Some parameters are written, then an exception comes: those and no others have changed."""
    weights = [data(3, offset=k) for k in range(4)]

    def step(i: int) -> Any:
        updates = [mt.clip(w * -0.5 + data(3, offset=i), -8.0, 8.0) for w in weights]
        for k, update in enumerate(updates):
            if k == i % 6:
                raise ArithmeticError(f"before {k}")
            weights[k][...] = update
        return len(updates)

    return step


def exceptions_whose_frames_are_read_later() -> Step:
    kept: list[BaseException] = []

    def step(i: int) -> Any:
        y = data(2, offset=i) * 2.0
        try:
            z = y + 1.0
            raise RuntimeError(i)
        except RuntimeError as error:
            kept.append(error)
            del z
        frame = kept[max(0, len(kept) - 3)].__traceback__
        assert frame is not None
        older = frame.tb_frame.f_locals["y"]
        if len(kept) > 6:
            kept.clear()
        return y, older * 1.0

    return step


def operations_that_never_succeed() -> Step:
    """Shapes that do not fit, an index out of range, a number out of range: caught in every step."""

    def step(i: int) -> Any:
        x, n, told = data(3, offset=i) * 2.0, mt.asarray(np.arange(3)), []
        wrong = [
            lambda: x + data(4),
            lambda: x @ data(4),
            lambda: x.reshape((2, 2)),
            lambda: x[5],
            lambda: x * "a",  # type: ignore[operator]
            lambda: n * 2**70,
            lambda: mt.concat([x, data(2, 2)]),
        ]
        for attempt in wrong:
            try:
                attempt()
            except Exception as error:
                told.append((type(error).__name__, str(error)))
        return told, x + 1.0

    return step


def context_managers() -> Step:
    depth: list[mt.Tensor] = []

    @contextlib.contextmanager
    def scaled(by: float) -> Iterator[mt.Tensor]:
        depth.append(data(2) * by)
        try:
            yield depth[-1]
        finally:
            depth.pop()

    def step(i: int) -> Any:
        with scaled(2.0) as a, mt.no_grad(), scaled(float(1 + i % 2)) as b:
            x = a + b + data(2, offset=i)
        return x, len(depth)

    return step


def executed_source() -> Step:
    def step(i: int) -> Any:
        names = {"x": data(2, offset=i), "mt": mt}
        exec(f"y = x * {1 + i % 2}.0\nfor k in range(2):\n    y = y + x", names)
        return names["y"], eval("y.sum() + 1.0", names)

    return step


def pattern_matching_and_comprehensions() -> Step:
    def step(i: int) -> Any:
        parts = [data(2, offset=i + k) * float(k) for k in range(3) if (k + i) % 4]
        table = {k: v + 1.0 for k, v in enumerate(parts)}
        match parts:
            case [a, b]:
                x = a - b
            case [a, *_, b]:
                x = a + b
            case _:
                x = data(2)
        return x, table, (largest := x.max()) + 1.0, float(largest)

    return step


def many_rare_branches() -> Step:
    """A new path in every other step for a while, and speed again afterwards."""

    def step(i: int) -> Any:
        x = data(2, offset=i)
        for bit in range(3):
            x = x + 1.0 if (i // 2) >> bit & 1 else x * 2.0
        return x

    return step


# --- names: closures, globals, classes, methods ---------------------------------------------------------

SCALE = 1.0
STATE = mt.zeros((2,))


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


# --- writes in place ------------------------------------------------------------------------------------


def writes_by_row_mask_stride_ellipsis() -> Step:
    state = data(4, 3)

    def step(i: int) -> Any:
        x = data(4, 3, offset=i)
        x[i % 4] = -1.0
        x[x > 1.0] = 0.0
        x[::2, 1] = data(2, offset=i)
        x[..., -1] += 2.0
        x[1:3] = x[:2] * 2.0
        alias = state
        state[i % 4, :] = x[0]
        alias *= 0.5
        return x, alias + state

    return step


def view_write_branch() -> Step:
    def step(i: int) -> Any:
        x = data(3, 2, offset=i)
        row, flat = x[1], x.reshape((6,))
        x[1] = 0.0
        if float(row.sum()) > 0.0:  # a slice is a value: the write does not show in it
            row += 1.0
            flat[0] = 9.0
        return x, row, flat

    return step


def ndarray_methods_in_place() -> Step:
    shared = np.zeros(3, np.float32)
    borrowed = mt.asarray(shared, copy=False)

    def step(i: int) -> Any:
        y = (data(3, offset=i) * 2.0).numpy().copy()
        y.sort()
        y.fill(y[0]) if i % 4 == 3 else y.itemset if False else y.partition(1)
        before = borrowed + 1.0
        shared[...] = y
        np.add(shared, 1.0, out=shared)
        return mt.asarray(y) * 2.0, before, borrowed * 2.0

    return step


# --- lifetimes ------------------------------------------------------------------------------------------


def deep_copies() -> Step:
    state = {"w": data(3), "n": [1, 2]}

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        twin, pair = copy.deepcopy(state), copy.deepcopy([x, x])
        pair[0] += 1.0
        twin["w"] = twin["w"] + x
        state["w"] = copy.copy(twin["w"]) * -0.5
        return pair[0] is pair[1], pair, twin, x

    return step


def weak_references_and_finalisers() -> Step:
    gone: list[int] = []
    previous: list[Any] = []

    class Holder:
        def __init__(self, x: mt.Tensor) -> None:
            self.x = x

    def step(i: int) -> Any:
        alive = [r() is not None for r in previous]
        x = data(3, offset=i) * 2.0
        holder = Holder(x + 1.0)
        weakref.finalize(holder, gone.append, i)
        previous[:] = [weakref.ref(holder), weakref.ref(x)]
        y = holder.x * 2.0
        if i % 2:
            del holder
        return alive, list(gone), y, [r() is None for r in previous]

    return step


def tensors_read_many_steps_later() -> Step:
    kept: dict[int, mt.Tensor] = {}

    def step(i: int) -> Any:
        x = data(2, 2, offset=i)
        kept[i] = x @ x
        old = kept.pop(i - 7, None)
        older = kept.get(i - 5)
        return None if old is None else old.tolist(), None if older is None else older + x

    return step


def values_kept_now_and_then() -> Step:
    """What the graph need not deliver, and Python keeps or reads after all: in some steps only."""
    kept: list[mt.Tensor] = []

    def step(i: int) -> Any:
        a = data(3, offset=i) * 2.0
        b = mt.clip(a * a, 0.0, 8.0)
        c = b - a
        if i % 5 == 3:
            kept.append(b)
        if i % 7 == 5:
            kept.append(a)
        seen = kept[0].tolist() if i % 4 == 2 and kept else None
        del kept[:-2]
        return c.sum(), seen

    return step


def tensors_made_once_and_remembered() -> Step:
    """Made in the first step that wants them, by a cache or an attribute; given to all later ones."""

    @functools.lru_cache(maxsize=4)
    def table(k: int) -> mt.Tensor:
        return data(3, offset=k) * 0.5

    class Model:
        w: mt.Tensor | None = None

        def __call__(self, x: mt.Tensor) -> mt.Tensor:
            if self.w is None:
                self.w = mt.ones((3,)) * 2.0
            return x * self.w

    model = Model()

    def step(i: int) -> Any:
        return model(data(3, offset=i)) + table(i % 3)

    return step


def contents_exchanged() -> Step:
    """Two tensors swap what they hold, hold the same, and part again."""
    a, b = parameter(3), parameter(3)

    def step(i: int) -> Any:
        a.value, b.value = b.value, a.value
        a.grad = b.grad = None
        y = (a * b * 2.0 + a).sum()
        y.backward()
        if i % 3 == 1:
            b.value = a.value
        with mt.no_grad():
            a[i % 3] = float(i % 4)
            if i % 5 == 4:
                a[...] = data(3, offset=i)
        return y, a.grad, b.grad

    return step


def tensors_leaking_by_every_way() -> Step:
    leaks: list[Any] = [None]

    def step(i: int) -> Any:
        y = data(2, offset=i) * 3.0

        def late() -> mt.Tensor:
            return y + 1.0

        seen = leaks[0]() * 2.0 if leaks[0] is not None else None
        leaks[0] = late
        if i % 5 == 4:
            raise RuntimeError(y)
        return seen

    return step


# --- random numbers -------------------------------------------------------------------------------------


def random_states_saved_and_restored() -> Step:
    def step(i: int) -> Any:
        saved, python = tensor_random.get_state(), random.getstate()
        x = tensor_random.uniform((3,)) * 2.0
        again, a = None, random.random()
        if i % 3 == 1:
            tensor_random.set_state(saved)
            random.setstate(python)
            again = tensor_random.uniform((3,)) * 2.0
        return x, again, a, random.random(), np.random.rand()

    return step


def pythons_random_numbers_as_operands() -> Step:
    """Another number in every step, from Python's and NumPy's generators: never one of an earlier step."""

    def step(i: int) -> Any:
        x = data(3, offset=i) * (random.randint(0, 8) * 0.5)
        return (
            x + random.choice([1.0, 2.0, 3.0]),
            x * float(np.random.randint(4)),
            x - np.float32(random.getrandbits(3)),
        )

    return step


def random_operations_in_changing_order() -> Step:
    def step(i: int) -> Any:
        first, second = tensor_random.uniform, tensor_random.normal
        if random.random() < 0.3:
            first, second = second, first
        a, b = first((2,)), second((2,))
        unused = tensor_random.uniform((4,))
        del unused
        return a * 2.0, b + 1.0, tensor_random.permutation(4), tensor_random.randint(0, 5, (2,))

    return step


# --- threads and coroutines -----------------------------------------------------------------------------


def a_pool_of_threads() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        with ThreadPoolExecutor(2) as pool:
            parts = list(pool.map(lambda k: x * float(k), range(3)))
        return parts[0] + parts[1] * parts[2], x + 1.0

    return step


def a_thread_that_reads() -> Step:
    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(x.tolist()))
        thread.start()
        y = x + 1.0
        thread.join()
        return seen, y

    return step


def an_event_loop_inside() -> Step:
    async def part(x: mt.Tensor, k: int) -> mt.Tensor:
        await asyncio.sleep(0)
        y = x * float(k)
        await asyncio.sleep(0)
        return y + 1.0

    async def whole(x: mt.Tensor) -> mt.Tensor:
        parts = await asyncio.gather(part(x, 1), part(x, 2))
        return parts[0] * parts[1]

    def step(i: int) -> Any:
        return asyncio.run(whole(data(3, offset=i)))

    return step


def steps_within_steps() -> Step:
    inner = coexec.coexecute(lambda x: x * 2.0 + 1.0)

    @coexec.coexecute
    def other(x: mt.Tensor, k: int) -> mt.Tensor:
        return inner(x) if k % 2 else inner(inner(x))

    def step(i: int) -> Any:
        return other(data(3, offset=i), i)

    return step


FEATURES = [
    third_party_calls,
    values_as_loop_bounds,
    values_as_indices_and_keys,
    values_in_texts,
    values_in_conditions_of_all_kinds,
    values_read_between_all_operations,
    early_stop_on_a_value,
    operands_in_an_order_that_values_decide,
    numbers_that_change_their_type,
    nested_loops_with_break_continue_else,
    recursion_over_trees,
    a_generator_that_outlives_the_step,
    a_generator_that_receives_and_is_closed,
    try_except_else_finally,
    updates_broken_off_midway,
    exceptions_whose_frames_are_read_later,
    operations_that_never_succeed,
    context_managers,
    executed_source,
    pattern_matching_and_comprehensions,
    many_rare_branches,
    globals_rebound,
    attributes_of_objects_and_classes,
    a_buffer_rebound_between_calls,
    patched_methods,
    hooks,
    bound_methods_made_anew,
    descriptors_and_magic,
    decorators_and_partials,
    nested_arguments_and_results,
    writes_by_row_mask_stride_ellipsis,
    view_write_branch,
    ndarray_methods_in_place,
    deep_copies,
    weak_references_and_finalisers,
    tensors_read_many_steps_later,
    values_kept_now_and_then,
    tensors_made_once_and_remembered,
    contents_exchanged,
    tensors_leaking_by_every_way,
    random_states_saved_and_restored,
    pythons_random_numbers_as_operands,
    random_operations_in_changing_order,
    a_pool_of_threads,
    a_thread_that_reads,
    an_event_loop_inside,
    steps_within_steps,
]
