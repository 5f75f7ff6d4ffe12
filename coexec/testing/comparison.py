"""Comparing what two runs of a program let see.

In: two structures of arrays and Python objects.  Out: nothing, or a `NotEquivalent` that names the first difference.
Invariant: types, dtypes and shapes are compared before contents, and contents bit by bit (any NaN equals any NaN).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Compare = Callable[[Any, Any, str], None]  # (eager, co-executed, what): raises AssertionError


class NotEquivalent(AssertionError):
    """The first difference between a program and its co-execution.

    `what`: where it was seen ("step 3, state w").  `expected`, `seen`: eagerly, and co-executed.
    """

    def __init__(self, what: str, expected: object, seen: object, note: str = "") -> None:
        super().__init__(what, expected, seen, note)
        self.what, self.expected, self.seen, self.note = what, expected, seen, note

    def __str__(self) -> str:
        return f"{self.what}: {self.seen}, eagerly {self.expected}" + (f"\n{self.note}" if self.note else "")


def assert_same(expected: Any, seen: Any, what: str) -> None:
    """Equal structure, types, dtypes, shapes and bits (any NaN equals any NaN).

    >>> assert_same([1.0, (2, "a")], [1.0, (2, "a")], "result")

    Raises NotEquivalent naming the place.
    """
    if type(expected) is not type(seen):
        raise NotEquivalent(what, type(expected).__name__, type(seen).__name__)
    if isinstance(expected, np.ndarray):
        _assert_same_array(expected, seen, what)
    elif isinstance(expected, dict):
        assert_same(list(expected), list(seen), f"{what}, keys")
        for key in expected:
            assert_same(expected[key], seen[key], f"{what}[{key!r}]")
    elif isinstance(expected, list | tuple):
        if len(expected) != len(seen):
            raise NotEquivalent(what, f"{len(expected)} parts", f"{len(seen)} parts")
        for i, (left, right) in enumerate(zip(expected, seen, strict=True)):
            assert_same(left, right, f"{what}[{i}]")
    elif repr(expected) != repr(seen):
        raise NotEquivalent(what, repr(expected), repr(seen))


def _assert_same_array(expected: Any, seen: Any, what: str) -> None:
    if (expected.dtype, expected.shape) != (seen.dtype, seen.shape):
        raise NotEquivalent(what, f"{expected.dtype}{expected.shape}", f"{seen.dtype}{seen.shape}")
    nan = np.isnan(expected) if expected.dtype.kind in "fc" else np.zeros(expected.shape, bool)
    raw = [np.ascontiguousarray(np.where(nan, 0, a).astype(a.dtype)).tobytes() for a in (expected, seen)]
    same_nan = expected.dtype.kind not in "fc" or bool((np.isnan(seen) == nan).all())
    if raw[0] != raw[1] or not same_nan:
        raise NotEquivalent(what, expected, seen)
