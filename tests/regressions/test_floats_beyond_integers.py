"""Floats beyond an integer type's range: eagerly they were what the processor gives, in kernels the nearest number.

`mt.astype(x * 255.0, "uint8")` of -0.01 was 254 in some steps and 0 in others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import coexec
import minitensor as mt

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = [300.5, -300.5, 3e9, -3e9, 1e19, -1e19, np.nan, np.inf, -np.inf, -1.5, -0.5, 255.9, 0.0, 7.0]


def nearest(x: float, dtype: str) -> int:
    """By Python's exact integers."""
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if not np.isfinite(x):
        return 0 if np.isnan(x) else most if x > 0 else least
    return min(max(int(x), least), most)


def cast(x: mt.Tensor, dtype: str) -> mt.Tensor:
    return mt.astype(x * 1.0, dtype) + 0


def written(x: mt.Tensor, dtype: str) -> mt.Tensor:
    result = mt.zeros(x.shape, dtype=dtype) + 0
    result[:] = x * 1.0
    return result


def written_by_index(x: mt.Tensor, dtype: str) -> mt.Tensor:
    result = mt.zeros(x.shape, dtype=dtype) + 0
    result[mt.arange(len(x))] = x * 1.0
    return result


@pytest.mark.parametrize("source", ["float16", "float32", "float64"])
@pytest.mark.parametrize("function", [cast, written, written_by_index])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 3e9 as float16
def test_they_are_the_nearest_number_eagerly(function: Callable[[mt.Tensor, str], mt.Tensor], source: str) -> None:
    array = np.array(FLOATS).astype(source)
    for dtype in DTYPES:
        expected = [nearest(float(x), dtype) for x in array]
        assert function(mt.asarray(array), dtype).tolist() == expected, dtype


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
@pytest.mark.parametrize("function", [cast, written])
def test_and_in_kernels(function: Callable[[mt.Tensor, str], mt.Tensor], dtype: str) -> None:
    step = coexec.coexecute(function)
    array = np.array(FLOATS, np.float32)
    for _ in range(4):
        result = step(mt.asarray(array), dtype).tolist()
        assert result == [nearest(float(x), dtype) for x in array]
        coexec.wait()
    assert step.report().coexecuted_steps == 2
