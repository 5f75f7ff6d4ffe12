"""The disk cache of compiled artifacts: one folder per entry, looked up before any compilation.

In: a key (64 hexadecimal digits) and an artifact (named files).  Out: the same artifact in a later process.
Invariant: what comes out is byte for byte what an earlier `store` of this user put in under that key: every
file's hash is checked, and a folder into which another user could write is refused, because loading an entry
runs it.  An entry appears and disappears by one `rename`, so several processes may share a folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comprehension.config import config, statistics
from comprehension.errors import ComprehensionError
from comprehension.jit.failure import log

VERSION = "v1"
INDEX = "entry.json"
STALE_SECONDS = 3600.0  # a half-written folder this old belongs to a process that died
STORES_BETWEEN_SWEEPS = 32
LARGEST_FILE = 256 << 20

Artifact = dict[str, bytes]


class CacheRefused(ComprehensionError):
    """The folder is not one from which code may be loaded."""


class _Rejected(Exception):
    """An entry that is not what `store` wrote."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds."""

    folder: Path
    entries: int
    bytes: int


class Cache:
    """A folder of artifacts.

    Raises CacheRefused where the folder cannot be made, is not ours, or is open to others.
    """

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.folder = root / VERSION
        self._limit = limit
        self._stores = 0
        try:
            self._make_folder()
        except OSError as reason:
            raise CacheRefused(f"cache folder {root}: {reason.strerror or reason}; set COMPREHENSION_CACHE") from reason

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(self.folder)

    def load(self, key: str) -> Artifact | None:
        """The artifact stored under `key`, or None; an entry that is not whole is removed, logged and counted."""
        entry = self._entry(key)
        before = _identity(entry)
        if before is None:
            return None
        try:
            artifact = _read_entry(entry, key)
        except (_Rejected, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as reason:
            if _identity(entry) == before:  # else another process evicted or replaced it while we read
                missing = reason.filename if isinstance(reason, FileNotFoundError) else None
                self._reject(entry, f"it lacks {Path(missing).name}" if missing else str(reason))
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)  # eviction removes what was not used for longest
        return artifact

    def store(self, key: str, artifact: Artifact) -> None:
        """Puts an artifact in; if another process was faster, its entry stays.  Disk errors are logged only."""
        try:
            self._make_folder()  # again, where somebody emptied the user's cache folder
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))  # 0700
            try:
                _write_entry(fresh, key, artifact)
                with contextlib.suppress(FileExistsError, NotADirectoryError):
                    os.rename(fresh, self._entry(key))
            except OSError as reason:
                if reason.errno not in _OCCUPIED:
                    raise
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            if self._stores % STORES_BETWEEN_SWEEPS == 0:
                self.evict()
        except (OSError, CacheRefused) as reason:
            log.warning("cache: entry %s was not stored: %s", key[:12], reason)
        self._stores += 1

    def evict(self) -> int:
        """Removes the entries unused for longest until the rest fit the limit; how many were removed."""
        limit = config.cache_bytes if self._limit is None else self._limit
        entries = sorted((_used_at(path), path, _size_of(path)) for path in self._entries())
        total = sum(size for _, _, size in entries)
        removed = 0
        for _, path, size in entries if total > limit else ():
            if total <= limit * 4 // 5:
                break
            self._remove(path)
            total -= size
            removed += 1
        self._sweep()
        return removed

    def clear(self) -> int:
        """Removes every entry; how many there were."""
        entries = list(self._entries())
        for path in entries:
            self._remove(path)
        self._sweep()
        return len(entries)

    def info(self) -> CacheInfo:
        entries = list(self._entries())
        return CacheInfo(self.folder, len(entries), sum(_size_of(path) for path in entries))

    def _entry(self, key: str) -> Path:
        if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise ValueError(f"not a cache key: {key!r}")
        return self.folder / key

    def _entries(self) -> Iterator[Path]:
        for found in os.scandir(self.folder):
            if not found.name.startswith("."):
                yield Path(found.path)

    def _reject(self, entry: Path, why: str) -> None:
        statistics.cache_rejected += 1
        log.warning("cache: entry %s was refused and will be built again: %s", entry.name[:12], why)
        self._remove(entry)

    def _remove(self, entry: Path) -> None:
        """Takes an entry out in one step, so that no reader meets a half of it.

        Nothing is made on the way: a disk without room for one more folder can be cleared.
        """
        doomed = self.folder / f".old-{os.urandom(8).hex()}"
        try:
            os.rename(entry, doomed)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as reason:
            log.warning("cache: entry %s could not be removed: %s", entry.name[:12], reason)
        else:
            _delete(doomed)

    def _sweep(self) -> None:
        """Removes what processes that died left behind."""
        for found in os.scandir(self.folder):
            if found.name.startswith((".new-", ".old-")):
                with contextlib.suppress(OSError):
                    if time.time() - found.stat(follow_symlinks=False).st_mtime > STALE_SECONDS:
                        _delete(Path(found.path))


