"""Found by a skewed loop that was split: what bounds steps with a loop around was forgotten, and no least value left.

Of `x = 2 i + d` isl keeps `i` as an integer of its own; what bounds it says nothing of `x` by itself.
"""

from __future__ import annotations

import numpy as np
import pytest

import comprehension as tc
from comprehension.lang.frontend import load
from comprehension.lang.ranges import infer
from comprehension.poly.dependence import find_dependences
from comprehension.poly.looptree.apply import follow
from comprehension.poly.scop import build_scop
from comprehension.scheduling.steps import parse_steps

WINDOWS = "def f(float(M) X, int32 D) -> (O) { O(i) +=! X(j) where i in 0:8, j in 2*i:2*i+D }"
SKEWED = """
def f(float(T,D) X) -> (O) {
    O(t, d) = X(t, d) where t in 0:1
    O(t, d) = 0.5 * O(t-1, d) + X(t, d) where t in 1:T
}"""


@pytest.mark.parametrize("width", [0, 1, 2, 5])
def test_a_range_that_steps_with_the_loop_around_it(width: int) -> None:
    x = np.arange(40, dtype=np.float32)
    expected = [x[2 * i : 2 * i + width].sum() for i in range(8)]
    np.testing.assert_array_equal(tc.define(WINDOWS).f(x, width), expected)


def test_a_loop_that_was_skewed_by_steps_is_split() -> None:
    scop = build_scop(infer(load(SKEWED)["f"], None, "symbolic"))
    steps = parse_steps("skew('S1.d', 'S1.t', 2)\nsplit('S1.d', 4)")
    text = follow(scop, find_dependences(scop), steps)[-1].text
    assert "S1: O(t, 4 * d.outer + d.inner + 2 - 2 * t) =" in text  # counted from the least value, which is 2
