"""Config and statistics: the package's only global state.

In: environment variables at import; later whatever the program assigns.  Out: read where a choice is made.
Invariant: nothing here changes a result, only where, when and how it is computed.

| variable | field | meaning |
|---|---|---|
| `COMPREHENSION_THREADS`, else `NUMBA_NUM_THREADS` | `threads` | threads of a kernel, the caller's counted |
| `COMPREHENSION_CACHE` | `cache_dir` | the cache's folder (default: the user's cache folder) |
| `COMPREHENSION_CACHE_MB` | `cache_bytes` | size at which old entries are evicted |
| `COMPREHENSION_DUMP` | `dump` | folder for `00-source.tc` ... `70-kernel.py` |
| `COMPREHENSION_TIME_LIMIT` | `compile_seconds` | one compilation's processor time before its process is killed |
| `COMPREHENSION_IN_PROCESS` | `in_process` | 1: compile inside the program (for debuggers) |
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comprehension.errors import ComprehensionError
from comprehension.machine import usable_cores

MAX_THREADS = 256

generation = ctypes.c_int64(0)
"""Grows with every assignment to a setting, every new worker pool and every fork: what was derived from them and is
kept, by native code too, remembers the generation that it is of."""


@dataclass(slots=True)
class Config:
    """Assign to its fields at any time; each takes effect at the next compilation or call.  Folders may be strings.

    Raises ComprehensionError for a value that cannot be right.

    `parallel_ns`: work of a stage below which it runs serially even where workers are awake; where they sleep, three
    times that is the price of waking one.
    `compiler_bytes`: memory of the compiler process at which it is replaced by a fresh one.
    """

    threads: int = 1
    cache_dir: Path | None = None
    cache_bytes: int = 1 << 30
    dump: Path | None = None
    compile_seconds: float = 120.0
    compiler_bytes: int = 1 << 30
    in_process: bool = False
    parallel_ns: float = 8_000.0
    block_cache_bytes: int = 1 << 30

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, _taken(name, value))
        generation.value += 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """The settings of a process's environment.

        Raises ComprehensionError, naming the variable, for a value that cannot be right.

        >>> Config.from_environment({"COMPREHENSION_THREADS": "3"}).threads
        3
        """

        def number(name: str, default: float, lowest: float) -> float:
            text = environment.get(name, "").strip()
            try:
                value = float(text) if text else default
            except ValueError:
                value = float("nan")
            if not lowest <= value < float("inf"):
                raise ComprehensionError(f"environment: {name} must be a number, at least {lowest:g}, not {text!r}")
            return value

        cores = usable_cores()
        threads = number("COMPREHENSION_THREADS", number("NUMBA_NUM_THREADS", cores, 1), 1)
        cache, dump = environment.get("COMPREHENSION_CACHE"), environment.get("COMPREHENSION_DUMP")
        return cls(
            threads=min(int(threads), MAX_THREADS),
            cache_dir=Path(cache).expanduser() if cache else None,
            cache_bytes=int(number("COMPREHENSION_CACHE_MB", 1024, 1)) << 20,
            dump=Path(dump).expanduser() if dump else None,
            compile_seconds=number("COMPREHENSION_TIME_LIMIT", 120, 0.01),
            in_process=environment.get("COMPREHENSION_IN_PROCESS", "0") not in ("", "0"),
        )


def _taken(name: str, value: object) -> object:
    """A value for a setting, as it is kept."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "threads":
            if is_number and isinstance(value, int) and value >= 1:
                return min(value, MAX_THREADS)
            wanted = "an int, at least 1"
        case "cache_dir" | "dump":
            if value is None or isinstance(value, str | os.PathLike):
                return None if value is None else Path(value).expanduser()
            wanted = "a folder or None"
        case "in_process":
            if isinstance(value, bool):
                return value
            wanted = "True or False"
        case _:
            if is_number and value >= 0:  # type: ignore[operator]
                return value
            wanted = "a number, at least 0"
    raise ComprehensionError(f"config: {name} must be {wanted}, not {value!r:.60}")


@dataclass(slots=True)
class Statistics:
    """What has happened in this process so far; counts only grow.

    `copied_arguments` counts inputs and outputs that no kernel could address where they were.
    `fallbacks` counts, by reason, each time that something slower was done than what was asked for.
    """

    compiled: int = 0
    compile_seconds: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0
    cache_rejected: int = 0
    processes_started: int = 0
    processes_lost: int = 0
    copied_arguments: int = 0
    fallbacks: Counter[str] = field(default_factory=Counter)


config = Config.from_environment(os.environ)
statistics = Statistics()
