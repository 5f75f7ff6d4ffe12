"""Found by drawn programs and operands: kernels that computed in another type than the eager rule does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt

CASES: list[tuple[str, Any, Any, str, list[Any]]] = [
    ("int8", 0.5, 2.5, "float32", [0.5, 1.0, 2.5, 2.5]),
    ("int64", -1, 2.5, "float32", [-1.0, 1.0, 2.5, 2.5]),
    ("int64", 0.5, None, "float32", [0.5, 1.0, 3.0, 100.0]),
    ("float16", 1, 2.5, "float16", [1.0, 1.0, 2.5, 2.5]),
    ("float32", mt.asarray(0.5, dtype="float64"), 2.5, "float32", [0.5, 1.0, 2.5, 2.5]),
    ("float32", None, mt.asarray(2.5, dtype="float64"), "float32", [-2.0, 1.0, 2.5, 2.5]),
    ("int8", mt.asarray(-300), mt.asarray(300), "int8", [-2, 1, 3, 100]),
    ("int8", mt.asarray([1, 2, 200, -4], dtype="int64")[-1:], 3, "int8", [-2, 1, 3, 3]),
]


@pytest.mark.parametrize(("dtype", "low", "high", "result", "expected"), CASES)
def test_bounds_meet_integers_as_other_operands_do(
    dtype: str, low: Any, high: Any, result: str, expected: list[Any]
) -> None:
    def step(x: mt.Tensor) -> mt.Tensor:
        return mt.clip(x, low, high)

    x = mt.asarray(np.array([-2, 1, 3, 100]).astype(dtype))
    co = coexec.coexecute(step)
    for _ in range(4):
        for clipped in (step(x), co(x)):
            assert (clipped.dtype, clipped.tolist()) == (np.dtype(result), expected)
        coexec.wait()
    assert co.report().coexecuted_steps > 0


def test_the_number_next_to_a_float16_is_one() -> None:
    def step(x: mt.Tensor) -> mt.Tensor:
        return mt.nextafter(x + 0.0, mt.zeros_like(x))

    array = np.array([1.0, -1.0, 0.5, 65504.0], dtype=np.float16)
    co = coexec.coexecute(step)
    for _ in range(4):
        received = co(mt.asarray(array))
        coexec.wait()
    np.testing.assert_array_equal(received.numpy(), np.nextafter(array, np.float16(0)))


def test_quotients_of_float16_are_floored_before_they_are_rounded() -> None:
    rng = np.random.default_rng(0)
    a = (rng.normal(size=2000) * 10 ** rng.uniform(-2, 2, 2000)).astype(np.float16)
    b = (rng.choice([-1.0, 1.0], 2000) * 10 ** rng.uniform(-1, 2, 2000)).astype(np.float16)
    a[:2], b[:2] = [-109.56, -370.8], [0.11487, -0.01423]
    co = coexec.coexecute(mt.floor_divide)
    for _ in range(4):
        received = co(mt.asarray(a), mt.asarray(b))
        coexec.wait()
    exact = np.floor(
        a.astype(np.float64) / b.astype(np.float64)
    )  # no quotient here is nearer to an integer than 2**-40
    assert co.report().coexecuted_steps > 0
    np.testing.assert_array_equal(received.numpy(), exact.astype(np.float32).astype(np.float16))
