"""JAX: each case one jitted function of jax.numpy, jax.nn and jax.lax; outputs are always fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.kernels.case import Arrays, Case
from benchmarks.kernels.formulations import Calls, as_tuple, in_turn

Array = jax.Array


def _gconv(image: Array, weights: Array, bias: Array) -> Array:
    n, groups, channels, height, width = image.shape
    found = lax.conv_general_dilated(
        image.reshape(n, groups * channels, height, width),
        weights.reshape(-1, *weights.shape[2:]),
        (1, 1),
        "VALID",
        feature_group_count=groups,
    )
    return found.reshape(n, groups, -1, *found.shape[2:]) + bias[..., None, None]


def _depthwise(image: Array, weights: Array) -> Array:
    return lax.conv_general_dilated(image, weights[:, None], (1, 1), "VALID", feature_group_count=image.shape[1])


def _layer(x: Array, w: Array, bias: Array) -> Array:
    return jax.nn.relu(x @ w + bias)


def _mlp3(x: Array, w2: Array, b2: Array, w3: Array, b3: Array, w4: Array, b4: Array) -> Array:
    return _layer(_layer(_layer(x, w2.T, b2), w3.T, b3), w4.T, b4)


def _kronecker3(w0: Array, w1: Array, w2: Array, x: Array) -> Array:
    m, n0 = x.shape[:2]
    second = jnp.matmul(w1, x @ w2.T).reshape(m, n0, -1)
    return jnp.matmul(w0, second).reshape(m, len(w0), len(w1), len(w2))


def _wavenet1(
    data: Array, fw: Array, fb: Array, gw: Array, gb: Array, rw: Array, rb: Array, sw: Array, sb: Array,
    *, dilation: int,
) -> tuple[Array, ...]:  # fmt: skip
    def dilated(weights: Array, bias: Array) -> Array:
        found = lax.conv_general_dilated(data, weights, (1,), [(dilation, 0)], rhs_dilation=(dilation,))
        return found + bias[:, None]

    passed = jnp.tanh(dilated(fw, fb)) * jax.nn.sigmoid(dilated(gw, gb))
    return rw @ passed + rb[:, None] + data, sw @ passed + sb[:, None]


def _attention(q: Array, k: Array, v: Array) -> Array:
    weights = jax.nn.softmax(jnp.einsum("bhid,bhjd->bhij", q, k) * 0.125, axis=-1)
    return jnp.einsum("bhij,bhjd->bhid", weights, v)


def _lut1(table: Array, indices: Array) -> Array:
    return jnp.take(table, indices, axis=0, mode="clip").sum(1)


def _moments(x: Array) -> tuple[Array, ...]:
    mean = x.mean(1)
    return mean, (x * x).mean(1) - mean * mean


def _group_norm(x: Array, gamma: Array, beta: Array) -> Array:
    mean = x.mean((2, 3, 4), keepdims=True)
    var = (x * x).mean((2, 3, 4), keepdims=True) - mean * mean
    return (x - mean) * lax.rsqrt(var + 1e-5) * gamma[..., None, None] + beta[..., None, None]


def _layer_norm(x: Array, gamma: Array, beta: Array) -> Array:
    return (x - x.mean(1, keepdims=True)) * lax.rsqrt(x.var(1, keepdims=True) + 1e-5) * gamma + beta


FRESH: dict[str, Callable[..., Any]] = {
    "tmm": lambda a, b: a @ b.T,
    "bmm": jnp.matmul,
    "gconv": _gconv,
    "depthwise": _depthwise,
    "mlp1": _layer,
    "mlp3": _mlp3,
    "kronecker3": _kronecker3,
    "wavenet1": _wavenet1,
    "attention": _attention,
    "lut1": _lut1,
    "lut2": lambda t1, t2, i1, i2: (_lut1(t1, i1), _lut1(t2, i2)),
    "moments": _moments,
    "group_norm": _group_norm,
    "group_norm_two": _group_norm,
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
    "layer_norm": _layer_norm,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "transpose": lambda x: x.T,
    "sum_rows": lambda x: x.sum(0),
    "sum_columns": lambda x: x.sum(1),
    "sliding": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 16), (1, 1), "VALID"),
}


def to_arrays(found: Any) -> Arrays:
    return tuple(np.asarray(array) for array in as_tuple(found))


def prepare(case: Case, variants: list[Arrays]) -> Calls:
    jax.clear_caches()
    known = {id(array): jnp.asarray(array) for variant in variants for array in variant}
    arrays = [tuple(known[id(array)] for array in variant) for variant in variants]
    body = FRESH[case.family]
    compiled = jax.jit(lambda *inputs: body(*inputs, **case.fixed))
    return Calls(in_turn(lambda *inputs: jax.block_until_ready(compiled(*inputs)), arrays), None, to_arrays)
