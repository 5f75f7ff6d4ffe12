"""State inside a step: writes in place, lifetimes, random numbers, threads; part of `features`."""

from __future__ import annotations

import asyncio
import copy
import functools
import random
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from programs import Step, data, parameter

import coexec
import minitensor as mt
from minitensor import random as tensor_random

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
