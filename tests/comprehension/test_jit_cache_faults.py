"""The cache when things go wrong: writers killed at any moment, a full disk; and memory when kernels come and go."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import comprehension as tc
from comprehension.jit.cache import Cache
from comprehension.jit.compiler import resident_bytes
from comprehension.jit.load import load_object

KEYS = [f"{number:064x}" for number in range(8)]
ARTIFACT = {"kernel.o": b"o" * 200_000, "manifest.json": b"{}" * 1000}
WRITER = """
import sys
from pathlib import Path
from comprehension.jit.cache import Cache
cache = Cache(Path(sys.argv[1]), limit=900_000)
print("ready", flush=True)
while True:
    for number in range(8):
        cache.store(f"{number:064x}", {"kernel.o": b"o" * 200_000, "manifest.json": b"{}" * 1000})
        cache.evict()
"""


def test_writers_killed_at_any_moment_leave_nothing_half_written(tmp_path: Path) -> None:
    """Whatever stands under a key is whole: an entry appears and disappears by one rename."""
    chance = random.Random(0)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(chance.random() * 0.05)
        writer.kill()
        writer.wait(30)
        writer.stdout.close()
        rejected = tc.statistics.cache_rejected
        cache = Cache(tmp_path, limit=1 << 30)
        assert all(cache.load(key) in (None, ARTIFACT) for key in KEYS)
        assert tc.statistics.cache_rejected == rejected
        cache.store(KEYS[0], ARTIFACT)
        assert cache.load(KEYS[0]) == ARTIFACT


def test_a_full_disk_costs_the_entry_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    cache.store(KEYS[0], ARTIFACT)
    right = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        right(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.store(KEYS[1], ARTIFACT)  # logged
    monkeypatch.undo()
    assert cache.load(KEYS[1]) is None and cache.load(KEYS[0]) == ARTIFACT
    assert not [path for path in cache.folder.iterdir() if path.name.startswith(".new-")]
    cache.store(KEYS[1], ARTIFACT)
    assert cache.load(KEYS[1]) == ARTIFACT


def test_kernels_that_come_and_go_leave_memory_flat() -> None:
    """One object loaded again and again: what a kernel takes goes back with it.  (Nothing is compiled here.)"""
    kernel = tc.define("def f(float(N) A) -> (B) { B(i) = exp(A(i)) }").f.compile(tc.Spec((64,), "float32"))
    data, symbols = kernel._artifact["kernel.o"], list(kernel.addresses)

    def rounds(count: int) -> int:
        for _ in range(count):
            load_object("f", data, symbols)
        return resident_bytes()

    before = rounds(200)
    assert rounds(400) - before < 4 << 20  # less than 10 KB each, where one object's code is a page or more
    assert np.isfinite(kernel(np.zeros(64, np.float32))).all()
