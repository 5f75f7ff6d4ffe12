"""Found by drawn texts: `uint8(2)` and `uint8(N)` in guards and subscripts were unknown numbers of another type.

A requirement on them compared an int32 with a uint8, and a launch computed it without wrapping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import comprehension as tc
from comprehension.lang.frontend import load
from comprehension.lang.printer import to_text
from comprehension.lang.ranges import infer
from comprehension.lang.verify import verify_program

A = np.arange(300, dtype=np.float32)


def test_a_number_of_a_small_type_in_a_guard_makes_no_requirement() -> None:
    guarded = "A(i) < uint8(2) && i < uint8(258) ? B(i) : 0.0"
    text = f"def f(uint8(N) A, float(N) B) -> (C) {{ C(i) = {guarded} where i in 0:5 }}"
    program = infer(load(text)["f"], None, "symbolic")
    verify_program(program)
    assert [to_text(p.condition) for p in program.preconditions] == ["5 <= N"]  # for A(i); B(i) is guarded
    a, b = np.zeros(5, np.uint8), np.ones(5, np.float32)
    np.testing.assert_array_equal(tc.define(text, sizes="symbolic").f(a, b), [1, 1, 0, 0, 0])


@pytest.mark.parametrize("sizes", ["static", "symbolic"])
def test_a_size_in_a_small_type_wraps_where_a_launch_is_checked(sizes: Any) -> None:
    f = tc.define("def f(float(N) A) -> (B) { B(i) = A(uint8(N) - 3 + i) where i in 0:3 }", sizes=sizes).f
    for extent in (3, 259, 300):
        np.testing.assert_array_equal(f(A[:extent]), f.reference(A[:extent]))
    for call in (f, f.reference):
        with pytest.raises(tc.ComprehensionError, match="out of bounds"):
            call(A[:256])


@pytest.mark.parametrize(("kind", "scalar"), [("uint8", -1), ("uint8", 257), ("int8", 131), ("uint16", 1 << 16)])
def test_a_scalar_in_a_small_type_wraps_where_a_launch_is_checked(kind: str, scalar: int) -> None:
    f = tc.define(f"def f(float(N) A, int32 s) -> (B) {{ B(i) = A({kind}(s) + 128 + i) where i in 0:3 }}").f
    long = np.arange(66000, dtype=np.float32)
    np.testing.assert_array_equal(f(long, scalar), f.reference(long, scalar))


def test_a_range_up_to_a_static_size_in_a_small_type() -> None:
    assert tc.define("def f(float(N) A) -> (B) { B(i) = A(i) where i in 0:uint8(N) }").f(A).shape == (44,)
