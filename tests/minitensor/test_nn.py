"""Modules: registration by attribute, state, training mode, and every layer's shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F, nn


class Net(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(4, 3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 2)])
        self.scale = nn.Parameter(mt.ones(2))
        self.plain = mt.ones(5)
        self.register_buffer("seen", mt.zeros(()))

    def forward(self, x: mt.Tensor) -> mt.Tensor:
        self.seen += 1
        x = F.relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return x * self.scale


def test_names_and_order() -> None:
    names = [name for name, _ in Net().named_parameters()]
    assert set(names) == {
        "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias", "scale",
    }  # fmt: skip
    assert set(Net().state_dict()) == {*names, "seen"}


def test_plain_tensor_is_plain_and_shared_parameter_is_once() -> None:
    net = Net()
    net.tied = net.first.weight
    parameters = list(net.parameters())
    assert len(parameters) == len({id(p) for p in parameters}) == 7
    assert all(p is not net.plain for p in parameters)


def test_state_dict_is_a_snapshot_and_loads() -> None:
    net, other, x = Net(), Net(), mt.ones((2, 4))
    state = net.state_dict()
    other.load_state_dict(state)
    assert (other(x) == net(x)).all()
    with mt.no_grad():
        net.first.weight[0, 0] = 99.0
    assert state["first.weight"][0, 0].item() != 99.0


def test_load_refuses_whole_or_nothing() -> None:
    net = Net()
    before = net.scale.tolist()
    good = {name: value.numpy() * 0 for name, value in net.state_dict().items()}
    with pytest.raises(KeyError, match="seen"):
        net.load_state_dict({k: v for k, v in good.items() if k != "seen"})
    with pytest.raises(ValueError, match="first.weight"):
        net.load_state_dict(good | {"first.weight": np.zeros((4, 4), "float32")})
    assert net.scale.tolist() == before
    net.load_state_dict({"scale": np.full(2, 7.0, "float32"), "unknown": np.zeros(1)}, strict=False)
    assert net.scale.tolist() == [7.0, 7.0]


def test_forward_is_looked_up_on_the_instance() -> None:
    net = Net()
    net.forward = lambda x: x + 1.0  # type: ignore[method-assign]
    assert net(mt.zeros(2)).tolist() == [1.0, 1.0]


def test_train_and_eval_reach_everything() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)))
    assert net.training
    net.eval()
    assert [m.training for _, m in net.named_modules()] == [False] * 4
    x = mt.ones((3, 2))
    assert (net(x) == net[0](x)).all()
    assert net.train() is net
    assert net[1][0].training


def test_dropout_keeps_the_mean_and_zeroes() -> None:
    mt.random.seed(0)
    y = F.dropout(mt.ones(20_000), 0.25).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 20_000)
    assert (F.dropout(mt.ones(4), 1.0) == 0).all()
    assert F.dropout(mt.ones(4), 0.5, training=False).tolist() == [1.0] * 4


def test_batch_norm_uses_running_statistics_in_eval() -> None:
    layer = nn.BatchNorm2d(2)
    x = mt.random.normal((8, 2, 3, 3), 4.0, 2.0)
    for _ in range(200):
        layer(x)
    layer.eval()
    y = layer(x).detach().numpy()
    assert np.abs(y.mean(axis=(0, 2, 3))).max() < 1e-3
    assert not layer.running_mean.requires_grad


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_with_all_batches_alike(shape: tuple[int, ...], affine: bool) -> None:
    layer = nn.BatchNorm1d(3, momentum=None, affine=affine)
    batches = [mt.random.normal(shape, 2.0, 3.0) for _ in range(3)]
    means = [b.numpy().mean((0, *range(2, b.ndim))) for b in batches]
    variances = [b.numpy().var((0, *range(2, b.ndim)), ddof=1) for b in batches]
    for b in batches:
        y = layer(b).detach().numpy()
        assert np.abs(y.mean((0, *range(2, b.ndim)))).max() < 1e-6
    assert layer.num_batches_tracked.item() == 3
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean(means, 0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), np.mean(variances, 0), rtol=1e-5)


def test_batch_norm_without_running_statistics() -> None:
    layer, x = nn.BatchNorm2d(2, track_running_stats=False), mt.random.normal((3, 2, 2, 2), 4.0)
    before = layer(x).tolist()
    assert layer.eval()(x).tolist() == before
    assert sorted(layer.state_dict()) == ["bias", "weight"]


def test_batch_norm_of_one_value_a_channel_changes_nothing() -> None:
    layer = nn.BatchNorm2d(2)
    with pytest.raises(ValueError, match="more than one value a channel"):
        layer(mt.ones((1, 2, 1, 1)))
    assert layer.num_batches_tracked.item() == 0 and layer.running_var.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"takes tensors of \(4,\) dimensions"):
        layer(mt.ones((3, 2)))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(4, 2, bias=False), (5, 3, 4), (5, 3, 2)),
        (nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2), (3, 2, 7, 8), (3, 6, 4, 4)),
        (nn.LayerNorm((3, 4)), (2, 3, 4), (2, 3, 4)),
        (nn.Flatten(), (2, 3, 4), (2, 12)),
        (nn.MaxPool2d(2), (1, 2, 4, 6), (1, 2, 2, 3)),
        (nn.AvgPool2d(2, 1), (1, 2, 4, 6), (1, 2, 3, 5)),
        (nn.GELU(), (3,), (3,)),
        (nn.Sigmoid(), (3,), (3,)),
        (nn.Tanh(), (3,), (3,)),
    ],
)
def test_layer_shapes(layer: Any, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert layer(mt.ones(shape)).shape == expected


def test_embedding_rows_and_gradient() -> None:
    layer = nn.Embedding(5, 3)
    rows = layer(mt.asarray(np.array([[1, 4], [1, 0]])))
    assert rows.shape == (2, 2, 3)
    rows.sum().backward()
    assert layer.weight.grad.sum(axis=1).tolist() == [3.0, 6.0, 0.0, 0.0, 3.0]


def test_repr_shows_the_tree() -> None:
    assert "(0): Linear(4, 2)" in repr(nn.Sequential(nn.Linear(4, 2)))
