"""Activations, losses, normalisation, and layers as functions.

In: tensors.  Out: tensors.
Invariant: nothing here is a record; every function is made of operations that have one, so a new function
needs no gradient, no compiler and no test of either.  What every network does many times a step (softmax,
cross-entropy, layer norm, batch norm, gelu, linear) is one record each, and so are element-wise losses: a recorded
operation costs Python more than its arithmetic takes.
"""

from typing import Never

from minitensor import other_names
from minitensor.functional.activations import (
    elu,
    gelu,
    glu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    logsumexp,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
)
from minitensor.functional.layers import (
    avg_pool1d,
    avg_pool2d,
    causal_mask,
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    dropout,
    dropout2d,
    embedding,
    linear,
    max_pool1d,
    max_pool2d,
    one_hot,
    scaled_dot_product_attention,
)
from minitensor.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
    triplet_margin_loss,
)
from minitensor.functional.normalisation import (
    batch_norm,
    cosine_similarity,
    group_norm,
    layer_norm,
    normalize,
    rms_norm,
)
from minitensor.functional.resampling import (
    adaptive_avg_pool2d,
    interpolate,
    pixel_shuffle,
)
from minitensor.functional.volumes import (
    avg_pool3d,
    conv3d,
    max_pool3d,
)

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "causal_mask",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "logsumexp",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pixel_shuffle",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softsign",
    "triplet_margin_loss",
]


def __getattr__(name: str) -> Never:
    raise other_names.missing("module 'minitensor.functional'", name, other_names.FUNCTIONAL)
