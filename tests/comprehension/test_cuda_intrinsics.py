"""The intrinsics of CUDA code are a few LLVM instructions each: run here on the CPU, beside what the language says."""

from __future__ import annotations

import ctypes
from itertools import product
from typing import Any

import numpy as np
import pytest
from numba import cfunc, njit, types
from numba.extending import intrinsic

from comprehension.codegen import cuda_intrinsics
from comprehension.lang.types import ScalarType

INTEGERS = [np.int8, np.uint8, np.int64]


def on_cpu(found: Any, result: Any, *operands: Any) -> Any:
    """An intrinsic of CUDA over arrays of operands."""
    run = intrinsic(found._defn)
    out = np.zeros(len(operands[0]), result)
    if len(operands) == 1:

        @njit
        def loop(out: Any, a: Any) -> None:
            for i in range(len(out)):
                out[i] = run(a[i])
    else:

        @njit
        def loop(out: Any, a: Any, b: Any) -> None:
            for i in range(len(out)):
                out[i] = run(a[i], b[i])

    loop(out, *operands)
    return out


def pairs(values: Any, dtype: Any) -> tuple[Any, Any]:
    left, right = zip(*product(values, repeat=2), strict=True)
    return np.array(left, dtype), np.array(right, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *INTEGERS], ids=lambda dtype: dtype.__name__)
def test_extremes_propagate_nan(dtype: Any) -> None:
    special = [np.nan, np.inf, -np.inf, 1.5] if np.dtype(dtype).kind == "f" else [np.iinfo(dtype).min, 5]
    a, b = pairs([0, 1, 100, *special], dtype)
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.maximum, dtype, a, b), np.maximum(a, b))
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.minimum, dtype, a, b), np.minimum(a, b))


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.__name__)
def test_division_floors_and_is_zero_by_zero(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    values = [value for value in (-7, -3, -2, -1, 0, 1, 2, 3, 7) if value >= limits.min]
    a, b = pairs([*values, limits.min, limits.max], dtype)
    exact = [(int(x) // int(y), int(x) % int(y)) if y else (0, 0) for x, y in zip(a, b, strict=True)]
    quotients = np.array([q if q <= limits.max else limits.min for q, _ in exact], dtype)  # the smallest by -1 wraps
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.floor_div, dtype, a, b), quotients)
    np.testing.assert_array_equal(
        on_cpu(cuda_intrinsics.floor_mod, dtype, a, b), np.array([r for _, r in exact], dtype)
    )


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("source", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
def test_floats_become_the_nearest_integer_of_the_type(source: Any, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    edges = [float(limits.min), float(limits.max), float(limits.max) + 1.0, float(limits.min) - 1.0]
    a = np.array([0.0, -0.5, 0.99, -0.99, 2.5, -3.5, 1e30, -1e30, np.inf, -np.inf, np.nan, *edges], source)
    exact = [0 if np.isnan(x) else np.trunc(np.clip(x, -1e30, 1e30)) for x in a]
    expected = np.array([min(max(int(x), limits.min), limits.max) for x in exact], dtype)
    truncation = cuda_intrinsics.truncation(ScalarType.of(np.dtype(dtype)))
    np.testing.assert_array_equal(on_cpu(truncation, dtype, a), expected)


def test_halves_are_those_of_numpy() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.from_half, np.float32, bits), values)
    finite = values[np.isfinite(values)]
    between = np.concatenate([finite, finite * np.float32(1 + 2.0**-11), finite * np.float32(1 + 2.0**-12)])
    with np.errstate(over="ignore"):
        expected = between.astype(np.float16)
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.to_half, np.uint16, between), expected.view(np.uint16))
    np.testing.assert_array_equal(on_cpu(cuda_intrinsics.half, np.float32, between), expected.astype(np.float32))


def test_the_first_report_stays() -> None:
    run = intrinsic(cuda_intrinsics.report._defn)

    @cfunc(types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64))
    def report(errors: Any, code: Any, seen: Any, extent: Any) -> None:
        run(errors, code, seen, extent)

    errors = np.zeros(4, np.int64)
    pointer = errors.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
    report.ctypes(pointer, 3, -1, 7)
    report.ctypes(pointer, 4, 8, 9)
    assert errors.tolist() == [3, -1, 7, 0]
