"""Arrays of other libraries go in and come out without copies: what comes in decides what comes out."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import comprehension as tc
import minitensor as mt
from comprehension.config import statistics

F = tc.define("def f(float(M, N) A, float(N) b) -> (B) { B(i, j) = 2 * A(i, j) + b(j) }").f
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (extra `bench`)"
)


def operands() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(12, dtype=np.float32).reshape(3, 4), np.arange(4, dtype=np.float32)


@needs_torch
def test_torch_tensors_give_torch_tensors_in_place() -> None:
    import torch

    a, b = operands()
    x, y = torch.from_numpy(a.copy()), torch.from_numpy(b.copy())
    copied = statistics.copied_arguments
    found = F(x, y)
    assert isinstance(found, torch.Tensor) and (found.numpy() == 2 * a + b).all()
    out = torch.zeros(3, 4)
    assert F(x, y, out=out) is out and (out.numpy() == 2 * a + b).all()
    turned = torch.zeros(4, 3).T
    F(torch.from_numpy(a.T.copy()).T, y.flip(0).flip(0), out=turned)
    assert (turned.numpy() == 2 * a + b).all()
    assert statistics.copied_arguments == copied


@needs_torch
def test_torch_tensors_with_gradients_and_mixtures_are_refused() -> None:
    import torch

    a, b = operands()
    with pytest.raises(tc.ComprehensionError, match="A: .*detach"):
        F(torch.from_numpy(a.copy()).requires_grad_(), torch.from_numpy(b))
    with pytest.raises(tc.ComprehensionError, match="arrays of torch and of numpy in one call"):
        F(torch.from_numpy(a), b)
    with pytest.raises(tc.ComprehensionError, match="array of numpy, the inputs are of torch"):
        F(torch.from_numpy(a), torch.from_numpy(b), out=np.zeros((3, 4), np.float32))


@needs_torch
def test_torch_example() -> None:
    from examples import torch_autograd

    torch_autograd.main()


def test_minitensor_gives_minitensor() -> None:
    a, b = operands()
    found = F(mt.asarray(a), mt.asarray(b))
    assert isinstance(found, mt.Tensor) and (found.numpy() == 2 * a + b).all()
    with pytest.raises(tc.ComprehensionError, match="detach"):
        F(mt.asarray(a, requires_grad=True), mt.asarray(b))


class OnlyInterface:
    """An array known by `__array_interface__` alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self.kept = array


class OnDevice:
    """What CuPy's and numba's device arrays show of themselves."""

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return {"shape": (3, 4), "typestr": "<f4", "data": (64, False), "version": 3}


def test_arrays_by_interface_and_on_devices() -> None:
    a, b = operands()
    assert (F(OnlyInterface(a.T.copy().T), b) == 2 * a + b).all()
    with pytest.raises(tc.ComprehensionError, match="A: this .*OnDevice is on a CUDA device; a CPU kernel needs host"):
        F(OnDevice(), b)
