"""Gradients, first and second, of functions that are made of records: all of functional and linalg, and of the rest
those that do more than call one record.  The records themselves are in `test_records.py`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F
from minitensor.errors import GradientError
from minitensor.ops.opdef import REGISTRY
from minitensor.testing import gradcheck, gradgradcheck

Function = Callable[..., mt.Tensor]
rng = np.random.default_rng(0)


def drawn(*shape: int) -> Any:
    return rng.standard_normal(shape)


def spread(*shape: int) -> Any:
    """No two alike: no step of a check exchanges the order."""
    count = math.prod(shape)
    return (rng.permutation(count).reshape(shape) - count / 2 + 0.25) * 0.5


def spd(n: int) -> Any:
    a = drawn(n, n)
    return a @ a.T + np.diag(np.arange(1.0, n + 1))


def redrawn(function: Function, x: mt.Tensor) -> mt.Tensor:
    """Some of x dropped, at each call the same."""
    mt.random.seed(4)
    dropped = function(x, 0.5)
    assert 0 < mt.count_nonzero(dropped).item() < x.size
    return dropped * x


LABELS, TWICE = mt.asarray([2, 0]), mt.asarray([0, 2, 0])  # the second names a place twice
PARTS = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
MASK = mt.asarray([[True, False, True], [True, True, False]])

OF_F: dict[str, tuple[Function, list[Any]]] = {
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), [drawn(1, 2, 3, 4)]),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 2, 1, 1), [drawn(2, 1, 4)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2, 1, 1), [drawn(1, 2, 3, 4)]),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2, 1, 1), [drawn(1, 1, 2, 3, 2)]),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, None, True), [drawn(4, 3), drawn(3)]),
    "binary_cross_entropy": (lambda p, t: F.binary_cross_entropy(p, t, weight=t), [PARTS, PARTS[::-1].copy()]),
    "binary_cross_entropy_with_logits": (
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=mt.asarray(2.0)),
        [drawn(2, 3), PARTS],
    ),
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, 2, "valid", 2), [drawn(1, 2, 7), drawn(3, 2, 2), drawn(3)]),
    "conv2d": (lambda x, w: F.conv2d(x, w, padding="same"), [drawn(1, 1, 3, 3), drawn(2, 1, 2, 3)]),
    "conv3d": (lambda x, w: F.conv3d(x, w, padding=1, stride=2), [drawn(1, 1, 2, 3, 3), drawn(1, 1, 2, 2, 2)]),
    "conv_transpose1d": (lambda x, w: F.conv_transpose1d(x, w, stride=2), [drawn(1, 2, 3), drawn(2, 1, 2)]),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), [drawn(1, 1, 2, 2), drawn(1, 2, 3, 2)]),
    "cosine_similarity": (lambda x, y: F.cosine_similarity(x, y), [drawn(2, 3), drawn(1, 3)]),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, LABELS, weight=mt.asarray([1.0, 2.0, 3.0]), label_smoothing=0.1),
        [drawn(2, 3)],
    ),
    "dropout": (lambda x: redrawn(F.dropout, x), [drawn(6)]),
    "dropout2d": (lambda x: redrawn(F.dropout2d, x), [drawn(2, 4, 2)]),
    "elu": (F.elu, [spread(5)]),
    "embedding": (lambda w: F.embedding(TWICE, w, padding_idx=None), [drawn(3, 2)]),
    "gaussian_nll_loss": (lambda p, t, v: F.gaussian_nll_loss(p, t, v, full=True), [drawn(3), drawn(3), PARTS[0]]),
    "gelu": (lambda x: F.gelu(x, "tanh"), [drawn(4)]),
    "glu": (lambda x: F.glu(x, 0), [drawn(4, 2)]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [drawn(2, 4, 2), drawn(4), drawn(4)]),
    "hardsigmoid": (F.hardsigmoid, [spread(6)]),
    "hardswish": (F.hardswish, [spread(6)]),
    "hardtanh": (F.hardtanh, [spread(6)]),
    "huber_loss": (lambda x, y: F.huber_loss(x, y, delta=0.6), [spread(6), np.zeros(6)]),
    "interpolate": (lambda x: F.interpolate(x, (3, 5), "bilinear"), [drawn(1, 1, 2, 3)]),
    "kl_div": (lambda q, t: F.kl_div(q, t, "batchmean"), [drawn(2, 3), PARTS]),
    "l1_loss": (F.l1_loss, [spread(5), np.zeros(5)]),
    "layer_norm": (lambda x, w: F.layer_norm(x, (3,), w), [drawn(2, 3), drawn(3)]),
    "leaky_relu": (F.leaky_relu, [spread(5)]),
    "linear": (F.linear, [drawn(2, 3), drawn(4, 3), drawn(4)]),
    "log_softmax": (lambda x: F.log_softmax(x, 0), [drawn(3, 2)]),
    "logsigmoid": (F.logsigmoid, [drawn(4)]),
    "logsumexp": (lambda x: F.logsumexp(x, (0, 1)), [drawn(2, 3)]),
    "margin_ranking_loss": (lambda x, y: F.margin_ranking_loss(x, y, 1.0, margin=0.1), [spread(5), np.zeros(5)]),
    "max_pool1d": (lambda x: F.max_pool1d(x, 2, 1), [spread(1, 2, 4)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2, 1, 1), [spread(1, 2, 3, 3)]),
    "max_pool3d": (lambda x: F.max_pool3d(x, 2, 1), [spread(1, 1, 3, 2, 3)]),
    "mish": (F.mish, [drawn(4)]),
    "mse_loss": (F.mse_loss, [drawn(2, 3), drawn(3)]),
    "nll_loss": (lambda x: F.nll_loss(x, LABELS, ignore_index=0), [drawn(2, 3)]),
    "normalize": (lambda x: F.normalize(x, 3.0), [spread(2, 3)]),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), [drawn(1, 4, 2, 1)]),
    "prelu": (F.prelu, [spread(2, 3), drawn(3)]),
    "relu": (F.relu, [spread(5)]),
    "relu6": (F.relu6, [spread(30)]),
    "rms_norm": (lambda x, w: F.rms_norm(x, (3,), w), [drawn(2, 3), drawn(3)]),
    "scaled_dot_product_attention": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, is_causal=True),
        [drawn(2, 3, 2), drawn(1, 3, 2), drawn(3, 2), drawn(3, 3)],
    ),
    "selu": (F.selu, [spread(5)]),
    "sigmoid": (F.sigmoid, [drawn(4)]),
    "silu": (F.silu, [drawn(4)]),
    "smooth_l1_loss": (F.smooth_l1_loss, [spread(6), np.zeros(6)]),
    "softmax": (lambda x: F.softmax(x, 0), [drawn(3, 2)]),
    "softplus": (F.softplus, [spread(4)]),
    "softsign": (F.softsign, [spread(4)]),
    "triplet_margin_loss": (F.triplet_margin_loss, [drawn(2, 3), drawn(2, 3), drawn(2, 3)]),
}
NO_GRADIENT_IN_F = {"causal_mask", "one_hot"}

OF_LINALG: dict[str, tuple[Function, list[Any]]] = {
    "cholesky": (lambda x: mt.linalg.cholesky(x, upper=True), [spd(3)]),
    "cross": (lambda x, y: mt.linalg.cross(x, y, axis=0), [drawn(3, 2), drawn(3, 1)]),
    "det": (mt.linalg.det, [spd(3)]),
    "diagonal": (lambda x: mt.linalg.diagonal(x, offset=1), [drawn(2, 3, 4)]),
    "eigh": (lambda x: mt.linalg.eigh(x).eigenvectors ** 2, [spd(3)]),
    "eigvalsh": (mt.linalg.eigvalsh, [spd(3)]),
    "inv": (mt.linalg.inv, [spd(3)]),
    "matmul": (mt.linalg.matmul, [drawn(2, 1, 2, 3), drawn(2, 3, 2)]),
    "matrix_norm": (lambda x: mt.linalg.matrix_norm(x, ord="nuc"), [drawn(3, 2)]),
    "matrix_power": (lambda x: mt.linalg.matrix_power(x, -3), [spd(2)]),
    "matrix_transpose": (mt.linalg.matrix_transpose, [drawn(2, 3)]),
    "norm": (lambda x: mt.linalg.norm(x, 2, axis=(0, 2)), [drawn(3, 2, 2)]),
    "outer": (mt.linalg.outer, [drawn(2), drawn(3)]),
    "pinv": (mt.linalg.pinv, [drawn(3, 2)]),
    "qr": (lambda x: mt.concat([m.flatten() for m in mt.linalg.qr(x)]), [drawn(3, 2)]),
    "slogdet": (lambda x: mt.linalg.slogdet(x).logabsdet, [spd(3)]),
    "solve": (mt.linalg.solve, [spd(3), drawn(3)]),
    "svd": (lambda x: mt.linalg.svd(x, full_matrices=False).Vh, [drawn(2, 3)]),
    "svdvals": (mt.linalg.svdvals, [drawn(3, 2)]),
    "tensordot": (lambda x, y: mt.tensordot(x, y, axes=((0, 1), (1, 0))), [drawn(2, 3), drawn(3, 2, 2)]),
    "trace": (mt.linalg.trace, [drawn(2, 3, 3)]),
    "vecdot": (mt.linalg.vecdot, [drawn(2, 3), drawn(3)]),
    "vector_norm": (lambda x: mt.linalg.vector_norm(x, ord=3, axis=(0, 1)), [spread(2, 3)]),
}
NO_GRADIENT_IN_LINALG = {"matrix_rank"}

OF_THE_REST: dict[str, tuple[Function, list[Any]]] = {
    "sort": (lambda x: mt.sort(x, axis=0, descending=True), [spread(4, 2)]),
    "broadcast_arrays": (lambda x, y: mt.broadcast_arrays(x, y)[1] * x, [drawn(2, 1), drawn(3)]),
    "clip": (lambda x: mt.clip(x, -0.3, 0.8), [spread(6)]),
    "cumulative_prod": (lambda x: mt.cumulative_prod(x, axis=1, include_initial=True), [spread(2, 3)]),
    "cumulative_sum": (lambda x: mt.cumulative_sum(x, axis=0, include_initial=True), [drawn(2, 3)]),
    "diff": (lambda x: mt.diff(x, n=2), [drawn(2, 5)]),
    "einsum": (lambda x, y: mt.einsum("iij,...j->...i", x, y), [drawn(2, 2, 3), drawn(2, 3)]),
    "fft": (lambda x: mt.abs(mt.fft.rfft(x, n=6)), [drawn(2, 5)]),
    "index-put": (lambda x, y: put(x, y), [drawn(3, 2), drawn(2)]),
    "index-twice": (lambda x: x[[0, 2, 0]] * x[0], [drawn(3, 2)]),
    "mask": (lambda x: x[MASK] ** 2, [drawn(2, 3)]),
    "meshgrid": (lambda x, y: mt.meshgrid(x, y)[0] * mt.meshgrid(x, y)[1], [drawn(2), drawn(3)]),
    "moveaxis": (lambda x: mt.moveaxis(x, (0, 1), (-1, 0)) * x.permute(1, 2, 0), [drawn(2, 3, 2)]),
    "nothing": (lambda x, y: mt.sum(x * y) + mt.sum(y), [drawn(0, 3), drawn(3)]),
    "repeat": (lambda x: mt.repeat(x, mt.asarray([2, 0, 1]), axis=0), [drawn(3, 2)]),
    "roll": (lambda x: mt.roll(x, (1, -1), axis=(0, 1)) * x, [drawn(2, 3)]),
    "scatter_add": (lambda x: mt.scatter_add(x, TWICE, axis=0, extent=4), [drawn(3, 2)]),
    "stack": (lambda x, y: mt.stack([x, y, x], axis=1), [drawn(2, 2), drawn(2, 2)]),
    "std": (lambda x: mt.std(x, axis=(0, 2), correction=1), [drawn(2, 3, 2)]),
    "take_along_axis": (lambda x: mt.take_along_axis(x, mt.asarray([[0, 0, 1]]), axis=1), [drawn(2, 2)]),
    "topk": (lambda x: mt.topk(x, 2).values, [spread(2, 4)]),
    "where": (lambda x, y: mt.where(MASK, x, y) * y, [drawn(2, 1), drawn(3)]),
}


def put(x: mt.Tensor, y: mt.Tensor) -> mt.Tensor:
    result = x * 1.0
    result[1] = y * y
    result[[0, 2]] = y
    result += x
    return result


ALL = {**{f"F.{k}": v for k, v in OF_F.items()}, **{f"linalg.{k}": v for k, v in OF_LINALG.items()}, **OF_THE_REST}


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_slopes_twice(name: str) -> None:
    function, inputs = ALL[name]
    gradcheck(function, inputs)
    gradgradcheck(function, inputs)


def test_every_function_is_here() -> None:
    assert set(OF_F) | NO_GRADIENT_IN_F == {n for n in F.__all__ if inspect.isfunction(getattr(F, n))}
    assert set(OF_LINALG) | NO_GRADIENT_IN_LINALG == set(mt.linalg.__all__)


@pytest.mark.parametrize(
    "function",
    [
        mt.linalg.cholesky,
        lambda x: mt.linalg.eigh(x).eigenvalues,
        lambda x: mt.abs(mt.linalg.eigh(x).eigenvectors),
        mt.linalg.det,
        lambda x: mt.linalg.slogdet(x).logabsdet,
        lambda x: mt.linalg.slogdet(x + 1j * mt.eye(3, dtype="float64")).sign,
        mt.linalg.inv,
        mt.linalg.svdvals,
        lambda x: mt.linalg.qr(x).R,
    ],
)
def test_decompositions_of_complex_matrices(function: Function) -> None:
    a = drawn(3, 3) + 1j * drawn(3, 3)
    gradcheck(function, [a @ a.conj().T + np.diag([1.0, 3.0, 7.0])])


def test_what_has_no_gradient_says_so() -> None:
    wide = mt.asarray(drawn(2, 3), requires_grad=True)
    with pytest.raises(GradientError, match="use full_matrices=False"):
        mt.linalg.svd(wide).Vh.sum().backward()
    with pytest.raises(GradientError, match="its R is not square"):
        mt.linalg.qr(wide).R.sum().backward()


def test_floats_without_a_gradient_are_few_and_known() -> None:
    """A record without a rule takes its operands off the tape: only what is constant, or asked for by rules alone."""
    known = {
        *("nextafter", "unique", "full", "arange", "eye"),
        *(name for name in REGISTRY if name.startswith("random_") or name.endswith(("_grad", "_update"))),
    }
    floats = {name for name, op in REGISTRY.items() if op.vjp is None and _gives_floats(name)}
    assert floats <= known, floats - known


def _gives_floats(name: str) -> bool:
    steps = ("is", "logical_", "bitwise_", "arg", "less", "greater", "equal", "not_equal", "any", "all", "signbit")
    return not name.startswith((*steps, "searchsorted", "nonzero"))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_determinants_of_singular_matrices_have_gradients(rank: int) -> None:
    """The gradient holds the cofactors, which need no inverse: here each from the determinant of a minor."""
    a = drawn(2, 3, rank) @ drawn(2, rank, 3)
    x = mt.asarray(a, requires_grad=True)
    mt.sum(mt.linalg.det(x)).backward()
    rest = [[1, 2], [0, 2], [0, 1]]
    minors = [[a[:, rows][:, :, columns] for columns in rest] for rows in rest]
    by_hand = np.array(
        [[(-1) ** (i + j) * np.linalg.det(m) for j, m in enumerate(row)] for i, row in enumerate(minors)]
    )
    bound = 100 * np.finfo(float).eps * np.linalg.norm(a) ** 2  # of products of two singular values
    np.testing.assert_allclose(x.grad.numpy(), by_hand.transpose(2, 0, 1), rtol=0, atol=bound)


def test_determinants_of_complex_matrices_have_second_derivatives() -> None:
    gradgradcheck(mt.linalg.det, [drawn(2, 3, 3) + 1j * drawn(2, 3, 3)])
