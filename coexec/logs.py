"""Logs by topic, over the standard library's loggers.

In: topics, from `COEXEC_LOG` or `coexec.config.log`.  Out: records of the loggers `coexec.<topic>`, at level INFO; what
needs attention is a warning or an error and comes whatever the topics are.
Invariant: a program that configures logging itself gets each record once, by its own handlers; where it does not, what
was asked for goes to stderr.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Final

from coexec.errors import ConfigError

TOPICS: Final = {
    "fallbacks": "why steps left the graph, and what is left to Python",
    "graphs": "phases, graphs asked for, compiled and taken into use",
    "kernels": "which operations became which kernel",
}

root = logging.getLogger("coexec")
fallbacks = logging.getLogger("coexec.fallbacks")
graphs = logging.getLogger("coexec.graphs")
kernels = logging.getLogger("coexec.kernels")


class _Stderr(logging.Handler):
    """Writes to what stderr is at that time, as long as the program has no handlers of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(self.format(record), file=sys.stderr)


_stderr = _Stderr()
_stderr.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(name)s: %(message)s", "%H:%M:%S"))


def topics_in(text: str) -> tuple[str, ...]:
    """The topics in a text, which commas separate.

    Raises ConfigError, naming the topics there are, for another.

    >>> topics_in("graphs, fallbacks")
    ('graphs', 'fallbacks')
    >>> topics_in("graph")
    Traceback (most recent call last):
    ...
    coexec.errors.ConfigError: COEXEC_LOG takes topics out of fallbacks, graphs, kernels (with commas), found 'graph'
    """
    return checked(topic.strip() for topic in text.split(",") if topic.strip())


def checked(topics: Iterable[str]) -> tuple[str, ...]:
    """The topics, each once.

    Raises ConfigError as above.
    """
    found = tuple(dict.fromkeys(topics))
    for topic in found:
        if topic not in TOPICS:
            known = ", ".join(TOPICS)
            raise ConfigError(f"COEXEC_LOG takes topics out of {known} (with commas), found {topic!r}")
    return found


def switch(topics: tuple[str, ...]) -> None:
    """Switches these topics on and all others off."""
    for topic in TOPICS:
        logging.getLogger(f"coexec.{topic}").setLevel(logging.INFO if topic in topics else logging.NOTSET)
    if topics:
        root.addHandler(_stderr)
    else:
        root.removeHandler(_stderr)
