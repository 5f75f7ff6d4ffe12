"""Tools for testing numerical programs: gradient checks, error bounds, agreement of records, strategies.

`strategies` (which needs Hypothesis) is imported by those who use it; the rest needs NumPy only.
"""

from minitensor.testing.accuracy import assert_as_accurate
from minitensor.testing.agreement import check_bounded, check_gradients, check_infer, check_meaning, check_text
from minitensor.testing.bounds import ErrorBounds, assert_within, gamma
from minitensor.testing.gradcheck import gradcheck, gradgradcheck

__all__ = [
    "ErrorBounds", "assert_as_accurate", "assert_within", "check_bounded", "check_gradients", "check_infer",
    "check_meaning", "check_text", "gamma", "gradcheck", "gradgradcheck",
]  # fmt: skip
