"""Locations: where in the program an operation was executed.

In: the stack of the calling thread, up to the frame in which the step was called.
Out: `Location`s, hashable and comparable; file:line texts for messages.
Invariant: equal locations mean equal code (file, qualified name, first line and bytecode) at equal instructions
in every frame of the call; no frame and no code object is kept alive.
"""

from __future__ import annotations

import dis
import itertools
import sys
import threading
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from weakref import ref

Location = tuple[int, ...]  # code number and instruction offset of each frame, innermost first

_HERE = f"{Path(__file__).parent}/"
_PACKAGES = tuple(f"{Path(__file__).parent.parent / name}/" for name in ("coexec", "minitensor", "comprehension"))


@dataclass(frozen=True, slots=True)
class _Code:
    """What stays of a piece of code: its number, its file, and the line of each instruction from an offset on.

    `places`: the instruction that an offset stands for, where it is not one's own (`_places`).
    """

    number: int
    places: dict[int, int]
    file: str
    offsets: list[int]
    lines: list[int]


_codes: dict[tuple[str, str, int, int], _Code] = {}
_by_number: list[_Code] = []
_by_identity: dict[int, tuple[ref[CodeType], _Code]] = {}  # a code object's hash reads all its bytecode: too slow a key
_stacks: dict[tuple[int, ...], Location] = {}  # from identities of code and offsets; empty again once one of them dies
_locations: dict[Location, Location] = {}  # one object for each, so that comparing them is cheap
_MOST_STACKS = 100_000  # beyond this many the tables start again
_lock = threading.Lock()  # numbers are given once


def code_number(code: CodeType) -> int:
    """A number for a piece of code: equal for code objects made again from the same source."""
    return _known(code).number


def _known(code: CodeType) -> _Code:
    known = _by_identity.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    key = (code.co_filename, code.co_qualname, code.co_firstlineno, hash(code.co_code))
    with _lock:
        found = _codes.get(key)
        if found is None:
            found = _codes[key] = _describe(code, len(_by_number))
            _by_number.append(found)
    identity = id(code)
    _by_identity[identity] = (ref(code, lambda _: _forget(identity)), found)
    return found


def _forget(identity: int) -> None:
    """The code object is gone: its identity will be another's."""
    _by_identity.pop(identity, None)
    _stacks.clear()


def _describe(code: CodeType, number: int) -> _Code:
    starts = list(dis.findlinestarts(code))
    return _Code(
        number=number,
        places=_places(code),
        file=code.co_filename,
        offsets=[offset for offset, _ in starts],
        lines=[line or 0 for _, line in starts],
    )


def _places(code: CodeType) -> dict[int, int]:
    """Where an instruction may be said to be besides its own offset, once CPython has specialised it.

    A call is two instructions in Python 3.11; one that runs a Python function in the same loop of the interpreter (a
    call, a subscript, a property) stands in its own cache meanwhile.
    """
    places: dict[int, int] = {}
    for first, second in itertools.pairwise(dis.get_instructions(code)):
        is_part = first.opname == "PRECALL"
        for offset in range(first.offset + (0 if is_part else 2), second.offset, 2):
            places[offset] = second.offset if is_part else first.offset
    return places


def location(frame: FrameType | None, root: FrameType | None) -> Location:
    """The location of `frame` inside the call made by `root`.

    Every operation recorded asks for one, mostly from a stack seen before: that costs one look at each frame.
    """
    stack: list[int] = []
    inner = frame
    while frame is not None and frame is not root:
        stack.append(id(frame.f_code))
        stack.append(frame.f_lasti)
        frame = frame.f_back
    key = tuple(stack)
    found = _stacks.get(key)
    return _locate(inner, root, key) if found is None else found


def _locate(frame: FrameType | None, root: FrameType | None, stack: tuple[int, ...]) -> Location:
    parts: list[int] = []
    while frame is not None and frame is not root:
        known = _known(frame.f_code)
        parts.append(known.number)
        parts.append(known.places.get(frame.f_lasti, frame.f_lasti))
        frame = frame.f_back
    if len(_stacks) >= _MOST_STACKS:
        _stacks.clear()
        _locations.clear()
    here = tuple(parts)
    found = _stacks[stack] = _locations.setdefault(here, here)
    return found


def callers_frame() -> FrameType | None:
    """The innermost frame that does not belong to this package: an operation has the same location whether it
    was recorded or met while Python was being validated."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return frame


def users_line(frame: FrameType | None = None) -> str:
    """file:line of the innermost frame outside this project's packages ("?" where there is none)."""
    frame = frame or sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGES):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def line_of(here: Location) -> str:
    """The same of a location, when its frames are long gone."""
    for number, offset in zip(here[::2], here[1::2], strict=True):
        code = _by_number[number]
        if not code.file.startswith(_PACKAGES):
            return f"{code.file}:{code.lines[bisect_right(code.offsets, offset) - 1]}"
    return "?"
