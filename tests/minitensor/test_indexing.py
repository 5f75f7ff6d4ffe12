"""Indexing and assignment against NumPy, on drawn shapes and keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import minitensor as mt


@st.composite
def shapes_and_keys(draw: Any) -> tuple[np.ndarray[Any, Any], Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    kind = draw(st.sampled_from(["basic", "integer", "mask", "mixed"]))
    if kind == "basic":
        return array, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "mask":
        rank = draw(st.integers(1, len(shape)))
        return array, draw(hnp.arrays(bool, shape[:rank]))
    if kind == "integer":
        return array, draw(hnp.integer_array_indices(shape))
    index = draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=3))
    rest = draw(hnp.basic_indices(shape[1:], allow_ellipsis=False)) if len(shape) > 1 else ()
    return array, (np.array(index), *(rest if isinstance(rest, tuple) else (rest,)))


def as_key(key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(mt.asarray(part) if isinstance(part, np.ndarray) else part for part in parts)


@settings(max_examples=max(300, settings().max_examples), deadline=None)
@given(shapes_and_keys())
def test_reading_is_numpys(case: tuple[np.ndarray[Any, Any], Any]) -> None:
    array, key = case
    received = mt.asarray(array)[as_key(key)]
    expected = array[key if isinstance(key, tuple) else (key,)]
    assert received.shape == expected.shape
    np.testing.assert_array_equal(received.numpy(), expected)


@settings(max_examples=max(200, settings().max_examples), deadline=None)
@given(shapes_and_keys())
def test_gradients_of_reading_are_counts(case: tuple[np.ndarray[Any, Any], Any]) -> None:
    array, key = case
    x = mt.asarray(array, requires_grad=True)
    result = x[as_key(key)]
    if result.size == 0:
        return
    result.sum().backward()
    expected = np.zeros_like(array)
    np.add.at(expected, key if isinstance(key, tuple) else (key,), 1.0)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@settings(max_examples=max(200, settings().max_examples), deadline=None)
@given(shapes_and_keys(), st.booleans())
def test_writing_is_numpys(case: tuple[np.ndarray[Any, Any], Any], scalar: bool) -> None:
    array, key = case
    parts = key if isinstance(key, tuple) else (key,)
    target = array[parts].shape
    value = -1.0 if scalar else -np.arange(1.0, 1.0 + np.prod(target)).reshape(target)
    x, expected = mt.asarray(array), array.copy()
    before = x.detach()
    x[as_key(key)] = value
    expected[parts] = value
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(before.numpy(), array)


def test_assignment_broadcasts_casts_and_refuses() -> None:
    x = mt.zeros((2, 3), dtype=mt.int64)
    x[:, 1] = mt.asarray([1, 2])
    x[0] = [7, 8, 9]
    x[1, 2] = True
    assert x.tolist() == [[7, 8, 9], [0, 2, 1]]
    with pytest.raises(ValueError):
        x[0] = mt.zeros(2, dtype=mt.int64)
    with pytest.raises(TypeError, match="complex"):
        x[0] = mt.asarray([1j, 1j, 1j])
    x[mt.asarray([0]), 0:2] = -1
    x[:] = x + 1
    assert x.tolist() == [[0, 0, 10], [1, 3, 2]]


@pytest.mark.parametrize("key", [3, -4, (0, 0, 0), (..., ...), "a", 1.5, mt.asarray([1.5]), mt.asarray([5])])
def test_wrong_keys_are_index_errors(key: Any) -> None:
    with pytest.raises(IndexError):
        mt.zeros((3, 2))[key]


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(IndexError, match="mask"):
        mt.zeros((3, 2))[mt.ones((2,), dtype=mt.bool)]


@settings(max_examples=max(100, settings().max_examples), deadline=None)
@given(st.data())
def test_movement_is_numpys(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    array = np.arange(np.prod(shape)).reshape(shape)
    x, axis = mt.asarray(array), data.draw(st.integers(-len(shape), len(shape) - 1))
    shift = data.draw(st.integers(-5, 5))
    pairs = [
        (mt.flip(x, axis=axis), np.flip(array, axis)),
        (mt.roll(x, shift, axis=axis), np.roll(array, shift, axis)),
        (mt.roll(x, shift), np.roll(array, shift)),
        (mt.concat([x, x], axis=axis), np.concatenate([array, array], axis)),
        (mt.stack([x, x], axis=axis), np.stack([array, array], axis)),
        (mt.expand_dims(x, axis), np.expand_dims(array, axis)),
        (mt.moveaxis(x, axis, 0), np.moveaxis(array, axis, 0)),
        (mt.tile(x, (2, 1)), np.tile(array, (2, 1))),
        (mt.repeat(x, 2, axis=axis), np.repeat(array, 2, axis)),
        (mt.repeat(x, mt.arange(shape[axis]), axis=axis), np.repeat(array, np.arange(shape[axis]), axis)),
        (mt.pad(x, 1), np.pad(array, 1)),
        (mt.sort(x, axis=axis, descending=True), np.flip(np.sort(array, axis), axis)),
        (mt.argsort(x, axis=axis), np.argsort(array, axis)),
        (mt.cumulative_sum(x, axis=axis), np.cumsum(array, axis)),
        (mt.diff(x, axis=axis), np.diff(array, axis=axis)),
        (mt.take(x, mt.asarray([0, -1]), axis=axis), np.take(array, [0, -1], axis)),
    ]
    for received, expected in pairs:
        np.testing.assert_array_equal(received.numpy(), expected)


FOR_NO_DIMENSION: list[Any] = [
    (slice(None), 0, ..., [0, 1]),
    (slice(None), [0, 1], ..., [0, 1]),
    (slice(None), 0, ..., np.array([True, False, True, True])),
    (0, [1], ..., slice(1, 3)),
    (slice(None), 0, ..., 1),
]


@pytest.mark.parametrize("key", FOR_NO_DIMENSION, ids=str)
def test_dots_for_no_dimension_part_index_tensors_as_in_numpy(key: Any) -> None:
    array = np.arange(24.0).reshape(3, 2, 4)
    x = mt.asarray(array)
    np.testing.assert_array_equal(x[key].numpy(), array[key])
    x[key] = array[key] + 100.0
    array[key] += 100.0
    np.testing.assert_array_equal(x.numpy(), array)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,)])
def test_a_mask_without_elements_is_a_mask(shape: tuple[int, ...]) -> None:
    array, mask = np.zeros((*shape, 2)), np.zeros(shape, bool)
    for key in (mask, mt.asarray(mask)):
        assert mt.asarray(array)[key].shape == array[mask].shape == (0, 2)
