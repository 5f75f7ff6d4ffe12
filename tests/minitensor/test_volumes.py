"""Convolutions beyond those of pictures, and layers made of others, against plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minitensor as mt
from minitensor import functional as F, nn
from minitensor.testing import gradcheck

Array = np.ndarray[Any, Any]
triples = st.tuples(*[st.integers(1, 2)] * 3)


def padded(x: Array, padding: tuple[int, ...], value: float = 0.0) -> Array:
    return np.pad(x, ((0, 0), (0, 0), *[(p, p) for p in padding]), constant_values=value)


def windows(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
    """For each position its place in the result and the window of a padded volume."""
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    for place in itertools.product(*map(range, counts)):
        cuts = [
            slice(p * s, p * s + d * (k - 1) + 1, d) for p, k, s, d in zip(place, kernel, stride, dilation, strict=True)
        ]
        yield place, x[(slice(None), slice(None), *cuts)]


def convolved(x: Array, weight: Array, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    parts = []
    for sources, filters in zip(np.split(x, groups, 1), np.split(weight, groups, 0), strict=True):
        found = dict(windows(padded(sources, padding), weight.shape[2:], stride, dilation))
        shape = [m + 1 for m in max(found)]
        sums = [np.tensordot(w, filters, axes=([1, 2, 3, 4], [1, 2, 3, 4])) for w in found.values()]
        parts.append(np.stack(sums, -1).reshape(len(x), len(filters), *shape))
    return np.concatenate(parts, 1)


@settings(max_examples=15, deadline=None)
@given(triples, triples, st.tuples(*[st.integers(0, 1)] * 3), triples, st.sampled_from([1, 2]), st.booleans())
def test_convolution_of_volumes_is_what_its_definition_says(
    kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, biased: bool
) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 4, 3, 5)), rng.standard_normal((6, 4 // groups, *kernel))
    bias = rng.standard_normal(6) if biased else None
    expected = convolved(x, weight, stride, padding, dilation, groups)
    expected = expected if bias is None else expected + bias[:, None, None, None]
    received = F.conv3d(
        mt.asarray(x), mt.asarray(weight), bias if bias is None else mt.asarray(bias), stride, padding, dilation, groups
    )
    np.testing.assert_allclose(received.numpy(), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(triples, triples)
def test_pooling_of_volumes(kernel: Any, stride: Any) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 4, 5))
    padding = tuple(k // 2 for k in kernel)
    for function, rule, outside in ((F.max_pool3d, np.max, -np.inf), (F.avg_pool3d, np.mean, 0.0)):
        received = function(mt.asarray(x), kernel, stride, padding).numpy()
        for place, window in windows(padded(x, padding, outside), kernel, stride, (1, 1, 1)):
            np.testing.assert_allclose(received[(..., *place)], rule(window, axis=(2, 3, 4)), rtol=1e-12)


def test_gradients_of_what_is_composed() -> None:
    rng = np.random.default_rng(2)
    x, w = (mt.asarray(rng.standard_normal(s)) for s in ((1, 2, 3, 3, 3), (2, 1, 2, 2, 2)))
    gradcheck(lambda x, w: F.conv3d(x, w, stride=2, padding=1, groups=2), [x, w])
    gradcheck(lambda x: F.max_pool3d(x, 2, 1), [x])
    row, taps = (mt.asarray(rng.standard_normal(s)) for s in ((1, 2, 4), (2, 3, 3)))
    gradcheck(lambda x, w: F.conv_transpose1d(x, w, stride=2, padding=1, output_padding=1), [row, taps])


@pytest.mark.parametrize("kernel", [(1, 2), (3, 4), (2, 3, 1)])
def test_padding_by_word_keeps_the_size(kernel: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 2, 5, 6, 4)[: 2 + len(kernel)]), rng.standard_normal((3, 2, *kernel))
    convolve = F.conv2d if len(kernel) == 2 else F.conv3d
    before = [2 * (k - 1) // 2 for k in kernel]
    wide = np.pad(x, ((0, 0), (0, 0), *[(b, 2 * (k - 1) - b) for b, k in zip(before, kernel, strict=True)]))
    expected = convolve(mt.asarray(wide), mt.asarray(w), dilation=2).numpy()
    received = convolve(mt.asarray(x), mt.asarray(w), padding="same", dilation=2).numpy()
    assert received.shape[2:] == x.shape[2:]
    np.testing.assert_allclose(received, expected, rtol=1e-12)
    assert nn.Conv1d(2, 3, 4, padding="same")(mt.ones((1, 2, 7))).shape == (1, 3, 7)
    with pytest.raises(ValueError, match="'valid', or with stride 1 'same'"):
        convolve(mt.asarray(x), mt.asarray(w), padding="same", stride=2)


@pytest.mark.parametrize("wrong", [(1,), (1, 2, 3), "a", 1.5])
def test_sizes_are_one_number_or_one_for_each_axis(wrong: Any) -> None:
    for call in (nn.Conv2d, nn.ConvTranspose2d):
        with pytest.raises(ValueError, match="one int for 2 axes or 2 of them, not"):
            call(1, 1, 3, stride=wrong)
    with pytest.raises(ValueError, match="2 of them, not"):
        nn.MaxPool2d(wrong)(mt.ones((1, 1, 4, 4)))


def test_layers_made_of_others() -> None:
    mt.random.seed(0)
    x = mt.random.normal((2, 4, 3, 3, 3))
    net = nn.Sequential(nn.Conv3d(4, 6, 2, groups=2), nn.BatchNorm3d(6), nn.MaxPool3d(2), nn.Flatten())
    assert net(x).shape == (2, 6)
    assert {n: p.shape for n, p in net.named_parameters()}["0.weight"] == (6, 2, 2, 2, 2)
    rows = nn.InstanceNorm1d(4, affine=True)(mt.random.normal((2, 4, 50))).detach().numpy()
    np.testing.assert_allclose(rows.mean(-1), 0.0, atol=1e-6)
    np.testing.assert_allclose(rows.var(-1), 1.0, atol=1e-3)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    tokens = mt.random.normal((3, 5, 8))
    assert encoder(tokens).tolist() == layer(layer(tokens)).tolist()
    assert "layers.1.self_attn.in_proj_weight" in encoder.state_dict()
    assert list(nn.LayerNorm(4, elementwise_affine=False).parameters()) == []
    assert [n for n, _ in nn.LayerNorm(4, bias=False).named_parameters()] == ["weight"]


PAIRS = [
    (nn.Hardtanh(-0.5, 0.25), lambda x: F.hardtanh(x, -0.5, 0.25)),
    (nn.Hardsigmoid(), F.hardsigmoid),
    (nn.Softsign(), F.softsign),
    (nn.LogSigmoid(), F.logsigmoid),
    (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")),
    (nn.MarginRankingLoss(0.5), lambda x: F.margin_ranking_loss(x, x * 2, 1.0, margin=0.5)),
    (nn.TripletMarginLoss(0.5), lambda x: F.triplet_margin_loss(x, x * 2, x * 3, margin=0.5)),
    (nn.GaussianNLLLoss(full=True), lambda x: F.gaussian_nll_loss(x, x * 2, abs(x), full=True)),
    (nn.CosineSimilarity(axis=0), lambda x: F.cosine_similarity(x, x * 2, axis=0)),
]


@pytest.mark.parametrize(("module", "function"), PAIRS, ids=lambda x: type(x).__name__)
def test_modules_are_their_functions(module: nn.Module, function: Any) -> None:
    x = mt.asarray([[-1.0, 0.25], [0.5, 2.0]])
    more: dict[str, Any] = {
        "MarginRankingLoss": (x * 2, 1.0),
        "TripletMarginLoss": (x * 2, x * 3),
        "GaussianNLLLoss": (x * 2, abs(x)),
        "CosineSimilarity": (x * 2,),
    }
    assert module(x, *more.get(type(module).__name__, ())).tolist() == function(x).tolist()
