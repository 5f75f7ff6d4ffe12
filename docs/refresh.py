"""Writes the results of the examples in the docs anew: `python docs/refresh.py docs/stages/*.md` (`make refresh-docs`).

In: Markdown files with doctest examples.  Out: the same files; an example whose result differs from what stands there
(by doctest's own rules, so `...` still matches anything) gets what it gives now.
Invariant: only expected results change.  Read the difference before committing it: the pages show what the compiler
makes, so a change of theirs is a change of the compiler's.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import sys
import traceback
from pathlib import Path
from typing import Any


def refreshed(text: str, name: str) -> str:
    """The text with the results that its examples have now."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    kept: list[str] = []
    for number, part in enumerate(doctest.DocTestParser().parse(text, name)):
        if isinstance(part, str):
            kept.append(part)
        elif part.options.get(doctest.SKIP):
            kept.append(_example(part, part.want))
        else:
            kept.append(_example(part, _result(part, f"<doctest {name}[{number}]>", namespace)))
    return "".join(kept)


def _result(example: doctest.Example, name: str, namespace: dict[str, Any]) -> str:
    """What stands in the page if that is still right, else what the example gives now."""
    flags = doctest.ELLIPSIS  # as pytest has it
    for flag, on in example.options.items():
        flags = flags | flag if on else flags & ~flag
    output = io.StringIO()
    raised = ""
    with contextlib.redirect_stdout(output):
        try:
            exec(compile(example.source, name, "single"), namespace)
        except Exception as error:
            if example.exc_msg is None and example.want:
                error.add_note(f"in {name}: {example.source}")
                raise
            raised = "".join(traceback.format_exception_only(error))
    same = doctest.OutputChecker().check_output
    if raised and example.exc_msg is None:
        return f"Traceback (most recent call last):\n{raised}"
    if example.exc_msg is not None:
        return example.want if same(example.exc_msg, raised, flags) else f"Traceback (most recent call last):\n{raised}"
    return example.want if same(example.want, output.getvalue(), flags) else output.getvalue()


def _example(example: doctest.Example, want: str) -> str:
    """The example as it stands in a page, with a result."""
    indent = " " * example.indent
    first, *rest = example.source.rstrip("\n").split("\n")
    lines = [f"{indent}>>> {first}", *(f"{indent}... {line}".rstrip() for line in rest)]
    results = want.removesuffix("\n").split("\n") if want else []
    lines += [f"{indent}{line}" if line else f"{indent}<BLANKLINE>" for line in results]
    return "\n".join(lines) + "\n"


def main(files: list[str]) -> int:
    """Refreshes each file; returns how many changed."""
    changed = 0
    for file in map(Path, files):
        before = file.read_text(encoding="utf-8")
        after = refreshed(before, str(file))
        if after != before:
            file.write_text(after, encoding="utf-8")
            print(f"refreshed: {file}")
            changed += 1
    return changed


if __name__ == "__main__":
    main(sys.argv[1:])
