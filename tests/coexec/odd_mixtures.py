"""Features that are harmless one by one, two or three at a time: part of what `test_coexec_odd_programs` runs."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import copy
import functools
import gc
import io
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from programs import Step, data, parameter

import coexec
import minitensor as mt
from minitensor import functional as F, random as tensor_random
from minitensor.optim import SGD, Adam

# --- generators and contexts ----------------------------------------------------------------------------


def generators_thrown_into() -> Step:
    """Each outlives its step, writes through a mask made there, and goes on in the handler of what is thrown."""

    def writer(x: mt.Tensor) -> Iterator[mt.Tensor]:
        mask = x > 0
        while True:
            try:
                yield x
                x[mask] = x[mask] * 0.5
            except KeyError as error:
                x[~mask] = error.args[0]
                yield x + 1.0
            finally:
                mask = ~mask

    running: collections.deque[Any] = collections.deque(maxlen=2)

    def step(i: int) -> Any:
        running.append(writer(data(14, offset=i) * 1.0))
        next(running[-1])
        out = [next(g) if (i + k) % 3 else g.throw(KeyError(float(i % 5))) for k, g in enumerate(running)]
        return out, [next(g) - 1.0 for g in running]

    return step


def gradients_switched_off_by_a_generator() -> Step:
    """It is suspended inside `no_grad`, which stays in force where it was left."""
    w = parameter(3)

    def frozen() -> Iterator[mt.Tensor]:
        with mt.no_grad():
            yield w * 2.0
        yield w * 3.0

    def step(i: int) -> Any:
        w.grad = None
        run = frozen()
        first = next(run)
        inside = w * data(3, offset=i)
        second = next(run) if i % 3 else None
        outside = w * data(3, offset=i + 1)
        run.close()
        (w * 1.0 if second is None else second + outside).sum().backward()
        return first, inside.requires_grad, outside.requires_grad, w.grad

    return step


def contexts_that_swallow() -> Step:
    """What leaves the block as an exception's argument is worked on by the context that ends it."""
    seen: list[Any] = []

    class Rescue:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def __enter__(self) -> Rescue:
            return self

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            if kind is ArithmeticError:
                seen.append(error.args[0] * self.scale + float(error.args[0].sum()))
                return True
            seen.append(None)
            return False

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        with contextlib.suppress(LookupError), contextlib.ExitStack() as stack:
            for k in range(3):
                stack.enter_context(Rescue(0.5 * k))
            x = x + 1.0
            if i % 3 == 0:
                raise ArithmeticError(x)
            if i % 3 == 1:
                raise IndexError(x)
            x = x * 3.0
        told, seen[:] = seen[:], []
        return x, told

    return step


# --- training -------------------------------------------------------------------------------------------


def scaled_losses_of_two_optimisers() -> Step:
    """Two optimisers that skip where gradients overflow; the dtype of a layer alternates; states come from a file."""
    body, head = parameter(4, 3), parameter(3, 2)
    optimisers = [SGD([body], lr=0.125, momentum=0.5), SGD([head], lr=0.25)]
    scale, saved = [4.0], io.BytesIO()

    def step(i: int) -> Any:
        half = i % 6 > 3
        x = data(2, 4, offset=i) * (1e5 if i % 7 == 6 else 1.0)
        h = x @ body
        h = (h.astype("float16") * 1.0).astype("float32") if half else h
        loss = mt.clip(h @ head, -4.0, 4.0).sum() + (h * 0.125).sum()
        for optimiser in optimisers:
            optimiser.zero_grad()
        (loss * scale[0]).backward()
        finite = all(bool(mt.isfinite(p.grad).all()) for p in (body, head) if p.grad is not None)
        scale[0] = min(scale[0] * 2, 8.0) if finite else scale[0] * 0.5
        if finite:
            for p in (body, head):
                p.grad = mt.clip(p.grad, -1.0, 1.0)
            optimisers[i % 2].step()
        if i == 10:
            saved.seek(0)
            pickle.dump([o.state_dict() for o in optimisers], saved)
        if i % 9 == 5 and i > 10:
            saved.seek(0)
            for optimiser, state in zip(optimisers, pickle.load(saved), strict=True):
                optimiser.load_state_dict(state)
        with mt.no_grad():
            for p in (body, head):
                p[...] = mt.clip(mt.round(p * 4.0), -8.0, 8.0) * 0.25
        return finite, scale[0], body.detach(), head.detach()

    return step


