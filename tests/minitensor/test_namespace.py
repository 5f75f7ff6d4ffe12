"""The array standard's face: names, dtypes, namespaces, linear algebra and Fourier transforms against NumPy."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor.dtypes import PROMOTED


def test_every_listed_name_is_there() -> None:
    assert [name for name in mt.__all__ if not hasattr(mt, name)] == []


def test_every_public_function_says_what_it_does() -> None:
    functions = [getattr(mt, name) for name in mt.__all__ if inspect.isfunction(getattr(mt, name))]
    assert len(functions) > 120
    assert [f.__name__ for f in functions if not f.__doc__] == []


def test_namespace_and_its_information() -> None:
    x = mt.zeros(1)
    assert x.__array_namespace__() is mt
    assert x.__array_namespace__(api_version="2023.12") is mt
    with pytest.raises(ValueError, match="1999"):
        x.__array_namespace__(api_version="1999.12")
    info = mt.__array_namespace_info__()
    assert info.default_dtypes()["real floating"] == mt.float32
    assert set(info.dtypes(kind="signed integer")) == {"int8", "int16", "int32", "int64"}
    assert info.capabilities()["boolean indexing"]
    assert info.devices() == [x.device]


def test_promotion_is_numpys_where_the_standard_has_a_rule() -> None:
    for (left, right), result in PROMOTED.items():
        assert PROMOTED[right, left] == result
        kinds = {left.kind, right.kind}
        open_in_standard = kinds == {"i", "u"} and mt.uint64 in (left, right)
        if (len(kinds) == 1 or kinds in ({"i", "u"}, {"f", "c"})) and not open_in_standard:
            assert result == np.promote_types(left, right)
    assert mt.result_type(mt.int64, mt.float32) == mt.float32
    assert mt.result_type(mt.uint8, 1, 2.0) == mt.float32
    assert mt.can_cast(mt.int8, mt.int16)
    assert not mt.can_cast(mt.float64, mt.float32)
    assert mt.isdtype(mt.uint8, "integral")
    with pytest.raises(ValueError, match="unknown kind"):
        mt.isdtype(mt.uint8, "number")


def test_finfo_and_iinfo() -> None:
    assert mt.finfo(mt.zeros(1)).eps == float(np.finfo(np.float32).eps)
    assert mt.finfo(mt.complex128).dtype == mt.float64
    assert mt.iinfo(mt.int8).max == 127


def spd(n: int) -> Any:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((2, n, n))
    return a @ a.swapaxes(-1, -2) + n * np.eye(n)


@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "eigvalsh", "svdvals", "pinv", "matrix_rank"])
def test_linalg_is_numpys(name: str) -> None:
    a = spd(3)
    received = getattr(mt.linalg, name)(mt.asarray(a))
    np.testing.assert_allclose(received.numpy(), getattr(np.linalg, name)(a), rtol=1e-12)


def test_more_of_linalg() -> None:
    a, b = spd(3), np.random.default_rng(2).standard_normal((2, 3, 2))
    x = mt.asarray(a)
    np.testing.assert_allclose(mt.linalg.solve(x, mt.asarray(b)).numpy(), np.linalg.solve(a, b), rtol=1e-12)
    q, r = mt.linalg.qr(x)
    np.testing.assert_allclose((q @ r).numpy(), a, rtol=1e-12)
    u, s, vh = mt.linalg.svd(x)
    np.testing.assert_allclose(((u * s[:, None, :]) @ vh).numpy(), a, rtol=1e-12)
    np.testing.assert_allclose(mt.linalg.matrix_power(x, -2).numpy(), np.linalg.matrix_power(a, -2), rtol=1e-10)
    np.testing.assert_allclose(mt.linalg.trace(x, offset=1).numpy(), np.trace(a, 1, 1, 2))
    for order in (1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"):
        np.testing.assert_allclose(mt.linalg.matrix_norm(x, ord=order).numpy(), np.linalg.norm(a, order, (1, 2)))
    for order in (0, 1, 2, 3, np.inf, -np.inf):
        expected = np.linalg.vector_norm(a, axis=-1, ord=order)
        np.testing.assert_allclose(mt.linalg.vector_norm(x, axis=-1, ord=order).numpy(), expected)
    for arguments in (
        {},
        {"axis": 0},
        {"axis": (0, 2), "keepdims": True},
        {"ord": 1, "axis": (2, 0)},
        {"ord": 3, "axis": 1},
    ):
        np.testing.assert_allclose(mt.linalg.norm(x, **arguments).numpy(), np.linalg.norm(a, **arguments))
    flat = mt.zeros((2, 3), dtype="float64")
    flat.requires_grad = True
    mt.linalg.norm(flat).backward()
    assert flat.grad is not None and flat.grad.tolist() == [[0.0] * 3] * 2
    assert np.isnan(mt.linalg.norm(mt.asarray([np.nan, 1.0])).item())
    v = np.random.default_rng(3).standard_normal((2, 4, 3))
    np.testing.assert_allclose(mt.linalg.cross(*map(mt.asarray, v)).numpy(), np.cross(*v))


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "bij,bjk->bik", "ii", "ii->i", "ij->ji", "...ij,...jk->...ik", "i,j", "iij,j->i"]
)
def test_einsum_is_numpys(equation: str) -> None:
    rng = np.random.default_rng(0)
    ranks = [len(t.replace("...", "bb")) for t in equation.split("->")[0].split(",")]
    operands = [rng.standard_normal((3,) * rank) for rank in ranks]
    received = mt.einsum(equation, *map(mt.asarray, operands))
    np.testing.assert_allclose(received.numpy(), np.einsum(equation, *operands), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in mt.fft.__all__ if "freq" not in name])
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_fourier_transforms_are_numpys(name: str, norm: str) -> None:
    rng = np.random.default_rng(0)
    for extent in (4, 5):
        x = rng.standard_normal((3, extent))
        if name not in ("rfft", "rfftn", "ihfft"):
            x = x + 1j * rng.standard_normal((3, extent))
        keywords = {} if "shift" in name else {"norm": norm}
        extra = {"axes": (0, 1)} if name.endswith("n") else {}
        received = getattr(mt.fft, name)(mt.asarray(x), **keywords, **extra)
        expected = getattr(np.fft, name)(x, **keywords, **extra)
        np.testing.assert_allclose(received.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(mt.fft.fftfreq(5, d=0.5).numpy(), np.fft.fftfreq(5, 0.5), rtol=1e-6)
    np.testing.assert_allclose(mt.fft.rfftfreq(6).numpy(), np.fft.rfftfreq(6), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the mean of none
@pytest.mark.parametrize(("shape", "correction"), [((0, 2), 0), ((0, 2), 1), ((1, 2), 1), ((2, 2), 5.0)])
def test_a_variance_of_too_few_is_nan(shape: tuple[int, int], correction: float) -> None:
    """The standard: NaN if N - correction is less than or equal to 0 (and no negative variance)."""
    x = mt.asarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    for function in (mt.var, mt.std):
        assert mt.isnan(function(x, axis=0, correction=correction)).tolist() == [True, True]


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3)])
def test_matrices_without_elements_have_a_rank_and_an_inverse(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    assert mt.linalg.pinv(mt.asarray(x)).shape == np.linalg.pinv(x).shape
    assert mt.linalg.matrix_rank(mt.asarray(x)).tolist() == np.linalg.matrix_rank(x).tolist()


def test_the_power_zero_is_one_whatever_the_matrix_holds() -> None:
    x = np.full((2, 3, 3), np.inf, np.float32)
    np.testing.assert_array_equal(mt.linalg.matrix_power(mt.asarray(x), 0).numpy(), np.linalg.matrix_power(x, 0))
    w = mt.asarray(np.ones((3, 3), np.float32), requires_grad=True)
    mt.linalg.matrix_power(w, 0).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [[0.0] * 3] * 3


def test_what_numpy_calls_otherwise() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(mt.std(mt.asarray(x), axis=0, correction=1).numpy(), x.std(axis=0, ddof=1), rtol=1e-12)
    assert mt.isin(mt.asarray([1, 5]), mt.asarray([5])).tolist() == [False, True]
