"""The exceptions of co-execution: all are `CoexecError`s.

Errors of the user's own program never come from here: they keep the class that eager execution raises.
"""

from __future__ import annotations


class CoexecError(Exception):
    """Root of what the package raises on its own account."""


class NotAStep(CoexecError, TypeError):
    """The decorated object cannot be co-executed (async or generator function, not callable)."""


class MalformedGraph(CoexecError):
    """A graph breaks its invariant: a mistake of this package, found by a verifier."""


class ConfigError(CoexecError, ValueError):
    """A switch has a value that cannot be right."""


class CompilationFailed(CoexecError):
    """A graph could not be compiled; the step runs eagerly and its report says why."""


class GraphFailed(CoexecError):
    """The graph met an error while a step ran: what depends on it has no value."""