def parameters_copied_and_exchanged() -> Step:
    """A copy of the parameter is trained beside it, and takes its place where it did better."""
    w = parameter(3)
    state = {"w": w, "optimiser": SGD([w], lr=0.25, momentum=0.5)}

    def trained(w: mt.Tensor, optimiser: SGD, x: mt.Tensor) -> float:
        optimiser.zero_grad()
        loss = mt.abs(w * x).sum()
        loss.backward()
        optimiser.step()
        return float(loss)

    def step(i: int) -> Any:
        x = data(3, offset=i)
        other = copy.deepcopy(state) if i % 2 else {"w": copy.copy(state["w"]), "optimiser": state["optimiser"]}
        losses = trained(**state, x=x), trained(**other, x=x * 0.5)
        if losses[1] < losses[0]:
            state.update(other)
        with mt.no_grad():
            state["w"][:] = mt.clip(mt.round(state["w"]), -3.0, 3.0)
        return losses, state["w"].detach(), state["w"] is w, other["w"].grad

    return step


def gradients_that_are_one_object() -> Step:
    """Two parameters hold the same gradient, which is written to in place between two updates."""
    v, w = parameter(3), parameter(3)
    optimisers = SGD([v], lr=0.5), Adam([w], lr=0.5)

    def step(i: int) -> Any:
        v.grad = w.grad = None
        (v * data(3, offset=i)).sum().backward()
        w.grad = v.grad if i % 3 else v.grad * 1.0
        w.grad += 1.0
        same = v.grad is w.grad
        for optimiser in optimisers[:: 1 if i % 2 else -1]:
            optimiser.step()
            v.grad[0] = 0.0
        with mt.no_grad():
            for p in (v, w):
                p[...] = mt.round(mt.clip(p, -4.0, 4.0))
        return same, v.detach(), w.detach(), v.grad, w.grad

    return step


def leaves_made_in_the_step() -> Step:
    """A leaf of this step's, whose gradient of the last step is read now, and whose flag is set between two uses."""
    last: list[Any] = []

    def step(i: int) -> Any:
        x = data(3, offset=i) * 1.0
        before = (x * 2.0).sum()
        x.requires_grad = i % 4 != 3
        y = (x * x).sum() + before
        if y.requires_grad:
            y.backward()
        told = [(t.grad, t.is_leaf) for t in last]
        last[:] = [x, x.detach(), x + 0.0][: 1 + i % 3]
        return y, told

    return step


def losses_of_many_steps() -> Step:
    """Backward over three steps' work, some of which is thrown away, while the parameter is written to in between."""
    w = parameter(3)
    held: list[mt.Tensor] = []

    def step(i: int) -> Any:
        held.append((w * data(3, offset=i)).sum())
        if i % 5 == 4:
            held.pop(0)
        if len(held) < 3:
            return None
        w.grad = None
        try:
            mt.stack(held).sum().backward()
            if i % 4 == 3:
                raise ValueError("thrown away")
            return w.grad, [h.detach() for h in held]
        except ValueError as error:
            return str(error), w.grad
        finally:
            held.clear()
            with mt.no_grad():
                w[...] = w - mt.clip(w.grad, -1.0, 1.0)
                w[i % 3] = float(i % 4)

    return step


# --- random states --------------------------------------------------------------------------------------


