"""The cache when things go wrong: writers killed at any moment, a full disk, one that nobody may write to, a clock that
jumps, a folder that is gone; and memory when kernels come and go."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import comprehension as tc
from comprehension.jit import cache as cache_module
from comprehension.jit.cache import STALE_SECONDS, Artifact, Cache
from comprehension.jit.compiler import resident_bytes
from comprehension.jit.load import load_object

KEYS = [f"{number:064x}" for number in range(8)]
ARTIFACT = {"kernel.o": b"o" * 200_000, "manifest.json": b"{}" * 1000}
WRITER = """
import sys
from pathlib import Path
from comprehension.jit import cache as cache_module
from comprehension.jit.cache import STALE_SECONDS, Artifact, Cache
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


ON_A_FULL_DISK = """
import logging, subprocess, sys
from pathlib import Path
import numpy as np
import comprehension as tc
from comprehension.jit.cache import Cache

folder = Path(sys.argv[1])
logging.getLogger("comprehension").setLevel(logging.ERROR)
kept = Cache(folder / "comprehension")
kept.store("0" * 64, {"kernel.o": b"o"})
with open(folder / "ballast", "wb", buffering=0) as ballast:  # what another program writes
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
x = np.arange(5, dtype=np.float32)
f = tc.define("def f(float(N) X) -> (Y) { Y(i) = 2.0 * X(i) }").f
assert f(x).tolist() == (2 * x).tolist()
assert tc.statistics.compiled == 1
assert [path.name for path in kept.folder.iterdir()] == ["0" * 64]
assert kept.load("0" * 64) == {"kernel.o": b"o"}
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
g = tc.define("def g(float(N) X) -> (Y) { Y(i) = 3.0 * X(i) }").g
assert g(x).tolist() == (3 * x).tolist()
assert kept.load("0" * 64) == {"kernel.o": b"o"}
kept.evict()
kept.clear()
subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
assert kept.clear() == 1 and list(kept.folder.iterdir()) == []  # although the disk is full
"""


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """A command before which others get mounts of their own."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    mounted = ["sh", "-c", "mount -t tmpfs none /tmp && mount -o remount,ro /tmp"]
    tool = shutil.which("unshare")
    if tool is None or subprocess.run([*command, *mounted], capture_output=True).returncode:
        pytest.skip("this system gives no name space in which a file system may be mounted")
    return command


def test_with_a_disk_that_is_full_or_read_only_everything_is_compiled_and_right(
    namespace: list[str], tmp_path: Path
) -> None:
    """The folder for temporary files is on it, too; and a full cache can be emptied."""
    script = 'mount -t tmpfs -o size=256k,mode=700 none "$1" && exec "$2" -c "$3" "$1"'
    environment = {**os.environ, "COMPREHENSION_CACHE": str(tmp_path / "comprehension"), "TMPDIR": str(tmp_path)}
    finished = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", str(tmp_path), sys.executable, ON_A_FULL_DISK],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr


def test_a_cache_that_somebody_deleted_is_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.store(KEYS[0], ARTIFACT)
    shutil.rmtree(tmp_path / "cache")
    assert cache.load(KEYS[0]) is None
    cache.store(KEYS[0], ARTIFACT)
    assert cache.load(KEYS[0]) == ARTIFACT
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_an_index_without_end_is_refused(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.store(KEYS[0], ARTIFACT)
    (cache.folder / KEYS[0] / "entry.json").write_text("[" * 200_000)
    assert cache.load(KEYS[0]) is None
    cache.store(KEYS[0], ARTIFACT)
    assert cache.load(KEYS[0]) == ARTIFACT


@pytest.mark.parametrize("files_before_the_sweep", [0, 1, 2])
@pytest.mark.parametrize("jump", [-1e9, 2 * STALE_SECONDS, 1e9])
def test_a_clock_that_jumps_costs_an_entry_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, files_before_the_sweep: int
) -> None:
    """A writer whose half-written folder another process takes for a dead one's leaves nothing that is not whole."""
    ours, theirs = Cache(tmp_path), Cache(tmp_path)
    write, written = Path.write_bytes, []

    def swept(path: Path, data: bytes) -> int:
        if len(written) == files_before_the_sweep:
            with monkeypatch.context() as elsewhere:
                now = time.time() + jump
                elsewhere.setattr(cache_module.time, "time", lambda: now)
                theirs.evict()
        written.append(path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", swept)
    ours.store(KEYS[0], ARTIFACT)
    monkeypatch.undo()
    assert written and theirs.load(KEYS[0]) in (None, ARTIFACT)
    ours.store(KEYS[0], ARTIFACT)
    assert theirs.load(KEYS[0]) == ARTIFACT
    with monkeypatch.context() as later:
        later.setattr(cache_module.time, "time", lambda: time.perf_counter() + 1e10)
        theirs.evict()
    assert [path.name for path in ours.folder.iterdir()] == [KEYS[0]]


def test_two_writers_of_one_entry_leave_one_whole_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins and ends while the first writes, whatever the first has written by then."""
    write = cache_module._write_entry
    theirs: list[Cache] = [Cache(tmp_path)]

    def meanwhile(folder: Path, key: str, artifact: Artifact) -> None:
        write(folder, key, artifact)
        if theirs:
            theirs.pop().store(key, artifact)

    monkeypatch.setattr(cache_module, "_write_entry", meanwhile)
    ours = Cache(tmp_path)
    ours.store(KEYS[0], ARTIFACT)
    assert ours.load(KEYS[0]) == ARTIFACT
    assert [path.name for path in ours.folder.iterdir()] == [KEYS[0]]


def test_an_entry_replaced_while_it_is_read_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is not whole, but it is another process's good entry that stands there by now."""
    cache = Cache(tmp_path)
    cache.store(KEYS[0], ARTIFACT)
    read = cache_module._read_file

    def replaced(path: Path) -> Any:
        monkeypatch.undo()
        shutil.rmtree(path.parent)
        Cache(tmp_path).store(KEYS[0], ARTIFACT)
        return read(path)[:-1]

    monkeypatch.setattr(cache_module, "_read_file", replaced)
    rejected = tc.statistics.cache_rejected
    assert cache.load(KEYS[0]) is None
    assert tc.statistics.cache_rejected == rejected
    assert cache.load(KEYS[0]) == ARTIFACT


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
