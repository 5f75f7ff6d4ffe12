"""The one choke point: every operation on tensors passes through `apply`.

In: an OpDef record, tensors and Python scalars, attributes.  Out: new tensors; a tape node where a gradient
is wanted; the observer of this thread, if there is one, decides how the values come about.
Invariant: with no observer, `apply` runs the record's eager rule and nothing else.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from minitensor.ops.opdef import OpDef


class Observer(Protocol):
    """What co-execution implements.  All methods run on the thread that set the observer.

    `inputs` are `Value`s and Python scalars.  Tape nodes are made by `apply` afterwards, from what
    `execute` returns, so that an observer sees the vjp's operations like all others.
    """

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Any, ...]:
        """Returns the outputs as `Value`s, filled or not; raises what the eager rule would raise."""

    def on_read(self, value: Any) -> None:
        """Python is about to read the contents of `value` (after this returns it must be filled)."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """`tensor` is about to hold `value` (in-place operation, optimiser update, `.data` assignment)."""


class _Local(threading.local):
    observer: Observer | None = None
    grad_enabled: bool = True


local = _Local()