def states_of_generators_put_back() -> Step:
    """Of the state of three steps ago, where an exception ended the step; and of a generator of its own."""
    states: collections.deque[Any] = collections.deque(maxlen=3)
    own = tensor_random.Generator(3)

    def noisy(x: mt.Tensor, i: int) -> mt.Tensor:
        x = F.dropout(x, 0.5)
        if i % 4 == 3:
            raise RuntimeError("midway")
        return x + mt.floor(own.uniform((3,)) * 4.0)

    def step(i: int) -> Any:
        states.append((tensor_random.get_state(), own.get_state()))
        x = data(3, offset=i)
        try:
            y = noisy(x, i)
        except RuntimeError:
            tensor_random.set_state(states[0][0])
            own.set_state(states[0][1])
            y = noisy(x, 0)
        return y, tensor_random.get_state(), float(tensor_random.uniform(()))

    return step


# --- lifetimes ------------------------------------------------------------------------------------------


def finalisers_beside_donated_buffers() -> Step:
    """Snapshots of a parameter escape before each update; what dies of them computes with those that live."""
    w = parameter(4)
    optimiser = SGD([w], lr=0.5)
    kept: collections.deque[mt.Tensor] = collections.deque()
    told: list[Any] = []

    def step(i: int) -> Any:
        snapshot = w.detach()
        weakref.finalize(snapshot, lambda: told.append(kept[-1] * 2.0 if i % 2 else float(kept[-1].sum())))
        kept.append(snapshot)
        optimiser.zero_grad()
        (w * data(4, offset=i)).sum().backward()
        del snapshot
        if len(kept) > 3:
            kept.popleft()
        optimiser.step()
        with mt.no_grad():
            w[...] = mt.clip(w, -4.0, 4.0)
        seen, told[:] = told[:], []
        return [k + 0.0 for k in kept], seen, w[:2].detach()

    return step


def identities_used_again() -> Step:
    """Tensors die and others take their place in memory, while a dictionary still has the old identities as keys."""
    by_identity: dict[int, float] = {}

    def step(i: int) -> Any:
        x, hits = data(3, offset=i), []
        for k in range(5):
            y = x * float(k)
            z = y + 1.0
            hits.append(by_identity.pop(id(y), None) is not None)
            by_identity[id(y)] = float(k)
            del y
            x = mt.clip(z if k % 2 else x, -4.0, 4.0)
        by_identity.clear()
        gc.collect(0)
        return x

    return step


def tensors_pickled_in_mid_step() -> Step:
    """Unread tensors, a parameter and its optimiser go through pickle and go on as others."""
    w = parameter(3)
    optimiser = SGD([w], lr=0.5, momentum=0.5)

    def step(i: int) -> Any:
        y = w * data(3, offset=i)
        again, copied = pickle.loads(pickle.dumps((y.detach(), w)))
        optimiser.zero_grad()
        (y.sum() + (w * again).sum()).backward()
        if i % 3 == 1:
            state = pickle.loads(pickle.dumps(optimiser.state_dict()))
            optimiser.load_state_dict(state)
        optimiser.step()
        with mt.no_grad():
            w[...] = mt.round(mt.clip(w, -2.0, 2.0))
        return copied.requires_grad, copied.detach() - w.detach(), again

    return step


# --- threads and loops ----------------------------------------------------------------------------------


def tasks_that_hand_steps_to_threads() -> Step:
    """An event loop inside the step hands a step of its own to a pool, and one of the results is an exception."""

    @coexec.coexecute
    def inner(x: mt.Tensor, k: int) -> mt.Tensor:
        if k == 2:
            raise LookupError(f"task {k}")
        return (x * float(k + 1)).sum() + x

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0

        async def whole() -> list[Any]:
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(2) as pool:
                jobs = [loop.run_in_executor(pool, inner, x, k) for k in range(2 + i % 2)]
                own = inner(x, 4)
                return [own, *await asyncio.gather(*jobs, return_exceptions=True)]

        found = asyncio.run(whole())
        return [str(r) if isinstance(r, Exception) else r - 1.0 for r in found]

    return step


