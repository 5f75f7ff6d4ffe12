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


def _clipped() -> Arrays:
    """Two gradients before and after; the output is their norm."""
    inputs = _inputs(x=(3, 4), y=(5,))
    for value in inputs.values():
        value.grad = value.detach().clone()
    norm = torch.nn.utils.clip_grad_norm_(inputs.values(), 1.5)
    arrays = {name: value.detach().numpy() for name, value in inputs.items()}
    return arrays | {f"clipped_{name}": value.grad.numpy() for name, value in inputs.items()} | {"output": norm.numpy()}


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
        "adamw": _optimizer(lambda p: torch.optim.AdamW(p, 0.1, betas=(0.8, 0.95), weight_decay=0.05)),
    }
    return {f"{case}/{part}": array for case, arrays in cases.items() for part, array in arrays.items()}


if __name__ == "__main__":
    arrays = record()
    np.savez_compressed(TARGET, **arrays)
    print(f"{len(arrays)} arrays in {TARGET}, by torch {torch.__version__}")
