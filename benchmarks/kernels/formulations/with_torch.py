"""PyTorch eager: the operator of torch.nn.functional where there is one, `out=` where the operator has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.kernels.case import Arrays, Case
from benchmarks.kernels.formulations import Calls, as_tuple, in_turn

Tensor = torch.Tensor


def _gconv(image: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    n, groups, channels, height, width = image.shape
    found = F.conv2d(
        image.reshape(n, groups * channels, height, width), weights.flatten(0, 1), bias.flatten(), groups=groups
    )
    return found.unflatten(1, (groups, -1))


def _depthwise(image: Tensor, weights: Tensor) -> Tensor:
    return F.conv2d(image, weights[:, None], groups=image.shape[1])


def _mlp1(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    return torch.relu_(torch.addmm(bias, x, w))


def _mlp3(x: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor, w4: Tensor, b4: Tensor) -> Tensor:
    return F.relu(F.linear(F.relu(F.linear(F.relu(F.linear(x, w2, b2)), w3, b3)), w4, b4))


def _kronecker3(w0: Tensor, w1: Tensor, w2: Tensor, x: Tensor) -> Tensor:
    m, n0 = x.shape[:2]
    second = torch.matmul(w1, x @ w2.T).reshape(m, n0, -1)
    return torch.matmul(w0, second).reshape(m, len(w0), len(w1), len(w2))


def _wavenet1(
    data: Tensor, fw: Tensor, fb: Tensor, gw: Tensor, gb: Tensor, rw: Tensor, rb: Tensor, sw: Tensor, sb: Tensor,
    *, dilation: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    padded = F.pad(data, (dilation, 0))
    filtered = F.conv1d(padded, fw, fb, dilation=dilation)
    gate = F.conv1d(padded, gw, gb, dilation=dilation)
    passed = torch.tanh(filtered) * torch.sigmoid(gate)
    return F.conv1d(passed, rw[..., None], rb) + data, F.conv1d(passed, sw[..., None], sb)


def _lut1(table: Tensor, indices: Tensor) -> Tensor:
    return F.embedding_bag(indices, table, mode="sum")


def _moments(x: Tensor) -> tuple[Tensor, ...]:
    var, mean = torch.var_mean(x, 1, correction=0)
    return mean, var


def _group_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    n, groups, depth, height, width = x.shape
    flat = x.reshape(n, groups * depth, height, width)
    return F.group_norm(flat, groups, gamma.flatten(), beta.flatten(), 1e-5).reshape(x.shape)


FRESH: dict[str, Callable[..., Any]] = {
    "tmm": lambda a, b: torch.mm(a, b.T),
    "bmm": torch.bmm,
    "gconv": _gconv,
    "depthwise": _depthwise,
    "mlp1": _mlp1,
    "mlp3": _mlp3,
    "kronecker3": _kronecker3,
    "wavenet1": _wavenet1,
    "attention": F.scaled_dot_product_attention,
    "lut1": _lut1,
    "lut2": lambda t1, t2, i1, i2: (_lut1(t1, i1), _lut1(t2, i2)),
    "moments": _moments,
    "group_norm": _group_norm,
    "group_norm_two": _group_norm,
    "softmax": lambda x: torch.softmax(x, 1),
    "layer_norm": lambda x, gamma, beta: F.layer_norm(x, x.shape[1:], gamma, beta, 1e-5),
    "gelu": F.gelu,
    "transpose": lambda x: x.T.contiguous(),
    "sum_rows": lambda x: torch.sum(x, 0),
    "sum_columns": lambda x: torch.sum(x, 1),
    "sliding": lambda x: F.max_pool1d(x, 16, 1),
}

INTO: dict[str, Callable[..., Any]] = {
    "tmm": lambda out, a, b: torch.mm(a, b.T, out=out),
    "bmm": lambda out, x, y: torch.bmm(x, y, out=out),
    "mlp1": lambda out, x, w, bias: torch.relu_(torch.addmm(bias, x, w, out=out)),
    "softmax": lambda out, x: torch.softmax(x, 1, out=out),
    "gelu": lambda out, x: torch._C._nn.gelu(x, out=out),
    "transpose": lambda out, x: out.copy_(x.T),
    "sum_rows": lambda out, x: torch.sum(x, 0, out=out),
    "sum_columns": lambda out, x: torch.sum(x, 1, out=out),
}


def to_arrays(found: Any) -> Arrays:
    return tuple(tensor.numpy() for tensor in as_tuple(found))


def taken(variants: list[Arrays]) -> list[tuple[Tensor, ...]]:
    """The same memory as tensors; arrays that variants share are one tensor."""
    known = {id(array): torch.from_numpy(array) for variant in variants for array in variant}
    return [tuple(known[id(array)] for array in variant) for variant in variants]


def prepare(case: Case, variants: list[Arrays]) -> Calls:
    tensors, body, into = taken(variants), FRESH[case.family], INTO.get(case.family)
    fresh = in_turn(lambda *inputs: body(*inputs, **case.fixed), tensors)
    if into is None:
        return Calls(fresh, None, to_arrays)
    held = torch.empty_like(fresh())
    return Calls(fresh, in_turn(lambda *inputs: into(held, *inputs), tensors), to_arrays)
