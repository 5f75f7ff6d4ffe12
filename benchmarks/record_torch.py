"""Records PyTorch's results on fixed inputs, so that tests can compare with it without installing it.

In: nothing but the seed below.  Out: `tests/minitensor/recorded_torch.npz`, arrays named `case/part`.
Every case stores its inputs beside its outputs; float64 throughout, so that agreement can be asked to
a small multiple of float64's precision.  Run by `make record-torch`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

TARGET = Path(__file__).parent.parent / "tests" / "minitensor" / "recorded_torch.npz"
Arrays = dict[str, np.ndarray]


def _inputs(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(20)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def _with_gradients(inputs: dict[str, torch.Tensor], output: torch.Tensor) -> Arrays:
    """Inputs, output, the cotangent cos(0), cos(1), ..., and the gradient of each input."""
    cotangent = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).reshape(output.shape)
    gradients = torch.autograd.grad(output, list(inputs.values()), cotangent)
    arrays = {name: value.detach().numpy() for name, value in inputs.items()}
    arrays["output"] = output.detach().numpy()
    arrays |= {f"grad_{name}": g.numpy() for name, g in zip(inputs, gradients, strict=True)}
    return arrays


def _function(call: Callable[..., torch.Tensor], **shapes: tuple[int, ...]) -> Arrays:
    inputs = _inputs(**shapes)
    return _with_gradients(inputs, call(**inputs))


def _optimizer(make: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> Arrays:
    """Ten steps on ½·Σ(p·scale)²; the trajectory is the output."""
    start = torch.linspace(-2.0, 3.0, 7, dtype=torch.float64)
    scale = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
    param = start.clone().requires_grad_()
    optimizer = make([param])
    trajectory = []
    for _ in range(10):
        optimizer.zero_grad()
        (0.5 * (param * scale) ** 2).sum().backward()
        optimizer.step()
        trajectory.append(param.detach().numpy().copy())
    return {"start": start.numpy(), "scale": scale.numpy(), "output": np.stack(trajectory)}


def _batch_norm() -> Arrays:
    layer = torch.nn.BatchNorm2d(3, dtype=torch.float64)
    inputs = _inputs(x=(4, 3, 5, 2))
    arrays = _with_gradients(inputs, layer(inputs["x"]))
    assert layer.running_mean is not None and layer.running_var is not None
    return arrays | {"running_mean": layer.running_mean.numpy(), "running_var": layer.running_var.numpy()}


def _cell(cell: torch.nn.LSTMCell | torch.nn.GRUCell) -> Arrays:
    """Two steps from zeros; the output is the state behind them, its tensors side by side."""
    shapes = {name: tuple(value.shape) for name, value in cell.named_parameters()}
    inputs = _inputs(x=(2, 2, cell.input_size), **shapes)
    parameters = {name: inputs[name] for name in shapes}
    state = None
    for x in inputs["x"]:
        state = torch.func.functional_call(cell, parameters, (x, state))
    return _with_gradients(inputs, torch.cat(state, -1) if isinstance(state, tuple) else state)


def _layer(
    layer: torch.nn.Module, call: Callable[..., torch.Tensor] | None = None, **shapes: tuple[int, ...]
) -> Arrays:
    """A layer on drawn inputs with drawn parameters; `call` makes one tensor of what it is given with `layer`."""
    of_parameters = {name: tuple(value.shape) for name, value in layer.named_parameters()}
    inputs = _inputs(**shapes, **of_parameters)
    parameters = {name: inputs[name] for name in of_parameters}

    def run(*args: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.func.functional_call(layer, parameters, args, kwargs)

    given = [inputs[name] for name in shapes]
    return _with_gradients(inputs, run(*given) if call is None else call(run, *given))


def _beside(rows: torch.Tensor, state: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """All that a recurrence gives, as one vector."""
    parts = state if isinstance(state, tuple) else (state,)
    return torch.cat([part.reshape(-1) for part in (rows, *parts)])


def _clipped() -> Arrays:
    """Two gradients before and after; the output is their norm."""
    inputs = _inputs(x=(3, 4), y=(5,))
    for value in inputs.values():
        value.grad = value.detach().clone()
    norm = torch.nn.utils.clip_grad_norm_(inputs.values(), 1.5)
    arrays = {name: value.detach().numpy() for name, value in inputs.items()}
    return arrays | {f"clipped_{name}": value.grad.numpy() for name, value in inputs.items()} | {"output": norm.numpy()}


def _rates(make: Callable[[torch.optim.Optimizer], object], metrics: bool = False) -> Arrays:
    """The learning rates of 24 steps of a schedule from 0.5."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    schedule = make(optimizer)
    rates = []
    for count in range(24):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([abs(count - 9.0)] if metrics else []))
    return {"output": np.array(rates)}