_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY}  # another process stored the entry


def default_root() -> Path:
    """`config.cache_dir`, else the user's cache folder as the platform has it."""
    if config.cache_dir is not None:
        return config.cache_dir
    import platformdirs

    return Path(platformdirs.user_cache_path("comprehension"))


def check_private(folder: Path) -> None:
    """Raises CacheRefused unless only this user (or root) can change `folder` or put another in its place."""
    if not hasattr(os, "getuid"):
        return  # Windows: the user's own cache folder is protected by its access list
    folder = folder.resolve()
    owner = os.getuid()
    for level in (folder, *folder.parents):
        status = level.stat()
        shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
        if level != folder and not status.st_mode & stat.S_IWOTH and _is_own_group(status.st_gid, owner):
            shared = False  # umask 002 with a group for each user: nobody else is in it
        sticky = bool(status.st_mode & stat.S_ISVTX) and level != folder
        if status.st_uid not in (owner, 0) or (level == folder and status.st_uid != owner):
            raise CacheRefused(
                f"cache folder {folder}: {level} belongs to user {status.st_uid}, not to you ({owner}); code loaded"
                " from there would run as you.  Set COMPREHENSION_CACHE to a folder of your own"
            )
        if shared and not sticky:
            raise CacheRefused(
                f"cache folder {folder}: others may write to {level} (mode {stat.S_IMODE(status.st_mode):04o}); code"
                f" loaded from there would run as you.  Use `chmod go-w {level}` or set COMPREHENSION_CACHE"
            )


def _is_own_group(group: int, user: int) -> bool:
    """Whether a group is the one that many systems make for each user alone."""
    import grp
    import pwd

    try:
        name = pwd.getpwuid(user).pw_name
        found = grp.getgrgid(group)
    except KeyError:  # containers run as users that no database knows
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}


def _write_entry(folder: Path, key: str, artifact: Artifact) -> None:
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in artifact.items()}
    for name, data in artifact.items():
        _check_name(name)
        (folder / name).write_bytes(data)
    (folder / INDEX).write_text(json.dumps({"key": key, "files": hashes}, indent=1, sort_keys=True))


def _read_entry(entry: Path, key: str) -> Artifact:
    if hasattr(os, "getuid"):
        status = os.lstat(entry)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise _Rejected("it is not a folder of this user's that nobody else can write to")
    index = json.loads(_read_file(entry / INDEX))
    if index["key"] != key:
        raise _Rejected(f"it was made for key {str(index['key'])[:12]}")
    artifact: Artifact = {}
    for name, digest in index["files"].items():
        _check_name(name)
        data = _read_file(entry / name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise _Rejected(f"{name} is truncated or was changed")
        artifact[name] = data
    return artifact


def _read_file(path: Path) -> bytes:
    """A regular file's bytes; links are not followed."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise _Rejected(f"{path.name} is not a file of a sensible size")
        return file.read()


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name or name == INDEX:
        raise _Rejected(f"it names a file {name!r}")


def _delete(path: Path) -> None:
    """Deletes a folder, or what stands in the place of one; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Which file or folder stands at `path` now (inodes are used again, hence the time); None for none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # evicted by another process
        return 0.0


def _size_of(path: Path) -> int:
    try:
        return sum(found.stat(follow_symlinks=False).st_size for found in os.scandir(path))
    except OSError:
        return 0
