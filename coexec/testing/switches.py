"""The switches of co-execution, set for a while.

In: values of `coexec.config`.  Out: a context manager.  Invariant: afterwards they are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coexec.config import config


@contextmanager
def switched(mode: str | None = None, runner: str | None = None) -> Iterator[None]:
    """Inside, `coexec.config` has this mode and this runner; None leaves a switch alone."""
    before = config.mode, config.runner
    config.mode, config.runner = mode or config.mode, runner or config.runner
    try:
        yield
    finally:
        config.mode, config.runner = before
