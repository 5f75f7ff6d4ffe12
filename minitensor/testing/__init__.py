"""Tools for testing numerical programs: gradient checks, error bounds, Hypothesis strategies.

`strategies` (which needs Hypothesis) is imported by those who use it; the rest needs NumPy only.
"""

from minitensor.testing.accuracy import assert_as_accurate
from minitensor.testing.bounds import ErrorBounds, assert_within, gamma
from minitensor.testing.gradcheck import gradcheck, gradgradcheck

__all__ = ["ErrorBounds", "assert_as_accurate", "assert_within", "gamma", "gradcheck", "gradgradcheck"]
