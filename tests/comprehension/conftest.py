"""Fixtures of the compiler's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comprehension.config import config
from comprehension.jit import client


@pytest.fixture
def fresh_cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder for one test, so that what it compiles is really compiled."""
    before = config.cache_dir
    config.cache_dir = tmp_path / "cache"
    yield config.cache_dir
    config.cache_dir = before


@pytest.fixture
def fresh_client(fresh_cache: Path) -> Iterator[None]:
    """No compiler process before and none left over; the settings that a test changes come back."""
    kept = {name: getattr(config, name) for name in ("compile_seconds", "compiler_bytes", "in_process")}
    client.close()
    yield
    client.close()
    for name, value in kept.items():
        setattr(config, name, value)