def _losses() -> dict[str, Arrays]:
    """Losses with their settings; the labels are those of the tests."""
    labels = torch.tensor([1, 0, 4, 2, 2, 3])
    weight = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    targets = torch.linspace(0.0, 1.0, 30, dtype=torch.float64).reshape(6, 5)
    bends = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    return {
        "cross_entropy_settings": _function(
            lambda x: F.cross_entropy(x, labels, weight, ignore_index=2, label_smoothing=0.2), x=(6, 5)
        ),
        "cross_entropy_each": _function(
            lambda x: F.cross_entropy(x, labels, weight, ignore_index=2, label_smoothing=0.2, reduction="none"),
            x=(6, 5),
        ),
        "cross_entropy_smooth": _function(lambda x: F.cross_entropy(x, labels, label_smoothing=0.3), x=(6, 5)),
        "cross_entropy_soft": _function(
            lambda x, y: F.cross_entropy(x, torch.softmax(y, 1), weight, label_smoothing=0.1), x=(6, 5), y=(6, 5)
        ),
        "nll_loss": _function(lambda x: F.nll_loss(x, labels, weight, ignore_index=0), x=(6, 5)),
        "binary_cross_entropy": _function(lambda x: F.binary_cross_entropy(torch.sigmoid(x), targets), x=(6, 5)),
        "bce_with_logits": _function(
            lambda x: F.binary_cross_entropy_with_logits(x, targets, pos_weight=bends), x=(6, 5)
        ),
        "kl_div": _function(lambda x, y: F.kl_div(x, torch.softmax(y, 1), reduction="batchmean"), x=(6, 5), y=(6, 5)),
        "kl_div_log": _function(lambda x, y: F.kl_div(x, y, reduction="sum", log_target=True), x=(6, 5), y=(6, 5)),
        "huber_loss": _function(lambda x, y: F.huber_loss(x, y, delta=0.7), x=(6, 5), y=(6, 5)),
        "l1_loss": _function(lambda x, y: F.l1_loss(x, y, reduction="sum"), x=(6, 5), y=(6, 5)),
        "gaussian_nll_loss": _function(
            lambda x, y, w: F.gaussian_nll_loss(x, y, w * w, full=True), x=(6, 5), y=(6, 5), w=(6, 5)
        ),
        "margin_ranking_loss": _function(lambda x, y: F.margin_ranking_loss(x, y, signs, margin=0.3), x=(6,), y=(6,)),
        "triplet_margin_loss": _function(lambda x, y, w: F.triplet_margin_loss(x, y, w), x=(6, 5), y=(6, 5), w=(6, 5)),
    }


