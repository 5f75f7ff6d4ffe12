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
from pathlib import Path
from types import CodeType, FrameType
from weakref import ref

Location = tuple[int, ...]  # code number and instruction offset of each frame, innermost first

_HERE = f"{Path(__file__).parent}/"
_PACKAGES = tuple(f"{Path(__file__).parent.parent / name}/" for name in ("coexec", "minitensor", "comprehension"))

# The number of a piece of code, and its call instructions that have a part before (CPython 3.11): once a call site is
# specialised, a builtin is called from the first part, until then from the second, a few bytes on.
_Code = tuple[int, dict[int, int]]

_numbers: dict[tuple[str, str, int, int], int] = {}
_by_identity: dict[int, tuple[ref[CodeType], _Code]] = {}  # a code object's hash reads all its bytecode: too slow a key


def code_number(code: CodeType) -> int:
    """A number for a piece of code: equal for code objects made again from the same source."""
    return _known(code)[0]


def _known(code: CodeType) -> _Code:
    known = _by_identity.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    key = (code.co_filename, code.co_qualname, code.co_firstlineno, hash(code.co_code))
    found = (_numbers.setdefault(key, len(_numbers)), _two_part_calls(code))
    identity = id(code)
    _by_identity[identity] = (ref(code, lambda _: _by_identity.pop(identity, None)), found)
    return found


def _two_part_calls(code: CodeType) -> dict[int, int]:
    """From the offset of a call's first part to that of its second."""
    instructions = list(dis.get_instructions(code))
    pairs = itertools.pairwise(instructions)
    return {first.offset: second.offset for first, second in pairs if first.opname == "PRECALL"}


def location(frame: FrameType | None, root: FrameType | None) -> Location:
    """The location of `frame` inside the call made by `root`."""
    parts: list[int] = []
    while frame is not None and frame is not root:
        number, two_part = _known(frame.f_code)
        parts.append(number)
        parts.append(two_part.get(frame.f_lasti, frame.f_lasti))
        frame = frame.f_back
    return tuple(parts)


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
