"""Modules, layers and containers with PyTorch's names, parameter shapes and state dicts."""

from minitensor.nn.activations import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    Flatten,
    Identity,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Upsample,
)
from minitensor.nn.clipping import clip_grad_norm_, clip_grad_value_
from minitensor.nn.containers import ModuleList, Sequential
from minitensor.nn.layers import (
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
)
from minitensor.nn.module import Module, Parameter
from minitensor.nn.recurrent import GRUCell, LSTMCell

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GELU",
    "GRUCell",
    "Identity",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Upsample",
    "clip_grad_norm_",
    "clip_grad_value_",
]