def generators_advanced_by_another_thread() -> Step:
    """Begun in the step, advanced by a thread of the next one while the step itself goes on."""
    waiting: list[Iterator[mt.Tensor]] = []

    def halves(x: mt.Tensor) -> Iterator[mt.Tensor]:
        y = x * 2.0
        yield y
        yield y + x

    def step(i: int) -> Any:
        out: list[mt.Tensor] = []
        old = waiting.pop() if waiting else None
        thread = threading.Thread(target=lambda: old and out.append(next(old)))
        thread.start()
        waiting.append(halves(data(3, offset=i)))
        z = next(waiting[0]) * 0.5
        thread.join()
        return z, [o + z for o in out]

    return step


def memory_written_by_a_thread() -> Step:
    """Borrowed memory that a thread writes to between two uses, in steps that leave the graph now and then."""
    buffer = np.zeros(3, np.float32)
    borrowed = mt.asarray(buffer, copy=False)

    def step(i: int) -> Any:
        def write(value: int) -> None:
            buffer[:] = value

        first = borrowed * 2.0
        thread = threading.Thread(target=write, args=(i,))
        thread.start()
        thread.join()
        second = borrowed * 2.0
        if i % 8 == 7:
            second = mt.tanh(second * 0.0)
        write(-i)
        return first, second, borrowed + 1.0, mt.stack([borrowed, first])

    return step


# --- functions and values -------------------------------------------------------------------------------


def results_computed_when_asked_for() -> Step:
    """A step returns functions over tensors that it never read; a later step calls them."""
    later: collections.deque[Any] = collections.deque(maxlen=3)

    def step(i: int) -> Any:
        x = data(3, offset=i) * 2.0
        later.append(functools.partial(lambda a, b: a + float(b.sum()), x, x * 0.5))
        later.append(lambda: x if i % 2 else x - 1.0)
        return [f() for f in list(later)[: 1 + i % 3]]

    return step


def recursions_that_end_badly() -> Step:
    """A step calls itself as deep as a value says, and once until there is no stack left."""

    @coexec.coexecute
    def inner(x: mt.Tensor, depth: int) -> mt.Tensor:
        if depth < 0:
            return inner(x, depth - 1)
        return x + 1.0 if depth == 0 else inner(x * 0.5, depth - 1) + x

    def step(i: int) -> Any:
        x = data(3, offset=i)
        y = inner(x, int(mt.abs(x).sum()) % 4)
        if i % 8 == 6:
            limit = sys.getrecursionlimit()
            try:
                sys.setrecursionlimit(400)
                inner(y, -1)
            except RecursionError as error:
                y = y * 2.0
                return type(error).__name__, y
            finally:
                sys.setrecursionlimit(limit)
        return y

    return step


def truth_asked_of_tensors() -> Step:
    """Chains of comparisons, `and`, `in` and `not`, some of which raise; short circuits skip operations."""

    def told(attempt: Any) -> Any:
        try:
            return attempt()
        except Exception as error:
            return type(error).__name__

    def step(i: int) -> Any:
        x, s = data(3, offset=i), data(1, offset=i)[0]
        return (
            told(lambda: -1 < s < 2),
            told(lambda: s and x * 2.0),
            told(lambda: not s or x + 1.0),
            told(lambda: s in [x[0], x[1]]),
            told(lambda: x in [s]),
            told(lambda: bool(x)),
            told(lambda: max(x[0], x[1], s) * 1.0),
            [k for k in range(3) if x[k] > 0],
            told(lambda: x[s > 0]),
        )

    return step


