"""Saving and loading dicts of tensors as safetensors files: data only, nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from minitensor.creation import asarray
from minitensor.errors import DTypeError, FileFormatError
from minitensor.tensor import Tensor


def save(tensors: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Writes `tensors` (such as `module.state_dict()`) to `path`.

    Raises TypeError for a value that is no Tensor.

    >>> import minitensor as mt, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save({"w": mt.ones((2, 3))}, path); load(path)["w"].shape
    (2, 3)
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise DTypeError(f"{name!r} is of type {type(value).__name__}, expected a Tensor")
    save_file({name: np.asarray(t.detach().numpy(), order="C") for name, t in tensors.items()}, path)


def load(path: str | PathLike[str]) -> dict[str, Tensor]:
    """What `save` wrote, by name.

    Raises FileNotFoundError, and FileFormatError for anything that is no well-formed safetensors file.
    """
    try:
        return {name: asarray(array) for name, array in load_file(path).items()}
    except SafetensorError as error:
        raise FileFormatError(f"{path} is not a well-formed safetensors file: {error}") from error
