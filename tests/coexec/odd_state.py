"""What lives longer than an expression, and is written to: part of what `test_coexec_odd_programs` runs."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import queue
import random
import signal
import threading
import weakref
from typing import Any

import numpy as np
from programs import Step, data, parameter

import coexec
import minitensor as mt
from minitensor import random as tensor_random
from minitensor.optim import SGD, Adam

# --- writes ---------------------------------------------------------------------------------------------


def slices_that_overlap() -> Step:
    def step(i: int) -> Any:
        x = data(6, offset=i)
        x[1:] += x[:-1]
        x[::2] = x[1::2]
        x[:-1] = x[1:]
        x[::-1] = x
        x[2:5] *= x[1:4]
        x[mt.asarray([0, 0, 3])] = mt.asarray([1.0, 2.0, 3.0])
        y = x[1:4]
        x[1:4] = 0.0
        return x, y

    return step


def masks_that_vary_written_through() -> Step:
    def step(i: int) -> Any:
        x, y = data(6, offset=i), data(6, offset=i + 2)
        mask = x > (i % 5 - 2)
        x[mask] = y[mask] * 2.0
        x[~mask] *= 0.5
        (where,) = mt.nonzero(mask)
        y[where] = -1.0
        return x, y, x[mask].sum(), int(mask.sum()), where, x[mask & (y < 0)][:2]

    return step


def keys_of_all_kinds() -> Step:
    def step(i: int) -> Any:
        x = data(4, 5, offset=i) * 1.0
        x[0] = 1.0
        x[:, 1] = x[:, 2]
        x[1:3, ::2] = data(2, 3)
        x[mt.asarray([3, 0]), mt.asarray([1, 4])] = -9.0
        x[..., -1] += 1.0
        x[None, -1] *= 2
        row = x[i % 4]
        x[i % 4, 0] = 100.0
        return x, row, x[[0, 2]], x[i % 4, ..., None], x[:, [True, False, True, False, True]]

    return step


def writes_that_gradients_pass() -> Step:
    w = parameter(3)

    def step(i: int) -> Any:
        x = mt.zeros((4, 3)) + w
        x[1] = w * 2.0
        x[2:, 0] = w[0] ** 2
        x[x < -1.5] = 0.0
        w.grad = None
        (x * data(4, 3, offset=i)).sum().backward()
        return w.grad, x.detach()

    return step


def arrays_kept_of_tensors() -> Step:
    """What NumPy was given stays as it was, whatever the tensor becomes; what NumPy writes to is another's."""
    kept: list[np.ndarray[Any, Any]] = []
    w = data(4)

    def step(i: int) -> Any:
        x = data(4, offset=i) * 2.0
        kept.append(x.numpy())
        kept.append(np.asarray(w)[::2])
        x += 1.0
        w[i % 4] = float(i % 5)
        own = np.array(x)
        own[:] = -1.0
        del kept[:-6]
        return x, [a.copy() for a in kept], all(not a.flags.writeable for a in kept[::2]), own.sum()

    return step


def arrays_written_between_uses() -> Step:
    buffer = np.zeros(4, np.float32)
    whole = mt.asarray(buffer, copy=False)
    part = whole[1:3]

    def step(i: int) -> Any:
        buffer[:] = np.arange(4) + i
        a = whole * 2.0 + part.sum()
        buffer[1] = -i
        b, c = whole * 3.0, part + 1.0
        y = data(4, offset=i) * buffer  # an array as an operand
        buffer[...] = -1
        return a, b, c, y, np.float64(2.0) * y, y + buffer[::-1]

    return step


# --- lifetimes ------------------------------------------------------------------------------------------


def finalisers_that_compute() -> Step:
    """Garbage in cycles, collected at a place that differs from step to step."""
    out: list[Any] = []

    class Holder:
        def __init__(self, x: mt.Tensor, k: int) -> None:
            self.x, self.k, self.me = x, k, self

        def __del__(self) -> None:
            out.append(self.x * 2.0 + 1.0 if self.k % 3 else float(self.x.sum()))

    def step(i: int) -> Any:
        x, seen = data(3, offset=i), []
        gc.disable()
        try:
            for k in range(4):
                Holder(x * 1.0, k)
                x = mt.clip(x * 0.5 + float(k), -8.0, 8.0)
                if k == i % 5:
                    gc.collect(0)
                seen.append(x + 1.0)
        finally:
            gc.enable()
        gc.collect(0)
        made = len(out)
        out.clear()
        return x, seen, made

    return step