def _activations() -> dict[str, Arrays]:
    functions: dict[str, Callable[..., torch.Tensor]] = {
        "elu": lambda x: F.elu(x, 0.7),
        "selu": F.selu,
        "silu": F.silu,
        "softplus": F.softplus,
        "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.8),
        "relu6": lambda x: F.relu6(x * 4),
        "hardsigmoid": lambda x: F.relu6(x * 2 + 3) / 6,  # its own gradient has a sixth in float32
        "hardswish": lambda x: F.hardswish(x * 2),
        "softsign": F.softsign,
        "logsigmoid": F.logsigmoid,
        "mish": F.mish,
    }
    return {name: _function(lambda x, f=function: f(x), x=(4, 7)) for name, function in functions.items()} | {
        "prelu": _function(lambda x, w: F.prelu(x, w), x=(3, 4, 2), w=(4,)),
        "glu": _function(lambda x: F.glu(x, 1), x=(3, 4, 2)),
        "group_norm": _function(lambda x, w, b: F.group_norm(x, 2, w, b), x=(3, 4, 5), w=(4,), b=(4,)),
        "rms_norm": _function(lambda x, w: F.rms_norm(x, (5,), w), x=(6, 5), w=(5,)),
        "normalize": _function(lambda x: F.normalize(x, 3.0, 1), x=(6, 5)),
        "cosine_similarity": _function(lambda x, y: F.cosine_similarity(x, y, 1), x=(6, 5), y=(6, 5)),
        "pixel_shuffle": _function(lambda x: F.pixel_shuffle(x, 2), x=(2, 8, 3, 2)),
        "max_pool1d": _function(lambda x: F.max_pool1d(x, 3, 2, 1), x=(2, 3, 8)),
        "avg_pool1d": _function(lambda x: F.avg_pool1d(x, 3, 2, 1), x=(2, 3, 8)),
    }


