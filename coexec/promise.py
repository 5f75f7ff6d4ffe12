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

from coexec.runner_protocol import Handle
from minitensor.value import Value


class StepLog:
    """What a step has made so far: weak references to the values, in order.

    The two observers of a step (co-executing, then recording after a divergence) share one log.  `lock` is held
    while values are filled: another thread may demand one at any time.
    """

    __slots__ = ("fill_pending", "lock", "made", "thread")

    def __init__(self) -> None:
        self.made: list[ref[Value]] = []
        self.lock = threading.RLock()
        self.thread = threading.get_ident()
        self.fill_pending: Callable[[Value], None] | None = None  # set while values of this step can be empty

    def live(self) -> Iterator[Value]:
        """The values of the step that somebody still holds."""
        for reference in self.made:
            value = reference()
            if value is not None:
                yield value


class Promise:
    """Output `output` of the operation at `index` of the step's trace."""

    __slots__ = ("handle", "index", "output", "owner", "source")

    def __init__(self, owner: StepLog, index: int, output: int, source: Any = None) -> None:
        self.owner: StepLog | None = owner
        self.index = index
        self.output = output
        self.source = source  # the walk's output that was expected and validated
        self.handle: Handle | None = None

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


def origin(value: Any, log: StepLog) -> Promise | None:
    """The promise of a value that this step made; None for every other value."""
    pending = value.pending
    if type(pending) is Promise and pending.owner is log:
        return pending
    return None