def objects_that_come_back() -> Step:
    """A finaliser that makes its object reachable again, with tensors that were never read."""
    saved: list[Any] = []

    class Phoenix:
        def __init__(self, x: mt.Tensor) -> None:
            self.x = x

        def __del__(self) -> None:
            saved.append(self)

    def step(i: int) -> Any:
        Phoenix(data(3, offset=i) * 2.0)
        old = [saved.pop(0).x + 1.0] if len(saved) > 3 else []
        saved.sort(key=lambda p: 0)
        return old, len(saved)

    return step


def weak_containers() -> Step:
    by_key: weakref.WeakKeyDictionary[mt.Tensor, int] = weakref.WeakKeyDictionary()
    by_name: weakref.WeakValueDictionary[str, mt.Tensor] = weakref.WeakValueDictionary()
    strong: list[mt.Tensor] = []

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        y = x + 1.0
        by_key[x] = by_key[y] = i
        by_name["x"], by_name[f"y{i % 3}"] = x, y
        if i % 2:
            strong.append(y)
        del strong[:-2], x
        return y, len(by_key), sorted(by_name), y in by_key, {y: 1}[y], by_name.get(f"y{(i + 1) % 3}")

    return step


def copies_of_model_and_optimiser() -> Step:
    model = mt.nn.Sequential(mt.nn.Linear(3, 2), mt.nn.Linear(2, 1))
    for k, p in enumerate(model.parameters()):
        p.value = data(*p.shape, offset=k).value
    optimiser = SGD(model.parameters(), lr=0.0625, momentum=0.5)
    best: list[Any] = []

    def step(i: int) -> Any:
        optimiser.zero_grad()
        loss = model(data(2, 3, offset=i)).sum()
        loss.backward()
        optimiser.step()
        if i % 5 == 2:
            saved = io.BytesIO()  # a file, whose bytes are no state to compare: kernels round otherwise
            pickle.dump(model.state_dict(), saved)
            best[:] = [copy.deepcopy((model, optimiser)), saved]
        if i % 5 == 4:
            best[1].seek(0)
            model.load_state_dict(pickle.load(best[1]))
        return loss, best[0][0](data(1, 3)) if best else None

    return step


def a_trainer_copied_in_mid_run() -> Step:
    class Trainer:
        def __init__(self) -> None:
            self.w = mt.nn.Parameter(data(3))
            self.optimiser = SGD([self.w], lr=0.25)
            self.step = coexec.coexecute(self._step)

        def _step(self, x: mt.Tensor) -> mt.Tensor:
            self.optimiser.zero_grad()
            loss = (self.w * x).sum()
            loss.backward()
            self.optimiser.step()
            return loss

    trainer, copies = Trainer(), []

    def step(i: int) -> Any:
        if i % 5 == 2:
            copies.append(copy.deepcopy(trainer))
            del copies[:-2]
        x = data(3, offset=i)
        return trainer.step(x), [c.step(x) for c in copies], trainer.w.detach(), [c.w is trainer.w for c in copies]

    return step


def names_that_change_places() -> Step:
    a, b = parameter(3), parameter(3)

    def step(i: int) -> Any:
        nonlocal a, b
        a, b = b, a
        y = a * 2.0 - b
        a.grad = b.grad = None
        (y * data(3, offset=i)).sum().backward()
        first, second = a.grad, b.grad
        with mt.no_grad():
            a -= mt.clip(first, -0.5, 0.5)
        return y, first, second

    return step


def aliases_that_come_and_go() -> Step:
    def inner(a: mt.Tensor, b: mt.Tensor) -> Any:
        a = a * 2.0
        b = b + a
        a += b
        return a, b

    def step(i: int) -> Any:
        x, y = data(3, offset=i), data(3, offset=i + 1)
        result = inner(x, x if i % 3 == 1 else y)
        other = x
        other += 1.0
        return result, x, x is other, inner(*([x] * 2))

    return step


def gradients_taken_and_given() -> Step:
    w = parameter(3)

    def step(i: int) -> Any:
        w.grad = None if i % 3 == 0 else mt.ones((3,)) * float(i % 4)
        (w * w).sum().backward()
        g = w.grad
        assert g is not None
        g += 1.0
        (w * data(3, offset=i)).sum().backward()
        same = g is w.grad
        w.grad = mt.asarray(np.asarray(w.grad) * 0.5)
        return w.grad, g, same

    return step


# --- threads, processes, signals ------------------------------------------------------------------------


def a_worker_behind_queues() -> Step:
    """Tensors of the step go to a thread and come back computed, some of them a step later."""
    sent: queue.Queue[Any] = queue.Queue()
    back: queue.Queue[Any] = queue.Queue()

    def serve() -> None:
        while (x := sent.get()) is not None:
            back.put(x * 2.0 + 1.0)

    def step(i: int) -> Any:
        thread = threading.Thread(target=serve)
        thread.start()
        x = data(3, offset=i) * 0.5
        for k in range(2):
            sent.put(x + float(k))
        sent.put(None)
        first = back.get(timeout=30)
        thread.join()
        return first * x, back.get(timeout=30)

    return step


