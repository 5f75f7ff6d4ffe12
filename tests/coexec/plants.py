"""Bugs planted on purpose, and that a test finds each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minitensor.value import local

Plant = Callable[[pytest.MonkeyPatch], None]


def assert_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, find: Callable[[], object]) -> None:
    """`find` raises with the bug in place; whatever it raises, the bug is found."""
    plant(monkeypatch)
    try:
        with pytest.raises(Exception):  # noqa: B017
            find()
    finally:
        local.observer = None
