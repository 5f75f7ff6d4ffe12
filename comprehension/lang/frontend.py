"""From a source to defs that mean something for some sizes: all that `define` has to ask.

In: a text, or a tree made by a program.  Out: checked defs by name.
Invariant: what is refused here does not depend on sizes; what does is refused when the sizes are known.
"""

from __future__ import annotations

from comprehension.errors import ComprehensionError, Diagnostic
from comprehension.lang.check import check
from comprehension.lang.checked import CheckedDef
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.lang.tree import Call, Program


def load(source: str) -> dict[str, CheckedDef]:
    """The checked defs of a text: `parse`, then `analyse`.

    >>> list(load("def f(float(N) A) -> (B) { B(i) = 2 * A(i) }"))
    ['f']
    """
    return analyse(parse(source), source)


def analyse(program: Program, text: str | None = None) -> dict[str, CheckedDef]:
    """Checks a program and infers every range with symbolic sizes; `text` is its source, for carets.

    Raises ComprehensionError for whatever no size could make right: names, types, indices without a range, constant
    ranges of negative extent, reads of what was never written.  Warnings stay with the defs (`CheckedDef.warnings`).
    """
    checked = check(program, text)
    errors: list[Diagnostic] = []
    faulty: set[str] = set()
    for definition in program.defs:
        calls = {s.value.function for s in definition.statements if isinstance(s.value, Call)}
        if not calls.isdisjoint(faulty):  # it would fail where it calls, and for the same reason
            faulty.add(definition.name)
            continue
        try:
            infer(checked[definition.name], None, "symbolic")
        except ComprehensionError as error:
            faulty.add(definition.name)
            errors += error.errors
    if errors:
        raise ComprehensionError(errors)
    return checked
