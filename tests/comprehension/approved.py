"""Texts that are written down in `written_down/`, and held against what is found now.

In: the name of a file, the titles of its sections, and what is found for each.  Out: failures that show the difference.
Invariant: a file has a section for each title, in order: the title, then lines.

What was meant to change is written down by running the test's file as a program, and is then read in the diff.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import unified_diff
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).with_name("written_down")


class WrittenDown:
    """The file `name`.txt; `lines`: what is found now for a title."""

    def __init__(self, name: str, titles: Iterable[str], lines: Callable[[str], Iterable[str]]) -> None:
        self.path = FOLDER / f"{name}.txt"
        self.titles = list(titles)
        self.lines = lines

    @cached_property
    def sections(self) -> dict[str, list[str]]:
        parts = [part.strip().splitlines() for part in self.path.read_text("utf-8").split("\n\n")]
        return {title: lines for title, *lines in parts}

    def check(self, title: str) -> None:
        """The section is what is found now."""
        before, now = self.sections.get(title, []), self.lines(title)
        difference = "\n".join(unified_diff(before, list(now), self.path.name, "now", n=0, lineterm=""))
        program = Path(sys.modules[self.lines.__module__].__file__ or "").name
        assert not difference, f"{title}\n{difference}\nif this is meant: python {program}, and read the diff"

    def check_titles(self) -> None:
        """There is a section for each title, and none besides."""
        assert list(self.sections) == self.titles

    def write(self) -> None:
        """Writes down what is found now."""
        parts = ["\n".join([title, *self.lines(title)]) for title in self.titles]
        self.path.write_text("\n\n".join(parts) + "\n", "utf-8")