def _layers() -> dict[str, Arrays]:
    """Recurrences in all their forms, and attention with its masks."""
    causal, padding = torch.ones(5, 5).triu(1) > 0, torch.arange(5) >= torch.tensor([[5], [3]])

    def whole(run: Callable[..., object], x: torch.Tensor) -> torch.Tensor:
        return _beside(*run(x))

    def attended(
        run: Callable[..., tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        return _beside(*run(x, y, y, attn_mask=causal, key_padding_mask=padding))

    def encoded(run: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return run(x, src_mask=causal, src_key_padding_mask=padding)

    encoder = torch.nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", batch_first=True, norm_first=True)
    return {
        "rnn": _layer(torch.nn.RNN(3, 4, nonlinearity="relu", bias=False), whole, x=(5, 2, 3)),
        "lstm": _layer(torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), whole, x=(2, 5, 3)),
        "gru": _layer(torch.nn.GRU(3, 4, 2, bidirectional=True), whole, x=(5, 3)),
        "rnn_cell": _layer(torch.nn.RNNCell(3, 4), x=(2, 3)),
        "multihead_attention": _layer(
            torch.nn.MultiheadAttention(6, 2, batch_first=True), attended, x=(2, 5, 6), y=(2, 5, 6)
        ),
        "encoder_layer": _layer(encoder, encoded, x=(2, 5, 6)),
    }


def _schedules() -> dict[str, Arrays]:
    of = torch.optim.lr_scheduler
    return {
        "step_lr": _rates(lambda o: of.StepLR(o, 4, 0.5)),
        "multi_step_lr": _rates(lambda o: of.MultiStepLR(o, [3, 9, 11], 0.5)),
        "exponential_lr": _rates(lambda o: of.ExponentialLR(o, 0.9)),
        "linear_lr": _rates(lambda o: of.LinearLR(o, 0.25, 0.75, 6)),
        "warm_restarts": _rates(lambda o: of.CosineAnnealingWarmRestarts(o, 3, 2, 0.01)),
        "one_cycle": _rates(lambda o: of.OneCycleLR(o, 1.5, 24, cycle_momentum=False)),
        "plateau": _rates(lambda o: of.ReduceLROnPlateau(o, "min", 0.5, 2, cooldown=1, min_lr=0.1), metrics=True),
    }


def record() -> Arrays:
    """Every case, flattened to `case/part`."""
    labels = torch.tensor([1, 0, 4, 2, 2, 3])
    cases: dict[str, Arrays] = {
        "gelu": _function(lambda x: F.gelu(x), x=(4, 7)),
        "gelu_tanh": _function(lambda x: F.gelu(x, approximate="tanh"), x=(4, 7)),
        "softmax": _function(lambda x: F.softmax(x, 1), x=(4, 7)),
        "log_softmax": _function(lambda x: F.log_softmax(x, 0), x=(4, 7)),
        "logsumexp": _function(lambda x: torch.logsumexp(x, 1), x=(4, 7)),
        "cross_entropy": _function(lambda x: F.cross_entropy(x, labels), x=(6, 5)),
        "mse_loss": _function(lambda x, y: F.mse_loss(x, y), x=(6, 5), y=(6, 5)),
        "smooth_l1_loss": _function(lambda x, y: F.smooth_l1_loss(x, y, beta=0.7), x=(6, 5), y=(6, 5)),
        "layer_norm": _function(lambda x, w, b: F.layer_norm(x, (5,), w, b), x=(6, 5), w=(5,), b=(5,)),
        "linear": _function(lambda x, w, b: F.linear(x, w, b), x=(6, 5), w=(3, 5), b=(3,)),
        "conv2d": _function(
            lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
            x=(2, 4, 7, 8),
            w=(6, 2, 3, 3),
            b=(6,),
        ),
        "conv1d": _function(
            lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=3, dilation=2, groups=2),
            x=(2, 4, 11),
            w=(6, 2, 3),
            b=(6,),
        ),
        "max_pool2d": _function(lambda x: F.max_pool2d(x, 2), x=(2, 3, 6, 4)),
        "avg_pool2d": _function(lambda x: F.avg_pool2d(x, (2, 3), (1, 2)), x=(2, 3, 6, 7)),
        "leaky_relu": _function(lambda x: F.leaky_relu(x, 0.2), x=(4, 7)),
        "conv_transpose2d": _function(
            lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), (1, 2), (1, 0), 2, (1, 2)),
            x=(2, 4, 3, 5),
            w=(4, 3, 3, 3),
            b=(6,),
        ),
        "attention": _function(
            lambda x, y, w: F.scaled_dot_product_attention(x, y, w, is_causal=True),
            x=(2, 5, 3),
            y=(2, 5, 3),
            w=(2, 5, 4),
        ),
        "adaptive_avg_pool2d": _function(lambda x: F.adaptive_avg_pool2d(x, (3, 5)), x=(2, 3, 4, 8)),
        "interpolate_nearest": _function(lambda x: F.interpolate(x, (6, 7)), x=(2, 3, 4, 3)),
        "interpolate_twice": _function(lambda x: F.interpolate(x, (8, 6)), x=(2, 3, 4, 3)),
        "interpolate_bilinear": _function(lambda x: F.interpolate(x, (7, 5), mode="bilinear"), x=(2, 3, 4, 6)),
        "batch_norm": _batch_norm(),
        "lstm_cell": _cell(torch.nn.LSTMCell(3, 4)),
        "gru_cell": _cell(torch.nn.GRUCell(3, 4)),
        "clip_grad_norm": _clipped(),
        "rmsprop": _optimizer(lambda p: torch.optim.RMSprop(p, 0.1, 0.9, weight_decay=0.02)),
        "rmsprop_momentum": _optimizer(lambda p: torch.optim.RMSprop(p, 0.05, momentum=0.8)),
        "sgd": _optimizer(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01)),
        "sgd_nesterov": _optimizer(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        "adam": _optimizer(lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.02)),
        "adagrad": _optimizer(lambda p: torch.optim.Adagrad(p, 0.3, lr_decay=0.1, weight_decay=0.02)),
        "adamw": _optimizer(lambda p: torch.optim.AdamW(p, 0.1, betas=(0.8, 0.95), weight_decay=0.05)),
        **_losses(),
        **_activations(),
        **_layers(),
        **_schedules(),
    }
    return {f"{case}/{part}": array for case, arrays in cases.items() for part, array in arrays.items()}


if __name__ == "__main__":
    arrays = record()
    np.savez_compressed(TARGET, **arrays)
    print(f"{len(arrays)} arrays in {TARGET}, by torch {torch.__version__}")
