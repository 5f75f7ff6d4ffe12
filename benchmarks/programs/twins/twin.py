"""What the twins share: loading minitensor's weights, and what `torch.compile` is put around."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

import minitensor as mt
from benchmarks.programs.program import Array

Model = TypeVar("Model", bound=nn.Module)
Wrap = Callable[[Any], Any]  # the identity, or torch.compile


def load(model: Model, weights: Mapping[str, Array]) -> Model:
    """The model with these parameters and buffers, in training mode."""
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return model.train()


class _Draws:
    """Where random numbers come from: PyTorch, or `mt.random` while losses are compared."""

    replayed = False


def uniform(shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform in [0, 1)."""
    return torch.from_numpy(np.array(mt.random.uniform(tuple(shape)))) if _Draws.replayed else torch.rand(shape)


def normal(shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal."""
    return torch.from_numpy(np.array(mt.random.normal(tuple(shape)))) if _Draws.replayed else torch.randn(shape)


@contextmanager
def replayed_draws() -> Iterator[None]:
    """Inside, the twins draw what minitensor would have drawn."""
    _Draws.replayed = True
    try:
        yield
    finally:
        _Draws.replayed = False
