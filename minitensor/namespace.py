"""What the array standard asks of a namespace about itself.

In: a version, a device.  Out: the namespace, its capabilities, dtypes and devices.
Invariant: `API_VERSION` is the version of the standard that the tests run against.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from minitensor import dtypes
from minitensor.device import CPU, Device, as_device
from minitensor.errors import ArgumentError

API_VERSION = "2024.12"
_SUPPORTED = ("2021.12", "2022.12", "2023.12", "2024.12")


def array_namespace(version: str | None = None) -> ModuleType:
    """The module `minitensor`.  Raises ArgumentError (a ValueError) for a version of the standard it does not know."""
    if version is not None and version not in _SUPPORTED:
        raise ArgumentError(f"version {version!r} of the array standard is not supported; known are {_SUPPORTED}")
    return sys.modules["minitensor"]


class NamespaceInfo:
    """Answers of `__array_namespace_info__()`."""

    def capabilities(self) -> dict[str, Any]:
        """Whether masks index and shapes may depend on values (both), and the largest rank."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        return CPU

    def devices(self) -> list[Device]:
        return [CPU]

    def default_dtypes(self, *, device: Device | str | None = None) -> dict[str, dtypes.DType]:
        """The dtypes of tensors made from Python numbers."""
        as_device(device)
        return {
            "real floating": dtypes.DEFAULT_FLOAT,
            "complex floating": dtypes.DEFAULT_COMPLEX,
            "integral": dtypes.DEFAULT_INT,
            "indexing": dtypes.DEFAULT_INT,
        }

    def dtypes(
        self, *, device: Device | str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, dtypes.DType]:
        """The dtypes of the standard that there are, by name; of some kinds only if asked."""
        as_device(device)
        known = [d for d in dtypes.ALL if d != dtypes.float16]
        return {d.name: d for d in known if kind is None or dtypes.isdtype(d, kind)}


def array_namespace_info() -> NamespaceInfo:
    """What this namespace can do."""
    return NamespaceInfo()
