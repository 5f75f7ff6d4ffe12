"""Planting bugs by `monkeypatch`: what the tests of the tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
Find = Callable[[], None]
Room = tuple[Find, list[Plant]]


def change(patch: Patch, owner: Any, name: str, wrong: Callable[..., Any]) -> None:
    """`owner.name` gives from now on `wrong(what it gave, *its arguments)`."""
    right = getattr(owner, name)
    patch.setattr(owner, name, lambda *arguments, **keywords: wrong(right(*arguments, **keywords), *arguments))


def every_bug_of(rooms: Sequence[Room]) -> pytest.MarkDecorator:
    """Parameters `find` and `plant`: each bug with the finder of its room."""
    pairs = [(find, plant) for find, bugs in rooms for plant in bugs]
    names = [f"{find.__name__.removeprefix('find_')}-{plant.__name__}" for find, plant in pairs]
    return pytest.mark.parametrize(("find", "plant"), pairs, ids=names)


def every_finder_of(rooms: Sequence[Room]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("find", [find for find, _ in rooms], ids=lambda find: find.__name__)


def assert_found(find: Find) -> None:
    """Some check of the finder fails; whatever it is, the bug is found."""
    with pytest.raises((Exception, pytest.fail.Exception)):
        find()
