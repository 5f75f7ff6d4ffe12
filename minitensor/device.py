"""Devices: where a tensor's contents live.

In: a name (`"cpu"`) or a Device.  Out: a Device.
Invariant: devices compare by what they are, not by identity.
"""

from __future__ import annotations

from dataclasses import dataclass

from minitensor.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Device:
    """A place for contents; `type` is `"cpu"`."""

    type: str

    def __str__(self) -> str:
        return self.type


CPU = Device("cpu")


def as_device(device: Device | str | None) -> Device:
    """The device that is meant; None is the CPU.  Raises ArgumentError (a ValueError) for an unknown one."""
    if device is None or device == CPU or device == "cpu":
        return CPU
    raise ArgumentError(f"unknown device {device!r}; this build of minitensor knows 'cpu'")
