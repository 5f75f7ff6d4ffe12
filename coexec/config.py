"""The switches of co-execution.

In: environment variables, read once at import, or assignments by the program.  Out: read at each outermost call.
Invariant: a switch never has a value that cannot be right: assignments are checked.

`COEXEC_MODE`: "coexec" (default), "trace" (record every step, never switch), "eager" (plain Python), "lazy" (the
graph computes only when a value is demanded: the control experiment).  `COEXEC_DUMP`: a folder for artefacts.
`COEXEC_RUNNER`: "native" (default) or "reference" (graphs interpreted with eager rules, for debugging).
`COEXEC_LOG`: topics to log, separated by commas: see `coexec.logs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from coexec import logs
from coexec.errors import ConfigError

MODES: Final = ("coexec", "trace", "eager", "lazy")
RUNNERS: Final = ("native", "reference")
NUMERICS: Final = ("fast", "reproducible")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """`value` if it is one of `choices`.

    Raises ConfigError otherwise.

    >>> check_choice("COEXEC_MODE", "eager", MODES)
    'eager'
    """
    if value not in choices:
        raise ConfigError(f"{name} is one of {', '.join(choices)}, found {value!r}")
    return value


class Config:
    """The process-wide switches (`coexec.config`); assign to them at any time.

    Raises ConfigError for a value that cannot be right.

    >>> Config("eager", "native", None)
    Config(mode='eager', runner='native', dump=None, log=())
    """

    __slots__ = ("_dump", "_log", "_mode", "_runner")

    def __init__(self, mode: str, runner: str, dump: Path | str | None, log: tuple[str, ...] = ()) -> None:
        self.mode = mode
        self.runner = runner
        self.dump = dump
        self.log = log

    def __repr__(self) -> str:
        return f"Config(mode={self.mode!r}, runner={self.runner!r}, dump={self.dump!r}, log={self.log!r})"

    @property
    def mode(self) -> str:
        """`COEXEC_MODE`: "coexec", "trace", "eager" or "lazy"."""
        return self._mode

    @mode.setter
    def mode(self, value: str) -> None:
        self._mode = check_choice("COEXEC_MODE", value, MODES)

    @property
    def runner(self) -> str:
        """`COEXEC_RUNNER`: "native", or "reference" (graphs interpreted by eager rules)."""
        return self._runner

    @runner.setter
    def runner(self, value: str) -> None:
        self._runner = check_choice("COEXEC_RUNNER", value, RUNNERS)

    @property
    def dump(self) -> Path | None:
        """`COEXEC_DUMP`: the folder for what was made of each step; None for nowhere.  A string will do."""
        return self._dump

    @dump.setter
    def dump(self, folder: Path | str | None) -> None:
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise ConfigError(f"COEXEC_DUMP is a folder or None, found {folder!r}")
        self._dump = None if folder is None else Path(folder).expanduser()

    @property
    def log(self) -> tuple[str, ...]:
        """`COEXEC_LOG`: the topics that are logged."""
        return self._log

    @log.setter
    def log(self, topics: Iterable[str] | str) -> None:
        self._log = logs.topics_in(topics) if isinstance(topics, str) else logs.checked(topics)
        logs.switch(self._log)


def _from_environment() -> Config:
    dump = os.environ.get("COEXEC_DUMP")
    return Config(
        mode=os.environ.get("COEXEC_MODE", "coexec"),
        runner=os.environ.get("COEXEC_RUNNER", "native"),
        dump=dump or None,
        log=logs.topics_in(os.environ.get("COEXEC_LOG", "")),
    )


config = _from_environment()
