"""What the twins share: loading minitensor's weights, and what `torch.compile` is put around."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from benchmarks.programs.program import Array

Model = TypeVar("Model", bound=nn.Module)
Wrap = Callable[[Any], Any]  # the identity, or torch.compile


def load(model: Model, weights: Mapping[str, Array]) -> Model:
    """The model with these parameters and buffers, in training mode."""
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return model.train()
