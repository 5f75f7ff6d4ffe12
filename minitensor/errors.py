"""What minitensor raises, and where in the user's program it happened.

In: a message that says what was wrong and which values were seen.  Out: an exception whose text ends with
the user's own file and line.
Invariant: every class derives from the built-in class that the array standard (or Python) asks for, so
`except ValueError` and its like keep working.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGES = tuple(str(Path(__file__).parent.parent / name) + "/" for name in ("minitensor", "coexec", "comprehension"))


def user_location() -> str:
    """`file:line` of the innermost frame outside these packages; empty where there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGES) and not name.startswith("<frozen"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def shown(x: object, limit: int = 60) -> str:
    """A value that was seen, as messages show it: at most `limit` characters, an int of thousands of digits too."""
    if isinstance(x, int) and not isinstance(x, bool) and x.bit_length() > 200:
        return f"an int of {x.bit_length()} bits"
    try:
        text = repr(x)
    except ValueError:  # Python writes out no int of more than some thousands of digits
        text = f"{type(x).__name__} of very large numbers"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class MinitensorError(Exception):
    """Root of all that minitensor raises on purpose.  `where` is the user's file and line."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.where = user_location()
        super().__init__(f"{message} (at {self.where})" if self.where else message)

    def __reduce__(self) -> tuple[type[MinitensorError], tuple[str]]:
        return type(self), (self.message,)


class ArgumentError(MinitensorError, ValueError):
    """An argument that cannot be: a negative learning rate, a word that is none of those known."""


class ShapeError(ArgumentError):
    """Shapes, axes, extents or sizes that do not fit together."""


class AxisError(ShapeError, IndexError):
    """An axis that a tensor does not have."""


class DTypeError(MinitensorError, TypeError):
    """A dtype or an object that the operation does not take."""


class TensorIndexError(MinitensorError, IndexError):
    """An index outside its dimension, or too many of them."""


class MissingNameError(MinitensorError, KeyError):
    """A name that is not there: of a module, or of a parameter in a state dict."""

    __str__ = Exception.__str__  # a KeyError's own shows its message in quotation marks


class ScalarRangeError(MinitensorError, OverflowError):
    """A Python number that its tensor's dtype cannot hold."""


class GradientError(MinitensorError, RuntimeError):
    """A gradient that cannot be had: no tape, a leaf written in place, a result that is no scalar."""


class OperatorError(MinitensorError, ValueError):
    """A text that is no operator, or a gradient that does not fit its operator."""


class LinAlgError(MinitensorError, ValueError):
    """A decomposition or a solution that does not exist."""


class FileFormatError(MinitensorError, ValueError):
    """A file that does not hold what it should."""


class NoComprehension(Exception):
    """This operation has no comprehension for these operands (a dtype the language lacks, say).

    Not an error of the user's: co-execution treats the operation as opaque and reports the reason.
    """
