"""Results of a comprehension, whether it has one or several, held against those of its reference."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_all_equal(found: Any, wanted: Any) -> None:
    """As many arrays, and all of their elements equal."""
    several = [x if isinstance(x, tuple) else (x,) for x in (found, wanted)]
    for left, right in zip(*several, strict=True):
        np.testing.assert_array_equal(left, right)
