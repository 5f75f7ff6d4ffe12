"""Lines of the user's program, for people: the text behind a `file:line`.

In: what `location` says of an operation.  Out: short names and the line's text, as the file is now.
Invariant: never fails: a file that is gone, or code that was never in a file, has no text.
"""

from __future__ import annotations

import linecache
from pathlib import PurePath

MOST_CHARACTERS = 64  # of a line's text; the rest is an ellipsis


def short(where: str) -> str:
    """The place without its folder.

    >>> short("/home/ada/train.py:12"), short("start")
    ('train.py:12', 'start')
    """
    file, _, line = where.rpartition(":")
    return f"{PurePath(file).name}:{line}" if file else where


def text_of(where: str, most: int = MOST_CHARACTERS) -> str:
    """The line at a place, stripped and cut; "" where nobody knows it."""
    file, _, line = where.rpartition(":")
    text = linecache.getline(file, int(line)).strip() if file and line.isdigit() else ""
    return text if len(text) <= most else text[: most - 1] + "…"


def name_and_line(name: str, where: str, *, with_text: bool = False) -> str:
    """A name and where it stands.

    >>> name_and_line("add", "/home/ada/train.py:12")
    'add (train.py:12)'
    """
    text = f"  {text_of(where)}" if with_text else ""
    return f"{name} ({short(where)}){text}" if name else f"{short(where)}{text}"
