"""The disk cache: what comes out is what went in, or nothing; folders that others can change are refused."""

from __future__ import annotations

import grp
import importlib.metadata
import json
import logging
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from comprehension.config import statistics
from comprehension.jit.cache import Cache, CacheRefused
from comprehension.jit.request import SourceRequest, fingerprint, key_of, key_of_source
from comprehension.machine import host

KEY = "0123456789abcdef" * 4
OTHER = "f" * 64
ARTIFACT = {"kernel.o": b"\x7fELF machine code", "manifest.json": b"{}"}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder


def entry_of(cache: Cache) -> Path:
    return cache.folder / KEY


def test_what_was_stored_comes_back(private: Path) -> None:
    Cache(private).store(KEY, ARTIFACT)
    assert Cache(private).load(KEY) == ARTIFACT
    assert Cache(private).load(OTHER) is None


def test_folder_is_made_for_the_user_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "b")
    cache.store(KEY, ARTIFACT)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert entry_of(cache).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_folder_that_others_can_write_is_refused(private: Path, mode: int) -> None:
    cache = Cache(private)
    cache.store(KEY, ARTIFACT)
    cache.folder.chmod(mode)
    with pytest.raises(CacheRefused, match=r"others may write to .*chmod go-w"):
        Cache(private)


def test_parent_that_others_can_write_is_refused(tmp_path: Path) -> None:
    parent = tmp_path / "open"
    parent.mkdir()
    parent.chmod(0o777)  # whoever may write here can put another folder in the cache's place
    with pytest.raises(CacheRefused, match="others may write to"):
        Cache(parent / "cache")
    parent.chmod(0o1777)  # sticky, like /tmp: only owners rename
    Cache(parent / "cache")


def test_parent_that_only_ones_own_group_can_write_is_fine(tmp_path: Path) -> None:
    own = grp.getgrgid(os.getgid())
    alone = own.gr_name == pwd.getpwuid(os.getuid()).pw_name and not set(own.gr_mem) - {own.gr_name}
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(0o775)  # what umask 002 gives
    if alone:
        Cache(parent / "cache")
    else:
        with pytest.raises(CacheRefused):
            Cache(parent / "cache")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_refused(private: Path) -> None:
    os.chown(private, 12345, 12345)
    with pytest.raises(CacheRefused, match="belongs to user 12345"):
        Cache(private)


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheRefused, match="COMPREHENSION_CACHE"):
        Cache(tmp_path / "file" / "cache")


def truncate(entry: Path) -> None:
    (entry / "kernel.o").write_bytes(ARTIFACT["kernel.o"][:4])


def change(entry: Path) -> None:
    (entry / "kernel.o").write_bytes(ARTIFACT["kernel.o"][::-1])


def drop_file(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def drop_index(entry: Path) -> None:
    (entry / "entry.json").unlink()


def break_index(entry: Path) -> None:
    (entry / "entry.json").write_text('{"key": ')


def empty_index(entry: Path) -> None:
    (entry / "entry.json").write_text("[]")


def foreign_key(entry: Path) -> None:
    index = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps({**index, "key": OTHER}))


def escape(entry: Path) -> None:
    index = json.loads((entry / "entry.json").read_text())
    index["files"]["../../secret"] = "0" * 64
    (entry / "entry.json").write_text(json.dumps(index))


def link(entry: Path) -> None:
    (entry / "kernel.o").rename(entry.parent / "elsewhere.o")
    (entry / "kernel.o").symlink_to(entry.parent / "elsewhere.o")


def open_to_others(entry: Path) -> None:
    entry.chmod(0o777)


@pytest.mark.parametrize(
    "damage",
    [truncate, change, drop_file, drop_index, break_index, empty_index, foreign_key, escape, link, open_to_others],
)
def test_damaged_entry_is_refused_counted_and_can_be_built_again(private: Path, damage, caplog) -> None:
    cache = Cache(private)
    cache.store(KEY, ARTIFACT)
    damage(entry_of(cache))
    before = statistics.cache_rejected
    with caplog.at_level(logging.WARNING, logger="comprehension"):
        assert cache.load(KEY) is None
    assert statistics.cache_rejected == before + 1
    assert "was refused and will be built again" in caplog.text
    assert not entry_of(cache).exists()
    cache.store(KEY, ARTIFACT)
    assert cache.load(KEY) == ARTIFACT


