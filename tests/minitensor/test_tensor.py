"""Tensors are values: what a name holds, what reading it gives, what can and cannot be seen from outside."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import re
import weakref
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor.errors import DTypeError, GradientError, MinitensorError, ScalarRangeError, ShapeError


def test_slices_and_reshapes_never_alias() -> None:
    x = mt.asarray([[1.0, 2.0], [3.0, 4.0]])
    row, flat, turned = x[0], x.reshape((4,)), x.T
    x[0] = 9.0
    assert row.tolist() == [1.0, 2.0]
    assert flat.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert turned.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert x.tolist() == [[9.0, 9.0], [3.0, 4.0]]


def test_a_whole_slice_is_a_name_of_its_own() -> None:
    x = mt.zeros(2)
    y = x[:]
    y += 1
    assert x.tolist() == [0.0, 0.0]


def test_names_of_one_object_see_each_others_writes() -> None:
    x = mt.zeros(3)
    y = x
    y += 1
    assert x is y
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_in_place_operators_rebind_and_keep_the_dtype(name: str) -> None:
    x, snapshot = mt.asarray([4.0, 9.0]), mt.asarray([4.0, 9.0])
    before, alias = x.detach(), x
    result = getattr(operator, "i" + name)(x, 2)
    expected = getattr(operator, name)(snapshot, 2)
    assert result is alias
    assert x.tolist() == expected.tolist()
    assert before.tolist() == [4.0, 9.0]
    assert x.dtype == mt.float32


def test_in_place_operators_refuse_another_shape_or_kind() -> None:
    with pytest.raises(ShapeError, match=r"\(1,\).*\(3,\)"):
        x = mt.zeros(1)
        x += mt.zeros(3)
    with pytest.raises(DTypeError, match="float32 into a int64"):
        n = mt.arange(3)
        n += 0.5


def test_numpy_memory_cannot_be_written() -> None:
    x = mt.asarray([1.0, 2.0])
    for array in (x.numpy(), np.asarray(x), np.from_dlpack(x)):
        assert array.tolist() == [1.0, 2.0]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        x.numpy().flags.writeable = True


def test_asarray_copies_unless_told_not_to() -> None:
    source = np.array([1.0, 2.0])
    copied, borrowed = mt.asarray(source), mt.asarray(source, copy=False)
    derived = borrowed.reshape((2, 1))
    kept = borrowed.detach()
    source[0] = 7.0
    assert copied.tolist() == [1.0, 2.0]
    assert copied.dtype == mt.float64
    assert borrowed.tolist() == [7.0, 2.0]
    assert derived.tolist() == [[1.0], [2.0]]
    assert kept.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="copy"):
        mt.asarray([1.0], copy=False)
    with pytest.raises(ValueError, match="copy"):
        mt.asarray(source, dtype=mt.float32, copy=False)


def test_gradients_do_not_see_writes_into_borrowed_memory() -> None:
    source = np.array([2.0, 3.0])
    x = mt.ones((2,), dtype=mt.float64)
    x.requires_grad = True
    y = (x * mt.asarray(source, copy=False)).sum()
    source[:] = 100.0
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 3.0]


def test_scalars_are_weak_and_take_the_tensors_kind() -> None:
    assert (mt.asarray([1, 2]) * 1.0).dtype == mt.float32
    assert (mt.asarray([1, 2]) / 2).dtype == mt.float32
    assert (mt.asarray([True]) + 1).dtype == mt.int64
    assert (mt.zeros(1, dtype=mt.float64) * 2).dtype == mt.float64
    assert (mt.zeros(1, dtype=mt.int8) + 1).dtype == mt.int8
    assert (mt.zeros(1, dtype=mt.float64) * 1j).dtype == mt.complex128
    assert (mt.zeros(1) + np.float64(1.0)).dtype == mt.float64
    with pytest.raises(ScalarRangeError, match="300"):
        mt.zeros(1, dtype=mt.int8) + 300


def test_numpy_arrays_meet_tensors_on_both_sides() -> None:
    for result in (np.ones(2) + mt.ones(2), mt.ones(2) + np.ones(2)):
        assert isinstance(result, mt.Tensor)
        assert result.dtype == mt.float64
    assert (np.ones((2, 2)) @ mt.ones((2, 2), dtype=mt.float64)).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_reading_as_python() -> None:
    x = mt.asarray(2.5, requires_grad=True)
    assert (float(x), int(x), bool(x), x.item(), f"{x:.1f}") == (2.5, 2, True, 2.5, "2.5")
    assert operator.index(mt.asarray(3)) == 3
    assert [int(row.sum()) for row in mt.asarray([[1, 2], [3, 4]])] == [3, 7]
    assert len(mt.zeros((4, 2))) == 4
    assert complex(mt.asarray(1j)) == 1j
    with pytest.raises(TypeError):
        operator.index(mt.asarray(1.0))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        bool(mt.zeros(2))
    with pytest.raises(TypeError, match="imaginary"):
        float(mt.asarray(1j))
    with pytest.raises(TypeError):
        len(mt.asarray(1.0))


def test_numpy_of_a_tensor_that_requires_grad_is_refused() -> None:
    x = mt.ones(2)
    x.requires_grad = True
    for read in (lambda: x.numpy(), lambda: np.asarray(x)):
        with pytest.raises(GradientError, match=r"\.detach\(\)"):
            read()
    assert x.tolist() == [1.0, 1.0]


def test_equality_is_elementwise_and_hash_is_identity() -> None:
    x, y = mt.asarray([1, 2]), mt.asarray([1, 3])
    assert (x == y).tolist() == [True, False]
    assert (x != y).tolist() == [False, True]
    assert len({x, y, x}) == 2


def test_copies_pickles_and_weak_references() -> None:
    x = mt.asarray([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.tolist() == x.tolist()
        assert twin.requires_grad
        assert twin.grad is not None
        assert twin.grad.tolist() == [2.0, 4.0]
        with mt.no_grad():
            twin += 1
        assert x.tolist() == [1.0, 2.0]
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is None


def test_errors_show_operands_and_the_users_line() -> None:
    with pytest.raises(ValueError, match=r"add\(float32\[2, 3\], float32\[4\]\)") as caught:
        mt.zeros((2, 3)) + mt.zeros(4)
    assert isinstance(caught.value, MinitensorError)
    assert re.search(r"test_tensor\.py:\d+", str(caught.value))
    twin = pickle.loads(pickle.dumps(caught.value))
    assert twin.message == caught.value.message


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: mt.zeros(2)[2], IndexError),
        (lambda: mt.zeros(2)[0, 0], IndexError),
        (lambda: mt.zeros((2, 3)) @ mt.zeros((2, 3)), ValueError),
        (lambda: mt.reshape(mt.zeros(4), (3,)), ValueError),
        (lambda: mt.sum(mt.zeros(4), axis=1), ValueError),
        (lambda: mt.sum(mt.zeros((2, 2)), axis=(0, 0)), ValueError),
        (lambda: mt.max(mt.zeros(0)), ValueError),
        (lambda: mt.take(mt.zeros(3), mt.asarray([3]), axis=0), IndexError),
        (lambda: mt.concat([mt.zeros((2, 2)), mt.zeros((3, 3))]), ValueError),
        (lambda: mt.squeeze(mt.zeros(2), 0), ValueError),
        (lambda: mt.asarray(["a"]), TypeError),
        (lambda: mt.zeros(2) + "a", TypeError),
        (lambda: mt.zeros(2) + None, TypeError),
        (lambda: mt.zeros(-1), ValueError),
        (lambda: mt.zeros(2, device="cuda:7"), ValueError),
        (lambda: mt.zeros(2, dtype="U3"), TypeError),
        (lambda: mt.bitwise_and(mt.zeros(2), mt.zeros(2)), TypeError),
        (lambda: mt.asarray([2]) ** mt.asarray([-1]), ValueError),
        (lambda: mt.linalg.inv(mt.zeros((2, 2))), ValueError),
        (lambda: mt.einsum("ij,jk->ik", mt.zeros((2, 3)), mt.zeros((4, 5))), ValueError),
    ],
)
def test_wrong_calls_raise_the_standards_classes(call: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        call()  # type: ignore[operator]
    assert isinstance(caught.value, MinitensorError)


@pytest.mark.parametrize("name", ["view", "clone", "to", "unsqueeze", "add_"])
def test_names_of_other_libraries_are_answered_with_ours(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}': (use|nothing|write) "):
        getattr(mt.ones(2), name)
    assert not hasattr(mt.ones(2), name)


def test_errors_of_numpy_are_put_into_our_words() -> None:
    with pytest.raises(TypeError, match="sign does not take bool; astype"):
        mt.sign(mt.asarray(True))
    with pytest.raises(ValueError, match="the step of a slice cannot be 0"):
        mt.ones(3)[::0]
    with pytest.raises(ValueError, match=r"einsum: 'j' is 3 in one operand and 4 in 'jk' of \(4, 5\)"):
        mt.einsum("ij,jk->ik", mt.ones((2, 3)), mt.ones((4, 5)))
    assert mt.einsum("i,i", mt.zeros(0), mt.zeros(0)).item() == 0.0


def test_a_tensor_equals_no_other_object_and_is_compared_elementwise_with_numbers() -> None:
    x = mt.ones(2)
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert x not in (None, "auto") and x != "auto"
    assert (x == 1).tolist() == (x == np.ones(2)).tolist() == [True, True]
    with pytest.raises(mt.errors.DTypeError, match="not list"):
        _ = x == [1.0, 1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mt.exp(2.0), r"exp takes a tensor, not 2.0: asarray\(\) makes one"),
        (lambda: mt.zeros(2.5), "a shape is an int or several, not 2.5"),
        (lambda: mt.ones((2, "3")), "a shape is an int or several"),
    ],
)
def test_what_is_no_tensor_or_shape_is_told_so(call: Any, words: str) -> None:
    with pytest.raises(mt.errors.DTypeError, match=words):
        call()
