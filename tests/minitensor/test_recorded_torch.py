"""Layers, losses, optimisers and schedules against PyTorch's recorded float64 results (`make record-torch`).

Both sides compute in float64 by different orders of summation over at most a few hundred terms, so they agree to a
few hundred units of roundoff of the largest term: rtol = atol = 1e-12 is 4500 units and 9 digits below a 1 % error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minitensor as mt
from minitensor import functional as F
from minitensor.optim import lr_scheduler as schedules

_RECORDED = np.load(Path(__file__).parent / "recorded_torch.npz")
_LABELS = mt.asarray(np.array([1, 0, 4, 2, 2, 3]))
_WEIGHT = mt.asarray(np.array([0.5, 2.0, 1.0, 0.0, 3.0]))
_BENDS = mt.asarray(np.array([1.0, 2.0, 0.5, 3.0, 1.5]))
_SIGNS = mt.asarray(np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0]))
_TARGETS = mt.asarray(np.linspace(0.0, 1.0, 30).reshape(6, 5))


def _case(name: str) -> dict[str, np.ndarray]:
    prefix = name + "/"
    return {key.removeprefix(prefix): _RECORDED[key] for key in _RECORDED.files if key.startswith(prefix)}


def _assert_close(actual: Any, expected: np.ndarray, what: str) -> None:
    actual = actual.detach().numpy() if isinstance(actual, mt.Tensor) else actual
    assert actual.shape == expected.shape, what
    assert actual.dtype == np.float64, what
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12, err_msg=what)


_FUNCTIONS: dict[str, Callable[..., mt.Tensor]] = {
    "gelu": lambda x: F.gelu(x),
    "gelu_tanh": lambda x: F.gelu(x, "tanh"),
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 0),
    "logsumexp": lambda x: F.logsumexp(x, 1),
    "cross_entropy": lambda x: F.cross_entropy(x, _LABELS),
    "mse_loss": lambda x, y: F.mse_loss(x, y),
    "smooth_l1_loss": lambda x, y: F.smooth_l1_loss(x, y, beta=0.7),
    "layer_norm": lambda x, w, b: F.layer_norm(x, (5,), w, b),
    "linear": lambda x, w, b: F.linear(x, w, b),
    "conv2d": lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    "conv1d": lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=3, dilation=2, groups=2),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, (2, 3), (1, 2)),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "conv_transpose2d": lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), (1, 2), (1, 0), 2, (1, 2)),
    "attention": lambda x, y, w: F.scaled_dot_product_attention(x, y, w, mask=mt.tril(mt.ones((5, 5))) > 0),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "interpolate_nearest": lambda x: F.interpolate(x, (6, 7)),
    "interpolate_twice": lambda x: F.interpolate(x, (8, 6)),
    "interpolate_bilinear": lambda x: F.interpolate(x, (7, 5), "bilinear"),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": lambda x: F.selu(x),
    "silu": lambda x: F.silu(x),
    "softplus": lambda x: F.softplus(x),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.8),
    "relu6": lambda x: F.relu6(x * 4),
    "hardsigmoid": lambda x: F.hardsigmoid(x * 2),
    "hardswish": lambda x: F.hardswish(x * 2),
    "softsign": lambda x: F.softsign(x),
    "logsigmoid": lambda x: F.logsigmoid(x),
    "mish": lambda x: F.mish(x),
    "prelu": lambda x, w: F.prelu(x, w),
    "glu": lambda x: F.glu(x, 1),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "rms_norm": lambda x, w: F.rms_norm(x, (5,), w),
    "normalize": lambda x: F.normalize(x, 3.0, 1),
    "cosine_similarity": lambda x, y: F.cosine_similarity(x, y, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "max_pool1d": lambda x: F.max_pool1d(x, 3, 2, 1),
    "avg_pool1d": lambda x: F.avg_pool1d(x, 3, 2, 1),
    "cross_entropy_settings": lambda x: mt.nn.CrossEntropyLoss(_WEIGHT, 2, label_smoothing=0.2)(x, _LABELS),
    "cross_entropy_each": lambda x: F.cross_entropy(
        x, _LABELS, "none", weight=_WEIGHT, ignore_index=2, label_smoothing=0.2
    ),
    "cross_entropy_smooth": lambda x: F.cross_entropy(x, _LABELS, label_smoothing=0.3),
    "cross_entropy_soft": lambda x, y: F.cross_entropy(x, F.softmax(y, 1), weight=_WEIGHT, label_smoothing=0.1),
    "nll_loss": lambda x: mt.nn.NLLLoss(_WEIGHT, 0)(x, _LABELS),
    "binary_cross_entropy": lambda x: mt.nn.BCELoss()(F.sigmoid(x), _TARGETS),
    "bce_with_logits": lambda x: mt.nn.BCEWithLogitsLoss(pos_weight=_BENDS)(x, _TARGETS),
    "kl_div": lambda x, y: mt.nn.KLDivLoss("batchmean")(x, F.softmax(y, 1)),
    "kl_div_log": lambda x, y: F.kl_div(x, y, "sum", log_target=True),
    "huber_loss": lambda x, y: mt.nn.HuberLoss(delta=0.7)(x, y),
    "l1_loss": lambda x, y: mt.nn.L1Loss("sum")(x, y),
    "gaussian_nll_loss": lambda x, y, w: F.gaussian_nll_loss(x, y, w * w, full=True),
    "margin_ranking_loss": lambda x, y: F.margin_ranking_loss(x, y, _SIGNS, margin=0.3),
    "triplet_margin_loss": lambda x, y, w: F.triplet_margin_loss(x, y, w),
}


def _check_with_gradients(case: dict[str, np.ndarray], call: Callable[..., mt.Tensor]) -> None:
    inputs = {name: mt.asarray(case[name]) for name in ("x", "y", "w", "b") if name in case}
    for tensor in inputs.values():
        tensor.requires_grad = True
    output = call(**inputs)
    _assert_close(output, case["output"], "output")
    cotangent = np.cos(np.arange(case["output"].size, dtype=np.float64)).reshape(case["output"].shape)
    output.backward(mt.asarray(cotangent))
    for name, tensor in inputs.items():
        assert tensor.grad is not None
        _assert_close(tensor.grad, case[f"grad_{name}"], f"gradient of {name}")


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_function_and_gradients(name: str) -> None:
    _check_with_gradients(_case(name), _FUNCTIONS[name])


def test_batch_norm_with_running_statistics() -> None:
    case = _case("batch_norm")
    layer = mt.nn.BatchNorm2d(3)
    for name in ("weight", "bias"):
        setattr(layer, name, mt.nn.Parameter(getattr(layer, name).detach().astype(mt.float64)))
    for name in ("running_mean", "running_var"):
        setattr(layer, name, getattr(layer, name).astype(mt.float64))
    _check_with_gradients(case, layer)
    _assert_close(layer.running_mean, case["running_mean"], "running mean")
    _assert_close(layer.running_var, case["running_var"], "running variance")
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize(("name", "cell"), [("lstm_cell", mt.nn.LSTMCell(3, 4)), ("gru_cell", mt.nn.GRUCell(3, 4))])
def test_recurrent_cells(name: str, cell: mt.nn.Module) -> None:
    case = _case(name)
    names = [name for name, _ in cell.named_parameters()]
    for parameter in names:
        setattr(cell, parameter, mt.nn.Parameter(mt.asarray(case[parameter])))

    def two_steps(x: mt.Tensor) -> mt.Tensor:
        state = None
        for row in x:
            state = cell(row, state)
        return mt.concat(state, axis=-1) if isinstance(state, tuple) else state

    _check_with_gradients(case, two_steps)
    for parameter in names:
        _assert_close(getattr(cell, parameter).grad, case[f"grad_{parameter}"], parameter)


def _beside(rows: mt.Tensor, state: Any) -> mt.Tensor:
    """All that a recurrence gives, as one vector."""
    parts = state if isinstance(state, tuple) else (state,)
    return mt.concat([part.reshape(-1) for part in (rows, *parts)])


_CAUSAL = mt.asarray(np.triu(np.ones((5, 5)), 1) > 0)
_PADDING = mt.asarray(np.arange(5) >= np.array([[5], [3]]))
_LAYERS: dict[str, tuple[Callable[[], mt.nn.Module], Callable[..., mt.Tensor]]] = {
    "rnn": (lambda: mt.nn.RNN(3, 4, nonlinearity="relu", bias=False), lambda layer, x: _beside(*layer(x))),
    "lstm": (
        lambda: mt.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
        lambda layer, x: _beside(*layer(x)),
    ),
    "gru": (lambda: mt.nn.GRU(3, 4, 2, bidirectional=True), lambda layer, x: _beside(*layer(x))),
    "rnn_cell": (lambda: mt.nn.RNNCell(3, 4), lambda layer, x: layer(x)),
    "multihead_attention": (
        lambda: mt.nn.MultiheadAttention(6, 2, batch_first=True),
        lambda layer, x, y: _beside(*layer(x, y, y, attn_mask=_CAUSAL, key_padding_mask=_PADDING)),
    ),
    "encoder_layer": (
        lambda: mt.nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", batch_first=True, norm_first=True),
        lambda layer, x: layer(x, src_mask=_CAUSAL, src_key_padding_mask=_PADDING),
    ),
}


@pytest.mark.parametrize("name", _LAYERS)
def test_layers_with_pytorchs_state(name: str) -> None:
    make, call = _LAYERS[name]
    case, layer = _case(name), make().to(mt.float64)
    names = [parameter for parameter, _ in layer.named_parameters()]
    layer.load_state_dict({parameter: case[parameter] for parameter in names})
    _check_with_gradients(case, lambda **inputs: call(layer, **inputs))
    for parameter, value in layer.named_parameters():
        _assert_close(value.grad, case[f"grad_{parameter}"], parameter)


_SCHEDULES: dict[str, Callable[[mt.optim.Optimizer], Any]] = {
    "step_lr": lambda o: schedules.StepLR(o, 4, 0.5),
    "multi_step_lr": lambda o: schedules.MultiStepLR(o, [3, 9, 11], 0.5),
    "exponential_lr": lambda o: schedules.ExponentialLR(o, 0.9),
    "linear_lr": lambda o: schedules.LinearLR(o, 0.25, 0.75, 6),
    "warm_restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "one_cycle": lambda o: schedules.OneCycleLR(o, 1.5, 24),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, "min", 0.5, 2, cooldown=1, min_lr=0.1),
}


@pytest.mark.parametrize("name", _SCHEDULES)
def test_learning_rates(name: str) -> None:
    optimizer = mt.optim.SGD([mt.nn.Parameter(mt.zeros(1))], 0.5)
    schedule = _SCHEDULES[name](optimizer)
    for count, expected in enumerate(_case(name)["output"]):
        assert optimizer.lr == pytest.approx(expected, rel=1e-9), count  # PyTorch goes from rate to rate, and rounds
        schedule.step(*([abs(count - 9.0)] if name == "plateau" else []))


def test_clipped_gradients() -> None:
    case = _case("clip_grad_norm")
    parameters = {name: mt.nn.Parameter(mt.asarray(case[name])) for name in ("x", "y")}
    for parameter in parameters.values():
        parameter.grad = parameter.detach() * 1.0
    _assert_close(mt.nn.clip_grad_norm_(parameters.values(), 1.5), case["output"], "norm")
    for name, parameter in parameters.items():
        _assert_close(parameter.grad, case[f"clipped_{name}"], name)


_OPTIMIZERS: dict[str, Callable[[list[mt.Tensor]], mt.optim.Optimizer]] = {
    "rmsprop": lambda p: mt.optim.RMSprop(p, 0.1, 0.9, weight_decay=0.02),
    "rmsprop_momentum": lambda p: mt.optim.RMSprop(p, 0.05, momentum=0.8),
    "sgd": lambda p: mt.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "sgd_nesterov": lambda p: mt.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: mt.optim.Adam(p, 0.1, weight_decay=0.02),
    "adagrad": lambda p: mt.optim.Adagrad(p, 0.3, lr_decay=0.1, weight_decay=0.02),
    "adamw": lambda p: mt.optim.AdamW(p, 0.1, betas=(0.8, 0.95), weight_decay=0.05),
}


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_optimizer_trajectory(name: str) -> None:
    case = _case(name)
    param, scale = mt.nn.Parameter(mt.asarray(case["start"])), mt.asarray(case["scale"])
    optimizer = _OPTIMIZERS[name]([param])
    for number, expected in enumerate(case["output"]):
        optimizer.zero_grad()
        (((param * scale) ** 2).sum() * 0.5).backward()
        optimizer.step()
        _assert_close(param, expected, f"step {number}")
