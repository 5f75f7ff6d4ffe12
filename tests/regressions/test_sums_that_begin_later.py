"""A sum that leaves the first lane out is kept in no register tile: its loop would count places from another lane.

Found by a drawn text: the certificate refused the schedule, and a simpler one ran.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

import comprehension as tc

TEXTS = [
    "def f() -> (T) { T(i) max=! 0.0 where i in 0:2, r in 0:i }",
    "def f(float(16) A) -> (T) { T(i) +=! A(r) where i in 0:16, r in 0:i }",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_first_schedule_is_proved_and_right(text: str, caplog: pytest.LogCaptureFixture) -> None:
    f = tc.define(text).f
    inputs = [np.arange(16, dtype=np.float32) for _ in f.definition.parameters]
    with caplog.at_level(logging.WARNING, logger="comprehension"):
        found = f(*inputs)
    assert not caplog.records
    np.testing.assert_array_equal(found, f.reference(*inputs))
