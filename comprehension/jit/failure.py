"""What goes wrong between a legal comprehension and its kernel: one exception, its kinds, and the log.

In: raised by the compiler's client, the cache and the loader.  Out: caught by callers that can do without a
kernel (co-execution runs on eagerly and reports the reason).
Invariant: every kind says what was being compiled, what happened and what to do.
"""

from __future__ import annotations

import logging

from comprehension.config import statistics
from comprehension.errors import ComprehensionError

log = logging.getLogger("comprehension")


class CompilationError(ComprehensionError):
    """No kernel came about.  The text may be fine: the fault lies in the compiler, its limits or its process.

    `details` holds what the compiler process wrote (a traceback, its standard error), for reports of bugs.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class CompilerDied(CompilationError):
    """The compiler process ended in the middle of a compilation."""


class CompilerKilled(CompilerDied):
    """Somebody ended the compiler process: a user, or a system short of memory."""


class TimeLimitExceeded(CompilationError):
    """The compilation took more than `config.compile_seconds` of processor time, or hung; its process was killed."""


class ProgramEnded(CompilationError):
    """The program is ending: what was still asked for is not compiled any more."""


class ForbiddenSymbol(CompilationError):
    """An object file refers to a function outside the allow-list; it was not loaded."""


def note_fallback(reason: str, message: str) -> None:
    """Logs and counts that something slower is done than what was asked for (never silently)."""
    statistics.fallbacks[reason] += 1
    log.warning("%s: %s", reason, message)
