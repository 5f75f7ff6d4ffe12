"""Promises: which operation of the step under way made a value, and who fills it.

In: one `Promise` on `Value.pending` for every output of a step, filled or not.  Out: `Value.array`.
Invariant: a promise knows its step only while the step runs.  Afterwards it has a `Handle` (a buffer of the
graph's), or it is gone: nothing of the step's Python side is kept alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import numpy as np

from coexec.graph_side.runner_protocol import Handle
from minitensor.value import Value


class Promise(ref[Value]):
    """A weak reference to a value that knows where the value comes from: output `output` of operation `index`.

    One object for both purposes, because a step makes one for every output; and made without an `__init__`
    of its own, which would cost as much as the rest of a validation.  `make_promise` sets the slots.
    """

    __slots__ = ("handle", "index", "output", "owner", "source")

    owner: StepLog | None
    index: int
    output: int
    source: Any  # the walk's output that was expected and validated; None while recording
    handle: Handle | None  # set when the step has ended

    def fill(self, value: Value) -> None:
        """Sets `value.array`; blocks until it is there.  May be called by any thread.

        Raises what the operation raised.
        """
        owner = self.owner
        if owner is not None:
            with owner.lock:
                if value.array is None and self.owner is not None and owner.fill_pending is not None:
                    owner.fill_pending(value)
        if value.array is None:
            assert self.handle is not None, "a step ended and left an empty value without a handle"
            value.array = self.handle.wait()
            value.pending = None

    def settle(self, handle: Handle | None) -> None:
        """The step has ended; an empty value will come from `handle`."""
        self.handle = handle
        self.source = None
        self.owner = None


class StepLog:
    """What a step has made so far, in order.

    The two observers of a step (co-executing, then recording after a divergence) share one log.  `lock` is held
    while values are filled: another thread may demand one at any time.
    """

    __slots__ = ("fill_pending", "lock", "made")

    def __init__(self) -> None:
        self.made: list[Promise] = []
        self.lock = threading.RLock()
        self.fill_pending: Callable[[Value], None] | None = None  # set while values of this step can be empty

    def live(self) -> Iterator[tuple[Value, Promise]]:
        """The values of the step that somebody still holds."""
        for promise in self.made:
            value = promise()
            if value is not None:
                yield value, promise


def empty_value(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
    """A value without contents; `make_promise` says who fills it."""
    value = Value.__new__(Value)
    value.array, value.shape, value.dtype, value.owned, value.exported = None, shape, dtype, True, False
    return value


def make_promise(value: Value, log: StepLog, index: int, output: int, source: Any = None) -> Promise:
    """Marks `value` as made by this step."""
    promise = Promise(value)
    promise.owner, promise.index, promise.output, promise.source = log, index, output, source
    value.pending = promise
    log.made.append(promise)
    return promise


def origin(value: Any, log: StepLog) -> Promise | None:
    """The promise of a value that this step made; None for every other value."""
    pending = value.pending
    if type(pending) is Promise and pending.owner is log:
        return pending
    return None
