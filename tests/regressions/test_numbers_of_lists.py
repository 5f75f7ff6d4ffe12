"""Found by odd arguments: numbers in lists, ranges and fillings that became other numbers or dtypes in silence."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import pytest

import minitensor as mt

ODD_FLOATS = [float("nan"), 1e20, -1e20, 300.7, -1.5]
NEAREST = {"int32": [0, 2**31 - 1, -(2**31), 300, -1], "uint8": [0, 255, 0, 255, 0]}  # docs/minitensor.md: everywhere


class Colour(IntEnum):
    RED = 3


@pytest.mark.parametrize("dtype", sorted(NEAREST))
def test_floats_become_the_nearest_integer_however_they_come(dtype: str) -> None:
    expected = NEAREST[dtype]
    array = np.array(ODD_FLOATS)
    assert mt.asarray(ODD_FLOATS, dtype=dtype).tolist() == expected
    assert mt.asarray(array, dtype=dtype).tolist() == expected
    assert mt.asarray([mt.asarray(x) for x in array], dtype=dtype).tolist() == expected
    assert [mt.full((), x, dtype=dtype).item() for x in ODD_FLOATS] == expected
    assert [mt.full_like(mt.zeros((), dtype=dtype), x).item() for x in ODD_FLOATS] == expected
    assert mt.linspace(1e20, -1e20, 2, dtype=dtype).tolist() == expected[1:3]


SMALL, HALF, DOUBLE = mt.asarray(1, dtype="int8"), mt.asarray(1.0, dtype="float16"), mt.asarray(1.0, dtype="float64")


@pytest.mark.parametrize(
    ("elements", "dtype"),
    [
        ([mt.asarray(1.0), 2.0], "float32"),
        ([HALF, 2.0], "float16"),
        ([DOUBLE, 2.0], "float64"),
        ([np.float64(1), 2.0], "float64"),
        ([SMALL, 2], "int8"),
        ([SMALL, 2.0], "float32"),
        ([True, SMALL], "int8"),
        ([mt.asarray(1), mt.asarray(1.0)], "float32"),
        ([mt.asarray(1), mt.asarray(1, dtype="uint64")], "int64"),
        ([mt.asarray(True), 2], "int64"),
        ([HALF, 2j], "complex64"),
        ([1.5, 2**70], "float32"),
        ([2**64 - 1, 0], "uint64"),
        ([Colour.RED, 1], "int64"),
    ],
)
def test_numbers_in_lists_are_weak_in_any_order(elements: list[Any], dtype: str) -> None:
    """As beside operators: `mt.result_type` says where kinds meet; a list of ints that needs uint64 is one."""
    for order in (elements, elements[::-1], [elements, elements[::-1]]):
        assert mt.asarray(order).dtype == np.dtype(dtype)
    assert mt.asarray(elements).tolist() == [mt.asarray(x, dtype=dtype).item() for x in elements]


def test_a_list_on_the_tape_has_the_dtype_that_it_has_without() -> None:
    x = mt.asarray(1.0, dtype="float16", requires_grad=True)
    assert mt.asarray([x, 2.0]).dtype == mt.asarray([x.detach(), 2.0]).dtype == mt.float16


def test_numbers_of_a_list_are_assigned_as_they_are() -> None:
    x = mt.zeros(2, dtype="float64")
    x[:] = [0.1, 0.2]
    assert x.tolist() == [0.1, 0.2]
    with pytest.raises(OverflowError):
        mt.zeros(2, dtype="int8")[:] = [1, 300]


@pytest.mark.parametrize("number", [np.float32(2.5), mt.asarray(2.5), np.array(2.5)])
def test_a_range_up_to_a_number_with_a_dtype_is_that_of_its_kind(number: Any) -> None:
    assert mt.arange(number).tolist() == [0.0, 1.0, 2.0]
    assert mt.arange(0, 5, number).tolist() == [0.0, 2.5]
    assert mt.arange(number, 4).tolist() == [2.5, 3.5]


def test_a_range_of_integers_counts_first_and_is_cut_off_then() -> None:
    assert mt.arange(-0.5, 2.5, dtype="int32").tolist() == [0, 0, 1]  # -0.5, 0.5, 1.5
    assert mt.arange(0, 2, 0.5, dtype="int32").tolist() == [0, 0, 1, 1]
    assert mt.arange(0.0, 3.0, dtype="uint8").tolist() == [0, 1, 2]


@pytest.mark.parametrize("arguments", [(0, 300), (200, 0, -1), (-129, 0)])
def test_a_range_that_its_dtype_does_not_hold_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(OverflowError, match="int8 holds -128 to 127"):
        mt.arange(*arguments, dtype="int8")
    with pytest.raises(OverflowError, match="int64 holds"):
        mt.arange(2**63 - 2, 2**63 + 2)


def test_what_nothing_says_how_to_do_is_refused() -> None:
    with pytest.raises(ValueError, match="diff taken -1 times"):
        mt.diff(mt.ones(3), n=-1)
    with pytest.raises(TypeError, match="complex"):
        mt.full((1,), 1j, dtype="float32")
    with pytest.raises(TypeError, match=r"element \[1\] is None"):
        mt.asarray([1.0, None], dtype="float32")
