"""`x ** 0.5` of −0 and −∞ is 0 and ∞ (array standard), eagerly as in a kernel.

Found by a step with `mt.asarray([..., -0.0]) ** 0.5`: NumPy takes a square root where the exponent is a number, which
gives −0 and NaN; the kernel's power did not.
"""

from __future__ import annotations

import numpy as np
import pytest

import minitensor as mt
from minitensor.ops.opdef import REGISTRY, TensorSpec


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of −2
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_special_bases(dtype: str) -> None:
    x = mt.asarray(np.array([-0.0, -np.inf, 4.0, np.inf, np.nan, -2.0, 0.0], dtype))
    expected = np.array([0.0, np.inf, 2.0, np.inf, np.nan, np.nan, 0.0], dtype)
    for exponent in (0.5, mt.asarray(0.5, dtype=dtype), mt.full((7,), 0.5, dtype=dtype)):
        root = (x**exponent).numpy()
        assert root.dtype == dtype
        np.testing.assert_array_equal(root, expected)
        assert not np.signbit(root[0])


def test_other_meetings_are_as_they_were() -> None:
    assert (2.0 ** mt.asarray(0.5)).dtype == mt.float32 and (mt.asarray([4]) ** 0.5).dtype == mt.float32
    assert (mt.asarray([4.0]) ** 0.5).tolist() == [2.0]
    large = mt.full((600, 600), 4.0)  # into memory of the allocator
    assert bool(((large**0.5) == 2.0).all()) and large.numpy()[0, 0] == 4.0
    assert REGISTRY["pow"].infer(TensorSpec((2,), np.dtype(np.float32)), 0.5) == TensorSpec((2,), np.dtype(np.float32))
