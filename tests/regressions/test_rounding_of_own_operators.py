"""How far rounding moves a program with an operator of the user's: its text has types, and float64 is another."""

from __future__ import annotations

import minitensor as mt
from coexec.testing.observation import call
from coexec.testing.rounding import Nudges, observing


def test_an_operator_of_ones_own_is_moved_too() -> None:
    third = mt.operator("def third(float(N) X) -> (Y) { Y(i) = X(i) / 3.0 }")
    x = mt.asarray([1.0, 2.0])
    plain = third(x).numpy()
    with observing(Nudges(0)):
        seen = call(lambda i: third(x), 0)
    assert seen.error is None
    moved = abs(seen.result.numpy() - plain)
    assert 0.0 < moved.max() < 1e-5
