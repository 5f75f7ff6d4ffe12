"""Found by drawn training programs: a kernel that wrote into an empty slice wrote into the element beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import coexec
import minitensor as mt

KEYS: list[Any] = [
    slice(0, 0),
    slice(2, 2),
    slice(None, None, -1),  # not empty: the neighbours still work
    slice(0, 1, -1),
    (slice(None), slice(3, 1)),
    (slice(1, 1), slice(None, None, 2)),
    (slice(5, None), 0),
    (-1, slice(2, -2)),
]


def written(value: Any, key: Any) -> Callable[[mt.Tensor], Any]:
    def step(x: mt.Tensor) -> Any:
        y = x + 0.0
        y[key] = value
        return y

    return step


def differentiated(x: mt.Tensor) -> Any:
    w = mt.asarray(x.detach() + 0.0, requires_grad=True)
    loss = (w * w).sum()
    for key in KEYS:
        loss = loss + (w[key] * 2.0).sum()
    loss.backward()
    return w.grad


def in_the_graph(step: Callable[[mt.Tensor], Any], x: mt.Tensor) -> Any:
    co = coexec.coexecute(step)
    for _ in range(4):
        result = co(x)
        coexec.wait()
    assert co.report().coexecuted_steps > 0
    return result


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("value", [7, mt.asarray([[7.0]])], ids=["number", "tensor"])
def test_a_kernel_writes_into_a_slice_what_numpy_writes(key: Any, value: Any) -> None:
    x = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    expected = x.copy()
    expected[key] = 7
    received = in_the_graph(written(value, key), mt.asarray(x))
    np.testing.assert_array_equal(received.numpy(), expected)


def test_an_empty_slice_has_no_gradient() -> None:
    x = mt.asarray(np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4))
    received = in_the_graph(differentiated, x)
    expected = 2 * x.numpy() + 2  # the one slice of KEYS that is not empty adds 2 everywhere
    np.testing.assert_array_equal(received.numpy(), expected)