def attributes_that_are_computed() -> Step:
    """A descriptor that reads a value decides the class attribute; the method is replaced on the instance, and back."""

    class Gate:
        def __get__(self, model: Any, owner: Any) -> float:
            return 2.0 if float(model.w.sum()) > 0 else 0.5

    class Model:
        gate = Gate()

        def __init__(self) -> None:
            self.w = data(3)

        def __call__(self, x: mt.Tensor) -> mt.Tensor:
            return self.forward(x) * self.gate

        def forward(self, x: mt.Tensor) -> mt.Tensor:
            return x + self.w

    model = Model()

    def step(i: int) -> Any:
        x = data(3, offset=i)
        try:
            if i % 4 == 3:
                model.forward = lambda x: x - model.w  # type: ignore[method-assign]
                if i % 8 == 7:
                    model.w[i % 5] = 1.0
            model.w = mt.clip(model.w + x, -2.0, 2.0)
            return model(x)
        except IndexError:
            return model(x) + 1.0
        finally:
            model.__dict__.pop("forward", None)
            Model.gate = Gate() if i % 6 else 1.0  # type: ignore[assignment]

    return step


def pairs_that_do_not_match() -> Step:
    """Rows in step with data of another length: what was computed before it was noticed stays."""

    def step(i: int) -> Any:
        rows, sums = data(3 + i % 3, 2, offset=i), []
        try:
            for row, scale in zip(rows * 1.0, [1.0, 0.5, 2.0], strict=True):
                sums.append(row * scale)
                if float(row[0]) == 3.0:
                    break
            else:
                sums.append(rows[-1])
        except ValueError as error:
            return len(sums), sums, str(error).split(" is ")[0]
        return mt.stack(sums), len(sums)

    return step


def writes_behind_views() -> Step:
    """Rows and reversed strides of what has a gradient, which is written to afterwards, by a mask made of them."""
    w = parameter(4, 3)

    def step(i: int) -> Any:
        x = w * 1.0
        view, column = x[::-1], x[..., i % 3]
        x[view > 1.0] = 0.0
        x[1:3, ...] += view[:2]
        column *= 2.0
        x[:, 0] = column
        w.grad = None
        (x * data(4, 3, offset=i)).sum().backward()
        return x.detach(), view.detach(), column.detach(), w.grad

    return step


def tracers_that_compute() -> Step:
    """A trace function reads and adds up tensors at every line, of the step and of all that it calls."""
    totals: list[Any] = []

    def step(i: int) -> Any:
        def trace(frame: Any, event: str, argument: Any) -> Any:
            x = frame.f_locals.get("x") if frame.f_code.co_name == "inner" else None
            if isinstance(x, mt.Tensor):
                totals.append(x.sum() * 2.0 if len(totals) % 2 else float(x[0]))
            return trace

        def inner(x: mt.Tensor) -> mt.Tensor:
            x = x * 2.0
            x[0] = 1.0
            return x + 1.0

        before = sys.gettrace()
        sys.settrace(trace if i % 3 else None)
        try:
            y = inner(data(3, offset=i))
        finally:
            sys.settrace(before)
        seen, totals[:] = totals[:], []
        return y, seen

    return step


ODD_MIXTURES = [
    generators_thrown_into,
    gradients_switched_off_by_a_generator,
    contexts_that_swallow,
    scaled_losses_of_two_optimisers,
    parameters_copied_and_exchanged,
    gradients_that_are_one_object,
    leaves_made_in_the_step,
    losses_of_many_steps,
    states_of_generators_put_back,
    finalisers_beside_donated_buffers,
    identities_used_again,
    tensors_pickled_in_mid_step,
    tasks_that_hand_steps_to_threads,
    generators_advanced_by_another_thread,
    memory_written_by_a_thread,
    results_computed_when_asked_for,
    recursions_that_end_badly,
    truth_asked_of_tensors,
    attributes_that_are_computed,
    pairs_that_do_not_match,
    writes_behind_views,
    tracers_that_compute,
]
