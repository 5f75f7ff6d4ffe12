"""How texts, sections and faults look on a terminal; plain text wherever the output is no terminal.

In: a console of rich.  Out: what the command line prints.
Invariant: colour carries nothing: without it the same characters are printed; no text of the user is taken for markup.
"""

from __future__ import annotations

from pygments.lexers import PythonLexer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from comprehension.errors import ComprehensionError
from comprehension.explain import Section
from comprehension.highlight import ComprehensionLexer

_LEXERS = {"py": PythonLexer, "tc": ComprehensionLexer}


def print_text(console: Console, text: str, file: str = "") -> None:
    """A text as it is, coloured by the language that `file`'s name tells."""
    lexer = _LEXERS.get(file.rpartition(".")[2])
    if lexer is not None and console.is_terminal:
        console.print(Syntax(text.rstrip("\n"), lexer(), background_color="default", word_wrap=True))
    else:
        console.print(Text(text.rstrip("\n")), soft_wrap=True)


def print_section(console: Console, section: Section) -> None:
    """A stage under a rule with its title."""
    console.rule(Text.assemble((section.title, "bold"), ("  " + section.file, "dim")), align="left")
    print_text(console, section.text, section.file)
    console.print()


def print_error(console: Console, error: ComprehensionError, file: str) -> None:
    """Every fault as `file:line:column: error: message`, its line, and a caret under the place."""
    for text in _lines(error, file):
        console.print(text, soft_wrap=True)


def print_warning(console: Console, warning: str, file: str) -> None:
    """A warning, which has a place, in the same form."""
    for text in _fault(warning, True, file, ("warning", "bold yellow")):
        console.print(text, soft_wrap=True)


def _lines(error: ComprehensionError, file: str) -> list[Text]:
    """`str(error)`, which is bounded, with the file's name and colours put in."""
    shown = str(error)
    lines: list[Text] = []
    for each in error.errors:
        text = str(each)
        if not shown.startswith(text):
            break
        lines += _fault(text, each.line is not None, file, ("error", "bold red"))
        shown = shown[len(text) :].lstrip("\n")
    return lines + [Text(line) for line in shown.split("\n") if line]


def _fault(text: str, placed: bool, file: str, kind: tuple[str, str]) -> list[Text]:
    if not placed:
        return [Text.assemble(kind, ": ", text)]
    head, *rest = text.split("\n")
    place, _, message = head.partition(": ")
    lines = [Text.assemble((f"{file}:{place}: ", "bold"), kind, ": ", message)]
    return lines + [Text(line, "bold green" if line.strip() == "^" else "") for line in rest]
