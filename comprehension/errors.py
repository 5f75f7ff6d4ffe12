"""The package's exceptions: every refusal of a text, a call or an option is a `ComprehensionError`."""

from __future__ import annotations


class ComprehensionError(Exception):
    """The root of all that the package raises."""


class IllegalSchedule(ComprehensionError):
    """A transformation that would break a dependence."""