def a_step_in_each_of_two_threads() -> Step:
    w = parameter(3)

    @coexec.coexecute
    def inner(x: mt.Tensor, k: int) -> mt.Tensor:
        return (x * w).sum() * float(k)

    def step(i: int) -> Any:
        results: dict[int, float] = {}

        def work(k: int) -> None:
            results[k] = float(inner(data(3, offset=i + k), k).detach())

        threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2)]
        for thread in threads:
            thread.start()
        loss = inner(data(3, offset=i), 3)
        w.grad = None
        loss.backward()
        for thread in threads:
            thread.join()
        return loss, w.grad, sorted(results.items())

    return step


def a_child_process_forked_inside() -> Step:
    def step(i: int) -> Any:
        y = data(3, offset=i) + 1.0
        z = y * 2.0
        if i % 6 != 5 or not hasattr(os, "fork"):
            return z
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os.write(sink, repr((z + 1.0).tolist()).encode())
            os._exit(0)
        os.close(sink)
        told = os.read(source, 10_000).decode()
        os.close(source)
        os.waitpid(child, 0)
        return told, z

    return step


def modes_switched_inside() -> Step:
    def step(i: int) -> Any:
        x, mode = data(3, offset=i) * 2.0, coexec.config.mode
        try:
            if i % 5 == 4:
                coexec.config.mode = "eager"
            y = x + 1.0
        finally:
            coexec.config.mode = mode
        return y * 3.0

    return step


def reports_read_inside() -> Step:
    @coexec.coexecute
    def inner(x: mt.Tensor) -> mt.Tensor:
        return x * 2.0

    def step(i: int) -> Any:
        y = inner(data(3, offset=i))
        assert "co-execution" in str(inner.report())
        coexec.wait()
        return y + 1.0

    return step


# --- random numbers -------------------------------------------------------------------------------------


def draws_repeated_within_the_step() -> Step:
    """The state goes back in mid-step, so that a second forward pass has the noise of the first (checkpointing)."""
    own = tensor_random.Generator(5)

    def forward(x: mt.Tensor) -> mt.Tensor:
        return x * (tensor_random.uniform((3,)) > 0.5).astype("float32")

    def step(i: int) -> Any:
        x, state = data(3, offset=i), tensor_random.get_state()
        first = forward(x)
        between = tensor_random.get_state()
        tensor_random.set_state(state)
        second = forward(x)
        if i % 4 == 3:
            tensor_random.set_state((7, i))
        drawn = own.uniform((2,)) if i % 2 else own.randint(0, 9, (2,)).astype("float32")
        return first, second, tensor_random.get_state() == between, drawn, own.get_state()

    return step


def shuffles_and_samples() -> Step:
    rows = data(8, 3)

    def step(i: int) -> Any:
        order = tensor_random.permutation(8)
        picks = random.sample(range(8), 3)
        batch = rows[order[:4]]
        coin = float(tensor_random.uniform(()))
        noisy = batch + tensor_random.uniform((4, 3)) if coin < 0.5 else batch
        return noisy, rows[mt.asarray(picks)].sum(), np.random.permutation(3), int(order[0])

    return step


def optimisers_of_shared_state() -> Step:
    """Two optimisers over one parameter, whose states are exchanged now and then."""
    w = parameter(3)
    pair = [Adam([w], lr=0.25), Adam([w], lr=0.125)]

    def step(i: int) -> Any:
        if i % 6 == 5:
            saved = copy.deepcopy(pair[0].state_dict())
            pair[0].load_state_dict(pair[1].state_dict())
            pair[1].load_state_dict(saved)
        for optimiser in pair if i % 2 else pair[::-1]:
            optimiser.zero_grad()
            (w * data(3, offset=i)).sum().backward()
            optimiser.step()
        return w.detach(), pair[0].lr, pair[1].lr

    return step


ODD_STATE = [
    slices_that_overlap,
    masks_that_vary_written_through,
    keys_of_all_kinds,
    writes_that_gradients_pass,
    arrays_kept_of_tensors,
    arrays_written_between_uses,
    finalisers_that_compute,
    objects_that_come_back,
    weak_containers,
    copies_of_model_and_optimiser,
    a_trainer_copied_in_mid_run,
    names_that_change_places,
    aliases_that_come_and_go,
    gradients_taken_and_given,
    a_worker_behind_queues,
    a_step_in_each_of_two_threads,
    a_child_process_forked_inside,
    modes_switched_inside,
    reports_read_inside,
    draws_repeated_within_the_step,
    shuffles_and_samples,
    optimisers_of_shared_state,
]
