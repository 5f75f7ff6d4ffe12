"""The switches of co-execution.

In: environment variables, read once at import, or assignments by the program.  Out: read at each outermost call.
Invariant: a switch never has a value that cannot be right: assignments are checked.

`COEXEC_MODE`: "coexec" (default), "trace" (record every step, never switch), "eager" (plain Python), "lazy" (the
graph computes only when a value is demanded: the control experiment).  `COEXEC_DUMP`: a folder for artefacts.
`COEXEC_RUNNER`: "native" (default) or "reference" (graphs interpreted with eager rules, for debugging).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

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
    """The process-wide switches (`coexec.config`).

    >>> from coexec import config
    >>> config.mode in MODES
    True
    """

    __slots__ = ("_mode", "_runner", "dump")

    def __init__(self, mode: str, runner: str, dump: Path | None) -> None:
        self.mode = mode
        self.runner = runner
        self.dump = dump

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, value: str) -> None:
        self._mode = check_choice("COEXEC_MODE", value, MODES)

    @property
    def runner(self) -> str:
        return self._runner

    @runner.setter
    def runner(self, value: str) -> None:
        self._runner = check_choice("COEXEC_RUNNER", value, RUNNERS)


def _from_environment() -> Config:
    dump = os.environ.get("COEXEC_DUMP")
    return Config(
        mode=os.environ.get("COEXEC_MODE", "coexec"),
        runner=os.environ.get("COEXEC_RUNNER", "native"),
        dump=Path(dump) if dump else None,
    )


config = _from_environment()
