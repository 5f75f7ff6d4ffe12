"""Padding of maxima: lower than everything, in every type, and whatever stands at the border."""

from __future__ import annotations

import numpy as np
import pytest

from comprehension import define
from comprehension.lang.printer import to_text
from minitensor.ops.opdef import TensorSpec
from minitensor.ops.pooling import max_pool2d

TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "float16", "float32", "float64"]
WINDOWS = [((3, 3), (1, 1), (1, 1)), ((2, 3), (2, 1), (1, 0)), ((4, 2), (3, 3), (2, 1))]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
def test_padding_is_below_all_values(
    name: str, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    dtype = np.dtype(name)
    is_float = dtype.kind == "f"
    pictures = np.full((1, 2, 5, 6), -np.inf if is_float else np.iinfo(dtype).min, dtype)
    pictures[0, 1, 1:, 1:] = np.random.default_rng(0).integers(0, 9, (4, 5))
    if is_float:
        pictures[0, 1, 3, 3] = np.nan
    assert max_pool2d.comprehension is not None
    window = {"kernel": kernel, "stride": stride, "padding": padding}
    definition = max_pool2d.comprehension(TensorSpec(pictures.shape, dtype), **window)
    found = define(to_text(definition))[definition.name].reference(pictures)
    np.testing.assert_array_equal(found, max_pool2d.eager(pictures, **window))
