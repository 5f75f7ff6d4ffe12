"""From a source to defs that mean something for some sizes: all that `define` has to ask.

In: a text, or a tree made by a program.  Out: checked defs by name.
Invariant: what is refused here does not depend on sizes or on the number of leading dimensions (`...`); what does is
refused when they are known.
"""

from __future__ import annotations

from collections.abc import Iterable

from comprehension.errors import ComprehensionError, Diagnostic
from comprehension.lang.check import check
from comprehension.lang.checked import CheckedDef
from comprehension.lang.expressions import Fault
from comprehension.lang.leading import at_rank, check_leading, has_leading, uses_leading
from comprehension.lang.parser import parse
from comprehension.lang.ranges import infer
from comprehension.lang.tree import Call, Def, Program

SHOWN_LEADING = 1  # dimensions that `...` is where no call says how many


def load(source: str) -> dict[str, CheckedDef]:
    """The checked defs of a text: `parse`, then `analyse`.

    >>> list(load("def f(float(N) A) -> (B) { B(i) = 2 * A(i) }"))
    ['f']
    """
    return analyse(parse(source), source)


def analyse(program: Program, text: str | None = None) -> dict[str, CheckedDef]:
    """Checks a program and infers every range with symbolic sizes; `text` is its source, for carets.

    A def with `...` is checked as if that were one dimension.
    Raises ComprehensionError for whatever no size could make right: names, types, indices without a range, constant
    ranges of negative extent, reads of what was never written.  Warnings stay with the defs (`CheckedDef.warnings`).
    """
    if uses_leading(program):
        return _analyse_leading(program, text)
    checked = check(program, text)
    _infer_all(program.defs, checked)
    return checked


def without_leading(program: Program, name: str, text: str | None, leading: int = SHOWN_LEADING) -> Program:
    """The program that a def is for so many leading dimensions; `text` is the source, for carets.

    Raises ComprehensionError for a call whose arguments do not fit.
    """
    try:
        return at_rank(program, name, leading)
    except Fault as fault:
        raise ComprehensionError([Diagnostic.at(str(fault), fault.span, text)]) from None


def _infer_all(defs: Iterable[Def], checked: dict[str, CheckedDef]) -> None:
    errors: list[Diagnostic] = []
    faulty: set[str] = set()
    for definition in defs:
        if _calls(definition).isdisjoint(faulty):
            try:
                infer(checked[definition.name], None, "symbolic")
                continue
            except ComprehensionError as error:
                errors += error.errors
        faulty.add(definition.name)  # what calls it would fail where it calls, and for the same reason
    if errors:
        raise ComprehensionError(errors)


def _analyse_leading(program: Program, text: str | None) -> dict[str, CheckedDef]:
    """Each def by itself, behind what it calls."""
    faults = [fault for definition in program.defs for fault in check_leading(definition)]
    if faults:
        raise ComprehensionError([Diagnostic.at(str(f), f.span, text) for f in faults])
    checked: dict[str, CheckedDef] = {}
    errors: dict[Diagnostic, None] = {}
    faulty: set[str] = set()
    for definition in program.defs:
        name = definition.name
        if name in checked:
            errors[Diagnostic.at(f"def '{name}' is already defined", definition.span, text)] = None
            continue
        if _calls(definition).isdisjoint(faulty):
            try:
                alone = without_leading(program, name, text, SHOWN_LEADING if has_leading(definition) else 0)
                found = check(alone, text)
                _infer_all(alone.defs, found)
                checked[name] = found[name]
                continue
            except ComprehensionError as error:
                errors |= dict.fromkeys(error.errors)
        faulty.add(name)
    if errors:
        raise ComprehensionError(sorted(errors, key=lambda e: (e.line or 0, e.column or 0)))
    return checked


def _calls(definition: Def) -> set[str]:
    return {s.value.function for s in definition.statements if isinstance(s.value, Call)}
