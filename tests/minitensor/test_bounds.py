"""The error-bound interpretation: what is legal lies within, what is wrong does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minitensor as mt
from minitensor import functional as F
from minitensor.dispatch import apply, apply_several
from minitensor.errors import MinitensorError
from minitensor.ops.opdef import REGISTRY
from minitensor.testing import ErrorBounds, assert_within
from minitensor.testing.bounds import Bounded
from minitensor.testing.strategies import operands_for

WITHOUT = {"unique", "slogdet", "eigh", "qr", "svd", "inv", "det", "cofactors", "solve", "cholesky"}


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - WITHOUT))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_eager_float32_lies_within_its_bound(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    case = data.draw(operands_for(op, "float32"))
    try:
        with np.errstate(all="ignore"), ErrorBounds() as bounds:
            inputs = [mt.asarray(x) if isinstance(x, np.ndarray) else x for x in case.operands]
            results = (apply if op.outputs == 1 else apply_several)(op, *inputs, **case.attributes)
    except (LookupError, MinitensorError):
        return
    for result in results if isinstance(results, tuple) else (results,):
        expected = bounds.of(result)
        determined = np.isfinite(expected.bound)
        received = result.numpy()
        if received.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                close = np.abs(received - expected.value) <= expected.bound
            assert np.all(close | ~determined | (received == expected.value) | np.isnan(expected.value))
        else:
            np.testing.assert_array_equal(received[determined], expected.value[determined])


def network(parameters: dict[str, Any], x: mt.Tensor) -> mt.Tensor:
    hidden = F.relu(F.conv2d(x, parameters["kernel"], padding=1))
    flat = F.max_pool2d(hidden, 2).reshape((x.shape[0], -1))
    return F.cross_entropy(flat @ parameters["weight"], mt.asarray([0, 2, 1]))


def bounded_step() -> tuple[mt.Tensor, Bounded]:
    rng = np.random.default_rng(3)
    parameters = {
        "kernel": mt.asarray(rng.uniform(-0.2, 0.2, (4, 2, 3, 3)).astype("f"), requires_grad=True),
        "weight": mt.asarray(rng.uniform(-0.1, 0.1, (36, 3)).astype("f"), requires_grad=True),
    }
    x = mt.asarray(rng.standard_normal((3, 2, 6, 6)).astype("f"))
    with ErrorBounds() as bounds:
        network(parameters, x).backward()
    gradient = parameters["kernel"].grad
    assert gradient is not None
    return gradient, bounds.of(gradient)


def test_gradients_of_a_network_stay_within_and_a_corruption_does_not() -> None:
    gradient, expected = bounded_step()
    array = gradient.numpy()
    assert_within(array, expected, of="gradient")
    corrupted = array.copy()
    place = np.unravel_index(np.argmax(np.abs(array)), array.shape)
    corrupted[place] *= 1.01
    with pytest.raises(AssertionError, match="outside their bounds"):
        assert_within(corrupted, expected)


def test_sums_in_any_order_are_legal_and_a_dropped_element_is_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.5, 1.5, 500).astype("f")
    with ErrorBounds() as bounds:
        total = mt.asarray(x).sum()
    for order in (np.arange(500), np.arange(500)[::-1], rng.permutation(500)):
        running = np.float32(0)
        for element in x[order]:
            running += element
        assert_within(running, bounds.of(total))
    with pytest.raises(AssertionError, match="outside"):
        assert_within(np.delete(x, int(np.argmax(np.abs(x)))).sum(), bounds.of(total))


def test_a_check_that_compares_nothing_fails() -> None:
    with pytest.raises(AssertionError, match="undetermined"):
        assert_within(np.zeros(4), Bounded(np.zeros(4), np.full(4, np.inf)))
    with pytest.raises(AssertionError, match="median bound"):
        assert_within(np.ones(4), Bounded(np.ones(4), np.full(4, 0.1)))


def test_what_follows_an_open_comparison_is_undetermined() -> None:
    with ErrorBounds() as bounds:
        x = mt.asarray([1.0, 3.0]) / 3.0 * 3.0
        open_ = x > 1.0
    assert np.isinf(bounds.of(open_).bound[0])
    assert bounds.of(open_).bound[1] == 0
