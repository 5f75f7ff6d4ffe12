"""The package's exceptions: every refusal of a text, a call or an option is a `ComprehensionError`.

In: messages, with the place in the text where one exists.
Out: exceptions whose `str()` shows each error's own source line with a caret, `MAX_MESSAGE` characters at most.
Invariant: `errors` is in the order of the text, and `line`, `column`, `source_line` are those of its first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comprehension.lang.tree import Span

MAX_MESSAGE = 4_000  # characters of str(error)
_MAX_LINE = 160  # a longer source line is cut around the caret
_MAX_TEXT = 600  # a longer single message is cut
_CUT = "..."
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong: what, and where in the text (None where no place exists)."""

    message: str
    line: int | None = None
    column: int | None = None
    source_line: str | None = None

    @classmethod
    def at(cls, message: str, span: Span | None, text: str | None) -> Diagnostic:
        """The diagnostic for a span of `text`; without either, one without a place."""
        if span is None:
            return cls(message)
        return cls(message, span.line, span.column, None if text is None else line_of(text, span.start))

    def __str__(self) -> str:
        message = shorten(self.message, _MAX_TEXT)
        if self.line is None or self.column is None:
            return message
        head = f"{self.line}:{self.column}: {message}"
        return head if self.source_line is None else f"{head}\n{_with_caret(self.source_line, self.column)}"


class ComprehensionError(Exception):
    """The root of all that the package raises.

    `ComprehensionError("message")` has no place; `ComprehensionError(diagnostics)` has those of its parts.  `about`
    says what an error without a place concerns, for those who know the text (`jit.places`).

    >>> error = ComprehensionError([Diagnostic("undefined name 'B'", 1, 8, "O(i) = B(i)")])
    >>> print(error)
    1:8: undefined name 'B'
    O(i) = B(i)
           ^
    >>> error.line, error.column
    (1, 8)
    """

    def __init__(self, errors: str | Sequence[Diagnostic] = "", *, about: object = None) -> None:
        self.errors: tuple[Diagnostic, ...] = (Diagnostic(errors),) if isinstance(errors, str) else tuple(errors)
        self.about = about
        super().__init__(errors)

    def at(self, span: Span | None, text: str | None) -> ComprehensionError:
        """This error at a place of `text`; itself where it has one already, or there is none."""
        if type(self) is not ComprehensionError or len(self.errors) != 1 or self.line is not None or span is None:
            return self
        return ComprehensionError([Diagnostic.at(self.errors[0].message, span, text)])

    @property
    def line(self) -> int | None:
        """1-based line of the first error."""
        return self.errors[0].line if self.errors else None

    @property
    def column(self) -> int | None:
        """1-based column of the first error."""
        return self.errors[0].column if self.errors else None

    @property
    def source_line(self) -> str | None:
        """The first error's line of the text, without its line end."""
        return self.errors[0].source_line if self.errors else None

    def __str__(self) -> str:
        shown: list[str] = []
        room = MAX_MESSAGE - 40  # for the last line below
        for number, error in enumerate(self.errors):
            text = str(error)
            if number and len(text) + 1 > room:
                shown.append(f"{_CUT} and {len(self.errors) - number} more errors")
                break
            shown.append(shorten(text, room))
            room -= len(text) + 1
        return "\n".join(shown)


Instance = tuple[str, tuple[tuple[str, int], ...]]
"""A statement's name, and the value of each of its indices."""


@dataclass(frozen=True, slots=True)
class InstancePair:
    """Two statement instances that touch one element of `tensor`, `first` before `second` in the program.

    `kind`: "raw" (the second reads what the first writes), "war" or "waw".
    """

    kind: str
    tensor: str
    first: Instance
    second: Instance

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> InstancePair:
        """From what `dataclasses.asdict` and JSON made of one."""
        first, second = ((name, tuple((i, v) for i, v in at)) for name, at in (data["first"], data["second"]))
        return cls(data["kind"], data["tensor"], first, second)


class IllegalSchedule(ComprehensionError):
    """A transformation that would break a dependence; `pair` is an example, where there is one."""

    def __init__(self, errors: str | Sequence[Diagnostic] = "", *, pair: InstancePair | None = None) -> None:
        super().__init__(errors)
        self.pair = pair


class ComprehensionWarning(UserWarning):
    """Something legal that is seldom meant, such as a reduction that is not initialised."""


def line_of(text: str, offset: int) -> str:
    r"""The line of `text` that holds `offset`; lines end in \n or \r\n.

    >>> line_of("ab\r\ncd", 4)
    'cd'
    """
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    return text[start : len(text) if end < 0 else end].removesuffix("\r")


def shorten(text: str, limit: int = 60) -> str:
    """At most `limit` characters of `text`.

    >>> shorten("abcdefghij", 8)
    'abcde...'
    """
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def listed(values: Mapping[str, object]) -> str:
    """The sizes and scalars of a call, for the end of a message about it.

    >>> listed({"N": 3, "k": -1})
    ' (N = 3, k = -1)'
    """
    return f" ({', '.join(f'{name} = {value}' for name, value in values.items())})" if values else ""


def _with_caret(line: str, column: int) -> str:
    """The line and, under it, a caret; tabs are kept before the caret so that both stay aligned.

    Half a surrogate pair, which no terminal takes, is shown as the replacement character.
    """
    at = column - 1
    line = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", line)
    before = after = ""
    if len(line) > _MAX_LINE:
        start = max(0, min(at - _MAX_LINE // 2, len(line) - _MAX_LINE))
        before, after = _CUT if start else "", _CUT if start + _MAX_LINE < len(line) else ""
        line, at = line[start : start + _MAX_LINE], at - start
    indent = "".join("\t" if c == "\t" else " " for c in line[:at]).ljust(at)
    return f"{before}{line}{after}\n{' ' * len(before)}{indent}^"