def test_entry_that_is_a_link_is_refused(private: Path, tmp_path: Path) -> None:
    cache = Cache(private)
    cache.store(KEY, ARTIFACT)
    entry_of(cache).rename(tmp_path / "moved")
    entry_of(cache).symlink_to(tmp_path / "moved")
    assert cache.load(KEY) is None
    assert (tmp_path / "moved" / "kernel.o").exists()  # what the link points to is none of our business


def test_eviction_removes_what_was_unused_for_longest(private: Path) -> None:
    cache = Cache(private, limit=5_000)
    for number in range(8):
        key = f"{number:064x}"
        cache.store(key, {"kernel.o": bytes(1_000)})
        os.utime(cache.folder / key, (number, number))
    assert cache.load(f"{0:064x}") is not None  # used again: now the youngest
    assert cache.evict() > 0
    assert cache.info().bytes <= 5_000
    assert cache.load(f"{0:064x}") is not None
    assert cache.load(f"{1:064x}") is None
    assert cache.load(f"{7:064x}") is not None


def test_info_and_clear(private: Path) -> None:
    cache = Cache(private)
    cache.store(KEY, ARTIFACT)
    cache.store(OTHER, ARTIFACT)
    assert cache.info().entries == 2
    assert cache.clear() == 2
    assert cache.info().entries == 0
    assert cache.load(KEY) is None


def test_leftovers_of_dead_processes_are_swept(private: Path) -> None:
    cache = Cache(private)
    for name, age in ((".new-dead", 10_000), (".new-alive", 0)):
        (cache.folder / name).mkdir()
        os.utime(cache.folder / name, (1e9, 1e9) if age else None)
    cache.evict()
    assert sorted(path.name for path in cache.folder.iterdir()) == [".new-alive"]


def test_keys_are_names_of_one_folder_only(private: Path) -> None:
    with pytest.raises(ValueError, match="not a cache key"):
        Cache(private).load("../" + "0" * 61)


WRITER = """
import sys
from pathlib import Path
from comprehension.jit.cache import Cache
cache = Cache(Path(sys.argv[1]), limit=40_000)
for turn in range(60):
    key = f"{turn % 12:064x}"
    found = cache.load(key)
    assert found is None or found == {"kernel.o": key.encode() * 100}, key
    if found is None:
        cache.store(key, {"kernel.o": key.encode() * 100})
    if turn % 10 == int(sys.argv[2]):
        cache.evict()
"""


def test_several_processes_share_one_folder(private: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(private), str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors.decode()
        assert b"refused" not in errors
    assert not [path for path in Cache(private).folder.iterdir() if path.name.startswith(".new-")]


@pytest.mark.parametrize("library", ["numba", "llvmlite", "islpy"])
def test_another_version_of_a_library_finds_nothing_of_the_old_one(
    library: str, monkeypatch: pytest.MonkeyPatch, private: Path
) -> None:
    wanted = SourceRequest("f", "def f(buffers, dims, scratch, lo, hi):\n    return 0\n", (), host())
    before = key_of(wanted), key_of_source("text", "def f(float(N) X) -> (Y) { Y(i) = X(i) }")
    Cache(private).store(before[0], ARTIFACT)
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == library else installed(name))
    fingerprint.cache_clear()
    try:
        after = key_of(wanted), key_of_source("text", "def f(float(N) X) -> (Y) { Y(i) = X(i) }")
    finally:
        monkeypatch.undo()
        fingerprint.cache_clear()
    if library != "islpy":  # source that is given needs no isl
        assert after[0] != before[0] and Cache(private).load(after[0]) is None
    assert after[1] != before[1]
    assert key_of(wanted) == before[0] and Cache(private).load(before[0]) == ARTIFACT
