"""What a user of other libraries looks for: initial values, containers, hooks, draws, datasets, small functions.

Values of losses, layers, schedules and optimisers are held against PyTorch's in `test_recorded_torch.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minitensor as mt
from minitensor import functional as F, nn
from minitensor.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

# --- functions ---------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, 0.0, 2.0, 2.5, np.inf, np.nan]), min_size=1, max_size=6), st.data(), st.booleans()
)
def test_topk_is_the_head_of_a_stable_sort(row: list[float], data: st.DataObject, largest: bool) -> None:
    k = data.draw(st.integers(0, len(row)))
    array = np.array([row, row[::-1]], np.float32)
    values, indices = mt.topk(mt.asarray(array), k, axis=1, largest=largest)
    for line, of_values, of_indices in zip(array, values.numpy(), indices.tolist(), strict=True):
        rank = [
            (not np.isnan(v) if largest else np.isnan(v), 0.0 if np.isnan(v) else -v if largest else v) for v in line
        ]
        assert of_indices == sorted(range(len(line)), key=lambda i: (*rank[i], i))[:k]
        np.testing.assert_array_equal(of_values, line[of_indices])


def test_topk_gives_gradients_to_what_it_takes() -> None:
    x = mt.asarray([3.0, 1.0, 2.0], requires_grad=True)
    mt.topk(x, 2).values.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="topk of 4 elements along axis 0"):
        mt.topk(x, 4)


def test_split_puts_together_again() -> None:
    x = mt.reshape(mt.arange(12), (3, 4))
    for sizes in (1, 3, 4, 9, [1, 3], [0, 4]):
        parts = mt.split(x, sizes, axis=-1)
        assert mt.concat(parts, axis=1).tolist() == x.tolist()
    assert [p.shape for p in mt.split(mt.zeros((0, 2)), 3)] == [(0, 2)]
    for wrong in (0, -1, [1, 2], [5, -1]):
        with pytest.raises(ValueError, match="split"):
            mt.split(x, wrong, axis=1)


_ODD = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-6, 1.1, np.inf, -np.inf, np.nan])


@settings(max_examples=60, deadline=None)
@given(_ODD, _ODD, st.booleans())
def test_isclose_is_numpys(a: float, b: float, equal_nan: bool) -> None:
    pair = [np.array(v) for v in (a, b)]
    expected = np.isclose(*pair, equal_nan=equal_nan)
    assert mt.isclose(*map(mt.asarray, pair), equal_nan=equal_nan).item() == expected
    assert mt.allclose(*pair, equal_nan=equal_nan) == expected


def test_causal_attention_is_a_mask() -> None:
    mt.random.seed(0)
    q, k, v = (mt.random.normal((2, 4, 3)) for _ in range(3))
    mask = mt.tril(mt.ones((4, 4))) > 0
    expected = F.scaled_dot_product_attention(q, k, v, mask)
    assert F.scaled_dot_product_attention(q, k, v, is_causal=True).tolist() == expected.tolist()
    added = mt.where(mask, 0.0, -np.inf * mt.ones((4, 4)))
    assert F.scaled_dot_product_attention(
        q, k, v, 0.0 * added.shape[0] + mt.zeros((4, 4)), is_causal=True
    ).tolist() == (expected.tolist())


def test_losses_refuse_what_does_not_fit() -> None:
    x, y = mt.zeros((3, 4)), mt.asarray([0, 1, 2])
    with pytest.raises(ValueError, match="one weight for each of 4 classes"):
        F.cross_entropy(x, y, weight=mt.ones(3))
    with pytest.raises(ValueError, match=r"label_smoothing is a part in \[0, 1\], not 2"):
        F.cross_entropy(x, y, label_smoothing=2)
    with pytest.raises(IndexError):
        F.cross_entropy(x, mt.asarray([0, 9, 9]), ignore_index=0)
    with pytest.raises(ValueError, match="ignore_index needs integer labels"):
        F.cross_entropy(x, x, ignore_index=0)
    with pytest.raises(ValueError, match="reduction is one of"):
        nn.MSELoss("average")


# --- random ------------------------------------------------------------------------------------------------


def test_bernoulli_and_categorical_have_their_frequencies() -> None:
    mt.random.seed(11)
    n = 20_000
    p = mt.asarray([0.1, 0.75])
    found = mt.random.bernoulli(p, (n, 2)).astype(mt.float32).numpy().mean(0)
    assert np.abs(found - p.numpy()).max() < 5 * np.sqrt(0.25 / n)
    shares = np.array([0.5, 0.2, 0.3], np.float32)
    drawn = mt.random.categorical(mt.log(mt.asarray(np.stack([shares, shares[::-1]], 1))), n, axis=0).numpy()
    assert drawn.shape == (n, 2)
    for column, expected in zip(drawn.T, (shares, shares[::-1]), strict=True):
        assert np.abs(np.bincount(column, minlength=3) / n - expected).max() < 5 * np.sqrt(0.25 / n)


def test_draws_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"p is a probability in \[0, 1\], not 1.5"):
        mt.random.bernoulli(1.5)
    with pytest.raises(ValueError, match="cannot be broadcast"):
        mt.random.bernoulli(mt.ones((2, 3)), (3,))
    with pytest.raises(ValueError, match="at least one class"):
        mt.random.categorical(mt.zeros((2, 0)))


# --- initial values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "variance"),
    [
        (lambda w: nn.init.xavier_uniform_(w), 2 / 900),
        (lambda w: nn.init.xavier_normal_(w, 2.0), 4 * 2 / 900),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), 2 / 300),
        (lambda w: nn.init.kaiming_normal_(w, 0.5, "fan_out"), 2 / 1.25 / 600),
        (lambda w: nn.init.normal_(w, 0.0, 0.3), 0.09),
        (lambda w: nn.init.uniform_(w, -1.0, 1.0), 1 / 3),
        (lambda w: nn.init.orthogonal_(w), 1 / 300),
    ],
)
def test_initial_values_have_their_variance(fill: Any, variance: float) -> None:
    mt.random.seed(3)
    w = nn.Parameter(mt.zeros((200, 100, 3)))  # 60 000 numbers: the variance is known to within 3 % (5 deviations)
    assert fill(w) is w and w.requires_grad and w.is_leaf
    values = w.detach().numpy()
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)


def test_truncated_draws_stay_within() -> None:
    w = nn.init.trunc_normal_(mt.zeros(5000), 1.0, 2.0, 0.0, 1.5).numpy()
    assert w.min() >= 0.0 and w.max() <= 1.5 and len(np.unique(w)) > 4000
    with pytest.raises(ValueError, match="too far from the mean"):
        nn.init.trunc_normal_(mt.zeros(10), 0.0, 1.0, 50.0, 51.0)


# --- modules -----------------------------------------------------------------------------------------------


def test_names_with_a_prefix_and_walks() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1), nn.ReLU()))
    assert next(name for name, _ in net.named_parameters("net")) == "net.0.weight"
    assert [type(m).__name__ for m in net.modules()] == ["Sequential", "Linear", "Sequential", "Linear", "ReLU"]
    assert [name for name, _ in net.named_children()] == ["0", "1"]
    visited: list[str] = []
    assert net.apply(lambda m: visited.append(type(m).__name__)) is net
    assert visited == ["Linear", "Linear", "ReLU", "Sequential", "Sequential"]


def test_a_frozen_module_gets_no_gradients() -> None:
    net = nn.Linear(2, 1).requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(mt.ones((1, 2))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_to_another_dtype_keeps_leaves_gradients_and_integers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = mt.optim.Adam(net.parameters(), lr=0.1)
    net(mt.random.normal((4, 2))).sum().backward()
    optimizer.step()
    assert net.to("float64") is net
    assert {t.dtype.name for t in net.parameters()} == {"float64"} == {p.grad.dtype.name for p in net.parameters()}
    assert net[1].num_batches_tracked.dtype == mt.int64 and net[1].running_mean.dtype == mt.float64
    net(mt.random.normal((4, 2)).astype("float64")).sum().backward()
    optimizer.step()
    assert {p.dtype.name for p in net.parameters()} == {"float64"}
    with pytest.raises(TypeError, match="floating-point dtype, not to int32"):
        net.to("int32")


def test_containers_by_name_and_of_parameters() -> None:
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.ReLU()
    assert "a" in heads and "c" not in heads and len(heads) == 2 and list(heads) == ["a", "b"]
    assert [name for name, _ in heads.named_parameters()] == ["a.weight", "a.bias"]
    with pytest.raises(KeyError, match="no module 'c'"):
        heads["c"]
    for name in ("", "a.b", "forward"):
        with pytest.raises(ValueError, match="cannot name a module"):
            heads[name] = nn.ReLU()
    scales = nn.ParameterList([nn.Parameter(mt.ones(2))])
    scales.append(nn.Parameter(mt.ones(3)))
    assert [p.shape for p in scales] == [(2,), (3,)] and scales[-1].shape == (3,)
    assert list(scales.state_dict()) == ["0", "1"]


def test_a_hook_may_replace_the_result() -> None:
    layer = nn.ReLU()
    handle = layer.register_forward_hook(lambda module, args, result: result + args[0])
    assert layer(mt.asarray([1.0, -1.0])).tolist() == [2.0, -1.0]
    handle.remove()
    handle.remove()
    assert layer(mt.asarray([1.0, -1.0])).tolist() == [1.0, 0.0]


def test_padding_row_stays_as_it_is() -> None:
    layer = nn.Embedding(4, 2, padding_idx=-1)
    assert layer.weight[3].tolist() == [0.0, 0.0]
    layer(mt.asarray([3, 1, 3])).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_whole_channels_are_dropped() -> None:
    mt.random.seed(0)
    kept = nn.Dropout2d(0.5)(mt.ones((4, 8, 3, 3))).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0} and (kept.min((2, 3)) == kept.max((2, 3))).all()


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrences_refuse_what_does_not_fit(kind: Any) -> None:
    layer = kind(3, 4, batch_first=True)
    for wrong, message in (((2, 5, 4), r"takes \(N, L, 3\) or \(L, 3\)"), ((2, 0, 3), "at least one row")):
        with pytest.raises(ValueError, match=message):
            layer(mt.zeros(wrong))
    state = mt.zeros((1, 3, 4))
    with pytest.raises(ValueError, match=r"state has shape \(1, 2, 4\)"):
        layer(mt.zeros((2, 5, 3)), (state, state) if kind is nn.LSTM else state)


def test_schedules_go_on_where_they_were_saved() -> None:
    of = mt.optim.lr_scheduler

    def made() -> tuple[Any, Any]:
        optimizer = mt.optim.SGD([nn.Parameter(mt.zeros(1))], 0.0)
        return optimizer, of.OneCycleLR(optimizer, 1.0, 10)

    (one, schedule), (other, resumed) = made(), made()
    for _ in range(4):
        schedule.step()
    resumed.load_state_dict(schedule.state_dict())
    assert other.lr == one.lr > 0.0
    with pytest.raises(ValueError, match="'bases' and 'count'"):
        resumed.load_state_dict({"count": 3})


# --- data --------------------------------------------------------------------------------------------------


def test_parts_of_a_dataset_are_disjoint_and_seeded() -> None:
    data = TensorDataset(np.arange(11))
    mt.random.seed(1)
    parts = random_split(data, [0.5, 0.25, 0.25])
    assert [len(part) for part in parts] == [6, 3, 2]
    assert sorted(part[i][0].item() for part in parts for i in range(len(part))) == list(range(11))
    mt.random.seed(1)
    assert [part.indices for part in random_split(data, [0.5, 0.25, 0.25])] == [part.indices for part in parts]
    for wrong in ([5, 5], [0.5, 0.6], [12, -1]):
        with pytest.raises(ValueError, match="add up to"):
            random_split(data, wrong)
    with pytest.raises(IndexError, match="none with index 11"):
        Subset(data, [0, 11])
    with pytest.raises(IndexError, match="out of range for 11"):
        ConcatDataset([data])[11]


def test_loader_makes_batches_of_nested_samples() -> None:
    samples = [{"x": np.full(2, k, np.float32), "y": (k, float(k))} for k in range(3)]
    (first, second) = DataLoader(samples, batch_size=2)  # type: ignore[arg-type]
    assert first["x"].shape == (2, 2) and first["y"][0].tolist() == [0, 1] and second["y"][1].tolist() == [2.0]
    ragged = [np.zeros(2), np.zeros(3)]
    with pytest.raises(ValueError, match="pad them in a collate_fn"):
        next(iter(DataLoader(ragged, batch_size=2)))
    padded = DataLoader(ragged, batch_size=2, collate_fn=lambda rows: [len(row) for row in rows])
    assert next(iter(padded)) == [2, 3]
